/*
 * attention.h: causal attention of whole sequences, forward and backward, over matrix products of one head at a time.
 *
 * No matrix of [context][context] is kept: forward leaves the logarithm of each softmax's sum, from which backward
 * makes the probabilities again, ATTENTION_TILE queries at a time. Packed documents see only themselves: query t sees
 * keys first[t] to t. Called by learner.c.
 */
#ifndef AIGC_LEARN_ATTENTION_H
#define AIGC_LEARN_ATTENTION_H

#include "base/blas.h"
#include "model/model.h"
#include "tensor/kernels.h"

enum { ATTENTION_TILE = 64 };

typedef struct attention {
    blas_sgemm sgemm;
    const aigc_kernels *kernels;
    int n_heads, n_kv_heads, head_dim;
    int n_tokens; /* of a sequence */
} attention;

/* Floats of scratch that a call needs. */
size_t attention_scratch(const attention *a);

/*
 * One key-value head of one sequence and the query heads that share it.
 * qkv: [n_tokens][q heads, k heads, v heads][head_dim], rotated; first: [n_tokens];
 * out: [n_tokens][n_heads][head_dim]; lse: [n_tokens][n_heads]
 */
void attention_forward(const attention *a, int kv_head, const float *qkv, const int *first, float *out, float *lse,
                       float *scratch);

/* dqkv, as qkv, is written for these heads (not added to). */
void attention_backward(const attention *a, int kv_head, const float *qkv, const int *first, const float *out,
                        const float *lse, const float *dout, float *dqkv, float *scratch);

#endif
