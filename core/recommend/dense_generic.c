/* dense_generic.c: the kernels of dense.h in plain C. */
#include "recommend/dense_levels.h"

#include "recommend/dense_vec_generic.h"

enum { TILE_ROWS = 4, TILE_VECTORS = 1 };

#include "recommend/dense_body.h"

const dense_kernels dense_generic = {gemm,      gather,   apply,     curvature, dot,   axpy,   scale_by,
                                     scan_half, dot_half, axpy_half, scatter,   reach, to_half};
