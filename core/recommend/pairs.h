/* pairs.h: who did something with what, as compressed rows. A row's items rise; no pair stands twice. */
#ifndef AIGC_RECOMMEND_PAIRS_H
#define AIGC_RECOMMEND_PAIRS_H

#include "aigc.h"

/* Pairs are also read with rows and columns exchanged: then `item` holds users, and there are no times. */
typedef struct pairs {
    uint32_t n_rows, n_columns;
    uint64_t *start; /* [n_rows + 1] */
    uint32_t *item;
    float *weight;
    float *time; /* seconds from a base that the owner keeps, NaN: unknown; may be NULL */
} pairs;

/* Room for n pairs; start is zero. False if memory is out. */
bool pairs_alloc(pairs *p, uint32_t n_rows, uint32_t n_columns, uint64_t n, bool with_time);
void pairs_free(pairs *p);

static inline uint64_t pairs_n(const pairs *p)
{
    return p->start ? p->start[p->n_rows] : 0;
}

size_t pairs_bytes(const pairs *p);

/* Rows and columns exchanged. False if memory is out. */
bool pairs_transpose(const pairs *p, pairs *out);
/* The same in pieces: after the first of them `out` is filled from rows of p, all in their order, and ended. */
bool pairs_transpose_begin(const pairs *p, pairs *out);
void pairs_transpose_rows(const pairs *p, uint32_t begin, uint32_t end, pairs *out);
void pairs_transpose_end(pairs *out);

/* Some rows, in the order given: room for them, with their places, and then the rows. */
bool pairs_select_begin(const pairs *p, const uint32_t *rows, uint32_t n_rows, pairs *out);
void pairs_select_rows(const pairs *p, const uint32_t *rows, uint32_t begin, uint32_t end, pairs *out);

/* The end of as many rows from `begin` on as have about so many pairs together. */
uint32_t pairs_rows(const pairs *p, uint32_t begin, uint64_t most);

#endif
