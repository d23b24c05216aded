/*
 * candidates.h: drawing a token from logits under top_k, top_p and min_p without sorting the vocabulary. Used by
 * sample.c.
 *
 * With z = (highest logit - logit) / temperature, a token's weight is exp(-z), and top_k, top_p and min_p each keep a
 * beginning of the row of candidates sorted by rising z (ties: by id). So tokens are counted and weighed in buckets of
 * z, a sixteenth wide: a bucket holds little of the vocabulary, and only the bucket where a limit falls, or the drawn
 * number, has to be sorted. Weights are summed in double, in the order of ids within a bucket, on every CPU level.
 */
#ifndef AIGC_ENGINE_CANDIDATES_H
#define AIGC_ENGINE_CANDIDATES_H

#include "aigc.h"
#include "tensor/kernels.h"

enum { CANDIDATE_BLOCK = 512 }; /* logits that the caller gives the maximum of */

typedef struct candidates candidates;

/* NULL if memory is out. temperature > 0. */
candidates *candidates_create(int n_vocab, const aigc_sampling *options);
void candidates_destroy(candidates *c); /* NULL is allowed */

/* The candidate where the cumulative weight of those that the limits keep passes u, from [0, 1), of their total.
 * logits: [n_vocab], none of them NaN or +infinity; block_max: of each CANDIDATE_BLOCK of them; max: the largest, not
 * -infinity. */
int32_t candidates_draw(candidates *c, const aigc_kernels *k, const float *logits, const float *block_max, float max,
                        double u);

#endif
