/*
 * folding.h: many people folded into a model together, for batch.c: the equations of factors.h, with the model's items
 * as the fixed side.
 *
 * Conjugate gradient until nothing more is left than rounding, preconditioned by what all of them share: the inverse of
 * alpha0 V'V + lambda (n + alpha0 N) I for somebody of the model's mean number of items n. What a person did is little
 * beside that, so that half a dozen steps do, each of which costs a fraction of forming the matrix and its Cholesky
 * factor.
 */
#ifndef AIGC_RECOMMEND_FOLDING_H
#define AIGC_RECOMMEND_FOLDING_H

#include "base/threads.h"
#include "recommend/profile.h"

enum { FOLDING_ROWS = 24 };

typedef struct folding {
    const model *m;
    const dense_kernels *k;
    float *gram, *inverse; /* [d * d] as dense_pack() has them; NULL: people are to be folded in one by one */
} folding;

/* What people share, made on several threads. Where it can't be inverted, or is not worth while for n people, f->gram
 * is NULL. False if memory is out. */
bool folding_open(folding *f, const model *m, size_t n, thread_pool *pool);
void folding_close(folding *f);

/* People on their way through it, of one thread. */
typedef struct folding_group {
    int n;
    float *x, *r, *z, *p, *ap; /* [FOLDING_ROWS][d] */
    uint32_t *item;            /* of all of them, one person's after the other's */
    float *weight, *wanted;    /* wanted: the weight of what they like, 0 of the rest */
    size_t start[FOLDING_ROWS + 1];
    double rz[FOLDING_ROWS], least[FOLDING_ROWS];
    bool done[FOLDING_ROWS];
} folding_group;

/* False if memory is out. */
bool folding_group_open(folding_group *g, const folding *f);
void folding_group_close(folding_group *g);

/* A person more. Their place in the group. */
int folding_add(folding_group *g, const past *history, size_t n);
/* All that were added: g->x are their vectors, and g->done[i] is false for who has to be folded in by themselves.
 * folding_clear() makes the group empty again. */
void folding_solve(folding_group *g, const folding *f);
void folding_clear(folding_group *g);

#endif
