/*
 * kernels_rows_avx512.c: quantised dot products a row at a time. A row is read as one stream, which is what reaches
 * memory bandwidth. 8 blocks make a group: their exact sums become the 8 lanes of one register, so that a group costs
 * one fused multiply-add.
 */
#ifdef __x86_64__

#include <immintrin.h>

#include "tensor/kernel_quant.h"

enum { MAX_ROW_TOKENS = 4 };

/* The tree over 8 lanes. */
INLINE float tree8(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

/* 4 registers, each holding 8 partial sums of block i in the low half and 8 of block i + 4 in the high half, to the
 * sums of the 8 blocks. */
INLINE __m256i sum_pairs(__m512i z0, __m512i z1, __m512i z2, __m512i z3)
{
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(z0, z1), _mm512_unpackhi_epi32(z0, z1));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(z2, z3), _mm512_unpackhi_epi32(z2, z3));
    __m512i c = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    c = _mm512_add_epi32(c, _mm512_shuffle_i64x2(c, c, 0xB1));
    return _mm512_castsi512_si256(_mm512_shuffle_i64x2(c, c, 0x08));
}

/* 8 registers of 8 partial sums to 8 sums. */
INLINE __m256i sum_eight(const __m256i s[8])
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(s[4], s[5]), _mm256_hadd_epi32(s[6], s[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

INLINE __m512i load512(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE __m512i load_halves(const void *low, const void *high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(low)), _mm256_loadu_si256(high), 1);
}

/* ---- Q8_0 and Q4_0 ------------------------------------------------------------------------------------------- */

/* Weights of blocks i and i + 4 as unsigned bytes. */
INLINE __m512i weights_pair(tensor_type type, const uint8_t *w, int i)
{
    if (type == TYPE_Q8_0) {
        __m512i v = load_halves(w + i * 34 + 2, w + (i + 4) * 34 + 2);
        return _mm512_xor_si512(v, _mm512_set1_epi8(-128));
    }
    __m512i low =
        _mm512_castsi256_si512(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(w + i * 18 + 2))));
    __m512i both = _mm512_mask_broadcast_i32x4(low, 0xFF00, _mm_loadu_si128((const __m128i *)(w + i * 18 + 74)));
    __m512i shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    return _mm512_and_si512(_mm512_srlv_epi64(both, shifts), _mm512_set1_epi8(15));
}

/* The 8 half-precision scales of a group, 34 or 18 bytes apart; the last n of them if the group is not full. */
INLINE __m256 group_scales(tensor_type type, const uint8_t *w, __mmask8 live)
{
    __m512i first, second = _mm512_setzero_si512();
    if (type == TYPE_Q8_0) {
        const __m512i index = _mm512_castsi128_si512(_mm_setr_epi16(0, 17, 34, 51, 4, 21, 38, 55));
        first = _mm512_permutex2var_epi16(load512(w), index, load512(w + 64));
        second = _mm512_permutex2var_epi16(load512(w + 128), index, load512(w + 192));
        __m128i both = _mm_blend_epi16(_mm512_castsi512_si128(first), _mm512_castsi512_si128(second), 0xF0);
        return _mm256_maskz_cvtph_ps(live, both);
    }
    const __m512i index = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
    first = _mm512_permutex2var_epi16(load512(w), index, load512(w + 64));
    return _mm256_maskz_cvtph_ps(live, _mm512_castsi512_si128(first));
}

/* The separate arrays of a prepared row. */
typedef struct act_arrays {
    const char *q, *d, *bias;
} act_arrays;

/* Group g: w points at its 8 blocks; blocks that are not live add nothing. */
INLINE void group_q8(tensor_type type, const uint8_t *w, __mmask8 live, size_t g, int tokens, const act_arrays *x,
                     __m256 *acc)
{
    __m512i weights[4];
    for (int i = 0; i < 4; i++)
        weights[i] = weights_pair(type, w, i);
    __m256 d_w = group_scales(type, w, live);
    for (int t = 0; t < tokens; t++) {
        __m512i z[4];
        for (int i = 0; i < 4; i++)
            z[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[i], load512(x[t].q + g * 256 + i * 64));
        __m256i bias = _mm256_load_si256((const __m256i *)(x[t].bias + g * 32));
        if (type == TYPE_Q4_0)
            bias = _mm256_srai_epi32(bias, 4);
        __m256i sums = _mm256_add_epi32(sum_pairs(z[0], z[1], z[2], z[3]), bias);
        __m256 d = _mm256_mul_ps(d_w, _mm256_load_ps((const float *)(x[t].d + g * 32)));
        acc[t] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sums), acc[t]);
    }
}

/* end: the first byte after the range's last row. A group that is not full is read past its row's end if that is
 * still inside the range, otherwise from a copy. */
INLINE void row_q8(tensor_type type, const quant_job *job, const uint8_t *w, const uint8_t *end, int tokens,
                   const act_arrays *x, float *out)
{
    const size_t bytes = type == TYPE_Q8_0 ? sizeof(block_q8_0) : sizeof(block_q4_0), n_blocks = job->k / 32;
    __m256 acc[MAX_ROW_TOKENS];
    for (int t = 0; t < tokens; t++)
        acc[t] = _mm256_setzero_ps();
    size_t g = 0;
    for (; g < n_blocks / 8; g++, w += 8 * bytes) {
        prefetch_ahead(w, 8 * bytes);
        group_q8(type, w, 0xFF, g, tokens, x, acc);
    }
    size_t left = n_blocks % 8;
    if (left) {
        prefetch_ahead(w, left * bytes);
        uint8_t copy[8 * sizeof(block_q8_0)];
        if ((size_t)(end - w) < 8 * bytes) {
            memset(copy, 0, sizeof copy);
            memcpy(copy, w, left * bytes);
            w = copy;
        }
        group_q8(type, w, (__mmask8)((1u << left) - 1), g, tokens, x, acc);
    }
    for (int t = 0; t < tokens; t++)
        out[t * job->out_stride] = tree8(acc[t]);
}

INLINE void rows_q8(tensor_type type, const quant_job *job, int first_token, int tokens)
{
    act_parts parts = act_layout(ACT_Q8, job->k);
    act_arrays x[MAX_ROW_TOKENS];
    for (int t = 0; t < tokens; t++) {
        const char *row = job->acts + (first_token + t) * job->act_bytes;
        x[t] = (act_arrays){row + parts.q, row + parts.d, row + parts.bias};
    }
    const uint8_t *end = job->w + (job->rows - 1) * job->row_bytes + tensor_row_bytes(type, job->k);
    for (int r = 0; r < job->rows; r++)
        row_q8(type, job, job->w + r * job->row_bytes, end, tokens, x, job->out + first_token * job->out_stride + r);
}

/* ---- Q4_K ---------------------------------------------------------------------------------------------------- */

INLINE __m256i fold(__m512i v)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

/* Partial sums of one super-block: of scale * weight * q in 8 lanes, of minimum * q in 4. Products of 4 weights and
 * activations stay below 2^15, so that a 16-bit multiply-add applies the scale. */
INLINE void super_block_q4_k(const uint8_t *w, const act_q8_k_block *const *x, size_t b, int tokens, __m256i *sums,
                             __m128i *minima)
{
    const __m512i low_mask = _mm512_set1_epi8(15);
    const uint8_t *q = w + offsetof(block_q4_k, q);
    __m512i a = load512(q), c = load512(q + 64); /* sub-blocks 0 2, 4 6; high nibbles 1 3, 5 7 */
    __m512i nibbles[4] = {_mm512_and_si512(a, low_mask), _mm512_and_si512(_mm512_srli_epi16(a, 4), low_mask),
                          _mm512_and_si512(c, low_mask), _mm512_and_si512(_mm512_srli_epi16(c, 4), low_mask)};
    uint64_t scale_bytes, minimum_bytes;
    q4_k_unpack(w + offsetof(block_q4_k, scales), &scale_bytes, &minimum_bytes);
    __m512i all = _mm512_set1_epi64((long long)scale_bytes);
    __m128i m = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)minimum_bytes));
    /* Byte s of each 8 into every lane of the low half, byte s + 2 into the high half. */
    const __m512i pick = _mm512_inserti64x4(_mm512_set1_epi32((int)0x80808000), _mm256_set1_epi32((int)0x80808002), 1);
    __m512i scales[4];
    for (int i = 0; i < 4; i++)
        scales[i] = _mm512_shuffle_epi8(all, _mm512_add_epi32(pick, _mm512_set1_epi32((i & 1) + (i & 2) * 2)));
    for (int t = 0; t < tokens; t++) {
        const act_q8_k_block *xb = x[t] + b;
        __m512i sum = _mm512_setzero_si512();
        for (int i = 0; i < 4; i++) {
            const int8_t *xq = xb->q + (i >> 1) * 128 + (i & 1) * 32;
            __m512i p = _mm512_dpbusd_epi32(_mm512_setzero_si512(), nibbles[i], load_halves(xq, xq + 64));
            sum = _mm512_dpwssd_epi32(sum, p, scales[i]);
        }
        sums[t * 8] = fold(sum);
        minima[t * 8] = _mm_madd_epi16(m, _mm_load_si128((const __m128i *)xb->sums));
    }
}

/* 8 registers of 4 partial sums to 8 sums. */
INLINE __m256i sum_fours(const __m128i s[8])
{
    __m128i a = _mm_hadd_epi32(_mm_hadd_epi32(s[0], s[1]), _mm_hadd_epi32(s[2], s[3]));
    __m128i b = _mm_hadd_epi32(_mm_hadd_epi32(s[4], s[5]), _mm_hadd_epi32(s[6], s[7]));
    return _mm256_set_m128i(b, a);
}

/* The halves at p, p + stride, ... as floats; n of 8. */
INLINE __m256 strided_scales(const uint8_t *p, size_t stride, int n)
{
    uint16_t d[8] = {0};
    for (int i = 0; i < n; i++)
        memcpy(&d[i], p + i * stride, sizeof d[i]);
    return _mm256_cvtph_ps(_mm_setr_epi16((short)d[0], (short)d[1], (short)d[2], (short)d[3], (short)d[4], (short)d[5],
                                          (short)d[6], (short)d[7]));
}

/* n super-blocks, b the first, n a constant. */
INLINE void group_q4_k(const uint8_t *w, size_t b, int n, const act_q8_k_block *const *x, const char *const *d_x,
                       int tokens, __m256 *acc)
{
    __m256i sums[MAX_ROW_TOKENS * 8];
    __m128i minima[MAX_ROW_TOKENS * 8];
    for (int i = n; i < 8; i++)
        for (int t = 0; t < tokens; t++) {
            sums[t * 8 + i] = _mm256_setzero_si256();
            minima[t * 8 + i] = _mm_setzero_si128();
        }
    for (int i = 0; i < n; i++)
        super_block_q4_k(w + i * sizeof(block_q4_k), x, b + i, tokens, sums + i, minima + i);
    __m256 d_w = strided_scales(w, sizeof(block_q4_k), n);
    __m256 dmin_w = strided_scales(w + offsetof(block_q4_k, dmin), sizeof(block_q4_k), n);
    for (int t = 0; t < tokens; t++) {
        __m256 d = _mm256_load_ps((const float *)(d_x[t] + b * sizeof(float)));
        acc[t] = _mm256_fmadd_ps(_mm256_mul_ps(d_w, d), _mm256_cvtepi32_ps(sum_eight(sums + t * 8)), acc[t]);
        acc[t] = _mm256_fnmadd_ps(_mm256_mul_ps(dmin_w, d), _mm256_cvtepi32_ps(sum_fours(minima + t * 8)), acc[t]);
    }
}

/* ---- Q6_K ---------------------------------------------------------------------------------------------------- */

INLINE void super_block_q6_k(const uint8_t *w, const act_q8_k_block *const *x, size_t b, int tokens, __m256i *sums)
{
    const __m512i low_mask = _mm512_set1_epi8(15), high_mask = _mm512_set1_epi8(0x30);
    const __m512i left = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i right = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    __m512i weights[4]; /* elements 0-63, 64-127, ... */
    for (int half = 0; half < 2; half++) {
        __m512i low = load512(w + half * 64);
        const uint8_t *qh = w + offsetof(block_q6_k, qh) + half * 32;
        __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)qh));
        weights[half * 2] = _mm512_or_si512(_mm512_and_si512(low, low_mask),
                                            _mm512_and_si512(_mm512_sllv_epi16(high, left), high_mask));
        weights[half * 2 + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(low, 4), low_mask),
                                                _mm512_and_si512(_mm512_srlv_epi16(high, right), high_mask));
    }
    __m128i scale_bytes = _mm_loadu_si128((const __m128i *)(w + offsetof(block_q6_k, scales)));
    __m512i scales = _mm512_cvtepi8_epi32(scale_bytes);
    const __m512i index = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m512i low_words = _mm512_and_si512(scales, _mm512_set1_epi32(0xFFFF));
    for (int t = 0; t < tokens; t++) {
        const act_q8_k_block *xb = x[t] + b;
        __m512i sum = _mm512_mullo_epi32(scales, load512(xb->bias));
        for (int i = 0; i < 4; i++) {
            __m512i p = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[i], load512(xb->q + i * 64));
            __m512i s = _mm512_permutexvar_epi32(_mm512_add_epi32(index, _mm512_set1_epi32(i * 4)), low_words);
            sum = _mm512_dpwssd_epi32(sum, p, s);
        }
        sums[t * 8] = fold(sum);
    }
}

INLINE void group_q6_k(const uint8_t *w, size_t b, int n, const act_q8_k_block *const *x, const char *const *d_x,
                       int tokens, __m256 *acc)
{
    __m256i sums[MAX_ROW_TOKENS * 8];
    for (int i = n; i < 8; i++)
        for (int t = 0; t < tokens; t++)
            sums[t * 8 + i] = _mm256_setzero_si256();
    for (int i = 0; i < n; i++)
        super_block_q6_k(w + i * sizeof(block_q6_k), x, b + i, tokens, sums + i);
    __m256 d_w = strided_scales(w + offsetof(block_q6_k, d), sizeof(block_q6_k), n);
    for (int t = 0; t < tokens; t++) {
        __m256 d = _mm256_mul_ps(d_w, _mm256_load_ps((const float *)(d_x[t] + b * sizeof(float))));
        acc[t] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum_eight(sums + t * 8)), acc[t]);
    }
}

/* ---- rows of super-blocks ------------------------------------------------------------------------------------ */

INLINE void group_k(tensor_type type, const uint8_t *w, size_t b, int n, const act_q8_k_block *const *x,
                    const char *const *d_x, int tokens, __m256 *acc)
{
    if (type == TYPE_Q4_K)
        group_q4_k(w, b, n, x, d_x, tokens, acc);
    else
        group_q6_k(w, b, n, x, d_x, tokens, acc);
}

INLINE void row_k(tensor_type type, const quant_job *job, const uint8_t *w, int tokens, const act_q8_k_block *const *x,
                  const char *const *d_x, float *out)
{
    const size_t bytes = type == TYPE_Q4_K ? sizeof(block_q4_k) : sizeof(block_q6_k), n_blocks = job->k / K_ELEMENTS;
    __m256 acc[MAX_ROW_TOKENS];
    for (int t = 0; t < tokens; t++)
        acc[t] = _mm256_setzero_ps();
    size_t b = 0;
    for (; b + 8 <= n_blocks; b += 8, w += 8 * bytes) {
        prefetch_ahead(w, 8 * bytes);
        group_k(type, w, b, 8, x, d_x, tokens, acc);
    }
    prefetch_ahead(w, (n_blocks - b) * bytes);
    switch (n_blocks - b) {
    case 1:
        group_k(type, w, b, 1, x, d_x, tokens, acc);
        break;
    case 2:
        group_k(type, w, b, 2, x, d_x, tokens, acc);
        break;
    case 3:
        group_k(type, w, b, 3, x, d_x, tokens, acc);
        break;
    case 4:
        group_k(type, w, b, 4, x, d_x, tokens, acc);
        break;
    case 5:
        group_k(type, w, b, 5, x, d_x, tokens, acc);
        break;
    case 6:
        group_k(type, w, b, 6, x, d_x, tokens, acc);
        break;
    case 7:
        group_k(type, w, b, 7, x, d_x, tokens, acc);
        break;
    }
    for (int t = 0; t < tokens; t++)
        out[t * job->out_stride] = tree8(acc[t]);
}

INLINE void rows_k(tensor_type type, const quant_job *job, int first_token, int tokens)
{
    act_parts parts = act_layout(ACT_Q8_K, job->k);
    const act_q8_k_block *x[MAX_ROW_TOKENS];
    const char *d_x[MAX_ROW_TOKENS];
    for (int t = 0; t < tokens; t++) {
        const char *row = job->acts + (first_token + t) * job->act_bytes;
        x[t] = (const act_q8_k_block *)row;
        d_x[t] = row + parts.d;
    }
    for (int r = 0; r < job->rows; r++)
        row_k(type, job, job->w + r * job->row_bytes, tokens, x, d_x, job->out + first_token * job->out_stride + r);
}

/* ---- all types ----------------------------------------------------------------------------------------------- */

INLINE void rows_typed(const quant_job *job, int first_token, int tokens)
{
    switch (job->type) {
    case TYPE_Q8_0:
        rows_q8(TYPE_Q8_0, job, first_token, tokens);
        break;
    case TYPE_Q4_0:
        rows_q8(TYPE_Q4_0, job, first_token, tokens);
        break;
    case TYPE_Q4_K:
        rows_k(TYPE_Q4_K, job, first_token, tokens);
        break;
    default:
        rows_k(TYPE_Q6_K, job, first_token, tokens);
    }
}

void rows_avx512(const quant_job *job)
{
    int t = 0;
    for (; t + MAX_ROW_TOKENS <= job->n_tokens; t += MAX_ROW_TOKENS)
        rows_typed(job, t, MAX_ROW_TOKENS);
    switch (job->n_tokens - t) {
    case 1:
        rows_typed(job, t, 1);
        break;
    case 2:
        rows_typed(job, t, 2);
        break;
    case 3:
        rows_typed(job, t, 3);
        break;
    }
}

#endif
