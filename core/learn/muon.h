/*
 * muon.h: Muon (Jordan et al., 2024), for the matrices inside of layers; optimiser.c calls it.
 *
 * The update of a matrix is its gradient's running mean with all singular values brought near 1, by five Newton-Schulz
 * iterations X <- a X + (b G + c G G) X with G = X X^T (or, for tall matrices, X^T X on the other side): matrix
 * products, which are phases of the learner like all others, so results don't depend on the number of threads. One
 * matrix of the file may be several side by side (q, k and v): each is orthogonalised on its own.
 *
 * The update is multiplied by 0.2 sqrt(max(rows, columns)), which makes its root mean square that of AdamW's updates
 * (Liu et al., "Muon is scalable for LLM training", 2025): so one learning rate and one weight decay serve the whole
 * model, and those found for AdamW are near.
 */
#ifndef AIGC_LEARN_MUON_H
#define AIGC_LEARN_MUON_H

#include "learn/learner_state.h"

typedef struct muon muon;

/* Finds the trained matrices of the layers (not LoRA's thin ones) and takes scratch for the largest, for each
 * thread. */
aigc_status muon_create(const learner *l, muon **out, aigc_error *err);
void muon_free(muon *m);
size_t muon_bytes(const muon *m); /* of scratch */

/* Whether the tensor of this number is updated by Muon. */
bool muon_has(const muon *m, int tensor);

/* Adds the phase of a step to the planner's list. Gradients are zero after it. moments[0] holds the running mean;
 * moments[1] is scratch and zero afterwards. */
void muon_plan(const muon *m, planner *p);

/* What the next step goes by: keep is 1 - rate * weight decay, gradient_scale what clipping left. */
void muon_set_step(muon *m, double rate, float keep, float gradient_scale);

#endif
