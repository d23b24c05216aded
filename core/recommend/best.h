/*
 * best.h: the best items of many people at once, by the products of their vectors with those of all items. Used by the
 * trial of factors and by aigc_recommend_all().
 *
 * People stand side by side in groups of BEST_LANES, so that a group's scores of an item are two vectors, compared at
 * once with what each of these people needs for their list: there is no table of scores. Items are taken longest
 * first, and by Cauchy and Schwarz a chunk of items whose vectors are too short for any list of the group is passed
 * over. That changes no result: what is passed over could not have been listed, and the order of a list is total.
 */
#ifndef AIGC_RECOMMEND_BEST_H
#define AIGC_RECOMMEND_BEST_H

#include "recommend/dense.h"
#include "recommend/heap.h"

enum { BEST_LANES = 32, BEST_CHUNK = 96, BEST_EXTRAS = 8 };

typedef struct best_items {
    const dense_kernels *k;
    uint32_t n;
    size_t d;
    const float *rows;    /* [n][d], or NULL and */
    const uint16_t *half; /* [n][d] */
    const float *extra;   /* [n_extra][n] scores that do not depend on the person */
    size_t n_extra;
    uint32_t *order, *place; /* [n] longest first, and where each item stands in that */
    float *length;           /* [chunks] of the longest row */
    float *most;             /* [chunks][n_extra] largest of each */
} best_items;

/* rows, half and extra must live as long. False if memory is out. */
bool best_items_open(best_items *x, const dense_kernels *k, uint32_t n, size_t d, const float *rows,
                     const uint16_t *half, const float *extra, size_t n_extra);
void best_items_close(best_items *x);

/* The people of a group. Lanes that nobody stands in have k 0. */
typedef struct best_group {
    size_t k;     /* items of a list */
    float *panel; /* [d + n_extra][BEST_LANES] */
    float length[BEST_LANES];
    int extra[BEST_LANES];         /* which of the items' extra scores count, -1: none */
    const float *base[BEST_LANES]; /* [n items] a person's own scores, added to the products; NULL: none */
    uint64_t seed[BEST_LANES];     /* orders equal scores, as in heap.h */
    bool taken[BEST_LANES];
    uint32_t *excluded; /* [n items] by place; bit l: not for lane l */
    candidate *heap;    /* [BEST_LANES][k] */
    size_t n[BEST_LANES];
    float least[BEST_LANES];
    float *rows, *scores; /* of a chunk */
} best_group;

bool best_group_open(best_group *g, const best_items *x, size_t k);
void best_group_close(best_group *g);
/* Empties all lanes. */
void best_group_clear(best_group *g, const best_items *x);
/* Somebody into lane l: their vector [d] (NULL: zeros), extra scores and seed. */
void best_group_set(best_group *g, const best_items *x, int l, const float *vector, int extra, uint64_t seed);
void best_group_exclude(best_group *g, const best_items *x, int l, uint32_t item);
/* All items but these. */
void best_group_only(best_group *g, const best_items *x, int l, const uint32_t *items, size_t n);

/* The lists of all who stand in the group: heap[l * k ..] has n[l] of them in order, best first. */
void best_rank(const best_items *x, best_group *g);

#endif
