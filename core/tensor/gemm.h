/*
 * gemm.h: products of float matrices on packed operands, in float32 or with operands rounded to bfloat16.
 *
 * Both operands are packed alike: lines (the rows of A, the columns of B) in panels of 16, along k in words of 32 bits,
 * [panel][word][line]; so a packed matrix can stand on either side. A word is one float, or, where the processor
 * multiplies bfloat16 pairs, two neighbours along k. Packing rounds (to nearest even); sums are float32 always.
 *
 * One order, on every level of the processor: from k = 0 on, blocks of `depth` elements of k; in a block one chain of
 * fused multiply-adds, k after k, that begins at 0; its result is added to what C holds. How a product is cut into
 * tiles, and who computes them, changes no bit. (Subnormal numbers may differ: vdpbf16ps takes them for zero.)
 *
 * Called by the phases of core/learn/, each call for one tile of a product.
 */
#ifndef AIGC_TENSOR_GEMM_H
#define AIGC_TENSOR_GEMM_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

typedef enum gemm_precision { GEMM_F32, GEMM_BF16, GEMM_PRECISIONS } gemm_precision;

enum { GEMM_LINES = 16 }; /* of a panel */

/* Where a product goes: c [m][ldc] = from [m][ldc] + bias [n] + product. from may be c itself, or NULL: zeros; bias
 * may be NULL. */
typedef struct gemm_result {
    float *c;
    const float *from;
    size_t ldc;
    const float *bias;
} gemm_result;

/* What will be read after a block, and is fetched into the second-level cache while the block is multiplied: rows of
 * floats that will be packed, and the first panels of B. It changes no result; nothing is fetched of what is NULL. */
typedef struct gemm_ahead {
    const float *source; /* [n_rows][stride], of each row n floats */
    size_t stride, n_rows, n;
    const uint32_t *b; /* b_stride apart, as those at hand */
} gemm_ahead;

typedef struct gemm_kernels {
    const char *name;
    size_t depth; /* elements of k in a block, a multiple of 32 */
    bool pairs;   /* a word holds two elements */

    /* Missing lines of a panel and the missing half of the last pair become zeros. One panel of at most 16 lines:
     * element (line, i) is source[line * stride + i]. */
    void (*pack_lines)(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel);
    /* Any number of lines, in panels panel_stride words apart: element (line, i) is source[i * stride + line]. */
    void (*pack_across)(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                        size_t panel_stride);

    /* One block of k, of `words` words: m x n of C. Panels stand a_stride and b_stride words apart. ahead: a hint. */
    void (*block)(const uint32_t *a, size_t a_stride, const uint32_t *b, size_t b_stride, size_t words, size_t m,
                  size_t n, const gemm_result *result, const gemm_ahead *ahead);
} gemm_kernels;

/* NULL if the processor can't run this level. */
const gemm_kernels *gemm_kernels_for(cpu_level level, gemm_precision precision);

/* The fastest ones. */
const gemm_kernels *gemm_kernels_best(gemm_precision precision);

/* Words that k elements of a line take. */
static inline size_t gemm_words(const gemm_kernels *g, size_t k)
{
    return g->pairs ? (k + 1) / 2 : k;
}

/* Words of a packed matrix. */
static inline size_t gemm_packed_words(const gemm_kernels *g, size_t n_lines, size_t k)
{
    return (n_lines + GEMM_LINES - 1) / GEMM_LINES * GEMM_LINES * gemm_words(g, k);
}

/* Words from one panel of lines of k elements to the next. */
static inline size_t gemm_stride(const gemm_kernels *g, size_t k)
{
    return GEMM_LINES * gemm_words(g, k);
}

/* Lines of k elements: one after the other in memory and stride apart, or (across) beside each other. */
void gemm_pack(const gemm_kernels *g, bool across, const float *source, size_t stride, size_t n_lines, size_t k,
               uint32_t *packed);

/* m x n of C from packed lines of A and of B; panels stand a_stride and b_stride words apart, which are those of more
 * than k elements where only a part of each line, from an even element on, is multiplied. */
void gemm_multiply(const gemm_kernels *g, const uint32_t *a, size_t a_stride, const uint32_t *b, size_t b_stride,
                   size_t m, size_t n, size_t k, gemm_result result);

#endif
