/*
 * trial.h: how well a factorisation as it stands ranks what is hidden of the users set aside: they are folded in
 * together, and ranked together by products alone (best.h). Used by the search for its hyperparameters, where
 * everything else that an evaluation does (evaluate.h) would take most of a fit's time.
 */
#ifndef AIGC_RECOMMEND_TRIAL_H
#define AIGC_RECOMMEND_TRIAL_H

#include "recommend/best.h"
#include "recommend/evaluate.h"

typedef struct factor_trial {
    factors *f;
    const holdout *h;
    int cutoff;
    float *users; /* [h->n][d] folded in */
    double *ndcg; /* [h->n] -1: nothing is hidden */
    best_items items;
    best_group *groups; /* [threads] */
    int n_threads;
    uint32_t next; /* user to fold in, then to rank */
    bool ready;    /* to fold in */
    bool folded;
} factor_trial;

aigc_status factor_trial_open(factor_trial *t, factors *f, const holdout *h, int cutoff, aigc_error *err);
void factor_trial_close(factor_trial *t); /* of all zeros too */
/* A bounded piece; *done with the mean NDCG. Errors: AIGC_E_MEMORY. */
aigc_status factor_trial_step(factor_trial *t, bool *done, double *ndcg, aigc_error *err);

#endif
