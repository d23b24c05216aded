/*
 * test_tokenizer.c: tokens against those of other implementations: the reference cases of ../shared/data/tokenizers,
 * tests/reference/tokens.golden, and the text of a trained model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/pretokenize.h"
#include "text/unicode.h"
#include "vocabularies.h"

static void show(const char *title, const int32_t *ids, size_t n)
{
    print_message("%s:", title);
    for (size_t i = 0; i < n; i++)
        print_message(" %d", ids[i]);
    print_message("\n");
}

/* Whether text becomes these ids; shows both if not. */
static bool gives(const tokenizer *t, const char *text, size_t len, unsigned flags, const int32_t *expected,
                  size_t n_expected)
{
    int32_t *ids;
    size_t n;
    aigc_error err;
    bool same;

    if (tokenizer_encode(t, text, len, flags, &ids, &n, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    same = n == n_expected && memcmp(ids, expected, n * sizeof *ids) == 0;
    if (!same) {
        print_message("text: \"%.*s\"\n", (int)len, text);
        show("expected", expected, n_expected);
        show("     got", ids, n);
    }
    free(ids);
    return same;
}

static bool decodes_to(const tokenizer *t, const int32_t *ids, size_t n, unsigned flags, const char *text, size_t len)
{
    char *got;
    size_t n_got;
    aigc_error err;
    bool same;

    if (tokenizer_decode(t, ids, n, flags, &got, &n_got, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    same = n_got == len && memcmp(got, text, len) == 0;
    if (!same)
        print_message("expected \"%.*s\", got \"%.*s\"\n", (int)len, text, (int)n_got, got);
    free(got);
    return same;
}

/* Reads the numbers of s[0..len). */
static size_t read_ids(const char *s, size_t len, int32_t *ids, size_t max)
{
    const char *end = s + len;
    size_t n = 0;
    char *next;

    for (; s < end; s = next) {
        long id = strtol(s, &next, 10);

        if (next == s || next > end)
            break;
        assert_true(n < max);
        ids[n++] = (int32_t)id;
    }
    return n;
}

/* ---- the reference cases ---------------------------------------------------------------------------------------- */

enum { MAX_IDS = 4096 };

/* Texts of NAME.inp, apart by a line, against the lines of NAME.out. Returns how many cases there were. */
static int check_cases(const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    static int32_t ids[MAX_IDS];
    char path[128];
    size_t in_len, out_len;
    char *in, *out;
    const char *line;
    int n_cases = 0, n_wrong = 0;
    gguf_file *file;
    tokenizer *t;

    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf", name);
    file = open_shared(path);
    if (!file)
        return 0;
    t = open_tokenizer(file);
    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf.inp", name);
    in = read_whole(shared_path(path), &in_len);
    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf.out", name);
    out = read_whole(shared_path(path), &out_len);
    assert_non_null(in);
    assert_non_null(out);
    line = out;
    for (const char *text = in, *end; (end = strstr(text, separator)); text = end + strlen(separator)) {
        size_t n = read_ids(line, strcspn(line, "\n"), ids, MAX_IDS), len = (size_t)(end - text);

        n_wrong += !gives(t, text, len, AIGC_TEXT_PLAIN, ids, n);
        n_wrong += !decodes_to(t, ids, n, AIGC_TEXT_PLAIN, text, len);
        n_cases++;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    assert_int_equal(n_wrong, 0);
    free(in);
    free(out);
    tokenizer_close(t);
    gguf_close(file);
    return n_cases;
}

static void check_cases_or_skip(const char *name)
{
    int n = check_cases(name);

    if (n == 0)
        skip();
    assert_int_equal(n, 46);
}

static void test_cases_gpt2(void **state)
{
    (void)state;
    check_cases_or_skip("gpt-2");
}

static void test_cases_llama(void **state)
{
    (void)state;
    check_cases_or_skip("llama-spm");
}

static void test_cases_phi3(void **state)
{
    (void)state;
    check_cases_or_skip("phi-3");
}

/* ---- tokens.golden ---------------------------------------------------------------------------------------------- */

/* The file of a vocabulary of tokens.golden: one of ../shared/data, or GPT-2's with another tokenizer.ggml.pre. */
static gguf_file *open_golden_vocabulary(const char *name)
{
    char path[128];
    bool is_there = strcmp(name, "gpt-2") == 0 || strcmp(name, "llama-spm") == 0 || strcmp(name, "phi-3") == 0;
    gguf_file *file, *made;

    snprintf(path, sizeof path, "tokenizers/ggml-vocab-%s.gguf", is_there ? name : "gpt-2");
    file = open_shared(path);
    if (!file || is_there)
        return file;
    made = make_vocabulary(&(made_vocabulary){.pre = name, .from = file});
    gguf_close(file);
    return made;
}

/* Undoes \xHH in place; returns the length. */
static size_t unescape(char *s)
{
    char *out = s, hex[3] = "";
    char *begin = s;

    for (; *s; s++)
        if (s[0] == '\\' && s[1] == 'x') {
            memcpy(hex, s + 2, 2);
            *out++ = (char)strtol(hex, NULL, 16);
            s += 3;
        } else
            *out++ = *s;
    return (size_t)(out - begin);
}

static bool check_golden_line(char *line, const tokenizer *t)
{
    static int32_t ids[MAX_IDS];
    char *fields[4] = {line};
    unsigned flags = 0;
    size_t n;

    for (int i = 1; i < 4; i++) {
        fields[i] = strchr(fields[i - 1], '\t');
        assert_non_null(fields[i]);
        *fields[i]++ = '\0';
    }
    flags |= strchr(fields[1], 'p') ? AIGC_TEXT_PARSE_SPECIAL : 0;
    flags |= strchr(fields[1], 'a') ? AIGC_TEXT_ADD_SPECIAL : 0;
    n = read_ids(fields[3], strlen(fields[3]), ids, MAX_IDS);
    return gives(t, fields[2], unescape(fields[2]), flags, ids, n);
}

static void test_golden(void **state)
{
    size_t len;
    char *golden = read_whole("tests/reference/tokens.golden", &len), *rest = NULL, name[32] = "";
    gguf_file *file = NULL;
    tokenizer *t = NULL;
    int n_lines = 0, n_wrong = 0;

    (void)state;
    assert_non_null(golden);
    for (char *line = strtok_r(golden, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t n = strcspn(line, "\t");

        if (strlen(name) != n || memcmp(line, name, n) != 0) {
            tokenizer_close(t);
            gguf_close(file);
            snprintf(name, sizeof name, "%.*s", (int)n, line);
            file = open_golden_vocabulary(name);
            if (!file) {
                free(golden);
                skip();
            }
            t = open_tokenizer(file);
        }
        n_wrong += !check_golden_line(line, t);
        n_lines++;
    }
    assert_int_equal(n_wrong, 0);
    assert_int_equal(n_lines, 322);
    tokenizer_close(t);
    gguf_close(file);
    free(golden);
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static void test_stories(void **state)
{
    static const int32_t prompt[] = {1, 274, 287, 381, 261, 352, 266, 268, 388};
    static int32_t ids[MAX_IDS];
    size_t ids_len, text_len, n;
    gguf_file *file = open_shared("models/stories260K.gguf");
    char *text, *numbers;
    tokenizer *t;

    (void)state;
    if (!file)
        skip();
    t = open_tokenizer(file);
    assert_true(gives(t, "Tom had a red ball", 18, AIGC_TEXT_ADD_SPECIAL, prompt, 9));
    numbers = read_whole(shared_path("models/stories260K.greedy.ids"), &ids_len);
    text = read_whole(shared_path("models/stories260K.greedy.txt"), &text_len);
    assert_non_null(numbers);
    assert_non_null(text);
    n = read_ids(numbers, ids_len, ids, MAX_IDS);
    assert_int_equal(n, 201);
    assert_true(decodes_to(t, ids, n, AIGC_TEXT_PLAIN, text, text_len));
    free(numbers);
    free(text);
    tokenizer_close(t);
    gguf_close(file);
}

/* Random text of whole characters from some scripts, without U+2581, which SentencePiece can't tell from a space. */
static size_t random_text(random_state *r, char *out, size_t max)
{
    static const uint32_t ranges[][2] = {{0x20, 0x7e},       {0, 0x7f},          {0x80, 0x7ff},    {0x800, 0x1fff},
                                         {0x2000, 0x206f},   {0x3000, 0x30ff},   {0x4e00, 0x9fff}, {0xe000, 0xffff},
                                         {0x1f300, 0x1faff}, {0x10000, 0x10ffff}};
    size_t n = 0, n_ranges = sizeof ranges / sizeof *ranges;

    while (n + 4 <= max) {
        const uint32_t *range = ranges[random_u64(r) % n_ranges];
        uint32_t c = range[0] + (uint32_t)(random_u64(r) % (range[1] - range[0] + 1));

        if (c == 0x2581)
            continue;
        if (c < 0x80) {
            out[n++] = (char)c;
        } else if (c < 0x800) {
            out[n++] = (char)(0xc0 | c >> 6);
            out[n++] = (char)(0x80 | (c & 0x3f));
        } else {
            if (c >= 0x10000)
                out[n++] = (char)(0xf0 | c >> 18);
            out[n++] = (char)(c < 0x10000 ? 0xe0 | c >> 12 : 0x80 | (c >> 12 & 0x3f));
            out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
            out[n++] = (char)(0x80 | (c & 0x3f));
        }
        if (random_u64(r) % 8 == 0)
            break;
    }
    return n;
}

static void test_round_trip(void **state)
{
    static const char *const names[] = {"gpt-2", "llama-spm", "phi-3"};
    random_state r;

    (void)state;
    random_seed(&r, 1, 0);
    for (size_t i = 0; i < 3; i++) {
        gguf_file *file = open_golden_vocabulary(names[i]);
        tokenizer *t;

        if (!file)
            skip();
        t = open_tokenizer(file);
        for (int round = 0; round < 3000; round++) {
            char text[200];
            size_t len = random_text(&r, text, sizeof text), n;
            int32_t *ids;

            assert_int_equal(tokenizer_encode(t, text, len, AIGC_TEXT_PLAIN, &ids, &n, NULL), AIGC_OK);
            assert_true(decodes_to(t, ids, n, AIGC_TEXT_PLAIN, text, len));
            free(ids);
        }
        tokenizer_close(t);
        gguf_close(file);
    }
}

static void test_special_tokens_shown_and_hidden(void **state)
{
    static const int32_t ids[] = {1, 15043, 32007, 32001, 3186, 0, 32011};
    gguf_file *file = open_golden_vocabulary("phi-3");
    char piece[TOKEN_MAX_BYTES];
    tokenizer *t;

    (void)state;
    if (!file)
        skip();
    t = open_tokenizer(file);
    assert_true(decodes_to(t, ids, 7, AIGC_TEXT_PLAIN, "Hello world", 11));
    assert_true(
        decodes_to(t, ids, 7, AIGC_TEXT_RENDER_SPECIAL, "<s> Hello<|end|><|assistant|> world<unk>[PAD32011]", 50));
    assert_int_equal(tokenizer_piece(t, 15043, false, AIGC_TEXT_PLAIN, piece), 6);
    assert_memory_equal(piece, " Hello", 6);
    assert_int_equal(tokenizer_piece(t, 15043, true, AIGC_TEXT_PLAIN, piece), 5);
    assert_int_equal(tokenizer_piece(t, 32007, false, AIGC_TEXT_PLAIN, piece), 0);
    assert_int_equal(tokenizer_piece(t, 3 + 0xe2, false, AIGC_TEXT_PLAIN, piece), 1);
    assert_int_equal((unsigned char)piece[0], 0xe2);
    assert_int_equal(tokenizer_piece(t, -1, false, AIGC_TEXT_PLAIN, piece), -1);
    assert_int_equal(tokenizer_piece(t, 32064, false, AIGC_TEXT_PLAIN, piece), -1);
    assert_int_equal(tokenizer_n_vocab(t), 32064);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 32000);
    assert_true(tokenizer_adds_bos(t));
    assert_true(tokenizer_is_end(t, 32000));  /* <|endoftext|> */
    assert_true(tokenizer_is_end(t, 32007));  /* <|end|> */
    assert_true(tokenizer_is_end(t, 2));      /* </s> */
    assert_false(tokenizer_is_end(t, 32010)); /* <|user|> */
    assert_false(tokenizer_is_end(t, -1));
    assert_false(tokenizer_is_end(t, 32064));
    tokenizer_close(t);
    gguf_close(file);
}

static void test_ids_beyond_the_vocabulary(void **state)
{
    static const int32_t ids[] = {72, 50257};
    gguf_file *file = open_golden_vocabulary("gpt-2");
    aigc_error err;
    char *text;
    size_t len;
    tokenizer *t;

    (void)state;
    if (!file)
        skip();
    t = open_tokenizer(file);
    assert_int_equal(tokenizer_decode(t, ids, 2, AIGC_TEXT_PLAIN, &text, &len, &err), AIGC_E_TEXT);
    assert_non_null(strstr(err.message, "50257"));
    tokenizer_close(t);
    gguf_close(file);
}

/* ---- words ------------------------------------------------------------------------------------------------------ */

/* The words of the text with their ends marked by |. */
static void check_words(const char *pre, const char *marked)
{
    const pretokenizer *p = pretokenizer_find(pre, strlen(pre));
    char text[128], got[128];
    size_t len = 0, n = 0;

    assert_non_null(p);
    for (const char *c = marked; *c; c++)
        if (*c != '|')
            text[len++] = *c;
    for (size_t pos = 0, end; pos < len; pos = end) {
        end = p->next(p, text, pos, len);
        assert_true(end > pos && end <= len);
        memcpy(got + n, text + pos, end - pos);
        n += end - pos;
        got[n++] = '|';
    }
    got[n] = '\0';
    assert_string_equal(got, marked);
}

/* Where tokens alone may not tell: no vocabulary merges over these places. Words by Python's regex module. */
static void test_words(void **state)
{
    (void)state;
    check_words("gpt-2", "it|'s| 12| 34|  \n\n| x|--'|ll|'|S|");
    check_words("gpt-2", "a| \t|\xc2\xa0|b|\xe3\x80\x80|");
    check_words("smollm", "a| |1|2|  |3|  |");
    check_words("qwen2", "'\xc5\xbf|x|'\xc5\xbf|''|Sab| '|x|'Ll|y|");
    check_words("qwen2", "a|1|2|3| ...\n\n| x|\r\n \n| .\n| |");
    check_words("llama-bpe", "123|4|.a| |12| |\t|5| |");
}

/* ---- classes of code points ---------------------------------------------------------------------------------------
 */

/* Unicode 16.0's counts, by Python's unicodedata2, surrogates left out. */
static void test_unicode_classes(void **state)
{
    int counts[4] = {0};

    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++)
        if (c < 0xd800 || c > 0xdfff)
            counts[unicode_class(c)]++;
    assert_int_equal(counts[CHAR_OTHER], 969100);
    assert_int_equal(counts[CHAR_LETTER], 141028);
    assert_int_equal(counts[CHAR_NUMBER], 1911);
    assert_int_equal(counts[CHAR_SPACE], 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_gpt2),
        cmocka_unit_test(test_cases_llama),
        cmocka_unit_test(test_cases_phi3),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_special_tokens_shown_and_hidden),
        cmocka_unit_test(test_ids_beyond_the_vocabulary),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_unicode_classes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
