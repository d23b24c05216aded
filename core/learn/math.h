/*
 * math.h: the pieces of a transformer on rows of floats, forward and backward, but for the matrix products.
 *
 * Called by the phases of learner.c, each call for some rows or some columns. A sum along a row is in 16 lanes (element
 * i in lane i mod 16) that are added in order; a sum over tokens runs in their order: so results do not depend on how
 * the work is split. "d" before a name is the gradient of the loss with respect to it; parameters' gradients are added
 * to what is there.
 */
#ifndef AIGC_LEARN_MATH_H
#define AIGC_LEARN_MATH_H

#include "model/arch.h"
#include "tensor/kernels.h"

/* Before a function of plain loops: it is compiled for each level of the processor, chosen when the program is loaded.
 * No level may change a bit: nothing is reassociated or contracted. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__)
#define FOR_EACH_LEVEL __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define FOR_EACH_LEVEL
#endif

/* What backward needs of a norm's forward pass. */
typedef struct norm_stat {
    float mean;    /* 0 for NORM_RMS */
    float inverse; /* 1 / sqrt(variance + eps), or of the mean square */
} norm_stat;

norm_stat math_norm_stat(norm_kind kind, const float *x, float eps, size_t n);

/* y = (x - mean) * inverse * w + b; b may be NULL. */
void math_norm(const float *x, norm_stat stat, const float *w, const float *b, float *y, size_t n);

/* dx += what dy says about x. */
void math_norm_backward(norm_kind kind, const float *x, norm_stat stat, const float *w, const float *dy, float *dx,
                        size_t n);

/* dw and db (may be NULL) of columns begin to end, over rows of dy and x that are stride apart. */
void math_norm_columns(const float *dy, const float *x, const norm_stat *stats, size_t n_rows, size_t stride,
                       size_t begin, size_t end, float *dw, float *db);

/* out[c] += sum of rows' column c, for begin <= c < end. */
void math_column_sums(const float *rows, size_t n_rows, size_t stride, size_t begin, size_t end, float *out);

/* h = activation(pre), times up if that is not NULL. */
void math_activate(const aigc_kernels *k, activation_kind kind, const float *pre, const float *up, float *h, size_t n);

/* dpre and dup (not used if up is NULL) from dh. scratch: [n]. */
void math_activate_backward(const aigc_kernels *k, activation_kind kind, const float *dh, const float *pre,
                            const float *up, float *dpre, float *dup, float *scratch, size_t n);

/* Loss of one row: -log softmax(logits)[target], natural logarithm. If scale is not 0 the logits become their
 * gradient: (softmax - one at the target) * scale. */
float math_cross_entropy(const aigc_kernels *k, float *logits, int target, float scale, size_t n);

/* Turns scores[begin, end) of a row of n into exp(scale * (score - log-sum-exp)) and the rest into 0; returns that
 * log-sum-exp, which is in units of 1 / scale. */
float math_softmax(const aigc_kernels *k, float *scores, float scale, size_t begin, size_t end, size_t n);

float math_dot(const float *x, const float *y, size_t n);

/* ds = p * (dp - mean) * scale, in place of dp. */
void math_softmax_backward(const float *p, float *dp, float mean, float scale, size_t n);

/* Sum of squares in double, 16 lanes. */
double math_square_sum(const float *x, size_t n);

typedef struct adamw_step {
    float beta1, beta2, eps;
    float rate;           /* learning rate / (1 - beta1^t) */
    float inverse_root;   /* 1 / sqrt(1 - beta2^t) */
    float keep;           /* 1 - learning rate * weight decay */
    float gradient_scale; /* what clipping left */
} adamw_step;

/* One step of AdamW (Loshchilov and Hutter, 2019) on n weights; the gradients are zeroed for the next. */
void math_adamw(const adamw_step *s, float *w, float *g, float *m, float *v, size_t n);

#endif
