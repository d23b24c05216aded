/*
 * dropout.h: which numbers dropout (Srivastava et al., 2014) leaves out, from a counter: nothing is kept between
 * forward and backward, which makes the same mask again, and no order of work changes it.
 *
 * A mask is a function of the key (of a batch: dropout_key()), the site (where in the model) and the number of the
 * element. Called by learner_work.c.
 */
#ifndef AIGC_LEARN_DROPOUT_H
#define AIGC_LEARN_DROPOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dropout {
    uint32_t threshold; /* of 65536: elements whose 16 bits are below it are left out */
    float scale;        /* of the others: their mean stays */
    uint64_t key;
} dropout;

/* p: 0 to below 1, taken to the nearest 65536th. */
dropout dropout_of(double p);

/* The key of batch number `number` of a run. */
uint64_t dropout_key(uint64_t seed, uint64_t number);

/* out[i] = x[i] times 0 or the scale, plus add[i] if that is not NULL, for elements first to first + n - 1 of the site.
 * out may be x or add. */
void dropout_apply(const dropout *d, uint64_t site, uint64_t first, const float *x, const float *add, float *out,
                   size_t n);

/* What one element is multiplied by: 0 or the scale. */
float dropout_factor(const dropout *d, uint64_t site, uint64_t element);

#endif
