/* random.h: reproducible random numbers: xoshiro256++ seeded by splitmix64 (Blackman and Vigna, 2019). */
#ifndef AIGC_BASE_RANDOM_H
#define AIGC_BASE_RANDOM_H

#include <stdint.h>

typedef struct random_state {
    uint64_t s[4];
} random_state;

/* Streams with different (seed, stream) are independent for all practical purposes. */
void random_seed(random_state *r, uint64_t seed, uint64_t stream);
uint64_t random_u64(random_state *r);
double random_unit(random_state *r);   /* uniform in [0, 1), 53 bits */
double random_normal(random_state *r); /* mean 0, deviation 1 (polar method) */

#endif
