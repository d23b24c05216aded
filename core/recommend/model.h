/*
 * model.h: a fitted model as it lies in its image, and how an image is written.
 *
 * An image is a header, a table of sections and the sections, each at a multiple of 64 bytes, in the byte order of the
 * machine; its size is one, too, so that loops may read whole vectors. Sections are arrays; what they are is said at
 * `model` below. Opening checks that every section lies inside the image and has the size that the counts ask for, so
 * that any index below a count may be read. What an array contains (starts of rows, numbers of items) is not looked at
 * then, and is checked wherever it is used: model_row().
 */
#ifndef AIGC_RECOMMEND_MODEL_H
#define AIGC_RECOMMEND_MODEL_H

#include "aigc.h"
#include "base/threads.h"
#include "recommend/coarse.h"

enum { MODEL_VERSION = 4, MODEL_ALIGNMENT = 64 };

/* What scores are made of. */
typedef enum score_signal {
    SIGNAL_FACTORS,    /* factorisation, folded in */
    SIGNAL_ITEMS,      /* item-to-item weights */
    SIGNAL_WORDS,      /* terms shared with what the person did */
    SIGNAL_LATENT,     /* nearness to it in the latent projection of the terms */
    SIGNAL_EMBEDDING,  /* nearness to it of the items' own embeddings */
    SIGNAL_POPULARITY, /* log of people */
    SIGNAL_RECENT,     /* the same, decayed with time */
    SIGNAL_FRESH,      /* the item's own age */
    SIGNAL_PEOPLE,     /* attributes that those who did it share with the person */
    SIGNAL_MATCH,      /* attributes that the item shares with the person */
    SIGNAL_NEAR,       /* distance */
    SIGNALS
} score_signal;

/* Blends are learned for histories of different lengths: 0, 1 to 2, 3 to 9, 10 to 29, 30 and more; and for somebody of
 * whom nothing is known, not even an attribute: there, only what is the same for everybody can rank. */
enum { BLENDS = 6, BLEND_NOBODY = 5 };
int blend_of(size_t n_events);

typedef struct model_numbers {
    uint32_t n_items, n_users, n_terms, n_attributes, n_values, n_new_items;
    uint32_t n_factors, n_latent, n_embedding; /* padded to whole vectors */
    uint32_t true_factors, true_latent, true_embedding;
    uint32_t item_slots, term_slots, value_slots;
    uint32_t has_times, n_bands;
    uint64_t n_events, n_pairs;
    double regularization, unobserved; /* of the factorisation */
    double last_time, half_life;
    double mean_count;          /* pairs of an item */
    double mean_recent;         /* the same, decayed */
    double mean_length;         /* counts of an item's terms */
    double median_weight;       /* of events: what log weights are relative to */
    uint32_t weights, reserved; /* aigc_fit_weights */
    float blend[BLENDS][SIGNALS];
    float interest_weight[BLENDS]; /* of interests, against everything else */
    float beside[BLENDS];          /* what general signals are multiplied by, beside interests */
    float cold[BLENDS];            /* what factors count for items that nobody did anything with, besides their blend */
} model_numbers;

typedef struct model_attribute {
    uint32_t kind, of_items, of_users;
    uint32_t first_band, n_bands; /* in bands, for numbers */
} model_attribute;

/* Arrays of rows: row i is [start[i], start[i + 1]). */
typedef struct model_rows {
    const uint64_t *start; /* [n_rows + 1] */
    const uint32_t *index;
    const uint16_t *weight; /* half precision */
    uint64_t n;             /* elements of index and weight */
    uint32_t n_rows;
} model_rows;

/* Keys, as in keys.h. */
typedef struct model_keys {
    const char *bytes;
    uint64_t n_bytes;
    const uint64_t *start;
    uint32_t n;
    const uint32_t *slots;
    uint32_t n_slots;
} model_keys;

typedef struct model {
    const model_numbers *n;
    model_keys items, terms, attributes, values;
    const model_attribute *attribute; /* [n_attributes] */
    const float *bands;               /* lower ends of the bands of numbers, all attributes one after the other */
    const uint16_t *factors;          /* [n_items][n_factors] */
    const float *gram;                /* [n_factors][n_factors] unobserved * V'V */
    model_rows ease;                  /* [n_items] what having i adds to others */
    model_rows docs;                  /* [n_items] terms, of length 1 */
    model_rows postings;              /* [n_terms] the same by term */
    const float *idf;                 /* [n_terms] */
    const uint16_t *latent;           /* [n_items][n_latent], of length 1 */
    const uint16_t *term_latent;      /* [n_terms][n_latent] */
    const float *latent_factors;      /* [n_latent][n_factors] directions to factors, for items without events */
    const uint16_t *embedding;        /* [n_items][n_embedding], of length 1 */
    const float *count;               /* [n_items] people */
    const float *popularity, *recent, *fresh; /* [n_items] */
    const double *time;                       /* [n_items] NaN: unknown */
    const float *place;                       /* [n_items][2] latitude, longitude; NaN: unknown */
    model_rows people;                        /* [n_values] log lift of items among those with the value */
    coarse_rows coarse_factors, coarse_latent, coarse_embedding; /* of the above, made when an image is written */
    size_t bytes;
} model;

/* Row i; empty if the image has it wrong. Returns the number of elements. Indices still need a check. */
static inline uint64_t model_row(const model_rows *rows, uint32_t i, const uint32_t **index, const uint16_t **weight)
{
    *index = rows->index;
    *weight = rows->weight;
    if (i >= rows->n_rows)
        return 0;
    uint64_t begin = rows->start[i], end = rows->start[i + 1];
    if (begin > end || end > rows->n)
        return 0;
    *index += begin;
    *weight += begin;
    return end - begin;
}

/* The weight of an index in a row whose indices should rise; 0 if it is not there. */
float model_weight(const model_rows *rows, uint32_t row, uint32_t index);

aigc_status model_open(const void *image, size_t size, model *m, aigc_error *err);

/* An image from arrays: `m` as for reading, pointing anywhere; they must live until it is written, in bounded pieces.
 * Closing hands out what was written, malloc'd and aligned, or forgets it if image is NULL. */
struct model_writer;
aigc_status model_writer_open(const model *m, struct model_writer **w, aigc_error *err);
aigc_status model_writer_step(struct model_writer *w, thread_pool *pool, bool *done, aigc_error *err);
void model_writer_close(struct model_writer *w, void **image, size_t *size);

/* Whether an item was not there, or nobody did anything with it, when the factors were fitted. */
static inline bool model_is_cold(const model *m, uint32_t item)
{
    return item >= m->n->n_items - m->n->n_new_items || !(m->count[item] > 0);
}

uint32_t model_find(const model_keys *keys, const char *data, size_t len);
/* False if the image has it wrong. */
bool model_key(const model_keys *keys, uint32_t i, aigc_string *key);

/* The lower ends of the bands of an attribute's numbers; returns how many, 0 if it has none. */
uint32_t model_bands(const model *m, aigc_string attribute, const float **lower);

/* The value that an attribute has in the tables of people: a category, or the band of a number. KEY_NONE if the model
 * does not have it. */
uint32_t model_value(const model *m, const aigc_attribute *a);

struct aigc_recommender {
    model m;
};

#endif
