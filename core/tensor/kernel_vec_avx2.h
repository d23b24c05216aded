/*
 * kernel_vec_avx2.h: vf, 16 floats in two registers, for kernel_math.h, kernel_elementwise.h and kernel_attend.h.
 * Included by files built for AVX2.
 */
#ifndef AIGC_TENSOR_KERNEL_VEC_AVX2_H
#define AIGC_TENSOR_KERNEL_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct vf {
    __m256 a, b;
} vf;

/* Queries that attend() takes together: as many as the registers hold. */
enum { ATTEND_QUERIES = 2 };

/* Rows and tokens of a tile of float dot products. */
enum { FLOAT_ROWS = 2, FLOAT_TOKENS = 2 };

/* Where block b of 32 activations stands in act_q8's second copy. */
static inline size_t act_q8_slot(size_t b)
{
    return b;
}

static inline vf v_set(float x)
{
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline vf v_add(vf x, vf y)
{
    return (vf){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

static inline vf v_sub(vf x, vf y)
{
    return (vf){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}

static inline vf v_mul(vf x, vf y)
{
    return (vf){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

static inline vf v_div(vf x, vf y)
{
    return (vf){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}

static inline vf v_fma(vf x, vf y, vf z)
{
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

static inline vf v_min(vf x, vf y)
{
    return (vf){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}

static inline vf v_max(vf x, vf y)
{
    return (vf){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

static inline vf v_abs(vf x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (vf){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}

static inline vf v_if_positive(vf x, vf y, vf z)
{
    __m256 zero = _mm256_setzero_ps();
    return (vf){_mm256_blendv_ps(z.a, y.a, _mm256_cmp_ps(x.a, zero, _CMP_GT_OQ)),
                _mm256_blendv_ps(z.b, y.b, _mm256_cmp_ps(x.b, zero, _CMP_GT_OQ))};
}

/* Two steps, as 2^n itself may be out of range; the first is exact. */
static inline __m256 scale2_8(__m256 p, __m256 t)
{
    __m256i e = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(_mm256_set1_ps(0x1.8p23f)));
    __m256i half = _mm256_srai_epi32(e, 1), rest = _mm256_sub_epi32(e, half), bias = _mm256_set1_epi32(127);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}

static inline vf v_scale2(vf p, vf t, vf n)
{
    (void)n;
    return (vf){scale2_8(p.a, t.a), scale2_8(p.b, t.b)};
}

static inline vf v_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline void v_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}

/* n < 16 elements; the other lanes are zero. */
static inline vf v_load_n(const float *p, size_t n)
{
    float padded[16] = {0};
    memcpy(padded, p, n * sizeof(float));
    return v_load(padded);
}

static inline void v_store_n(float *p, vf v, size_t n)
{
    float padded[16];
    v_store(padded, v);
    memcpy(p, padded, n * sizeof(float));
}

static inline __m256 select_8(__m256 a, __m256 b, __m256i lane, int begin, int end)
{
    __m256i inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                                         _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(inside));
}

/* Lanes from begin (included) to end (not included) of x, the others of y; 0 <= begin, end <= 16. */
static inline vf v_select(vf x, vf y, int begin, int end)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (vf){select_8(x.a, y.a, lane, begin, end),
                select_8(x.b, y.b, _mm256_add_epi32(lane, _mm256_set1_epi32(8)), begin, end)};
}

static inline vf v_load_half(const uint16_t *p)
{
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}

static inline vf v_load_half_n(const uint16_t *p, size_t n)
{
    uint16_t padded[16] = {0};
    memcpy(padded, p, n * sizeof *p);
    return v_load_half(padded);
}

static inline __m256 bf16_8(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline vf v_load_bf16(const uint16_t *p)
{
    return (vf){bf16_8(p), bf16_8(p + 8)};
}

static inline vf v_load_bf16_n(const uint16_t *p, size_t n)
{
    uint16_t padded[16] = {0};
    memcpy(padded, p, n * sizeof *p);
    return v_load_bf16(padded);
}

static inline void v_store_half(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}

static inline void v_store_half_n(uint16_t *p, vf v, size_t n)
{
    uint16_t padded[16];
    v_store_half(padded, v);
    memcpy(p, padded, n * sizeof *p);
}

/* 16 floats in [-127, 127] to bytes, rounded to nearest even. */
static inline __m128i v_to_int8(vf v)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* Lanes added as the tree. */
static inline float v_tree(vf v)
{
    __m256 a = _mm256_add_ps(v.a, v.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* The largest lane; no lane is NaN. */
static inline float v_max_lane(vf v)
{
    __m256 a = _mm256_max_ps(v.a, v.b);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

#endif
