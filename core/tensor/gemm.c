/* gemm.c: see gemm.h. Which kernels a processor gets, and the loops around them. */
#include "tensor/gemm.h"

#include "tensor/gemm_tables.h"

const gemm_kernels *gemm_kernels_for(cpu_level level, gemm_precision precision)
{
    if (!cpu_supports(level))
        return NULL;
    switch (level) {
    case CPU_GENERIC:
        return &gemm_generic[precision];
#ifdef __x86_64__
    case CPU_AVX2:
        return &gemm_avx2[precision];
    case CPU_AVX512:
        return precision == GEMM_BF16 && cpu_multiplies_bf16() ? &gemm_avx512_bf16 : &gemm_avx512[precision];
#endif
    default:
        return NULL;
    }
}

const gemm_kernels *gemm_kernels_best(gemm_precision precision)
{
    for (int level = cpu_best_level(); level > CPU_GENERIC; level--) {
        const gemm_kernels *g = gemm_kernels_for((cpu_level)level, precision);
        if (g != NULL)
            return g;
    }
    return &gemm_generic[precision];
}

void gemm_pack(const gemm_kernels *g, bool across, const float *source, size_t stride, size_t n_lines, size_t k,
               uint32_t *packed)
{
    size_t panel_words = gemm_stride(g, k);
    if (across) {
        g->pack_across(source, stride, n_lines, k, packed, panel_words);
        return;
    }
    for (size_t line = 0; line < n_lines; line += GEMM_LINES) {
        size_t n = n_lines - line < GEMM_LINES ? n_lines - line : GEMM_LINES;
        g->pack_lines(source + line * stride, stride, n, k, packed);
        packed += panel_words;
    }
}

void gemm_multiply(const gemm_kernels *g, const uint32_t *a, size_t a_stride, const uint32_t *b, size_t b_stride,
                   size_t m, size_t n, size_t k, gemm_result result)
{
    for (size_t at = 0; at < k; at += g->depth) {
        size_t part = k - at < g->depth ? k - at : g->depth, skip = gemm_stride(g, at);
        g->block(a + skip, a_stride, b + skip, b_stride, gemm_words(g, part), m, n, &result, &(gemm_ahead){0});
        result.from = result.c;
        result.bias = NULL;
    }
}
