/*
 * side.h: one side of a factorisation, solved while the other is fixed: what the equations of its rows are made of.
 * factors.c says which side and when, gradient.c and factors.c solve rows of it.
 */
#ifndef AIGC_RECOMMEND_SIDE_H
#define AIGC_RECOMMEND_SIDE_H

#include "recommend/dense.h"
#include "recommend/pairs.h"

typedef struct factor_side {
    const dense_kernels *k;
    size_t d;
    const pairs *p;       /* a row's pairs with columns */
    const float *fixed;   /* [columns][d] */
    const uint16_t *half; /* the same in half precision, for conjugate gradient */
    const float *gram;    /* [d][d] alpha0 V'V of the fixed side, both triangles */
    const float *panels;  /* the same as dense_pack() has it, for conjugate gradient */
    float *solved;        /* [rows][d] */
    double regularization, unobserved;
} factor_side;

static inline uint64_t side_pairs(const factor_side *s, uint32_t row)
{
    return s->p->start[row + 1] - s->p->start[row];
}

/* What stands on the diagonal for a row of n pairs. */
static inline float side_ridge(const factor_side *s, uint64_t n)
{
    return (float)(s->regularization * ((double)n + s->unobserved * s->p->n_columns));
}

#endif
