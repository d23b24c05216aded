/*
 * kv.h: the memory of cached keys and values, in blocks of KV_BLOCK positions.
 *
 * A block holds its positions for every layer and head; a sequence is a table of block numbers, so that sequences can
 * share blocks and each reads only its own. Keys lie transposed (kernels.h says why). Who owns which block is the
 * engine's business (core/engine/blocks.h).
 */
#ifndef AIGC_MODEL_KV_H
#define AIGC_MODEL_KV_H

#include "base/error.h"
#include "tensor/kernels.h"

enum { KV_MAX_HEAD_DIM = 1024 };

typedef struct kv_cache {
    const aigc_kernels *kernels;
    bool f16;
    size_t n_layers, n_kv_heads, head_dim;
    size_t n_blocks;
    size_t head_bytes;   /* keys and values of one head in one block */
    unsigned char *data; /* [n_layers][n_blocks][n_kv_heads][head_bytes] */
    size_t bytes;
} kv_cache;

/* Bytes of one block over all layers; 0 if that overflows. */
size_t kv_block_bytes(size_t n_layers, size_t n_kv_heads, size_t head_dim, bool f16);

/* Reserves the memory; the system provides pages as they are written. head_dim is at most KV_MAX_HEAD_DIM. */
aigc_status kv_cache_create(kv_cache *kv, size_t n_layers, size_t n_kv_heads, size_t head_dim, bool f16,
                            size_t n_blocks, aigc_error *err);
void kv_cache_free(kv_cache *kv);

/* One head's keys and values in one block. */
attn_block kv_head(const kv_cache *kv, size_t layer, size_t block, size_t head);

/* Stores one position: k and v are [n_kv_heads][head_dim]. */
void kv_store(kv_cache *kv, size_t layer, size_t block, size_t offset, const float *k, const float *v);

/* Copies the first n positions of a block, all layers, to another block. */
void kv_copy(kv_cache *kv, size_t from, size_t to, size_t n);

#endif
