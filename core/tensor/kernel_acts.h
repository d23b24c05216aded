/*
 * kernel_acts.h: how a prepared row of activations is laid out. Private to the kernels: a table's matmul reads what the
 * same table's prepare wrote.
 *
 *   ACT_F32:   float x[n], zeros up to a multiple of 16
 *   ACT_Q8:    act_q8_block[n / 32] | int8 q[n] | float d[n / 32] | int32 bias[n / 32]
 *   ACT_Q8_K:  act_q8_k_block[n / 256] | float d[n / 256]
 *
 * The array of blocks serves kernels for many tokens, which read a block of each of many rows; the separate arrays
 * serve those for one token, which read 8 blocks at once. Parts begin at multiples of 64 bytes and are padded with
 * zeros: q to 8 blocks, d and bias to 16.
 *
 * bias corrects sums of products with weights that were made unsigned by adding 128 (Q8_0; Q4_0 takes a sixteenth of it
 * for its 8) or 32 (Q6_K).
 */
#ifndef AIGC_TENSOR_KERNEL_ACTS_H
#define AIGC_TENSOR_KERNEL_ACTS_H

#include "tensor/kernels.h"

typedef struct act_q8_block {
    int8_t q[32];
    float d;
    int32_t bias; /* -128 times the sum of q */
} act_q8_block;

typedef struct act_q8_k_block {
    int8_t q[K_ELEMENTS];
    int32_t bias[K_ELEMENTS / 16]; /* -32 times the sum of 16 q */
    int16_t sums[K_ELEMENTS / 32]; /* sums of 32 q */
    float d;
    int16_t sums16[K_ELEMENTS / 16]; /* sums of 16 q */
    char padding[12];
} act_q8_k_block;

typedef struct act_parts {
    size_t q, d, bias, end; /* offsets in bytes from the row's begin */
} act_parts;

static inline size_t act_pad(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

static inline act_parts act_layout(act_type type, size_t n)
{
    act_parts p;
    if (type == ACT_Q8) {
        p.q = act_pad(n / 32 * sizeof(act_q8_block), 64);
        p.d = p.q + act_pad(n, 256);
        p.bias = p.d + act_pad(n / 32 * sizeof(float), 64);
        p.end = p.bias + act_pad(n / 32 * sizeof(int32_t), 64);
    } else {
        p.q = p.d = act_pad(n / K_ELEMENTS * sizeof(act_q8_k_block), 64);
        p.bias = p.end = p.d + act_pad(n / K_ELEMENTS * sizeof(float), 64);
    }
    return p;
}

/* Blocks whose largest magnitude is below this become zero, so that 127 / max is never infinite. */
#define ACT_TINY 0x1p-100f

#endif
