/* Item-to-item weights, factors and term vectors against numpy (tests/reference/make_recommend_golden.py), words, and
 * the search for hyperparameters. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "recommend/content.h"
#include "recommend/ease.h"
#include "recommend/factors.h"
#include "recommend/half.h"
#include "recommend/tune.h"
#include "recommend/words.h"

enum { USERS = 40, ITEMS = 24, D = 5 };

static pairs by_user, by_item;

/* The numbers of one line of the golden file. */
static size_t golden(const char *name, double *out, size_t most)
{
    FILE *f = fopen("tests/reference/recommend.golden", "r");
    char word[64];
    size_t n = 0;

    assert_non_null(f);
    while (fscanf(f, "%63s", word) == 1 && strcmp(word, name) != 0)
        assert_int_not_equal(fscanf(f, "%*[^\n]"), EOF);
    while (n < most && fscanf(f, "%lf", &out[n]) == 1)
        n++;
    fclose(f);
    return n;
}

static int make_pairs(void **state)
{
    uint64_t n = 0;

    (void)state;
    assert_true(pairs_alloc(&by_user, USERS, ITEMS, USERS * ITEMS, false));
    for (uint32_t u = 0; u < USERS; u++) {
        for (uint32_t i = 0; i < ITEMS; i++)
            if ((u * 7 + i * 11 + u * i) % 5 == 0 || i == u % 7) {
                by_user.item[n] = i;
                by_user.weight[n++] = (float)(1 + (u + 2 * i) % 3);
            }
        by_user.start[u + 1] = n;
    }
    assert_true(pairs_transpose(&by_user, &by_item));
    return 0;
}

static int free_pairs(void **state)
{
    (void)state;
    pairs_free(&by_user);
    pairs_free(&by_item);
    return 0;
}

static void transposing_twice_changes_nothing(void **state)
{
    pairs again;

    (void)state;
    assert_true(pairs_transpose(&by_item, &again));
    assert_int_equal(pairs_n(&again), pairs_n(&by_user));
    assert_memory_equal(again.start, by_user.start, (USERS + 1) * sizeof *again.start);
    assert_memory_equal(again.item, by_user.item, pairs_n(&again) * sizeof *again.item);
    assert_memory_equal(again.weight, by_user.weight, pairs_n(&again) * sizeof *again.weight);
    pairs_free(&again);
}

static void run_ease(ease *e, double lambda)
{
    while (!e->gram_done)
        ease_gram_step(e);
    ease_begin(e, lambda);
    while (!ease_step(e))
        continue;
    assert_false(e->failed);
}

static void item_weights_equal_numpy(void **state)
{
    double want[ITEMS * ITEMS];
    thread_pool *pool;
    model_rows rows;
    ease e;

    (void)state;
    assert_int_equal(golden("ease", want, ITEMS * ITEMS), ITEMS * ITEMS);
    assert_int_equal(thread_pool_create(2, &pool, NULL), AIGC_OK);
    assert_true(ease_create(&e, &by_user, &by_item, 1000, true, pool));
    run_ease(&e, 50); /* another lambda first: the gram is kept */
    run_ease(&e, 3.5);
    assert_true(ease_rows(&e, 1000000, &rows));
    for (uint32_t i = 0; i < ITEMS; i++) {
        double got[ITEMS] = {0};
        for (uint64_t j = rows.start[i]; j < rows.start[i + 1]; j++)
            got[rows.index[j]] = half_to_float(rows.weight[j]);
        for (uint32_t j = 0; j < ITEMS; j++)
            assert_true(fabs(got[j] - want[i * ITEMS + j]) < 3e-4);
    }
    rows_free(&rows);
    ease_free(&e);
    thread_pool_destroy(pool);
}

/* More items than a block of the sweep: P (G + lambda I) must be the identity. */
static void large_inverses_are_inverses(void **state)
{
    enum { N = 500, PEOPLE = 300 };
    pairs users, items;
    thread_pool *pool;
    uint64_t n = 0;
    ease e;

    (void)state;
    assert_true(pairs_alloc(&users, PEOPLE, N, PEOPLE * N, false));
    for (uint32_t u = 0; u < PEOPLE; u++) {
        for (uint32_t i = 0; i < N; i++)
            if ((u * u * 31 + i * i * 17 + u * i) % 23 == 0) {
                users.item[n] = i;
                users.weight[n++] = 1;
            }
        users.start[u + 1] = n;
    }
    assert_true(pairs_transpose(&users, &items));
    assert_int_equal(thread_pool_create(3, &pool, NULL), AIGC_OK);
    assert_true(ease_create(&e, &users, &items, N, true, pool));
    run_ease(&e, 20);
    assert_true(e.n > 2 * EASE_BLOCK);
    for (uint32_t i = 0; i < e.n; i += 37)
        for (uint32_t j = 0; j < e.n; j++) {
            double sum = 0;
            for (uint32_t l = 0; l < e.n; l++) {
                double g = l <= j ? e.gram[l * e.ld + j] : e.gram[j * e.ld + l];
                sum -= (double)e.a[i * e.ld + l] * (g + (l == j ? 20 : 0));
            }
            assert_true(fabs(sum - (i == j)) < 2e-4);
        }
    ease_free(&e);
    pairs_free(&users);
    pairs_free(&items);
    thread_pool_destroy(pool);
}

static void begin_factors(factors *f, aigc_fit_solver solver, thread_pool *pool)
{
    factor_options o = {D, 0.02, 0.3, solver, 1};

    assert_true(factors_create(f, &o, &by_user, &by_item, pool));
    for (int i = 0; i < ITEMS; i++)
        for (int j = 0; j < D; j++)
            f->items[i * (int)f->d + j] = (float)((i * 5 + j * 3) % 11 - 5) / 10;
}

static void factors_equal_numpy(void **state)
{
    double users[USERS * D], items[ITEMS * D];
    thread_pool *pool;
    factors f;

    (void)state;
    assert_int_equal(golden("users", users, USERS * D), USERS * D);
    assert_int_equal(golden("items", items, ITEMS * D), ITEMS * D);
    assert_int_equal(thread_pool_create(2, &pool, NULL), AIGC_OK);
    begin_factors(&f, AIGC_SOLVER_EXACT, pool);
    while (!factors_step(&f))
        continue;
    for (int u = 0; u < USERS; u++)
        for (int j = 0; j < D; j++)
            assert_true(fabs(f.users[u * (int)f.d + j] - users[u * D + j]) < 1e-4);
    for (int i = 0; i < ITEMS; i++)
        for (int j = 0; j < D; j++)
            assert_true(fabs(f.items[i * (int)f.d + j] - items[i * D + j]) < 1e-4);
    factors_free(&f);
    thread_pool_destroy(pool);
}

/* The loss that both solvers minimise. */
static double loss(const factors *f)
{
    double sum = 0;

    for (uint32_t u = 0; u < USERS; u++) {
        uint64_t at = by_user.start[u];
        for (uint32_t i = 0; i < ITEMS; i++) {
            double p = 0;
            for (int j = 0; j < D; j++)
                p += (double)f->users[u * f->d + (size_t)j] * f->items[i * f->d + (size_t)j];
            bool seen = at < by_user.start[u + 1] && by_user.item[at] == i;
            sum += (seen ? by_user.weight[at++] * (1 - p) * (1 - p) : 0) + 0.3 * p * p;
        }
    }
    for (int side = 0; side < 2; side++) {
        const pairs *p = side ? &by_item : &by_user;
        const float *x = side ? f->items : f->users;
        for (uint32_t r = 0; r < p->n_rows; r++)
            for (int j = 0; j < D; j++)
                sum += 0.02 * ((double)(p->start[r + 1] - p->start[r]) + 0.3 * p->n_columns) *
                       (double)x[r * f->d + (size_t)j] * x[r * f->d + (size_t)j];
    }
    return sum;
}

static void both_solvers_come_to_the_same_loss(void **state)
{
    double losses[2];
    thread_pool *pool;

    (void)state;
    assert_int_equal(thread_pool_create(2, &pool, NULL), AIGC_OK);
    for (int exact = 0; exact < 2; exact++) {
        factors f;
        double before = INFINITY;
        begin_factors(&f, exact ? AIGC_SOLVER_EXACT : AIGC_SOLVER_GRADIENT, pool);
        for (int i = 0; i < 40; i++) {
            while (!factors_step(&f))
                continue;
            losses[exact] = loss(&f);
            if (exact) /* each half is a minimum: it can't get worse */
                assert_true(losses[exact] <= before * (1 + 1e-5));
            before = losses[exact];
        }
        factors_free(&f);
    }
    assert_true(fabs(losses[0] - losses[1]) < 0.01 * losses[1]);
    thread_pool_destroy(pool);
}

static void term_vectors_equal_numpy(void **state)
{
    enum { APPLE, PEAR, PLUM, KIWI, FIG, TERMS };
    const term_count a[] = {{APPLE, 2}, {PEAR, 1}}, b[] = {{APPLE, 1}, {PLUM, 3}, {KIWI, 1}}, c[] = {{FIG, 1}};
    const term_count d[] = {{PEAR, 4}, {PLUM, 1}, {FIG, 2}};
    const content_doc docs[] = {{a, 2}, {b, 3}, {c, 1}, {d, 3}};
    double want[4 * TERMS];
    content x;

    (void)state;
    assert_int_equal(golden("terms", want, 4 * TERMS), 4 * TERMS);
    assert_int_equal(content_open(&x, docs, 4, TERMS, NULL, NULL, 0, 0, NULL), AIGC_OK);
    for (bool done = false; !done;)
        assert_int_equal(content_vectors_step(&x, docs, &done, NULL), AIGC_OK);
    for (uint32_t i = 0; i < 4; i++) {
        double got[TERMS] = {0};
        for (uint64_t j = x.docs.start[i]; j < x.docs.start[i + 1]; j++)
            got[x.docs.index[j]] = half_to_float(x.docs.weight[j]);
        for (uint32_t t = 0; t < TERMS; t++) {
            bool posted = false;
            assert_true(fabs(got[t] - want[i * TERMS + t]) < 5e-4);
            for (uint64_t j = x.postings.start[t]; j < x.postings.start[t + 1]; j++)
                posted = posted || x.postings.index[j] == i;
            assert_int_equal(posted, got[t] != 0);
        }
    }
    content_free(&x);
}

static void words_are(const char *text, const char *want)
{
    word_reader r = {.text = text, .len = strlen(text)};
    char got[1024] = "";

    while (word_next(&r)) {
        strncat(got, r.term, r.term_len);
        strcat(got, "|");
    }
    assert_string_equal(got, want);
}

static void words_of_texts(void **state)
{
    (void)state;
    words_are("Travels in New York, 2024!", "travel|in|new|york|2024|");
    words_are("Cities, buses; glasses gas bus ties", "city|buse|glasse|gas|bus|ties|");
    words_are(
        "\xc3\x84rzte \xce\x91\xce\x98\xce\x97\xce\x9d\xce\x91 \xd0\x9c\xd0\x9e\xd0\xa1\xd0\x9a\xd0\x92\xd0\x90",
        "\xc3\xa4rzte|\xce\xb1\xce\xb8\xce\xb7\xce\xbd\xce\xb1|\xd0\xbc\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0|");
    /* Chinese: pairs; a single character stands alone; Latin words beside it stay whole */
    words_are("\xe4\xba\xba\xe5\xb7\xa5\xe6\x99\xba\xe8\x83\xbd",
              "\xe4\xba\xba\xe5\xb7\xa5|\xe5\xb7\xa5\xe6\x99\xba|\xe6\x99\xba\xe8\x83\xbd|");
    words_are("\xe8\x8c\xb6 and AI\xe7\xbc\x96\xe7\xa8\x8b", "\xe8\x8c\xb6|and|ai|\xe7\xbc\x96\xe7\xa8\x8b|");
    words_are("", "");
    words_are(" .,! ", "");
}

static void tags_and_values(void **state)
{
    char tag[TERM_MAX_BYTES + 8], other[TERM_MAX_BYTES + 8], lengthy[500];
    size_t n = word_tag((aigc_string){" Science  Fiction ", 18}, tag);

    (void)state;
    assert_int_equal(n, 16);
    assert_memory_equal(tag, "\x01science fiction", 16);
    assert_int_equal(word_tag((aigc_string){"science fiction", 15}, other), n);
    assert_memory_equal(tag, other, n);
    assert_int_equal(word_tag((aigc_string){"  ", 2}, tag), 0);
    n = word_value((aigc_string){"City", 4}, (aigc_string){"New York", 8}, tag);
    assert_memory_equal(tag,
                        "\x02"
                        "city=new york",
                        n);
    memset(lengthy, 'x', sizeof lengthy);
    assert_true(word_tag((aigc_string){lengthy, sizeof lengthy}, tag) <= TERM_MAX_BYTES + 8);
    assert_true(word_value((aigc_string){lengthy, 400}, (aigc_string){lengthy, 400}, tag) <= TERM_MAX_BYTES + 8);
}

/* A single peak, wherever it is, within a factor. */
static void climbing_finds_the_peak(void **state)
{
    (void)state;
    for (int peak = -6; peak <= 6; peak++) {
        climb c;
        climb_begin(&c, 8, 2, 1e-6, 1e6);
        while (climb_next(&c))
            climb_score(&c, -fabs(log2(c.tried / 8) - peak));
        assert_true(fabs(log2(c.best / 8) - peak) < 0.1);
        assert_true(c.n_tried <= CLIMB_MOST);
    }
    climb c;
    int n = 0;
    climb_begin(&c, 5, 2, 5, 5); /* given: nothing to choose */
    for (; climb_next(&c); n++)
        climb_score(&c, 1);
    assert_int_equal(n, 1);
    assert_true(c.best == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposing_twice_changes_nothing),
        cmocka_unit_test(item_weights_equal_numpy),
        cmocka_unit_test(large_inverses_are_inverses),
        cmocka_unit_test(factors_equal_numpy),
        cmocka_unit_test(both_solvers_come_to_the_same_loss),
        cmocka_unit_test(term_vectors_equal_numpy),
        cmocka_unit_test(words_of_texts),
        cmocka_unit_test(tags_and_values),
        cmocka_unit_test(climbing_finds_the_peak),
    };
    return cmocka_run_group_tests(tests, make_pairs, free_pairs);
}
