/*
 * batch.c: the best items of many queries together: aigc_recommend_all(). The factors of items are unpacked once, and a
 * block of people is multiplied with a panel of items at a time, which stays in the cache for all of them.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "recommend/half.h"
#include "recommend/ranking.h"

enum { PANEL = 256, BLOCK_MOST = 24, SCORES_MOST = 8 << 20 };

typedef struct batch {
    const model *m;
    const aigc_query *queries;
    const volatile sig_atomic_t *interrupt;
    size_t n, k, n_panels, block; /* people together */
    uint32_t *items;
    float *scores;
    float *panels;  /* [n_panels][n_factors][PANEL] */
    float *scratch; /* [threads][block][n_panels * PANEL + n_factors] */
    const dense_kernels *kernels;
    int phase;
    _Atomic int status; /* aigc_status of the first block that failed */
} batch;

static void pack(batch *b, size_t panel)
{
    size_t d = b->m->n->n_factors, first = panel * PANEL;
    float *out = b->panels + panel * d * PANEL;

    for (size_t i = 0; i < PANEL && first + i < b->m->n->n_items; i++)
        for (size_t j = 0; j < d; j++)
            out[j * PANEL + i] = half_to_float(b->m->factors[(first + i) * d + j]);
}

static void fail(batch *b, aigc_status status)
{
    int none = AIGC_OK;
    atomic_compare_exchange_strong(&b->status, &none, (int)status);
}

/* Everything but the factors into a row of scores; the person's own factors, weighted, into user. */
static aigc_status begin_row(batch *b, const aigc_query *q, float *row, float *user)
{
    size_t d = b->m->n->n_factors;
    profile p;
    aigc_status status = profile_open(b->m, q, &p, NULL);

    if (status != AIGC_OK)
        return status;
    profile_scores(&p, false, row);
    memset(user, 0, d * sizeof *user);
    if (p.user)
        b->kernels->axpy(b->m->n->blend[p.blend][SIGNAL_FACTORS], p.user, user, d);
    profile_close(&p);
    return AIGC_OK;
}

static aigc_status finish_row(batch *b, size_t query, float *row)
{
    uint32_t *order;
    bool ok;
    aigc_status status = rank_restrict(&b->queries[query], b->m->n->n_items, row, NULL);

    if (status != AIGC_OK)
        return status;
    size_t n = rank_best(row, b->m->n->n_items, b->k, b->queries[query].seed, &order, &ok);
    if (!ok)
        return AIGC_E_MEMORY;
    for (size_t i = 0; i < b->k; i++) {
        b->items[query * b->k + i] = i < n ? order[i] : AIGC_NO_ITEM;
        if (b->scores)
            b->scores[query * b->k + i] = i < n ? row[order[i]] : 0;
    }
    free(order);
    return AIGC_OK;
}

static void rank_block(batch *b, size_t block, float *rows)
{
    size_t d = b->m->n->n_factors, width = b->n_panels * PANEL, first = block * b->block;
    size_t n = b->n - first < b->block ? b->n - first : b->block;
    float *users = rows + b->block * width;
    aigc_status status = AIGC_OK;

    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        status = b->interrupt && *b->interrupt ? AIGC_INTERRUPTED
                                               : begin_row(b, &b->queries[first + i], rows + i * width, users + i * d);
    for (size_t p = 0; p < b->n_panels && status == AIGC_OK && d; p++)
        b->kernels->gemm((int)n, PANEL, (int)d, users, d, 1, b->panels + p * d * PANEL, PANEL, rows + p * PANEL, width,
                         1);
    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        status = finish_row(b, first + i, rows + i * width);
    if (status != AIGC_OK)
        fail(b, status);
}

static int next(void *state)
{
    batch *b = state;

    b->phase++;
    if (b->phase == 1)
        return (int)b->n_panels;
    return b->phase == 2 ? (int)((b->n + b->block - 1) / b->block) : 0;
}

static void work(void *state, int chunk, int thread)
{
    batch *b = state;
    size_t floats = b->block * (b->n_panels * PANEL + b->m->n->n_factors);

    if (b->phase == 1)
        pack(b, (size_t)chunk);
    else if (b->status == AIGC_OK)
        rank_block(b, (size_t)chunk, b->scratch + (size_t)thread * floats);
}

static aigc_status run(batch *b, int n_threads, aigc_error *err)
{
    size_t d = b->m->n->n_factors, floats = b->block * (b->n_panels * PANEL + d);
    thread_pool *pool;
    aigc_status status = thread_pool_create(n_threads, &pool, err);

    if (status != AIGC_OK)
        return status;
    b->panels = aigc_calloc(b->n_panels * d, PANEL * sizeof *b->panels);
    b->scratch = aigc_calloc((size_t)n_threads, floats * sizeof *b->scratch);
    if (b->panels && b->scratch)
        thread_pool_run(pool, &(thread_program){next, work, b});
    else
        b->status = AIGC_E_MEMORY;
    thread_pool_destroy(pool);
    free(b->panels);
    free(b->scratch);
    if (b->status == AIGC_INTERRUPTED)
        return aigc_fail(err, AIGC_INTERRUPTED, "ranking was interrupted");
    return b->status == AIGC_OK ? AIGC_OK : aigc_fail_memory(err, "rankings", floats * sizeof *b->scratch);
}

aigc_status aigc_recommend_all(const aigc_recommender *recommender, const aigc_query *queries, size_t n, size_t k,
                               int n_threads, const volatile sig_atomic_t *interrupt, uint32_t *items, float *scores,
                               aigc_error *err)
{
    int cores = cpu_count();
    batch b = {.m = &recommender->m, .queries = queries, .interrupt = interrupt, .n = n, .k = k, .items = items};

    if (k == 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "k is 0, but at least one item must be asked for");
    if (n_threads < 0 || n_threads > THREAD_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "n_threads is %d, but goes from 0 to %d", n_threads, THREAD_MAX);
    b.scores = scores;
    b.kernels = dense_best();
    b.n_panels = ((size_t)b.m->n->n_items + PANEL - 1) / PANEL;
    b.block = b.n_panels ? SCORES_MOST / (b.n_panels * PANEL) : BLOCK_MOST;
    b.block = b.block < 1 ? 1 : b.block < BLOCK_MOST ? b.block : BLOCK_MOST;
    return run(&b, n_threads ? n_threads : cores < 8 ? cores : 8, err);
}
