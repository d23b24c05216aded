/*
 * test_learn_math.c: the operations of core/learn/math.h one by one: values and slopes against double, by finite
 * differences of the operation's definition; large arguments; AdamW against its definition.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn/math.h"
#include "learn_reference.h"

enum { N = 45 }; /* no multiple of a vector */

static double unit(int i)
{
    return formula_unit((uint64_t)i);
}

static void near(double got, double expected, double size)
{
    if (!(fabs(got - expected) < 2e-6 * fabs(expected) + 2e-6 * size))
        fail_msg("%.9g, expected %.9g", got, expected);
}

/* ---- norms ---- */

static double norm_output(norm_kind kind, const double *x, const double *w, const double *b, int i)
{
    double mean = 0, square = 0;

    for (int j = 0; kind == NORM_LAYER && j < N; j++)
        mean += x[j] / N;
    for (int j = 0; j < N; j++)
        square += (x[j] - mean) * (x[j] - mean) / N;
    return (x[i] - mean) / sqrt(square + 1e-5) * w[i] + b[i];
}

/* A loss that is the sum of the outputs, each times its dy. */
static double norm_loss(norm_kind kind, const double *x, const double *w, const double *b, const float *dy)
{
    double loss = 0;

    for (int i = 0; i < N; i++)
        loss += norm_output(kind, x, w, b, i) * (double)dy[i];
    return loss;
}

static double norm_slope(norm_kind kind, double *x, double *w, double *b, const float *dy, double *at)
{
    double h = 1e-6, up, down;

    *at += h;
    up = norm_loss(kind, x, w, b, dy);
    *at -= 2 * h;
    down = norm_loss(kind, x, w, b, dy);
    *at += h;
    return (up - down) / (2 * h);
}

static void check_norm(norm_kind kind)
{
    float x[N], w[N], b[N], dy[N], y[N], dx[N], dw[N] = {0}, db[N] = {0};
    double xd[N], wd[N], bd[N];

    for (int i = 0; i < N; i++) {
        xd[i] = (double)(x[i] = (float)(3 * unit(i) + 1));
        wd[i] = (double)(w[i] = (float)unit(i + 100));
        bd[i] = (double)(b[i] = (float)unit(i + 200));
        dy[i] = (float)unit(i + 300);
        dx[i] = 0.25f; /* is added to */
    }
    norm_stat stat = math_norm_stat(kind, x, 1e-5f, N);
    math_norm(x, stat, w, b, y, N);
    math_norm_backward(kind, x, stat, w, dy, dx, N);
    math_norm_columns(dy, x, &stat, 1, N, 0, 20, dw, db);
    math_norm_columns(dy, x, &stat, 1, N, 20, N, dw, db);
    for (int i = 0; i < N; i++) {
        near((double)y[i], norm_output(kind, xd, wd, bd, i), 1);
        near((double)dx[i], 0.25 + norm_slope(kind, xd, wd, bd, dy, &xd[i]), 1);
        near((double)dw[i], norm_slope(kind, xd, wd, bd, dy, &wd[i]), 1);
        near((double)db[i], (double)dy[i], 1);
    }
}

static void test_norms(void **state)
{
    (void)state;
    check_norm(NORM_RMS);
    check_norm(NORM_LAYER);
}

/* ---- activations ---- */

static double activation(activation_kind kind, double x)
{
    if (kind == ACTIVATION_SILU)
        return x / (1 + exp(-x));
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static void check_activation(activation_kind kind)
{
    const aigc_kernels *k = kernels_best();
    float pre[N], up[N], dh[N], h[N], dpre[N], dup[N] = {0}, scratch[N];
    bool gated = kind == ACTIVATION_SILU;

    for (int i = 0; i < N; i++) {
        pre[i] = (float)(6 * unit(i));
        up[i] = (float)unit(i + 100);
        dh[i] = (float)unit(i + 200);
    }
    math_activate(k, kind, pre, gated ? up : NULL, h, N);
    math_activate_backward(k, kind, dh, pre, gated ? up : NULL, dpre, dup, scratch, N);
    for (int i = 0; i < N; i++) {
        double x = (double)pre[i], u = gated ? (double)up[i] : 1, step = 1e-5;
        double slope = (activation(kind, x + step) - activation(kind, x - step)) / (2 * step);

        near((double)h[i], activation(kind, x) * u, 1);
        near((double)dpre[i], slope * u * (double)dh[i], 1);
        if (gated)
            near((double)dup[i], activation(kind, x) * (double)dh[i], 1);
    }
}

/* Far out the slopes are 0 and 1, not NaN. */
static void check_far(activation_kind kind)
{
    const float pre[] = {-1e4f, -200, 200, 1e4f}, ones[] = {1, 1, 1, 1}, slopes[] = {0, 0, 1, 1};
    float dpre[4], dup[4], scratch[4];

    math_activate_backward(kernels_best(), kind, ones, pre, ones, dpre, dup, scratch, 4);
    for (int i = 0; i < 4; i++)
        assert_true(dpre[i] == slopes[i]);
}

static void test_activations(void **state)
{
    (void)state;
    check_activation(ACTIVATION_SILU);
    check_activation(ACTIVATION_GELU_TANH);
    check_far(ACTIVATION_SILU);
    check_far(ACTIVATION_GELU_TANH);
}

/* ---- softmax ---- */

static void test_cross_entropy(void **state)
{
    float logits[N], gradient[N];
    double sum = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        gradient[i] = logits[i] = (float)(200 + 30 * unit(i)); /* exp() alone would overflow */
        sum += exp((double)logits[i] - 200);
    }
    double expected = log(sum) + 200 - (double)logits[7];
    near((double)math_cross_entropy(kernels_best(), gradient, 7, 0, N), expected, 1);
    assert_memory_equal(gradient, logits, sizeof logits);
    near((double)math_cross_entropy(kernels_best(), gradient, 7, 0.5f, N), expected, 1);
    for (int i = 0; i < N; i++)
        near((double)gradient[i], 0.5 * (exp((double)logits[i] - 200) / sum - (i == 7)), 1);
}

static void test_softmax(void **state)
{
    float scores[N];
    double sum = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        scores[i] = (float)(100 + 20 * unit(i));
    for (int i = 5; i < 40; i++)
        sum += exp((double)scores[i] - 100);
    float before[N];
    memcpy(before, scores, sizeof scores);
    near((double)math_softmax(kernels_best(), scores, 1, 5, 40, N), log(sum) + 100, 1);
    for (int i = 0; i < N; i++)
        near((double)scores[i], i >= 5 && i < 40 ? exp((double)before[i] - 100) / sum : 0, 1);

    /* exp(scale * (score - log-sum-exp)) are the probabilities, whatever the scale is. */
    memcpy(scores, before, sizeof scores);
    float total = math_softmax(kernels_best(), scores, 0.3f, 5, 40, N);
    sum = 0;
    for (int i = 5; i < 40; i++)
        sum += exp((double)0.3f * ((double)before[i] - 100));
    near((double)total, log(sum) / (double)0.3f + 100, 1);
    for (int i = 5; i < 40; i++)
        near((double)scores[i], exp((double)0.3f * ((double)before[i] - 100)) / sum, 1);
}

/* ---- optimiser ---- */

static void test_adamw(void **state)
{
    float w[N], g[N], m[N] = {0}, v[N] = {0};
    double wd[N], md[N] = {0}, vd[N] = {0};
    const double rate = 0.01, decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;

    (void)state;
    for (int i = 0; i < N; i++)
        wd[i] = (double)(w[i] = (float)unit(i));
    for (int t = 1; t <= 4; t++) {
        adamw_step s = {.beta1 = (float)beta1,
                        .beta2 = (float)beta2,
                        .eps = (float)eps,
                        .rate = (float)(rate / (1 - pow(beta1, t))),
                        .inverse_root = (float)(1 / sqrt(1 - pow(beta2, t))),
                        .keep = (float)(1 - rate * decay),
                        .gradient_scale = 0.5f};

        for (int i = 0; i < N; i++) {
            double gradient = 0.5 * (double)(g[i] = (float)unit(i + 1000 * t));

            md[i] = beta1 * md[i] + (1 - beta1) * gradient;
            vd[i] = beta2 * vd[i] + (1 - beta2) * gradient * gradient;
            wd[i] -= rate * decay * wd[i];
            wd[i] -= rate * (md[i] / (1 - pow(beta1, t))) / (sqrt(vd[i] / (1 - pow(beta2, t))) + eps);
        }
        math_adamw(&s, w, g, m, v, N);
        for (int i = 0; i < N; i++) {
            near((double)w[i], wd[i], 0.5);
            assert_true(g[i] == 0);
        }
    }
}

static void test_sums(void **state)
{
    float rows[3 * N], out[N];
    double squares = 0, dot = 0;

    (void)state;
    for (int i = 0; i < 3 * N; i++)
        rows[i] = (float)unit(i);
    for (int i = 0; i < N; i++) {
        out[i] = 1;
        squares += (double)rows[i] * (double)rows[i];
        dot += (double)rows[i] * (double)rows[N + i];
    }
    assert_true(fabs(math_square_sum(rows, N) - squares) < 1e-12 * squares);
    near((double)math_dot(rows, rows + N, N), dot, 1);
    math_column_sums(rows, 3, N, 2, N, out);
    for (int i = 0; i < N; i++)
        near((double)out[i], 1 + (i < 2 ? 0 : unit(i) + unit(N + i) + unit(2 * N + i)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),   cmocka_unit_test(test_activations), cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_softmax), cmocka_unit_test(test_adamw),       cmocka_unit_test(test_sums),
    };

    return cmocka_run_group_tests_name("learn_math", tests, NULL, NULL);
}
