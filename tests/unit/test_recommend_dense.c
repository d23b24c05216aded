/* The float kernels of recommendation: every level gives the bits of plain C, and plain C is right. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "recommend/dense.h"
#include "recommend/half.h"

enum { D = 80, ROWS = 70 };

static float rows[ROWS * D], weights[ROWS];
static uint16_t halves[ROWS * D];
static uint32_t order[ROWS];

static int fill(void **state)
{
    random_state r;

    (void)state;
    random_seed(&r, 7, 0);
    for (int i = 0; i < ROWS * D; i++) {
        rows[i] = (float)random_normal(&r);
        halves[i] = half_from_float(rows[i]);
    }
    for (int i = 0; i < ROWS; i++) {
        weights[i] = (float)random_unit(&r) + 0.1f;
        order[i] = (uint32_t)(random_u64(&r) % ROWS);
    }
    return 0;
}

/* Everything a level computes, one after the other. */
typedef struct outputs {
    float gram[D * D], factor[D * D], solved[D], applied[D], scan[ROWS], product[37 * 48], numbers[3];
    double curvature;
} outputs;

static void compute(const dense_kernels *k, outputs *o)
{
    static float scratch[(DENSE_PANEL + 1) * D + DENSE_PANEL];

    memset(o, 0, sizeof *o);
    dense_gram(k, rows, order, weights, ROWS, D, o->gram, scratch);
    memcpy(o->factor, o->gram, sizeof o->factor);
    for (int i = 0; i < D; i++)
        o->factor[i * D + i] += 3;
    assert_true(dense_cholesky(k, o->factor, D));
    memcpy(o->solved, rows, sizeof o->solved);
    dense_solve(k, o->factor, D, o->solved);
    k->apply(halves, order, weights, ROWS - 3, D, 1, rows + 5 * D, o->applied);
    o->curvature = k->curvature(halves, order, weights, ROWS - 3, D, rows + 5 * D, 2);
    k->scan_half(halves, ROWS, D, rows + D, o->scan);
    k->gemm(37, 48, 19, rows, D, 1, rows + 3 * D, D, o->product, 48, true);
    o->numbers[0] = k->dot(rows, rows + D, D);
    o->numbers[1] = k->dot_half(halves, rows + D, D);
    k->axpy(0.5f, rows, o->applied, D);
    k->axpy_half(0.25f, halves, o->applied, D);
    k->scale(1.5f, o->applied, D);
}

static void levels_agree(void **state)
{
    static outputs plain, other;

    (void)state;
    compute(dense_for(CPU_GENERIC), &plain);
    for (cpu_level level = CPU_AVX2; level < CPU_LEVELS; level++) {
        const dense_kernels *k = dense_for(level);
        if (k == NULL)
            continue;
        compute(k, &other);
        for (int i = 0; i < D; i++) /* below the diagonal stands what the blocking left there */
            assert_memory_equal(plain.gram + i * D + i, other.gram + i * D + i, (size_t)(D - i) * sizeof(float));
        for (int i = 0; i < D; i++)
            assert_memory_equal(plain.factor + i * D + i, other.factor + i * D + i, (size_t)(D - i) * sizeof(float));
        assert_memory_equal(plain.solved, other.solved, sizeof plain.solved);
        assert_memory_equal(plain.applied, other.applied, sizeof plain.applied);
        assert_memory_equal(plain.scan, other.scan, sizeof plain.scan);
        assert_memory_equal(plain.product, other.product, sizeof plain.product);
        assert_memory_equal(&plain.curvature, &other.curvature, sizeof plain.curvature);
        assert_memory_equal(plain.numbers, other.numbers, sizeof plain.numbers);
    }
}

/* What levels computed of the first ROWS - 3 rows: (0.5 rows + 0.25 halves + sum of w (v.p - 1) v) * 1.5. */
static void check_apply(const outputs *o)
{
    double applied[D], curvature = 2;

    for (int i = 0; i < D; i++)
        applied[i] = 0.5 * rows[i] + 0.25 * half_to_float(halves[i]);
    for (int r = 0; r < ROWS - 3; r++) {
        const uint16_t *v = halves + order[r] * D;
        double dot = 0;
        for (int i = 0; i < D; i++)
            dot += (double)half_to_float(v[i]) * rows[5 * D + i];
        for (int i = 0; i < D; i++)
            applied[i] += weights[r] * (dot - 1) * half_to_float(v[i]);
        curvature += weights[r] * dot * dot;
    }
    for (int i = 0; i < D; i++)
        assert_true(fabs(1.5 * applied[i] - o->applied[i]) < 1e-2);
    assert_true(fabs(curvature - o->curvature) < 1e-3 * curvature);
}

static void plain_is_right(void **state)
{
    static outputs o;

    (void)state;
    compute(dense_best(), &o);
    for (int i = 0; i < D; i++)
        for (int j = i; j < D; j++) {
            double sum = 0;
            for (int r = 0; r < ROWS; r++)
                sum += (double)weights[r] * rows[order[r] * D + i] * rows[order[r] * D + j];
            assert_true(fabs(sum - o.gram[i * D + j]) < 1e-3);
        }
    for (int i = 0; i < D; i++) {
        double sum = 3.0 * o.solved[i];
        for (int j = 0; j < D; j++)
            sum += (double)(i <= j ? o.gram[i * D + j] : o.gram[j * D + i]) * o.solved[j];
        assert_true(fabs(sum - rows[i]) < 1e-3);
    }
    for (int i = 0; i < 37; i++)
        for (int j = 0; j < 48; j++) {
            double sum = 0;
            for (int l = 0; l < 19; l++)
                sum -= (double)rows[i * D + l] * rows[(3 + l) * D + j];
            assert_true(fabs(sum - o.product[i * 48 + j]) < 1e-4);
        }
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < D; i++)
            sum += (double)half_to_float(halves[r * D + i]) * rows[D + i];
        assert_true(fabs(sum - o.scan[r]) < 1e-4);
    }
    check_apply(&o);
}

static void indefinite_matrices_are_refused(void **state)
{
    float a[16 * 16] = {0};

    (void)state;
    for (int i = 0; i < 16; i++)
        a[i * 17] = i == 9 ? -1 : 1;
    assert_false(dense_cholesky(dense_best(), a, 16));
    a[9 * 17] = NAN;
    assert_false(dense_cholesky(dense_best(), a, 16));
}

/* Every half there and back; and rounding of numbers between two of them. */
static void halves_are_exact(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        if ((h & 0x7c00) == 0x7c00)
            continue; /* infinities and NaN become finite */
        assert_int_equal(half_from_float(half_to_float((uint16_t)h)), h);
    }
    assert_int_equal(half_from_float(1 + 0x1p-11f), 0x3c00); /* a tie goes to the even one */
    assert_int_equal(half_from_float(1 + 0x1.8p-10f), 0x3c02);
    assert_int_equal(half_from_float(1e9f), 0x7bff);
    assert_int_equal(half_from_float(-INFINITY), 0xfbff);
    assert_int_equal(half_from_float(NAN), 0);
    assert_int_equal(half_from_float(65519.0f), 0x7bff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_agree),
        cmocka_unit_test(plain_is_right),
        cmocka_unit_test(indefinite_matrices_are_refused),
        cmocka_unit_test(halves_are_exact),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
