/* test_gemm.c: packed products: against sums in double, bit by bit between the levels of the processor, in any tiles.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/gemm.h"

enum { SHAPES = 12, GUARD = 1024 };
static const size_t shapes[SHAPES][3] = {/* m, n, k */
                                         {1, 1, 1},     {8, 48, 256},  {7, 47, 33},   {16, 16, 32},
                                         {9, 49, 257},  {3, 64, 129},  {25, 65, 283}, {130, 97, 31},
                                         {12, 96, 512}, {17, 113, 64}, {9, 98, 700},  {5, 15, 1030}};

static const bool across[4][2] = {{false, false}, {false, true}, {true, true}, {true, false}};

/* A product: A [m][k] or (across) [k][m], B [n][k] or [k][n], with rows that are wider than the matrix. */
typedef struct problem {
    size_t m, n, k, a_stride, b_stride, ldc;
    bool a_across, b_across;
    float *a, *b, *from, *bias, *c;
} problem;

static float *random_floats(uint64_t *seed, size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(int32_t)(*seed >> 32) * 0x1p-31f;
    }
    return x;
}

static problem make_problem(const size_t shape[3], const bool sides[2])
{
    problem p = {.m = shape[0], .n = shape[1], .k = shape[2], .a_across = sides[0], .b_across = sides[1]};
    uint64_t seed = p.m * 1000003 + p.n * 1009 + p.k;
    p.a_stride = (p.a_across ? p.m : p.k) + 3;
    p.b_stride = (p.b_across ? p.n : p.k) + 5;
    p.ldc = p.n + 2;
    p.a = random_floats(&seed, p.a_stride * (p.a_across ? p.k : p.m));
    p.b = random_floats(&seed, p.b_stride * (p.b_across ? p.k : p.n));
    p.from = random_floats(&seed, p.m * p.ldc);
    p.bias = random_floats(&seed, p.n);
    p.c = random_floats(&seed, p.m * p.ldc);
    return p;
}

static void free_problem(problem *p)
{
    free(p->a);
    free(p->b);
    free(p->from);
    free(p->bias);
    free(p->c);
}

static uint32_t *packed(const gemm_kernels *g, bool side, const float *x, size_t stride, size_t lines, size_t k)
{
    size_t words = gemm_packed_words(g, lines, k);
    uint32_t *out = malloc((words + GUARD) * sizeof *out);
    assert_non_null(out);
    memset(out, 0xff, (words + GUARD) * sizeof *out);
    gemm_pack(g, side, x, stride, lines, k, out);
    for (size_t i = words; i < words + GUARD; i++)
        assert_int_equal(out[i], 0xffffffff);
    return out;
}

/* The product into p->c, rows [0, m) cut where `cut` says. */
static void multiply(const gemm_kernels *g, const problem *p, bool begins, size_t cut)
{
    for (size_t row = 0; row < p->m; row += cut) {
        size_t rows = p->m - row < cut ? p->m - row : cut;
        uint32_t *a = packed(g, p->a_across, p->a + row * (p->a_across ? 1 : p->a_stride), p->a_stride, rows, p->k);
        uint32_t *b = packed(g, p->b_across, p->b, p->b_stride, p->n, p->k);
        gemm_result to = {p->c + row * p->ldc, begins ? p->from + row * p->ldc : NULL, p->ldc, begins ? p->bias : NULL};
        gemm_multiply(g, a, gemm_stride(g, p->k), b, gemm_stride(g, p->k), rows, p->n, p->k, to);
        free(a);
        free(b);
    }
}

/* To bfloat16 and back, by arithmetic: the spacing of numbers with 8 bits, ties to even. */
static double nearest_bf16(float x)
{
    int exponent;
    if (x == 0)
        return 0;
    double fraction = frexp((double)x, &exponent), scaled = ldexp(fraction, 8), whole = floor(scaled);
    double rest = scaled - whole;
    if (rest > 0.5 || (rest == 0.5 && fmod(whole, 2) != 0))
        whole += 1;
    return ldexp(whole, exponent - 8);
}

static double wanted(const problem *p, gemm_precision precision, size_t i, size_t j, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (size_t k = 0; k < p->k; k++) {
        float x = p->a_across ? p->a[k * p->a_stride + i] : p->a[i * p->a_stride + k];
        float y = p->b_across ? p->b[k * p->b_stride + j] : p->b[j * p->b_stride + k];
        double term = precision == GEMM_BF16 ? nearest_bf16(x) * nearest_bf16(y) : (double)x * (double)y;
        sum += term;
        *magnitude += fabs(term);
    }
    return sum;
}

static void check_against_double(const gemm_kernels *g, gemm_precision precision, const problem *p)
{
    float *untouched = malloc(p->m * p->ldc * sizeof *untouched);
    assert_non_null(untouched);
    memcpy(untouched, p->c, p->m * p->ldc * sizeof *untouched);
    for (int begins = 0; begins < 2; begins++) {
        multiply(g, p, begins, p->m);
        for (size_t i = 0; i < p->m; i++) {
            for (size_t j = 0; j < p->n; j++) {
                double magnitude, sum = wanted(p, precision, i, j, &magnitude);
                double start = begins ? (double)p->from[i * p->ldc + j] + (double)p->bias[j] : 0;
                double off = fabs((double)p->c[i * p->ldc + j] - (sum + start));
                if (!(off <= 4e-6 * (1 + magnitude)))
                    fail_msg("%s %zu x %zu x %zu: (%zu, %zu) is off by %g", g->name, p->m, p->n, p->k, i, j, off);
            }
            for (size_t j = p->n; j < p->ldc; j++)
                assert_true(p->c[i * p->ldc + j] == untouched[i * p->ldc + j]);
        }
    }
    free(untouched);
}

static void for_each(void (*check)(const gemm_kernels *g, gemm_precision precision, const problem *p))
{
    for (int level = 0; level < CPU_LEVELS; level++)
        for (int precision = 0; precision < GEMM_PRECISIONS; precision++) {
            const gemm_kernels *g = gemm_kernels_for((cpu_level)level, (gemm_precision)precision);
            for (int i = 0; g != NULL && i < SHAPES * 4; i++) {
                problem p = make_problem(shapes[i / 4], across[i % 4]);
                check(g, (gemm_precision)precision, &p);
                free_problem(&p);
            }
        }
}

static void test_double(void **state)
{
    (void)state;
    for_each(check_against_double);
}

/* The bits of plain C, and of any cut into tiles. */
static void check_bits(const gemm_kernels *g, gemm_precision precision, const problem *p)
{
    size_t bytes = p->m * p->ldc * sizeof(float);
    float *plain = malloc(bytes);
    assert_non_null(plain);
    multiply(gemm_kernels_for(CPU_GENERIC, precision), p, true, p->m);
    memcpy(plain, p->c, bytes);
    for (size_t cut = 5; cut <= p->m; cut = cut * 3 + 2) {
        memset(p->c, 0, bytes);
        multiply(g, p, true, cut);
        for (size_t i = 0; i < p->m; i++)
            assert_memory_equal(p->c + i * p->ldc, plain + i * p->ldc, p->n * sizeof(float));
    }
    free(plain);
}

static void test_bits(void **state)
{
    (void)state;
    for_each(check_bits);
}

/* What is not finite stays so, in each precision: that is how a run that has diverged is noticed. */
static void check_not_finite(const gemm_kernels *g, gemm_precision precision, const problem *p)
{
    const float bad[] = {NAN, INFINITY, -NAN, 3.4e38f};
    size_t last = (p->m - 1) * (p->a_across ? 1 : p->a_stride);
    for (int i = 0; i < 4; i++) {
        p->a[last] = bad[i];
        multiply(g, p, false, p->m);
        bool finite = isfinite(p->c[(p->m - 1) * p->ldc]);
        if (i < 3 || precision == GEMM_BF16) /* 3.4e38 is above the largest bfloat16 */
            assert_false(finite);
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    for_each(check_not_finite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_not_finite),
    };

    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
