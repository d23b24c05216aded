/* People folded in together: the solutions of their equations in double precision, by elimination. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "recommend/folding.h"
#include "recommend/half.h"

enum { D = 48, TRUE_D = 40, ITEMS = 700, PEOPLE = FOLDING_ROWS, HISTORY = 120 };

static uint16_t halves[ITEMS * D];
static float gram[D * D];
static model_numbers numbers;
static model m;
static past history[PEOPLE][HISTORY];

/* Histories of 0 to 115 items, each with some that are disliked. */
static int fill(void **state)
{
    random_state r;

    (void)state;
    random_seed(&r, 11, 0);
    numbers = (model_numbers){.n_items = ITEMS, .n_users = 100, .n_pairs = 4000, .n_factors = D};
    numbers.true_factors = TRUE_D;
    numbers.regularization = 0.02;
    numbers.unobserved = 0.1;
    for (int i = 0; i < ITEMS; i++)
        for (int j = 0; j < TRUE_D; j++)
            halves[i * D + j] = half_from_float((float)random_normal(&r) / (float)(1 + j / 4));
    for (int i = 0; i < ITEMS; i++)
        for (int j = 0; j < D; j++)
            for (int l = 0; l < D; l++)
                gram[j * D + l] += 0.1f * half_to_float(halves[i * D + j]) * half_to_float(halves[i * D + l]);
    for (int p = 0; p < PEOPLE; p++)
        for (int i = 0; i < p * 5; i++)
            history[p][i] = (past){.item = (uint32_t)(random_u64(&r) % ITEMS), .liked = i % 6 != 3};
    for (int p = 0; p < PEOPLE; p++)
        for (int i = 0; i < p * 5; i++)
            history[p][i].weight = 0.2f + 3 * (float)random_unit(&r);
    m = (model){.n = &numbers, .factors = halves, .gram = gram};
    return 0;
}

/* A x = b of a person, by elimination. */
static void solve(const past *h, int n, double *x)
{
    static double a[TRUE_D][TRUE_D + 1];

    memset(a, 0, sizeof a);
    for (int i = 0; i < TRUE_D; i++) {
        for (int j = 0; j < TRUE_D; j++)
            a[i][j] = (double)gram[i * D + j];
        a[i][i] += numbers.regularization * (n + numbers.unobserved * ITEMS);
    }
    for (int e = 0; e < n; e++)
        for (int i = 0; i < TRUE_D; i++) {
            double v = half_to_float(halves[h[e].item * D + (uint32_t)i]) * (double)h[e].weight;
            for (int j = 0; j < TRUE_D; j++)
                a[i][j] += v * half_to_float(halves[h[e].item * D + (uint32_t)j]);
            a[i][TRUE_D] += h[e].liked ? v : 0;
        }
    for (int i = 0; i < TRUE_D; i++)
        for (int r = 0; r < TRUE_D; r++) {
            double factor = a[r][i] / a[i][i];
            for (int j = i; j <= TRUE_D && r != i; j++)
                a[r][j] -= factor * a[i][j];
        }
    for (int i = 0; i < TRUE_D; i++)
        x[i] = a[i][TRUE_D] / a[i][i];
}

static void people_are_solved(void **state)
{
    folding_group g;
    thread_pool *pool;
    folding f;

    (void)state;
    assert_int_equal(thread_pool_create(2, &pool, NULL), AIGC_OK);
    assert_true(folding_open(&f, &m, 1000, pool));
    assert_non_null(f.gram);
    assert_true(folding_group_open(&g, &f));
    for (int round = 0; round < 2; round++) {
        folding_clear(&g);
        for (int p = 0; p < PEOPLE; p++)
            assert_int_equal(folding_add(&g, history[p], (size_t)p * 5), p);
        folding_solve(&g, &f);
        for (int p = 0; p < PEOPLE; p++) {
            double x[TRUE_D], square = 0, wrong = 0;
            solve(history[p], p * 5, x);
            for (int i = 0; i < D; i++) {
                double right = i < TRUE_D ? x[i] : 0, off = g.x[p * D + i] - right;
                square += right * right;
                wrong += off * off;
            }
            assert_true(g.done[p]);
            assert_true(wrong <= 1e-11 * square);
        }
    }
    folding_group_close(&g);
    folding_close(&f);
    thread_pool_destroy(pool);
}

/* Too few people, or nothing to invert: each by themselves. */
static void others_are_left(void **state)
{
    static float nothing[D * D];
    model_numbers plain = numbers;
    model singular = {.n = &plain, .factors = halves, .gram = nothing};
    folding_group g;
    thread_pool *pool;
    folding f;

    (void)state;
    plain.regularization = 0;
    assert_int_equal(thread_pool_create(1, &pool, NULL), AIGC_OK);
    assert_true(folding_open(&f, &m, D - 1, pool));
    assert_null(f.gram);
    assert_true(folding_open(&f, &singular, 1000, pool));
    assert_null(f.gram);
    assert_true(folding_group_open(&g, &f));
    folding_add(&g, history[3], 15);
    folding_solve(&g, &f);
    assert_false(g.done[0]);
    folding_group_close(&g);
    thread_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_are_solved),
        cmocka_unit_test(others_are_left),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
