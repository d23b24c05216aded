/*
 * kernel_attend.h: attention over one block of keys and values, written once for the levels whose vf holds 16 floats.
 * Lanes are positions for the scores and dimensions for the mix of values; several queries share what is loaded.
 */
#ifndef AIGC_TENSOR_KERNEL_ATTEND_H
#define AIGC_TENSOR_KERNEL_ATTEND_H

#include <math.h>

#include "tensor/kernel_math.h"
#include "tensor/kernels.h"

enum { MOST_QUERIES = 4 }; /* ATTEND_QUERIES of any level */

static inline vf cached16(bool f16, const void *kv, size_t i)
{
    return f16 ? v_load_half((const uint16_t *)kv + i) : v_load((const float *)kv + i);
}

static inline vf cached_n(bool f16, const void *kv, size_t i, size_t n)
{
    return f16 ? v_load_half_n((const uint16_t *)kv + i, n) : v_load_n((const float *)kv + i, n);
}

/* Scores of all 32 positions for n queries. */
static inline __attribute__((always_inline)) void scores(bool f16, const void *k, int head_dim, const float *q, int n,
                                                         vf s[MOST_QUERIES][2])
{
    for (int i = 0; i < n; i++)
        s[i][0] = s[i][1] = v_set(0);
    for (int d = 0; d < head_dim; d++) {
        vf k0 = cached16(f16, k, (size_t)d * KV_BLOCK), k1 = cached16(f16, k, (size_t)d * KV_BLOCK + 16);
        for (int i = 0; i < n; i++) {
            vf qd = v_set(q[(size_t)i * head_dim + d]);
            s[i][0] = v_fma(qd, k0, s[i][0]);
            s[i][1] = v_fma(qd, k1, s[i][1]);
        }
    }
}

/* Scores to exponentials e[KV_BLOCK], of positions begin <= p < end; 0 for the others. */
static inline void exponentials(vf s0, vf s1, int begin, int end, float *e, float *m, float *l)
{
    vf least = v_set(-INFINITY), zero = v_set(0);
    int begin0 = begin < 16 ? begin : 16, end0 = end < 16 ? end : 16;
    int begin1 = begin > 16 ? begin - 16 : 0, end1 = end > 16 ? end - 16 : 0;
    /* v_max takes its second operand where the first is NaN. */
    vf top = v_max(v_select(s1, least, begin1, end1), v_max(v_select(s0, least, begin0, end0), least));
    *m = v_max_lane(top) + 0.0f;
    vf shift = v_set(*m);
    vf e0 = v_select(v_exp(v_sub(s0, shift)), zero, begin0, end0);
    vf e1 = v_select(v_exp(v_sub(s1, shift)), zero, begin1, end1);
    v_store(e, e0);
    v_store(e + 16, e1);
    *l = v_tree(v_add(e0, e1));
}

/* o[i][d] += e[i][p] v[p][d] for n queries, begin <= p < end, n_vec times 16 dimensions. */
static inline __attribute__((always_inline)) void mix_tile(bool f16, const void *v, int head_dim, const float *e, int n,
                                                           int n_vec, int begin, int end, float *o)
{
    vf acc[MOST_QUERIES][4];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n_vec; j++)
            acc[i][j] = v_load(o + (size_t)i * head_dim + j * 16);
    for (int p = begin; p < end; p++) {
        vf value[4];
        for (int j = 0; j < n_vec; j++)
            value[j] = cached16(f16, v, (size_t)p * head_dim + j * 16);
        for (int i = 0; i < n; i++) {
            vf weight = v_set(e[i * KV_BLOCK + p]);
            for (int j = 0; j < n_vec; j++)
                acc[i][j] = v_fma(weight, value[j], acc[i][j]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n_vec; j++)
            v_store(o + (size_t)i * head_dim + j * 16, acc[i][j]);
}

/* The last dimensions, fewer than 16. */
static inline void mix_tail(bool f16, const void *v, int head_dim, const float *e, int n, int d, int begin, int end,
                            float *o)
{
    size_t left = (size_t)(head_dim - d);
    for (int i = 0; i < n; i++) {
        float *oi = o + (size_t)i * head_dim + d;
        vf acc = v_load_n(oi, left);
        for (int p = begin; p < end; p++)
            acc = v_fma(v_set(e[i * KV_BLOCK + p]), cached_n(f16, v, (size_t)p * head_dim + d, left), acc);
        v_store_n(oi, acc, left);
    }
}

static inline __attribute__((always_inline)) void mix(bool f16, const void *v, int head_dim, const float *e, int n,
                                                      int begin, int end, float *o)
{
    enum { WIDE = 8 / ATTEND_QUERIES }; /* vectors of 16 dimensions beside each other */
    size_t bytes = f16 ? 2 : 4;
    int d = 0;
    for (; d + 16 * WIDE <= head_dim; d += 16 * WIDE)
        mix_tile(f16, (const char *)v + d * bytes, head_dim, e, n, WIDE, begin, end, o + d);
    for (; d + 16 <= head_dim; d += 16)
        mix_tile(f16, (const char *)v + d * bytes, head_dim, e, n, 1, begin, end, o + d);
    if (d < head_dim)
        mix_tail(f16, v, head_dim, e, n, d, begin, end, o);
}

/* n queries, n a constant: positions that all of them see are mixed together, the others one query at a time. */
static inline __attribute__((always_inline)) void attend_some(bool f16, const attn_block *block, int head_dim,
                                                              const float *q, int n, const int *begin, const int *end,
                                                              float *m, float *l, float *o)
{
    vf s[MOST_QUERIES][2];
    float e[MOST_QUERIES * KV_BLOCK];
    scores(f16, block->k, head_dim, q, n, s);
    int common_begin = 0, common_end = KV_BLOCK;
    for (int i = 0; i < n; i++) {
        exponentials(s[i][0], s[i][1], begin[i], end[i], e + i * KV_BLOCK, &m[i], &l[i]);
        common_begin = begin[i] > common_begin ? begin[i] : common_begin;
        common_end = end[i] < common_end ? end[i] : common_end;
    }
    for (size_t i = 0; i < (size_t)n * head_dim; i++)
        o[i] = 0;
    if (common_end < common_begin)
        common_end = common_begin;
    for (int i = 0; i < n; i++) {
        int stop = end[i] < common_begin ? end[i] : common_begin;
        if (begin[i] < stop)
            mix(f16, block->v, head_dim, e + i * KV_BLOCK, 1, begin[i], stop, o + (size_t)i * head_dim);
    }
    mix(f16, block->v, head_dim, e, n, common_begin, common_end, o);
    for (int i = 0; i < n; i++) {
        int start = begin[i] > common_end ? begin[i] : common_end;
        if (start < end[i])
            mix(f16, block->v, head_dim, e + i * KV_BLOCK, 1, start, end[i], o + (size_t)i * head_dim);
    }
}

static inline __attribute__((always_inline)) void attend_typed(bool f16, const attn_block *block, int head_dim,
                                                               const float *q, int n_q, const int *begin,
                                                               const int *end, float *m, float *l, float *o)
{
    for (int i = 0; i < n_q;) {
        const float *qi = q + (size_t)i * head_dim;
        float *oi = o + (size_t)i * head_dim;
        int left = n_q - i, n = left < ATTEND_QUERIES ? left : ATTEND_QUERIES;
        if (n == 4)
            attend_some(f16, block, head_dim, qi, 4, begin + i, end + i, m + i, l + i, oi);
        else if (n == 3)
            attend_some(f16, block, head_dim, qi, 3, begin + i, end + i, m + i, l + i, oi);
        else if (n == 2)
            attend_some(f16, block, head_dim, qi, 2, begin + i, end + i, m + i, l + i, oi);
        else
            attend_some(f16, block, head_dim, qi, 1, begin + i, end + i, m + i, l + i, oi);
        i += n;
    }
}

static void attend(const attn_block *block, int head_dim, const float *q, int n_q, const int *begin, const int *end,
                   float *m, float *l, float *o)
{
    if (block->f16)
        attend_typed(true, block, head_dim, q, n_q, begin, end, m, l, o);
    else
        attend_typed(false, block, head_dim, q, n_q, begin, end, m, l, o);
}

static void attend_merge(float *m, float *l, float *o, const float *m2, const float *l2, const float *o2, int n_q,
                         int head_dim)
{
    for (int i = 0; i < n_q; i++, o += head_dim, o2 += head_dim) {
        float top = m[i] > m2[i] ? m[i] : m2[i];
        if (top == -INFINITY)
            continue;
        float in[16] = {m[i] - top, m2[i] - top}, factor[16];
        v_store(factor, v_exp(v_load(in)));
        vf a = v_set(factor[0]), c = v_set(factor[1]);
        m[i] = top;
        l[i] = fmaf(l2[i], factor[1], l[i] * factor[0]);
        int d = 0;
        for (; d + 16 <= head_dim; d += 16)
            v_store(o + d, v_fma(v_load(o2 + d), c, v_mul(v_load(o + d), a)));
        size_t left = (size_t)(head_dim - d);
        v_store_n(o + d, v_fma(v_load_n(o2 + d, left), c, v_mul(v_load_n(o + d, left), a)), left);
    }
}

#endif
