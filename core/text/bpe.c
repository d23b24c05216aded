/* bpe.c: merges by rank, found by the token that they make. */
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

/* One line of tokenizer.ggml.merges; its rank is its index. The left part's length tells merges that make the same
 * token apart, so the parts need no ids. */
typedef struct merge_line {
    int32_t next; /* another merge that makes the same token, or -1 */
    uint16_t left_len;
} merge_line;

struct bpe {
    const vocab *vocab;
    const pretokenizer *pre;
    int32_t *first; /* [n_vocab] a merge that makes the token, or -1 */
    merge_line *lines;
    size_t n_lines;
    char symbol[256][2]; /* the character that stands for each byte, UTF-8 */
    uint8_t symbol_len[256];
    int32_t symbol_id[256];
};

/* GPT-2 writes printable Latin-1 as itself and the other 68 bytes as the code points from U+0100 on. */
static bool stands_for_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

/* The byte that code point c stands for, or -1. */
static int byte_of_symbol(uint32_t c)
{
    if (stands_for_itself(c))
        return (int)c;
    if (c < 0x100 || c > 0x143)
        return -1;
    c -= 0x100; /* the bytes 00-20, 7f-a0 and ad, in this order */
    return c <= 0x20 ? (int)c : c <= 0x42 ? (int)(0x7f + c - 0x21) : 0xad;
}

int bpe_symbol(unsigned char byte, char out[2])
{
    uint32_t c = byte;
    if (!stands_for_itself(c)) /* the bytes 00-20, 7f-a0 and ad, in this order */
        c = 0x100 + (c <= 0x20 ? c : c <= 0xa0 ? c - 0x7f + 0x21 : 0x43);
    out[0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return c < 0x80 ? 1 : 2;
}

static void make_symbols(bpe *b)
{
    for (int byte = 0; byte < 256; byte++) {
        b->symbol_len[byte] = (uint8_t)bpe_symbol((unsigned char)byte, b->symbol[byte]);
        b->symbol_id[byte] = vocab_find(b->vocab, b->symbol[byte], b->symbol_len[byte]);
    }
}

/* The token that is left and right together. Ids mostly rise with ranks, one or none from merge to merge, so the one
 * after the last and the last are looked at first. */
static int32_t find_joined(const vocab *v, const char *left, size_t left_len, const char *right, size_t right_len,
                           int32_t last)
{
    char joined[TOKEN_MAX_BYTES];
    size_t len = left_len + right_len;

    if (len > v->max_len)
        return -1;
    for (int32_t id = last + 1; id >= last && !v->has_duplicates; id--)
        if (id >= 0 && id < v->n && v->tokens[id].len == len && memcmp(vocab_text(v, id), left, left_len) == 0 &&
            memcmp(vocab_text(v, id) + left_len, right, right_len) == 0)
            return id;
    memcpy(joined, left, left_len);
    memcpy(joined + left_len, right, right_len);
    return vocab_find(v, joined, len);
}

static const merge_line *find_line(const bpe *b, int32_t id, size_t left_len)
{
    for (int32_t i = b->first[id]; i >= 0; i = b->lines[i].next)
        if (b->lines[i].left_len == left_len)
            return &b->lines[i];
    return NULL;
}

/* Files each merge under the token that it makes. A merge that makes no token can never be applied; of merges that
 * stand twice the first counts. */
static aigc_status read_merges(const gguf_file *file, const gguf_value *merges, bpe *b, aigc_error *err)
{
    const unsigned char *cursor = merges->data;
    int32_t id = 255;

    for (size_t i = 0; i < b->n_lines; i++) {
        gguf_string line = gguf_next_string(&cursor);
        const char *space = line.len > 1 ? memchr(line.data + 1, ' ', line.len - 1) : NULL;
        size_t left_len;
        int32_t made;

        if (!space || space + 1 == line.data + line.len)
            return aigc_fail(err, AIGC_E_FORMAT, "%s: tokenizer.ggml.merges[%zu] is not two parts with a space between",
                             gguf_path(file), i);
        left_len = (size_t)(space - line.data);
        made = find_joined(b->vocab, line.data, left_len, space + 1, line.len - left_len - 1, id);
        if (made < 0 || find_line(b, made, left_len))
            continue;
        id = made;
        b->lines[i] = (merge_line){b->first[id], (uint16_t)left_len};
        b->first[id] = (int32_t)i;
    }
    return AIGC_OK;
}

static aigc_status open_pretokenizer(const gguf_file *file, bpe *b, aigc_error *err)
{
    gguf_string name = {"default", 7};
    aigc_status status = gguf_get_string(file, "tokenizer.ggml.pre", false, &name, err);

    if (status != AIGC_OK)
        return status;
    b->pre = pretokenizer_find(name.data, name.len);
    if (!b->pre)
        return aigc_fail(err, AIGC_E_UNSUPPORTED,
                         "%s: tokenizer.ggml.pre is \"%.*s\", which this version does not know", gguf_path(file),
                         (int)(name.len < 100 ? name.len : 100), name.data);
    return AIGC_OK;
}

static aigc_status open_merges(const gguf_file *file, bpe *b, aigc_error *err)
{
    const gguf_value *merges;
    aigc_status status = vocab_array(file, "tokenizer.ggml.merges", true, true, 0, &merges, err);
    size_t n_vocab = (size_t)b->vocab->n;

    if (status != AIGC_OK)
        return status;
    if (merges->n_items > INT32_MAX)
        return aigc_fail(err, AIGC_E_UNSUPPORTED, "%s: %llu merges, more than %d", gguf_path(file),
                         (unsigned long long)merges->n_items, INT32_MAX);
    b->n_lines = (size_t)merges->n_items;
    b->first = aigc_realloc_array(NULL, n_vocab, sizeof *b->first);
    b->lines = aigc_realloc_array(NULL, b->n_lines, sizeof *b->lines);
    if (!b->first || !b->lines)
        return aigc_fail_memory(err, "the merges", n_vocab * sizeof *b->first + b->n_lines * sizeof *b->lines);
    memset(b->first, 0xff, n_vocab * sizeof *b->first);
    return read_merges(file, merges, b, err);
}

aigc_status bpe_open(const gguf_file *file, const vocab *v, bpe **out, aigc_error *err)
{
    bpe *b = aigc_calloc(1, sizeof *b);
    aigc_status status;

    if (!b)
        return aigc_fail_memory(err, "the tokenizer", sizeof *b);
    b->vocab = v;
    status = open_pretokenizer(file, b, err);
    if (status == AIGC_OK)
        status = open_merges(file, b, err);
    if (status != AIGC_OK) {
        bpe_close(b);
        return status;
    }
    make_symbols(b);
    *out = b;
    return AIGC_OK;
}

void bpe_close(bpe *b)
{
    if (!b)
        return;
    free(b->first);
    free(b->lines);
    free(b);
}

const pretokenizer *bpe_pretokenizer(const bpe *b)
{
    return b->pre;
}

static bool may_merge(const void *context, const char *text, size_t left_len, size_t len, uint32_t *priority,
                      int32_t *id)
{
    const bpe *b = context;
    const merge_line *line;

    *id = vocab_find(b->vocab, text, len);
    if (*id < 0)
        return false;
    line = find_line(b, *id, left_len);
    if (!line)
        return false;
    *priority = (uint32_t)(line - b->lines);
    return true;
}

static bool push_merged(const merger *m, encoder *e)
{
    for (int32_t i = 0; i >= 0; i = m->symbols[i].next)
        if (m->symbols[i].id >= 0 && !encoder_push(e, m->symbols[i].id))
            return false;
    return true;
}

static bool encode_word(const bpe *b, const char *text, size_t len, encoder *e)
{
    size_t n = 0;

    if (!encoder_begin_word(e, len) || !encoder_reserve_word(e, 2 * len))
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];

        memcpy(e->word + n, b->symbol[byte], 2); /* the second byte is overwritten if it is not part of it */
        merger_add(&e->merger, n, b->symbol_len[byte], b->symbol_id[byte]);
        n += b->symbol_len[byte];
    }
    if (b->pre->ignore_merges) {
        int32_t id = vocab_find(b->vocab, e->word, n);

        if (id >= 0)
            return encoder_push(e, id);
    }
    return merger_run(&e->merger, e->word, may_merge, b) && push_merged(&e->merger, e);
}

bool bpe_encode(const bpe *b, const char *text, size_t len, encoder *e)
{
    for (size_t pos = 0, end; pos < len; pos = end) {
        end = b->pre->next(b->pre, text, pos, encoder_word_limit(pos, len, 1));
        if (merger_stopped(&e->merger) || !encode_word(b, text + pos, end - pos, e))
            return false;
    }
    return true;
}

size_t bpe_bytes(const char *text, size_t len, char *out)
{
    size_t n_out = 0;

    for (size_t i = 0, n; i < len; i += n) {
        int byte;

        if (!utf8_character(text + i, len - i) || (byte = byte_of_symbol(utf8_decode(text + i, &n))) < 0) {
            memcpy(out, text, len);
            return len;
        }
        out[n_out++] = (char)byte;
    }
    return n_out;
}
