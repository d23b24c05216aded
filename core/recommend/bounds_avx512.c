/* bounds_avx512.c: the kernels of bounds_kernels.h for AVX-512. */
#ifdef __x86_64__

#include "recommend/coarse.h"
#include "tensor/kernel_vec_avx512.h"

static inline vf v_from_ints(const int32_t *x)
{
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(x));
}

#include "recommend/bounds_body.h"

static inline __m512i row32(const int8_t *row)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)row));
}

/* The sums of four registers, side by side. */
static inline __m128i sums(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i t = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));

    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

/* Rows come one after the other, faster than they are fetched unless that is asked for early. */
enum { AHEAD = 4096 };

static void scan(const int8_t *rows, size_t n, size_t width, const int16_t *q, int32_t *out)
{
    size_t r = 0;

    for (; r + 4 <= n; r += 4, rows += 4 * width) {
        __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                          _mm512_setzero_si512()};
        for (size_t i = 0; i < 4 * width; i += 64)
            __builtin_prefetch(rows + AHEAD + i);
        for (size_t i = 0; i < width; i += 32) {
            __m512i x = _mm512_loadu_si512(q + i);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                sum[t] = _mm512_dpwssd_epi32(sum[t], row32(rows + t * width + i), x);
        }
        _mm_storeu_si128((__m128i *)(out + r), sums(sum[0], sum[1], sum[2], sum[3]));
    }
    for (; r < n; r++, rows += width) {
        __m512i sum = _mm512_setzero_si512();
        for (size_t i = 0; i < width; i += 32)
            sum = _mm512_dpwssd_epi32(sum, row32(rows + i), _mm512_loadu_si512(q + i));
        out[r] = _mm512_reduce_add_epi32(sum);
    }
}

const bound_kernels bound_avx512 = {scan, add, close, largest};

#endif
