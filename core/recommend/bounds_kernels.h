/*
 * bounds_kernels.h: the loops over all items of bounds.c, for each level of processor. They give the same bits: sums of
 * whole numbers are exact, the rest is done element by element.
 */
#ifndef AIGC_RECOMMEND_BOUNDS_KERNELS_H
#define AIGC_RECOMMEND_BOUNDS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

/* What turns a sum of whole numbers into a part of a score and says how far that may be off. */
typedef struct bound_terms {
    float step;   /* of the query's whole numbers */
    float length; /* of the query: times a row's error is what the row's rounding may cost */
    float weight; /* of all items, where there is no array of weights */
    float slack;  /* times a row's scale is what the rounding of the query and of sums may cost */
} bound_terms;

typedef struct bound_kernels {
    /* out[i] = q . row i of n rows of `width` bytes, width a multiple of COARSE_LANES; |q| so small that sums fit. */
    void (*scan)(const int8_t *rows, size_t n, size_t width, const int16_t *q, int32_t *out);
    /* weight NULL: that of the terms. score += weight * step * scale * dots; slack += |weight| * (error * length +
     * scale * slack of the terms); n a multiple of 16, as below. */
    void (*add)(size_t n, const int32_t *dots, const float *scale, const float *error, const float *weight,
                const bound_terms *terms, float *score, float *slack);
    /* score = score + slack + what adding up to base may cost. Returns the largest. */
    float (*close)(size_t n, const float *base, const float *slack, float *score);
    float (*largest)(size_t n, const float *x);
} bound_kernels;

const bound_kernels *bound_best(void);
/* NULL if this processor lacks the level. Used by tests. */
const bound_kernels *bound_for(cpu_level level);

extern const bound_kernels bound_generic;
#ifdef __x86_64__
extern const bound_kernels bound_avx2;
extern const bound_kernels bound_avx512;
#endif

#endif
