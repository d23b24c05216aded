/* ranges.c: see ranges.h. */
#include "recommend/ranges.h"

#include "base/random.h"

enum { RANDOM_TOGETHER = 1 << 19 }; /* numbers of one sequence */

typedef struct ranges_job {
    uint32_t begin, end, together;
    range_work *work;
    void *context;
    bool begun;
} ranges_job;

static int ranges_next(void *context)
{
    ranges_job *job = context;

    if (job->begun)
        return 0;
    job->begun = true;
    return (int)((job->end - job->begin + job->together - 1) / job->together);
}

static void ranges_work(void *context, int chunk, int thread)
{
    ranges_job *job = context;
    uint32_t begin = job->begin + (uint32_t)chunk * job->together;

    job->work(job->context, begin, range_end(begin, job->end, job->together), thread);
}

void ranges_run(thread_pool *pool, uint32_t begin, uint32_t end, uint32_t together, range_work *work, void *context)
{
    ranges_job job = {begin, end, together, work, context, false};

    if (begin < end)
        thread_pool_run(pool, &(thread_program){ranges_next, ranges_work, &job});
}

static uint32_t rows_together(const random_rows *r)
{
    size_t rows = RANDOM_TOGETHER / (r->columns ? r->columns : 1);

    return rows ? (uint32_t)rows : 1;
}

static void random_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const random_rows *r = context;
    random_state state;

    (void)thread;
    random_seed(&state, r->seed, r->stream + ((uint64_t)(begin / rows_together(r)) << 32));
    for (uint32_t i = begin; i < end; i++)
        for (size_t j = 0; j < r->columns; j++)
            r->rows[i * r->width + j] = r->deviation * (float)random_normal(&state);
}

uint32_t random_rows_step(const random_rows *r, uint32_t next, thread_pool *pool)
{
    uint32_t together = rows_together(r), end = range_end(next, r->n, together * (uint32_t)thread_pool_size(pool));

    ranges_run(pool, next, end, together, random_work, (void *)(uintptr_t)r);
    return end;
}
