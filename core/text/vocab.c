/* vocab.c: reading a vocabulary's arrays and hashing its texts. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer.h"

enum { VOCAB_MAX = 1 << 24 };

static bool is_number(gguf_type type)
{
    return type != GGUF_STRING && type != GGUF_ARRAY && type != GGUF_BOOL && type < GGUF_TYPES;
}

aigc_status vocab_array(const gguf_file *file, const char *key, bool required, bool strings, uint64_t n_min,
                        const gguf_value **out, aigc_error *err)
{
    const gguf_value *value = gguf_find(file, key);

    if (!value) {
        if (required)
            return aigc_fail(err, AIGC_E_FORMAT, "%s: %s is missing", gguf_path(file), key);
        *out = NULL;
        return AIGC_OK;
    }
    if (value->type != GGUF_ARRAY || (strings ? value->item_type != GGUF_STRING : !is_number(value->item_type)))
        return aigc_fail(err, AIGC_E_FORMAT, "%s: %s is not an array of %s", gguf_path(file), key,
                         strings ? "strings" : "numbers");
    if (value->n_items < n_min)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: %s has %llu items for %llu tokens", gguf_path(file), key,
                         (unsigned long long)value->n_items, (unsigned long long)n_min);
    *out = value;
    return AIGC_OK;
}

static uint64_t load64(const char *s)
{
    uint64_t x;

    memcpy(&x, s, sizeof x);
    return x;
}

static uint64_t fold_multiply(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Eight bytes a round, each folded by a full multiplication. The seed is not in the file, so that a file can't be made
 * whose tokens all collide. */
static uint64_t hash_text(const vocab *v, const char *s, size_t len)
{
    uint64_t h = v->hash_seed ^ len * 0x9e3779b97f4a7c15u, tail = 0;

    for (; len > 8; s += 8, len -= 8)
        h = fold_multiply(h ^ load64(s), 0xa0761d6478bd642fu);
    memcpy(&tail, s, len);
    return fold_multiply(h ^ tail, 0xe7037ed1a0b428dbu ^ v->hash_seed);
}

int32_t vocab_find(const vocab *v, const char *text, size_t len)
{
    uint64_t hash;
    uint32_t tag;

    if (len == 0 || len > v->max_len)
        return -1;
    hash = hash_text(v, text, len);
    tag = (uint32_t)(hash >> 32);
    for (uint32_t i = (uint32_t)hash & v->mask;; i = (i + 1) & v->mask) {
        const vocab_slot *slot = &v->slots[i];

        if (slot->id < 0)
            return -1;
        if (slot->tag == tag && v->tokens[slot->id].len == len && memcmp(vocab_text(v, slot->id), text, len) == 0)
            return slot->id;
    }
}

static void insert(vocab *v, int32_t id, uint64_t hash)
{
    const char *text = vocab_text(v, id);
    size_t len = v->tokens[id].len;
    uint32_t i = (uint32_t)hash & v->mask, tag = (uint32_t)(hash >> 32);

    if (len == 0)
        return;
    for (; v->slots[i].id >= 0; i = (i + 1) & v->mask) {
        const vocab_token *other = &v->tokens[v->slots[i].id];

        if (v->slots[i].tag == tag && other->len == len && memcmp(v->base + other->offset, text, len) == 0) {
            v->has_duplicates = true;
            return;
        }
    }
    v->slots[i] = (vocab_slot){tag, id};
}

/* The table is larger than the processor's near caches: slots are asked for some tokens ahead. */
static void insert_all(vocab *v)
{
    enum { AHEAD = 16 };
    uint64_t hashes[AHEAD] = {0};

    for (int32_t id = 0; id < v->n + AHEAD; id++) {
        uint64_t hash = hashes[id % AHEAD];

        if (id >= AHEAD)
            insert(v, id - AHEAD, hash);
        if (id < v->n) {
            hash = hash_text(v, vocab_text(v, id), v->tokens[id].len);
            __builtin_prefetch(&v->slots[(uint32_t)hash & v->mask], 1);
            hashes[id % AHEAD] = hash;
        }
    }
}

/* tokenizer.ggml.token_type's numbers; others, which files give to tokens nothing is known of, count as unused. */
static uint8_t kind_of_type(int64_t type)
{
    static const uint8_t kinds[] = {TOKEN_UNUSED, TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL,
                                    TOKEN_USER,   TOKEN_UNUSED, TOKEN_BYTE};

    return type >= 0 && type < (int64_t)sizeof kinds ? kinds[type] : TOKEN_UNUSED;
}

static aigc_status read_texts(const gguf_file *file, const gguf_value *texts, vocab *v, aigc_error *err)
{
    const unsigned char *cursor = texts->data;

    v->base = (const char *)texts->data;
    for (int32_t id = 0; id < v->n; id++) {
        gguf_string text = gguf_next_string(&cursor);
        size_t offset = (size_t)(text.data - v->base);

        if (text.len > TOKEN_MAX_BYTES)
            return aigc_fail(err, AIGC_E_FORMAT, "%s: token %d has %zu bytes, more than %d", gguf_path(file), id,
                             text.len, TOKEN_MAX_BYTES);
        if (offset > UINT32_MAX)
            return aigc_fail(err, AIGC_E_UNSUPPORTED, "%s: the tokens' texts take more than 4 GB", gguf_path(file));
        v->tokens[id].offset = (uint32_t)offset;
        v->tokens[id].len = (uint16_t)text.len;
        v->tokens[id].kind = TOKEN_NORMAL;
        if (text.len > v->max_len)
            v->max_len = text.len;
    }
    return AIGC_OK;
}

static aigc_status read_types(const gguf_file *file, vocab *v, aigc_error *err)
{
    const char *key = "tokenizer.ggml.token_type";
    const gguf_value *types;
    aigc_status status = vocab_array(file, key, false, false, (uint64_t)v->n, &types, err);

    if (status != AIGC_OK || !types)
        return status;
    if (types->item_type == GGUF_F32 || types->item_type == GGUF_F64)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: %s is not an array of integers", gguf_path(file), key);
    for (int32_t id = 0; id < v->n; id++)
        v->tokens[id].kind = kind_of_type(gguf_array_i64(types, (uint64_t)id));
    return AIGC_OK;
}

static aigc_status allocate(vocab *v, aigc_error *err)
{
    uint32_t n_slots = 64;

    while (n_slots < (uint32_t)v->n + (uint32_t)v->n / 2)
        n_slots *= 2;
    v->mask = n_slots - 1;
    v->tokens = aigc_calloc((size_t)v->n, sizeof *v->tokens);
    v->slots = aigc_realloc_array(NULL, n_slots, sizeof *v->slots);
    if (!v->tokens || !v->slots)
        return aigc_fail_memory(err, "the vocabulary", n_slots * sizeof *v->slots + (size_t)v->n * sizeof *v->tokens);
    memset(v->slots, 0xff, n_slots * sizeof *v->slots);
    v->hash_seed = (uint64_t)(uintptr_t)v->slots * 0x9e3779b97f4a7c15u;
    return AIGC_OK;
}

aigc_status vocab_open(const gguf_file *file, vocab *v, aigc_error *err)
{
    const gguf_value *texts;
    aigc_status status = vocab_array(file, "tokenizer.ggml.tokens", true, true, 1, &texts, err);

    *v = (vocab){0};
    if (status != AIGC_OK)
        return status;
    if (texts->n_items > VOCAB_MAX)
        return aigc_fail(err, AIGC_E_UNSUPPORTED, "%s: a vocabulary of %llu tokens, more than %d", gguf_path(file),
                         (unsigned long long)texts->n_items, VOCAB_MAX);
    v->n = (int32_t)texts->n_items;
    status = allocate(v, err);
    if (status == AIGC_OK)
        status = read_texts(file, texts, v, err);
    if (status == AIGC_OK)
        status = read_types(file, v, err);
    if (status != AIGC_OK) {
        vocab_close(v);
        return status;
    }
    insert_all(v);
    return AIGC_OK;
}

void vocab_close(vocab *v)
{
    free(v->tokens);
    free(v->slots);
    *v = (vocab){0};
}
