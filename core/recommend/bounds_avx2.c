/* bounds_avx2.c: the kernels of bounds_kernels.h for AVX2. */
#ifdef __x86_64__

#include "recommend/coarse.h"
#include "tensor/kernel_vec_avx2.h"

static inline vf v_from_ints(const int32_t *x)
{
    return (vf){_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)x)),
                _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(x + 8)))};
}

#include "recommend/bounds_body.h"

/* Sums of 16 products of a row, two and two together. */
static inline __m256i products(const int8_t *row, __m256i q)
{
    return _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)row)), q);
}

static inline int32_t sum8(__m256i v)
{
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}

static void scan(const int8_t *rows, size_t n, size_t width, const int16_t *q, int32_t *out)
{
    size_t r = 0;

    for (; r + 4 <= n; r += 4, rows += 4 * width) {
        __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                          _mm256_setzero_si256()};
        for (size_t i = 0; i < width; i += 16) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(q + i));
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                sum[t] = _mm256_add_epi32(sum[t], products(rows + t * width + i, x));
        }
        __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]), _mm256_hadd_epi32(sum[2], sum[3]));
        _mm_storeu_si128((__m128i *)(out + r),
                         _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
    }
    for (; r < n; r++, rows += width) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t i = 0; i < width; i += 16)
            sum = _mm256_add_epi32(sum, products(rows + i, _mm256_loadu_si256((const __m256i *)(q + i))));
        out[r] = sum8(sum);
    }
}

const bound_kernels bound_avx2 = {scan, add, close, largest};

#endif
