/* dense_levels.h: the tables of each level, for dense.c. */
#ifndef AIGC_RECOMMEND_DENSE_LEVELS_H
#define AIGC_RECOMMEND_DENSE_LEVELS_H

#include "recommend/dense.h"

extern const dense_kernels dense_generic;
#ifdef __x86_64__
extern const dense_kernels dense_avx2;
extern const dense_kernels dense_avx512;
#endif

#endif
