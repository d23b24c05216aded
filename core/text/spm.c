/* spm.c: merges by score. */
#include "text/spm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/unicode.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581 */

/* Kinds of tokens that are never made of a text's characters, whatever these spell. */
static const uint8_t NEVER_MADE = TOKEN_CONTROL | TOKEN_UNKNOWN | TOKEN_BYTE;

struct spm {
    const vocab *vocab;
    uint32_t *priority;    /* [n_vocab] falls as the score rises */
    int32_t byte_id[256];  /* -1: no such token */
    bool marks_begin_only; /* no token has U+2581 behind another character, so none reaches over such a place */
};

/* Order of floats as unsigned integers, reversed; -0 as 0, NaN as the lowest score. */
static uint32_t priority_of(double score)
{
    float f = (float)score + 0.0f;
    uint32_t bits;

    if (f != f)
        return UINT32_MAX;
    memcpy(&bits, &f, sizeof bits);
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

static bool begins_with_mark(const char *text, size_t len)
{
    return len >= 3 && memcmp(text, SPACE_MARK, 3) == 0;
}

static bool has_inner_mark(const char *text, size_t len)
{
    while (begins_with_mark(text, len)) {
        text += 3;
        len -= 3;
    }
    for (; len; text++, len--)
        if (begins_with_mark(text, len))
            return true;
    return false;
}

static aigc_status read_scores(const gguf_file *file, spm *s, aigc_error *err)
{
    const vocab *v = s->vocab;
    const gguf_value *scores;
    aigc_status status = vocab_array(file, "tokenizer.ggml.scores", true, false, (uint64_t)v->n, &scores, err);

    if (status != AIGC_OK)
        return status;
    s->priority = aigc_realloc_array(NULL, (size_t)v->n, sizeof *s->priority);
    if (!s->priority)
        return aigc_fail_memory(err, "the scores", (size_t)v->n * sizeof *s->priority);
    s->marks_begin_only = true;
    for (int32_t id = 0; id < v->n; id++) {
        s->priority[id] = priority_of(gguf_array_f64(scores, (uint64_t)id));
        if (!(v->tokens[id].kind & NEVER_MADE) && has_inner_mark(vocab_text(v, id), v->tokens[id].len))
            s->marks_begin_only = false;
    }
    return AIGC_OK;
}

aigc_status spm_open(const gguf_file *file, const vocab *v, spm **out, aigc_error *err)
{
    spm *s = aigc_calloc(1, sizeof *s);
    aigc_status status;

    if (!s)
        return aigc_fail_memory(err, "the tokenizer", sizeof *s);
    s->vocab = v;
    status = read_scores(file, s, err);
    if (status != AIGC_OK) {
        spm_close(s);
        return status;
    }
    for (int byte = 0; byte < 256; byte++) {
        char text[8];

        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        s->byte_id[byte] = vocab_find(v, text, 6);
    }
    *out = s;
    return AIGC_OK;
}

void spm_close(spm *s)
{
    if (!s)
        return;
    free(s->priority);
    free(s);
}

/* The token that text makes when it is merged. */
static int32_t find_mergeable(const spm *s, const char *text, size_t len)
{
    int32_t id = vocab_find(s->vocab, text, len);

    return id >= 0 && s->vocab->tokens[id].kind & NEVER_MADE ? -1 : id;
}

static bool may_merge(const void *context, const char *text, size_t left_len, size_t len, uint32_t *priority,
                      int32_t *id)
{
    const spm *s = context;

    (void)left_len;
    *id = find_mergeable(s, text, len);
    if (*id < 0)
        return false;
    *priority = s->priority[*id];
    return true;
}

/* One for a run of them, in whatever words. */
static bool push_unknown(int32_t unknown, encoder *e)
{
    if (e->unknown_end == e->n_ids && e->n_ids > 0)
        return true;
    if (!encoder_push(e, unknown))
        return false;
    e->unknown_end = e->n_ids;
    return true;
}

static bool push_bytes(const spm *s, const char *text, size_t len, int32_t unknown, encoder *e)
{
    for (size_t i = 0; i < len; i++)
        if (s->byte_id[(unsigned char)text[i]] < 0)
            return unknown < 0 || push_unknown(unknown, e);
    for (size_t i = 0; i < len; i++)
        if (!encoder_push(e, s->byte_id[(unsigned char)text[i]]))
            return false;
    return true;
}

/* Copies text with its spaces as U+2581. Returns the copy's length. */
static size_t mark_spaces(const char *text, size_t len, bool add_space, char *out)
{
    size_t n = 0;

    if (add_space) {
        memcpy(out, SPACE_MARK, 3);
        n = 3;
    }
    for (size_t i = 0; i < len; i++)
        if (text[i] == ' ') {
            memcpy(out + n, SPACE_MARK, 3);
            n += 3;
        } else
            out[n++] = text[i];
    return n;
}

static bool begin_word(const spm *s, const char *text, size_t len, bool add_space, encoder *e)
{
    size_t n_characters = add_space, n_spaces = add_space;

    for (size_t i = 0; i < len; i++) {
        n_characters += ((unsigned char)text[i] & 0xc0) != 0x80;
        n_spaces += text[i] == ' ';
    }
    if (!encoder_begin_word(e, n_characters) || !encoder_reserve_word(e, len + 3 * n_spaces))
        return false;
    len = mark_spaces(text, len, add_space, e->word);
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length(e->word[i]);
        merger_add(&e->merger, i, n, find_mergeable(s, e->word + i, n));
    }
    return true;
}

static bool encode_word(const spm *s, const char *text, size_t len, bool add_space, int32_t unknown, encoder *e)
{
    const merge_symbol *symbols;

    if (!begin_word(s, text, len, add_space, e) || !merger_run(&e->merger, e->word, may_merge, s))
        return false;
    symbols = e->merger.symbols;
    for (int32_t i = 0; i >= 0; i = symbols[i].next)
        if (symbols[i].id >= 0 ? !encoder_push(e, symbols[i].id)
                               : !push_bytes(s, e->word + symbols[i].start, symbols[i].len, unknown, e))
            return false;
    return true;
}

static bool begins_with_space(const char *text, size_t len)
{
    return *text == ' ' || begins_with_mark(text, len);
}

/* End of the word at pos: the next place where a space follows another character. */
static size_t word_end(const char *text, size_t pos, size_t len)
{
    while (pos < len && begins_with_space(text + pos, len - pos))
        pos += utf8_length(text[pos]);
    while (pos < len && !begins_with_space(text + pos, len - pos))
        pos += utf8_length(text[pos]);
    return pos;
}

bool spm_encode(const spm *s, const char *text, size_t len, bool add_space, int32_t unknown, encoder *e)
{
    for (size_t pos = 0, end; pos < len; pos = end) {
        size_t limit = encoder_word_limit(pos, len, 4);

        end = s->marks_begin_only ? word_end(text, pos, limit) : limit;
        if (!encode_word(s, text + pos, end - pos, add_space && pos == 0, unknown, e))
            return false;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int spm_byte(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || hex_digit(text[3]) < 0 || hex_digit(text[4]) < 0)
        return -1;
    return hex_digit(text[3]) * 16 + hex_digit(text[4]);
}

size_t spm_bytes(const char *text, size_t len, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len;)
        if (begins_with_mark(text + i, len - i)) {
            out[n++] = ' ';
            i += 3;
        } else
            out[n++] = text[i++];
    return n;
}
