/*
 * personal.h: what a user's own text says of the next token, mixed into what the model says. Used by the engine.
 *
 * Let q_k be the personal layer's distribution after the last k tokens (k = 1 ... NGRAM_ORDER - 1, as far as they are
 * known and no more than 200 different tokens have followed them), counts c discounted by a half: q_k(w) = (c_k(w) -
 * 1/2) / (C_k - T_k / 2) with C_k the sum of the counts and T_k the number of different tokens. Starting from the
 * model, p_0, each longer context takes its part:
 *
 *     p_k(w) = (1 - l_k) p_{k-1}(w) + l_k q_k(w)        (Jelinek and Mercer, 1980)
 *
 * so that p = (1 - l) p_model + l p_personal with l = 1 - (1 - l_1)(1 - l_2) ... The weights l_k depend on k, C_k and
 * T_k: how much there is, and how certain it is. They begin as a guess and are learned: personal_adapt() adds up, for
 * each class of context, how often it was asked and how often its word was right (the expectation step of EM for the
 * mixture, one token at a time).
 *
 * All is double arithmetic in a fixed order: the same bits everywhere.
 */
#ifndef AIGC_ENGINE_PERSONAL_H
#define AIGC_ENGINE_PERSONAL_H

#include "aigc.h"
#include "engine/ngram.h"
#include "tensor/kernels.h"

enum {
    PERSONAL_TOTALS = 7, /* classes of C_k */
    PERSONAL_KINDS = 3,  /* classes of T_k beside C_k */
    PERSONAL_CLASSES = (NGRAM_ORDER - 1) * PERSONAL_TOTALS * PERSONAL_KINDS,
};

typedef struct personal_weight {
    double hits, asked;
} personal_weight;

struct aigc_personal {
    aigc_model *model;
    uint64_t vocabulary; /* fingerprint */
    ngram_table table;
    personal_weight weights[PERSONAL_CLASSES];
    uint64_t clock;     /* tokens learned so far, in all */
    uint64_t n_learned; /* less those taken back */
};

/* A row of probabilities to be added, and which of them are not 0. One for each alternative. */
typedef struct personal_scratch {
    double *added;    /* [n_vocab] */
    int32_t *touched; /* [n_vocab] */
} personal_scratch;

aigc_status personal_scratch_open(personal_scratch *s, int n_vocab, aigc_error *err);
void personal_scratch_close(personal_scratch *s);

/* Mixes into logits[n_vocab], whose softmax is the model's distribution after history[0..n): the softmax of the result
 * is the mixture. Only logits of tokens that the layer knows change. Nothing happens if there is no finite logit. */
void personal_mix(const aigc_personal *p, personal_scratch *s, const aigc_kernels *k, const int32_t *history, size_t n,
                  float *logits, int n_vocab);

/* The mixture's log-probability of token id after history[0..n), from the model's. */
double personal_logprob(const aigc_personal *p, const int32_t *history, size_t n, int32_t id, double model_logprob);

#endif
