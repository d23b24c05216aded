/* kernels_avx512.c: the table for processors with AVX-512 (F, BW, DQ, VL) and VNNI. */
#ifdef __x86_64__

#include "tensor/kernel_quant.h"
#include "tensor/kernel_tables.h"
#include "tensor/kernel_vec_avx512.h"

#include "tensor/kernel_attend.h"
#include "tensor/kernel_elementwise.h"
#include "tensor/kernel_float.h"

/* Tokens from which interleaving a panel pays; earlier where the activations of long rows crowd the first-level cache.
 */
enum { PANEL_TOKENS = 9, PANEL_TOKENS_LONG = 3, LONG_ROW = 6144 };

static void matmul(tensor_type type, const void *weights, size_t row_bytes, size_t k, int row_begin, int row_end,
                   const void *acts, int n_tokens, float *out, size_t out_stride, void *scratch)
{
    const uint8_t *w = (const uint8_t *)weights + (size_t)row_begin * row_bytes;
    size_t act_bytes = act_row_bytes(act_type_for(type), k);
    int rows = row_end - row_begin;
    if (act_type_for(type) == ACT_F32) {
        float_job job = {(const char *)w, row_bytes, k, acts, act_bytes, out, out_stride};
        matmul_float(type, job, rows, n_tokens, scratch);
        return;
    }
    quant_job job = {type, w, row_bytes, k, rows, acts, act_bytes, n_tokens, out, out_stride, scratch};
    if (n_tokens < (k > LONG_ROW ? PANEL_TOKENS_LONG : PANEL_TOKENS))
        rows_avx512(&job);
    else
        panels_avx512(&job);
}

const aigc_kernels kernels_avx512 = {
    .name = "avx512",
    .prepare = prepare,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .silu_mul = silu_mul,
    .gelu_tanh = gelu_tanh,
    .gelu_erf = gelu_erf,
    .rope = rope,
    .attend = attend,
    .attend_merge = attend_merge,
    .scale = scale,
    .max = max,
    .sum_exp = sum_exp,
    .exp_shifted = exp_shifted,
    .f32_to_f16 = to_f16,
    .f16_to_f32 = from_f16,
};

#endif
