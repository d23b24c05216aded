/*
 * gemm_bf16_avx512.c: products of bfloat16 pairs for AVX-512 with BF16.
 *
 * vdpbf16ps adds the product of the upper halves to the accumulator and then that of the lower halves, each like a
 * fused multiply-add (Intel SDM volume 2, VDPBF16PS). So the first element of a pair is the upper half: the sum then
 * runs along k in order, as on levels that hold one element a word.
 */
#ifdef __x86_64__

#include <immintrin.h>
#include <stddef.h>

static inline __m512 step(__m512 acc, __m512i x, __m512i y)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)y);
}

enum { LINE_ELEMENTS = 32 };
#define WORDS_OF(n) (((n) + 1) / 2)

static inline __mmask16 first(size_t n)
{
    return n < 16 ? (__mmask16)((1u << n) - 1) : (__mmask16)-1;
}

/* Up to 32 neighbours: the first of each pair goes up. */
static inline __m512i line_words(const float *x, size_t n)
{
    __m512 low = _mm512_maskz_loadu_ps(first(n), x);
    __m512 high = n > 16 ? _mm512_maskz_loadu_ps(first(n - 16), x + 16) : _mm512_setzero_ps();
    return _mm512_rol_epi32((__m512i)_mm512_cvtne2ps_pbh(high, low), 16);
}

/* Two neighbours along k are a stride apart; stride 0: there is only one, and a zero. */
static inline __m512i across_words(const float *x, size_t stride, __mmask16 mask)
{
    __m512 up = _mm512_maskz_loadu_ps(mask, x);
    __m512 down = stride > 0 ? _mm512_maskz_loadu_ps(mask, x + stride) : _mm512_setzero_ps();
    __m512i upper = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(up));
    __m512i lower = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(down));
    return _mm512_or_si512(_mm512_slli_epi32(upper, 16), lower);
}

#include "tensor/gemm_tile_avx512.h"

const gemm_kernels gemm_avx512_bf16 = {
    "avx512_bf16", GEMM_DEPTH_BF16, true, pack_lines, pack_across, block,
};

#endif
