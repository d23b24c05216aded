/*
 * ease.h: item-to-item weights: EASE (Steck, "Embarrassingly shallow autoencoders for sparse data", 2019).
 *
 * With G = X'X (how many people two items share) and P = (G + lambda I)^-1, having item i adds B[i][j] = -P[i][j] /
 * P[j][j] to the score of j. Only the most popular items go in: time grows with their cube, memory with their square.
 * The inverse is a symmetric sweep by blocks, each step one product of matrices.
 */
#ifndef AIGC_RECOMMEND_EASE_H
#define AIGC_RECOMMEND_EASE_H

#include "base/threads.h"
#include "recommend/dense.h"
#include "recommend/model.h"
#include "recommend/pairs.h"

typedef struct ease {
    const pairs *by_user, *by_item;
    thread_pool *pool;
    const dense_kernels *k;
    uint32_t n;         /* items */
    size_t ld;          /* floats from row to row */
    uint32_t *items;    /* [n] their numbers, rising */
    uint32_t *places;   /* [n_items] place in items, or UINT32_MAX */
    float *gram;        /* [n][ld], the upper triangle; NULL once it is not needed any more */
    float *a;           /* [n][ld], the upper triangle: being inverted; then -P */
    float *diagonal;    /* [n] of -P */
    float *row, *swept; /* [EASE_BLOCK][ld] */
    float *pivot;       /* [EASE_BLOCK][EASE_BLOCK], twice */
    uint32_t next;      /* row of the gram, then of the sweep */
    bool gram_done, failed;
    size_t bytes;
} ease;

enum { EASE_BLOCK = 192 };

/* keep_gram: the inverse will be asked for again with another lambda. False if memory is out. */
bool ease_create(ease *e, const pairs *by_user, const pairs *by_item, uint32_t most_items, bool keep_gram,
                 thread_pool *pool);
void ease_free(ease *e);

/* A bounded piece of G. True when it is complete. */
bool ease_gram_step(ease *e);

/* Begins the inverse for a lambda; then pieces of it. True when it is complete; e->failed if G + lambda I is not
 * positive definite in single precision. */
void ease_begin(ease *e, double lambda);
bool ease_step(ease *e);

/* The weights as rows of a model over all items, at most `most` in all: the largest. start [n_items + 1] and what it
 * points to are malloc'd. False if memory is out. */
bool ease_rows(const ease *e, uint64_t most, model_rows *out);

#endif
