/*
 * aigc_recommend.h: recommendation: a catalogue, its users and what they did in, ranked items out. Included by aigc.h.
 *
 * A fit learns a model. The host puts in items, users and events (any of which may be missing), then steps:
 *
 *     aigc_fit *fit;
 *     aigc_fit_options fo = aigc_fit_defaults();
 *     aigc_fit_create(&fo, &fit, err);
 *     aigc_fit_add_items(fit, items, n_items, err);            in any number of calls
 *     aigc_fit_add_users(fit, users, n_users, err);
 *     aigc_fit_user(fit, key, &user, err); aigc_fit_item(fit, key, &item, err);   keys of events to numbers
 *     aigc_fit_add_events(fit, events, n_events, err);
 *     do
 *         status = aigc_fit_step(fit, &progress, err);         some tens of milliseconds each
 *     while (status == AIGC_OK && !progress.done);
 *     aigc_fit_image(fit, &image, &size, err);
 *
 * The model is one block of bytes without pointers: keep it in a file, a large object, shared memory. It is used in
 * place, by any number of processes, and may be hostile: opening costs the same for any size, and whatever is read from
 * it later is checked when it is read.
 *
 *     aigc_recommender *model;
 *     aigc_recommender_open(image, size, &model, err);
 *     aigc_query query = aigc_query_defaults();
 *     query.events = what the person did; query.interests = ...; query.k = 10;
 *     aigc_recommend(model, &query, &ranking, err);
 *     n = aigc_ranking_results(ranking, &results);
 *     aigc_ranking_free(ranking);
 *
 * Users are not in the model: whoever asks is folded in from their events and profile at query time, so what they did
 * a second ago counts, and somebody new is served like somebody known. What depends on rows that a host may not show
 * (row security, deletions) is settled between ranking and result: see aigc_ranking_more().
 *
 * Items and users are numbered from 0 in the order in which they were added. Same data in the same order, same
 * options and seed: same image, at any number of threads (on the same processor and OpenBLAS). Same image, same query:
 * same ranking. Text is UTF-8; strings are copied unless said otherwise.
 */
#ifndef AIGC_RECOMMEND_H
#define AIGC_RECOMMEND_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what goes in ------------------------------------------------------------------------------------------- */

typedef struct aigc_string {
    const char *data; /* not NUL-terminated; may be NULL if len is 0 */
    size_t len;
} aigc_string;

typedef enum aigc_value_kind {
    AIGC_VALUE_TEXT,   /* a category: city, gender, language; compared without regard to case */
    AIGC_VALUE_NUMBER, /* a quantity: age, price; in bands of quantiles. Items of near numbers are alike */
    AIGC_VALUE_POINT   /* a place, in degrees */
} aigc_value_kind;

/* One value of one attribute. A list has several entries of the same name. NaN and infinite numbers, and points that
 * are no place on Earth, are taken as absent. */
typedef struct aigc_attribute {
    aigc_string name;
    aigc_value_kind kind;
    aigc_string text;
    double number;
    double latitude, longitude;
} aigc_attribute;

typedef struct aigc_item {
    aigc_string key;          /* unique; what aigc_recommender_key() gives back */
    const aigc_string *texts; /* [n_texts]: title, body ... */
    size_t n_texts;
    const aigc_string *tags; /* [n_tags]: each counts as a whole and as its words */
    size_t n_tags;
    const aigc_attribute *attributes; /* [n_attributes] */
    size_t n_attributes;
    const float *embedding; /* [n_embedding of the options], or NULL */
    double time;            /* when it appeared, in seconds from any fixed point; NaN: unknown */
} aigc_item;

typedef struct aigc_user {
    aigc_string key;
    const aigc_attribute *attributes; /* [n_attributes] */
    size_t n_attributes;
} aigc_user;

/* Somebody did something with an item. Weights of the same user and item add up; larger is more. 0, NaN and infinity
 * are passed over; a sum below 0 is a dislike: it is no evidence of interest. All three are counted (aigc_fit_info). */
typedef struct aigc_event {
    uint32_t user, item;
    float weight; /* 1 if the data has none */
    double time;  /* seconds, NaN: unknown */
} aigc_event;

#define AIGC_NO_ITEM UINT32_MAX

/* ---- fitting ------------------------------------------------------------------------------------------------- */

typedef struct aigc_fit aigc_fit;

typedef enum aigc_fit_weights {
    AIGC_WEIGHTS_LOG,    /* log2(1 + w / median of all w): a usual event weighs 1 */
    AIGC_WEIGHTS_BINARY, /* every event weighs 1 */
    AIGC_WEIGHTS_PLAIN   /* as they are */
} aigc_fit_weights;

typedef enum aigc_fit_solver {
    AIGC_SOLVER_AUTO,    /* what is fastest at equal quality */
    AIGC_SOLVER_EXACT,   /* Cholesky */
    AIGC_SOLVER_GRADIENT /* three steps of conjugate gradient from the last solution */
} aigc_fit_solver;

typedef enum aigc_holdout {
    AIGC_HOLDOUT_RANDOM, /* of each held-out user, a random fifth of the events is hidden */
    AIGC_HOLDOUT_TIME    /* the latest fifth */
} aigc_holdout;

enum { AIGC_METRIC_CUTOFFS = 4, AIGC_MAX_FACTORS = 2048 };

typedef struct aigc_fit_options {
    int n_factors;         /* of the factorisation, 1 to AIGC_MAX_FACTORS; 0: chosen by the size of the data */
    int n_iterations;      /* 0: chosen */
    double regularization; /* iALS lambda; 0: chosen on the hold-out */
    double unobserved;     /* iALS alpha_0, weight of what nobody did; 0: chosen on the hold-out */
    aigc_fit_solver solver;
    aigc_fit_weights weights;
    int ease_items;       /* most items that item-to-item weights (EASE) are computed for: the most popular; 0: none */
    double ease_lambda;   /* 0: chosen on the hold-out */
    int n_latent;         /* dimensions of the latent projection of texts; 0: chosen */
    int n_embedding;      /* dimensions of the items' own embeddings; 0: there are none */
    double half_life;     /* of popularity and freshness, in seconds; 0: a tenth of the time that the events span */
    int holdout_users;    /* users on whom the blend is learned; 0: chosen; -1: none, equal shares */
    aigc_holdout holdout; /* how events are hidden to learn the blend and to evaluate */
    int evaluate_users;   /* > 0: no model but figures: aigc_fit_metrics() on so many users kept out of everything */
    int cutoffs[AIGC_METRIC_CUTOFFS]; /* the k of recall@k and NDCG@k; 0: none */
    uint64_t seed;
    int n_threads;                          /* that compute, the caller's included; 0: one per core, at most 8 */
    const volatile sig_atomic_t *interrupt; /* ends a step with AIGC_INTERRUPTED, nothing lost; may be NULL */
} aigc_fit_options;

/* EASE up to 8000 items, log weights, random hold-out, cutoffs 20, 50, 100, seed 0, the rest chosen. */
aigc_fit_options aigc_fit_defaults(void);

/* Errors: AIGC_E_ARGUMENT names the option and its value. */
aigc_status aigc_fit_create(const aigc_fit_options *options, aigc_fit **out, aigc_error *err);
void aigc_fit_destroy(aigc_fit *fit); /* NULL is allowed */

/* Adding is over with the first step. An item or user that was made from a key alone (aigc_fit_item, aigc_fit_user)
 * may be described once later. Errors: AIGC_E_ARGUMENT for a key that was described before (names it) or an embedding
 * that is not finite, AIGC_E_TEXT for text that is not UTF-8 (keys are bytes), AIGC_E_LIMIT, AIGC_E_MEMORY; items
 * before the one at fault have been added. */
aigc_status aigc_fit_add_items(aigc_fit *fit, const aigc_item *items, size_t n, aigc_error *err);
aigc_status aigc_fit_add_users(aigc_fit *fit, const aigc_user *users, size_t n, aigc_error *err);

/* The number of a key, new if need be. */
aigc_status aigc_fit_item(aigc_fit *fit, aigc_string key, uint32_t *item, aigc_error *err);
aigc_status aigc_fit_user(aigc_fit *fit, aigc_string key, uint32_t *user, aigc_error *err);
/* The number of a key, or AIGC_NO_ITEM. */
uint32_t aigc_fit_find_item(const aigc_fit *fit, aigc_string key);

/* 16 bytes each are kept until the first step. Errors: AIGC_E_ARGUMENT for a number that no item or user has. */
aigc_status aigc_fit_add_events(aigc_fit *fit, const aigc_event *events, size_t n, aigc_error *err);

typedef struct aigc_fit_progress {
    const char
        *phase; /* "events", "words", "item weights", "factors", "blend", "image" ...; lives as long as the fit */
    uint64_t step, n_steps; /* of this phase */
    double fraction;        /* of the whole fit, 0 to 1, never falling */
    bool done;
} aigc_fit_progress;

/* One bounded piece of work (some tens of milliseconds per thread; with an interrupt flag it ends sooner once that is
 * set). After `done` it does nothing. Errors: AIGC_E_MEMORY, AIGC_INTERRUPTED (call again to go on), AIGC_E_LIMIT. */
aigc_status aigc_fit_step(aigc_fit *fit, aigc_fit_progress *progress, aigc_error *err);

/* The finished model, valid until the fit is destroyed. Errors: AIGC_E_ARGUMENT if it is not done or only evaluates. */
aigc_status aigc_fit_image(const aigc_fit *fit, const void **image, size_t *size, aigc_error *err);

typedef struct aigc_fit_info {
    uint32_t n_items, n_users;
    uint64_t n_events;     /* given */
    uint64_t n_pairs;      /* different (user, item) with a positive weight: what is learned from */
    uint64_t n_zero;       /* events passed over: weight 0, */
    uint64_t n_not_finite; /* or NaN or infinite */
    uint64_t n_negative;   /* pairs whose weights add up to less than 0 */
    uint64_t n_words;
    int n_factors, n_latent;
    uint32_t ease_items;
    double regularization, unobserved, ease_lambda; /* as chosen */
    size_t peak_bytes;                              /* most that the fit has held */
} aigc_fit_info;

void aigc_fit_describe(const aigc_fit *fit, aigc_fit_info *info);

/* How good a ranker is on the held-out users. Ranked: all items but those that the fit has seen the user with. Recall
 * is divided by min(k, hidden items); users with nothing hidden are left out. */
typedef struct aigc_metrics {
    const char *ranker; /* "blend", "popularity", "factors", "item weights", "words", "attributes" */
    int cutoffs[AIGC_METRIC_CUTOFFS];
    double recall[AIGC_METRIC_CUTOFFS], ndcg[AIGC_METRIC_CUTOFFS];
    double ndcg_error[AIGC_METRIC_CUTOFFS]; /* standard error of the mean over users */
    double coverage;                        /* part of the catalogue that is among somebody's first cutoffs[0] */
    uint32_t n_users;
} aigc_metrics;

/* Rankers compared when evaluate_users > 0, the blend first. Returns how many; *metrics lives as long as the fit. */
size_t aigc_fit_metrics(const aigc_fit *fit, const aigc_metrics **metrics);

/* ---- models -------------------------------------------------------------------------------------------------- */

typedef struct aigc_recommender aigc_recommender;

/* The image must stay where it is, unchanged, until the recommender is closed, and begin at a multiple of 64 bytes.
 * Takes no memory that grows with it. Errors: AIGC_E_FORMAT, AIGC_E_UNSUPPORTED (another version), AIGC_E_ARGUMENT
 * (alignment). A recommender may be used by several threads. */
aigc_status aigc_recommender_open(const void *image, size_t size, aigc_recommender **out, aigc_error *err);
void aigc_recommender_close(aigc_recommender *model); /* NULL is allowed */

typedef struct aigc_recommender_info {
    uint32_t version;
    uint32_t n_items, n_users; /* users and events that it was fitted from */
    uint64_t n_events, n_pairs, n_words;
    uint32_t n_factors, n_latent, n_embedding, n_attributes;
    uint32_t n_new_items;  /* added by aigc_recommender_extend() */
    uint64_t ease_weights; /* item-to-item weights that are kept */
    double last_event;     /* time of the latest one, NaN if none has a time */
    size_t bytes;
} aigc_recommender_info;

void aigc_recommender_describe(const aigc_recommender *model, aigc_recommender_info *info);

/* The number of the item with this key, or AIGC_NO_ITEM. */
uint32_t aigc_recommender_find(const aigc_recommender *model, aigc_string key);
/* An item's key, in the image. False if there is no such item. */
bool aigc_recommender_key(const aigc_recommender *model, uint32_t item, aigc_string *key);

typedef struct aigc_attribute_info {
    aigc_string name; /* in the image */
    aigc_value_kind kind;
    bool of_items, of_users; /* where values of it were seen */
    uint32_t n_values;       /* categories or bands */
} aigc_attribute_info;

/* The i-th attribute that the model knows, 0 <= i < n_attributes; false at the end. */
bool aigc_recommender_attribute(const aigc_recommender *model, uint32_t i, aigc_attribute_info *info);

/* A new image with more items and events, without a fit: items new to the model are ranked by their content at once;
 * items whose key it has get the new description (what was learned from events stays); events count for popularity.
 * Their `user` is not looked at; their items are numbered as in the new image: an item that the model has keeps its
 * number, new ones follow in the order given. *image is malloc'd (aigc_free()), aligned. The model may be closed
 * afterwards. It takes about as long as copying the model twice; interrupt (may be NULL) ends it with AIGC_INTERRUPTED,
 * and nothing is left of it. */
aigc_status aigc_recommender_extend(const aigc_recommender *model, const aigc_item *items, size_t n_items,
                                    const aigc_event *events, size_t n_events,
                                    const volatile sig_atomic_t *interrupt, void **image, size_t *size,
                                    aigc_error *err);

/* ---- ranking ------------------------------------------------------------------------------------------------- */

typedef struct aigc_interest {
    aigc_string text; /* words or a tag */
    double weight;    /* 1 is usual; below 0: rather not */
} aigc_interest;

typedef struct aigc_query {
    const aigc_event *events; /* [n_events] what the person did; `user` is not looked at */
    size_t n_events;
    const uint32_t *likes; /* [n_likes] items: like an event of weight 1 each */
    size_t n_likes;
    const uint32_t *dislikes; /* [n_dislikes] never ranked, and what is like them ranks lower */
    size_t n_dislikes;
    const aigc_interest *interests; /* [n_interests] */
    size_t n_interests;
    const float *embedding;           /* [n_embedding] of the interests, or NULL */
    const aigc_attribute *attributes; /* [n_attributes] age, city, location ... of the person */
    size_t n_attributes;
    double at;             /* when things are new, or lately popular, in seconds; NaN: when the last event was */
    const uint32_t *among; /* [n_among] rank only these, or NULL: all */
    size_t n_among;
    const uint32_t *exclude; /* [n_exclude] never ranked */
    size_t n_exclude;
    const uint32_t
        *unknown_terms; /* [n_unknown_terms] that count as if no item had them: aigc_recommender_interest_terms() */
    size_t n_unknown_terms;
    bool keep_seen;   /* rank items of events and likes too */
    size_t k;         /* results; fewer if there are fewer items */
    double diversity; /* 0 to 1: how much the results shall differ from each other (maximal marginal relevance) */
    uint64_t seed;    /* orders equal scores: 0 by item number, else at random */
    bool reasons;
    bool against; /* reasons also tell everything that speaks against an item, not only what the person does not want */
    bool likeness; /* only what the person did, likes and wants counts: not popularity and freshness */
    const volatile sig_atomic_t *interrupt; /* ends the ranking with AIGC_INTERRUPTED; may be NULL */
} aigc_query;

/* k 10, diversity 0, reasons, at NaN, nothing else. */
aigc_query aigc_query_defaults(void);

/*
 * For hosts that may not show every item: whether the model knows a word must not tell somebody that a hidden item has
 * it. These are the terms that an interest, or the value of an attribute, comes to, and the items that have them; a
 * term that no item has which may be shown goes into unknown_terms.
 */
enum { AIGC_TERMS_MOST = 33 };
size_t aigc_recommender_interest_terms(const aigc_recommender *model, aigc_string interest,
                                       uint32_t terms[AIGC_TERMS_MOST]);
size_t aigc_recommender_attribute_terms(const aigc_recommender *model, const aigc_attribute *attribute,
                                        uint32_t terms[AIGC_TERMS_MOST]);
/* The first items, at most n, that have the term. Returns how many there are in all. */
size_t aigc_recommender_term_items(const aigc_recommender *model, uint32_t term, uint32_t *items, size_t n);

typedef enum aigc_reason_kind {
    AIGC_REASON_INTEREST,   /* index: which of query.interests; -1: query.embedding, and what is only near to some */
    AIGC_REASON_EVENT,      /* index: which of query.events: the item is like this one; -1: like the others */
    AIGC_REASON_LIKE,       /* index: which of query.likes; -1: the others */
    AIGC_REASON_DISLIKE,    /* index: which of query.dislikes; a negative share if it resembles it, else it differs */
    AIGC_REASON_PEOPLE,     /* people who did the same did this; index -1, or AIGC_NOBODY_YET */
    AIGC_REASON_ATTRIBUTE,  /* people with the same attribute did this; index: which of query.attributes */
    AIGC_REASON_MATCH,      /* the item has the same attribute, or is near; index: which of query.attributes */
    AIGC_REASON_POPULARITY, /* index -1 */
    AIGC_REASON_FRESHNESS   /* index -1 */
} aigc_reason_kind;

/* Nobody has done anything with this item: what it is about lets expect it of people who did the same. */
enum { AIGC_NOBODY_YET = -2 };

typedef struct aigc_reason {
    aigc_reason_kind kind;
    int32_t index;
    double share; /* of what speaks for the item: positive shares add up to 1. Below 0: it speaks against it */
} aigc_reason;

typedef struct aigc_recommendation {
    uint32_t item;
    double score; /* comparable between items of the same query; does not depend on which other items exist */
    const aigc_reason *reasons; /* [n_reasons] largest share first; lives as long as the ranking */
    size_t n_reasons;
} aigc_recommendation;

typedef struct aigc_ranking aigc_ranking;

/* Scores all items and selects the first k: for hosts that may show everything. Errors: AIGC_E_ARGUMENT names the
 * field; items that the model does not have and values that are not finite are passed over; AIGC_E_MEMORY,
 * AIGC_INTERRUPTED. */
aigc_status aigc_recommend(const aigc_recommender *model, const aigc_query *query, aigc_ranking **out, aigc_error *err);

/*
 * The same in parts, for hosts that must look whether the person may see an item:
 *
 *     aigc_ranking_open(model, &query, &ranking, err);
 *     do {
 *         aigc_ranking_more(ranking, 64, &items, &n, err);      the next best ones, best first
 *         for (those of items[0..n) that may not be shown)
 *             aigc_ranking_hide(ranking, item);
 *     } while (n > 0 && aigc_ranking_pool(ranking) < aigc_ranking_wanted(ranking));
 *     aigc_ranking_select(ranking, err);
 *     n = aigc_ranking_results(ranking, &results);
 *
 * aigc_ranking_open() scores; the query and what it points to must live until aigc_ranking_select() returns.
 */
aigc_status aigc_ranking_open(const aigc_recommender *model, const aigc_query *query, aigc_ranking **out,
                              aigc_error *err);
/* Puts up to n more items into the pool. *items is valid until the next call; *n_items 0: there are no more. */
aigc_status aigc_ranking_more(aigc_ranking *ranking, size_t n, const uint32_t **items, size_t *n_items,
                              aigc_error *err);
void aigc_ranking_hide(aigc_ranking *ranking, uint32_t item); /* out of the pool */
size_t aigc_ranking_pool(const aigc_ranking *ranking);        /* items in the pool that are not hidden */
size_t aigc_ranking_wanted(const aigc_ranking *ranking);      /* pool that k and diversity ask for */
/* Chooses k items of the pool and finds their reasons. */
aigc_status aigc_ranking_select(aigc_ranking *ranking, aigc_error *err);
size_t aigc_ranking_results(const aigc_ranking *ranking, const aigc_recommendation **results);
/* Whether the model knows a word of the i-th interest, or its embedding stands for it. */
bool aigc_ranking_understood(const aigc_ranking *ranking, size_t interest);
void aigc_ranking_free(aigc_ranking *ranking); /* NULL is allowed */

/*
 * The first k items of many queries at once, on several threads: what aigc_recommend() would rank without diversity and
 * reasons. items [n][k], AIGC_NO_ITEM where there are fewer; scores [n][k], or NULL. k, diversity, reasons and
 * interrupt of the queries are not looked at: k and interrupt (may be NULL) are those given here. Products are summed
 * in another order than for one query: scores are equal up to rounding. Errors: as aigc_recommend().
 */
aigc_status aigc_recommend_all(const aigc_recommender *model, const aigc_query *queries, size_t n, size_t k,
                               int n_threads, const volatile sig_atomic_t *interrupt, uint32_t *items, float *scores,
                               aigc_error *err);

/*
 * The same in two parts, for who ranks the same people more than once: folding them in, which is most of the work, and
 * ranking them. Model and queries (with what they point to) must live as long as the people. Memory: n_factors floats
 * for each. People may be ranked by one thread at a time.
 */
typedef struct aigc_people aigc_people;
aigc_status aigc_people_open(const aigc_recommender *model, const aigc_query *queries, size_t n, int n_threads,
                             const volatile sig_atomic_t *interrupt, aigc_people **out, aigc_error *err);
aigc_status aigc_people_rank(aigc_people *people, size_t k, uint32_t *items, float *scores, aigc_error *err);
void aigc_people_close(aigc_people *people); /* NULL is allowed */

/*
 * Many queries at once, one to a thread, each exactly as aigc_recommend() ranks it, diversity included: the same items
 * in the same order with the same scores. For who shows the results beside those of single queries, and for catalogues
 * of many items, where it is several times as quick as aigc_recommend_all(), since a query looks at few of them
 * exactly; with a few thousand items they are equally quick. k, reasons (there are none) and interrupt as above.
 * done [n], or NULL: queries of which it is true are passed over, and it becomes true of those that have been ranked,
 * so that a call after AIGC_INTERRUPTED goes on where that one ended. Memory: 8 bytes an item for each thread. Errors:
 * as aigc_recommend(), of one of the queries.
 */
aigc_status aigc_recommend_each(const aigc_recommender *model, const aigc_query *queries, size_t n, size_t k,
                                int n_threads, const volatile sig_atomic_t *interrupt, bool *done, uint32_t *items,
                                float *scores, aigc_error *err);

/*
 * The same in two parts, for who has something else to do meanwhile, such as reading what the next queries are made of:
 * threads other than the caller's begin (with n_threads 1 nothing does), the caller comes to help, and it is over when
 * aigc_each_finish() returns. Model, queries (with what they point to), done, items and scores must live and be left
 * alone until then, or until aigc_each_free(), which abandons what is not yet ranked: that takes as long as one query.
 */
typedef struct aigc_each aigc_each;
aigc_status aigc_each_start(const aigc_recommender *model, const aigc_query *queries, size_t n, size_t k, int n_threads,
                            const volatile sig_atomic_t *interrupt, bool *done, uint32_t *items, float *scores,
                            aigc_each **out, aigc_error *err);
aigc_status aigc_each_finish(aigc_each *each, aigc_error *err);
void aigc_each_free(aigc_each *each); /* NULL is allowed */

/* Items like this one: a query of one like, by likeness. among, exclude, k, diversity, seed, at and interrupt of the
 * query count. */
aigc_status aigc_similar(const aigc_recommender *model, uint32_t item, const aigc_query *query, aigc_ranking **out,
                         aigc_error *err);

#endif
