/* test_learn_attention.c: attention of sequences longer than its tiles, forward and backward, against plain sums in
 * double, on each level of the processor and in both precisions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn/attention.h"

/* Longer than two blocks of keys and no multiple of anything; documents that begin anywhere. */
enum { TOKENS = 2 * ATTENTION_KEYS + 71, HEADS = 4, KV_HEADS = 2, DIM = 20, ROW = (HEADS + 2 * KV_HEADS) * DIM };
enum { WIDTH = HEADS * DIM };

static float qkv[TOKENS][ROW], out[TOKENS][WIDTH], dout[TOKENS][WIDTH], dqkv[TOKENS][ROW], dkv[TOKENS][2 * WIDTH],
    lse[TOKENS][HEADS];
static double want[TOKENS][WIDTH], want_d[TOKENS][ROW];
static int first[TOKENS];

static void fill(const int *borders, int n_borders)
{
    uint32_t seed = 1;

    for (int t = 0; t < TOKENS; t++) {
        first[t] = 0;
        for (int i = 0; i < n_borders; i++)
            if (borders[i] <= t)
                first[t] = borders[i];
        for (int i = 0; i < ROW; i++) {
            seed = seed * 1664525u + 1013904223u;
            qkv[t][i] = (float)(int32_t)seed * 0x1p-30f;
        }
        for (int i = 0; i < WIDTH; i++) {
            seed = seed * 1664525u + 1013904223u;
            dout[t][i] = (float)(int32_t)seed * 0x1p-31f;
        }
    }
}

static double dot(const float *x, const float *y)
{
    double sum = 0;

    for (int i = 0; i < DIM; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* One query of one head: its output, and what it adds to the gradients. */
static void plain_query(int h, int t)
{
    static double p[TOKENS], dp[TOKENS];
    int q_at = h * DIM, k_at = (HEADS + h / (HEADS / KV_HEADS)) * DIM, v_at = k_at + KV_HEADS * DIM;
    double scale = 1 / sqrt((double)DIM), total = 0, mean = 0;

    for (int s = first[t]; s <= t; s++)
        total += p[s] = exp(scale * dot(&qkv[t][q_at], &qkv[s][k_at]));
    for (int s = first[t]; s <= t; s++) {
        p[s] /= total;
        dp[s] = dot(&dout[t][q_at], &qkv[s][v_at]);
        mean += p[s] * dp[s];
    }
    for (int s = first[t]; s <= t; s++)
        for (int i = 0; i < DIM; i++) {
            double ds = p[s] * (dp[s] - mean) * scale;

            want[t][q_at + i] += p[s] * (double)qkv[s][v_at + i];
            want_d[s][v_at + i] += p[s] * (double)dout[t][q_at + i];
            want_d[t][q_at + i] += ds * (double)qkv[s][k_at + i];
            want_d[s][k_at + i] += ds * (double)qkv[t][q_at + i];
        }
}

static void compute_wanted(void)
{
    memset(want, 0, sizeof want);
    memset(want_d, 0, sizeof want_d);
    for (int h = 0; h < HEADS; h++)
        for (int t = 0; t < TOKENS; t++)
            plain_query(h, t);
}

/* The largest difference over the root mean square of what is wanted. */
static double difference(const float *x, const double *wanted, size_t n)
{
    double worst = 0, squares = 0;

    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, isfinite(x[i]) ? fabs((double)x[i] - wanted[i]) : INFINITY);
        squares += wanted[i] * wanted[i];
    }
    return worst / sqrt(squares / (double)n);
}

static void check(const gemm_kernels *g, gemm_precision precision)
{
    const attention a = {g, kernels_best(), HEADS, KV_HEADS, DIM, TOKENS};
    float *scratch = aligned_alloc(64, (attention_scratch(&a) * sizeof(float) + 63) / 64 * 64);

    assert_non_null(scratch);
    memset(dqkv, 0xff, sizeof dqkv); /* NaN: all is written, nothing read */
    memset(dkv, 0xff, sizeof dkv);
    memset(out, 0xff, sizeof out);
    for (int h = 0; h < HEADS; h++)
        attention_forward(&a, h, qkv[0], first, out[0], lse[0], scratch);
    for (int h = 0; h < HEADS; h++)
        attention_backward(&a, h, qkv[0], first, out[0], lse[0], dout[0], dqkv[0], dkv[0], scratch);
    attention_gather(&a, 0, TOKENS / 2, dkv[0], dqkv[0]);
    attention_gather(&a, TOKENS / 2, TOKENS, dkv[0], dqkv[0]);
    free(scratch);
    double forward = difference(out[0], want[0], TOKENS * WIDTH);
    double backward = difference(dqkv[0], want_d[0], TOKENS * ROW);
    print_message("# %s: %.2g forward, %.2g backward\n", g->name, forward, backward);
    assert_true(forward < (precision == GEMM_BF16 ? 5e-2 : 1e-5));
    assert_true(backward < (precision == GEMM_BF16 ? 1e-1 : 5e-5));
}

static void check_all(const int *borders, int n_borders)
{
    fill(borders, n_borders);
    compute_wanted();
    for (int level = 0; level < CPU_LEVELS; level++)
        for (int precision = 0; precision < GEMM_PRECISIONS; precision++) {
            const gemm_kernels *g = gemm_kernels_for((cpu_level)level, (gemm_precision)precision);

            if (g != NULL)
                check(g, (gemm_precision)precision);
        }
}

static void test_one_document(void **state)
{
    (void)state;
    check_all(NULL, 0);
}

static void test_documents(void **state)
{
    const int borders[] = {1, 37, 64, 65, ATTENTION_KEYS - 1, ATTENTION_KEYS + 18, 2 * ATTENTION_KEYS + 63};

    (void)state;
    check_all(borders, 7);
}

/* The first document ends inside of a tile whose other queries see more than a block of keys. */
static void test_long_document(void **state)
{
    const int borders[] = {5};

    (void)state;
    check_all(borders, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_document),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_long_document),
    };

    return cmocka_run_group_tests_name("learn_attention", tests, NULL, NULL);
}
