/*
 * learner.h: a transformer's loss and its gradient, and the optimiser's step, in float32.
 *
 * A step is a row of phases (learner_plan.c makes it once, from the recipe), each cut into chunks that the thread pool
 * shares out. The cut depends on sizes alone, so the same weights and tokens give the same bits on any number of
 * threads. Called by trainer.c and, for its parts, by the tests.
 */
#ifndef AIGC_LEARN_LEARNER_H
#define AIGC_LEARN_LEARNER_H

#include "learn/layout.h"
#include "tensor/gemm.h"

typedef struct learner learner;

/* Sequences that go through the transformer together, each of the shape's context. */
typedef struct learn_batch {
    const int32_t *ids;     /* [n_sequences][n_context] */
    const int32_t *targets; /* the token that follows each, or -1 where none is to be learned */
    const int32_t *first; /* where the document of each token begins in its sequence: never falls, at most the token */
} learn_batch;

typedef struct learn_memory {
    size_t weights, gradients, moments, activations, scratch; /* bytes */
} learn_memory;

size_t learn_memory_total(const learn_memory *m);

/* Plans and takes all memory; memory (may be NULL) says how much. Weights are zero. Errors: AIGC_E_ARGUMENT,
 * AIGC_E_MEMORY, AIGC_E_UNSUPPORTED (no OpenBLAS, and no AVX-512, with which products are our own). */
aigc_status learner_create(const learn_shape *shape, int n_sequences, int n_threads, learner **out, aigc_error *err);

/* The same for a model that is to be adapted (layout_of_model()). */
aigc_status learner_create_from(const aigc_model *base, int n_context, int lora_rank, double lora_alpha,
                                int n_sequences, int n_threads, learner **out, aigc_error *err);
void learner_destroy(learner *l);

/* How the operands of matrix products are rounded; GEMM_F32 at first. To be
 * called before learner_use_muon(). Errors: AIGC_E_MEMORY, AIGC_E_UNSUPPORTED. */
aigc_status learner_set_precision(learner *l, gemm_precision precision, aigc_error *err);

const learn_memory *learner_memory(const learner *l);
const learn_layout *learner_layout(const learner *l);
float *learner_weights(learner *l); /* [n_floats], as the layout says */
/* [n_floats - first_trained]: of the tensors from first_trained on, which are all unless there is LoRA */
float *learner_gradients(learner *l);
float *learner_moments(learner *l, int which); /* likewise; 0: mean of gradients, 1: of their squares */

/* Makes learner_loss(), learner_backward() and learner_update() give up with AIGC_INTERRUPTED soon after *flag becomes
 * non-zero. After the first two the gradients are of no use, and the next learner_backward() begins from zero: all of
 * the step is to be computed again. NULL, as at first: they never do. */
void learner_set_interrupt(learner *l, const volatile sig_atomic_t *flag);

/* Sum of the losses (natural logarithm) of the targets. The batch is checked: AIGC_E_TEXT for ids out of range. */
aigc_status learner_loss(learner *l, const learn_batch *batch, double *loss, aigc_error *err);

/* The losses of the last batch's targets, 0 where there is none. [n_sequences][n_context] */
const float *learner_losses(const learner *l);

/* The same as learner_loss(), and adds the gradient of scale * loss. */
aigc_status learner_backward(learner *l, const learn_batch *batch, float scale, double *loss, aigc_error *err);

/* From now on learner_backward() leaves out a part p of the embeddings and of what attention and feed-forward add to
 * the residual stream, and multiplies the rest by 1 / (1 - p); learner_loss() does not. The key (dropout.h) says which:
 * set it before each batch. */
aigc_status learner_use_dropout(learner *l, double p, aigc_error *err);
void learner_set_dropout_key(learner *l, uint64_t key);

/* From now on Muon (muon.h) updates the matrices of the layers, AdamW the rest; the weight decay of both is the same.
 * Called once, before the first step. */
aigc_status learner_use_muon(learner *l, aigc_error *err);

/* The same where each target's loss counts factors[token] times in the gradient. [n_sequences][n_context] */
aigc_status learner_backward_weighted(learner *l, const learn_batch *batch, const float *factors, float scale,
                                      double *loss, aigc_error *err);

typedef struct adamw_options {
    double beta1, beta2, eps;
    double weight_decay; /* of matrices; norms and biases have none */
    double clip;         /* largest norm of the whole gradient; 0: no bound */
} adamw_options;

/* Step number `step` (1 is the first) with this learning rate; gradients are zero afterwards. *norm: the gradient's
 * before clipping; where it is not finite, weights and moments are left as they were. AIGC_INTERRUPTED: some of the
 * weights have made the step, and the rest do when it is called again with the same arguments, unless the weights are
 * set anew and learner_abandon_update() says so. */
aigc_status learner_update(learner *l, const adamw_options *options, double rate, uint64_t step, double *norm,
                           aigc_error *err);
void learner_abandon_update(learner *l);

#endif
