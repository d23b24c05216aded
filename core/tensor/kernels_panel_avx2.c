/*
 * kernels_panel_avx2.c: quantised products with many tokens, for AVX2. As in kernels_panel_avx512.c, 16 rows of weights
 * are interleaved into a panel whose lanes are rows; here a register holds 8 rows, so that a panel has two halves.
 *
 * Bytes multiply as unsigned by signed into sums of two, 16 bits wide, which must not overflow:
 *   Q8_0        |w| <= 128 by q with w's sign: one product of a pair at a time
 *   Q4_0, Q4_K  nibbles <= 15: all 8 steps of 32 elements add up in 16 bits
 *   Q6_K        <= 63: two steps add up in 16 bits
 */
#ifdef __x86_64__

#include <immintrin.h>

#include "tensor/kernel_quant.h"
#include "tensor/kernel_tables.h"

enum {
    TOKENS_Q8_0 = 8, /* most tokens of a tile, which is 8 rows high for Q8_0 and 16 for the others */
    TOKENS_Q4 = 4,
};

typedef struct panel {
    int rows;          /* rows that are really there */
    __m256i *q;        /* [block][half][registers of a block] */
    int16_t *scales;   /* Q4_K, Q6_K: [block][sub-block][16][2], each scale twice, for multiply-adds of pairs */
    int16_t *minima;   /* Q4_K, Q6_K: [block][pair of sub-blocks][16][2]; Q6_K: 32 * scale */
    float *d, *dmin;   /* [block][16] */
    __m256 *lanes;     /* [8][halves * tokens] */
    const char *next;  /* the rows after these, to fetch into the second-level cache meanwhile */
    size_t next_bytes; /* 0: none */
} panel;

/* ---- interleaving -------------------------------------------------------------------------------------------- */

/* 32 bytes at p of each of 8 rows to 8 registers of 4 bytes of 8 rows. */
INLINE void interleave32(const uint8_t *const *rows, size_t p, __m256i z[8])
{
    __m256i a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm256_loadu_si256((const __m256i *)(rows[i] + p));
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm256_unpacklo_epi64(b[i + j], b[i + j + 2]);
            a[i + 2 * j + 1] = _mm256_unpackhi_epi64(b[i + j], b[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        z[i] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x20);
        z[i + 4] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x31);
    }
}

/* 16 bytes at p of each of 8 rows to 4 registers of 4 bytes of 8 rows. */
INLINE void interleave16(const uint8_t *const *rows, size_t p, __m256i z[4])
{
    __m256i a[4];
    for (int i = 0; i < 4; i++)
        a[i] = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(rows[i + 4] + p)),
                                _mm_loadu_si128((const __m128i *)(rows[i] + p)));
    __m256i b0 = _mm256_unpacklo_epi32(a[0], a[1]), b1 = _mm256_unpackhi_epi32(a[0], a[1]);
    __m256i b2 = _mm256_unpacklo_epi32(a[2], a[3]), b3 = _mm256_unpackhi_epi32(a[2], a[3]);
    z[0] = _mm256_unpacklo_epi64(b0, b2);
    z[1] = _mm256_unpackhi_epi64(b0, b2);
    z[2] = _mm256_unpacklo_epi64(b1, b3);
    z[3] = _mm256_unpackhi_epi64(b1, b3);
}

/* The halves at p of 16 rows, as floats. */
static void pack_d(const uint8_t *const *rows, size_t p, float *d)
{
    uint16_t half[16];
    for (int r = 0; r < 16; r++)
        half[r] = load16(rows[r] + p);
    _mm256_store_ps(d, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)half)));
    _mm256_store_ps(d + 8, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(half + 8))));
}

INLINE __m256i low_nibbles(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

INLINE __m256i high_nibbles(__m256i v)
{
    return low_nibbles(_mm256_srli_epi16(v, 4));
}

static void pack_q8_0(const uint8_t *const *rows, size_t n_blocks, const panel *to)
{
    for (size_t b = 0; b < n_blocks; b++) {
        interleave32(rows, b * 34 + 2, to->q + b * 16);
        interleave32(rows + 8, b * 34 + 2, to->q + b * 16 + 8);
        pack_d(rows, b * 34, to->d + b * 16);
    }
}

static void pack_q4_0(const uint8_t *const *rows, size_t n_blocks, const panel *to)
{
    for (size_t b = 0; b < n_blocks; b++) {
        for (int half = 0; half < 2; half++) {
            __m256i z[4], *q = to->q + (b * 2 + half) * 8;
            interleave16(rows + half * 8, b * 18 + 2, z);
            for (int i = 0; i < 4; i++) {
                q[i] = low_nibbles(z[i]);
                q[i + 4] = high_nibbles(z[i]);
            }
        }
        pack_d(rows, b * 18, to->d + b * 16);
    }
}

/* Bytes a and b of 16 rows as pairs of words. */
INLINE void store_pairs(int16_t *to, __m128i a, __m128i b, bool is_signed)
{
    __m128i low = _mm_unpacklo_epi8(a, b), high = _mm_unpackhi_epi8(a, b);
    __m256i *p = (__m256i *)to;
    _mm256_store_si256(p, is_signed ? _mm256_cvtepi8_epi16(low) : _mm256_cvtepu8_epi16(low));
    _mm256_store_si256(p + 1, is_signed ? _mm256_cvtepi8_epi16(high) : _mm256_cvtepu8_epi16(high));
}

static void pack_q4_k_scales(const uint8_t *const *rows, size_t p, int16_t *scales, int16_t *minima)
{
    __m128i turned[16];
    q4_k_columns(rows, p, turned);
    for (int j = 0; j < 8; j++)
        store_pairs(scales + j * 32, turned[j], turned[j], false);
    for (int j = 0; j < 4; j++)
        store_pairs(minima + j * 32, turned[8 + 2 * j], turned[9 + 2 * j], false);
}

static void pack_q6_k_scales(const uint8_t *const *rows, size_t p, int16_t *scales, int16_t *minima)
{
    __m128i turned[16];
    q6_k_columns(rows, p, turned);
    for (int j = 0; j < 16; j++)
        store_pairs(scales + j * 32, turned[j], turned[j], true);
    for (int j = 0; j < 8; j++) {
        store_pairs(minima + j * 32, turned[2 * j], turned[2 * j + 1], true);
        for (int i = 0; i < 2; i++) {
            __m256i *m = (__m256i *)(minima + j * 32) + i;
            _mm256_store_si256(m, _mm256_slli_epi16(_mm256_load_si256(m), 5));
        }
    }
}

static void pack_q4_k(const uint8_t *const *rows, size_t n_blocks, const panel *to)
{
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * sizeof(block_q4_k);
        for (int half = 0; half < 2; half++)
            for (int group = 0; group < 4; group++) {
                __m256i z[8], *q = to->q + (b * 2 + half) * 64 + group * 16;
                interleave32(rows + half * 8, at + offsetof(block_q4_k, q) + group * 32, z);
                for (int i = 0; i < 8; i++) {
                    q[i] = low_nibbles(z[i]);
                    q[i + 8] = high_nibbles(z[i]);
                }
            }
        pack_q4_k_scales(rows, at, to->scales + b * 512, to->minima + b * 256);
        pack_d(rows, at, to->d + b * 16);
        pack_d(rows, at + offsetof(block_q4_k, dmin), to->dmin + b * 16);
    }
}

/* low: 4 bits; high: 2 bits, at bit `shift` of their bytes. */
INLINE __m256i join_q6(__m256i low, __m256i high, int shift)
{
    high = shift < 4 ? _mm256_slli_epi16(high, 4 - shift) : _mm256_srli_epi16(high, shift - 4);
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
}

static void pack_q6_k(const uint8_t *const *rows, size_t n_blocks, const panel *to)
{
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * sizeof(block_q6_k);
        for (int i = 0; i < 4; i++) { /* halves of the rows, halves of the super-block */
            const uint8_t *const *from = rows + i / 2 * 8;
            __m256i a[8], c[8], high[8], *q = to->q + b * 128 + i * 32;
            interleave32(from, at + i % 2 * 64, a);
            interleave32(from, at + i % 2 * 64 + 32, c);
            interleave32(from, at + offsetof(block_q6_k, qh) + i % 2 * 32, high);
            for (int j = 0; j < 8; j++) {
                q[j] = join_q6(low_nibbles(a[j]), high[j], 0);
                q[8 + j] = join_q6(low_nibbles(c[j]), high[j], 2);
                q[16 + j] = join_q6(high_nibbles(a[j]), high[j], 4);
                q[24 + j] = join_q6(high_nibbles(c[j]), high[j], 6);
            }
        }
        pack_q6_k_scales(rows, at, to->scales + b * 512, to->minima + b * 256);
        pack_d(rows, at + offsetof(block_q6_k, d), to->d + b * 16);
    }
}

/* Rows that are missing at the end are read as the last one again, and their results dropped. */
static void pack(const quant_job *job, int first_row, panel *to)
{
    size_t n_blocks = job->k / tensor_type_describe(job->type)->block_elements;
    const uint8_t *rows[16];
    for (int r = 0; r < 16; r++)
        rows[r] = job->w + (first_row + (r < to->rows ? r : to->rows - 1)) * job->row_bytes;
    switch (job->type) {
    case TYPE_Q8_0:
        pack_q8_0(rows, n_blocks, to);
        break;
    case TYPE_Q4_0:
        pack_q4_0(rows, n_blocks, to);
        break;
    case TYPE_Q4_K:
        pack_q4_k(rows, n_blocks, to);
        break;
    default:
        pack_q6_k(rows, n_blocks, to);
    }
}

/* ---- tiles --------------------------------------------------------------------------------------------------- */

INLINE __m256i broadcast32(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

INLINE __m256 broadcast_float(const void *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_ps(v);
}

/* *lane += d_w * d_x * sum, the canonical step. */
INLINE void add_block(__m256 *lane, const float *d_w, const char *d_x, __m256i sum)
{
    __m256 d = _mm256_mul_ps(_mm256_load_ps(d_w), broadcast_float(d_x));
    *lane = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum), *lane);
}

/* Half a panel, 8 rows, of Q8_0. */
INLINE void block_q8_0_half(int tokens, const __m256i *q, const float *d, const columns *x, __m256 *lane)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[TOKENS_Q8_0];
    UNROLL
    for (int t = 0; t < tokens; t++)
        sums[t] = _mm256_setzero_si256();
    UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i w = _mm256_load_si256(q + i), magnitude = _mm256_abs_epi8(w);
        UNROLL
        for (int t = 0; t < tokens; t++) {
            __m256i v = _mm256_sign_epi8(broadcast32(column(x, t) + i * 4), w);
            sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, v), ones));
        }
    }
    UNROLL
    for (int t = 0; t < tokens; t++)
        add_block(lane + t, d, column(x, t) + offsetof(act_q8_block, d), sums[t]);
}

/* n steps of 4 elements, whose sums of pairs fit 16 bits, of both halves of a panel. */
INLINE void multiply_pairs(int tokens, int n, const __m256i *q, size_t half_registers, const columns *x, size_t offset,
                           __m256i sums[2][TOKENS_Q4])
{
    UNROLL
    for (int i = 0; i < n; i++) {
        __m256i w[2] = {_mm256_load_si256(q + i), _mm256_load_si256(q + half_registers + i)};
        UNROLL
        for (int t = 0; t < tokens; t++) {
            __m256i v = broadcast32(column(x, t) + offset + i * 4);
            UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i product = _mm256_maddubs_epi16(w[h], v);
                sums[h][t] = i ? _mm256_add_epi16(sums[h][t], product) : product;
            }
        }
    }
}

INLINE void block_q4_0_tile(int tokens, const panel *from, size_t b, const columns *x, __m256 *lane)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[2][TOKENS_Q4];
    multiply_pairs(tokens, 8, from->q + b * 16, 8, x, 0, sums);
    UNROLL
    for (int t = 0; t < tokens; t++) {
        __m256i bias = _mm256_srai_epi32(broadcast32(column(x, t) + offsetof(act_q8_block, bias)), 4);
        UNROLL
        for (int h = 0; h < 2; h++)
            add_block(lane + h * tokens + t, from->d + b * 16 + h * 8, column(x, t) + offsetof(act_q8_block, d),
                      _mm256_add_epi32(_mm256_madd_epi16(sums[h][t], ones), bias));
    }
}

/* The sum of minimum times sum of q over n pairs of sub-blocks. */
INLINE __m256i sum_minima(int n, const int16_t *minima, const char *sums)
{
    __m256i m = _mm256_setzero_si256();
    UNROLL
    for (int j = 0; j < n; j++) {
        __m256i w = _mm256_load_si256((const __m256i *)(minima + j * 32));
        m = _mm256_add_epi32(m, _mm256_madd_epi16(w, broadcast32(sums + j * 4)));
    }
    return m;
}

/* total += scale * sum, for a sub-block. */
INLINE void add_scaled(int tokens, const int16_t *scales, __m256i sums[2][TOKENS_Q4], __m256i total[2][TOKENS_Q4])
{
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i s = _mm256_load_si256((const __m256i *)(scales + h * 16));
        UNROLL
        for (int t = 0; t < tokens; t++)
            total[h][t] = _mm256_add_epi32(total[h][t], _mm256_madd_epi16(sums[h][t], s));
    }
}

INLINE void block_q4_k_tile(int tokens, const panel *from, size_t b, const columns *x, __m256 *lane)
{
    __m256i total[2][TOKENS_Q4] = {0};
#pragma GCC unroll 1
    for (int j = 0; j < 8; j++) {
        __m256i sums[2][TOKENS_Q4];
        multiply_pairs(tokens, 8, from->q + b * 128 + j * 8, 64, x, j * 32, sums);
        add_scaled(tokens, from->scales + b * 512 + j * 32, sums, total);
    }
    UNROLL
    for (int t = 0; t < tokens; t++) {
        const char *xt = column(x, t), *d_x = xt + offsetof(act_q8_k_block, d);
        UNROLL
        for (int h = 0; h < 2; h++) {
            __m256 *acc = lane + h * tokens + t;
            __m256i m = sum_minima(4, from->minima + b * 256 + h * 16, xt + offsetof(act_q8_k_block, sums));
            add_block(acc, from->d + b * 16 + h * 8, d_x, total[h][t]);
            __m256 dmin = _mm256_mul_ps(_mm256_load_ps(from->dmin + b * 16 + h * 8), broadcast_float(d_x));
            *acc = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(m), *acc);
        }
    }
}

INLINE void block_q6_k_tile(int tokens, const panel *from, size_t b, const columns *x, __m256 *lane)
{
    __m256i total[2][TOKENS_Q4] = {0};
#pragma GCC unroll 1
    for (int j = 0; j < 16; j++) {
        UNROLL
        for (int step = 0; step < 4; step += 2) {
            __m256i sums[2][TOKENS_Q4];
            multiply_pairs(tokens, 2, from->q + b * 128 + j * 4 + step, 64, x, j * 16 + step * 4, sums);
            add_scaled(tokens, from->scales + b * 512 + j * 32, sums, total);
        }
    }
    UNROLL
    for (int t = 0; t < tokens; t++) {
        const char *xt = column(x, t);
        UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i m = sum_minima(8, from->minima + b * 256 + h * 16, xt + offsetof(act_q8_k_block, sums16));
            add_block(lane + h * tokens + t, from->d + b * 16 + h * 8, xt + offsetof(act_q8_k_block, d),
                      _mm256_sub_epi32(total[h][t], m));
        }
    }
}

/* Adds the 8 lanes as the tree and writes the rows of each token. */
INLINE void finish_tile(int halves, int tokens, const __m256 *lanes, int rows, float *out, size_t out_stride)
{
    const int n = halves * tokens;
    for (int h = 0; h < halves && rows > h * 8; h++)
        for (int t = 0; t < tokens; t++) {
            const __m256 *l = lanes + h * tokens + t;
            __m256 s04 = _mm256_add_ps(l[0], l[4 * n]), s15 = _mm256_add_ps(l[n], l[5 * n]);
            __m256 s26 = _mm256_add_ps(l[2 * n], l[6 * n]), s37 = _mm256_add_ps(l[3 * n], l[7 * n]);
            __m256 sum = _mm256_add_ps(_mm256_add_ps(s04, s26), _mm256_add_ps(s15, s37));
            float *to = out + t * out_stride + h * 8;
            if (rows >= h * 8 + 8) {
                _mm256_storeu_ps(to, sum);
            } else {
                float all[8];
                _mm256_storeu_ps(all, sum);
                memcpy(to, all, (rows - h * 8) * sizeof(float));
            }
        }
}

/* What is fetched of the next panel while one block of this one is worked on. */
INLINE void fetch_ahead(const panel *from, size_t b, size_t n_blocks)
{
    size_t begin = from->next_bytes * b / n_blocks, end = from->next_bytes * (b + 1) / n_blocks;
    for (size_t i = begin; i < end; i += 64)
        _mm_prefetch(from->next + i, _MM_HINT_T1);
}

/* Q8_0: rows 8 * half to 8 * half + 7. The others: both halves. */
INLINE void tile(tensor_type type, int half, int tokens, const quant_job *job, const panel *from, int first_token,
                 float *out)
{
    const bool q8 = type == TYPE_Q8_0 || type == TYPE_Q4_0;
    const int halves = type == TYPE_Q8_0 ? 1 : 2;
    const size_t n_blocks = job->k / (q8 ? 32 : K_ELEMENTS);
    columns x = columns_at(job, first_token, tokens);
    for (int i = 0; i < 8 * halves * tokens; i++)
        from->lanes[i] = _mm256_setzero_ps();
    for (size_t b = 0; b < n_blocks; b++) {
        __m256 *lane = from->lanes + b % 8 * halves * tokens;
        if (from->next_bytes)
            fetch_ahead(from, b, n_blocks);
        if (type == TYPE_Q8_0)
            block_q8_0_half(tokens, from->q + (b * 2 + half) * 8, from->d + b * 16 + half * 8, &x, lane);
        else if (type == TYPE_Q4_0)
            block_q4_0_tile(tokens, from, b, &x, lane);
        else if (type == TYPE_Q4_K)
            block_q4_k_tile(tokens, from, b, &x, lane);
        else
            block_q6_k_tile(tokens, from, b, &x, lane);
        advance(&x, tokens, q8 ? sizeof(act_q8_block) : sizeof(act_q8_k_block));
    }
    finish_tile(halves, tokens, from->lanes, from->rows - half * 8, out + first_token * job->out_stride + half * 8,
                job->out_stride);
}

typedef void tile_function(const quant_job *job, const panel *from, int first_token, int half, float *out);

#define TILE(type, tokens)                                                                                             \
    static void tile_##type##_##tokens(const quant_job *job, const panel *from, int first, int half, float *out)       \
    {                                                                                                                  \
        tile(TYPE_##type, half, tokens, job, from, first, out);                                                        \
    }
#define TILES_4(type)                                                                                                  \
    TILE(type, 1)                                                                                                      \
    TILE(type, 2)                                                                                                      \
    TILE(type, 3)                                                                                                      \
    TILE(type, 4)
#define NAMES_4(type) tile_##type##_1, tile_##type##_2, tile_##type##_3, tile_##type##_4

TILES_4(Q8_0)
TILE(Q8_0, 5)
TILE(Q8_0, 6)
TILE(Q8_0, 7)
TILE(Q8_0, 8)
TILES_4(Q4_0)
TILES_4(Q4_K)
TILES_4(Q6_K)

static tile_function *const tiles_q8_0[TOKENS_Q8_0] = {NAMES_4(Q8_0), tile_Q8_0_5, tile_Q8_0_6, tile_Q8_0_7,
                                                       tile_Q8_0_8};
static tile_function *const tiles_q4_0[TOKENS_Q4] = {NAMES_4(Q4_0)};
static tile_function *const tiles_q4_k[TOKENS_Q4] = {NAMES_4(Q4_K)};
static tile_function *const tiles_q6_k[TOKENS_Q4] = {NAMES_4(Q6_K)};

/* Tokens go in tiles of nearly equal size, none larger than the largest kernel. */
static void all_tokens(const quant_job *job, panel *from, float *out)
{
    const int most = job->type == TYPE_Q8_0 ? TOKENS_Q8_0 : TOKENS_Q4;
    const int n_tiles = (job->n_tokens + most - 1) / most;
    tile_function *const *tiles = job->type == TYPE_Q8_0   ? tiles_q8_0
                                  : job->type == TYPE_Q4_0 ? tiles_q4_0
                                  : job->type == TYPE_Q4_K ? tiles_q4_k
                                                           : tiles_q6_k;
    for (int i = 0; i < n_tiles; i++) {
        int begin = job->n_tokens * i / n_tiles, tokens = job->n_tokens * (i + 1) / n_tiles - begin;
        tiles[tokens - 1](job, from, begin, 0, out);
        from->next_bytes = 0;
        if (job->type == TYPE_Q8_0 && from->rows > 8)
            tiles[tokens - 1](job, from, begin, 1, out);
    }
}

/* Cuts the scratch memory into the parts of a panel. */
static panel panel_in(char *scratch, size_t n_blocks, size_t elements)
{
    panel p = {.lanes = (__m256 *)scratch, .q = (__m256i *)(scratch + MATMUL_TILE_BYTES)};
    const size_t per_block = elements == 32 ? 0 : 256;
    p.d = (float *)(p.q + n_blocks * elements / 2);
    p.dmin = p.d + n_blocks * 16;
    p.scales = (int16_t *)(p.dmin + n_blocks * 16);
    p.minima = p.scales + n_blocks * per_block * 2;
    return p;
}

void panels_avx2(const quant_job *job)
{
    const size_t elements = tensor_type_describe(job->type)->block_elements;
    panel p = panel_in(job->scratch, job->k / elements, elements);
    for (int r = 0; r < job->rows; r += 16) {
        int left = job->rows - r;
        p.rows = left < 16 ? left : 16;
        int after = left - p.rows < 16 ? left - p.rows : 16;
        p.next = (const char *)job->w + (size_t)(r + p.rows) * job->row_bytes;
        p.next_bytes = (size_t)after * job->row_bytes;
        pack(job, r, &p);
        all_tokens(job, &p, job->out + r);
    }
}

#endif
