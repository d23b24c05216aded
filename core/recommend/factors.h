/*
 * factors.h: implicit-feedback matrix factorisation by alternating least squares (iALS).
 *
 * Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets" (2008), with the weights and the
 * regularisation of Rendle, Krichene, Zhang and Koren, "Revisiting the performance of iALS on item recommendation
 * benchmarks" (2021): minimised is
 *
 *     sum over pairs w (1 - u.v)^2 + alpha0 sum over all (u.v)^2 + lambda (sum_u (n_u + alpha0 |I|) |u|^2
 *                                                                        + sum_i (n_i + alpha0 |U|) |v|^2)
 *
 * With one side fixed each row of the other solves (alpha0 V'V + sum w v v' + lambda (n + alpha0 N) I) x = sum w v:
 * by Cholesky, or by three steps of conjugate gradient from the last solution (Takacs, Pilaszy, Tikk, 2011).
 */
#ifndef AIGC_RECOMMEND_FACTORS_H
#define AIGC_RECOMMEND_FACTORS_H

#include "base/threads.h"
#include "recommend/gradient.h"

typedef struct factor_options {
    int n_factors;
    double regularization, unobserved;
    aigc_fit_solver solver;
    uint64_t seed;
} factor_options;

typedef struct factors {
    factor_options o;
    size_t d;             /* n_factors padded to whole vectors; the rest of a row is zero */
    const pairs *by_user; /* [n_users] rows of items */
    const pairs *by_item; /* [n_items] rows of users */
    float *users, *items; /* [n][d] */
    uint16_t *half;       /* of the fixed side, [n][d], for conjugate gradient; NULL: it is not used */
    uint32_t *order;      /* rows of the side that is being solved, those last that are long to the gradient */
    uint32_t n_short;     /* of them */
    uint32_t *chunks;     /* where in the order the chunks of a step begin, and where the last one ends */
    gradient long_rows;
    bool taken;            /* long rows are under way */
    float *gram;           /* [d][d] of the fixed side, both triangles */
    float *panels;         /* the same as dense_pack() has it; NULL: conjugate gradient is not used */
    float *partial;        /* [GRAM_PARTS][d][d] */
    float *scratch;        /* per thread */
    size_t scratch_floats; /* of one thread */
    thread_pool *pool;
    const dense_kernels *k;
    uint32_t n_begun; /* items that have their first, random factors */
    bool items_turn;  /* which side is being solved: users first */
    bool gram_ready;
    size_t gram_rows; /* rows of each part that are in it so far */
    uint32_t next;    /* place in the order */
    int n_done;       /* full iterations */
    size_t bytes;
} factors;

/* by_user and by_item must live as long. Items start at random, users at zero. False if memory is out. */
bool factors_create(factors *f, const factor_options *o, const pairs *by_user, const pairs *by_item, thread_pool *pool);
void factors_free(factors *f);

/* A bounded piece of the next iteration. True when that iteration is complete. */
bool factors_step(factors *f);

/* Rows done in this iteration, of n_users + n_items. */
uint64_t factors_progress(const factors *f);

/* A piece of alpha0 V'V of the items as they are now; true when it is there, in f->gram and out [d][d] (may be NULL).
 * To be called until it is, between complete iterations. */
bool factors_item_gram(factors *f, float *out);

/* Rows [begin, end) of other people, solved exactly with the items as they are now, into those rows of out [][d].
 * factors_item_gram() comes before it. */
void factors_fold_in(factors *f, const pairs *rows, uint32_t begin, uint32_t end, float *out);

#endif
