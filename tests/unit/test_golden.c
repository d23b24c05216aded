/*
 * test_golden.c: logits against those that an independent implementation (transformers on PyTorch) gives for the same
 * weights, and quantised weights against float ones. tests/reference/make_goldens.py made the *.golden files and says
 * what is in them; tests/models/synthetic.c makes the weights.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../models/synthetic.h"
#include "logits.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { MAX_TOKENS = 64, MAX_POSITIONS = 16, MAX_IDS = 64 };

typedef struct golden_position {
    int position, n;
    double log_sum_exp;
    int ids[MAX_IDS];
    double logits[MAX_IDS];
} golden_position;

typedef struct golden {
    char shape[32];
    unsigned long long seed, checksum;
    int n_vocab, n_tokens, n_positions;
    int32_t tokens[MAX_TOKENS];
    int best[MAX_TOKENS]; /* most probable next token; -1 if the second is too near to tell */
    golden_position positions[MAX_POSITIONS];
} golden;

static const char *directory;

static int read_int(FILE *in, int least, int most)
{
    int value;

    if (fscanf(in, "%d", &value) != 1)
        fail_msg("a number is missing in the golden file");
    if (value < least || value > most)
        fail_msg("%d in the golden file is not between %d and %d", value, least, most);
    return value;
}

static void read_position(FILE *in, golden_position *p)
{
    p->position = read_int(in, 0, MAX_TOKENS - 1);
    assert_int_equal(fscanf(in, "%lf", &p->log_sum_exp), 1);
    p->n = read_int(in, 1, MAX_IDS);
    for (int i = 0; i < p->n; i++)
        assert_int_equal(fscanf(in, "%d %lf", &p->ids[i], &p->logits[i]), 2);
}

static void read_golden(const char *shape, golden *g)
{
    char path[256], word[64];
    FILE *in;

    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "tests/reference/%s.golden", shape);
    in = fopen(path, "r");
    if (!in)
        fail_msg("can't open %s (tests run from the repository's root)", path);
    while (fscanf(in, "%63s", word) == 1) {
        if (word[0] == '#') {
            assert_int_equal(fscanf(in, "%*[^\n]"), 0);
        } else if (strcmp(word, "shape") == 0) {
            assert_int_equal(fscanf(in, "%31s", g->shape), 1);
        } else if (strcmp(word, "seed") == 0) {
            assert_int_equal(fscanf(in, "%llu", &g->seed), 1);
        } else if (strcmp(word, "checksum") == 0) {
            assert_int_equal(fscanf(in, "%llu", &g->checksum), 1);
        } else if (strcmp(word, "n_vocab") == 0) {
            g->n_vocab = read_int(in, 1, 1 << 20);
        } else if (strcmp(word, "tokens") == 0) {
            g->n_tokens = read_int(in, 1, MAX_TOKENS);
            for (int i = 0; i < g->n_tokens; i++)
                g->tokens[i] = read_int(in, 0, g->n_vocab - 1);
        } else if (strcmp(word, "best") == 0) {
            assert_int_equal(read_int(in, 1, MAX_TOKENS), g->n_tokens);
            for (int i = 0; i < g->n_tokens; i++)
                g->best[i] = read_int(in, -1, g->n_vocab - 1);
        } else if (strcmp(word, "logits") == 0) {
            assert_in_range(g->n_positions, 0, MAX_POSITIONS - 1);
            read_position(in, &g->positions[g->n_positions++]);
        } else {
            fail_msg("%s: unknown word %s", path, word);
        }
    }
    fclose(in);
    assert_string_equal(g->shape, shape);
    assert_true(g->n_positions > 0 && g->n_tokens > 0);
}

/* ---- model files ---- */

/* Writes the shape in a type; the path is valid until the next call. */
static const char *write_model(const char *shape, tensor_type type, uint64_t seed)
{
    static char path[4224];
    synthetic_options o = {synthetic_find(shape), type, seed, NULL, 2, false};
    aigc_error err;

    assert_non_null(o.shape);
    snprintf(path, sizeof path, "%s/%s.gguf", directory, tensor_type_describe((uint32_t)type)->name);
    if (synthetic_write(&o, path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return path;
}

/* The sum of all weights' 32-bit words: tells a change of the writer from a fault of the engine. */
static unsigned long long checksum_of(const char *path)
{
    gguf_file *file;
    aigc_error err;
    uint64_t sum = 0;

    if (gguf_open(path, &file, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        const unsigned char *bytes = t->data;

        assert_int_equal(t->type, TYPE_F32);
        for (uint64_t at = 0; at + 4 <= t->bytes; at += 4) {
            uint32_t word;

            memcpy(&word, bytes + at, sizeof word);
            sum += word;
        }
    }
    gguf_close(file);
    return sum;
}

/* ---- comparisons ---- */

static double log_sum_exp(const float *x, int n)
{
    double largest = x[best_of(x, n)], sum = 0;

    for (int i = 0; i < n; i++)
        sum += exp(x[i] - largest);
    return largest + log(sum);
}

/* The largest difference from the golden logits and logarithms of sums. */
static double difference(const golden *g, const float *logits)
{
    double worst = 0;

    for (int i = 0; i < g->n_positions; i++) {
        const golden_position *p = &g->positions[i];
        const float *row = logits + (size_t)p->position * (size_t)g->n_vocab;

        worst = fmax(worst, fabs(log_sum_exp(row, g->n_vocab) - p->log_sum_exp));
        for (int k = 0; k < p->n; k++)
            worst = fmax(worst, fabs(row[p->ids[k]] - p->logits[k]));
    }
    return worst;
}

static void check_against_golden(const char *shape)
{
    const aigc_kv_type kv_types[] = {AIGC_KV_F32, AIGC_KV_F16};
    const char *path;
    golden g;

    read_golden(shape, &g);
    path = write_model(shape, TYPE_F32, g.seed);
    if (checksum_of(path) != g.checksum)
        fail_msg("%s: make-model writes other weights than the golden file was made from: run make_goldens.py", shape);
    for (int i = 0; i < 2; i++) {
        /* 24: several batches, whose borders are not those of the cache's blocks. */
        logits_options o = {.n_threads = 2, .n_batch = 24, .kv = kv_types[i]};
        int n_vocab;
        float *logits = logits_of_file(path, &o, g.tokens, g.n_tokens, &n_vocab);
        double worst = difference(&g, logits);

        print_message("# %s, %s keys and values: largest difference %.2g\n", shape, i ? "F16" : "F32", worst);
        assert_int_equal(n_vocab, g.n_vocab);
        assert_true(worst < (kv_types[i] == AIGC_KV_F32 ? 5e-5 : 2e-3));
        for (int t = 0; t < g.n_tokens; t++)
            if (g.best[t] >= 0)
                assert_int_equal(best_of(logits + (size_t)t * (size_t)n_vocab, n_vocab), g.best[t]);
        free(logits);
    }
    unlink(path);
}

/* Root mean square of b - a over that of a around its mean, and how many rows have the same largest. */
static double relative_error(const float *a, const float *b, int n_rows, int n_cols, int *same)
{
    size_t n = (size_t)n_rows * (size_t)n_cols;
    double mean = 0, variance = 0, square = 0;

    for (size_t i = 0; i < n; i++)
        mean += a[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) {
        variance += (a[i] - mean) * (a[i] - mean);
        square += ((double)b[i] - a[i]) * ((double)b[i] - a[i]);
    }
    *same = 0;
    for (int t = 0; t < n_rows; t++)
        *same += best_of(a + (size_t)t * (size_t)n_cols, n_cols) == best_of(b + (size_t)t * (size_t)n_cols, n_cols);
    return sqrt(square / variance);
}

/* The quantised model's logits differ from the float one's by at most this part of their deviation, and at least this
 * part of the positions have the same best token. */
static void check_quantised(const char *shape, int n, tensor_type type, double most_error, double least_same)
{
    logits_options o = {.n_threads = 2, .n_batch = 64, .kv = AIGC_KV_F16};
    int32_t *tokens = test_malloc((size_t)n * sizeof *tokens);
    float *exact, *quantised;
    int n_vocab, same;
    double error;

    for (int i = 0; i < n; i++)
        tokens[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)synthetic_find(shape)->n_vocab);
    exact = logits_of_file(write_model(shape, TYPE_F32, 7), &o, tokens, n, &n_vocab);
    quantised = logits_of_file(write_model(shape, type, 7), &o, tokens, n, &n_vocab);
    error = relative_error(exact, quantised, n, n_vocab, &same);
    print_message("# %s %s: error %.4f of the deviation, same best token at %d of %d\n", shape,
                  tensor_type_describe((uint32_t)type)->name, error, same, n);
    assert_true(error < most_error);
    assert_true(same >= least_same * n);
    free(exact);
    free(quantised);
    test_free(tokens);
}

/* ---- tests ---- */

static void test_gpt2_tiny(void **state)
{
    (void)state;
    check_against_golden("gpt2-tiny");
}

static void test_llama_tiny(void **state)
{
    (void)state;
    check_against_golden("llama-tiny");
}

static void test_qwen2_tiny(void **state)
{
    (void)state;
    check_against_golden("qwen2-tiny");
}

static void test_gpt2_124m(void **state)
{
    (void)state;
    if (SANITIZED)
        skip(); /* half a gigabyte of weights: gpt2-tiny runs the same code */
    check_against_golden("gpt2-124m");
}

static void test_gpt2_124m_q8_0(void **state)
{
    (void)state;
    if (SANITIZED)
        skip();
    check_quantised("gpt2-124m", 256, TYPE_Q8_0, 0.025, 0.99);
}

static void test_types(void **state)
{
    (void)state;
    check_quantised("gpt2-tiny", 128, TYPE_F16, 0.001, 0.99);
    check_quantised("gpt2-tiny", 128, TYPE_BF16, 0.005, 0.98);
    check_quantised("llama-tiny", 128, TYPE_Q8_0, 0.025, 0.98);
    check_quantised("llama-tiny", 128, TYPE_Q6_K, 0.06, 0.97);
    check_quantised("llama-tiny", 128, TYPE_Q4_K, 0.2, 0.95);
    check_quantised("llama-tiny", 128, TYPE_Q4_0, 0.25, 0.95);
    check_quantised("qwen2-tiny", 128, TYPE_Q4_K, 0.2, 0.9);
}

static int set_up(void **state)
{
    (void)state;
    directory = temporary_directory();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_temporary_directory(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gpt2_tiny, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_llama_tiny, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen2_tiny, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt2_124m, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt2_124m_q8_0, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
