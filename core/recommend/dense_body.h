/*
 * dense_body.h: the kernels of dense.h, written once over vf (16 floats). Included by dense_generic.c, dense_avx2.c
 * and dense_avx512.c, which say how large a tile their registers hold: TILE_ROWS x TILE_VECTORS.
 */
#include <string.h>

#include "recommend/dense.h"
#include "recommend/half.h"

/* One tile of C, kept in registers over all of k. rows and vectors are constants where it is inlined. */
__attribute__((always_inline)) static inline void tile(const int rows, const int vectors, int k, const float *a,
                                                       size_t a_row, size_t a_col, const float *b, size_t ldb, float *c,
                                                       size_t ldc, vf sign)
{
    vf sum[TILE_ROWS][TILE_VECTORS];

#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[r][v] = v_load(c + (size_t)r * ldc + 16 * v);
    for (int l = 0; l < k; l++) {
        vf row[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            row[v] = v_mul(sign, v_load(b + (size_t)l * ldb + 16 * v));
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            vf x = v_set(a[(size_t)r * a_row + (size_t)l * a_col]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] = v_fma(x, row[v], sum[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            v_store(c + (size_t)r * ldc + 16 * v, sum[r][v]);
}

/* All columns of `rows` rows. */
__attribute__((always_inline)) static inline void strip(const int rows, int n, int k, const float *a, size_t a_row,
                                                        size_t a_col, const float *b, size_t ldb, float *c, size_t ldc,
                                                        vf sign)
{
    int j = 0;

    for (; j + 16 * TILE_VECTORS <= n; j += 16 * TILE_VECTORS)
        tile(rows, TILE_VECTORS, k, a, a_row, a_col, b + j, ldb, c + j, ldc, sign);
    for (; j < n; j += 16)
        tile(rows, 1, k, a, a_row, a_col, b + j, ldb, c + j, ldc, sign);
}

/* Fewer than TILE_ROWS rows, in strips of 4, 2 and 1. */
static void last_strips(int m, int n, int k, const float *a, size_t a_row, size_t a_col, const float *b, size_t ldb,
                        float *c, size_t ldc, vf sign)
{
    int i = 0;

    for (; i + 4 <= m; i += 4)
        strip(4, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc, sign);
    for (; i + 2 <= m; i += 2)
        strip(2, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc, sign);
    if (i < m)
        strip(1, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc, sign);
}

static void gemm(int m, int n, int k, const float *a, size_t a_row, size_t a_col, const float *b, size_t ldb, float *c,
                 size_t ldc, float sign)
{
    vf s = v_set(sign);
    int i = 0;

    for (; i + TILE_ROWS <= m; i += TILE_ROWS)
        strip(TILE_ROWS, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc, s);
    last_strips(m - i, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc, s);
}

static void gather(const float *rows, const uint32_t *index, const float *scale, size_t n, size_t d, float *out)
{
    for (size_t r = 0; r < n; r++) {
        const float *row = rows + index[r] * d;
        vf s = v_set(scale ? scale[r] : 1);
        for (size_t i = 0; i < d; i += 16)
            v_store(out + r * d + i, v_mul(s, v_load(row + i)));
    }
}

/* Four rows together, so that `out` is read and written once for them; the sums are in the order of the rows. */
static void residual(const uint16_t *rows, const uint32_t *index, const float *weight, size_t n, size_t d, float target,
                     const float *p, float *out)
{
    size_t r = 0;

    for (; r + 4 <= n; r += 4) {
        const uint16_t *x[4];
        vf dots[4], c[4];
        for (int t = 0; t < 4; t++) {
            x[t] = rows + index[r + t] * d;
            dots[t] = v_set(0);
        }
        for (size_t t = r + 4; t < n && t < r + 8; t++)
            __builtin_prefetch(rows + index[t] * d);
        for (size_t i = 0; i < d; i += 16) {
            vf q = v_load(p + i);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                dots[t] = v_fma(v_load_half(x[t] + i), q, dots[t]);
        }
        for (int t = 0; t < 4; t++)
            c[t] = v_set(weight[r + t] * (target - v_tree(dots[t])));
        for (size_t i = 0; i < d; i += 16) {
            vf sum = v_load(out + i);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                sum = v_fma(c[t], v_load_half(x[t] + i), sum);
            v_store(out + i, sum);
        }
    }
    for (; r < n; r++) {
        const uint16_t *x = rows + index[r] * d;
        vf dots = v_set(0);
        for (size_t i = 0; i < d; i += 16)
            dots = v_fma(v_load_half(x + i), v_load(p + i), dots);
        vf c = v_set(weight[r] * (target - v_tree(dots)));
        for (size_t i = 0; i < d; i += 16)
            v_store(out + i, v_fma(c, v_load_half(x + i), v_load(out + i)));
    }
}

static float dot(const float *x, const float *y, size_t n)
{
    vf sum = v_set(0);

    for (size_t i = 0; i < n; i += 16)
        sum = v_fma(v_load(x + i), v_load(y + i), sum);
    return v_tree(sum);
}

static void axpy(float a, const float *x, float *y, size_t n)
{
    vf s = v_set(a);

    for (size_t i = 0; i < n; i += 16)
        v_store(y + i, v_fma(s, v_load(x + i), v_load(y + i)));
}

static void scale_by(float a, float *x, size_t n)
{
    vf s = v_set(a);

    for (size_t i = 0; i < n; i += 16)
        v_store(x + i, v_mul(s, v_load(x + i)));
}

static float dot_half(const uint16_t *x, const float *y, size_t n)
{
    vf sum = v_set(0);

    for (size_t i = 0; i < n; i += 16)
        sum = v_fma(v_load_half(x + i), v_load(y + i), sum);
    return v_tree(sum);
}

static void axpy_half(float a, const uint16_t *x, float *y, size_t n)
{
    vf s = v_set(a);

    for (size_t i = 0; i < n; i += 16)
        v_store(y + i, v_fma(s, v_load_half(x + i), v_load(y + i)));
}

static void scan_half(const uint16_t *rows, size_t n, size_t d, const float *q, float *out)
{
    size_t r = 0;

    for (; r + 4 <= n; r += 4, rows += 4 * d) {
        vf sum[4] = {v_set(0), v_set(0), v_set(0), v_set(0)};
        for (size_t i = 0; i < d; i += 16) {
            vf x = v_load(q + i);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                sum[t] = v_fma(v_load_half(rows + t * d + i), x, sum[t]);
        }
        for (int t = 0; t < 4; t++)
            out[r + t] += v_tree(sum[t]);
    }
    for (; r < n; r++, rows += d)
        out[r] += dot_half(rows, q, d);
}

/* The product is rounded before base is added, as in the rest of a row. */
static void scatter(const uint32_t *index, const uint16_t *weight, size_t n, uint32_t n_out, float scale, float base,
                    float *out)
{
    vf s = v_set(scale), b = v_set(base), one = v_set(1);
    float value[16];
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        v_store(value, v_fma(one, v_mul(s, v_load_half(weight + i)), b));
        for (int l = 0; l < 16; l++)
            if (index[i + l] < n_out)
                out[index[i + l]] += value[l];
    }
    for (; i < n; i++)
        if (index[i] < n_out)
            out[index[i]] += scale * half_to_float(weight[i]) + base;
}

static void reach(const float *c, size_t n, const float *least, uint32_t *mask)
{
    vf low = v_load(least), high = v_load(least + 16);

    for (size_t r = 0; r < n; r++, c += 32)
        mask[r] = v_reaches(v_load(c), low) | v_reaches(v_load(c + 16), high) << 16;
}

static void to_half(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i += 16)
        v_store_half(out + i, v_load(x + i));
}
