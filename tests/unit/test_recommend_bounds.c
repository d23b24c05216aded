/* The best items by bounds (bounds.h) are those of looking at every item, to the last bit of their scores, on random
 * catalogues; coarse rows are as near to the rows as they say; every level of processor computes the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aigc.h"
#include "base/memory.h"
#include "base/random.h"
#include "recommend/bounds.h"
#include "recommend/half.h"
#include "recommend/heap.h"
#include "recommend/ranking.h"

/* ---- kernels ------------------------------------------------------------------------------------------------- */

enum { ROWS = 37, WIDTH = 96, PADDED = 48 };

static random_state r;

static void levels_agree(void **state)
{
    static int8_t rows[ROWS * WIDTH];
    static int16_t query[WIDTH];
    float scale[PADDED], error[PADDED], weight[PADDED], base[PADDED];

    (void)state;
    random_seed(&r, 3, 0);
    for (int i = 0; i < ROWS * WIDTH; i++)
        rows[i] = (int8_t)((int)(random_u64(&r) % 255) - 127);
    for (int i = 0; i < WIDTH; i++)
        query[i] = i % 3 ? (int16_t)((int)(random_u64(&r) % 65535) - 32767) : 32767;
    for (int i = 0; i < PADDED; i++) {
        scale[i] = (float)random_unit(&r);
        error[i] = (float)random_unit(&r);
        weight[i] = (float)random_normal(&r);
        base[i] = (float)random_normal(&r);
    }
    for (cpu_level level = CPU_GENERIC; level < CPU_LEVELS; level++) {
        const bound_kernels *k = bound_for(level);
        int32_t dots[PADDED] = {0}, plain[PADDED] = {0};
        float score[2][PADDED], slack[2][PADDED], most[2];
        bound_terms terms = {.step = 0.01f, .length = 1.7f, .weight = -0.4f, .slack = 0.3f};
        if (k == NULL)
            continue;
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < WIDTH; j++)
                plain[i] += rows[i * WIDTH + j] * query[j];
        k->scan(rows, ROWS, WIDTH, query, dots);
        assert_memory_equal(plain, dots, sizeof dots);
        for (int way = 0; way < 2; way++) {
            const bound_kernels *by = way ? k : &bound_generic;
            memcpy(score[way], base, sizeof base);
            memset(slack[way], 0, sizeof slack[way]);
            by->add(PADDED, dots, scale, error, weight, &terms, score[way], slack[way]);
            by->add(PADDED, dots, scale, error, NULL, &terms, score[way], slack[way]);
            most[way] = by->close(PADDED, base, slack[way], score[way]);
            assert_true(by->largest(PADDED, score[way]) == most[way]);
        }
        assert_memory_equal(score[0], score[1], sizeof score[0]);
        assert_memory_equal(slack[0], slack[1], sizeof slack[0]);
        assert_true(most[0] == most[1]);
        for (int i = 0; i < PADDED; i++)
            assert_true(score[0][i] <= most[0]);
    }
}

static void coarse_rows_are_near(void **state)
{
    enum { N = 50, D = 48 };
    uint16_t half[N * D];
    int8_t rows[N * 64];
    float scale[N], error[N], length[N];

    (void)state;
    random_seed(&r, 4, 0);
    assert_int_equal(coarse_width(D), 64);
    for (int i = 0; i < N * D; i++)
        half[i] = half_from_float(i / D == 3 ? 0 : (float)(random_normal(&r) * pow(10, i / D % 9 - 4)));
    half[7 * D + 5] = 0x7c00; /* infinity, as a damaged model may have */
    assert_true(coarse_make(half, N, D, rows, scale, error, length));
    for (int i = 0; i < N; i++) {
        double lost = 0, square = 0;
        for (int j = 0; j < D; j++) {
            double x = half_to_float(half[i * D + j]), y = (double)scale[i] * rows[i * 64 + j];
            lost += (x - y) * (x - y);
            square += x * x;
        }
        for (int j = D; j < 64; j++)
            assert_int_equal(rows[i * 64 + j], 0);
        if (i == 7) {
            assert_true(isinf(error[i]));
            continue;
        }
        assert_true(sqrt(lost) <= error[i]);
        assert_true(error[i] <= 1.01 * sqrt(lost) + 1e-7 * sqrt(square));
        assert_true(sqrt(lost) <= 0.02 * sqrt(square));
        assert_true(sqrt(square) <= length[i] && length[i] <= 1.001 * sqrt(square));
    }
}

/* ---- rankings ------------------------------------------------------------------------------------------------- */

enum { ITEMS = 3000, PEOPLE = 500, NEW = 40 };

static const char *const WORDS[] = {"river", "night", "piano", "train", "garden", "winter", "market", "ocean"};

static aigc_string keyed(char *buffer, size_t size, uint32_t i)
{
    return (aigc_string){buffer, (size_t)snprintf(buffer, size, "%u", i)};
}

static void describe(uint32_t i, aigc_item *item, char key[16], char title[64], aigc_string *text, aigc_string *tag,
                     float embedding[24], aigc_attribute *place)
{
    *text = (aigc_string){title, (size_t)snprintf(title, 64, "%s %s w%u", WORDS[random_u64(&r) % 8],
                                                  WORDS[random_u64(&r) % 8], i * 7 % 90)};
    *tag = (aigc_string){WORDS[i % 8], strlen(WORDS[i % 8])};
    for (int j = 0; j < 24; j++)
        embedding[j] = (float)random_normal(&r) + (j == (int)(i % 8));
    *place = (aigc_attribute){.name = {"place", 5}, .kind = AIGC_VALUE_POINT, .latitude = i % 90, .longitude = i % 170};
    *item = (aigc_item){.key = keyed(key, 16, i), .texts = text, .n_texts = 1, .tags = tag, .n_tags = 1};
    item->attributes = place;
    item->n_attributes = 1;
    item->embedding = embedding;
    item->time = 1000.0 * (i % 1777);
}

static void add_world(aigc_fit *fit)
{
    char key[16], title[64];
    float embedding[24];
    aigc_string text, tag;
    aigc_attribute place;
    aigc_item item;

    for (uint32_t i = 0; i < ITEMS; i++) {
        describe(i, &item, key, title, &text, &tag, embedding, &place);
        assert_int_equal(aigc_fit_add_items(fit, &item, 1, NULL), AIGC_OK);
    }
    for (uint32_t u = 0; u < PEOPLE; u++) {
        aigc_attribute age = {.name = {"age", 3}, .kind = AIGC_VALUE_NUMBER, .number = 20 + u % 50};
        aigc_user user = {.key = keyed(key, sizeof key, u), .attributes = &age, .n_attributes = 1};
        assert_int_equal(aigc_fit_add_users(fit, &user, 1, NULL), AIGC_OK);
        for (int n = 0; n < 20; n++) {
            double within = random_unit(&r);
            aigc_event e = {u, (uint32_t)(within * within * (ITEMS - 300)), 1, 500.0 * n + u};
            if (n % 3)
                e.item = e.item / 8 * 8 + u % 8;
            assert_int_equal(aigc_fit_add_events(fit, &e, 1, NULL), AIGC_OK);
        }
    }
}

/* A model, some of whose items nobody did anything with, and a longer one with items that came since. */
static aigc_recommender *models[2];
static void *images[2];

static int make_models(void **state)
{
    aigc_fit_options o = aigc_fit_defaults();
    aigc_fit_progress p = {.done = false};
    aigc_item items[NEW];
    static char keys[NEW][16], titles[NEW][64];
    static float embeddings[NEW][24];
    static aigc_string texts[NEW], tags[NEW];
    static aigc_attribute places[NEW];
    const void *image;
    aigc_fit *fit;
    size_t size;

    (void)state;
    random_seed(&r, 5, 0);
    o.n_threads = 2;
    o.n_embedding = 24;
    o.ease_items = 200;
    assert_int_equal(aigc_fit_create(&o, &fit, NULL), AIGC_OK);
    add_world(fit);
    while (!p.done)
        assert_int_equal(aigc_fit_step(fit, &p, NULL), AIGC_OK);
    assert_int_equal(aigc_fit_image(fit, &image, &size, NULL), AIGC_OK);
    images[0] = aligned_alloc(64, size);
    memcpy(images[0], image, size);
    aigc_fit_destroy(fit);
    assert_int_equal(aigc_recommender_open(images[0], size, &models[0], NULL), AIGC_OK);
    for (uint32_t i = 0; i < NEW; i++)
        describe(ITEMS + i, &items[i], keys[i], titles[i], &texts[i], &tags[i], embeddings[i], &places[i]);
    assert_int_equal(aigc_recommender_extend(models[0], items, NEW, NULL, 0, NULL, &images[1], &size, NULL), AIGC_OK);
    assert_int_equal(aigc_recommender_open(images[1], size, &models[1], NULL), AIGC_OK);
    return 0;
}

static int free_models(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        aigc_recommender_close(models[i]);
        free(images[i]);
    }
    return 0;
}

/* A query of every kind: each ingredient is there or not. */
typedef struct question {
    aigc_query q;
    aigc_event events[60];
    uint32_t likes[3], dislikes[2], among[400];
    aigc_interest interests[2];
    aigc_attribute attributes[2];
    float embedding[24];
} question;

static uint32_t any_item(uint32_t n)
{
    return (uint32_t)(random_u64(&r) % n);
}

static void make_question(question *x, int number, uint32_t n)
{
    *x = (question){.q = aigc_query_defaults()};
    x->q.n_events = number % 3 == 0 ? 0 : random_u64(&r) % 60;
    for (size_t i = 0; i < x->q.n_events; i++)
        x->events[i] = (aigc_event){.item = any_item(n), .weight = 1 + (float)(i % 3), .time = NAN};
    x->q.events = x->events;
    x->q.n_likes = number % 4 == 1 ? 3 : 0;
    x->q.n_dislikes = number % 5 == 1 ? 2 : 0;
    for (int i = 0; i < 3; i++)
        x->likes[i] = any_item(n);
    for (int i = 0; i < 2; i++)
        x->dislikes[i] = any_item(n);
    x->q.likes = x->likes;
    x->q.dislikes = x->dislikes;
    x->interests[0] = (aigc_interest){{WORDS[number % 8], strlen(WORDS[number % 8])}, 1};
    x->interests[1] = (aigc_interest){{"w7", 2}, -0.5};
    x->q.interests = x->interests;
    x->q.n_interests = (size_t)(number / 2 % 3);
    x->attributes[0] = (aigc_attribute){.name = {"age", 3}, .kind = AIGC_VALUE_NUMBER, .number = 20 + number % 50};
    x->attributes[1] =
        (aigc_attribute){.name = {"place", 5}, .kind = AIGC_VALUE_POINT, .latitude = 12, .longitude = 80};
    x->q.attributes = x->attributes;
    x->q.n_attributes = (size_t)(number / 3 % 3);
    for (int i = 0; i < 24; i++)
        x->embedding[i] = (float)random_normal(&r);
    x->q.embedding = number % 7 == 2 ? x->embedding : NULL;
    for (int i = 0; i < 400; i++)
        x->among[i] = any_item(n);
    x->q.among = number % 6 == 5 ? x->among : NULL;
    x->q.n_among = 400;
    x->q.likeness = number % 11 == 4;
    x->q.seed = number % 2 ? 0 : (uint64_t)number;
    x->q.keep_seen = number % 13 == 0;
}

/* All items that may be ranked, with their exact scores, in order. */
static size_t exhaust(const bounds *b, uint64_t seed, candidate *out)
{
    size_t n = 0;

    for (uint32_t i = 0; i < b->n; i++) {
        if (!(b->score[i] > -INFINITY))
            continue;
        out[n++] = (candidate){bounds_exact(b, i), i, tie_of(seed, i)};
        assert_true(out[n - 1].score <= b->score[i]);
        if (b->n_parts == 0)
            assert_true(out[n - 1].score == b->score[i]);
    }
    qsort(out, n, sizeof *out, in_order);
    return n;
}

static void check_question(const aigc_recommender *recommender, const question *x)
{
    static candidate all[ITEMS + NEW];
    static float scores[ITEMS + NEW];
    static const size_t wanted[] = {1, 10, 64, 700, ITEMS + NEW};
    profile p;
    bounds b;

    assert_int_equal(profile_open(&recommender->m, &x->q, &p, NULL), AIGC_OK);
    assert_int_equal(bounds_open(&b, &p, NULL), AIGC_OK);
    profile_scores(&p, true, scores);
    for (uint32_t i = 0; i < b.n; i++) /* added up in another order */
        assert_true(fabsf(bounds_exact(&b, i) - scores[i]) <= 1e-5f * (10 + fabsf(scores[i])));
    assert_int_equal(rank_restrict(&x->q, b.n, b.score, NULL), AIGC_OK);
    size_t n = exhaust(&b, x->q.seed, all);
    for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++) {
        uint32_t *order;
        bool ok;
        size_t m = bounds_best(&b, wanted[w], x->q.seed, &order, &ok);
        assert_true(ok);
        assert_int_equal(m, wanted[w] < n ? wanted[w] : n);
        for (size_t i = 0; i < m; i++) {
            assert_int_equal(order[i], all[i].item);
            assert_true(b.score[order[i]] == all[i].score);
        }
        free(order);
    }
    bounds_close(&b);
    profile_close(&p);
}

static void bounds_rank_as_all_scores_do(void **state)
{
    static question x;
    int with_parts = 0;

    (void)state;
    random_seed(&r, 6, 0);
    for (int number = 0; number < 200; number++) {
        const aigc_recommender *recommender = models[number % 2];
        make_question(&x, number, recommender->m.n->n_items);
        check_question(recommender, &x);
        with_parts += x.q.n_events > 0;
    }
    assert_true(with_parts > 100);
}

/* Few items are looked at: that is what it is for. */
static void bounds_are_narrow(void **state)
{
    static question x;
    size_t looked = 0;
    uint32_t *order;
    profile p;
    bounds b;
    bool ok;

    (void)state;
    random_seed(&r, 8, 0);
    make_question(&x, 1, ITEMS);
    x.q.n_attributes = 0;
    x.q.events = x.events;
    x.q.n_events = 40;
    for (uint32_t i = 0; i < 40; i++)
        x.events[i] = (aigc_event){.item = i * 16 + 3, .weight = 1, .time = NAN};
    assert_int_equal(profile_open(&models[0]->m, &x.q, &p, NULL), AIGC_OK);
    assert_int_equal(bounds_open(&b, &p, NULL), AIGC_OK);
    assert_true(b.n_parts >= 1);
    bounds_best(&b, 10, 0, &order, &ok);
    for (uint32_t i = 0; i < b.n; i++)
        looked += bounds_exact(&b, i) == b.score[i];
    assert_in_range(looked, 10, ITEMS / 10);
    free(order);
    bounds_close(&b);
    profile_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_agree),
        cmocka_unit_test(coarse_rows_are_near),
        cmocka_unit_test(bounds_rank_as_all_scores_do),
        cmocka_unit_test(bounds_are_narrow),
    };

    return cmocka_run_group_tests(tests, make_models, free_models);
}
