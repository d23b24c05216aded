/* kernel_quant.h: what the files of quantised products share: the job, and small helpers that any x86 level can run. */
#ifndef AIGC_TENSOR_KERNEL_QUANT_H
#define AIGC_TENSOR_KERNEL_QUANT_H

#include <immintrin.h>
#include <string.h>

#include "tensor/kernel_acts.h"
#include "tensor/kernels.h"

/* A product of quantised weights with prepared activations, as matmul() gets it, reduced to its range of rows. */
typedef struct quant_job {
    tensor_type type;
    const uint8_t *w; /* first row of the range */
    size_t row_bytes, k;
    int rows;
    const char *acts; /* first token */
    size_t act_bytes;
    int n_tokens;
    float *out; /* of the first row and token */
    size_t out_stride;
    char *scratch;
} quant_job;

/* One row of weights at a time, with one token or a few. */
void rows_avx2(const quant_job *job);
void rows_avx512(const quant_job *job);

/* Panels of rows, interleaved so that a lane is a row, with many tokens. */
void panels_avx2(const quant_job *job);
void panels_avx512(const quant_job *job);

#define INLINE static inline __attribute__((always_inline))

/* Unrolled loops let sums stay in registers. Sanitizers would only take minutes over them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Bytes by which decoding asks for weights ahead: the processor's own prefetch stops at each page of 4 KiB, and the
 * pages of a mapped file lie anywhere, so that the next page's address has to be looked up early too. */
enum { PREFETCH_AHEAD = 4608, CACHE_LINE = 64 };

/* Asks for what follows the `bytes` at w by PREFETCH_AHEAD. Addresses behind the mapping's end do no harm. */
INLINE void prefetch_ahead(const uint8_t *w, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += CACHE_LINE)
        _mm_prefetch((const char *)w + PREFETCH_AHEAD + i, _MM_HINT_T0);
}

/* The 8 scales, and the 8 minima, of 6 bits each, as bytes. */
INLINE void q4_k_unpack(const uint8_t packed[12], uint64_t *scales, uint64_t *minima)
{
    uint32_t u[3];
    memcpy(u, packed, sizeof u);
    uint32_t s_low = u[0] & 0x3f3f3f3f, m_low = u[1] & 0x3f3f3f3f;
    uint32_t s_high = (u[2] & 0x0f0f0f0f) | (u[0] >> 2 & 0x30303030);
    uint32_t m_high = (u[2] >> 4 & 0x0f0f0f0f) | (u[1] >> 2 & 0x30303030);
    *scales = (uint64_t)s_high << 32 | s_low;
    *minima = (uint64_t)m_high << 32 | m_low;
}

/* Turns 16 rows of 16 bytes into 16 columns: four times, the first half is shuffled into the second. */
INLINE void transpose_bytes(__m128i v[16])
{
    UNROLL
    for (int pass = 0; pass < 4; pass++) {
        __m128i t[16];
        UNROLL
        for (int i = 0; i < 8; i++) {
            t[2 * i] = _mm_unpacklo_epi8(v[i], v[i + 8]);
            t[2 * i + 1] = _mm_unpackhi_epi8(v[i], v[i + 8]);
        }
        memcpy(v, t, sizeof t);
    }
}

/* The scales of 16 rows' super-blocks at p, turned: columns 0-7 are the scales of the sub-blocks, 8-15 the minima. */
INLINE void q4_k_columns(const uint8_t *const *rows, size_t p, __m128i turned[16])
{
    for (int r = 0; r < 16; r++) {
        uint64_t s, m;
        q4_k_unpack(rows[r] + p + offsetof(block_q4_k, scales), &s, &m);
        turned[r] = _mm_set_epi64x((long long)m, (long long)s);
    }
    transpose_bytes(turned);
}

INLINE void q6_k_columns(const uint8_t *const *rows, size_t p, __m128i turned[16])
{
    for (int r = 0; r < 16; r++)
        turned[r] = _mm_loadu_si128((const __m128i *)(rows[r] + p + offsetof(block_q6_k, scales)));
    transpose_bytes(turned);
}

/* Rows of activations in groups of 3, so that few registers hold their addresses. */
typedef struct columns {
    const char *of3[4];
    size_t stride;
} columns;

INLINE columns columns_at(const quant_job *job, int first_token, int tokens)
{
    columns c = {.stride = job->act_bytes};
    for (int t = 0; t < tokens; t += 3)
        c.of3[t / 3] = job->acts + (first_token + t) * job->act_bytes;
    return c;
}

INLINE const char *column(const columns *c, int t)
{
    return c->of3[t / 3] + (t % 3) * c->stride;
}

INLINE void advance(columns *c, int tokens, size_t bytes)
{
    for (int t = 0; t < tokens; t += 3)
        c->of3[t / 3] += bytes;
}

#endif
