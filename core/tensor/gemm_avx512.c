/* gemm_avx512.c: products of floats for AVX-512. */
#ifdef __x86_64__

#include <immintrin.h>
#include <stddef.h>

static inline __m512 step(__m512 acc, __m512i x, __m512i y)
{
    return _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(y), acc);
}

/* A word is one element. */
enum { LINE_ELEMENTS = 16 };
#define WORDS_OF(n) (n)

static inline __m512i line_words(const float *x, size_t n)
{
    return _mm512_maskz_loadu_epi32(n < 16 ? (__mmask16)((1u << n) - 1) : (__mmask16)-1, x);
}

static inline __m512i across_words(const float *x, size_t stride, __mmask16 mask)
{
    (void)stride;
    return _mm512_maskz_loadu_epi32(mask, x);
}

#include "tensor/gemm_tile_avx512.h"

static void pack_lines_rounded(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel)
{
    pack_lines(source, stride, n_lines, k, panel);
    gemm_round(panel, GEMM_LINES * k);
}

static void pack_across_rounded(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                                size_t panel_stride)
{
    pack_across(source, stride, n_lines, k, panels, panel_stride);
    gemm_round_panels(panels, panel_stride, n_lines, k);
}

const gemm_kernels gemm_avx512[GEMM_PRECISIONS] = {
    [GEMM_F32] = {"avx512 float32", GEMM_DEPTH_F32, false, pack_lines, pack_across, block},
    [GEMM_BF16] = {"avx512 bfloat16", GEMM_DEPTH_BF16, false, pack_lines_rounded, pack_across_rounded, block},
};

#endif
