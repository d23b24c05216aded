/*
 * attention.h: causal attention of whole sequences, forward and backward, over matrix products of one head at a time.
 *
 * No matrix of [context][context] is kept: forward leaves the logarithm of each softmax's sum, from which backward
 * makes the probabilities again, ATTENTION_TILE queries and ATTENTION_KEYS keys at a time. Packed documents see only
 * themselves: query t sees keys first[t] to t. Called by the phases of learner_work.c.
 */
#ifndef AIGC_LEARN_ATTENTION_H
#define AIGC_LEARN_ATTENTION_H

#include "tensor/gemm.h"
#include "tensor/kernels.h"

enum { ATTENTION_TILE = 64, ATTENTION_KEYS = 256 }; /* multiples of GEMM_LINES */

typedef struct attention {
    const gemm_kernels *gemm;
    const aigc_kernels *kernels;
    int n_heads, n_kv_heads, head_dim;
    int n_tokens; /* of a sequence */
} attention;

/* Floats of scratch that a call needs, in any precision. */
size_t attention_scratch(const attention *a);

/*
 * One query head of one sequence.
 * qkv: [n_tokens][q heads, k heads, v heads][head_dim], rotated; first: [n_tokens];
 * out: [n_tokens][n_heads][head_dim]; lse: [n_tokens][n_heads], of scores that are not scaled
 */
void attention_forward(const attention *a, int head, const float *qkv, const int *first, float *out, float *lse,
                       float *scratch);

/* The same query head backward: writes (does not add to) its columns of dqkv, which is as qkv. The gradients of its
 * keys and values go to dqkv too if no other head shares them, else to dkv: [n_tokens][n_heads][k, v][head_dim]. */
void attention_backward(const attention *a, int head, const float *qkv, const int *first, const float *out,
                        const float *lse, const float *dout, float *dqkv, float *dkv, float *scratch);

/* Where heads share keys and values: their gradients in dqkv, of tokens begin to end, from dkv. */
void attention_gather(const attention *a, size_t begin, size_t end, const float *dkv, float *dqkv);

#endif
