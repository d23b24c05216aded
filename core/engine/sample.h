/*
 * sample.h: from one row of logits to the next token. Used by the engine, one sampler for each alternative.
 *
 * The order is aigc_sampling's: bias, penalties, (log-probabilities are taken here), temperature, top_k, top_p, min_p,
 * draw. At temperature 0 the highest logit wins, the lowest id on a tie. Otherwise candidates stand by logit, highest
 * first, then by id, and the token is the one where their cumulative probability passes a number from [0, 1): a
 * function of the logits' bits and of the stream's state alone, so the same on every CPU level.
 *
 * Logits that are NaN count as -infinity (never chosen), +infinity as the largest float. If every logit is -infinity
 * token 0 is chosen, with log-probability -infinity.
 *
 * sampler_choose() allocates nothing and touches nothing but its sampler and the row, so several samplers may run on
 * several threads.
 */
#ifndef AIGC_ENGINE_SAMPLE_H
#define AIGC_ENGINE_SAMPLE_H

#include "base/error.h"
#include "tensor/kernels.h"

enum { SAMPLE_MAX_TOP = 20 };

typedef struct sampler sampler;

/* Checks *s (copied) and takes all memory that sampling needs. stream: the number of the alternative. Errors:
 * AIGC_E_ARGUMENT names the option and its value, AIGC_E_MEMORY. */
aigc_status sampler_create(const aigc_sampling *s, int n_vocab, uint64_t stream, int top_logprobs, sampler **out,
                           aigc_error *err);
void sampler_destroy(sampler *s); /* NULL is allowed */

/* Tokens of the prompt, in any number of calls: repetition_penalty counts them as seen; the frequency and presence
 * penalties don't. Ids out of range are ignored. */
void sampler_see_prompt(sampler *s, const int32_t *ids, size_t n);

/* Chooses a token and remembers it as generated. logits: [n_vocab], changed. top gets the top_logprobs most probable
 * tokens, most probable first (NULL allowed if top_logprobs is 0); returns how many (n_vocab may be less). */
int sampler_choose(sampler *s, const aigc_kernels *k, float *logits, aigc_token *chosen, aigc_token *top);

/* Natural log of the probability that logits [n_vocab] give to id, nothing applied: for scoring. -infinity for NaN. */
float token_logprob(const aigc_kernels *k, const float *logits, int n_vocab, int32_t id);

#endif
