/*
 * tune.h: hyperparameters chosen by how well one signal ranks what is hidden of users set aside: hill-climbing by
 * factors, one hyperparameter after the other. Used by the phases of a fit on its trial training.
 */
#ifndef AIGC_RECOMMEND_TUNE_H
#define AIGC_RECOMMEND_TUNE_H

#include <stdbool.h>

enum { CLIMB_MOST = 8 };

/* One hyperparameter: the best value so far, the one being tried, and which way to go. */
typedef struct climb {
    double best, tried, factor, low, high;
    double score; /* of best */
    int n_tried;
    bool up, turned, begun;
} climb;

void climb_begin(climb *c, double start, double factor, double low, double high);
/* The next value to try, false when there is none: then best is it. */
bool climb_next(climb *c);
void climb_score(climb *c, double score);

#endif
