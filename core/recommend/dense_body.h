/*
 * dense_body.h: the kernels of dense.h, written once over vf (16 floats). Included by dense_generic.c, dense_avx2.c
 * and dense_avx512.c, which say how large a tile their registers hold: TILE_ROWS x TILE_VECTORS.
 */
#include <string.h>

#include "recommend/dense.h"
#include "recommend/half.h"

/* One tile of C, kept in registers over all of k. rows, vectors and minus are constants where it is inlined. */
__attribute__((always_inline)) static inline void tile(const int rows, const int vectors, const bool minus, int k,
                                                       const float *a, size_t a_row, size_t a_col, const float *b,
                                                       size_t ldb, float *c, size_t ldc)
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
        for (int v = 0; v < vectors; v++) {
            row[v] = v_load(b + (size_t)l * ldb + 16 * v);
            row[v] = minus ? v_mul(v_set(-1), row[v]) : row[v];
        }
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
__attribute__((always_inline)) static inline void strip(const int rows, const bool minus, int n, int k, const float *a,
                                                        size_t a_row, size_t a_col, const float *b, size_t ldb,
                                                        float *c, size_t ldc)
{
    int j = 0;

    for (; j + 16 * TILE_VECTORS <= n; j += 16 * TILE_VECTORS)
        tile(rows, TILE_VECTORS, minus, k, a, a_row, a_col, b + j, ldb, c + j, ldc);
    for (; j < n; j += 16)
        tile(rows, 1, minus, k, a, a_row, a_col, b + j, ldb, c + j, ldc);
}

/* All rows, the last of them in strips of 4, 2 and 1. */
__attribute__((always_inline)) static inline void strips(const bool minus, int m, int n, int k, const float *a,
                                                         size_t a_row, size_t a_col, const float *b, size_t ldb,
                                                         float *c, size_t ldc)
{
    int i = 0;

    for (; i + TILE_ROWS <= m; i += TILE_ROWS)
        strip(TILE_ROWS, minus, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc);
    for (; i + 4 <= m; i += 4)
        strip(4, minus, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc);
    for (; i + 2 <= m; i += 2)
        strip(2, minus, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc);
    if (i < m)
        strip(1, minus, n, k, a + (size_t)i * a_row, a_row, a_col, b, ldb, c + (size_t)i * ldc, ldc);
}

static void gemm(int m, int n, int k, const float *a, size_t a_row, size_t a_col, const float *b, size_t ldb, float *c,
                 size_t ldc, bool minus)
{
    if (minus)
        strips(true, m, n, k, a, a_row, a_col, b, ldb, c, ldc);
    else
        strips(false, m, n, k, a, a_row, a_col, b, ldb, c, ldc);
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

/* Rows that go together, whose chains of additions fill the processor, and how far ahead rows are fetched. */
enum { TOGETHER = TILE_ROWS > 6 ? 8 : 4, AHEAD = 8 };

/* sum[t] += x[t] . p over columns [begin, end), while the first rows of `index` are on their way: the whole of them,
 * two columns for one, of which the processor by itself fetches no more than the beginning. */
__attribute__((always_inline)) static inline void add_dots(const int many, const uint16_t *const *x, size_t begin,
                                                           size_t end, const float *p, const uint16_t *rows,
                                                           const uint32_t *index, size_t d, vf *sum)
{
    const uint16_t *later[TOGETHER / 2];

    for (int t = 0; t < TOGETHER / 2; t++)
        later[t] = index ? rows + index[t] * d : x[0];
    for (size_t i = begin; i < end; i += 16) {
        vf q = v_load(p + i);
#pragma GCC unroll 8
        for (int t = 0; t < many; t++)
            sum[t] = v_fma(v_load_half(x[t] + i), q, sum[t]);
#pragma GCC unroll 4
        for (int t = 0; t < TOGETHER / 2; t++)
            __builtin_prefetch(later[t] + 2 * (i - begin));
    }
}

/* dots[t] = x[t] . p; n rows of index follow. */
__attribute__((always_inline)) static inline void some_dots(const int many, const uint16_t *const *x, const float *p,
                                                            const uint16_t *rows, const uint32_t *index, size_t n,
                                                            size_t d, float *dots)
{
    const uint32_t *first = n > AHEAD + TOGETHER / 2 ? index + AHEAD : NULL;
    const uint32_t *second = n >= AHEAD + TOGETHER ? first + TOGETHER / 2 : NULL;
    size_t middle = d / 32 * 16;
    vf sum[TOGETHER];

    for (int t = 0; t < many; t++)
        sum[t] = v_set(0);
    add_dots(many, x, 0, middle, p, rows, first, d, sum);
    add_dots(many, x, middle, d, p, rows, second, d, sum);
#pragma GCC unroll 8
    for (int t = 0; t < many; t++)
        dots[t] = v_tree(sum[t]);
}

__attribute__((always_inline)) static inline void apply_some(const int many, const uint16_t *rows,
                                                             const uint32_t *index, const float *weight, size_t n,
                                                             size_t d, float target, const float *p, float *out)
{
    const uint16_t *x[TOGETHER];
    float dots[TOGETHER];
    vf c[TOGETHER];

    for (int t = 0; t < many; t++)
        x[t] = rows + index[t] * d;
    some_dots(many, x, p, rows, index, n, d, dots);
#pragma GCC unroll 8
    for (int t = 0; t < many; t++)
        c[t] = v_set(weight[t] * (dots[t] - target));
    for (size_t i = 0; i < d; i += 16) {
        vf sum = v_load(out + i);
#pragma GCC unroll 8
        for (int t = 0; t < many; t++)
            sum = v_fma(c[t], v_load_half(x[t] + i), sum);
        v_store(out + i, sum);
    }
}

/* Some rows together, so that `out` is read and written once for them; the sums are in the order of the rows. */
static void apply(const uint16_t *rows, const uint32_t *index, const float *weight, size_t n, size_t d, float target,
                  const float *p, float *out)
{
    size_t r = 0;

    for (; r + TOGETHER <= n; r += TOGETHER)
        apply_some(TOGETHER, rows, index + r, weight + r, n - r, d, target, p, out);
    for (; r < n; r++)
        apply_some(1, rows, index + r, weight + r, 1, d, target, p, out);
}

__attribute__((always_inline)) static inline double curvature_some(const int many, const uint16_t *rows,
                                                                   const uint32_t *index, const float *weight, size_t n,
                                                                   size_t d, const float *p, double sum)
{
    const uint16_t *x[TOGETHER];
    float dots[TOGETHER];

    for (int t = 0; t < many; t++)
        x[t] = rows + index[t] * d;
    some_dots(many, x, p, rows, index, n, d, dots);
    for (int t = 0; t < many; t++)
        sum += (double)weight[t] * dots[t] * dots[t];
    return sum;
}

static double curvature(const uint16_t *rows, const uint32_t *index, const float *weight, size_t n, size_t d,
                        const float *p, double sum)
{
    size_t r = 0;

    for (; r + TOGETHER <= n; r += TOGETHER)
        sum = curvature_some(TOGETHER, rows, index + r, weight + r, n - r, d, p, sum);
    for (; r < n; r++)
        sum = curvature_some(1, rows, index + r, weight + r, 1, d, p, sum);
    return sum;
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
