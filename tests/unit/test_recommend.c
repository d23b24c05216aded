/* Recommendation through its public interface: what a person would expect, odd input, models that are damaged. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "recommend_fits.h"

#define S(text) ((aigc_string){text, sizeof(text) - 1})

enum { TOPICS = 6, PER_TOPIC = 20, ITEMS = TOPICS * PER_TOPIC, PEOPLE = 300 };

static const char *const TOPIC[TOPICS] = {"music",   "travel", "technology",
                                          "cooking", "sport",  "\xe5\x8e\x86\xe5\x8f\xb2"};

/* ---- a small world: everybody likes one topic, a little of another, and what is popular -------------------------- */

static void add_items(aigc_fit *fit)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        char key[32], title[64];
        uint32_t topic = i / PER_TOPIC;
        aigc_string text = {title, (size_t)snprintf(title, sizeof title, "Story %u of a %s", i * 7919 % 1000,
                                                    i % 3 ? "person" : "place")};
        aigc_string tag = {TOPIC[topic], strlen(TOPIC[topic])};
        aigc_attribute at[2] = {{.name = S("city"), .kind = AIGC_VALUE_TEXT, .text = i % 2 ? S("Paris") : S("Lima")},
                                {.name = S("place"),
                                 .kind = AIGC_VALUE_POINT,
                                 .latitude = i % 2 ? 48.9 : -12.0,
                                 .longitude = i % 2 ? 2.35 : -77.0}};
        aigc_item item = {.key = keyed(key, sizeof key, "item", i),
                          .texts = &text,
                          .n_texts = 1,
                          .tags = &tag,
                          .n_tags = 1,
                          .attributes = at,
                          .n_attributes = 2,
                          .time = 1000.0 * i};
        assert_int_equal(aigc_fit_add_items(fit, &item, 1, NULL), AIGC_OK);
    }
}

/* The young like the first half of the topics. */
static uint32_t favourite(uint32_t user)
{
    return user % TOPICS;
}

static void add_people(aigc_fit *fit)
{
    for (uint32_t u = 0; u < PEOPLE; u++) {
        char key[32];
        aigc_attribute at = {
            .name = S("age"), .kind = AIGC_VALUE_NUMBER, .number = (favourite(u) < TOPICS / 2 ? 20 : 60) + u % 9};
        aigc_user user = {.key = keyed(key, sizeof key, "user", u), .attributes = &at, .n_attributes = 1};
        assert_int_equal(aigc_fit_add_users(fit, &user, 1, NULL), AIGC_OK);
    }
}

static void add_events(aigc_fit *fit)
{
    random_state r;

    random_seed(&r, 11, 0);
    for (uint32_t u = 0; u < PEOPLE; u++)
        for (int n = 0; n < 12; n++) {
            double roll = random_unit(&r);
            uint32_t topic = roll < 0.75 ? favourite(u) : (uint32_t)(random_u64(&r) % TOPICS);
            double within = random_unit(&r);
            aigc_event e = {u, topic * PER_TOPIC + (uint32_t)(within * within * PER_TOPIC), 1, 100.0 * n + u};
            assert_int_equal(aigc_fit_add_events(fit, &e, 1, NULL), AIGC_OK);
        }
}

static void *image;
static size_t image_size;
static aigc_recommender *world;

static void *fit_world(int n_threads, size_t *size)
{
    aigc_fit *fit = new_fit(n_threads);

    add_items(fit);
    add_people(fit);
    add_events(fit);
    run(fit);
    void *made = copy_image(fit, size);
    aigc_fit_destroy(fit);
    return made;
}

static int open_world(void **state)
{
    (void)state;
    image = fit_world(2, &image_size);
    assert_int_equal(aigc_recommender_open(image, image_size, &world, NULL), AIGC_OK);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    aigc_recommender_close(world);
    free(image);
    return 0;
}

/* How many of the first ten are of the topic. */
static int of_topic(const aigc_query *q, uint32_t topic)
{
    const aigc_recommendation *r;
    aigc_ranking *ranking;
    int n = 0;

    size_t len = ask(world, q, &ranking, &r);
    for (size_t i = 0; i < len && i < 10; i++) {
        n += r[i].item / PER_TOPIC == topic;
        if (i > 0)
            assert_true(q->diversity > 0 || r[i].score <= r[i - 1].score);
    }
    aigc_ranking_free(ranking);
    return n;
}

/* ---- what a person would expect ---------------------------------------------------------------------------------- */

static void the_same_at_any_thread_count(void **state)
{
    size_t size;

    (void)state;
    for (int n = 1; n <= 5; n += 2) {
        void *other = fit_world(n, &size);
        assert_int_equal(size, image_size);
        assert_memory_equal(other, image, size);
        free(other);
    }
}

static void people_get_their_topic(void **state)
{
    (void)state;
    for (uint32_t topic = 0; topic < TOPICS; topic++) {
        aigc_event events[4];
        aigc_query q = aigc_query_defaults();
        for (uint32_t i = 0; i < 4; i++)
            events[i] = (aigc_event){.item = topic * PER_TOPIC + 2 * i, .weight = 1, .time = NAN};
        q.events = events;
        q.n_events = 4;
        assert_in_range(of_topic(&q, topic), 8, 10);
    }
}

static void interests_alone_find_their_topic(void **state)
{
    (void)state;
    for (uint32_t topic = 0; topic < TOPICS; topic++) {
        aigc_interest interest = {{TOPIC[topic], strlen(TOPIC[topic])}, 1};
        aigc_query q = aigc_query_defaults();
        q.interests = &interest;
        q.n_interests = 1;
        assert_int_equal(of_topic(&q, topic), 10);
        interest.weight = -1;
        assert_int_equal(of_topic(&q, topic), 0);
    }
}

static void attributes_shift_the_ranking(void **state)
{
    aigc_attribute age = {.name = S("age"), .kind = AIGC_VALUE_NUMBER};
    const aigc_recommendation *r;
    aigc_ranking *ranking;

    (void)state;
    for (int old = 0; old < 2; old++) {
        aigc_query q = aigc_query_defaults();
        size_t young_topics = 0;
        age.number = old ? 64 : 24;
        q.attributes = &age;
        q.n_attributes = 1;
        size_t n = ask(world, &q, &ranking, &r);
        for (size_t i = 0; i < n; i++)
            young_topics += r[i].item < ITEMS / 2;
        assert_true(old ? young_topics <= 3 : young_topics >= 7);
        aigc_ranking_free(ranking);
    }
}

static void nobody_in_particular_gets_what_is_popular(void **state)
{
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_ranking *ranking;

    (void)state;
    assert_int_equal(ask(world, &q, &ranking, &r), 10);
    for (size_t i = 0; i < 10; i++) /* events fall off within a topic */
        assert_true(r[i].item % PER_TOPIC < 4);
    aigc_ranking_free(ranking);
}

static void places_and_cities_count(void **state)
{
    aigc_attribute at[2] = {{.name = S("city"), .kind = AIGC_VALUE_TEXT, .text = S("PARIS")},
                            {.name = S("place"), .kind = AIGC_VALUE_POINT, .latitude = -12, .longitude = -77}};

    (void)state;
    for (int which = 0; which < 2; which++) {
        aigc_query q = aigc_query_defaults();
        const aigc_recommendation *r;
        aigc_ranking *ranking;
        int in_paris = 0, told = 0;
        q.attributes = &at[which];
        q.n_attributes = 1;
        size_t n = ask(world, &q, &ranking, &r);
        for (size_t i = 0; i < n; i++) {
            in_paris += r[i].item % 2 == 1;
            for (size_t j = 0; j < r[i].n_reasons; j++)
                told += r[i].reasons[j].kind == AIGC_REASON_MATCH && r[i].reasons[j].index == 0;
        }
        assert_true(which == 0 ? in_paris > 5 : in_paris < 5);
        assert_true(told > 0);
        aigc_ranking_free(ranking);
    }
}

static void likes_dislikes_and_exclusions(void **state)
{
    uint32_t likes[] = {0, 2}, dislikes[] = {4, 6}, among[] = {0, 1, 3, 4, 25, 9999999}, exclude[] = {1};
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_ranking *ranking;

    (void)state;
    q.likes = likes;
    q.n_likes = 2;
    q.dislikes = dislikes;
    q.n_dislikes = 2;
    q.among = among;
    q.n_among = 6;
    q.exclude = exclude;
    q.n_exclude = 1;
    assert_int_equal(ask(world, &q, &ranking, &r), 2);
    assert_int_equal(r[0].item, 3); /* of the liked topic; 25 is of another */
    assert_int_equal(r[1].item, 25);
    aigc_ranking_free(ranking);
    q.keep_seen = true;
    assert_int_equal(ask(world, &q, &ranking, &r), 3); /* liked ones come back, disliked ones do not */
    aigc_ranking_free(ranking);
}

static void reasons_add_up(void **state)
{
    enum { DONE = 12 }; /* enough for item-to-item weights and words to count, which is what events give as reasons */
    aigc_event events[DONE];
    aigc_interest interest = {S("travel"), 1};
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_ranking *ranking;
    int from_interest = 0, from_events = 0;

    (void)state;
    for (uint32_t i = 0; i < DONE; i++)
        events[i] = (aigc_event){.item = i, .weight = 1, .time = NAN};
    q.events = events;
    q.n_events = DONE;
    q.interests = &interest;
    q.n_interests = 1;
    q.k = ITEMS;
    size_t n = ask(world, &q, &ranking, &r);
    assert_int_equal(n, ITEMS - DONE);
    assert_true(aigc_ranking_understood(ranking, 0));
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < r[i].n_reasons; j++) {
            sum += r[i].reasons[j].share;
            from_interest += r[i].reasons[j].kind == AIGC_REASON_INTEREST && r[i].item / PER_TOPIC == 1;
            from_events += r[i].reasons[j].kind == AIGC_REASON_EVENT && r[i].item / PER_TOPIC == 0;
            assert_true(j == 0 || fabs(r[i].reasons[j].share) <= fabs(r[i].reasons[j - 1].share));
        }
        assert_true(r[i].n_reasons == 0 || (sum > 0.8 && sum < 1.0001));
    }
    assert_int_equal(from_interest, PER_TOPIC);
    assert_true(from_events >= PER_TOPIC - DONE);
    aigc_ranking_free(ranking);
}

static void diversity_spreads_topics(void **state)
{
    aigc_interest interest = {S("music"), 1};
    aigc_query q = aigc_query_defaults();

    (void)state;
    q.interests = &interest;
    q.n_interests = 1;
    assert_int_equal(of_topic(&q, 0), 10);
    q.diversity = 0.9;
    assert_in_range(of_topic(&q, 0), 1, 7);
}

static void ties_have_an_order(void **state)
{
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_ranking *ranking;
    uint32_t first[20];

    (void)state;
    q.k = 20;
    q.seed = 5;
    assert_int_equal(ask(world, &q, &ranking, &r), 20);
    for (int i = 0; i < 20; i++)
        first[i] = r[i].item;
    aigc_ranking_free(ranking);
    assert_int_equal(ask(world, &q, &ranking, &r), 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(first[i], r[i].item);
    aigc_ranking_free(ranking);
}

/* In parts, hiding every item of odd number: the same as never having had them as candidates, with the same scores. */
static void hidden_items_leave_no_trace(void **state)
{
    uint32_t even[ITEMS / 2], like = 0;
    const aigc_recommendation *r, *want;
    aigc_ranking *ranking, *other;
    const uint32_t *items;
    size_t n;

    (void)state;
    for (int diverse = 0; diverse < 2; diverse++) {
        aigc_query q = aigc_query_defaults();
        q.likes = &like;
        q.n_likes = 1;
        q.diversity = diverse ? 0.3 : 0;
        q.k = 7;
        assert_int_equal(aigc_ranking_open(world, &q, &ranking, NULL), AIGC_OK);
        do {
            assert_int_equal(aigc_ranking_more(ranking, 5, &items, &n, NULL), AIGC_OK);
            uint32_t batch[5];
            memcpy(batch, items, n * sizeof *batch);
            for (size_t i = 0; i < n; i++)
                if (batch[i] % 2)
                    aigc_ranking_hide(ranking, batch[i]);
        } while (n > 0 && aigc_ranking_pool(ranking) < aigc_ranking_wanted(ranking));
        assert_int_equal(aigc_ranking_select(ranking, NULL), AIGC_OK);
        assert_int_equal(aigc_ranking_results(ranking, &r), 7);
        for (uint32_t i = 0; i < ITEMS / 2; i++)
            even[i] = 2 * i;
        q.among = even;
        q.n_among = ITEMS / 2;
        assert_int_equal(ask(world, &q, &other, &want), 7);
        for (int i = 0; i < 7; i++) {
            assert_int_equal(r[i].item, want[i].item);
            assert_true(r[i].score == want[i].score);
        }
        for (int i = 0; i < 7; i++)
            assert_int_equal(r[i].item % 2, 0);
        aigc_ranking_free(ranking);
        aigc_ranking_free(other);
    }
}

/* The pool is what was wanted, however many items the host looked at and how few of them it hid. */
static void the_pool_is_as_large_as_wanted(void **state)
{
    uint32_t hidden[] = {0, 30};
    const aigc_recommendation *r, *want;
    aigc_query q = aigc_query_defaults();
    aigc_ranking *ranking, *other;
    const uint32_t *items;
    size_t n;

    (void)state;
    q.diversity = 0.7;
    assert_int_equal(aigc_ranking_open(world, &q, &ranking, NULL), AIGC_OK);
    assert_true(aigc_ranking_wanted(ranking) < ITEMS - 2);
    assert_int_equal(aigc_ranking_more(ranking, ITEMS, &items, &n, NULL), AIGC_OK);
    aigc_ranking_hide(ranking, 0);
    aigc_ranking_hide(ranking, 30);
    assert_int_equal(aigc_ranking_select(ranking, NULL), AIGC_OK);
    assert_int_equal(aigc_ranking_results(ranking, &r), 10);
    q.exclude = hidden;
    q.n_exclude = 2;
    assert_int_equal(ask(world, &q, &other, &want), 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(r[i].item, want[i].item);
    aigc_ranking_free(ranking);
    aigc_ranking_free(other);
}

enum { N = 61, K = 9 };

/* People who did, like and exclude this and that, and want it in several ways. */
static const aigc_query *several_queries(void)
{
    static aigc_event events[N][3];
    static uint32_t few[] = {3, 23, 43, 63, 83}, some[ITEMS / 2];
    static aigc_query queries[N];

    for (uint32_t i = 0; i < ITEMS / 2; i++)
        some[i] = 2 * i;
    for (uint32_t i = 0; i < N; i++) {
        queries[i] = aigc_query_defaults();
        queries[i].k = K;
        for (uint32_t j = 0; j < 3; j++)
            events[i][j] = (aigc_event){.item = (i * 17 + j * j * 5) % ITEMS, .weight = 1, .time = NAN};
        queries[i].events = events[i];
        queries[i].n_events = i % 4;
        queries[i].exclude = few;
        queries[i].n_exclude = i % 3;
        queries[i].dislikes = i % 5 == 1 ? few + 2 : NULL;
        queries[i].n_dislikes = i % 5 == 1 ? 2 : 0;
        queries[i].likes = i % 7 == 3 ? few + 4 : NULL;
        queries[i].n_likes = i % 7 == 3;
        queries[i].among = i % 6 == 2 ? some : NULL;
        queries[i].n_among = ITEMS / 2;
        queries[i].keep_seen = i % 8 == 5;
        queries[i].likeness = i % 9 == 4;
        queries[i].seed = i % 2 * 12345;
    }
    return queries;
}

/* Many together: the same items as one by one. */
static void many_at_once_rank_the_same(void **state)
{
    static uint32_t items[N * K];
    static float scores[N * K];
    const aigc_query *queries = several_queries();

    (void)state;
    assert_int_equal(aigc_recommend_all(world, queries, N, K, 3, NULL, items, scores, NULL), AIGC_OK);
    for (uint32_t i = 0; i < N; i++) {
        const aigc_recommendation *r;
        aigc_ranking *ranking;
        assert_int_equal(ask(world, &queries[i], &ranking, &r), K);
        for (int j = 0; j < K; j++) {
            assert_true(fabs(scores[i * K + (uint32_t)j] - r[j].score) < 1e-4 * (1 + fabs(r[j].score)));
            if (j == 0 || r[j - 1].score - r[j].score > 1e-4)
                assert_true(items[i * K + (uint32_t)j] == r[j].item ||
                            r[j].score - r[j + 1 < K ? j + 1 : j].score < 1e-4);
        }
        aigc_ranking_free(ranking);
    }
    /* folded in once, ranked twice: the first of a longer list are those of a shorter one */
    static uint32_t longer[N * 2 * K];
    aigc_people *people;
    assert_int_equal(aigc_people_open(world, queries, N, 2, NULL, &people, NULL), AIGC_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(aigc_people_rank(people, 2 * K, longer, NULL, NULL), AIGC_OK);
        for (uint32_t i = 0; i < N; i++)
            assert_memory_equal(longer + (size_t)i * 2 * K, items + (size_t)i * K, K * sizeof *items);
    }
    aigc_people_close(people);
    volatile sig_atomic_t flag = 1;
    assert_int_equal(aigc_recommend_all(world, queries, N, K, 2, &flag, items, NULL, NULL), AIGC_INTERRUPTED);
    assert_int_equal(aigc_recommend_all(world, queries, N, 0, 2, NULL, items, NULL, NULL), AIGC_E_ARGUMENT);
    assert_int_equal(aigc_recommend_all(world, NULL, 0, 5, 2, NULL, NULL, NULL, NULL), AIGC_OK);
}

/* Each as if it were alone, to the last bit, and diverse where that is asked for. */
static void each_of_many_is_as_alone(void **state)
{
    static uint32_t items[N * K];
    static float scores[N * K];
    static aigc_query queries[N];
    volatile sig_atomic_t flag = 1;
    aigc_error err;

    (void)state;
    memcpy(queries, several_queries(), sizeof queries);
    for (int i = 0; i < N; i += 3)
        queries[i].diversity = 0.01 * i;
    queries[7].among = queries[7].exclude; /* fewer than K */
    queries[7].n_among = 3;
    queries[7].n_exclude = 0;
    assert_int_equal(aigc_recommend_each(world, queries, N, K, 3, NULL, NULL, items, scores, NULL), AIGC_OK);
    for (size_t i = 0; i < N; i++) {
        const aigc_recommendation *r;
        aigc_ranking *ranking;
        size_t n = ask(world, &queries[i], &ranking, &r);
        for (size_t j = 0; j < K; j++) {
            assert_int_equal(items[i * K + j], j < n ? r[j].item : AIGC_NO_ITEM);
            assert_true(scores[i * K + j] == (j < n ? r[j].score : 0));
        }
        aigc_ranking_free(ranking);
    }
    assert_int_equal(items[7 * K + 3], AIGC_NO_ITEM);
    /* what is done is passed over, what an interrupt left is done then */
    static uint32_t again[N * K];
    bool done[N] = {false, true};
    assert_int_equal(aigc_recommend_each(world, queries, N, K, 2, &flag, done, again, NULL, NULL), AIGC_INTERRUPTED);
    assert_false(done[0] || done[N - 1]);
    assert_int_equal(aigc_recommend_each(world, queries, N, K, 2, NULL, done, again, NULL, NULL), AIGC_OK);
    for (int i = 0; i < N; i++)
        assert_true(done[i]);
    assert_memory_equal(again, items, K * sizeof *again);
    assert_int_equal(again[K], 0);
    assert_memory_equal(again + 2 * K, items + 2 * K, (N - 2) * K * sizeof *again);

    /* while the caller does something else; abandoned */
    for (int threads = 1; threads <= 4; threads++) {
        aigc_each *each;
        memset(again, 0xff, sizeof again);
        assert_int_equal(aigc_each_start(world, queries, N, K, threads, NULL, NULL, again, NULL, &each, NULL), AIGC_OK);
        assert_int_equal(aigc_each_finish(each, NULL), AIGC_OK);
        aigc_each_free(each);
        assert_memory_equal(again, items, sizeof again);
        memset(done, false, sizeof done);
        assert_int_equal(aigc_each_start(world, queries, N, K, threads, NULL, done, again, NULL, &each, NULL), AIGC_OK);
        aigc_each_free(each);
    }
    assert_int_equal(aigc_recommend_each(world, queries, N, 0, 2, NULL, NULL, items, NULL, NULL), AIGC_E_ARGUMENT);
    assert_int_equal(aigc_recommend_each(world, NULL, 0, 5, 2, NULL, NULL, NULL, NULL, NULL), AIGC_OK);
    queries[4].diversity = 3;
    assert_int_equal(aigc_recommend_each(world, queries, N, K, 2, NULL, NULL, items, NULL, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "diversity is 3, but goes from 0 to 1");
}

static void similar_items_are_of_the_topic(void **state)
{
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_ranking *ranking;
    int same = 0;

    (void)state;
    assert_int_equal(aigc_similar(world, 45, &q, &ranking, NULL), AIGC_OK);
    size_t n = aigc_ranking_results(ranking, &r);
    for (size_t i = 0; i < n; i++) {
        same += r[i].item / PER_TOPIC == 45 / PER_TOPIC;
        assert_int_not_equal(r[i].item, 45);
    }
    assert_true(same >= 7);
    aigc_ranking_free(ranking);
    aigc_error err;
    assert_int_equal(aigc_similar(world, ITEMS, &q, &ranking, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "120"));
}

/* ---- without a fit ----------------------------------------------------------------------------------------------- */

static void new_items_are_ranked_by_content(void **state)
{
    aigc_string texts[] = {S("A concert in the evening")}, tags[] = {S("music"), S("jazz")};
    aigc_item items[2] = {{.key = S("new"), .texts = texts, .n_texts = 1, .tags = tags, .n_tags = 2, .time = NAN},
                          {.key = S("item 3"), .tags = tags, .n_tags = 1, .time = NAN}};
    aigc_event event = {.item = ITEMS, .weight = 1, .time = 5000};
    aigc_interest jazz = {S("Jazz"), 1};
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_recommender_info info;
    aigc_recommender *larger;
    aigc_ranking *ranking;
    aigc_string key;
    void *made;
    size_t size;

    (void)state;
    volatile sig_atomic_t flag = 1;
    assert_int_equal(aigc_recommender_extend(world, items, 2, &event, 1, &flag, &made, &size, NULL), AIGC_INTERRUPTED);
    assert_int_equal(aigc_recommender_extend(world, items, 2, &event, 1, NULL, &made, &size, NULL), AIGC_OK);
    assert_int_equal(aigc_recommender_open(made, size, &larger, NULL), AIGC_OK);
    aigc_recommender_describe(larger, &info);
    assert_int_equal(info.n_items, ITEMS + 1);
    assert_int_equal(info.n_new_items, 1);
    assert_true(info.last_event == 5000);
    assert_int_equal(aigc_recommender_find(larger, S("new")), ITEMS);
    assert_int_equal(aigc_recommender_find(larger, S("item 7")), 7);
    assert_true(aigc_recommender_key(larger, 119, &key));
    assert_memory_equal(key.data, "item 119", 8);
    q.interests = &jazz; /* a word that the model did not know */
    q.n_interests = 1;
    ask(larger, &q, &ranking, &r);
    assert_int_equal(r[0].item, ITEMS);
    aigc_ranking_free(ranking);
    ask(world, &q, &ranking, &r);
    assert_false(aigc_ranking_understood(ranking, 0));
    aigc_ranking_free(ranking);
    uint32_t likes[] = {0, 1, 2}; /* music: the new item ranks before those of other topics */
    q = aigc_query_defaults();
    q.likes = likes;
    q.n_likes = 3;
    q.k = PER_TOPIC;
    size_t n = ask(larger, &q, &ranking, &r), place = n;
    for (size_t i = 0; i < n; i++)
        if (r[i].item == ITEMS)
            place = i;
    assert_true(place < PER_TOPIC);
    aigc_ranking_free(ranking);
    aigc_recommender_close(larger);
    aigc_free(made);
}

/* ---- odd input --------------------------------------------------------------------------------------------------- */

static void bad_arguments_are_named(void **state)
{
    aigc_fit *fit = new_fit(1);
    aigc_event event = {0, 0, 1, NAN};
    aigc_string bad = S("a\xff"), text = S("fine");
    aigc_item item = {.key = S("k"), .texts = &bad, .n_texts = 1, .time = NAN};
    aigc_fit_options o = aigc_fit_defaults();
    aigc_query q = aigc_query_defaults();
    aigc_ranking *ranking;
    aigc_fit *other;
    aigc_error err;

    (void)state;
    assert_int_equal(aigc_fit_add_events(fit, &event, 1, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "user number 0"));
    assert_int_equal(aigc_fit_add_items(fit, &item, 1, &err), AIGC_E_TEXT);
    assert_non_null(strstr(err.message, "\"k\""));
    item.texts = &text;
    assert_int_equal(aigc_fit_add_items(fit, &item, 1, &err), AIGC_OK);
    assert_int_equal(aigc_fit_add_items(fit, &item, 1, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "item \"k\" is given twice");
    run(fit);
    assert_int_equal(aigc_fit_add_items(fit, &item, 1, &err), AIGC_E_ARGUMENT);
    aigc_fit_destroy(fit);
    o.regularization = -1;
    assert_int_equal(aigc_fit_create(&o, &other, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "regularization is -1"));
    o.regularization = NAN;
    assert_int_equal(aigc_fit_create(&o, &other, &err), AIGC_E_ARGUMENT);
    q.diversity = NAN;
    assert_int_equal(aigc_recommend(world, &q, &ranking, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "diversity"));
    q = aigc_query_defaults();
    q.k = 0;
    assert_int_equal(aigc_recommend(world, &q, &ranking, &err), AIGC_E_ARGUMENT);
}

static void interests_of_any_kind(void **state)
{
    size_t size = 10 << 20;
    char *huge = malloc(size);
    aigc_interest interests[] = {{S("nothing like that"), 1}, {S("\xff\xfe"), 1},     {S(""), 1},
                                 {S("music"), NAN},           {S("music"), INFINITY}, {{NULL, 0}, 1}};
    aigc_query q = aigc_query_defaults();
    const aigc_recommendation *r;
    aigc_ranking *ranking;

    (void)state;
    assert_non_null(huge);
    memset(huge, 'a', size);
    q.interests = interests;
    q.n_interests = 6;
    assert_int_equal(ask(world, &q, &ranking, &r), 10);
    for (size_t i = 0; i < 6; i++)
        assert_false(aigc_ranking_understood(ranking, i));
    aigc_ranking_free(ranking);
    interests[0].text = (aigc_string){huge, size};
    assert_int_equal(ask(world, &q, &ranking, &r), 10);
    aigc_ranking_free(ranking);
    free(huge);
}

static void interruption_loses_nothing(void **state)
{
    volatile sig_atomic_t flag = 1;
    aigc_fit_options o = aigc_fit_defaults();
    aigc_query q = aigc_query_defaults();
    aigc_fit_progress p;
    aigc_ranking *ranking;
    aigc_fit *fit;
    size_t size;

    (void)state;
    o.interrupt = &flag;
    o.n_threads = 2;
    assert_int_equal(aigc_fit_create(&o, &fit, NULL), AIGC_OK);
    add_items(fit);
    add_people(fit);
    add_events(fit);
    for (p.done = false; !p.done;) {
        flag = 1;
        assert_int_equal(aigc_fit_step(fit, &p, NULL), AIGC_INTERRUPTED);
        flag = 0;
        assert_int_equal(aigc_fit_step(fit, &p, NULL), AIGC_OK);
    }
    void *made = copy_image(fit, &size);
    assert_int_equal(size, image_size);
    assert_memory_equal(made, image, size);
    free(made);
    aigc_fit_destroy(fit);
    flag = 1;
    q.interrupt = &flag;
    assert_int_equal(aigc_recommend(world, &q, &ranking, NULL), AIGC_INTERRUPTED);
}

static void a_fit_can_be_given_up_at_any_step(void **state)
{
    (void)state;
    for (int steps = 0; steps < 60; steps += 3) {
        aigc_fit *fit = new_fit(2);
        aigc_fit_progress p = {.done = false};
        const void *none;
        size_t size;
        add_items(fit);
        add_people(fit);
        add_events(fit);
        for (int i = 0; i < steps && !p.done; i++)
            assert_int_equal(aigc_fit_step(fit, &p, NULL), AIGC_OK);
        if (!p.done)
            assert_int_equal(aigc_fit_image(fit, &none, &size, NULL), AIGC_E_ARGUMENT);
        aigc_fit_destroy(fit);
    }
}

static void evaluation_gives_figures(void **state)
{
    aigc_fit_options o = aigc_fit_defaults();
    const aigc_metrics *m;
    aigc_fit *fit;
    const void *none;
    size_t size;

    (void)state;
    o.evaluate_users = 60;
    o.n_threads = 2;
    assert_int_equal(aigc_fit_create(&o, &fit, NULL), AIGC_OK);
    add_items(fit);
    add_people(fit);
    add_events(fit);
    run(fit);
    size_t n = aigc_fit_metrics(fit, &m);
    assert_true(n >= 4);
    assert_string_equal(m[0].ranker, "blend");
    assert_string_equal(m[1].ranker, "popularity");
    assert_int_equal(m[0].n_users, 60);
    for (int c = 0; c < 3; c++) {
        assert_true(m[0].ndcg[c] > m[1].ndcg[c] + 2 * m[0].ndcg_error[c]);
        assert_true(m[0].recall[c] <= 1 && m[0].ndcg[c] <= 1);
    }
    assert_true(m[0].recall[2] > 0.85); /* 100 of 120 items */
    assert_true(m[0].coverage > m[1].coverage);
    assert_int_equal(aigc_fit_image(fit, &none, &size, NULL), AIGC_E_ARGUMENT);
    aigc_fit_destroy(fit);
}

/* ---- damaged models ---------------------------------------------------------------------------------------------- */

/* Asks everything that there is to ask; nothing may crash. */
static void use(const aigc_recommender *model)
{
    aigc_event events[] = {{.item = 0, .weight = 1, .time = NAN}, {.item = 50, .weight = 2, .time = 3}};
    aigc_interest interest = {S("music"), 1};
    aigc_attribute at[] = {{.name = S("age"), .kind = AIGC_VALUE_NUMBER, .number = 30},
                           {.name = S("city"), .kind = AIGC_VALUE_TEXT, .text = S("Paris")},
                           {.name = S("place"), .kind = AIGC_VALUE_POINT, .latitude = 1, .longitude = 2}};
    aigc_item item = {.key = S("new"), .texts = &interest.text, .n_texts = 1, .time = NAN};
    uint32_t dislike = 7;
    aigc_query q = aigc_query_defaults();
    aigc_attribute_info info;
    aigc_ranking *ranking;
    aigc_string key;
    void *made;
    size_t size;

    q.events = events;
    q.n_events = 2;
    q.interests = &interest;
    q.n_interests = 1;
    q.attributes = at;
    q.n_attributes = 3;
    q.dislikes = &dislike;
    q.n_dislikes = 1;
    q.diversity = 0.5;
    if (aigc_recommend(model, &q, &ranking, NULL) == AIGC_OK) {
        const aigc_recommendation *r;
        size_t n = aigc_ranking_results(ranking, &r);
        for (size_t i = 0; i < n; i++)
            (void)aigc_recommender_key(model, r[i].item, &key);
        aigc_ranking_free(ranking);
    }
    (void)aigc_recommender_find(model, S("item 5"));
    for (uint32_t i = 0; i < 3; i++)
        (void)aigc_recommender_attribute(model, i, &info);
    if (aigc_recommender_extend(model, &item, 1, events, 1, NULL, &made, &size, NULL) == AIGC_OK)
        aigc_free(made);
}

static void damaged_models_do_no_harm(void **state)
{
    random_state r;
    int opened = 0;
    unsigned char *damaged = aligned_alloc(64, image_size);

    (void)state;
    assert_non_null(damaged);
    random_seed(&r, 3, 0);
    for (int round = 0; round < 400; round++) {
        aigc_recommender *model;
        memcpy(damaged, image, image_size);
        int n = 1 + (int)(random_u64(&r) % 40);
        size_t reach = round % 2 ? 1400 : image_size; /* the header and the numbers, or anywhere */
        for (int i = 0; i < n; i++) {
            size_t at = random_u64(&r) % reach / 4 * 4;
            uint64_t kind = random_u64(&r) % 4;
            uint32_t word = kind == 0 ? UINT32_MAX : kind == 1 ? 0 : kind == 2 ? 0x7fffffff : (uint32_t)random_u64(&r);
            memcpy(damaged + at, &word, sizeof word);
        }
        if (aigc_recommender_open(damaged, image_size, &model, NULL) != AIGC_OK)
            continue;
        opened++;
        use(model);
        aigc_recommender_close(model);
    }
    assert_true(opened > 50);
    free(damaged);
}

static void cut_models_are_refused(void **state)
{
    aigc_recommender *model;
    aigc_error err;

    (void)state;
    for (size_t size = 0; size < image_size; size += size < 2000 ? 64 : image_size / 50)
        assert_int_equal(aigc_recommender_open(image, size, &model, &err), AIGC_E_FORMAT);
    assert_int_equal(aigc_recommender_open((char *)image + 8, image_size - 8, &model, &err), AIGC_E_ARGUMENT);
    unsigned char *other = aligned_alloc(64, image_size);
    assert_non_null(other);
    memcpy(other, image, image_size);
    other[8]++; /* the version */
    assert_int_equal(aigc_recommender_open(other, image_size, &model, &err), AIGC_E_UNSUPPORTED);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_at_any_thread_count),
        cmocka_unit_test(people_get_their_topic),
        cmocka_unit_test(interests_alone_find_their_topic),
        cmocka_unit_test(attributes_shift_the_ranking),
        cmocka_unit_test(nobody_in_particular_gets_what_is_popular),
        cmocka_unit_test(places_and_cities_count),
        cmocka_unit_test(likes_dislikes_and_exclusions),
        cmocka_unit_test(reasons_add_up),
        cmocka_unit_test(diversity_spreads_topics),
        cmocka_unit_test(ties_have_an_order),
        cmocka_unit_test(hidden_items_leave_no_trace),
        cmocka_unit_test(the_pool_is_as_large_as_wanted),
        cmocka_unit_test(many_at_once_rank_the_same),
        cmocka_unit_test(each_of_many_is_as_alone),
        cmocka_unit_test(similar_items_are_of_the_topic),
        cmocka_unit_test(new_items_are_ranked_by_content),
        cmocka_unit_test(bad_arguments_are_named),
        cmocka_unit_test(interests_of_any_kind),
        cmocka_unit_test(interruption_loses_nothing),
        cmocka_unit_test(a_fit_can_be_given_up_at_any_step),
        cmocka_unit_test(evaluation_gives_figures),
        cmocka_unit_test(damaged_models_do_no_harm),
        cmocka_unit_test(cut_models_are_refused),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
