/*
 * vocab.h: the tokens of a vocabulary: their text, which stays in the mapped file, their kinds, and the id of a text.
 * Used by the tokenizers of core/text alone.
 */
#ifndef AIGC_TEXT_VOCAB_H
#define AIGC_TEXT_VOCAB_H

#include "format/gguf.h"

/* Kinds of tokens, a set of bits. NORMAL to BYTE come from tokenizer.ggml.token_type, the others from what a token's
 * text means to models at large (tokenizer.c). */
enum {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 1 << 1,
    TOKEN_CONTROL = 1 << 2,
    TOKEN_USER = 1 << 3, /* user-defined: found in text before everything else, shown as it stands */
    TOKEN_UNUSED = 1 << 4,
    TOKEN_BYTE = 1 << 5,
    TOKEN_END = 1 << 6,         /* generation ends with it */
    TOKEN_STRIPS_SPACE = 1 << 7 /* white space that follows it in a text is dropped */
};

typedef struct vocab_token {
    uint32_t offset; /* of the text, from vocab.base */
    uint16_t len;
    uint8_t kind;
} vocab_token;

typedef struct vocab_slot {
    uint32_t tag; /* upper half of the hash */
    int32_t id;   /* -1: free */
} vocab_slot;

typedef struct vocab {
    const char *base;
    vocab_token *tokens;
    int32_t n;
    size_t max_len;      /* bytes of the longest token */
    bool has_duplicates; /* some texts stand twice; the lowest id has the text, the others are never made from text */
    vocab_slot *slots;   /* open addressing, a power of two */
    uint32_t mask;
    uint64_t hash_seed;
} vocab;

/* Reads tokenizer.ggml.tokens and token_type. On an error v is empty. */
aigc_status vocab_open(const gguf_file *file, vocab *v, aigc_error *err);
void vocab_close(vocab *v);

/* The id of the token with this text, or -1. Empty tokens have none. */
int32_t vocab_find(const vocab *v, const char *text, size_t len);

static inline const char *vocab_text(const vocab *v, int32_t id)
{
    return v->base + v->tokens[id].offset;
}

/* An array of the metadata with at least n_min items; *out is NULL if the key is absent and not required. */
aigc_status vocab_array(const gguf_file *file, const char *key, bool required, bool strings, uint64_t n_min,
                        const gguf_value **out, aigc_error *err);

#endif
