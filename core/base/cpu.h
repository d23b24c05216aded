/* cpu.h: which kernels this processor can run. */
#ifndef AIGC_BASE_CPU_H
#define AIGC_BASE_CPU_H

#include <stdbool.h>

typedef enum cpu_level {
    CPU_GENERIC,
    CPU_AVX2,   /* AVX2, FMA, F16C */
    CPU_AVX512, /* AVX-512 F, BW, DQ, VL and VNNI */
    CPU_NEON,   /* room for it; no kernels yet */
    CPU_LEVELS
} cpu_level;

/* The best level that the processor and the operating system support, or the one that AIGC_CPU in the environment
 * names (generic, avx2, avx512) if the processor has it; a name that is unknown or asks for more than the processor has
 * is ignored, which costs nothing but the wish: every level gives the same bits. Found once. */
cpu_level cpu_best_level(void);

/* Whether the processor can run this level's kernels. */
bool cpu_supports(cpu_level level);

/* Whether a processor with CPU_AVX512 has AVX512_BF16 too. */
bool cpu_multiplies_bf16(void);

const char *cpu_level_name(cpu_level level);

/* Cores that this process may run on, at least 1: those of the affinity mask, or the cgroup's CPU quota rounded up to
 * whole cores if that is less. */
int cpu_count(void);

#endif
