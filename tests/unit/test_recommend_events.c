/* Recommendation from events of every kind: none, one, a million of one person, weights that are no numbers. */
#include "recommend_fits.h"

static void *fit_events(const aigc_event *events, size_t n, uint32_t n_users, uint32_t n_items, size_t *size,
                        aigc_fit_info *info)
{
    aigc_fit *fit = new_fit(2);
    char key[32];
    uint32_t number;

    for (uint32_t i = 0; i < n_items; i++)
        assert_int_equal(aigc_fit_item(fit, keyed(key, sizeof key, "i", i), &number, NULL), AIGC_OK);
    for (uint32_t u = 0; u < n_users; u++)
        assert_int_equal(aigc_fit_user(fit, keyed(key, sizeof key, "u", u), &number, NULL), AIGC_OK);
    assert_int_equal(aigc_fit_add_events(fit, events, n, NULL), AIGC_OK);
    run(fit);
    aigc_fit_describe(fit, info);
    void *made = copy_image(fit, size);
    aigc_fit_destroy(fit);
    return made;
}

/* Fits and asks with every event that there is; returns the number of results. */
static size_t survives(const aigc_event *events, size_t n, uint32_t n_users, uint32_t n_items, aigc_fit_info *info)
{
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_recommender *model;
    aigc_ranking *ranking;
    size_t size;
    void *made = fit_events(events, n, n_users, n_items, &size, info);

    assert_int_equal(aigc_recommender_open(made, size, &model, NULL), AIGC_OK);
    q.events = events;
    q.n_events = n;
    q.keep_seen = true;
    q.k = 1000;
    q.diversity = 0.5;
    size_t m = ask(model, &q, &ranking, &r);
    for (size_t i = 0; i < m; i++)
        assert_true(isfinite(r[i].score));
    aigc_ranking_free(ranking);
    aigc_recommender_close(model);
    free(made);
    return m;
}

static void nothing_and_next_to_nothing(void **state)
{
    aigc_event one = {0, 0, 1, NAN};
    aigc_fit_info info;

    (void)state;
    assert_int_equal(survives(NULL, 0, 0, 0, &info), 0);
    assert_int_equal(survives(NULL, 0, 3, 2, &info), 2);
    assert_int_equal(survives(&one, 1, 1, 1, &info), 1);
}

static void odd_weights_are_passed_over_and_counted(void **state)
{
    const aigc_event events[] = {{0, 0, 0, NAN},       {0, 1, NAN, 1},       {0, 2, INFINITY, 2}, {0, 3, -INFINITY, 3},
                                 {0, 4, -2, INFINITY}, {1, 4, 1, -INFINITY}, {1, 5, 1e38f, 5},    {1, 5, 1e38f, 5},
                                 {1, 6, 1e-38f, 6},    {2, 0, 2, 7},         {2, 0, -3, 8},       {2, 1, 3, 9},
                                 {2, 1, -3, 1e300},    {2, 2, 1, -1e300}};
    aigc_fit_info info;

    (void)state;
    assert_int_equal(survives(events, sizeof events / sizeof *events, 3, 7, &info), 7);
    assert_int_equal(info.n_zero, 1);
    assert_int_equal(info.n_not_finite, 3);
    assert_int_equal(info.n_negative, 2);
    assert_int_equal(info.n_pairs, 4); /* (1, 4), (1, 5), (1, 6), (2, 2) */
}

static void a_million_events_of_one_user(void **state)
{
    enum { N = 1000000 };
    aigc_event *events = calloc(N, sizeof *events);
    aigc_fit_info info;

    (void)state;
    assert_non_null(events);
    for (uint32_t i = 0; i < N; i++)
        events[i] = (aigc_event){0, (uint32_t)((uint64_t)i * 7919 % 300), 1, i};
    assert_int_equal(survives(events, N, 1, 300, &info), 300);
    assert_int_equal(info.n_pairs, 300);
    free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_and_next_to_nothing),
        cmocka_unit_test(odd_weights_are_passed_over_and_counted),
        cmocka_unit_test(a_million_events_of_one_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
