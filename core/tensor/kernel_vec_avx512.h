/*
 * kernel_vec_avx512.h: vf, 16 floats in one register, for kernel_math.h, kernel_elementwise.h and kernel_attend.h.
 * Included by files built for AVX-512.
 */
#ifndef AIGC_TENSOR_KERNEL_VEC_AVX512_H
#define AIGC_TENSOR_KERNEL_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 vf;

/* Queries that attend() takes together: as many as the registers hold. */
enum { ATTEND_QUERIES = 4 };

/* Rows and tokens of a tile of float dot products. */
enum { FLOAT_ROWS = 4, FLOAT_TOKENS = 4 };

/* Where block b of 32 activations stands in act_q8's second copy: blocks i and i + 4 beside each other in a register.
 */
static inline size_t act_q8_slot(size_t b)
{
    return (b & ~(size_t)7) | (b & 3) << 1 | (b >> 2 & 1);
}

static inline vf v_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf v_abs(vf a)
{
    return _mm512_abs_ps(a);
}

static inline vf v_if_positive(vf x, vf a, vf b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), b, a);
}

static inline vf v_scale2(vf p, vf t, vf n)
{
    (void)t;
    return _mm512_scalef_ps(p, n);
}

static inline __mmask16 v_first(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

/* n < 16 elements; the other lanes are zero. */
static inline vf v_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(v_first(n), p);
}

static inline void v_store_n(float *p, vf v, size_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), v);
}

/* Lanes from begin (included) to end (not included) of a, the others of b; 0 <= begin, end <= 16. */
static inline vf v_select(vf a, vf b, int begin, int end)
{
    __mmask16 mask = begin < end ? (__mmask16)(((1u << (end - begin)) - 1) << begin) : 0;
    return _mm512_mask_blend_ps(mask, b, a);
}

static inline vf v_load_half(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vf v_load_half_n(const uint16_t *p, size_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), p));
}

static inline vf v_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

static inline vf v_load_bf16_n(const uint16_t *p, size_t n)
{
    __m256i half = _mm256_maskz_loadu_epi16(v_first(n), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline void v_store_half(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

static inline void v_store_half_n(uint16_t *p, vf v, size_t n)
{
    _mm256_mask_storeu_epi16(p, v_first(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

/* 16 floats in [-127, 127] to bytes, rounded to nearest even. */
static inline __m128i v_to_int8(vf v)
{
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
}

/* Lanes added as the tree. */
static inline float v_tree(vf v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* The largest lane; no lane is NaN. */
static inline float v_max_lane(vf v)
{
    return _mm512_reduce_max_ps(v);
}

#endif
