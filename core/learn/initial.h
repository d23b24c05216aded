/*
 * initial.h: training that begins from a model's weights instead of random ones: its shape, and its weights as floats.
 *
 * Called by trainer.c. The model was opened with its weights, so names, shapes and types are checked already; here it
 * is checked that the trainer computes what the engine would.
 */
#ifndef AIGC_LEARN_INITIAL_H
#define AIGC_LEARN_INITIAL_H

#include "learn/layout.h"

/* The model's shape; shape->arch lives as long as the program. Errors: AIGC_E_UNSUPPORTED names what training does not
 * do: heads of another width than n_embd / n_heads, partly rotated heads, scaled positions, biases that the recipe
 * lacks. */
aigc_status initial_shape(const aigc_model *model, learn_shape *shape, aigc_error *err);

/* Weights of any runnable type, as floats, into an array of the layout made from that shape. Of learned positions the
 * first n_context are taken. Padding between tensors is left alone. */
void initial_weights(const aigc_model *model, const learn_layout *layout, float *weights);

/* Tells one beginning from another: a hash of weights, epsilon and rotary base. */
uint64_t initial_hash(const learn_layout *layout, const float *weights);

#endif
