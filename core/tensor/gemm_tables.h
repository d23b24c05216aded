/* gemm_tables.h: the kernels of each level, for gemm.c; and what levels share. */
#ifndef AIGC_TENSOR_GEMM_TABLES_H
#define AIGC_TENSOR_GEMM_TABLES_H

#include "tensor/gemm.h"

/* Elements of k in a block: 48 columns of B, 36 KiB, then stay in a first-level cache of 48 KiB. */
enum { GEMM_DEPTH_F32 = 192, GEMM_DEPTH_BF16 = 384 };

/* Plain C, for every level without its own: the floats as they are, and rounded to bfloat16 but kept as floats. */
void gemm_pack_lines_float(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel);
void gemm_pack_across_float(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                            size_t panel_stride);
void gemm_pack_lines_rounded(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel);
void gemm_pack_across_rounded(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                              size_t panel_stride);
void gemm_round_panels(uint32_t *panels, size_t panel_stride, size_t n_lines, size_t k);

/* Rounds the floats of n words to bfloat16 and leaves them floats. */
void gemm_round(uint32_t *words, size_t n);

extern const gemm_kernels gemm_generic[GEMM_PRECISIONS];
#ifdef __x86_64__
extern const gemm_kernels gemm_avx2[GEMM_PRECISIONS];
extern const gemm_kernels gemm_avx512[GEMM_PRECISIONS];
extern const gemm_kernels gemm_avx512_bf16; /* vdpbf16ps */
#endif

#endif
