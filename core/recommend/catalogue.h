/*
 * catalogue.h: what the host put into a fit: keys, terms of items, attributes, events. Filled by the aigc_fit_add_*
 * functions; the events become pairs at the first step.
 */
#ifndef AIGC_RECOMMEND_CATALOGUE_H
#define AIGC_RECOMMEND_CATALOGUE_H

#include "base/error.h"
#include "recommend/keys.h"
#include "recommend/pairs.h"

/* How much a term of a text, of a tag's words, a whole tag and a value of an attribute count. */
#define TERM_WEIGHT_TEXT     1.0f
#define TERM_WEIGHT_TAG_WORD 1.0f
#define TERM_WEIGHT_TAG      2.0f
#define TERM_WEIGHT_VALUE    1.0f
/* Of a number, which says less of what an item is: words and interests in them must not lose by it. */
#define TERM_WEIGHT_NUMBER 0.25f

typedef struct term_count {
    uint32_t term;
    float count;
} term_count;

typedef struct catalogue_item {
    uint64_t doc; /* first of its terms in catalogue.docs */
    uint32_t n_doc;
    bool described;
    double time;
    float latitude, longitude; /* NaN: none */
} catalogue_item;

typedef struct attribute_entry {
    aigc_value_kind kind;
    bool of_items, of_users;
} attribute_entry;

/* A value of a user's attribute. */
typedef struct user_value {
    uint32_t user, attribute;
    uint32_t value; /* of catalogue.values, or KEY_NONE: a number */
    float number;
} user_value;

/* A number among an item's attributes. */
typedef struct item_value {
    uint32_t item, attribute;
    float number;
} item_value;

typedef struct stored_event {
    uint32_t user, item;
    float weight;
    float time; /* seconds from catalogue.base_time, NaN: unknown */
} stored_event;

enum { EVENT_CHUNK = 1 << 16 };

typedef struct catalogue {
    key_table item_keys, user_keys, terms, attributes, values;
    catalogue_item *items;
    size_t items_capacity;
    term_count *docs;
    size_t n_docs, docs_capacity;
    float *embeddings; /* [n_items][n_embedding] */
    size_t embeddings_capacity;
    int n_embedding;
    attribute_entry *attribute_entries;
    size_t attributes_capacity;
    bool *user_described;
    size_t users_capacity;
    user_value *user_values;
    size_t n_user_values, user_values_capacity;
    item_value *item_values;
    size_t n_item_values, item_values_capacity;
    stored_event **chunks; /* of EVENT_CHUNK events */
    size_t n_chunks, chunks_capacity;
    uint64_t n_events;
    double base_time; /* of the first event that has a time */
    double last_time; /* of the latest one */
    bool has_times;
} catalogue;

void catalogue_init(catalogue *c, int n_embedding);
void catalogue_free(catalogue *c);
void catalogue_free_events(catalogue *c);

aigc_status catalogue_item_number(catalogue *c, aigc_string key, uint32_t *item, aigc_error *err);
aigc_status catalogue_user_number(catalogue *c, aigc_string key, uint32_t *user, aigc_error *err);
aigc_status catalogue_add_item(catalogue *c, const aigc_item *item, aigc_error *err);
aigc_status catalogue_add_user(catalogue *c, const aigc_user *user, aigc_error *err);
aigc_status catalogue_add_events(catalogue *c, const aigc_event *events, size_t n, aigc_error *err);
size_t catalogue_bytes(const catalogue *c);

/* Whether a place is one on Earth. */
bool place_is_valid(double latitude, double longitude);

/* Appends the item's terms to *docs, one entry for each different term, rising. Checks its texts. */
aigc_status catalogue_item_terms(key_table *terms, const aigc_item *item, term_count **docs, size_t *n,
                                 size_t *capacity, aigc_error *err);

/* One entry for each different term of docs[first .. *n), rising; *n falls to their end. */
void catalogue_merge_terms(term_count *docs, size_t first, size_t *n);

typedef struct event_counts {
    uint64_t n_zero, n_not_finite, n_negative;
} event_counts;

/* Pairs by user being made of the events: weights of the same pair add up and are then scaled. */
typedef struct pairs_maker {
    int stage; /* counting, filling rows, sorting them, scaling */
    uint64_t next, begin, to;
    pairs p;
    event_counts counts;
    double median; /* of the weights */
    void *row;
    size_t row_capacity;
} pairs_maker;

/* A piece of it, from all zeros; *done when p is ready. Events are freed as they are read. */
aigc_status pairs_maker_step(catalogue *c, pairs_maker *m, aigc_fit_weights weights, bool *done, aigc_error *err);
void pairs_maker_free(pairs_maker *m);

/* What a sum of weights > 0 counts. */
float event_weight(aigc_fit_weights how, double weight, double median);

/* Makes room for n + 1 elements in an array that grows by doubling. */
bool array_reserve(void **array, size_t n, size_t *capacity, size_t size);

#endif
