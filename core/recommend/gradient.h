/*
 * gradient.h: rows of a side of the factorisation by three steps of conjugate gradient from where they are (Takacs,
 * Pilaszy, Tikk, 2011). For factors.c.
 *
 * Each step passes over a row's pairs, and what costs is to bring the rows of the fixed side that these name. A few
 * short rows go through all steps together, so that what they bring stays in a core's own cache. Rows too long for
 * that go through each pass side by side, all of them over the same block of the fixed side at a time, which stays in
 * the cache that the cores share. The results are the same to the bit: a row's sums run over its pairs in their order.
 */
#ifndef AIGC_RECOMMEND_GRADIENT_H
#define AIGC_RECOMMEND_GRADIENT_H

#include "base/threads.h"
#include "recommend/side.h"

enum {
    GRADIENT_ROWS = 24,         /* short rows together, at most, so that their dense part is a product of matrices */
    GRADIENT_OWN = 512 << 10,   /* bytes of fixed rows that stay in a core's own cache, about */
    GRADIENT_SHARED = 16 << 20, /* and in the one that cores share */
};

/* Rows that go through the passes together. */
typedef struct gradient {
    const uint32_t *rows; /* [n] */
    uint32_t n;
    int pass;          /* 0: what is left of b - A x; then the steps */
    float *r, *p, *ap; /* [n][d] */
    float *rr;         /* [n] r.r */
    double *curvature; /* [n] the last step's p'Ap, as far as pairs make it */
    uint64_t *next;    /* [n] first pair of the blocks that are still to come */
    uint32_t block;    /* of the fixed side, of the pass */
    size_t room;       /* rows that there is memory for */
} gradient;

/* Whether a row is too long to go through with others in a core's own cache. */
bool gradient_is_long(const factor_side *s, uint32_t row);

/* Floats of scratch that gradient_short() needs. */
size_t gradient_scratch(size_t d);
/* n <= GRADIENT_ROWS rows, on one thread. */
void gradient_short(const factor_side *s, const uint32_t *rows, uint32_t n, float *scratch);

/* Room for long rows side by side: `most` or as many as are reasonable. False if memory is out. */
bool gradient_open(gradient *g, size_t d, size_t most);
void gradient_close(gradient *g, size_t d);
size_t gradient_bytes(const gradient *g, size_t d);
/* Takes up to n long rows; returns how many. `rows` must live until they are done. */
uint32_t gradient_take(gradient *g, const uint32_t *rows, uint32_t n);
/* Works on what was taken, for about so many operations. True when it is done. */
bool gradient_step(gradient *g, const factor_side *s, thread_pool *pool, double operations);

#endif
