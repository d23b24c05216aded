/*
 * types.h: the element types of ggml's table: sizes, names, and conversion from and to float.
 *
 * Block layouts are ggml's (ggml-common.h): they are what files hold. Types that can't be run yet are known by name
 * and size, so that a file which has them is described and refused, not misread.
 */
#ifndef AIGC_TENSOR_TYPES_H
#define AIGC_TENSOR_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ggml's numbers; gaps are types that ggml removed. */
typedef enum tensor_type {
    TYPE_F32 = 0,
    TYPE_F16 = 1,
    TYPE_Q4_0 = 2,
    TYPE_Q4_1 = 3,
    TYPE_Q5_0 = 6,
    TYPE_Q5_1 = 7,
    TYPE_Q8_0 = 8,
    TYPE_Q8_1 = 9,
    TYPE_Q2_K = 10,
    TYPE_Q3_K = 11,
    TYPE_Q4_K = 12,
    TYPE_Q5_K = 13,
    TYPE_Q6_K = 14,
    TYPE_Q8_K = 15,
    TYPE_IQ2_XXS = 16,
    TYPE_IQ2_XS = 17,
    TYPE_IQ3_XXS = 18,
    TYPE_IQ1_S = 19,
    TYPE_IQ4_NL = 20,
    TYPE_IQ3_S = 21,
    TYPE_IQ2_S = 22,
    TYPE_IQ4_XS = 23,
    TYPE_I8 = 24,
    TYPE_I16 = 25,
    TYPE_I32 = 26,
    TYPE_I64 = 27,
    TYPE_F64 = 28,
    TYPE_IQ1_M = 29,
    TYPE_BF16 = 30,
    TYPE_TQ1_0 = 34,
    TYPE_TQ2_0 = 35,
    TYPE_MXFP4 = 39,
    TYPE_NVFP4 = 40,
    TYPE_Q1_0 = 41,
    TYPE_Q2_0 = 42,
} tensor_type;

typedef struct tensor_type_info {
    const char *name;   /* "Q4_K" */
    int block_elements; /* elements of a block; rows are whole blocks */
    int block_bytes;
    bool runnable; /* to_float and the kernels know it */
} tensor_type_info;

/* NULL for a number that ggml's table does not have. */
const tensor_type_info *tensor_type_describe(uint32_t type);

/* Bytes of a row of n elements; n must be a multiple of the block. */
size_t tensor_row_bytes(tensor_type type, size_t n);

/* Block layouts, little-endian, as they stand in files. */
enum { Q8_0_ELEMENTS = 32, Q4_0_ELEMENTS = 32, K_ELEMENTS = 256 };

typedef struct block_q8_0 {
    uint16_t d; /* scale, half precision */
    int8_t q[32];
} block_q8_0;

typedef struct block_q4_0 {
    uint16_t d;
    uint8_t q[16]; /* low nibbles: elements 0-15, high: 16-31; value is nibble - 8 */
} block_q4_0;

typedef struct block_q4_k {
    uint16_t d, dmin;   /* scale of the scales, of the minima */
    uint8_t scales[12]; /* 8 scales and 8 minima of 6 bits each */
    uint8_t q[128];     /* 4 groups of 32 bytes: low nibbles 32 elements, high nibbles the next 32 */
} block_q4_k;

typedef struct block_q6_k {
    uint8_t ql[128];   /* low 4 bits */
    uint8_t qh[64];    /* high 2 bits */
    int8_t scales[16]; /* one for each 16 elements */
    uint16_t d;
} block_q6_k;

/* Half precision <-> float, round to nearest even, NaN, infinity and subnormals included. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);

/* The 6-bit scale and minimum of sub-block j (0 to 7) of a Q4_K block. */
void q4_k_scale_min(const uint8_t scales[12], int j, uint8_t *scale, uint8_t *minimum);

/* One row of a runnable type to float: scalar code, one result on every machine. n is a multiple of the block. */
void tensor_row_to_float(tensor_type type, const void *row, float *out, size_t n);

/* One row of floats to F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K, choosing scales as ggml's reference quantisation does.
 * Used to write models. Returns false for other types. */
bool tensor_row_from_float(tensor_type type, const float *row, void *out, size_t n);

#endif
