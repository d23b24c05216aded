/* kv.c: see kv.h. */
#include "model/kv.h"

#include <string.h>

#include "base/memory.h"

size_t kv_block_bytes(size_t n_layers, size_t n_kv_heads, size_t head_dim, bool f16)
{
    size_t n;
    if (!aigc_mul(head_dim, 2 * KV_BLOCK * (f16 ? sizeof(uint16_t) : sizeof(float)), &n) ||
        !aigc_mul(n, n_kv_heads, &n) || !aigc_mul(n, n_layers, &n))
        return 0;
    return n;
}

aigc_status kv_cache_create(kv_cache *kv, size_t n_layers, size_t n_kv_heads, size_t head_dim, bool f16,
                            size_t n_blocks, aigc_error *err)
{
    size_t block = kv_block_bytes(n_layers, n_kv_heads, head_dim, f16), bytes;
    if (block == 0 || !aigc_mul(block, n_blocks, &bytes))
        return aigc_fail(err, AIGC_E_LIMIT, "a KV cache of %zu blocks is larger than the address space", n_blocks);
    *kv = (kv_cache){
        .kernels = kernels_best(),
        .f16 = f16,
        .n_layers = n_layers,
        .n_kv_heads = n_kv_heads,
        .head_dim = head_dim,
        .n_blocks = n_blocks,
        .head_bytes = block / n_layers / n_kv_heads,
        .data = aigc_pages_alloc(bytes),
        .bytes = bytes,
    };
    return kv->data != NULL ? AIGC_OK : aigc_fail_memory(err, "the KV cache", bytes);
}

void kv_cache_free(kv_cache *kv)
{
    if (kv->data != NULL)
        aigc_pages_free(kv->data, kv->bytes);
    kv->data = NULL;
}

static unsigned char *head_data(const kv_cache *kv, size_t layer, size_t block, size_t head)
{
    return kv->data + ((layer * kv->n_blocks + block) * kv->n_kv_heads + head) * kv->head_bytes;
}

attn_block kv_head(const kv_cache *kv, size_t layer, size_t block, size_t head)
{
    unsigned char *data = head_data(kv, layer, block, head);
    return (attn_block){.f16 = kv->f16, .k = data, .v = data + kv->head_bytes / 2};
}

/* Keys go across the rows: one element to each. */
static void store_keys_f16(uint16_t *keys, size_t offset, const uint16_t *k, size_t dim)
{
    for (size_t d = 0; d < dim; d++)
        keys[d * KV_BLOCK + offset] = k[d];
}

static void store_keys_f32(float *keys, size_t offset, const float *k, size_t dim)
{
    for (size_t d = 0; d < dim; d++)
        keys[d * KV_BLOCK + offset] = k[d];
}

void kv_store(kv_cache *kv, size_t layer, size_t block, size_t offset, const float *k, const float *v)
{
    size_t dim = kv->head_dim;
    uint16_t half[KV_MAX_HEAD_DIM];
    for (size_t head = 0; head < kv->n_kv_heads; head++, k += dim, v += dim) {
        unsigned char *data = head_data(kv, layer, block, head), *values = data + kv->head_bytes / 2;
        if (kv->f16) {
            kv->kernels->f32_to_f16(k, half, dim);
            store_keys_f16((uint16_t *)data, offset, half, dim);
            kv->kernels->f32_to_f16(v, (uint16_t *)values + offset * dim, dim);
        } else {
            store_keys_f32((float *)data, offset, k, dim);
            memcpy((float *)values + offset * dim, v, dim * sizeof *v);
        }
    }
}

void kv_copy(kv_cache *kv, size_t from, size_t to, size_t n)
{
    size_t element = kv->f16 ? sizeof(uint16_t) : sizeof(float);
    for (size_t layer = 0; layer < kv->n_layers; layer++)
        for (size_t head = 0; head < kv->n_kv_heads; head++) {
            unsigned char *source = head_data(kv, layer, from, head), *target = head_data(kv, layer, to, head);
            for (size_t d = 0; d < kv->head_dim; d++)
                memcpy(target + d * KV_BLOCK * element, source + d * KV_BLOCK * element, n * element);
            memcpy(target + kv->head_bytes / 2, source + kv->head_bytes / 2, n * kv->head_dim * element);
        }
}
