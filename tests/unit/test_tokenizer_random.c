/*
 * test_tokenizer_random.c: random vocabularies. Merging against a plain reading of its definition, and texts and
 * vocabularies of random bytes, for the sanitizers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "vocabularies.h"

enum { MAX_TOKENS = 64, MAX_MERGES = 96, MAX_LEN = 16, MAX_TEXT = 64 };

typedef struct random_vocabulary {
    char text[MAX_TOKENS][MAX_LEN], merge_text[MAX_MERGES][2 * MAX_LEN];
    gguf_string tokens[MAX_TOKENS], merges[MAX_MERGES];
    float scores[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    size_t n, n_merges;
} random_vocabulary;

static uint32_t below(random_state *r, uint32_t n)
{
    return (uint32_t)(random_u64(r) % n);
}

static void add_token(random_vocabulary *v, const char *text, size_t len)
{
    memcpy(v->text[v->n], text, len);
    v->tokens[v->n] = (gguf_string){v->text[v->n], len};
    v->n++;
}

/* a to d, then words of them, each made of two tokens; some stand twice. Merges: ways to split the words, shuffled;
 * some are left out, some make no token. */
static void make_words(random_vocabulary *v, random_state *r)
{
    v->n = v->n_merges = 0;
    for (char c = 'a'; c <= 'd'; c++)
        add_token(v, &c, 1);
    while (v->n < 40) {
        const gguf_string *left = &v->tokens[below(r, (uint32_t)v->n)], *right = &v->tokens[below(r, (uint32_t)v->n)];
        char joined[2 * MAX_LEN];
        size_t len = left->len + right->len;

        if (len > 8)
            continue;
        memcpy(joined, left->data, left->len);
        memcpy(joined + left->len, right->data, right->len);
        add_token(v, joined, len);
    }
    while (v->n_merges < MAX_MERGES) {
        const gguf_string *token = &v->tokens[below(r, 40)];
        uint32_t split = token->len > 1 ? 1 + below(r, (uint32_t)token->len - 1) : 1;
        int n =
            snprintf(v->merge_text[v->n_merges], 2 * MAX_LEN, "%.*s %.*s%s", (int)split, token->data,
                     (int)(token->len - split), token->data + split, token->len == 1 || below(r, 9) == 0 ? "q" : "");

        v->merges[v->n_merges] = (gguf_string){v->merge_text[v->n_merges], (size_t)n};
        v->n_merges++;
    }
    for (size_t i = 0; i < v->n; i++)
        v->scores[i] = below(r, 12) == 0 ? NAN : below(r, 12) == 0 ? -INFINITY : -(float)below(r, 10);
}

/* ---- merging, read literally ---------------------------------------------------------------------------------------
 */

/* The lowest id of a text, or -1. */
static int id_of(const random_vocabulary *v, const char *text, size_t len)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->tokens[i].len == len && memcmp(v->tokens[i].data, text, len) == 0)
            return (int)i;
    return -1;
}

/* Whether text[0..left) and text[left..len) may be joined, and how urgent that is (less goes first). */
typedef bool (*urgency)(const random_vocabulary *v, const char *text, size_t left, size_t len, double *out);

static bool by_rank(const random_vocabulary *v, const char *text, size_t left, size_t len, double *out)
{
    char line[2 * MAX_TEXT + 2];
    size_t n = (size_t)snprintf(line, sizeof line, "%.*s %.*s", (int)left, text, (int)(len - left), text + left);

    for (size_t i = 0; i < v->n_merges && id_of(v, text, len) >= 0; i++)
        if (v->merges[i].len == n && memcmp(v->merges[i].data, line, n) == 0) {
            *out = (double)i;
            return true;
        }
    return false;
}

static bool by_score(const random_vocabulary *v, const char *text, size_t left, size_t len, double *out)
{
    int id = id_of(v, text, len);

    (void)left;
    if (id < 0)
        return false;
    *out = isnan(v->scores[id]) ? INFINITY : v->scores[id] == -INFINITY ? 1e30 : -(double)v->scores[id];
    return true;
}

/* Joins the most urgent pair, the leftmost of equals, until none is left. ids gets the tokens. */
static size_t merge_plainly(const random_vocabulary *v, const char *text, size_t len, urgency urgent, int32_t *ids)
{
    size_t start[MAX_TEXT + 1], n = len;

    for (size_t i = 0; i <= len; i++)
        start[i] = i;
    for (;;) {
        size_t best = n;
        double best_value = 0;

        for (size_t i = 0; i + 1 < n; i++) {
            double value;

            if (urgent(v, text + start[i], start[i + 1] - start[i], start[i + 2] - start[i], &value) &&
                (best == n || value < best_value)) {
                best = i;
                best_value = value;
            }
        }
        if (best == n)
            break;
        memmove(&start[best + 1], &start[best + 2], (n - best - 1) * sizeof *start);
        n--;
    }
    for (size_t i = 0; i < n; i++)
        ids[i] = id_of(v, text + start[i], start[i + 1] - start[i]);
    return n;
}

static void set_no_space(gguf_writer *w)
{
    gguf_writer_set_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

static void check_merging(bool is_spm, uint64_t seed)
{
    static random_vocabulary v;
    random_state r;
    made_vocabulary made;
    gguf_file *file;
    tokenizer *t;

    random_seed(&r, seed, is_spm);
    make_words(&v, &r);
    made = (made_vocabulary){.model = is_spm ? "llama" : "gpt2",
                             .tokens = v.tokens,
                             .n_tokens = v.n,
                             .merges = v.merges,
                             .n_merges = v.n_merges,
                             .scores = v.scores,
                             .n_scores = v.n,
                             .more = set_no_space};
    file = make_vocabulary(&made);
    t = open_tokenizer(file);
    for (int round = 0; round < 200; round++) {
        char text[MAX_TEXT];
        size_t len = 1 + below(&r, MAX_TEXT - 1), n, n_expected;
        int32_t expected[MAX_TEXT], *ids;

        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + below(&r, round % 2 ? 2 : 4));
        n_expected = merge_plainly(&v, text, len, is_spm ? by_score : by_rank, expected);
        assert_int_equal(tokenizer_encode(t, text, len, AIGC_TEXT_PLAIN, &ids, &n, NULL), AIGC_OK);
        assert_int_equal(n, n_expected);
        assert_memory_equal(ids, expected, n * sizeof *ids);
        free(ids);
    }
    tokenizer_close(t);
    gguf_close(file);
}

static void test_merging_by_rank(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++)
        check_merging(false, seed);
}

static void test_merging_by_score(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++)
        check_merging(true, seed);
}

/* ---- random bytes
 * ---------------------------------------------------------------------------------------------------- */

/* Pieces of text that tokenizers treat specially, and bytes. */
static size_t append_anything(random_state *r, char *out)
{
    static const char *const pieces[] = {" ",
                                         "  ",
                                         "\n",
                                         "\r\n",
                                         "a",
                                         "bc",
                                         "'s",
                                         "'re",
                                         "12",
                                         "<|",
                                         "|>",
                                         "<s>",
                                         "ab",
                                         "\t",
                                         "",
                                         "\xc4\xa0",
                                         "\xe2\x96\x81",
                                         "\xf0\x9f\x98\x80",
                                         "\xe4\xbd\xa0",
                                         "\xcc\x81",
                                         "\xc2\x85",
                                         "<0x0A>",
                                         "\xff"};
    size_t n_pieces = sizeof pieces / sizeof *pieces, at = below(r, (uint32_t)n_pieces + 1);

    if (at == n_pieces) {
        *out = (char)below(r, 256);
        return 1;
    }
    memcpy(out, pieces[at], strlen(pieces[at]));
    return strlen(pieces[at]);
}

static size_t append_some(random_state *r, char *out, size_t max)
{
    size_t n = 0, target = below(r, (uint32_t)max - 6);

    while (n < target)
        n += append_anything(r, out + n);
    return n;
}

static void make_anything(random_vocabulary *v, random_state *r)
{
    v->n = 1 + below(r, MAX_TOKENS);
    v->n_merges = below(r, MAX_MERGES);
    for (size_t i = 0; i < v->n; i++) {
        v->tokens[i] = (gguf_string){v->text[i], append_some(r, v->text[i], MAX_LEN)};
        v->types[i] = (int32_t)below(r, 8);
        v->scores[i] = below(r, 9) == 0 ? NAN : (float)random_normal(r);
    }
    for (size_t i = 0; i < v->n_merges; i++) {
        char *text = v->merge_text[i];
        size_t n = 0;

        text[n++] = 'a';
        n += append_some(r, text + n, MAX_LEN - 2);
        text[n++] = ' ';
        n += append_some(r, text + n, MAX_LEN - 2);
        text[n++] = 'b';
        v->merges[i] = (gguf_string){text, n};
    }
}

static void use_tokenizer(const tokenizer *t, random_state *r)
{
    static char text[1000];
    char piece[TOKEN_MAX_BYTES];
    int32_t *ids;
    size_t len = append_some(r, text, sizeof text), n, n_decoded;
    unsigned flags = below(r, 8);
    char *decoded;
    aigc_status status = tokenizer_encode(t, text, len, flags, &ids, &n, NULL);

    assert_int_equal(status, utf8_valid(text, len) == len ? AIGC_OK : AIGC_E_TEXT);
    if (status != AIGC_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        int bytes = tokenizer_piece(t, ids[i], i == 0, flags, piece);

        assert_true(ids[i] >= 0 && ids[i] < tokenizer_n_vocab(t));
        assert_true(bytes >= 0 && bytes <= TOKEN_MAX_BYTES);
    }
    assert_int_equal(tokenizer_decode(t, ids, n, flags, &decoded, &n_decoded, NULL), AIGC_OK);
    assert_int_equal(utf8_valid(decoded, n_decoded), n_decoded);
    free(decoded);
    free(ids);
}

static void test_random_bytes(void **state)
{
    static random_vocabulary v;
    static const char *const pre[] = {NULL, "gpt-2", "smollm", "qwen2", "llama-bpe", "dbrx"};
    random_state r;

    (void)state;
    random_seed(&r, 3, 0);
    for (int round = 0; round < 800; round++) {
        made_vocabulary made;
        gguf_file *file;
        tokenizer *t;

        make_anything(&v, &r);
        made = (made_vocabulary){.model = below(&r, 2) ? "llama" : "gpt2",
                                 .pre = pre[below(&r, 6)],
                                 .name = below(&r, 4) ? "x" : "Phi-3 x",
                                 .tokens = v.tokens,
                                 .n_tokens = v.n,
                                 .merges = v.merges,
                                 .n_merges = v.n_merges,
                                 .scores = v.scores,
                                 .n_scores = v.n,
                                 .types = below(&r, 3) ? v.types : NULL,
                                 .n_types = v.n};
        file = make_vocabulary(&made);
        t = open_tokenizer(file);
        for (int text = 0; text < 20; text++)
            use_tokenizer(t, &r);
        tokenizer_close(t);
        gguf_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_by_rank),
        cmocka_unit_test(test_merging_by_score),
        cmocka_unit_test(test_random_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
