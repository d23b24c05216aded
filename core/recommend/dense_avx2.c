/* dense_avx2.c: the kernels of dense.h for AVX2. */
#include "recommend/dense_levels.h"

#ifdef __x86_64__

#include "tensor/kernel_vec_avx2.h"

enum { TILE_ROWS = 6, TILE_VECTORS = 1 };

#include "recommend/dense_body.h"

const dense_kernels dense_avx2 = {gemm, gather, residual, dot, axpy, scale_by, scan_half, dot_half, axpy_half};

#endif
