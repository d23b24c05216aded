/*
 * evaluate.h: how well blends of signals rank what was hidden of users set aside. Strong generalisation: nothing of
 * these users was in the training; what is shown of them is folded in, and all other items are ranked.
 */
#ifndef AIGC_RECOMMEND_EVALUATE_H
#define AIGC_RECOMMEND_EVALUATE_H

#include "recommend/fit.h"

enum { RANKERS_MOST = 8 };

typedef struct user_metrics {
    double recall[AIGC_METRIC_CUTOFFS], ndcg[AIGC_METRIC_CUTOFFS];
} user_metrics;

typedef struct ranker {
    const char *name;
    float blend[BLENDS][SIGNALS];
} ranker;

typedef struct evaluator {
    const aigc_fit *fit;
    const model *m;
    const holdout *h;
    ranker rankers[RANKERS_MOST];
    int n_rankers;
    int cutoffs[AIGC_METRIC_CUTOFFS];
    user_metrics *users; /* [h->n][n_rankers] */
    unsigned char *seen; /* [n_rankers][n_items] in somebody's first cutoffs[0] */
    uint32_t next;
} evaluator;

aigc_status evaluator_open(evaluator *e, const aigc_fit *fit, const model *m, const holdout *h, aigc_error *err);
void evaluator_close(evaluator *e);

/* A bounded number of users; *done when all have been ranked. */
aigc_status evaluator_step(evaluator *e, bool *done, aigc_error *err);

/* The metrics of ranker r over all users. */
void evaluator_result(const evaluator *e, int r, aigc_metrics *out);
/* Mean NDCG of ranker r at the last cutoff that is set. */
double evaluator_ndcg(const evaluator *e, int r);

/* A user of the fit as a query: row `row` of `shown` as events, at most n of them (the latest, or the first), and
 * their attributes. events and attributes are arrays of the caller: of the row's length, and ATTRIBUTES_MOST. */
enum { ATTRIBUTES_MOST = 64 };
aigc_query user_query(const aigc_fit *fit, const holdout *h, uint32_t row, size_t n, aigc_event *events,
                      aigc_attribute *attributes);

/* Whether the item is one of those hidden of a row. */
bool is_hidden(const holdout *h, uint32_t row, uint32_t item);

/* 1 / log2(place + 2) for places 0 .. n - 1 together: the best that n hidden items can have. */
double discount(size_t place);

#endif
