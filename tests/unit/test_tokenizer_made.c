/* test_tokenizer_made.c: small vocabularies made here: what is refused, and what each odd value means. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vocabularies.h"

#define S(s)                                                                                                           \
    {                                                                                                                  \
        s, sizeof s - 1                                                                                                \
    }
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Byte-level: \xc4\xa0 is a space. */
static const gguf_string bpe_tokens[] = {S("a"),        S("b"),        S("c"),      S("d"),      S("\xc4\xa0"),
                                         S("ab"),       S("abc"),      S("bcd"),    S("<|go|>"), S("<|go"),
                                         S("<|go|>ab"), S("<|go|>ad"), S("<|go|>b")};
static const int32_t bpe_types[] = {1, 1, 1, 1, 1, 1, 1, 1, 3, 4, 4, 4, 3};
static const gguf_string bpe_merges[] = {S("b cd"), S("a b"), S("ab c"), S("no such"), S("a b")};

static const gguf_string spm_tokens[] = {S("<unk>"), S("<s>"), S("</s>"), S("\xe2\x96\x81"), S("a"),
                                         S("b"),     S("ab"),  S("ba"),   S("aa"),           S("<0x63>"),
                                         S("de"),    S("d"),   S("e"),    S("<user>"),       S("bab")};
static const float spm_scores[] = {0, 0, 0, -1, -2, -3, -4, -4, NAN, 0, -INFINITY, -5, -6, 0, -3};
static const int32_t spm_types[] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 6, 1, 1, 1, 4, 1};

static made_vocabulary bpe_vocabulary(void)
{
    return (made_vocabulary){.model = "gpt2",
                             .pre = "gpt-2",
                             .tokens = bpe_tokens,
                             .n_tokens = COUNT(bpe_tokens),
                             .types = bpe_types,
                             .n_types = COUNT(bpe_types),
                             .merges = bpe_merges,
                             .n_merges = COUNT(bpe_merges)};
}

static made_vocabulary spm_vocabulary(void)
{
    return (made_vocabulary){.model = "llama",
                             .tokens = spm_tokens,
                             .n_tokens = COUNT(spm_tokens),
                             .types = spm_types,
                             .n_types = COUNT(spm_types),
                             .scores = spm_scores,
                             .n_scores = COUNT(spm_scores)};
}

/* ---- refused ------------------------------------------------------------------------------------------------------
 */

static void refuse(const made_vocabulary *v, aigc_status expected, const char *words)
{
    gguf_file *file = make_vocabulary(v);
    tokenizer *t = NULL;
    aigc_error err = {.message = ""};

    assert_int_equal(tokenizer_open(file, &t, &err), expected);
    assert_null(t);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    gguf_close(file);
}

static void test_kinds_refused(void **state)
{
    made_vocabulary v = bpe_vocabulary();

    (void)state;
    v.model = NULL;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.model");
    v.model = "bert";
    refuse(&v, AIGC_E_UNSUPPORTED, "\"bert\"");
    v.model = "gpt2";
    v.pre = "gpt-3";
    refuse(&v, AIGC_E_UNSUPPORTED, "\"gpt-3\"");
    v.pre = "";
    refuse(&v, AIGC_E_UNSUPPORTED, "tokenizer.ggml.pre is \"\"");
}

static void set_tokens_to_number(gguf_writer *w)
{
    gguf_writer_set_u32(w, "tokenizer.ggml.tokens", 7);
}

static void set_types_to_floats(gguf_writer *w)
{
    static const float types[COUNT(bpe_types)] = {1};

    gguf_writer_set_f32s(w, "tokenizer.ggml.token_type", types, COUNT(types));
}

static void set_scores_to_strings(gguf_writer *w)
{
    gguf_writer_set_strings(w, "tokenizer.ggml.scores", spm_tokens, COUNT(spm_tokens));
}

static void test_arrays_refused(void **state)
{
    static char long_text[TOKEN_MAX_BYTES + 1];
    const gguf_string long_token = {long_text, sizeof long_text};
    const gguf_string bad_merges[] = {S("a b"), S("ab")}, half_merges[] = {S("a ")};
    made_vocabulary v = bpe_vocabulary();

    (void)state;
    memset(long_text, 'x', sizeof long_text);
    v.tokens = NULL;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.tokens is missing");
    v.more = set_tokens_to_number;
    refuse(&v, AIGC_E_FORMAT, "not an array of strings");
    v = bpe_vocabulary();
    v.n_tokens = 0;
    refuse(&v, AIGC_E_FORMAT, "has 0 items");
    v.tokens = &long_token;
    v.n_tokens = 1;
    v.types = NULL;
    refuse(&v, AIGC_E_FORMAT, "token 0 has 4097 bytes");
    v = bpe_vocabulary();
    v.n_types--;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.token_type has 12 items for 13 tokens");
    v.types = NULL;
    v.more = set_types_to_floats;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.token_type is not an array of integers");
    v = bpe_vocabulary();
    v.merges = NULL;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.merges is missing");
    v.merges = bad_merges;
    v.n_merges = 2;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.merges[1]");
    v.merges = half_merges;
    v.n_merges = 1;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.merges[0]");
    v = spm_vocabulary();
    v.n_scores--;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.scores has 14 items for 15 tokens");
    v.scores = NULL;
    refuse(&v, AIGC_E_FORMAT, "tokenizer.ggml.scores is missing");
    v.more = set_scores_to_strings;
    refuse(&v, AIGC_E_FORMAT, "not an array of numbers");
}

static void set_bos_beyond(gguf_writer *w)
{
    gguf_writer_set_u32(w, "tokenizer.ggml.bos_token_id", 13);
}

static void set_eot_negative(gguf_writer *w)
{
    gguf_writer_set_i32(w, "tokenizer.ggml.eot_token_id", -7);
}

static void set_eos_string(gguf_writer *w)
{
    gguf_writer_set_string(w, "tokenizer.ggml.eos_token_id", "2", 1);
}

static void set_add_bos_number(gguf_writer *w)
{
    gguf_writer_set_f32(w, "tokenizer.ggml.add_bos_token", 1);
}

static void test_ids_and_switches_refused(void **state)
{
    made_vocabulary v = bpe_vocabulary();

    (void)state;
    v.more = set_bos_beyond;
    refuse(&v, AIGC_E_FORMAT, "bos_token_id is 13, but the vocabulary has 13 tokens");
    v.more = set_eot_negative;
    refuse(&v, AIGC_E_FORMAT, "eot_token_id is -7");
    v.more = set_eos_string;
    refuse(&v, AIGC_E_FORMAT, "eos_token_id");
    v.more = set_add_bos_number;
    refuse(&v, AIGC_E_FORMAT, "add_bos_token");
}

/* ---- accepted -----------------------------------------------------------------------------------------------------
 */

/* The text becomes these ids, which end in -1. */
static void check(const tokenizer *t, const char *text, size_t len, unsigned flags, ...)
{
    int32_t *ids;
    size_t n, i = 0;
    aigc_error err;
    va_list expected;
    int id;

    if (tokenizer_encode(t, text, len, flags, &ids, &n, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    va_start(expected, flags);
    for (; (id = va_arg(expected, int)) >= 0; i++) {
        if (i >= n || ids[i] != id)
            fail_msg("\"%s\": token %zu is %d, not %d", text, i, i < n ? ids[i] : -1, id);
    }
    va_end(expected);
    if (n != i)
        fail_msg("\"%s\": %zu tokens, not %zu", text, n, i);
    free(ids);
}

#define CHECK(t, text, flags, ...) check(t, text, sizeof(text) - 1, flags, __VA_ARGS__, -1)

static void test_bpe_rules(void **state)
{
    made_vocabulary v = bpe_vocabulary();
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);

    (void)state;
    CHECK(t, "abc", AIGC_TEXT_PLAIN, 6);
    CHECK(t, "abcd", AIGC_TEXT_PLAIN, 6, 3); /* "cd" is no token, so the first merge never comes about */
    CHECK(t, "bcd", AIGC_TEXT_PLAIN, 1, 2, 3);
    CHECK(t, "ab ab", AIGC_TEXT_PLAIN, 5, 4, 5); /* words are merged apart, the space stays with the second */
    CHECK(t, "axb", AIGC_TEXT_PLAIN, 0, 1);      /* no token for x, and no unknown token */
    CHECK(t, "a<|go|>c", AIGC_TEXT_PARSE_SPECIAL, 0, 8, 2);
    CHECK(t, "a<|go|>c", AIGC_TEXT_PLAIN, 0, 9, 2); /* the user-defined one, then |> has no tokens */
    CHECK(t, "a<|go<|go|>", AIGC_TEXT_PARSE_SPECIAL, 0, 9, 8);
    CHECK(t, "<|go|>a<|go|>ab<|go|>b", AIGC_TEXT_PARSE_SPECIAL, 8, 0, 10, 12); /* the longest */
    CHECK(t, "<|go|>a<|go|>ad<|go|>b", AIGC_TEXT_PLAIN, 9, 0, 11, 9, 1);
    CHECK(t, "ab", AIGC_TEXT_ADD_SPECIAL, 5); /* no BOS known */
    assert_int_equal(tokenizer_bos(t), -1);
    assert_int_equal(tokenizer_eos(t), -1);
    assert_false(tokenizer_adds_bos(t));
    tokenizer_close(t);
    gguf_close(file);
}

static void set_bpe_special(gguf_writer *w)
{
    gguf_writer_set_u32(w, "tokenizer.ggml.bos_token_id", 8);
    gguf_writer_set_u32(w, "tokenizer.ggml.eos_token_id", 9);
    gguf_writer_set_u32(w, "tokenizer.ggml.unknown_token_id", 3);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_eos_token", true);
}

static void test_bpe_special_ids(void **state)
{
    made_vocabulary v = bpe_vocabulary();
    gguf_file *file;
    tokenizer *t;

    (void)state;
    v.more = set_bpe_special;
    file = make_vocabulary(&v);
    t = open_tokenizer(file);
    CHECK(t, "axb", AIGC_TEXT_ADD_SPECIAL, 8, 0, 1, 9); /* no token for x: left out */
    CHECK(t, "", AIGC_TEXT_ADD_SPECIAL, 8, 9);
    check(t, "", 0, AIGC_TEXT_PLAIN, -1);
    assert_true(tokenizer_is_end(t, 9));
    assert_false(tokenizer_is_end(t, 8));
    tokenizer_close(t);
    gguf_close(file);
}

static void test_spm_rules(void **state)
{
    made_vocabulary v = spm_vocabulary();
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);

    (void)state;
    CHECK(t, "ab", AIGC_TEXT_PLAIN, 3, 6);
    CHECK(t, "aba", AIGC_TEXT_PLAIN, 3, 6, 4);    /* "ab" and "ba" score the same: the left one */
    CHECK(t, "babab", AIGC_TEXT_PLAIN, 3, 14, 6); /* "ba" at 0 and 2 (left), then "bab" scores more than "ab" */
    CHECK(t, "aab", AIGC_TEXT_PLAIN, 3, 4, 6);    /* NaN is the lowest score */
    CHECK(t, "aaa", AIGC_TEXT_PLAIN, 3, 8, 4);
    CHECK(t, "dde", AIGC_TEXT_PLAIN, 3, 11, 10);  /* -infinity is a score */
    CHECK(t, "c", AIGC_TEXT_PLAIN, 3, 9);         /* its byte's token */
    CHECK(t, "x\xc3\xa9", AIGC_TEXT_PLAIN, 3, 0); /* no tokens for these bytes: unknown, one for all of them */
    CHECK(t, "<s>", AIGC_TEXT_PLAIN, 3, 0);
    CHECK(t, "xxaxx x", AIGC_TEXT_PLAIN, 3, 0, 4, 0, 3, 0); /* as sentencepiece has it */
    CHECK(t, "x<user>x", AIGC_TEXT_PLAIN, 3, 0, 13, 3, 0);
    CHECK(t, "<s>a</s>b", AIGC_TEXT_PARSE_SPECIAL, 1, 3, 4, 2, 3, 5);
    CHECK(t, "a<user>b", AIGC_TEXT_ADD_SPECIAL, 1, 3, 4, 13, 3, 5);
    CHECK(t, "", AIGC_TEXT_ADD_SPECIAL, 1);
    tokenizer_close(t);
    gguf_close(file);
}

static void set_no_space(gguf_writer *w)
{
    gguf_writer_set_bool(w, "tokenizer.ggml.add_space_prefix", false);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token", false);
    gguf_writer_set_u32(w, "tokenizer.ggml.unknown_token_id", UINT32_MAX); /* how files say: none */
}

static void test_spm_without_space_and_unknown(void **state)
{
    made_vocabulary v = spm_vocabulary();
    static const int32_t ids[] = {3, 4};
    gguf_file *file;
    tokenizer *t;
    char *text;
    size_t len;

    (void)state;
    v.more = set_no_space;
    file = make_vocabulary(&v);
    t = open_tokenizer(file);
    CHECK(t, "a xb", AIGC_TEXT_ADD_SPECIAL, 4, 3, 5);
    assert_int_equal(tokenizer_decode(t, ids, 2, AIGC_TEXT_PLAIN, &text, &len, NULL), AIGC_OK);
    assert_string_equal(text, " a");
    free(text);
    tokenizer_close(t);
    gguf_close(file);
}

/* A token with a space in its middle lets merges reach over the places where words end. */
static void test_spm_token_over_a_space(void **state)
{
    static const gguf_string tokens[] = {S("<unk>"),
                                         S("\xe2\x96\x81"),
                                         S("a"),
                                         S("b"),
                                         S("a\xe2\x96\x81"),
                                         S("a\xe2\x96\x81"
                                           "b")};
    static const float scores[] = {0, -1, -2, -3, -4, -5};
    const made_vocabulary v = {.model = "llama", .tokens = tokens, .n_tokens = 6, .scores = scores, .n_scores = 6};
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);

    (void)state;
    CHECK(t, "a b", AIGC_TEXT_PLAIN, 1, 5);
    CHECK(t, "a a b", AIGC_TEXT_PLAIN, 1, 4, 5);
    tokenizer_close(t);
    gguf_close(file);
}

static void test_odd_tokens(void **state)
{
    static const gguf_string tokens[] = {S("a"),  S(""),   S("a"),      S("\xff\xfe"), S("b"),
                                         S("ab"), S("ab"), S("<0x7g>"), S("\0")};
    static const int32_t types[] = {1, 1, 1, 1, 1, 1, 99, 6, -5};
    static const gguf_string merges[] = {S("a b"), S("\xff \xfe"), S("  ")};
    const made_vocabulary v = {.model = "gpt2",
                               .tokens = tokens,
                               .n_tokens = 9,
                               .types = types,
                               .n_types = 9,
                               .merges = merges,
                               .n_merges = 2};
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);
    char piece[TOKEN_MAX_BYTES];

    (void)state;
    CHECK(t, "ab", AIGC_TEXT_PLAIN, 5); /* of twins the lower id */
    CHECK(t, "aab", AIGC_TEXT_PLAIN, 0, 5);
    assert_int_equal(tokenizer_piece(t, 1, false, AIGC_TEXT_PLAIN, piece), 0);
    assert_int_equal(tokenizer_piece(t, 2, false, AIGC_TEXT_PLAIN, piece), 1);
    assert_int_equal(tokenizer_piece(t, 3, false, AIGC_TEXT_PLAIN, piece), 2); /* as it stands */
    assert_memory_equal(piece, "\xff\xfe", 2);
    for (int32_t id = 6; id < 9; id++) /* a kind without a number, a byte token of no byte, another unknown kind */
        assert_int_equal(tokenizer_piece(t, id, false, AIGC_TEXT_PLAIN, piece), 0);
    tokenizer_close(t);
    gguf_close(file);
}

/* Tokens that are known by their text, whatever kind the file gives them. */
static void test_known_texts(void **state)
{
    static const gguf_string tokens[] = {S("<|im_end|>"), S("<|end|>"), S("<|return|>"), S("<|channel|>"), S("x")};
    static const gguf_string merges[] = {S("x x")};
    const made_vocabulary v = {.model = "gpt2", .tokens = tokens, .n_tokens = 5, .merges = merges, .n_merges = 1};
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);
    char piece[TOKEN_MAX_BYTES];

    (void)state;
    assert_true(tokenizer_is_end(t, 0));
    assert_false(tokenizer_is_end(t, 1)); /* where <|return|> is, it ends a message only */
    assert_true(tokenizer_is_end(t, 2));
    assert_false(tokenizer_is_end(t, 3));
    assert_int_equal(tokenizer_piece(t, 0, false, AIGC_TEXT_PLAIN, piece), 0);
    assert_int_equal(tokenizer_piece(t, 3, false, AIGC_TEXT_PLAIN, piece), 11);
    CHECK(t, "x<|im_end|>x<|channel|>", AIGC_TEXT_PLAIN, 4, 4, 3);
    CHECK(t, "x<|im_end|>x", AIGC_TEXT_PARSE_SPECIAL, 4, 0, 4);
    tokenizer_close(t);
    gguf_close(file);
}

static void test_text_refused(void **state)
{
    made_vocabulary v = bpe_vocabulary();
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);
    int32_t *ids = NULL;
    size_t n;
    aigc_error err;

    (void)state;
    assert_int_equal(tokenizer_encode(t, "ab\xe2\x82", 4, AIGC_TEXT_PLAIN, &ids, &n, &err), AIGC_E_TEXT);
    assert_non_null(strstr(err.message, "at byte 2 (0xe2)"));
    assert_int_equal(tokenizer_encode(t, "", (size_t)TEXT_MAX_BYTES + 1, AIGC_TEXT_PLAIN, &ids, &n, &err),
                     AIGC_E_LIMIT);
    assert_null(ids);
    tokenizer_close(t);
    gguf_close(file);
}

/* The longest word that is merged, and what is longer: memory for merging has a bound. */
static void test_word_too_long(void **state)
{
    enum { LONGEST = 1 << 24 };
    made_vocabulary kinds[] = {bpe_vocabulary(), spm_vocabulary()};
    char *text = malloc(LONGEST + 1);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', LONGEST + 1);
    for (int i = 0; i < 2; i++) {
        gguf_file *file = make_vocabulary(&kinds[i]);
        tokenizer *t = open_tokenizer(file);
        size_t n_space = i, n; /* SentencePiece puts a space in front */
        int32_t *ids = NULL;
        aigc_error err;

        assert_int_equal(tokenizer_encode(t, text, LONGEST + 1 - n_space, AIGC_TEXT_PLAIN, &ids, &n, &err),
                         AIGC_E_LIMIT);
        assert_non_null(strstr(err.message, "16777216"));
        assert_null(ids);
        text[LONGEST / 2] = ' '; /* two words */
        assert_int_equal(tokenizer_encode(t, text, LONGEST + 1, AIGC_TEXT_PLAIN, &ids, &n, &err), AIGC_OK);
        assert_int_equal(n, i == 0 ? 1 : 4); /* bytes without a token vanish; space, unknown, space, unknown */
        text[LONGEST / 2] = 'x';
        free(ids);
        tokenizer_close(t);
        gguf_close(file);
    }
    free(text);
}

static void test_interrupt(void **state)
{
    made_vocabulary v = bpe_vocabulary();
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);
    volatile sig_atomic_t flag = 1;
    int32_t *ids = NULL;
    size_t n;

    (void)state;
    tokenizer_set_interrupt(t, &flag);
    assert_int_equal(tokenizer_encode(t, "abc", 3, AIGC_TEXT_PLAIN, &ids, &n, NULL), AIGC_INTERRUPTED);
    assert_null(ids);
    flag = 0;
    CHECK(t, "abc", AIGC_TEXT_PLAIN, 6);
    tokenizer_close(t);
    gguf_close(file);
}

/* Words without an end: what is quadratic does not come back from this. */
static void test_long_words(void **state)
{
    static const gguf_string tokens[] = {S("a"), S("aa"), S("aaaa")};
    static const gguf_string merges[] = {S("a a"), S("aa aa")};
    const made_vocabulary v = {.model = "gpt2", .tokens = tokens, .n_tokens = 3, .merges = merges, .n_merges = 2};
    enum { LONG = 1000003 };
    gguf_file *file = make_vocabulary(&v);
    tokenizer *t = open_tokenizer(file);
    char *text = malloc(LONG);
    int32_t *ids;
    size_t n;

    (void)state;
    assert_non_null(text);
    memset(text, 'a', LONG);
    assert_int_equal(tokenizer_encode(t, text, LONG, AIGC_TEXT_PLAIN, &ids, &n, NULL), AIGC_OK);
    assert_int_equal(n, LONG / 4 + 2);
    for (size_t i = 0; i < LONG / 4; i++)
        assert_int_equal(ids[i], 2);
    assert_int_equal(ids[LONG / 4], 1);
    assert_int_equal(ids[LONG / 4 + 1], 0);
    free(ids);
    free(text);
    tokenizer_close(t);
    gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_refused),
        cmocka_unit_test(test_arrays_refused),
        cmocka_unit_test(test_ids_and_switches_refused),
        cmocka_unit_test(test_bpe_rules),
        cmocka_unit_test(test_bpe_special_ids),
        cmocka_unit_test(test_spm_rules),
        cmocka_unit_test(test_spm_without_space_and_unknown),
        cmocka_unit_test(test_spm_token_over_a_space),
        cmocka_unit_test(test_odd_tokens),
        cmocka_unit_test(test_known_texts),
        cmocka_unit_test(test_text_refused),
        cmocka_unit_test(test_word_too_long),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_long_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
