/* seeds.h: the good files that fuzz_gguf.c damages. */
#ifndef AIGC_TESTS_SEEDS_H
#define AIGC_TESTS_SEEDS_H

#include "exercise.h"
#include "mutate.h"

enum { MAX_SEEDS = 16 };

typedef struct seed_set {
    seed seeds[MAX_SEEDS];
    depth expected[MAX_SEEDS]; /* how far each gets undamaged */
    size_t n;
    unsigned total_weight;
} seed_set;

/* Small models of each architecture and type, written by our own writer; and, where ../shared/data (or $AIGC_SHARED)
 * is there, stories260K and the vocabularies. */
bool seeds_make(seed_set *set);
void seeds_free(seed_set *set);

/* The seed that a random number stands for, by weight. */
size_t seeds_choose(const seed_set *set, uint64_t random);

#endif
