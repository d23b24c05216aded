/*
 * quantize.c: rows of floats to the types of model files. Used to write models, never while running one.
 *
 * The methods are those of ggml's reference quantisers (ggml-quants.c: quantize_row_*_ref, make_qkx2_quants,
 * make_qx_quants), so that files quantised here are as good as theirs. Numbers that are not finite give some block.
 */
#include <math.h>
#include <string.h>

#include "tensor/types.h"

/* 1.5 * 2^23: floats of this size have no fraction, so adding it rounds a number below 2^22 (rintf is a slow call on
 * the base processor). */
#define ROUND_MAGIC 12582912.0f

/* v rounded to the nearest integer (even on a tie) within [low, high]; NaN gives low. */
static int nearest(float v, int low, int high)
{
    if (!(v > (float)low))
        return low;
    if (v >= (float)high)
        return high;
    return (int)((v + ROUND_MAGIC) - ROUND_MAGIC);
}

/* ---- one scale for 32 elements ---- */

static void quantize_q8_0(const float *x, block_q8_0 *b)
{
    float largest = 0, d, inverse;

    for (int i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    d = largest / 127;
    inverse = d != 0 ? 1 / d : 0;
    b->d = f32_to_f16(d);
    for (int i = 0; i < 32; i++) /* ties go away from zero here, as in ggml */
        b->q[i] = (int8_t)nearest(roundf(x[i] * inverse), -127, 127);
}

static void quantize_q4_0(const float *x, block_q4_0 *b)
{
    float extreme = 0, d, inverse;

    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > fabsf(extreme))
            extreme = x[i];
    /* The element farthest from zero becomes -8, of which the positive counterpart does not exist. */
    d = extreme / -8;
    inverse = d != 0 ? 1 / d : 0;
    b->d = f32_to_f16(d);
    for (int i = 0; i < 16; i++) {
        int low = nearest(floorf(x[i] * inverse + 8.5f), 0, 15);
        int high = nearest(floorf(x[i + 16] * inverse + 8.5f), 0, 15);

        b->q[i] = (uint8_t)(low | high << 4);
    }
}

/* ---- Q4_K: x ~ scale * q - minimum, 0 <= q <= 15, for sub-blocks of 32 ---- */

enum { SUB = 32, Q4_MAX = 15 };

typedef struct affine {
    float scale, minimum; /* minimum <= 0: x ~ scale * q + minimum */
} affine;

static void quantize_affine(const float *x, float inverse_scale, float minimum, int *q)
{
    for (int i = 0; i < SUB; i++)
        q[i] = nearest(inverse_scale * (x[i] - minimum), 0, Q4_MAX);
}

static float affine_error(const float *x, const float *weights, const int *q, affine a)
{
    float sum = 0;

    for (int i = 0; i < SUB; i++) {
        float difference = a.scale * (float)q[i] + a.minimum - x[i];

        sum += weights[i] * (difference * difference);
    }
    return sum;
}

/* The weighted least squares fit of x to a given q, its minimum kept at or below zero. False if q is constant. */
static bool affine_fit(const float *x, const float *weights, const int *q, affine *fit)
{
    float sum_w = 0, sum_x = 0, sum_l = 0, sum_l2 = 0, sum_xl = 0, determinant;

    for (int i = 0; i < SUB; i++) {
        float w = weights[i], l = (float)q[i];

        sum_w += w;
        sum_x += w * x[i];
        sum_l += w * l;
        sum_l2 += w * l * l;
        sum_xl += w * l * x[i];
    }
    determinant = sum_w * sum_l2 - sum_l * sum_l;
    if (!(determinant > 0))
        return false;
    fit->scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    fit->minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    if (fit->minimum > 0) {
        fit->minimum = 0;
        fit->scale = sum_xl / sum_l2;
    }
    return true;
}

/* Tries rounding with 21 scales near the obvious one, above the best minimum so far, fits scale and minimum to each,
 * and keeps the best. Elements far from zero weigh more. */
static affine choose_affine(const float *x)
{
    float weights[SUB], low = x[0], high = x[0], sum_x2 = 0, mean, best_error;
    affine best;
    int q[SUB];

    for (int i = 0; i < SUB; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        sum_x2 += x[i] * x[i];
    }
    mean = sqrtf(sum_x2 / SUB);
    for (int i = 0; i < SUB; i++)
        weights[i] = mean + fabsf(x[i]);
    low = fminf(low, 0);
    if (!(high > low))
        return (affine){0, low};
    best = (affine){1 / (Q4_MAX / (high - low)), low};
    quantize_affine(x, Q4_MAX / (high - low), low, q);
    best_error = affine_error(x, weights, q, best);
    for (int step = 0; step <= 20; step++) {
        affine fit;
        float error;

        quantize_affine(x, (-1.0f + 0.1f * (float)step + Q4_MAX) / (high - best.minimum), best.minimum, q);
        if (!affine_fit(x, weights, q, &fit))
            continue;
        error = affine_error(x, weights, q, fit);
        if (error < best_error) {
            best_error = error;
            best = fit;
        }
    }
    return best;
}

/* The inverse of q4_k_scale_min(). Sub-blocks are set in order. */
static void set_scale_min(uint8_t *s, int j, int scale, int minimum)
{
    if (j < 4) {
        s[j] = (uint8_t)scale;
        s[j + 4] = (uint8_t)minimum;
    } else {
        s[j + 4] = (uint8_t)((scale & 15) | (minimum & 15) << 4);
        s[j - 4] |= (uint8_t)(scale >> 4 << 6);
        s[j] |= (uint8_t)(minimum >> 4 << 6);
    }
}

static void quantize_q4_k(const float *x, block_q4_k *b)
{
    affine subs[8];
    float max_scale = 0, max_minimum = 0, inverse_scale, inverse_minimum;

    for (int j = 0; j < 8; j++) {
        subs[j] = choose_affine(x + j * SUB);
        max_scale = fmaxf(max_scale, subs[j].scale);
        max_minimum = fmaxf(max_minimum, -subs[j].minimum);
    }
    inverse_scale = max_scale > 0 ? 63 / max_scale : 0;
    inverse_minimum = max_minimum > 0 ? 63 / max_minimum : 0;
    b->d = f32_to_f16(max_scale / 63);
    b->dmin = f32_to_f16(max_minimum / 63);
    memset(b->q, 0, sizeof b->q);
    for (int j = 0; j < 8; j++)
        set_scale_min(b->scales, j, nearest(inverse_scale * subs[j].scale, 0, 63),
                      nearest(inverse_minimum * -subs[j].minimum, 0, 63));
    for (int j = 0; j < 8; j++) {
        uint8_t scale, minimum;
        float d, dm;

        q4_k_scale_min(b->scales, j, &scale, &minimum);
        d = f16_to_f32(b->d) * scale;
        dm = f16_to_f32(b->dmin) * minimum;
        for (int i = 0; i < SUB && d != 0; i++)
            b->q[j / 2 * SUB + i] |= (uint8_t)(nearest((x[j * SUB + i] + dm) / d, 0, Q4_MAX) << (j % 2 * 4));
    }
}

/* ---- Q6_K: x ~ scale * q, -32 <= q <= 31, for sub-blocks of 16 ---- */

enum { SUB6 = 16, Q6_MAX = 32 };

/* Below this all elements of a sub-block count as zero (ggml's GROUP_MAX_EPS). */
#define Q6_TINY 1e-15f

/* Tries rounding with 19 scales around the one that takes the extreme element to -32, each followed by a least squares
 * fit with weights x^2, and gives the scale that explains most of x. */
static float choose_scale(const float *x)
{
    float extreme = 0, best = 0, best_scale = 0;
    bool first = true;

    for (int i = 0; i < SUB6; i++)
        if (fabsf(x[i]) > fabsf(extreme))
            extreme = x[i];
    if (fabsf(extreme) < Q6_TINY)
        return 0;
    for (int step = 0; step < 19; step++) {
        /* 0 comes first: on a tie the plain scale stays */
        int offset = step == 0 ? 0 : step <= 9 ? step - 10 : step - 9;
        float inverse = -(Q6_MAX + 0.1f * (float)offset) / extreme;
        float sum_lx = 0, sum_l2 = 0;

        for (int i = 0; i < SUB6; i++) {
            float w = x[i] * x[i], l = (float)nearest(inverse * x[i], -Q6_MAX, Q6_MAX - 1);

            sum_lx += w * x[i] * l;
            sum_l2 += w * l * l;
        }
        if (sum_l2 > 0 && (first || sum_lx * sum_lx > best * sum_l2)) {
            best_scale = sum_lx / sum_l2;
            best = best_scale * sum_lx;
        }
        first = false;
    }
    return best_scale;
}

static void quantize_q6_k(const float *x, block_q6_k *b)
{
    float scales[16], extreme = 0, inverse;

    memset(b, 0, sizeof *b);
    for (int j = 0; j < 16; j++) {
        scales[j] = choose_scale(x + j * SUB6);
        if (fabsf(scales[j]) > fabsf(extreme))
            extreme = scales[j];
    }
    if (fabsf(extreme) < Q6_TINY)
        return;
    inverse = -128 / extreme;
    b->d = f32_to_f16(1 / inverse);
    for (int j = 0; j < 16; j++)
        b->scales[j] = (int8_t)nearest(inverse * scales[j], -128, 127);
    for (int e = 0; e < K_ELEMENTS; e++) {
        int half = e / 128, run = e / 32 % 4, i = e % 32;
        float d = f16_to_f32(b->d) * b->scales[e / SUB6];
        int q = (d != 0 ? nearest(x[e] / d, -Q6_MAX, Q6_MAX - 1) : 0) + Q6_MAX;

        b->ql[half * 64 + run % 2 * 32 + i] |= (uint8_t)((q & 15) << (run / 2 * 4));
        b->qh[half * 32 + i] |= (uint8_t)(q >> 4 << (run * 2));
    }
}

/* ---- rows ---- */

typedef union any_block {
    float f32;
    uint16_t u16;
    block_q8_0 q8_0;
    block_q4_0 q4_0;
    block_q4_k q4_k;
    block_q6_k q6_k;
} any_block;

static void quantize_block(tensor_type type, const float *x, any_block *b)
{
    switch (type) {
    case TYPE_F16:
        b->u16 = f32_to_f16(*x);
        break;
    case TYPE_BF16:
        b->u16 = f32_to_bf16(*x);
        break;
    case TYPE_Q8_0:
        quantize_q8_0(x, &b->q8_0);
        break;
    case TYPE_Q4_0:
        quantize_q4_0(x, &b->q4_0);
        break;
    case TYPE_Q4_K:
        quantize_q4_k(x, &b->q4_k);
        break;
    case TYPE_Q6_K:
        quantize_q6_k(x, &b->q6_k);
        break;
    default:
        b->f32 = *x;
    }
}

bool tensor_row_from_float(tensor_type type, const float *row, void *out, size_t n)
{
    const tensor_type_info *info = tensor_type_describe(type);
    uint8_t *p = out;

    if (!info || !info->runnable)
        return false;
    for (size_t i = 0; i < n; i += (size_t)info->block_elements, p += info->block_bytes) {
        any_block b;

        quantize_block(type, row + i, &b);
        memcpy(p, &b, (size_t)info->block_bytes);
    }
    return true;
}
