/* gemm_avx2.c: products for AVX2 and FMA: tiles of 6 x 16 in twelve accumulators. */
#ifdef __x86_64__

#include <immintrin.h>

#include "tensor/gemm_tables.h"

enum { ROWS = 6 };

static void store(const __m256 acc[2], size_t columns, size_t at, size_t column, const gemm_result *result)
{
    float sums[GEMM_LINES];
    _mm256_storeu_ps(sums, acc[0]);
    _mm256_storeu_ps(sums + 8, acc[1]);
    for (size_t x = 0; x < columns; x++) {
        float begin = result->from != NULL ? result->from[at + x] : 0;
        if (result->bias != NULL)
            begin += result->bias[column + x];
        result->c[at + x] = begin + sums[x];
    }
}

/* `rows` is a constant wherever this is called. */
static inline __attribute__((always_inline)) void tile(const uint32_t *a, const uint32_t *b, size_t words, int rows,
                                                       __m256 acc[ROWS][2])
{
    __m256 sum[ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (size_t i = 0; i < words; i++) {
        __m256 b0 = _mm256_loadu_ps((const float *)(b + i * GEMM_LINES));
        __m256 b1 = _mm256_loadu_ps((const float *)(b + i * GEMM_LINES + 8));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m256 x = _mm256_broadcast_ss((const float *)(a + i * GEMM_LINES + r));
            sum[r][0] = _mm256_fmadd_ps(x, b0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(x, b1, sum[r][1]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        acc[r][0] = sum[r][0];
        acc[r][1] = sum[r][1];
    }
}

/* The 16 lines of a panel as 6, 5 and 5. */
static void block(const uint32_t *a, size_t a_stride, const uint32_t *b, size_t b_stride, size_t words, size_t m,
                  size_t n, const gemm_result *result, const gemm_ahead *ahead)
{
    (void)ahead;
    for (size_t j = 0; j < n; j += GEMM_LINES) {
        const uint32_t *panel = b + j / GEMM_LINES * b_stride;
        for (size_t i = 0, rows; i < m; i += rows) {
            const uint32_t *lines = a + i / GEMM_LINES * a_stride + i % GEMM_LINES;
            __m256 acc[ROWS][2];
            rows = i % GEMM_LINES == 0 ? 6 : 5;
            if (rows == 6)
                tile(lines, panel, words, 6, acc);
            else
                tile(lines, panel, words, 5, acc);
            for (size_t r = 0; r < rows && i + r < m; r++)
                store(acc[r], n - j < GEMM_LINES ? n - j : GEMM_LINES, (i + r) * result->ldc + j, j, result);
        }
    }
}

const gemm_kernels gemm_avx2[GEMM_PRECISIONS] = {
    [GEMM_F32] = {"avx2 float32", GEMM_DEPTH_F32, false, gemm_pack_lines_float, gemm_pack_across_float, block},
    [GEMM_BF16] = {"avx2 bfloat16", GEMM_DEPTH_BF16, false, gemm_pack_lines_rounded, gemm_pack_across_rounded, block},
};

#endif
