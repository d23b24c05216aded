/* schedule.h: the learning rate of each step. Called by trainer.c. */
#ifndef AIGC_LEARN_SCHEDULE_H
#define AIGC_LEARN_SCHEDULE_H

#include "aigc.h"

typedef struct learn_schedule {
    aigc_train_schedule kind;
    double rate;      /* the highest */
    double least;     /* where it ends, as a part of rate */
    uint64_t warmup;  /* steps of a straight rise at the beginning */
    uint64_t n_steps; /* in all */
    uint64_t decay;   /* stable: steps of the fall at the end; 0: none */
} learn_schedule;

/*
 * The rate of step 1 to n_steps. Cosine: half a cosine from the end of the warm-up to the last step. Stable: the
 * highest rate until the last `decay` steps, then a straight fall ("warm-up, stable, decay", Hu et al., 2024).
 */
double schedule_rate(const learn_schedule *s, uint64_t step);

/* The last step before the rate begins to fall: up to there a stable schedule does not depend on its end. */
uint64_t schedule_top(const learn_schedule *s);

#endif
