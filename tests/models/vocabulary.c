/*
 * vocabulary.c: the tokenizer of a synthetic model: a real one copied from a vocabulary file, a real one grown to a
 * size of today's models, or the 256 bytes alone where no file is at hand.
 */
#include "synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

/* llama.cpp's kinds of token. */
enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5, TOKEN_BYTE = 6 };

/* A vocabulary under construction. Strings point into a vocabulary file or into the arena. */
typedef struct vocabulary {
    gguf_string *tokens; /* [n_vocab] */
    int32_t *types;      /* [n_vocab] */
    float *scores;       /* [n_vocab] */
    int n, n_vocab;
    gguf_string *merges; /* [n_vocab] at most */
    int n_merges;
    char *arena;
    size_t arena_used, arena_size;
} vocabulary;

enum { MAX_WORD = 24, MAX_STRINGS_BYTES = 2 * MAX_WORD + 2 };

static aigc_status vocabulary_alloc(vocabulary *v, int n_vocab, aigc_error *err)
{
    *v = (vocabulary){.n_vocab = n_vocab, .arena_size = (size_t)n_vocab * MAX_STRINGS_BYTES};
    v->tokens = aigc_calloc((size_t)n_vocab, sizeof *v->tokens);
    v->types = aigc_calloc((size_t)n_vocab, sizeof *v->types);
    v->scores = aigc_calloc((size_t)n_vocab, sizeof *v->scores);
    v->merges = aigc_calloc((size_t)n_vocab, sizeof *v->merges);
    v->arena = malloc(v->arena_size);
    if (v->tokens && v->types && v->scores && v->merges && v->arena)
        return AIGC_OK;
    return aigc_fail_memory(err, "a synthetic vocabulary", v->arena_size);
}

static void vocabulary_free(vocabulary *v)
{
    free(v->tokens);
    free(v->types);
    free(v->scores);
    free(v->merges);
    free(v->arena);
}

/* Every string put in the arena is at most MAX_WORD bytes, a merge twice that and a space: see arena_size. */
static gguf_string in_arena(vocabulary *v, const char *data, size_t len)
{
    gguf_string s = {memcpy(v->arena + v->arena_used, data, len), len};

    v->arena_used += len;
    return s;
}

static void add_token(vocabulary *v, gguf_string token, int32_t type)
{
    v->tokens[v->n] = token;
    v->types[v->n++] = type;
}

static void add_text(vocabulary *v, const char *text, int32_t type)
{
    add_token(v, in_arena(v, text, strlen(text)), type);
}

static void add_padding(vocabulary *v)
{
    char text[MAX_WORD];

    for (int i = 0; v->n < v->n_vocab; i++) {
        snprintf(text, sizeof text, "[PAD%d]", i);
        add_text(v, text, TOKEN_UNUSED);
    }
}

/* ---- GPT-2 ---- */

/* The character that stands for a byte in GPT-2's vocabulary: itself if it is printable Latin-1, else 256 and up. */
static void byte_character(int byte, int *next, char text[3])
{
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
    int c = printable ? byte : (*next)++;

    if (c < 0x80) {
        text[0] = (char)c;
        text[1] = 0;
    } else {
        text[0] = (char)(0xc0 | c >> 6);
        text[1] = (char)(0x80 | (c & 0x3f));
        text[2] = 0;
    }
}

static void bytes_bpe(vocabulary *v)
{
    int next = 256;

    add_text(v, "<|endoftext|>", TOKEN_CONTROL);
    for (int byte = 0; byte < 256; byte++) {
        char text[3];

        byte_character(byte, &next, text);
        add_text(v, text, TOKEN_NORMAL);
    }
    /* Two merges, so that the list is there. */
    add_text(v, "th", TOKEN_NORMAL);
    v->merges[v->n_merges++] = in_arena(v, "t h", 3);
    add_text(v, "the", TOKEN_NORMAL);
    v->merges[v->n_merges++] = in_arena(v, "th e", 4);
    add_padding(v);
}

static void set_bpe(gguf_writer *w, const vocabulary *v, uint32_t end_of_text)
{
    gguf_writer_set_string(w, "tokenizer.ggml.model", "gpt2", 4);
    gguf_writer_set_string(w, "tokenizer.ggml.pre", "gpt-2", 5);
    gguf_writer_set_strings(w, "tokenizer.ggml.tokens", v->tokens, (size_t)v->n);
    gguf_writer_set_i32s(w, "tokenizer.ggml.token_type", v->types, (size_t)v->n);
    gguf_writer_set_strings(w, "tokenizer.ggml.merges", v->merges, (size_t)v->n_merges);
    gguf_writer_set_u32(w, "tokenizer.ggml.bos_token_id", end_of_text);
    gguf_writer_set_u32(w, "tokenizer.ggml.eos_token_id", end_of_text);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token", false);
}

/* ---- SentencePiece ---- */

static void bytes_spm(vocabulary *v)
{
    char text[8];

    add_text(v, "<unk>", TOKEN_UNKNOWN);
    add_text(v, "<s>", TOKEN_CONTROL);
    add_text(v, "</s>", TOKEN_CONTROL);
    for (int byte = 0; byte < 256; byte++) {
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        add_text(v, text, TOKEN_BYTE);
    }
    add_text(v, "\xe2\x96\x81", TOKEN_NORMAL); /* the space */
    for (char c = 'a'; c <= 'z'; c++) {
        text[0] = c;
        text[1] = 0;
        v->scores[v->n] = -(float)v->n;
        add_text(v, text, TOKEN_NORMAL);
    }
    add_padding(v);
}

static void set_spm(gguf_writer *w, const vocabulary *v)
{
    gguf_writer_set_string(w, "tokenizer.ggml.model", "llama", 5);
    gguf_writer_set_string(w, "tokenizer.ggml.pre", "default", 7);
    gguf_writer_set_strings(w, "tokenizer.ggml.tokens", v->tokens, (size_t)v->n);
    gguf_writer_set_f32s(w, "tokenizer.ggml.scores", v->scores, (size_t)v->n);
    gguf_writer_set_i32s(w, "tokenizer.ggml.token_type", v->types, (size_t)v->n);
    gguf_writer_set_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_writer_set_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_writer_set_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_eos_token", false);
}

/* ---- a grown vocabulary ---- */

/* Open addressing over token numbers + 1, for "is there such a word already". */
typedef struct word_set {
    int *slots;
    size_t mask;
} word_set;

static bool word_add(word_set *set, const vocabulary *v, int token)
{
    gguf_string s = v->tokens[token];
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    size_t i;

    for (size_t k = 0; k < s.len; k++)
        hash = (hash ^ (unsigned char)s.data[k]) * 1099511628211u;
    for (i = hash & set->mask; set->slots[i]; i = (i + 1) & set->mask) {
        gguf_string other = v->tokens[set->slots[i] - 1];

        if (other.len == s.len && memcmp(other.data, s.data, s.len) == 0)
            return false;
    }
    set->slots[i] = token + 1;
    return true;
}

/* Letters only, with a leading space (written as GPT-2 does, U+0120) if that is allowed: words that text could have. */
static bool is_word(gguf_string s, bool space_allowed)
{
    size_t i = 0;

    if (space_allowed && s.len > 2 && memcmp(s.data, "\xc4\xa0", 2) == 0)
        i = 2;
    for (; i < s.len; i++)
        if (!((s.data[i] | 0x20) >= 'a' && (s.data[i] | 0x20) <= 'z'))
            return false;
    return s.len > 0;
}

/* Merges random pairs of GPT-2's words until there are n_words, the words of a vocabulary three times as large. */
static void grow(vocabulary *v, word_set *set, int n_words)
{
    int n_first = v->n;
    random_state r;

    random_seed(&r, 151936, 0);
    while (v->n < n_words) {
        gguf_string a = v->tokens[random_u64(&r) % (uint64_t)n_first];
        gguf_string b = v->tokens[random_u64(&r) % (uint64_t)n_first];
        size_t used = v->arena_used;
        gguf_string merge;

        if (a.len + b.len > MAX_WORD || !is_word(a, true) || !is_word(b, false))
            continue;
        merge = in_arena(v, a.data, a.len);
        in_arena(v, " ", 1);
        in_arena(v, b.data, b.len);
        merge.len += 1 + b.len;
        v->tokens[v->n] = in_arena(v, a.data, a.len);
        in_arena(v, b.data, b.len);
        v->tokens[v->n].len += b.len;
        if (!word_add(set, v, v->n)) {
            v->arena_used = used;
            continue;
        }
        v->types[v->n++] = TOKEN_NORMAL;
        v->merges[v->n_merges++] = merge;
    }
}

/* The control token goes last, after the words, as in Qwen's vocabulary; then padding. */
static aigc_status grown_bpe(vocabulary *v, const gguf_file *file, uint32_t *end_of_text, aigc_error *err)
{
    const gguf_value *tokens = gguf_find(file, "tokenizer.ggml.tokens");
    const gguf_value *merges = gguf_find(file, "tokenizer.ggml.merges");
    int n_words = v->n_vocab - v->n_vocab / 500;
    word_set set = {.mask = 1};
    const unsigned char *cursor;

    if (!tokens || !merges || tokens->n_items + 1000 > (uint64_t)n_words || merges->n_items > tokens->n_items)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: not the vocabulary of GPT-2", gguf_path(file));
    while (set.mask < 4 * (size_t)v->n_vocab)
        set.mask = set.mask * 2 + 1;
    set.slots = aigc_calloc(set.mask + 1, sizeof *set.slots);
    if (!set.slots)
        return aigc_fail_memory(err, "the words of a synthetic vocabulary", (set.mask + 1) * sizeof *set.slots);
    cursor = tokens->data;
    for (uint64_t i = 0; i + 1 < tokens->n_items; i++) { /* the last is <|endoftext|> */
        add_token(v, gguf_next_string(&cursor), TOKEN_NORMAL);
        word_add(&set, v, v->n - 1);
    }
    cursor = merges->data;
    for (uint64_t i = 0; i < merges->n_items; i++)
        v->merges[v->n_merges++] = gguf_next_string(&cursor);
    grow(v, &set, n_words);
    free(set.slots);
    *end_of_text = (uint32_t)v->n;
    add_text(v, "<|endoftext|>", TOKEN_CONTROL);
    add_padding(v);
    return AIGC_OK;
}

/* ---- choosing ---- */

static aigc_status set_from_file(gguf_writer *w, synthetic_vocabulary kind, int n_vocab, const char *data_dir,
                                 aigc_error *err)
{
    const char *name = kind == VOCABULARY_LLAMA ? "llama-spm" : "gpt-2";
    char path[4096];
    gguf_file *file;
    vocabulary v;
    uint32_t end_of_text = 0;
    aigc_status status;

    if ((size_t)snprintf(path, sizeof path, "%s/tokenizers/ggml-vocab-%s.gguf", data_dir, name) >= sizeof path)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the data directory's name is too long");
    status = gguf_open(path, &file, err);
    if (status != AIGC_OK)
        return status;
    if (kind == VOCABULARY_GPT2_GROWN) {
        status = vocabulary_alloc(&v, n_vocab, err);
        if (status == AIGC_OK)
            status = grown_bpe(&v, file, &end_of_text, err);
        if (status == AIGC_OK)
            set_bpe(w, &v, end_of_text);
        vocabulary_free(&v);
    } else {
        gguf_writer_copy_values(w, file);
    }
    gguf_close(file);
    return status;
}

aigc_status synthetic_set_vocabulary(gguf_writer *w, synthetic_vocabulary kind, int n_vocab, const char *data_dir,
                                     aigc_error *err)
{
    vocabulary v;
    aigc_status status;

    if (kind != VOCABULARY_BYTES_BPE && kind != VOCABULARY_BYTES_SPM)
        return set_from_file(w, kind, n_vocab, data_dir, err);
    status = vocabulary_alloc(&v, n_vocab, err);
    if (status == AIGC_OK && kind == VOCABULARY_BYTES_BPE) {
        bytes_bpe(&v);
        set_bpe(w, &v, 0);
    } else if (status == AIGC_OK) {
        bytes_spm(&v);
        set_spm(w, &v);
    }
    vocabulary_free(&v);
    return status;
}
