/*
 * blas.h: float matrix products by OpenBLAS, opened on first use. Used where matrices are float: training without
 * AVX-512.
 *
 * The library is never linked, so that loading aigc into a PostgreSQL process starts no thread. It is opened with
 * OPENBLAS_NUM_THREADS=1 and all signals blocked: this flavour then starts none either, and calls from several of our
 * threads at once are safe. Our pool splits the work; the order of a sum inside one call depends on its sizes and the
 * processor alone.
 */
#ifndef AIGC_BASE_BLAS_H
#define AIGC_BASE_BLAS_H

#include "base/error.h"

/* C [m][n] = alpha * op(A) [m][k] * op(B) [k][n] + beta * C, all row after row, rows lda, ldb, ldc elements apart.
 * op is the transpose if the flag says so: A is then stored as [k][m], B as [n][k]. beta 0 does not read C. */
typedef void (*blas_sgemm)(bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float *a,
                           int lda, const float *b, int ldb, float beta, float *c, int ldc);

/* Opens the library once a process and gives its product. AIGC_OPENBLAS in the environment names another file than
 * libopenblas.so.0. The first call changes the environment for a moment: make it while no other thread reads that.
 * Errors: AIGC_E_UNSUPPORTED if the library is missing or is not the pthread flavour. */
aigc_status blas_open(blas_sgemm *sgemm, aigc_error *err);

#endif
