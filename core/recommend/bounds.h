/*
 * bounds.h: the best items for a query, without the exact scores of all. What is cheap of a score (rows of weights,
 * what is the same for everybody) is computed exactly for each item; the products with factors, directions and
 * embeddings from one byte an element (coarse.h), which gives a bound that no score exceeds. Items are then looked at
 * exactly for as long as their bound reaches the list. The list and its scores are, to the last bit, those of looking
 * at all items: tests/unit/test_recommend_bounds.c. Used by ranking.c.
 */
#ifndef AIGC_RECOMMEND_BOUNDS_H
#define AIGC_RECOMMEND_BOUNDS_H

#include "recommend/bounds_kernels.h"
#include "recommend/profile.h"

enum { BOUND_PARTS = 3 };

/* A product with the rows of all items. */
typedef struct bound_part {
    const uint16_t *rows; /* [n_items][d] */
    const coarse_rows *coarse;
    size_t d;
    const float *vector; /* [d] */
    int16_t *query;      /* [coarse_width(d)] the same, rounded to step * whole number */
    float weight, cold;  /* what the product counts, and what it counts for items without events */
    bound_terms terms;
} bound_part;

typedef struct bounds {
    const profile *p;
    const bound_kernels *k;
    uint32_t n;           /* items */
    struct spare *memory; /* of the three arrays */
    float *base;          /* [n, padded] the exact part of scores */
    float *score; /* [n, padded] no less than the score; the score itself where that is known. -INFINITY: not ranked */
    float *most;  /* [blocks] largest score of each, at first */
    bound_part parts[BOUND_PARTS];
    int n_parts;
    bool sharp;     /* scores are no more those of the rows' lengths, where that matters */
    float *vectors; /* of directions and embeddings */
} bounds;

/* Errors: AIGC_E_MEMORY. The caller may then set scores to -INFINITY. */
aigc_status bounds_open(bounds *b, const profile *p, aigc_error *err);
void bounds_close(bounds *b);

/* The first n items, as rank_best() would give them from exact scores, which are afterwards in b->score. */
size_t bounds_best(bounds *b, size_t n, uint64_t seed, uint32_t **order, bool *ok);

/* The exact score of an item that may be ranked. */
float bounds_exact(const bounds *b, uint32_t item);

#endif
