/*
 * context.h: what is known of an item besides who did it and what it is about: how many people, how lately, how old it
 * is, and which attributes its people share.
 */
#ifndef AIGC_RECOMMEND_CONTEXT_H
#define AIGC_RECOMMEND_CONTEXT_H

#include "base/threads.h"
#include "recommend/catalogue.h"
#include "recommend/model.h"

/* Bands of numbers, and the tables of values: made once from all users. */
typedef struct bands {
    model_attribute *attributes; /* [n_attributes] */
    float *lower;                /* lower ends, one attribute after the other */
    uint32_t n_lower;
    key_table values; /* of text attributes, and "attribute=band 3" */
    uint64_t *start;  /* [n_users + 1] */
    uint32_t *value;  /* each user's values */
} bands;

aigc_status bands_make(bands *b, const catalogue *c, aigc_error *err);
void bands_free(bands *b);

typedef struct item_context {
    float *count, *popularity, *recent, *fresh; /* [n_items] */
    model_rows people;
    double mean_count, mean_recent;
    struct context_maker *maker; /* while it is being made */
} item_context;

/* users: the number of the user of each row of by_user. half_life > 0 in seconds. What is given must live as long as it
 * is being made. False if memory is out; context_free() is due in any case. */
bool context_begin(item_context *x, const catalogue *c, const bands *b, const pairs *by_user, const uint32_t *users,
                   double half_life, thread_pool *pool);
/* A bounded piece. Errors: AIGC_E_MEMORY. */
aigc_status context_step(item_context *x, bool *done, aigc_error *err);
void context_free(item_context *x);

/* log((n + 1) / (mean + 1)) */
float popularity_of(double n, double mean);
/* 2^-(age / half_life), 1 for what is newer than last; 0 if the time is not known. */
float freshness_of(double time, double last, double half_life);

#endif
