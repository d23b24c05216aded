/*
 * blend.h: how much each signal counts, learned on users set aside.
 *
 * Each of these users is asked for with 0, 2, 6, 20 and all of their shown events, and as nobody, without attributes
 * either: their candidates (the best of each signal, and what is hidden) keep the value of every signal, and weights
 * are sought that rank the hidden ones best, by NDCG, one signal after the other (coordinate ascent: Metzler and Croft,
 * 2007). A signal that never occurs on these users keeps the weight that it began with.
 */
#ifndef AIGC_RECOMMEND_BLEND_H
#define AIGC_RECOMMEND_BLEND_H

#include "recommend/evaluate.h"

typedef struct blend_case {
    uint32_t n, n_hidden; /* candidates; the first n_hidden are the hidden ones */
    float *value;         /* [n][SIGNALS] */
    double ideal;
} blend_case;

typedef struct blender {
    aigc_fit *fit;
    const model *m;
    const holdout *h;
    blend_case *cases;          /* [BLENDS][n_users] */
    uint32_t *general[SIGNALS]; /* the best items of what is the same for everybody; NULL: it is not, or says nothing */
    size_t n_general[SIGNALS];
    uint32_t n_users, next; /* next: case */
    int blend, round, signal;
    double best;                  /* NDCG of the weights so far */
    float scale[BLENDS][SIGNALS]; /* deviation of the signal, 0: it does not occur */
    int cutoff;
} blender;

aigc_status blender_open(blender *b, aigc_fit *fit, const model *m, const holdout *h, uint32_t most_users,
                         aigc_error *err);
void blender_close(blender *b);
/* A bounded piece; *done when fit->blend is learned. */
aigc_status blender_step(blender *b, bool *done, aigc_error *err);
uint64_t blender_progress(const blender *b, uint64_t *n_steps);

/* Weights to begin with, for signals whose deviations are not known, and the deviation of such scores. */
void blend_defaults(float blend[BLENDS][SIGNALS], float spread[BLENDS]);

#endif
