/* dense.c: see dense.h. */
#include "recommend/dense.h"

#include <math.h>
#include <string.h>

#include "recommend/dense_levels.h"

/* Rows that dense_cholesky() finishes together: few, as they are solved one after another; enough for full tiles. */
enum { CHOLESKY_ROWS = 12, GRAM_ROWS = 24 };

static const dense_kernels *table_of(cpu_level level)
{
    switch (level) {
    case CPU_GENERIC:
        return &dense_generic;
#ifdef __x86_64__
    case CPU_AVX2:
        return &dense_avx2;
    case CPU_AVX512:
        return &dense_avx512;
#endif
    default:
        return NULL;
    }
}

const dense_kernels *dense_for(cpu_level level)
{
    return cpu_supports(level) ? table_of(level) : NULL;
}

/* Asked for by every query: it must not ask the processor, which takes tens of microseconds in a virtual machine. */
const dense_kernels *dense_best(void)
{
    const dense_kernels *best = table_of(cpu_best_level());

    return best ? best : &dense_generic;
}

/* A += P' P for a panel P of n rows, the columns from i's own 16 on: that is the upper triangle and a little more. */
static void gram_panel(const dense_kernels *k, const float *panel, size_t n, size_t d, float *a)
{
    for (size_t i = 0; i < d; i += GRAM_ROWS) {
        size_t m = d - i < GRAM_ROWS ? d - i : GRAM_ROWS, first = i / DENSE_LANES * DENSE_LANES;
        k->gemm((int)m, (int)(d - first), (int)n, panel + i, 1, d, panel + first, d, a + i * d + first, d, false);
    }
}

void dense_gram(const dense_kernels *k, const float *rows, const uint32_t *index, const float *weight, size_t n,
                size_t d, float *a, float *scratch)
{
    float *root = scratch + DENSE_PANEL * d;

    for (size_t r = 0; r < n; r += DENSE_PANEL) {
        size_t m = n - r < DENSE_PANEL ? n - r : DENSE_PANEL;
        if (index == NULL) {
            gram_panel(k, rows + r * d, m, d, a);
            continue;
        }
        for (size_t t = 0; t < m; t++)
            root[t] = weight ? sqrtf(weight[r + t]) : 1;
        k->gather(rows, index + r, root, m, d, scratch);
        gram_panel(k, scratch, m, d, a);
    }
}

static size_t panel_width(size_t d, size_t column)
{
    return d - column < DENSE_COLUMNS ? d - column : DENSE_COLUMNS;
}

void dense_pack(const float *a, size_t d, size_t column, float *panels)
{
    size_t width = panel_width(d, column);

    for (size_t i = 0; i < d; i++)
        memcpy(panels + column * d + i * width, a + i * d + column, width * sizeof *a);
}

void dense_multiply(const dense_kernels *k, const float *x, size_t n, const float *panels, size_t d, float *y)
{
    memset(y, 0, n * d * sizeof *y);
    for (size_t c = 0; c < d; c += DENSE_COLUMNS) {
        size_t width = panel_width(d, c);
        k->gemm((int)n, (int)width, (int)d, x, d, 1, panels + c * d, width, y + c, d, false);
    }
}

/* Row r of a block of rows that have had everything above the block taken away: take away the block's rows above it
 * and divide by the root of its diagonal. */
static bool finish_row(const dense_kernels *k, float *a, size_t n, size_t block, size_t r)
{
    size_t first = r / DENSE_LANES * DENSE_LANES;

    for (size_t s = block; s < r; s++)
        k->axpy(-a[s * n + r], a + s * n + first, a + r * n + first, n - first);
    float pivot = a[r * n + r];
    if (!(pivot > 0) || !isfinite(pivot))
        return false;
    k->scale(1 / sqrtf(pivot), a + r * n + first, n - first);
    return true;
}

bool dense_cholesky(const dense_kernels *k, float *a, size_t n)
{
    for (size_t block = 0; block < n; block += CHOLESKY_ROWS) {
        size_t m = n - block < CHOLESKY_ROWS ? n - block : CHOLESKY_ROWS, first = block / DENSE_LANES * DENSE_LANES;
        if (block > 0)
            k->gemm((int)m, (int)(n - first), (int)block, a + block, 1, n, a + first, n, a + block * n + first, n,
                    true);
        for (size_t r = block; r < block + m; r++)
            if (!finish_row(k, a, n, block, r))
                return false;
    }
    return true;
}

/* Rows of U are read in whole vectors, and what stands left of the diagonal there is not U: it must not count. */
void dense_solve(const dense_kernels *k, const float *u, size_t n, float *x)
{
    float own[DENSE_LANES];

    for (size_t r = 0; r < n; r++) { /* U' y = x */
        size_t first = r / DENSE_LANES * DENSE_LANES;
        x[r] /= u[r * n + r];
        memcpy(own, x + first, sizeof own);
        k->axpy(-x[r], u + r * n + first, x + first, n - first);
        memcpy(x + first, own, (r + 1 - first) * sizeof *own);
    }
    for (size_t r = n; r-- > 0;) { /* U x = y */
        size_t first = r / DENSE_LANES * DENSE_LANES, next = first + DENSE_LANES;
        memcpy(own, u + r * n + first, sizeof own);
        memset(own, 0, (r + 1 - first) * sizeof *own);
        float sum = k->dot(own, x + first, DENSE_LANES);
        sum += next < n ? k->dot(u + r * n + next, x + next, n - next) : 0;
        x[r] = (x[r] - sum) / u[r * n + r];
    }
}
