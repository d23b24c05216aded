/* Conjugate gradient of a factorisation's rows: three steps of the textbook in double precision, and the same bits for
 * long rows, which go side by side over blocks of the fixed side, however many threads and steps there are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "recommend/gradient.h"
#include "recommend/half.h"

/* The fixed side is more than the cores' cache holds, in more than two blocks. */
enum { D = 208, COLUMNS = 90000, ROWS = 11 };

static pairs p;
static uint16_t *half;
static float gram[D * D], panels[D * D], start[ROWS * D];
static uint32_t rows[ROWS];
static factor_side s;

/* Rows of 0 to 4000 pairs. */
static void fill_pairs(random_state *r)
{
    uint64_t n = 0;

    assert_true(pairs_alloc(&p, ROWS, COLUMNS, ROWS * 4000, false));
    for (uint32_t row = 0; row < ROWS; row++) {
        uint32_t step = row ? COLUMNS / (400 * row) : COLUMNS;
        for (uint64_t c = random_u64(r) % step; row && c < COLUMNS; c += 1 + random_u64(r) % (2 * step - 1)) {
            p.item[n] = (uint32_t)c;
            p.weight[n++] = 0.5f + (float)random_unit(r);
        }
        p.start[row + 1] = n;
        rows[row] = row;
    }
}

static int fill(void **state)
{
    random_state r;

    (void)state;
    random_seed(&r, 3, 0);
    fill_pairs(&r);
    half = aigc_pages_alloc((size_t)COLUMNS * D * sizeof *half);
    assert_non_null(half);
    for (size_t i = 0; i < (size_t)COLUMNS * D; i++)
        half[i] = half_from_float(0.1f * (float)random_normal(&r));
    for (int i = 0; i < ROWS * D; i++)
        start[i] = 0.1f * (float)random_normal(&r);
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j <= i; j++)
            gram[i * D + j] = gram[j * D + i] = (i == j ? 90 : 0) + (float)random_normal(&r);
    for (size_t c = 0; c < D; c += DENSE_COLUMNS)
        dense_pack(gram, D, c, panels);
    s = (factor_side){.k = dense_best(), .d = D, .p = &p, .half = half, .gram = gram, .panels = panels};
    s.regularization = 0.01;
    s.unobserved = 0.1;
    return 0;
}

static int empty(void **state)
{
    (void)state;
    pairs_free(&p);
    aigc_pages_free(half, (size_t)COLUMNS * D * sizeof *half);
    return 0;
}

/* A x of a row, and b. */
static void equations(uint32_t row, const double *x, double *ax, double *b)
{
    double ridge = s.regularization * ((double)side_pairs(&s, row) + s.unobserved * COLUMNS);

    for (int i = 0; i < D; i++) {
        ax[i] = ridge * x[i];
        b[i] = 0;
        for (int j = 0; j < D; j++)
            ax[i] += (double)gram[i * D + j] * x[j];
    }
    for (uint64_t n = p.start[row]; n < p.start[row + 1]; n++) {
        double dot = 0, v[D];
        for (int i = 0; i < D; i++) {
            v[i] = half_to_float(half[(size_t)p.item[n] * D + i]);
            dot += v[i] * x[i];
        }
        for (int i = 0; i < D; i++) {
            ax[i] += p.weight[n] * dot * v[i];
            b[i] += p.weight[n] * v[i];
        }
    }
}

static double product(const double *x, const double *y)
{
    double sum = 0;

    for (int i = 0; i < D; i++)
        sum += x[i] * y[i];
    return sum;
}

static void textbook(uint32_t row, double *x)
{
    double r[D], q[D], aq[D], b[D];

    equations(row, x, aq, b);
    for (int i = 0; i < D; i++)
        q[i] = r[i] = b[i] - aq[i];
    for (int step = 0; step < 3; step++) {
        double rr = product(r, r);
        equations(row, q, aq, b);
        double alpha = rr / product(q, aq);
        for (int i = 0; i < D; i++) {
            x[i] += alpha * q[i];
            r[i] -= alpha * aq[i];
        }
        double beta = product(r, r) / rr;
        for (int i = 0; i < D; i++)
            q[i] = r[i] + beta * q[i];
    }
}

static void solve_short(float *x)
{
    float *scratch = aigc_realloc_array(NULL, gradient_scratch(D), sizeof *scratch);

    assert_non_null(scratch);
    memcpy(x, start, sizeof start);
    s.solved = x;
    gradient_short(&s, rows, ROWS, scratch);
    free(scratch);
}

static void steps_are_the_textbooks(void **state)
{
    static float x[ROWS * D];

    (void)state;
    solve_short(x);
    for (int i = 0; i < D; i++)
        assert_true(x[i] == 0); /* nothing is known of row 0 */
    for (uint32_t row = 1; row < ROWS; row++) {
        double right[D];
        for (int i = 0; i < D; i++)
            right[i] = start[row * D + i];
        textbook(row, right);
        for (int i = 0; i < D; i++)
            assert_true(fabs(right[i] - x[row * D + i]) < 1e-4);
    }
}

static void long_rows_have_the_same_bits(void **state)
{
    static float plain[ROWS * D], x[ROWS * D];
    aigc_error err;

    (void)state;
    assert_true(gradient_is_long(&s, ROWS - 1));
    assert_false(gradient_is_long(&s, 0));
    solve_short(plain);
    s.solved = x;
    for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
        thread_pool *pool;
        gradient g;
        int n_steps = 0;
        memcpy(x, start, sizeof start);
        assert_int_equal(thread_pool_create(n_threads, &pool, &err), AIGC_OK);
        assert_true(gradient_open(&g, D, 7)); /* rows go in two lots */
        for (uint32_t done = 0; done < ROWS; done += g.n) {
            gradient_take(&g, rows + done, ROWS - done);
            for (n_steps = 1; !gradient_step(&g, &s, pool, n_threads == 1 ? 1 : 1e12);)
                n_steps++;
        }
        assert_int_equal(n_steps, n_threads == 1 ? 4 * (COLUMNS * D * 2 / GRADIENT_SHARED + 1) : 1);
        assert_memory_equal(x, plain, sizeof x);
        gradient_close(&g, D);
        thread_pool_destroy(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_the_textbooks),
        cmocka_unit_test(long_rows_have_the_same_bits),
    };
    return cmocka_run_group_tests(tests, fill, empty);
}
