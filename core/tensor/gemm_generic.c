/* gemm_generic.c: products in plain C: the reference for the other levels, and packing for those without their own. */
#include <math.h>
#include <string.h>

#include "tensor/gemm_tables.h"

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void gemm_round(uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t w = words[i], nearest = w + 0x7fff + (w >> 16 & 1), quiet = w | 0x400000;
        words[i] = ((w & 0x7fffffff) > 0x7f800000 ? quiet : nearest) & 0xffff0000;
    }
}

void gemm_pack_lines_float(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel)
{
    for (size_t line = 0; line < n_lines; line++)
        for (size_t i = 0; i < k; i++)
            panel[i * GEMM_LINES + line] = bits_of(source[line * stride + i]);
    for (size_t i = 0; n_lines < GEMM_LINES && i < k; i++)
        memset(panel + i * GEMM_LINES + n_lines, 0, (GEMM_LINES - n_lines) * sizeof *panel);
}

void gemm_pack_across_float(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                            size_t panel_stride)
{
    for (size_t i = 0; i < k; i++)
        for (size_t line = 0; line < n_lines; line += GEMM_LINES) {
            uint32_t *words = panels + line / GEMM_LINES * panel_stride + i * GEMM_LINES;
            size_t n = n_lines - line < GEMM_LINES ? n_lines - line : GEMM_LINES;
            memcpy(words, source + i * stride + line, n * sizeof *words);
            memset(words + n, 0, (GEMM_LINES - n) * sizeof *words);
        }
}

void gemm_pack_lines_rounded(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panel)
{
    gemm_pack_lines_float(source, stride, n_lines, k, panel);
    gemm_round(panel, GEMM_LINES * k);
}

void gemm_round_panels(uint32_t *panels, size_t panel_stride, size_t n_lines, size_t k)
{
    for (size_t line = 0; line < n_lines; line += GEMM_LINES, panels += panel_stride)
        gemm_round(panels, GEMM_LINES * k);
}

void gemm_pack_across_rounded(const float *source, size_t stride, size_t n_lines, size_t k, uint32_t *panels,
                              size_t panel_stride)
{
    gemm_pack_across_float(source, stride, n_lines, k, panels, panel_stride);
    gemm_round_panels(panels, panel_stride, n_lines, k);
}

/* One row of C against one panel of B. */
static void multiply_row(const uint32_t *a, const uint32_t *b, size_t words, float acc[GEMM_LINES])
{
    memset(acc, 0, GEMM_LINES * sizeof *acc);
    for (size_t i = 0; i < words; i++) {
        float x = float_of(a[i * GEMM_LINES]);
        for (size_t j = 0; j < GEMM_LINES; j++)
            acc[j] = fmaf(x, float_of(b[i * GEMM_LINES + j]), acc[j]);
    }
}

static void block(const uint32_t *a, size_t a_stride, const uint32_t *b, size_t b_stride, size_t words, size_t m,
                  size_t n, const gemm_result *result, const gemm_ahead *ahead)
{
    (void)ahead;
    for (size_t j = 0; j < n; j += GEMM_LINES)
        for (size_t i = 0; i < m; i++) {
            float acc[GEMM_LINES];
            size_t at = i * result->ldc + j;
            multiply_row(a + i / GEMM_LINES * a_stride + i % GEMM_LINES, b + j / GEMM_LINES * b_stride, words, acc);
            for (size_t x = 0; x < GEMM_LINES && j + x < n; x++) {
                float begin = result->from != NULL ? result->from[at + x] : 0;
                if (result->bias != NULL)
                    begin += result->bias[j + x];
                result->c[at + x] = begin + acc[x];
            }
        }
}

const gemm_kernels gemm_generic[GEMM_PRECISIONS] = {
    [GEMM_F32] = {"generic float32", GEMM_DEPTH_F32, false, gemm_pack_lines_float, gemm_pack_across_float, block},
    [GEMM_BF16] = {"generic bfloat16", GEMM_DEPTH_BF16, false, gemm_pack_lines_rounded, gemm_pack_across_rounded,
                   block},
};
