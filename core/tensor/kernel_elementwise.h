/*
 * kernel_elementwise.h: norms, activations and the like, written once for the levels whose vf holds 16 floats. Included
 * by kernels_avx2.c and kernels_avx512.c after the level's kernel_vec header. kernels_generic.c says what each does.
 */
#ifndef AIGC_TENSOR_KERNEL_ELEMENTWISE_H
#define AIGC_TENSOR_KERNEL_ELEMENTWISE_H

#include <math.h>
#include <string.h>

#include "tensor/kernel_acts.h"
#include "tensor/kernel_math.h"

/* ---- activations --------------------------------------------------------------------------------------------- */

static inline float largest_magnitude(const float *x, int n)
{
    vf max = v_set(0);
    for (int i = 0; i < n; i += 16)
        max = v_max(v_abs(v_load(x + i)), max);
    return v_max_lane(max);
}

/* Writes 16 q, returns their sum. */
static inline int quantise16(const float *x, float inverse, int8_t *q)
{
    vf v = v_mul(v_load(x), v_set(inverse));
    __m128i bytes = v_to_int8(v_min(v_max(v, v_set(-127.0f)), v_set(127.0f)));
    _mm_storeu_si128((__m128i *)q, bytes);
    __m128i sums = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4) - 16 * 128;
}

/* Returns d. sums gets the sums of each 16 q. */
static inline float quantise_block(const float *x, int8_t *q, int n, int *sums)
{
    float max = largest_magnitude(x, n);
    bool live = max >= ACT_TINY;
    float inverse = live ? 127.0f / max : 0;
    for (int i = 0; i < n / 16; i++)
        sums[i] = quantise16(x + i * 16, inverse, q + i * 16);
    return live ? max / 127.0f : 0;
}

static void prepare_q8(const float *x, char *out, size_t n)
{
    act_parts parts = act_layout(ACT_Q8, n);
    memset(out + parts.q, 0, parts.end - parts.q);
    act_q8_block *block = (act_q8_block *)out;
    float *d = (float *)(out + parts.d);
    int32_t *bias = (int32_t *)(out + parts.bias);
    for (size_t b = 0; b < n / 32; b++) {
        int sums[2];
        d[b] = block[b].d = quantise_block(x + b * 32, block[b].q, 32, sums);
        bias[b] = block[b].bias = -128 * (sums[0] + sums[1]);
        memcpy(out + parts.q + act_q8_slot(b) * 32, block[b].q, 32);
    }
}

static void prepare_q8_k(const float *x, char *out, size_t n)
{
    act_parts parts = act_layout(ACT_Q8_K, n);
    memset(out + parts.d, 0, parts.end - parts.d);
    act_q8_k_block *block = (act_q8_k_block *)out;
    float *d = (float *)(out + parts.d);
    for (size_t b = 0; b < n / K_ELEMENTS; b++) {
        int sums[16];
        d[b] = block[b].d = quantise_block(x + b * K_ELEMENTS, block[b].q, K_ELEMENTS, sums);
        for (int i = 0; i < 16; i++) {
            block[b].bias[i] = -32 * sums[i];
            block[b].sums16[i] = (int16_t)sums[i];
        }
        for (int i = 0; i < 8; i++)
            block[b].sums[i] = (int16_t)(sums[2 * i] + sums[2 * i + 1]);
    }
}

static void prepare(act_type type, const float *x, void *out, size_t n)
{
    if (type == ACT_Q8) {
        prepare_q8(x, out, n);
    } else if (type == ACT_Q8_K) {
        prepare_q8_k(x, out, n);
    } else {
        memcpy(out, x, n * sizeof(float));
        memset((float *)out + n, 0, act_pad(n * sizeof(float), 64) - n * sizeof(float));
    }
}

/* ---- norms --------------------------------------------------------------------------------------------------- */

static float sum_squares(const float *x, float mean, size_t n)
{
    vf acc = v_set(0), m = v_set(mean);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vf d = v_sub(v_load(x + i), m);
        acc = v_fma(d, d, acc);
    }
    vf d = v_select(v_sub(v_load_n(x + i, n - i), m), v_set(0), 0, (int)(n - i));
    return v_tree(v_fma(d, d, acc));
}

static void rms_norm(const float *x, const float *w, float eps, float *y, size_t n)
{
    vf r = v_set(1.0f / sqrtf(sum_squares(x, 0, n) / (float)n + eps));
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(y + i, v_mul(v_mul(v_load(x + i), r), v_load(w + i)));
    v_store_n(y + i, v_mul(v_mul(v_load_n(x + i, n - i), r), v_load_n(w + i, n - i)), n - i);
}

static inline vf normalised(vf x, vf mean, vf r, vf w, const vf *b)
{
    vf y = v_mul(v_sub(x, mean), r);
    return b ? v_fma(y, w, *b) : v_mul(y, w);
}

static void layer_norm(const float *x, const float *w, const float *b, float eps, float *y, size_t n)
{
    vf acc = v_set(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, v_load(x + i));
    acc = v_add(acc, v_load_n(x + i, n - i));
    float scalar_mean = v_tree(acc) / (float)n;
    vf mean = v_set(scalar_mean);
    vf r = v_set(1.0f / sqrtf(sum_squares(x, scalar_mean, n) / (float)n + eps));
    for (i = 0; i + 16 <= n; i += 16) {
        vf bias = b ? v_load(b + i) : r;
        v_store(y + i, normalised(v_load(x + i), mean, r, v_load(w + i), b ? &bias : NULL));
    }
    vf bias = b ? v_load_n(b + i, n - i) : r;
    v_store_n(y + i, normalised(v_load_n(x + i, n - i), mean, r, v_load_n(w + i, n - i), b ? &bias : NULL), n - i);
}

/* ---- one element at a time ----------------------------------------------------------------------------------- */

static void add(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(x + i, v_add(v_load(x + i), v_load(y + i)));
    v_store_n(x + i, v_add(v_load_n(x + i, n - i), v_load_n(y + i, n - i)), n - i);
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(gate + i, v_mul(v_silu(v_load(gate + i)), v_load(up + i)));
    if (i < n)
        v_store_n(gate + i, v_mul(v_silu(v_load_n(gate + i, n - i)), v_load_n(up + i, n - i)), n - i);
}

static void gelu_tanh(float *x, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(x + i, v_gelu_tanh(v_load(x + i)));
    if (i < n)
        v_store_n(x + i, v_gelu_tanh(v_load_n(x + i, n - i)), n - i);
}

static void gelu_erf(float *x, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(x + i, v_gelu_erf(v_load(x + i)));
    if (i < n)
        v_store_n(x + i, v_gelu_erf(v_load_n(x + i, n - i)), n - i);
}

static void scale(float *x, float s, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(x + i, v_mul(v_load(x + i), v_set(s)));
    v_store_n(x + i, v_mul(v_load_n(x + i, n - i), v_set(s)), n - i);
}

static void exp_shifted(const float *x, float shift, float s, float *y, size_t n)
{
    vf minus = v_set(shift), times = v_set(s);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(y + i, v_exp(v_mul(v_sub(v_load(x + i), minus), times)));
    if (i < n)
        v_store_n(y + i, v_exp(v_mul(v_sub(v_load_n(x + i, n - i), minus), times)), n - i);
}

static void to_f16(const float *x, uint16_t *y, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store_half(y + i, v_load(x + i));
    v_store_half_n(y + i, v_load_n(x + i, n - i), n - i);
}

static void from_f16(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(y + i, v_load_half(x + i));
    v_store_n(y + i, v_load_half_n(x + i, n - i), n - i);
}

/* ---- reductions ---------------------------------------------------------------------------------------------- */

static float max(const float *x, size_t n)
{
    vf least = v_set(-INFINITY), m = least;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        m = v_max(v_load(x + i), m);
    m = v_max(v_select(v_load_n(x + i, n - i), least, 0, (int)(n - i)), m);
    return v_max_lane(m) + 0.0f;
}

static float sum_exp_run(const float *x, vf minus, vf times, size_t n)
{
    vf acc = v_set(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, v_exp(v_mul(v_sub(v_load(x + i), minus), times)));
    vf last = v_exp(v_mul(v_sub(v_load_n(x + i, n - i), minus), times));
    return v_tree(v_add(acc, v_select(last, v_set(0), 0, (int)(n - i))));
}

static double sum_exp(const float *x, float shift, float s, size_t n)
{
    double total = 0;
    for (size_t begin = 0; begin < n; begin += SUM_EXP_RUN) {
        size_t run = n - begin < SUM_EXP_RUN ? n - begin : SUM_EXP_RUN;
        total += sum_exp_run(x + begin, v_set(shift), v_set(s), run);
    }
    return total;
}

/* ---- positions ----------------------------------------------------------------------------------------------- */

/* Pairs (i, i + half); interleaved pairs are few enough for the compiler's own vectors. */
static void rope_halves(float *x0, float *x1, const float *cosines, const float *sines, int half)
{
    int i = 0;
    for (; i + 16 <= half; i += 16) {
        vf a = v_load(x0 + i), b = v_load(x1 + i), c = v_load(cosines + i), s = v_load(sines + i);
        v_store(x0 + i, v_fma(a, c, v_sub(v_set(-0.0f), v_mul(b, s))));
        v_store(x1 + i, v_fma(a, s, v_mul(b, c)));
    }
    for (; i < half; i++) {
        float a = x0[i], b = x1[i];
        x0[i] = fmaf(a, cosines[i], -(b * sines[i]));
        x1[i] = fmaf(a, sines[i], b * cosines[i]);
    }
}

static void rope(float *x, int n_heads, int head_dim, int n_dims, const float *cosines, const float *sines,
                 bool interleaved)
{
    int half = n_dims / 2;
    for (int h = 0; h < n_heads; h++, x += head_dim) {
        if (!interleaved) {
            rope_halves(x, x + half, cosines, sines, half);
            continue;
        }
        for (int i = 0; i < half; i++) {
            float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = fmaf(a, cosines[i], -(b * sines[i]));
            x[2 * i + 1] = fmaf(a, sines[i], b * cosines[i]);
        }
    }
}

#endif
