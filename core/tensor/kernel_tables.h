/* kernel_tables.h: the tables of the levels that are built, and what they and kernels.c agree on. */
#ifndef AIGC_TENSOR_KERNEL_TABLES_H
#define AIGC_TENSOR_KERNEL_TABLES_H

#include "tensor/kernels.h"

/* Part of matmul's scratch that holds partial sums. */
enum { MATMUL_TILE_BYTES = 64 << 10 };

extern const aigc_kernels kernels_generic;
#ifdef __x86_64__
extern const aigc_kernels kernels_avx2;
extern const aigc_kernels kernels_avx512;
#endif

#endif
