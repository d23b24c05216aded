/* kernels.c: which table a processor gets, and the sizes that callers need. Called by the model's forward pass. */
#include "tensor/kernels.h"

#include "tensor/kernel_acts.h"
#include "tensor/kernel_tables.h"

act_type act_type_for(tensor_type weights)
{
    switch (weights) {
    case TYPE_Q8_0:
    case TYPE_Q4_0:
        return ACT_Q8;
    case TYPE_Q4_K:
    case TYPE_Q6_K:
        return ACT_Q8_K;
    default:
        return ACT_F32;
    }
}

/* An odd number of cache lines, so that the same column of many rows does not fall into the same few sets of a cache.
 */
size_t act_row_bytes(act_type type, size_t n)
{
    size_t bytes = type == ACT_F32 ? act_pad(n * sizeof(float), 64) : act_layout(type, n).end;
    return bytes % 128 == 0 ? bytes + 64 : bytes;
}

/* Room for a panel of rows made ready for many tokens (as float: KERNEL_PANEL_ROWS of 4 bytes an element; as integers:
 * twice as many rows, with their scales), and for the partial sums of a tile. */
size_t matmul_scratch_bytes(tensor_type type, size_t k)
{
    (void)type;
    return KERNEL_PANEL_ROWS * sizeof(float) * ((k + 255) & ~(size_t)255) + MATMUL_TILE_BYTES;
}

const aigc_kernels *kernels_for(cpu_level level)
{
    if (!cpu_supports(level))
        return NULL;
    switch (level) {
    case CPU_GENERIC:
        return &kernels_generic;
#ifdef __x86_64__
    case CPU_AVX2:
        return &kernels_avx2;
    case CPU_AVX512:
        return &kernels_avx512;
#endif
    default:
        return NULL;
    }
}

const aigc_kernels *kernels_best(void)
{
    for (int level = cpu_best_level(); level > CPU_GENERIC; level--) {
        const aigc_kernels *kernels = kernels_for((cpu_level)level);
        if (kernels)
            return kernels;
    }
    return &kernels_generic;
}
