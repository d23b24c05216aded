/*
 * learn_reference.h: the loss of a transformer, written down plainly in double from the recipe's definition: what the
 * trainer's results are compared with. Shares no code with core/learn but the table of where weights stand.
 */
#ifndef AIGC_TESTS_LEARN_REFERENCE_H
#define AIGC_TESTS_LEARN_REFERENCE_H

#include "learn/dropout.h"
#include "learn/learner.h"

/* Sum of the losses of the batch's targets. */
double reference_loss(const learn_layout *layout, const double *weights, const learn_batch *batch, int n_sequences);

/* The same with dropout after the embeddings, attention's output matrix and ffn_down: sites 0, 2 i + 1 and 2 i + 2. */
double reference_loss_dropped(const learn_layout *layout, const double *weights, const learn_batch *batch,
                              int n_sequences, const dropout *drop);

/* Weights, tokens and borders of documents for tests, by a formula that tests/reference/make_learn_golden.py has too:
 * formula_unit(i) is in [-1, 1). */
double formula_unit(uint64_t i);
/* Matrices: `spread` times a unit; norms: 1 + that; biases: that. */
void formula_weights(const learn_layout *layout, double spread, float *weights);
/* Ids of a stream of batches: batch number `number` of n_sequences * n_context tokens, with documents of about
 * document_length tokens (the target of a document's last token is -1). Arrays are the caller's. */
void formula_batch(int n_vocab, int n_sequences, int n_context, int document_length, int number, int32_t *ids,
                   int32_t *targets, int32_t *first);

#endif
