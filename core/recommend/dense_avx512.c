/* dense_avx512.c: the kernels of dense.h for AVX-512. */
#include "recommend/dense_levels.h"

#ifdef __x86_64__

#include "tensor/kernel_vec_avx512.h"

enum { TILE_ROWS = 12, TILE_VECTORS = 2 };

#include "recommend/dense_body.h"

const dense_kernels dense_avx512 = {gemm, gather, residual, dot, axpy, scale_by, scan_half, dot_half, axpy_half};

#endif
