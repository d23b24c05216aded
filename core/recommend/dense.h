/*
 * dense.h: the float arithmetic of recommendation: products of small matrices, gathered rows, Cholesky factors.
 *
 * Every level gives the same bits: each element of a product is one chain of fused multiply-adds over k, from the
 * element's old value, whatever the blocking; dot products run in 16 lanes added as a tree (core/tensor/kernels.h).
 * So a model fitted with these does not depend on the processor, on the number of threads or on OpenBLAS, which on the
 * sizes that occur here is no faster: matrices of 64 to 256 columns, gathered row by row.
 *
 * Rows have a multiple of DENSE_LANES elements, padded with zeros.
 */
#ifndef AIGC_RECOMMEND_DENSE_H
#define AIGC_RECOMMEND_DENSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

enum { DENSE_LANES = 16 };

typedef struct dense_kernels {
    /* C [m][n] += A [m][k] * B [k][n], or -= if minus, element (i, l) of A at a[i * a_row + l * a_col]; n a multiple
     * of 16. */
    void (*gemm)(int m, int n, int k, const float *a, size_t a_row, size_t a_col, const float *b, size_t ldb, float *c,
                 size_t ldc, bool minus);
    /* out[r] = scale[r] * rows[index[r]], n rows of d elements; scale NULL: 1. */
    void (*gather)(const float *rows, const uint32_t *index, const float *scale, size_t n, size_t d, float *out);
    /* out += sum over r of weight[r] * (rows[index[r]] . p - target) * rows[index[r]], rows in half precision */
    void (*apply)(const uint16_t *rows, const uint32_t *index, const float *weight, size_t n, size_t d, float target,
                  const float *p, float *out);
    /* sum + sum over r of weight[r] * (rows[index[r]] . p)^2, one after the other */
    double (*curvature)(const uint16_t *rows, const uint32_t *index, const float *weight, size_t n, size_t d,
                        const float *p, double sum);
    float (*dot)(const float *x, const float *y, size_t n);
    void (*axpy)(float a, const float *x, float *y, size_t n); /* y += a x */
    void (*scale)(float a, float *x, size_t n);
    /* out[i] += q . row i of n half-precision rows of d elements */
    void (*scan_half)(const uint16_t *rows, size_t n, size_t d, const float *q, float *out);
    float (*dot_half)(const uint16_t *x, const float *y, size_t n);
    void (*axpy_half)(float a, const uint16_t *x, float *y, size_t n);
    /* out[index[i]] += scale * weight[i] + base for those of n half-precision weights whose index is below n_out */
    void (*scatter)(const uint32_t *index, const uint16_t *weight, size_t n, uint32_t n_out, float scale, float base,
                    float *out);
    /* mask[r], bit l: c[r][l] >= least[l], for n rows of 32 */
    void (*reach)(const float *c, size_t n, const float *least, uint32_t *mask);
    void (*to_half)(const float *x, size_t n, uint16_t *out); /* |x| below 65504 */
} dense_kernels;

/* The table of cpu_best_level(). */
const dense_kernels *dense_best(void);
/* The table of one level; NULL if this processor lacks it. Used by tests. */
const dense_kernels *dense_for(cpu_level level);

/* n rounded up to whole vectors. */
static inline size_t dense_pad(size_t n)
{
    return (n + DENSE_LANES - 1) / DENSE_LANES * DENSE_LANES;
}

/* The upper triangle of A [d][d] += sum of weight[r] * row r times row r transposed, over n gathered rows. scratch: a
 * panel of DENSE_PANEL rows and as many floats. weight NULL: 1. Weights are >= 0. */
enum { DENSE_PANEL = 128 };
void dense_gram(const dense_kernels *k, const float *rows, const uint32_t *index, const float *weight, size_t n,
                size_t d, float *a, float *scratch);
static inline size_t dense_gram_scratch(size_t d)
{
    return DENSE_PANEL * d + DENSE_PANEL;
}

/* A square matrix for dense_multiply(): so many columns of A [d][d] together, from `column` on, to where they belong in
 * panels [d * d]. */
enum { DENSE_COLUMNS = 32 };
void dense_pack(const float *a, size_t d, size_t column, float *panels);
/* Y = X A for n rows X [n][d]. */
void dense_multiply(const dense_kernels *k, const float *x, size_t n, const float *panels, size_t d, float *y);

/* The upper triangle of A [n][n] to U with A = U' U, in place (n a multiple of 16; a panel of zero rows needs ones on
 * its diagonal). False if A is not positive definite. */
bool dense_cholesky(const dense_kernels *k, float *a, size_t n);
/* x := A^-1 x, with U of dense_cholesky(). */
void dense_solve(const dense_kernels *k, const float *u, size_t n, float *x);

#endif
