/*
 * kernel_acts.h: where the parts of a prepared row of activations lie. Private to the kernels of all levels.
 *
 *   ACT_F32:   float x[n], zeros up to a multiple of 16
 *   ACT_Q8:    int8 q[n] | float d[n / 32]  | int32 bias[n / 32]: -128 times the sum of a block's q
 *   ACT_Q8_K:  int8 q[n] | float d[n / 256] | int32 bias[n / 16]: -32 times the sum of 16 q | int16 sums[n / 32]
 *
 * Each part begins at a multiple of 64 bytes and is padded with zeros. bias corrects sums of products with weights that
 * were made unsigned by adding 128 (Q8_0; Q4_0 takes a sixteenth of it for its 8) or 32 (Q6_K).
 */
#ifndef AIGC_TENSOR_KERNEL_ACTS_H
#define AIGC_TENSOR_KERNEL_ACTS_H

#include "tensor/kernels.h"

typedef struct act_parts {
    size_t d, bias, sums, end; /* offsets in bytes from the row's begin; q is at 0 */
} act_parts;

static inline size_t act_pad(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static inline act_parts act_layout(act_type type, size_t n)
{
    act_parts p;
    size_t block = type == ACT_Q8 ? 32 : K_ELEMENTS;
    p.d = act_pad(n);
    p.bias = p.d + act_pad(n / block * sizeof(float));
    p.sums = p.bias + act_pad((type == ACT_Q8 ? n / 32 : n / 16) * sizeof(int32_t));
    p.end = p.sums + (type == ACT_Q8 ? 0 : act_pad(n / 32 * sizeof(int16_t)));
    return p;
}

/* Blocks whose largest magnitude is below this become zero, so that 127 / max is never infinite. */
#define ACT_TINY 0x1p-100f

#endif
