/*
 * kernels.h: the vector code of one CPU level, as a table of functions. Every level gives the same bits.
 *
 * The canonical orders (rule 4 of docs/design.md), which kernels_generic.c spells out in plain C and the others must
 * equal:
 *
 *  Lanes and trees. A sum "in L lanes" adds element i into lane i mod L, in the order of i, each step one fused
 *  multiply-add (or addition), starting from +0; zeros follow the last element up to a multiple of L; the lanes are
 *  then added as a tree: lane i += lane i + L/2, then L/4, ... 1.
 *
 *  Activations for quantised weights. ACT_Q8: blocks of 32 floats x; d = max|x| / 127, q = round-half-even(x * (1/d))
 *  with 1/d computed as 127 / max|x| (both 0 if the maximum is below 2^-100). ACT_Q8_K: the same over blocks of 256.
 * The integers are in [-127, 127]. Kernels also keep the sums of the q of each 32 (16 for Q6_K), which are exact. NaN
 * or infinite activations give some result and no undefined behaviour. Results that are not NaN are equal on all
 * levels; where one level has NaN all have it, but its bits may differ.
 *
 *  Quantised dot products. For block b (32 elements, or 256 for K types) S[b] is the exact int32 sum of
 *  weight integer * activation integer (times the integer sub-block scale for K types);
 *      acc[b mod 8] = fma(d_w[b] * d_x[b], (float) S[b], acc[b mod 8]),   in the order of b
 *  and for Q4_K, right after it, with M[b] the exact sum of minimum * sum of the sub-block's q,
 *      acc[b mod 8] = fma(-(dmin_w[b] * d_x[b]), (float) M[b], acc[b mod 8])
 *  the 8 lanes are added as a tree.
 *
 *  Float dot products (F32, F16, BF16 weights; activations F32): 16 lanes along k.
 *
 *  Elementwise functions use one polynomial each, the same operations in the same order (kernel_math.h).
 */
#ifndef AIGC_TENSOR_KERNELS_H
#define AIGC_TENSOR_KERNELS_H

#include "base/cpu.h"
#include "tensor/types.h"

/* How activations are laid out for a weight type. */
typedef enum act_type { ACT_F32, ACT_Q8, ACT_Q8_K, ACT_TYPES } act_type;

act_type act_type_for(tensor_type weights);

/* Bytes of one prepared row of n activations, a multiple of 64 (kernel_acts.h has the layout). Rows begin at multiples
 * of 64 bytes. */
size_t act_row_bytes(act_type type, size_t n);

enum {
    KV_BLOCK = 32,          /* positions in a block of the KV cache */
    KERNEL_PANEL_ROWS = 16, /* matmul for many tokens works on this many weight rows together */
    SUM_EXP_RUN = 4096,     /* elements that sum_exp adds in float */
};

/* One block of cached keys and values of one head. */
typedef struct attn_block {
    bool f16;      /* element type: half or float */
    const void *k; /* [head_dim][KV_BLOCK]: transposed, so that lanes are positions */
    const void *v; /* [KV_BLOCK][head_dim] */
} attn_block;

typedef struct aigc_kernels {
    const char *name;

    /* x[n] to one prepared row. For ACT_F32 a copy. */
    void (*prepare)(act_type type, const float *x, void *out, size_t n);

    /* out[t * out_stride + r - row_begin] = dot(weights row r, activations row t) for row_begin <= r < row_end and
     * 0 <= t < n_tokens. weights: first row of the matrix, row_bytes apart, in place in the file (any alignment that
     * GGUF allows); acts: n_tokens prepared rows, act_row_bytes(act_type_for(type), k) apart; scratch:
     * matmul_scratch_bytes(type, k) bytes of this thread, 64-byte aligned. One function for one token (reads each row
     * as one stream) and for many (each weight row read once, panels interleaved on the fly). */
    void (*matmul)(tensor_type type, const void *weights, size_t row_bytes, size_t k, int row_begin, int row_end,
                   const void *acts, int n_tokens, float *out, size_t out_stride, void *scratch);

    /* y = x / sqrt(mean(x^2) + eps) * w. Sum of squares in 16 lanes. In place allowed. */
    void (*rms_norm)(const float *x, const float *w, float eps, float *y, size_t n);
    /* y = (x - mean) / sqrt(variance + eps) * w + b (b may be NULL). Both sums in 16 lanes, variance of x - mean. */
    void (*layer_norm)(const float *x, const float *w, const float *b, float eps, float *y, size_t n);

    void (*add)(float *x, const float *y, size_t n);          /* x += y */
    void (*silu_mul)(float *gate, const float *up, size_t n); /* gate = gate / (1 + exp(-gate)) * up */
    void (*gelu_tanh)(float *x, size_t n);                    /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    void (*gelu_erf)(float *x, size_t n);                     /* 0.5 x (1 + erf(x / sqrt 2)) */

    /* Rotates n_dims dimensions of each of n_heads heads (head_dim apart) by the angles whose cos and sin are given for
     * n_dims / 2 pairs. interleaved: pairs are (2i, 2i + 1); otherwise (i, i + n_dims / 2). x0' = fma(x0, cos, -(x1 *
     * sin)), x1' = fma(x0, sin, x1 * cos). */
    void (*rope)(float *x, int n_heads, int head_dim, int n_dims, const float *cos, const float *sin, bool interleaved);

    /* Attention of n_q queries over one block of keys and values of their head. q: [n_q][head_dim], scaled already.
     * Positions begin[i] <= p < end[i] of the block are visible to query i (an empty range allowed).
     *   score[p] = a chain of fma over d = 0, 1, ...: fma(q[d], k[d][p], score[p]), from 0
     *   m = max of visible scores; e[p] = exp(score[p] - m) for visible p, else 0
     *   l = sum of e in 16 lanes (plain additions: lane p mod 16, then the tree)
     *   o[d] = a chain of fma over visible p in order: fma(e[p], v[p][d], o[d]), from 0
     * Writes m[n_q], l[n_q], o[n_q][head_dim] (m = -INFINITY, l = 0, o = 0 for an empty range). */
    void (*attend)(const attn_block *block, int head_dim, const float *q, int n_q, const int *begin, const int *end,
                   float *m, float *l, float *o);

    /* Merges block results (m2, l2, o2) into (m, l, o), for n_q queries:
     *   M = max(m, m2), a = exp(m - M), c = exp(m2 - M)  (0 for -INFINITY; all -INFINITY: unchanged)
     *   l = fma(l2, c, l * a), o[d] = fma(o2[d], c, o[d] * a) */
    void (*attend_merge)(float *m, float *l, float *o, const float *m2, const float *l2, const float *o2, int n_q,
                         int head_dim);

    /* x *= s */
    void (*scale)(float *x, float s, size_t n);

    /* The largest element (NaN ignored; -INFINITY if none; zero is +0). */
    float (*max)(const float *x, size_t n);
    /* Sum of exp((x[i] - shift) * s): 16 lanes of float over each run of SUM_EXP_RUN elements, runs added in double. */
    double (*sum_exp)(const float *x, float shift, float s, size_t n);
    /* y[i] = exp((x[i] - shift) * s) */
    void (*exp_shifted)(const float *x, float shift, float s, float *y, size_t n);

    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);
    void (*f16_to_f32)(const uint16_t *x, float *y, size_t n);
} aigc_kernels;

/* Scratch that matmul needs for rows of k elements. */
size_t matmul_scratch_bytes(tensor_type type, size_t k);

/* The table of a level; NULL if it is not built for this architecture or the processor lacks it. */
const aigc_kernels *kernels_for(cpu_level level);

/* The table of cpu_best_level(). */
const aigc_kernels *kernels_best(void);

#endif
