/*
 * ranges.h: a loop over rows, shared among threads, and rows of random numbers. For the steps of a fit.
 */
#ifndef AIGC_RECOMMEND_RANGES_H
#define AIGC_RECOMMEND_RANGES_H

#include "base/threads.h"

/* Works on rows [begin, end); thread is 0 to n_threads - 1, for scratch memory. */
typedef void range_work(void *context, uint32_t begin, uint32_t end, int thread);

/* Rows [begin, end), `together` of them at a time. */
void ranges_run(thread_pool *pool, uint32_t begin, uint32_t end, uint32_t together, range_work *work, void *context);

/* Where a step that begins at row `next` of n ends, `most` rows at most. */
static inline uint32_t range_end(uint32_t next, uint32_t n, uint32_t most)
{
    return n - next < most ? n : next + most;
}

/*
 * Normal numbers of mean 0 for the first `columns` of each of n rows of `width`: a piece of them from row `next` on,
 * some tens of milliseconds. Returns the row after the last. The numbers depend on seed and stream alone: stream + 2^32
 * and so on are used as well.
 */
typedef struct random_rows {
    float *rows;
    size_t width, columns;
    uint32_t n;
    float deviation;
    uint64_t seed, stream;
} random_rows;
uint32_t random_rows_step(const random_rows *r, uint32_t next, thread_pool *pool);

#endif
