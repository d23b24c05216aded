/*
 * coarse.h: the vectors of items in one byte an element, beside the exact ones in a model: half the memory to go
 * through for a query. What that loses is known for each row, so that no item is missed (bounds.h).
 */
#ifndef AIGC_RECOMMEND_COARSE_H
#define AIGC_RECOMMEND_COARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct coarse_rows {
    const int8_t *rows;  /* [n][coarse_width(d)] */
    const float *scale;  /* [n] an element is about scale * byte */
    const float *error;  /* [n] length of the difference, at most */
    const float *length; /* [n] of the row itself, at most */
} coarse_rows;

enum { COARSE_LANES = 32 };

static inline size_t coarse_width(size_t d)
{
    return (d + COARSE_LANES - 1) / COARSE_LANES * COARSE_LANES;
}

/* The rows of n half-precision ones of d elements. False if memory is out. */
bool coarse_make(const uint16_t *half, size_t n, size_t d, int8_t *rows, float *scale, float *error, float *length);

#endif
