/*
 * kernels_rows_avx2.c: quantised dot products a row at a time, for AVX2. As in kernels_rows_avx512.c, 8 blocks make a
 * group whose exact sums become the 8 lanes of one register.
 */
#ifdef __x86_64__

#include <immintrin.h>

#include "tensor/kernel_quant.h"

/* The tree over 8 lanes. */
INLINE float tree8(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

/* 8 registers of 8 partial sums to 8 sums. */
INLINE __m256i sum_eight(const __m256i s[8])
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(s[4], s[5]), _mm256_hadd_epi32(s[6], s[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* 8 registers of 4 partial sums to 8 sums. */
INLINE __m256i sum_fours(const __m128i s[8])
{
    __m128i a = _mm_hadd_epi32(_mm_hadd_epi32(s[0], s[1]), _mm_hadd_epi32(s[2], s[3]));
    __m128i b = _mm_hadd_epi32(_mm_hadd_epi32(s[4], s[5]), _mm_hadd_epi32(s[6], s[7]));
    return _mm256_set_m128i(b, a);
}

INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* The halves at p, p + stride, ... as floats; n of 8. */
INLINE __m256 strided_scales(const uint8_t *p, size_t stride, int n)
{
    uint16_t d[8] = {0};
    for (int i = 0; i < n; i++)
        d[i] = load16(p + i * stride);
    return _mm256_cvtph_ps(_mm_setr_epi16((short)d[0], (short)d[1], (short)d[2], (short)d[3], (short)d[4], (short)d[5],
                                          (short)d[6], (short)d[7]));
}

/* ---- Q8_0 and Q4_0 ------------------------------------------------------------------------------------------- */

/* Partial sums of a block in 8 lanes. Bytes multiply as unsigned by signed: |w| by q with w's sign. |w| is 128 at most
 * and |q| 127, so pairs stay below 2^15. */
INLINE __m256i products_q8_0(const uint8_t *w, const char *q)
{
    __m256i v = load256(w + 2);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(load256(q), v));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* The same, of nibbles that are 8 too large. */
INLINE __m256i products_q4_0(const uint8_t *w, const char *q)
{
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(w + 2)));
    v = _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_setr_epi64x(0, 0, 4, 4)), _mm256_set1_epi8(15));
    return _mm256_madd_epi16(_mm256_maddubs_epi16(v, load256(q)), _mm256_set1_epi16(1));
}

/* n blocks, n a constant, at group g. */
INLINE __m256 group_q8(tensor_type type, const uint8_t *w, const char *row, const act_parts *parts, size_t g, int n,
                       __m256 acc)
{
    const size_t bytes = type == TYPE_Q8_0 ? sizeof(block_q8_0) : sizeof(block_q4_0);
    const char *q = row + parts->q + g * 256;
    __m256i s[8];
    UNROLL
    for (int i = 0; i < 8; i++) {
        if (i >= n)
            s[i] = _mm256_setzero_si256();
        else if (type == TYPE_Q8_0)
            s[i] = products_q8_0(w + i * bytes, q + i * 32);
        else
            s[i] = products_q4_0(w + i * bytes, q + i * 32);
    }
    __m256i sums = sum_eight(s);
    if (type == TYPE_Q4_0) {
        __m256i bias = _mm256_load_si256((const __m256i *)(row + parts->bias + g * 32));
        sums = _mm256_add_epi32(sums, _mm256_srai_epi32(bias, 4));
    }
    __m256 d = _mm256_mul_ps(strided_scales(w, bytes, n), _mm256_load_ps((const float *)(row + parts->d + g * 32)));
    return _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sums), acc);
}

/* ---- Q4_K and Q6_K ------------------------------------------------------------------------------------------- */

/* Word j of 8 words, in all words of both halves. */
INLINE __m256i pick_word(__m256i words, int j)
{
    return _mm256_shuffle_epi8(words, _mm256_set1_epi16((short)(2 * j | (2 * j + 1) << 8)));
}

/* Word 2j of the first half's 8 words in all words of the low half, word 2j + 1 in those of the high half. */
INLINE __m256i pick_pair(__m256i words, int j)
{
    __m128i even = _mm_set1_epi16((short)(4 * j | (4 * j + 1) << 8));
    __m128i odd = _mm_set1_epi16((short)((4 * j + 2) | (4 * j + 3) << 8));
    return _mm256_shuffle_epi8(words, _mm256_set_m128i(odd, even));
}

INLINE void super_block_q4_k(const uint8_t *w, const act_q8_k_block *x, __m256i *sums, __m128i *minima)
{
    const __m256i mask = _mm256_set1_epi8(15);
    uint64_t scale_bytes, minimum_bytes;
    q4_k_unpack(w + offsetof(block_q4_k, scales), &scale_bytes, &minimum_bytes);
    __m256i scales = _mm256_cvtepu8_epi16(_mm_set1_epi64x((long long)scale_bytes));
    __m256i sum = _mm256_setzero_si256();
    UNROLL
    for (int g = 0; g < 4; g++) {
        __m256i v = load256(w + offsetof(block_q4_k, q) + g * 32);
        __m256i low = _mm256_and_si256(v, mask), high = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        low = _mm256_maddubs_epi16(low, load256(x->q + g * 64));
        high = _mm256_maddubs_epi16(high, load256(x->q + g * 64 + 32));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, pick_word(scales, 2 * g)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(high, pick_word(scales, 2 * g + 1)));
    }
    *sums = sum;
    __m128i m = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)minimum_bytes));
    *minima = _mm_madd_epi16(m, _mm_loadu_si128((const __m128i *)x->sums));
}

INLINE __m256 group_q4_k(const uint8_t *w, const act_q8_k_block *x, __m256 d_x, int n, __m256 acc)
{
    __m256i sums[8];
    __m128i minima[8];
    UNROLL
    for (int i = 0; i < 8; i++) {
        if (i < n) {
            super_block_q4_k(w + i * sizeof(block_q4_k), x + i, &sums[i], &minima[i]);
        } else {
            sums[i] = _mm256_setzero_si256();
            minima[i] = _mm_setzero_si128();
        }
    }
    __m256 d = _mm256_mul_ps(strided_scales(w, sizeof(block_q4_k), n), d_x);
    __m256 dmin = _mm256_mul_ps(strided_scales(w + offsetof(block_q4_k, dmin), sizeof(block_q4_k), n), d_x);
    acc = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum_eight(sums)), acc);
    return _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(sum_fours(minima)), acc);
}

/* 32 weights of 6 bits, as unsigned bytes: low nibbles, and 2 bits at bit `shift` of high. */
INLINE __m256i join_q6(__m256i low, __m256i high, int shift)
{
    high = shift < 4 ? _mm256_slli_epi16(high, 4 - shift) : _mm256_srli_epi16(high, shift - 4);
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)), _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
}

INLINE __m256i super_block_q6_k(const uint8_t *w, const act_q8_k_block *x)
{
    __m128i scale_bytes = _mm_loadu_si128((const __m128i *)(w + offsetof(block_q6_k, scales)));
    __m256i words = _mm256_cvtepi8_epi16(scale_bytes);
    /* What the weights are too large by, 32, comes off through the sums of 16 q. */
    __m256i bias = _mm256_madd_epi16(words, load256(x->sums16));
    __m256i sum = _mm256_slli_epi32(_mm256_sub_epi32(_mm256_setzero_si256(), bias), 5);
    __m256i first = _mm256_broadcastsi128_si256(_mm256_castsi256_si128(words));
    __m256i second = _mm256_broadcastsi128_si256(_mm256_extracti128_si256(words, 1));
    UNROLL
    for (int half = 0; half < 2; half++) {
        __m256i high = load256(w + offsetof(block_q6_k, qh) + half * 32);
        UNROLL
        for (int i = 0; i < 4; i++) {
            __m256i low = load256(w + half * 64 + i % 2 * 32);
            __m256i v = join_q6(i < 2 ? low : _mm256_srli_epi16(low, 4), high, i * 2);
            __m256i pairs = _mm256_maddubs_epi16(v, load256(x->q + half * 128 + i * 32));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, pick_pair(half ? second : first, i)));
        }
    }
    return sum;
}

INLINE __m256 group_q6_k(const uint8_t *w, const act_q8_k_block *x, __m256 d_x, int n, __m256 acc)
{
    __m256i sums[8];
    UNROLL
    for (int i = 0; i < 8; i++)
        sums[i] = i < n ? super_block_q6_k(w + i * sizeof(block_q6_k), x + i) : _mm256_setzero_si256();
    __m256 d = _mm256_mul_ps(strided_scales(w + offsetof(block_q6_k, d), sizeof(block_q6_k), n), d_x);
    return _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum_eight(sums)), acc);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

INLINE __m256 group(tensor_type type, const uint8_t *w, const char *row, const act_parts *parts, size_t g, int n,
                    __m256 acc)
{
    if (type == TYPE_Q8_0 || type == TYPE_Q4_0)
        return group_q8(type, w, row, parts, g, n, acc);
    const act_q8_k_block *x = (const act_q8_k_block *)row + g * 8;
    __m256 d_x = _mm256_load_ps((const float *)(row + parts->d + g * 32));
    return type == TYPE_Q4_K ? group_q4_k(w, x, d_x, n, acc) : group_q6_k(w, x, d_x, n, acc);
}

/* The groups of a row, the last one not full if n_last is not 0; n_last is a constant. */
INLINE float row(tensor_type type, const uint8_t *w, const char *acts, const act_parts *parts, size_t n_groups,
                 int n_last)
{
    const size_t bytes = type == TYPE_Q8_0   ? sizeof(block_q8_0)
                         : type == TYPE_Q4_0 ? sizeof(block_q4_0)
                         : type == TYPE_Q4_K ? sizeof(block_q4_k)
                                             : sizeof(block_q6_k);
    __m256 acc = _mm256_setzero_ps();
    size_t g = 0;
    for (; g < n_groups; g++, w += 8 * bytes) {
        prefetch_ahead(w, 8 * bytes);
        acc = group(type, w, acts, parts, g, 8, acc);
    }
    if (n_last) {
        prefetch_ahead(w, (size_t)n_last * bytes);
        acc = group(type, w, acts, parts, g, n_last, acc);
    }
    return tree8(acc);
}

INLINE void rows_ending(tensor_type type, const quant_job *job, int n_last)
{
    const act_parts parts = act_layout(act_type_for(type), job->k);
    const size_t n_groups = job->k / (type == TYPE_Q8_0 || type == TYPE_Q4_0 ? 32 : K_ELEMENTS) / 8;
    for (int t = 0; t < job->n_tokens; t++)
        for (int r = 0; r < job->rows; r++)
            job->out[t * job->out_stride + r] =
                row(type, job->w + r * job->row_bytes, job->acts + t * job->act_bytes, &parts, n_groups, n_last);
}

INLINE void rows_typed(tensor_type type, const quant_job *job)
{
    switch (job->k / (type == TYPE_Q8_0 || type == TYPE_Q4_0 ? 32 : K_ELEMENTS) % 8) {
    case 0:
        rows_ending(type, job, 0);
        break;
    case 1:
        rows_ending(type, job, 1);
        break;
    case 2:
        rows_ending(type, job, 2);
        break;
    case 3:
        rows_ending(type, job, 3);
        break;
    case 4:
        rows_ending(type, job, 4);
        break;
    case 5:
        rows_ending(type, job, 5);
        break;
    case 6:
        rows_ending(type, job, 6);
        break;
    default:
        rows_ending(type, job, 7);
    }
}

void rows_avx2(const quant_job *job)
{
    switch (job->type) {
    case TYPE_Q8_0:
        rows_typed(TYPE_Q8_0, job);
        break;
    case TYPE_Q4_0:
        rows_typed(TYPE_Q4_0, job);
        break;
    case TYPE_Q4_K:
        rows_typed(TYPE_Q4_K, job);
        break;
    default:
        rows_typed(TYPE_Q6_K, job);
    }
}

#endif
