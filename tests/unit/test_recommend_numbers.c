/* Numbers of items as content: near ones are alike, in any unit, for new items too, and for who asks for a number. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aigc.h"
#include "recommend/numbers.h"

#define S(s) ((aigc_string){s, sizeof(s) - 1})

enum { ITEMS = 160 };

/* Prices that double every ten items: only their order can say what is near. */
static double price_of(uint32_t i)
{
    return 3 * pow(2, i / 10.0);
}

static void places_between_beginnings(void **state)
{
    static const float lower[] = {10, 20, 40};
    number_place p = number_between(lower, 3, 25);

    (void)state;
    assert_int_equal(p.band[0], 1); /* the nearer one first */
    assert_int_equal(p.band[1], 2);
    assert_true(p.share[0] == 0.75f && p.share[1] == 0.25f);
    p = number_between(lower, 3, 38);
    assert_int_equal(p.band[0], 2);
    assert_int_equal(p.band[1], 1);
    assert_true(fabsf(p.share[0] - 0.9f) < 1e-6f && fabsf(p.share[1] - 0.1f) < 1e-6f);
    double whole[][2] = {{20, 1}, {-5, 0}, {10, 0}, {40, 2}, {1e30, 2}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        p = number_between(lower, 3, whole[i][0]);
        assert_int_equal(p.band[0], (uint32_t)whole[i][1]);
        assert_true(p.share[0] == 1 && p.share[1] == 0);
    }
}

static void add_item(aigc_fit *fit, uint32_t i, double price)
{
    char key[32];
    aigc_attribute at = {.name = S("price"), .kind = AIGC_VALUE_NUMBER, .number = price};
    aigc_item item = {.key = {key, (size_t)snprintf(key, sizeof key, "item %u", i)}, .time = NAN};

    item.attributes = &at;
    item.n_attributes = 1;
    assert_int_equal(aigc_fit_add_items(fit, &item, 1, NULL), AIGC_OK);
}

/* A catalogue that says nothing but prices; the last item's is no number. */
static aigc_recommender *fit_prices(void **image)
{
    aigc_fit_options o = aigc_fit_defaults();
    aigc_fit_progress p = {.done = false};
    aigc_recommender *shop;
    const void *made;
    size_t size;
    aigc_fit *fit;

    assert_int_equal(aigc_fit_create(&o, &fit, NULL), AIGC_OK);
    for (uint32_t i = 0; i < ITEMS; i++)
        add_item(fit, i * 77 % ITEMS, price_of(i * 77 % ITEMS));
    add_item(fit, ITEMS, NAN);
    while (!p.done)
        assert_int_equal(aigc_fit_step(fit, &p, NULL), AIGC_OK);
    assert_int_equal(aigc_fit_image(fit, &made, &size, NULL), AIGC_OK);
    *image = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(*image);
    memcpy(*image, made, size);
    aigc_fit_destroy(fit);
    assert_int_equal(aigc_recommender_open(*image, size, &shop, NULL), AIGC_OK);
    return shop;
}

/* Which price the i-th result has, by its key. */
static uint32_t rank_of(const aigc_recommender *shop, uint32_t item)
{
    aigc_string key;

    assert_true(aigc_recommender_key(shop, item, &key));
    return (uint32_t)strtoul(key.data + strlen("item "), NULL, 10);
}

/* Everything among the first k lies within `most` places of where it should. */
static void check_near(const aigc_recommender *shop, aigc_ranking *ranking, size_t k, int centre, int most)
{
    const aigc_recommendation *r;
    size_t n = aigc_ranking_results(ranking, &r);

    assert_int_equal(n, k);
    for (size_t i = 0; i < n; i++)
        assert_true(abs((int)rank_of(shop, r[i].item) - centre) <= most);
    aigc_ranking_free(ranking);
}

static void near_numbers_are_alike(void **state)
{
    aigc_query q = aigc_query_defaults();
    aigc_ranking *ranking;
    void *image;
    aigc_recommender *shop = fit_prices(&image);
    static const uint32_t CENTRES[] = {15, 30, 71, 94, 140};

    (void)state;
    q.k = 8;
    for (size_t c = 0; c < sizeof CENTRES / sizeof *CENTRES; c++) {
        char key[32];
        aigc_string name = {key, (size_t)snprintf(key, sizeof key, "item %u", CENTRES[c])};
        uint32_t item = aigc_recommender_find(shop, name);
        assert_int_equal(aigc_similar(shop, item, &q, &ranking, NULL), AIGC_OK);
        check_near(shop, ranking, q.k, (int)CENTRES[c], ITEMS / 8);
    }
    aigc_recommender_close(shop);
    free(image);
}

static void who_asks_for_a_number_gets_near_ones(void **state)
{
    aigc_attribute wish = {.name = S("price"), .kind = AIGC_VALUE_NUMBER, .number = price_of(80)};
    aigc_query q = aigc_query_defaults();
    aigc_ranking *ranking;
    void *image;
    aigc_recommender *shop = fit_prices(&image);

    (void)state;
    q.attributes = &wish;
    q.n_attributes = 1;
    assert_int_equal(aigc_recommend(shop, &q, &ranking, NULL), AIGC_OK);
    check_near(shop, ranking, q.k, 80, ITEMS / 8);
    aigc_recommender_close(shop);
    free(image);
}

static void new_items_have_numbers_too(void **state)
{
    aigc_attribute at = {.name = S("price"), .kind = AIGC_VALUE_NUMBER, .number = price_of(100)};
    aigc_item item = {.key = S("item 100 again"), .attributes = &at, .n_attributes = 1, .time = NAN};
    aigc_query q = aigc_query_defaults();
    aigc_recommender *larger;
    aigc_ranking *ranking;
    void *image, *made;
    size_t size;
    aigc_recommender *shop = fit_prices(&image);

    (void)state;
    q.k = 8;
    assert_int_equal(aigc_recommender_extend(shop, &item, 1, NULL, 0, NULL, &made, &size, NULL), AIGC_OK);
    assert_int_equal(aigc_recommender_open(made, size, &larger, NULL), AIGC_OK);
    uint32_t number = aigc_recommender_find(larger, S("item 100 again"));
    assert_int_equal(number, ITEMS + 1);
    assert_int_equal(aigc_similar(larger, number, &q, &ranking, NULL), AIGC_OK);
    check_near(larger, ranking, q.k, 100, ITEMS / 8);
    aigc_recommender_close(larger);
    aigc_recommender_close(shop);
    aigc_free(made);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_between_beginnings),
        cmocka_unit_test(near_numbers_are_alike),
        cmocka_unit_test(who_asks_for_a_number_gets_near_ones),
        cmocka_unit_test(new_items_have_numbers_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
