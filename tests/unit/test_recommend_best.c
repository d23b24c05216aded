/* The best items of many people at once: the lists that sorting all scores gives, on every level. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "recommend/best.h"
#include "recommend/half.h"

enum { D = 32, ITEMS = 1000, K = 7, EXTRAS = 2, SHORT = 700 };

static float rows[ITEMS * D], extra[EXTRAS * ITEMS], people[BEST_LANES * D], base[ITEMS];
static uint16_t halves[ITEMS * D];
static bool excluded[BEST_LANES][ITEMS];

/* Most items are short, as rare ones are, so that chunks of them are passed over; some are equal, so that there are
 * ties. Values are halves, so that both kinds of rows are the same numbers. */
static int fill(void **state)
{
    random_state r;

    (void)state;
    random_seed(&r, 11, 0);
    for (int i = 0; i < ITEMS; i++)
        for (int j = 0; j < D; j++) {
            float x = (float)random_normal(&r) * (i % 10 < 7 ? 0.01f : 1);
            halves[i * D + j] = half_from_float(i % 5 == 4 && i > 50 ? rows[(i - 50) * D + j] : x);
            rows[i * D + j] = half_to_float(halves[i * D + j]);
        }
    for (int i = 0; i < EXTRAS * ITEMS; i++)
        extra[i] = i % ITEMS % 5 == 4 ? 0.25f : (float)random_normal(&r);
    for (int i = 0; i < ITEMS; i++)
        base[i] = (float)random_normal(&r) * 3;
    for (int i = 0; i < BEST_LANES * D; i++)
        people[i] = (float)random_normal(&r);
    for (int l = 0; l < BEST_LANES; l++)
        for (int i = 0; i < 100; i++)
            excluded[l][random_u64(&r) % ITEMS] = true;
    return 0;
}

/* What a lane is: with and without extra scores and own ones, with and without a seed. */
static int extra_of(int l)
{
    return l % 3 - 1;
}

static uint64_t seed_of(int l)
{
    return l % 4 == 3 ? 77 : 0;
}

static int by_score(const void *a, const void *b)
{
    const candidate *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->tie > y->tie) - (x->tie < y->tie);
}

/* All scores of a lane, sorted: each a chain of fused multiply-adds, as dense.h promises. */
static size_t expect(int l, bool with_base, candidate *out)
{
    size_t n = 0;

    for (uint32_t i = 0; i < ITEMS; i++) {
        float score = 0;
        for (int j = 0; j < D; j++)
            score = fmaf(rows[i * D + j], people[l * D + j], score);
        if (extra_of(l) >= 0)
            score = fmaf(extra[extra_of(l) * ITEMS + (int)i], 1, score);
        if (with_base)
            score += base[i];
        if (!excluded[l][i])
            out[n++] = (candidate){score, i, tie_of(seed_of(l), i)};
    }
    qsort(out, n, sizeof *out, by_score);
    return n;
}

static void check_group(const best_items *x, best_group *g, int n_people, bool with_base)
{
    static candidate all[ITEMS];

    best_group_clear(g, x);
    for (int l = 0; l < n_people; l++) {
        best_group_set(g, x, l, people + l * D, extra_of(l), seed_of(l));
        g->base[l] = with_base && l % 2 ? base : NULL;
        for (uint32_t i = 0; i < ITEMS; i++)
            if (excluded[l][i])
                best_group_exclude(g, x, l, i);
    }
    best_rank(x, g);
    for (int l = 0; l < BEST_LANES; l++) {
        size_t n = l < n_people ? expect(l, with_base && l % 2, all) : 0;
        assert_int_equal(g->n[l], n < g->k ? n : g->k);
        for (size_t i = 0; i < g->n[l]; i++) {
            assert_int_equal(g->heap[(size_t)l * g->k + i].item, all[i].item);
            assert_true(g->heap[(size_t)l * g->k + i].score == all[i].score);
        }
    }
}

static void lists_are_those_of_sorting(void **state)
{
    (void)state;
    for (cpu_level level = CPU_GENERIC; level <= CPU_AVX512; level++) {
        const dense_kernels *k = dense_for(level);
        for (int half = 0; k && half < 2; half++) {
            size_t sizes[] = {1, K, ITEMS};
            for (size_t s = 0; s < 3; s++) {
                best_items x;
                best_group g;
                assert_true(best_items_open(&x, k, ITEMS, D, half ? NULL : rows, half ? halves : NULL, extra, EXTRAS));
                assert_true(best_group_open(&g, &x, sizes[s]));
                check_group(&x, &g, BEST_LANES, false);
                check_group(&x, &g, 5, false);
                check_group(&x, &g, BEST_LANES - 1, true);
                best_group_close(&g);
                best_items_close(&x);
            }
        }
    }
}

static void longest_items_come_first(void **state)
{
    best_items x;

    (void)state;
    assert_true(best_items_open(&x, dense_best(), ITEMS, D, rows, NULL, NULL, 0));
    for (uint32_t p = 0; p < ITEMS; p++)
        assert_int_equal(x.place[x.order[p]], p);
    for (uint32_t c = 0; c + 1 < ITEMS / BEST_CHUNK; c++) /* up to the width of a bucket, 1/128 */
        assert_true(x.length[c] * 1.01f >= x.length[c + 1]);
    /* 70 % of the items are a hundred times shorter: they stand behind all others */
    assert_true(x.length[(ITEMS - SHORT) / BEST_CHUNK - 1] > 10 * x.length[ITEMS / BEST_CHUNK]);
    best_items_close(&x);
}

/* Numbers that are not finite are listed nowhere, whoever else stands in the group, and bound nothing. */
static void what_is_not_a_number_is_not_listed(void **state)
{
    static float odd[ITEMS * D];
    best_items x;
    best_group g;

    (void)state;
    memcpy(odd, rows, sizeof odd);
    odd[3 * D] = NAN;
    odd[40 * D + 1] = -INFINITY;
    assert_true(best_items_open(&x, dense_best(), ITEMS, D, odd, NULL, NULL, 0));
    assert_true(best_group_open(&g, &x, ITEMS));
    best_group_clear(&g, &x);
    for (int l = 0; l < BEST_LANES; l++)
        best_group_set(&g, &x, l, people + l * D, -1, 0);
    best_rank(&x, &g);
    for (int l = 0; l < BEST_LANES; l++) {
        assert_true(g.n[l] == ITEMS - 1 || g.n[l] == ITEMS - 2);
        for (size_t i = 0; i < g.n[l]; i++)
            assert_int_not_equal(g.heap[(size_t)l * g.k + i].item, 3);
    }
    best_group_close(&g);
    best_items_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_those_of_sorting),
        cmocka_unit_test(longest_items_come_first),
        cmocka_unit_test(what_is_not_a_number_is_not_listed),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
