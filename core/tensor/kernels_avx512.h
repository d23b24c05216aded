/* kernels_avx512.h: what the AVX-512 files share. */
#ifndef AIGC_TENSOR_KERNELS_AVX512_H
#define AIGC_TENSOR_KERNELS_AVX512_H

#include "tensor/kernel_acts.h"
#include "tensor/kernels.h"

/* A product of quantised weights with prepared activations, as matmul() gets it, reduced to its range of rows. */
typedef struct quant_job {
    tensor_type type;
    const uint8_t *w; /* first row of the range */
    size_t row_bytes, k;
    int rows;
    const char *acts; /* first token */
    size_t act_bytes;
    int n_tokens;
    float *out; /* of the first row and token */
    size_t out_stride;
    char *scratch;
} quant_job;

/* One row of weights at a time, with one token or a few. */
void rows_avx512(const quant_job *job);

/* Panels of rows, interleaved so that a lane is a row, with many tokens. */
void panels_avx512(const quant_job *job);

#endif
