/*
 * gemm_tile_avx512.h: tiles of 8 x 48 in 24 accumulators, and panels made of 16 x 16 words, for AVX-512.
 *
 * Included once by each file that multiplies words in its own way: it defines step() (an accumulator plus the product
 * of the words of two registers), line_words() and across_words() before.
 */
#include <immintrin.h>

#include "tensor/gemm_tables.h"

enum { ROWS = 8, VECTORS = 3, ACROSS = 4 };

#define INLINE static inline __attribute__((always_inline))

/* ---- tiles ---- */

INLINE void store(const __m512 acc[ROWS][VECTORS], size_t vectors, size_t rows, size_t row, size_t column,
                  size_t columns, const gemm_result *result)
{
#pragma GCC unroll 3
    for (size_t v = 0; v < vectors; v++) {
        size_t left = columns - v * GEMM_LINES;
        __mmask16 mask = left < GEMM_LINES ? (__mmask16)((1u << left) - 1) : (__mmask16)-1;
        __m512 bias = _mm512_setzero_ps();
        if (result->bias != NULL)
            bias = _mm512_maskz_loadu_ps(mask, result->bias + column + v * GEMM_LINES);
#pragma GCC unroll 8
        for (size_t r = 0; r < ROWS; r++) {
            size_t at = (row + r) * result->ldc + column + v * GEMM_LINES;
            __m512 begin = bias;
            if (r >= rows)
                break;
            if (result->from != NULL)
                begin = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, result->from + at), bias);
            _mm512_mask_storeu_ps(result->c + at, mask, _mm512_add_ps(begin, acc[r][v]));
        }
    }
}

/* vectors is a constant wherever this is called. */
INLINE void tile(const uint32_t *a, const uint32_t *b, size_t b_stride, size_t words, size_t vectors, size_t rows,
                 size_t row, size_t column, size_t columns, const gemm_result *result)
{
    __m512 acc[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++)
            acc[r][v] = _mm512_setzero_ps();
    for (size_t i = 0; i < words; i++) {
        __m512i y[VECTORS];
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++)
            y[v] = _mm512_loadu_si512(b + v * b_stride + i * GEMM_LINES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            __m512i x = _mm512_set1_epi32((int)a[i * GEMM_LINES + (size_t)r]);
#pragma GCC unroll 3
            for (size_t v = 0; v < vectors; v++)
                acc[r][v] = step(acc[r][v], x, y[v]);
        }
    }
    store(acc, vectors, rows, row, column, columns, result);
}

/* The columns of the next strip of n that are left: never a lone panel where two pairs will do. */
INLINE size_t strip(size_t n)
{
    size_t widest = VECTORS * GEMM_LINES;
    return n > widest && n <= 4 * GEMM_LINES ? 2 * GEMM_LINES : n < widest ? n : widest;
}

/* ---- fetching: the processor sees none of these streams coming by itself ---- */

enum { LINE_FLOATS = 16 }; /* of a cache */

/* Where it is in the rows that lie ahead, and the lines of each turn. */
typedef struct fetcher {
    const gemm_ahead *ahead;
    size_t row, at, share;
} fetcher;

static fetcher fetch_in(const gemm_ahead *ahead, size_t n_turns)
{
    size_t lines = (ahead->n + LINE_FLOATS - 1) / LINE_FLOATS * ahead->n_rows;
    return (fetcher){.ahead = ahead, .share = (lines + n_turns - 1) / n_turns};
}

static void fetch_share(fetcher *f)
{
    const gemm_ahead *ahead = f->ahead;
    for (size_t i = 0; i < f->share && f->row < ahead->n_rows; i++) {
        _mm_prefetch((const char *)(ahead->source + f->row * ahead->stride + f->at), _MM_HINT_T1);
        f->at += LINE_FLOATS;
        if (f->at >= ahead->n) {
            f->at = 0;
            f->row++;
        }
    }
}

/* Words [begin, end) of the panels of a strip. */
static void fetch_panels(const uint32_t *b, size_t b_stride, size_t begin, size_t end)
{
    for (size_t v = 0; v < VECTORS && b != NULL; v++)
        for (size_t i = begin; i < end; i++)
            _mm_prefetch((const char *)(b + v * b_stride + i * GEMM_LINES), _MM_HINT_T1);
}

/* C is written when its tile is done. */
static void fetch_result(const gemm_result *result, size_t vectors, size_t rows, size_t row, size_t column)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vectors; v++)
            __builtin_prefetch(result->c + (row + r) * result->ldc + column + v * GEMM_LINES, 1, 3);
}

/* ---- a block ---- */

static void block(const uint32_t *a, size_t a_stride, const uint32_t *b, size_t b_stride, size_t words, size_t m,
                  size_t n, const gemm_result *result, const gemm_ahead *ahead)
{
    size_t turns = (m + ROWS - 1) / ROWS, strips = (n + VECTORS * GEMM_LINES - 1) / (VECTORS * GEMM_LINES);
    fetcher rows_ahead = fetch_in(ahead, turns * strips);
    for (size_t j = 0, columns; j < n; j += columns) {
        const uint32_t *panel = b + j / GEMM_LINES * b_stride;
        columns = strip(n - j);
        const uint32_t *next = j + columns < n ? b + (j + columns) / GEMM_LINES * b_stride : ahead->b;
        size_t vectors = (columns + GEMM_LINES - 1) / GEMM_LINES;
        for (size_t i = 0; i < m; i += ROWS) {
            const uint32_t *lines = a + i / GEMM_LINES * a_stride + i % GEMM_LINES;
            size_t rows = m - i < ROWS ? m - i : ROWS, turn = i / ROWS;
            fetch_result(result, vectors, rows, i, j);
            fetch_panels(next, b_stride, words * turn / turns, words * (turn + 1) / turns);
            fetch_share(&rows_ahead);
            if (vectors == 3)
                tile(lines, panel, b_stride, words, 3, rows, i, j, columns, result);
            else if (vectors == 2)
                tile(lines, panel, b_stride, words, 2, rows, i, j, columns, result);
            else
                tile(lines, panel, b_stride, words, 1, rows, i, j, columns, result);
        }
    }
}

/* ---- packing ---- */

/* 16 x 16 words, transposed: pairs of rows, of pairs, of fours, of eights change places. */
INLINE void transpose(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* r[4 i + c]: columns c, c + 4, c + 8, c + 12 of rows 4 i to 4 i + 3 */
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512i low01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), high01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
        __m512i low23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88),
                high23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
        t[c] = _mm512_shuffle_i32x4(low01, low23, 0x88);
        t[8 + c] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
        t[4 + c] = _mm512_shuffle_i32x4(high01, high23, 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

enum { FLOATS_AHEAD = 128, ROWS_AHEAD = 8 };

/* Some floats that will be packed soon: so many streams are more than the processor follows by itself. */
INLINE void fetch(const float *x, size_t n)
{
#pragma GCC unroll 2
    for (size_t i = 0; i < n; i += 16)
        _mm_prefetch((const char *)(x + i), _MM_HINT_T0);
}

static void pack_lines(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel)
{
    for (size_t i = 0; i < k; i += LINE_ELEMENTS) {
        size_t left = k - i < LINE_ELEMENTS ? k - i : LINE_ELEMENTS, words = WORDS_OF(left);
        __m512i r[GEMM_LINES];
#pragma GCC unroll 16
        for (size_t line = 0; line < GEMM_LINES; line++) {
            fetch(source + line * stride + i + FLOATS_AHEAD, LINE_ELEMENTS);
            r[line] = line < n_lines ? line_words(source + line * stride + i, left) : _mm512_setzero_si512();
        }
        transpose(r);
#pragma GCC unroll 16
        for (size_t w = 0; w < GEMM_LINES; w++)
            if (w < words)
                _mm512_storeu_si512(panel + w * GEMM_LINES, r[w]);
        panel += words * GEMM_LINES;
    }
}

/* Up to ACROSS panels together: of each row of the source as much as the prefetchers like. */
static void pack_group(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                       size_t panel_stride)
{
    size_t each = LINE_ELEMENTS / GEMM_LINES, whole = n_lines / GEMM_LINES;
    __mmask16 rest = (__mmask16)((1u << n_lines % GEMM_LINES) - 1);
    for (size_t i = 0; i < k; i += each, panels += GEMM_LINES) {
        const float *row = source + i * stride;
        size_t step_down = i + each <= k ? stride : 0, p = 0;
        for (; p < whole; p++) {
            for (size_t r = 0; r < each; r++)
                fetch(row + (ROWS_AHEAD + r) * stride + p * GEMM_LINES, GEMM_LINES);
            _mm512_storeu_si512(panels + p * panel_stride, across_words(row + p * GEMM_LINES, step_down, 0xffff));
        }
        if (rest)
            _mm512_storeu_si512(panels + p * panel_stride, across_words(row + p * GEMM_LINES, step_down, rest));
    }
}

static void pack_across(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                        size_t panel_stride)
{
    for (size_t line = 0; line < n_lines; line += ACROSS * GEMM_LINES) {
        size_t n = n_lines - line < ACROSS * GEMM_LINES ? n_lines - line : ACROSS * GEMM_LINES;
        pack_group(source + line, stride, n, k, panels + line / GEMM_LINES * panel_stride, panel_stride);
    }
}
