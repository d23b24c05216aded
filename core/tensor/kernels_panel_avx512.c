/*
 * kernels_panel_avx512.c: quantised products with many tokens. 16 or 32 rows of weights are interleaved into a panel in
 * which a lane is a row; tiles of the panel and some tokens keep their integer sums in registers, with the activations
 * broadcast from memory. The 8 float lanes of the canonical order lie in the first-level cache.
 *
 * A panel's block of 4 * n elements is n registers, each with 4 elements of 16 rows, as unsigned bytes.
 */
#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#include "tensor/kernel_quant.h"
#include "tensor/kernel_tables.h"

enum {
    MAX_PANELS = 2, /* of 16 rows, beside each other in a tile */
    TOKENS_Q8 = 12, /* most tokens of a tile: two panels of 12 take 24 registers */
    TOKENS_K = 6,   /* the same for super-blocks, which need two sums for an output */
};

typedef struct panel {
    int n;               /* panels of 16 rows: 1 or 2 */
    int rows;            /* rows that are really there */
    __m512i *q;          /* [block][panel][registers of a block] */
    uint8_t *scales;     /* Q4_K, Q6_K: [block][panel][sub-block][16] */
    int16_t *minima;     /* Q4_K: [block][panel][pair of sub-blocks][16][2] */
    uint16_t *d, *dmin;  /* [block][panel][16] half precision */
    __m512 *lanes;       /* [8][panels * tokens] */
    const uint8_t *next; /* the rows after these, to fetch into the second-level cache meanwhile */
    size_t next_bytes;   /* 0: none */
} panel;

/* ---- interleaving -------------------------------------------------------------------------------------------- */

/* Turns 4 registers into the 4 x 4 transpose of the 32-bit elements inside each 128 bits. */
INLINE void transpose4(__m512i z[4])
{
    __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
    __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
    z[0] = _mm512_unpacklo_epi64(a, c);
    z[1] = _mm512_unpackhi_epi64(a, c);
    z[2] = _mm512_unpacklo_epi64(b, d);
    z[3] = _mm512_unpackhi_epi64(b, d);
}

/* 16 bytes at p of each of 16 rows to 4 registers of 4 bytes of 16 rows. */
INLINE void interleave16(const uint8_t *const *rows, size_t p, __m512i z[4])
{
    for (int i = 0; i < 4; i++) {
        __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows[i] + p)));
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[i + 4] + p)), 1);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[i + 8] + p)), 2);
        z[i] = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(rows[i + 12] + p)), 3);
    }
    transpose4(z);
}

/* 32 bytes at p of each of 16 rows to 8 registers of 4 bytes of 16 rows. */
INLINE void interleave32(const uint8_t *const *rows, size_t p, __m512i z[8])
{
    for (int i = 0; i < 8; i++) {
        int r = i < 4 ? i : i + 4;
        __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(rows[r] + p)));
        z[i] = _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i *)(rows[r + 4] + p)), 1);
    }
    transpose4(z);
    transpose4(z + 4);
    for (int i = 0; i < 4; i++) {
        __m512i a = z[i], b = z[i + 4];
        z[i] = _mm512_shuffle_i64x2(a, b, 0x88);
        z[i + 4] = _mm512_shuffle_i64x2(a, b, 0xDD);
    }
}

static void pack_q8_0(const uint8_t *const *rows, size_t n_blocks, int n, int which, const panel *to)
{
    const __m512i flip = _mm512_set1_epi8(-128);
    for (size_t b = 0; b < n_blocks; b++) {
        __m512i z[8], *q = to->q + (b * n + which) * 8;
        uint16_t *d = to->d + (b * n + which) * 16;
        interleave32(rows, b * 34 + 2, z);
        for (int i = 0; i < 8; i++)
            _mm512_store_si512(q + i, _mm512_xor_si512(z[i], flip));
        for (int r = 0; r < 16; r++)
            d[r] = load16(rows[r] + b * 34);
    }
}

/* Adds 120 to a nibble: 8 less for its own offset, 128 more to share Q8_0's kernel. */
static void pack_q4_0(const uint8_t *const *rows, size_t n_blocks, int n, int which, const panel *to)
{
    const __m512i mask = _mm512_set1_epi8(15), offset = _mm512_set1_epi8(120);
    for (size_t b = 0; b < n_blocks; b++) {
        __m512i z[4], *q = to->q + (b * n + which) * 8;
        uint16_t *d = to->d + (b * n + which) * 16;
        interleave16(rows, b * 18 + 2, z);
        for (int i = 0; i < 4; i++) {
            __m512i high = _mm512_and_si512(_mm512_srli_epi16(z[i], 4), mask);
            _mm512_store_si512(q + i, _mm512_add_epi8(_mm512_and_si512(z[i], mask), offset));
            _mm512_store_si512(q + i + 4, _mm512_add_epi8(high, offset));
        }
        for (int r = 0; r < 16; r++)
            d[r] = load16(rows[r] + b * 18);
    }
}

/* Scales as bytes, minima as pairs of words for a multiply-add. */
static void pack_q4_k_scales(const uint8_t *const *rows, size_t p, uint8_t *scales, int16_t *minima)
{
    __m128i turned[16];
    q4_k_columns(rows, p, turned);
    for (int j = 0; j < 8; j++)
        _mm_store_si128((__m128i *)(scales + j * 16), turned[j]);
    for (int j = 0; j < 4; j++) {
        __m128i even = turned[8 + 2 * j], odd = turned[9 + 2 * j];
        __m256i pairs = _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
        _mm512_store_si512(minima + j * 32, _mm512_cvtepu8_epi16(pairs));
    }
}

static void pack_q4_k(const uint8_t *const *rows, size_t n_blocks, int n, int which, const panel *to)
{
    const __m512i mask = _mm512_set1_epi8(15);
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * sizeof(block_q4_k), i = b * n + which;
        __m512i z[8], *q = to->q + i * 64;
        for (int group = 0; group < 4; group++, q += 16) {
            interleave32(rows, at + offsetof(block_q4_k, q) + group * 32, z);
            for (int j = 0; j < 8; j++) {
                _mm512_store_si512(q + j, _mm512_and_si512(z[j], mask));
                _mm512_store_si512(q + 8 + j, _mm512_and_si512(_mm512_srli_epi16(z[j], 4), mask));
            }
        }
        pack_q4_k_scales(rows, at, to->scales + i * 128, to->minima + i * 128);
        for (int r = 0; r < 16; r++) {
            to->d[i * 16 + r] = load16(rows[r] + at);
            to->dmin[i * 16 + r] = load16(rows[r] + at + offsetof(block_q4_k, dmin));
        }
    }
}

/* low: 4 bits; high: 2 bits, at bit `shift` of their bytes. */
INLINE __m512i join_q6(__m512i low, __m512i high, int shift)
{
    high = shift < 4 ? _mm512_slli_epi16(high, 4 - shift) : _mm512_srli_epi16(high, shift - 4);
    return _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi8(15)), _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
}

static void pack_q6_k(const uint8_t *const *rows, size_t n_blocks, int n, int which, const panel *to)
{
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * sizeof(block_q6_k), i = b * n + which;
        __m512i *q = to->q + i * 64;
        for (int half = 0; half < 2; half++, q += 32) {
            __m512i a[8], c[8], high[8];
            interleave32(rows, at + half * 64, a);
            interleave32(rows, at + half * 64 + 32, c);
            interleave32(rows, at + offsetof(block_q6_k, qh) + half * 32, high);
            for (int j = 0; j < 8; j++) {
                _mm512_store_si512(q + j, join_q6(a[j], high[j], 0));
                _mm512_store_si512(q + 8 + j, join_q6(c[j], high[j], 2));
                _mm512_store_si512(q + 16 + j, join_q6(_mm512_srli_epi16(a[j], 4), high[j], 4));
                _mm512_store_si512(q + 24 + j, join_q6(_mm512_srli_epi16(c[j], 4), high[j], 6));
            }
        }
        __m128i turned[16];
        q6_k_columns(rows, at, turned);
        memcpy(to->scales + i * 256, turned, sizeof turned);
        for (int r = 0; r < 16; r++)
            to->d[i * 16 + r] = load16(rows[r] + at + offsetof(block_q6_k, d));
    }
}

/* Rows that are missing at the end are read as the last one again, and their results dropped. */
static void pack(const quant_job *job, int first_row, panel *to)
{
    size_t n_blocks = job->k / tensor_type_describe(job->type)->block_elements;
    for (int which = 0; which < to->n; which++) {
        const uint8_t *rows[16];
        for (int r = 0; r < 16; r++) {
            int row = which * 16 + r < to->rows ? which * 16 + r : to->rows - 1;
            rows[r] = job->w + (first_row + row) * job->row_bytes;
        }
        switch (job->type) {
        case TYPE_Q8_0:
            pack_q8_0(rows, n_blocks, to->n, which, to);
            break;
        case TYPE_Q4_0:
            pack_q4_0(rows, n_blocks, to->n, which, to);
            break;
        case TYPE_Q4_K:
            pack_q4_k(rows, n_blocks, to->n, which, to);
            break;
        default:
            pack_q6_k(rows, n_blocks, to->n, which, to);
        }
    }
}

/* ---- tiles --------------------------------------------------------------------------------------------------- */

INLINE __m512i broadcast32(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

INLINE __m512 broadcast_float(const void *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_ps(v);
}

INLINE __m512 load_scales(const uint16_t *d)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)d));
}

/* sums[panel][token] += products of n registers of the panels with 4 * n activations at `offset` of each column. */
INLINE void multiply(int panels, int tokens, int n, const __m512i *q, size_t panel_registers, const columns *x,
                     size_t offset, __m512i sums[MAX_PANELS][TOKENS_Q8])
{
    UNROLL
    for (int i = 0; i < n; i++) {
        __m512i w[MAX_PANELS];
        UNROLL
        for (int p = 0; p < panels; p++)
            w[p] = _mm512_load_si512(q + p * panel_registers + i);
        UNROLL
        for (int t = 0; t < tokens; t++) {
            __m512i v = broadcast32(column(x, t) + offset + i * 4);
            UNROLL
            for (int p = 0; p < panels; p++)
                sums[p][t] = _mm512_dpbusd_epi32(sums[p][t], w[p], v);
        }
    }
}

INLINE void block_q8(int panels, int tokens, const panel *from, size_t b, const columns *x, __m512 *lane)
{
    __m512i sums[MAX_PANELS][TOKENS_Q8];
    UNROLL
    for (int t = 0; t < tokens; t++)
        UNROLL
    for (int p = 0; p < panels; p++)
        sums[p][t] = broadcast32(column(x, t) + offsetof(act_q8_block, bias));
    multiply(panels, tokens, 8, from->q + b * panels * 8, 8, x, 0, sums);
    UNROLL
    for (int p = 0; p < panels; p++) {
        __m512 d_w = load_scales(from->d + (b * panels + p) * 16);
        UNROLL
        for (int t = 0; t < tokens; t++) {
            __m512 *acc = lane + p * tokens + t;
            __m512 d = _mm512_mul_ps(d_w, broadcast_float(column(x, t) + offsetof(act_q8_block, d)));
            *acc = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(sums[p][t]), *acc);
        }
    }
}

/* sums of a sub-block, times the rows' scales, into total. */
INLINE void add_scaled(int panels, int tokens, const __m512i *scales, __m512i sums[MAX_PANELS][TOKENS_Q8],
                       __m512i total[MAX_PANELS][TOKENS_Q8])
{
    UNROLL
    for (int p = 0; p < panels; p++)
        UNROLL
    for (int t = 0; t < tokens; t++) {
        total[p][t] = _mm512_add_epi32(total[p][t], _mm512_mullo_epi32(sums[p][t], scales[p]));
    }
}

INLINE void finish_k(bool has_minima, int panels, int tokens, const panel *from, size_t b, const columns *x,
                     __m512i total[MAX_PANELS][TOKENS_Q8], __m512 *lane)
{
    UNROLL
    for (int p = 0; p < panels; p++) {
        size_t at = b * panels + p;
        __m512 d_w = load_scales(from->d + at * 16);
        __m512 dmin_w = has_minima ? load_scales(from->dmin + at * 16) : d_w;
        UNROLL
        for (int t = 0; t < tokens; t++) {
            __m512 *acc = lane + p * tokens + t;
            __m512 d_x = broadcast_float(column(x, t) + offsetof(act_q8_k_block, d));
            __m512 sum = _mm512_fmadd_ps(_mm512_mul_ps(d_w, d_x), _mm512_cvtepi32_ps(total[p][t]), *acc);
            if (has_minima) {
                const char *sums = column(x, t) + offsetof(act_q8_k_block, sums);
                const __m512i *pairs = (const __m512i *)(from->minima + at * 128);
                __m512i m = _mm512_setzero_si512();
                for (int j = 0; j < 4; j++)
                    m = _mm512_dpwssd_epi32(m, _mm512_load_si512(pairs + j), broadcast32(sums + j * 4));
                sum = _mm512_fnmadd_ps(_mm512_mul_ps(dmin_w, d_x), _mm512_cvtepi32_ps(m), sum);
            }
            *acc = sum;
        }
    }
}

INLINE void block_q4_k_tile(int panels, int tokens, const panel *from, size_t b, const columns *x, __m512 *lane)
{
    __m512i total[MAX_PANELS][TOKENS_Q8];
    UNROLL
    for (int p = 0; p < panels; p++)
        UNROLL
    for (int t = 0; t < tokens; t++)
        total[p][t] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int j = 0; j < 8; j++) {
        __m512i sums[MAX_PANELS][TOKENS_Q8], scales[MAX_PANELS];
        UNROLL
        for (int p = 0; p < panels; p++) {
            const uint8_t *s = from->scales + (b * panels + p) * 128 + j * 16;
            scales[p] = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)s));
            UNROLL
            for (int t = 0; t < tokens; t++)
                sums[p][t] = _mm512_setzero_si512();
        }
        multiply(panels, tokens, 8, from->q + b * panels * 64 + j * 8, 64, x, j * 32, sums);
        add_scaled(panels, tokens, scales, sums, total);
    }
    finish_k(true, panels, tokens, from, b, x, total, lane);
}

INLINE void block_q6_k_tile(int panels, int tokens, const panel *from, size_t b, const columns *x, __m512 *lane)
{
    __m512i total[MAX_PANELS][TOKENS_Q8];
    UNROLL
    for (int p = 0; p < panels; p++)
        UNROLL
    for (int t = 0; t < tokens; t++)
        total[p][t] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int j = 0; j < 16; j++) {
        __m512i sums[MAX_PANELS][TOKENS_Q8], scales[MAX_PANELS];
        UNROLL
        for (int t = 0; t < tokens; t++)
            UNROLL
        for (int p = 0; p < panels; p++)
            sums[p][t] = broadcast32(column(x, t) + offsetof(act_q8_k_block, bias) + j * 4);
        UNROLL
        for (int p = 0; p < panels; p++) {
            const uint8_t *s = from->scales + (b * panels + p) * 256 + j * 16;
            scales[p] = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)s));
        }
        multiply(panels, tokens, 4, from->q + b * panels * 64 + j * 4, 64, x, j * 16, sums);
        add_scaled(panels, tokens, scales, sums, total);
    }
    finish_k(false, panels, tokens, from, b, x, total, lane);
}

INLINE void block_tile(act_type act, tensor_type type, int panels, int tokens, const panel *from, size_t b,
                       const columns *x, __m512 *lane)
{
    if (act == ACT_Q8)
        block_q8(panels, tokens, from, b, x, lane);
    else if (type == TYPE_Q4_K)
        block_q4_k_tile(panels, tokens, from, b, x, lane);
    else
        block_q6_k_tile(panels, tokens, from, b, x, lane);
}

/* Adds the 8 lanes as the tree and writes the rows of each token. */
INLINE void finish_tile(int panels, int tokens, const panel *from, float *out, size_t out_stride)
{
    const int n = panels * tokens;
    UNROLL
    for (int p = 0; p < panels; p++) {
        int rows = from->rows - p * 16;
        __mmask16 mask = rows >= 16 ? 0xFFFF : (__mmask16)((1u << rows) - 1);
        UNROLL
        for (int t = 0; t < tokens; t++) {
            const __m512 *l = from->lanes + p * tokens + t;
            __m512 s04 = _mm512_add_ps(l[0], l[4 * n]), s15 = _mm512_add_ps(l[n], l[5 * n]);
            __m512 s26 = _mm512_add_ps(l[2 * n], l[6 * n]), s37 = _mm512_add_ps(l[3 * n], l[7 * n]);
            __m512 sum = _mm512_add_ps(_mm512_add_ps(s04, s26), _mm512_add_ps(s15, s37));
            _mm512_mask_storeu_ps(out + t * out_stride + p * 16, mask, sum);
        }
    }
}

/* Into the second-level cache. Panels are read 16 rows at a time, which is too many streams for the processor to guess.
 */
INLINE void fetch(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/* What is fetched of the next panel while one block of this one is worked on. */
INLINE void fetch_ahead(const panel *from, size_t b, size_t n_blocks)
{
    size_t begin = from->next_bytes * b / n_blocks, end = from->next_bytes * (b + 1) / n_blocks;
    fetch(from->next + begin, end - begin);
}

INLINE void tile(tensor_type type, int panels, int tokens, const quant_job *job, const panel *from, int first_token,
                 float *out)
{
    const bool q8 = type == TYPE_Q8_0;
    const size_t n_blocks = job->k / (q8 ? 32 : K_ELEMENTS);
    columns x = columns_at(job, first_token, tokens);
    for (int i = 0; i < 8 * panels * tokens; i++)
        from->lanes[i] = _mm512_setzero_ps();
    for (size_t b = 0; b < n_blocks; b++) {
        __m512 *lane = from->lanes + b % 8 * panels * tokens;
        if (from->next_bytes)
            fetch_ahead(from, b, n_blocks);
        if (q8)
            block_q8(panels, tokens, from, b, &x, lane);
        else if (type == TYPE_Q4_K)
            block_q4_k_tile(panels, tokens, from, b, &x, lane);
        else
            block_q6_k_tile(panels, tokens, from, b, &x, lane);
        advance(&x, tokens, q8 ? sizeof(act_q8_block) : sizeof(act_q8_k_block));
    }
    finish_tile(panels, tokens, from, out + first_token * job->out_stride, job->out_stride);
}

typedef void tile_function(const quant_job *job, const panel *from, int first_token, float *out);

#define TILE(type, panels, tokens)                                                                                     \
    static void tile_##type##_##panels##_##tokens(const quant_job *job, const panel *from, int first, float *out)      \
    {                                                                                                                  \
        tile(TYPE_##type, panels, tokens, job, from, first, out);                                                      \
    }
#define TILES_6(type, panels)                                                                                          \
    TILE(type, panels, 1)                                                                                              \
    TILE(type, panels, 2)                                                                                              \
    TILE(type, panels, 3)                                                                                              \
    TILE(type, panels, 4)                                                                                              \
    TILE(type, panels, 5)                                                                                              \
    TILE(type, panels, 6)
#define TILES_12(type, panels)                                                                                         \
    TILES_6(type, panels)                                                                                              \
    TILE(type, panels, 7)                                                                                              \
    TILE(type, panels, 8)                                                                                              \
    TILE(type, panels, 9)                                                                                              \
    TILE(type, panels, 10)                                                                                             \
    TILE(type, panels, 11)                                                                                             \
    TILE(type, panels, 12)
#define NAMES_6(type, panels)                                                                                          \
    tile_##type##_##panels##_1, tile_##type##_##panels##_2, tile_##type##_##panels##_3, tile_##type##_##panels##_4,    \
        tile_##type##_##panels##_5, tile_##type##_##panels##_6
#define NAMES_12(type, panels)                                                                                         \
    NAMES_6(type, panels), tile_##type##_##panels##_7, tile_##type##_##panels##_8, tile_##type##_##panels##_9,         \
        tile_##type##_##panels##_10, tile_##type##_##panels##_11, tile_##type##_##panels##_12

TILES_12(Q8_0, 1)
TILES_12(Q8_0, 2)
TILES_6(Q4_K, 1)
TILES_6(Q4_K, 2)
TILES_6(Q6_K, 1)
TILES_6(Q6_K, 2)

static tile_function *const tiles_q8[MAX_PANELS][TOKENS_Q8] = {{NAMES_12(Q8_0, 1)}, {NAMES_12(Q8_0, 2)}};
static tile_function *const tiles_q4_k[MAX_PANELS][TOKENS_K] = {{NAMES_6(Q4_K, 1)}, {NAMES_6(Q4_K, 2)}};
static tile_function *const tiles_q6_k[MAX_PANELS][TOKENS_K] = {{NAMES_6(Q6_K, 1)}, {NAMES_6(Q6_K, 2)}};

/* Tokens go in tiles of nearly equal size, none larger than the largest kernel. */
static void all_tokens(const quant_job *job, panel *from, float *out)
{
    const int most = act_type_for(job->type) == ACT_Q8 ? TOKENS_Q8 : TOKENS_K;
    const int n_tiles = (job->n_tokens + most - 1) / most;
    for (int i = 0; i < n_tiles; i++) {
        int begin = job->n_tokens * i / n_tiles, tokens = job->n_tokens * (i + 1) / n_tiles - begin;
        if (job->type == TYPE_Q4_K)
            tiles_q4_k[from->n - 1][tokens - 1](job, from, begin, out);
        else if (job->type == TYPE_Q6_K)
            tiles_q6_k[from->n - 1][tokens - 1](job, from, begin, out);
        else
            tiles_q8[from->n - 1][tokens - 1](job, from, begin, out);
        from->next_bytes = 0;
    }
}

/* Cuts the scratch memory into the parts of a panel: n_blocks blocks of `elements` of 32 rows. */
static panel panel_in(char *scratch, size_t n_blocks, size_t elements)
{
    panel p = {.lanes = (__m512 *)scratch, .q = (__m512i *)(scratch + MATMUL_TILE_BYTES)};
    const size_t n = n_blocks * MAX_PANELS;
    p.scales = (uint8_t *)(p.q + n * elements / 4);
    p.minima = (int16_t *)(p.scales + (elements == 32 ? 0 : n * 256));
    p.d = (uint16_t *)(p.minima + (elements == 32 ? 0 : n * 128));
    p.dmin = p.d + n * 16;
    return p;
}

void panels_avx512(const quant_job *job)
{
    const size_t elements = tensor_type_describe(job->type)->block_elements;
    panel p = panel_in(job->scratch, job->k / elements, elements);
    for (int r = 0; r < job->rows; r += p.n * 16) {
        int left = job->rows - r;
        p.n = left > 16 ? 2 : 1;
        p.rows = left < p.n * 16 ? left : p.n * 16;
        int after = left - p.rows < 32 ? left - p.rows : 32;
        p.next = job->w + (size_t)(r + p.rows) * job->row_bytes;
        p.next_bytes = (size_t)after * job->row_bytes;
        if (r == 0)
            fetch(p.next - (size_t)p.rows * job->row_bytes, (size_t)p.rows * job->row_bytes);
        pack(job, r, &p);
        all_tokens(job, &p, job->out + r);
    }
}

#endif
