/* math.c: see math.h. */
#include "learn/math.h"

#include <math.h>
#include <string.h>

#include "base/real.h"

enum { LANES = 16 };

static float add_lanes(const float *lane)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += lane[i];
    return sum;
}

FOR_EACH_LEVEL float math_dot(const float *x, const float *y, size_t n)
{
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += x[i + j] * y[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j] * y[i + j];
    return add_lanes(lane);
}

FOR_EACH_LEVEL static float sum(const float *x, size_t n)
{
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j];
    return add_lanes(lane);
}

FOR_EACH_LEVEL static float square_around(const float *x, float mean, size_t n)
{
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    for (int j = 0; i + j < n; j++)
        lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    return add_lanes(lane);
}

FOR_EACH_LEVEL double math_square_sum(const float *x, size_t n)
{
    double lane[LANES] = {0}, total = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; j < LANES; j++)
        total += lane[j];
    return total;
}

/* ---- norms ---- */

norm_stat math_norm_stat(norm_kind kind, const float *x, float eps, size_t n)
{
    float mean = kind == NORM_LAYER ? sum(x, n) / (float)n : 0;
    return (norm_stat){mean, 1.0f / sqrtf(square_around(x, mean, n) / (float)n + eps)};
}

FOR_EACH_LEVEL void math_norm(const float *x, norm_stat stat, const float *w, const float *b, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - stat.mean) * stat.inverse * w[i];
    for (size_t i = 0; b != NULL && i < n; i++)
        y[i] += b[i];
}

/* Sums of g = w dy and of g times the normalised x. */
FOR_EACH_LEVEL static void norm_sums(const float *x, norm_stat stat, const float *w, const float *dy, float out[2],
                                     size_t n)
{
    float g_lane[LANES] = {0}, gx_lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float g = w[i + j] * dy[i + j];
            g_lane[j] += g;
            gx_lane[j] += g * ((x[i + j] - stat.mean) * stat.inverse);
        }
    for (int j = 0; i + j < n; j++) {
        float g = w[i + j] * dy[i + j];
        g_lane[j] += g;
        gx_lane[j] += g * ((x[i + j] - stat.mean) * stat.inverse);
    }
    out[0] = add_lanes(g_lane);
    out[1] = add_lanes(gx_lane);
}

/* With xn the normalised x: dx = inverse * (g - mean(g) - xn * mean(g xn)); NORM_RMS does not subtract mean(g). */
FOR_EACH_LEVEL void math_norm_backward(norm_kind kind, const float *x, norm_stat stat, const float *w, const float *dy,
                                       float *dx, size_t n)
{
    float sums[2];
    norm_sums(x, stat, w, dy, sums, n);
    float g_mean = kind == NORM_LAYER ? sums[0] / (float)n : 0, gx_mean = sums[1] / (float)n;
    for (size_t i = 0; i < n; i++) {
        float normalised = (x[i] - stat.mean) * stat.inverse;
        dx[i] += stat.inverse * (w[i] * dy[i] - g_mean - normalised * gx_mean);
    }
}

FOR_EACH_LEVEL void math_norm_columns(const float *dy, const float *x, const norm_stat *stats, size_t n_rows,
                                      size_t stride, size_t begin, size_t end, float *dw, float *db)
{
    for (size_t r = 0; r < n_rows; r++) {
        const float *dy_row = dy + r * stride, *x_row = x + r * stride;
        norm_stat stat = stats[r];
        for (size_t c = begin; c < end; c++)
            dw[c] += dy_row[c] * ((x_row[c] - stat.mean) * stat.inverse);
    }
    if (db != NULL)
        math_column_sums(dy, n_rows, stride, begin, end, db);
}

FOR_EACH_LEVEL void math_column_sums(const float *rows, size_t n_rows, size_t stride, size_t begin, size_t end,
                                     float *out)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = begin; c < end; c++)
            out[c] += rows[r * stride + c];
}

/* ---- activations ---- */

void math_activate(const aigc_kernels *k, activation_kind kind, const float *pre, const float *up, float *h, size_t n)
{
    memcpy(h, pre, n * sizeof *h);
    if (kind == ACTIVATION_SILU) {
        k->silu_mul(h, up, n);
        return;
    }
    k->gelu_tanh(h, n);
}

/* silu(x) = x s with s = 1 / (1 + exp(-x)); silu'(x) = s (1 + x (1 - s)). e: exp(-x). */
FOR_EACH_LEVEL static void silu_backward(const float *dh, const float *x, const float *up, const float *e, float *dx,
                                         float *dup, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float s = 1.0f / (1.0f + e[i]);
        dup[i] = dh[i] * (x[i] * s);
        dx[i] = dh[i] * up[i] * (s * (1.0f + x[i] * (1.0f - s)));
    }
}

/* gelu(x) = x s with s = 1 / (1 + exp(-t)), t = 2 sqrt(2/pi) (x + 0.044715 x^3); gelu'(x) = s + x s (1 - s) t'. */
static const float GELU_A = 1.5957691216057308f, GELU_B = 0.044715f;

FOR_EACH_LEVEL static void gelu_arguments(const float *x, float *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t[i] = GELU_A * (x[i] + GELU_B * x[i] * x[i] * x[i]);
}

FOR_EACH_LEVEL static void gelu_backward(const float *dh, const float *x, const float *e, float *dx, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float s = 1.0f / (1.0f + e[i]), slope = GELU_A * (1.0f + 3.0f * GELU_B * x[i] * x[i]);
        dx[i] = dh[i] * (s + x[i] * s * (1.0f - s) * slope);
    }
}

void math_activate_backward(const aigc_kernels *k, activation_kind kind, const float *dh, const float *pre,
                            const float *up, float *dpre, float *dup, float *scratch, size_t n)
{
    if (kind == ACTIVATION_SILU) {
        k->exp_shifted(pre, 0, -1, scratch, n);
        silu_backward(dh, pre, up, scratch, dpre, dup, n);
        return;
    }
    gelu_arguments(pre, scratch, n);
    k->exp_shifted(scratch, 0, -1, scratch, n);
    gelu_backward(dh, pre, scratch, dpre, n);
}

/* ---- softmax ---- */

float math_softmax(const aigc_kernels *k, float *scores, float scale, size_t begin, size_t end, size_t n)
{
    float *visible = scores + begin;
    size_t n_visible = end - begin;
    float shift = k->max(visible, n_visible);
    k->exp_shifted(visible, shift, scale, visible, n_visible);
    float total = sum(visible, n_visible);
    k->scale(visible, 1.0f / total, n_visible);
    memset(scores, 0, begin * sizeof *scores);
    memset(scores + end, 0, (n - end) * sizeof *scores);
    return shift + (float)real_log((double)total) / scale;
}

FOR_EACH_LEVEL void math_softmax_backward(const float *p, float *dp, float mean, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dp[i] = p[i] * (dp[i] - mean) * scale;
}

float math_cross_entropy(const aigc_kernels *k, float *logits, int target, float scale, size_t n)
{
    float wanted = logits[target], shift = k->max(logits, n);
    double total;
    if (scale != 0) {
        k->exp_shifted(logits, shift, 1, logits, n);
        total = (double)sum(logits, n);
        k->scale(logits, scale / (float)total, n);
        logits[target] -= scale;
    } else {
        total = k->sum_exp(logits, shift, 1, n);
    }
    return (float)(real_log(total) + ((double)shift - (double)wanted));
}

/* ---- optimiser ---- */

FOR_EACH_LEVEL void math_adamw(const adamw_step *s, float *w, float *g, float *m, float *v, size_t n)
{
    adamw_step step = *s;
    for (size_t i = 0; i < n; i++) {
        float gradient = g[i] * step.gradient_scale;
        m[i] = step.beta1 * m[i] + (1.0f - step.beta1) * gradient;
        v[i] = step.beta2 * v[i] + (1.0f - step.beta2) * gradient * gradient;
        w[i] = w[i] * step.keep - step.rate * m[i] / (sqrtf(v[i]) * step.inverse_root + step.eps);
        g[i] = 0;
    }
}
