/* dense_avx2.c: the kernels of dense.h for AVX2. */
#include "recommend/dense_levels.h"

#ifdef __x86_64__

#include "tensor/kernel_vec_avx2.h"

enum { TILE_ROWS = 6, TILE_VECTORS = 1 };

/* Bit l: x[l] >= y[l]; never for NaN. */
static inline uint32_t v_reaches(vf x, vf y)
{
    uint32_t low = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ));

    return low | (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)) << 8;
}

#include "recommend/dense_body.h"

const dense_kernels dense_avx2 = {gemm,      gather,   apply,     curvature, dot,   axpy,   scale_by,
                                  scan_half, dot_half, axpy_half, scatter,   reach, to_half};

#endif
