/* dense_avx512.c: the kernels of dense.h for AVX-512. */
#include "recommend/dense_levels.h"

#ifdef __x86_64__

#include "tensor/kernel_vec_avx512.h"

enum { TILE_ROWS = 12, TILE_VECTORS = 2 };

/* Bit l: a[l] >= b[l]; never for NaN. */
static inline uint32_t v_reaches(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

#include "recommend/dense_body.h"

const dense_kernels dense_avx512 = {gemm,      gather,   apply,     curvature, dot,   axpy,   scale_by,
                                    scan_half, dot_half, axpy_half, scatter,   reach, to_half};

#endif
