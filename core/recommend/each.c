/*
 * each.c: aigc_recommend_each() and aigc_each: many queries, each ranked as aigc_recommend() does it, one to a thread.
 * A query of a large catalogue looks at a small part of its rows (bounds.h), which is why this is quicker there than
 * the products of batch.c, and exact in the same way as a single query.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "recommend/ranking.h"

struct aigc_each {
    thread_pool *pool;
    const aigc_recommender *model;
    const aigc_query *queries;
    size_t n, k, per_chunk;
    const volatile sig_atomic_t *interrupt;
    bool *done;
    uint32_t *items;
    float *scores;
    bool begun;
    _Atomic int status; /* aigc_status of the first query that failed */
    aigc_error error;   /* its error; whoever sets status writes it */
};

typedef struct aigc_each job;

static int next(void *state)
{
    job *j = state;

    if (j->begun)
        return 0;
    j->begun = true;
    return (int)((j->n + j->per_chunk - 1) / j->per_chunk);
}

static void write_list(const job *j, size_t i, const aigc_ranking *ranking)
{
    const aigc_recommendation *results;
    size_t n = aigc_ranking_results(ranking, &results);

    for (size_t r = 0; r < j->k; r++) {
        j->items[i * j->k + r] = r < n ? results[r].item : AIGC_NO_ITEM;
        if (j->scores)
            j->scores[i * j->k + r] = r < n ? (float)results[r].score : 0;
    }
}

static void rank_one(job *j, size_t i)
{
    aigc_query q = j->queries[i];
    aigc_ranking *ranking;
    aigc_error error;
    int none = AIGC_OK;

    q.k = j->k;
    q.reasons = false;
    q.interrupt = j->interrupt;
    aigc_status status = aigc_recommend(j->model, &q, &ranking, &error);
    if (status == AIGC_OK) {
        write_list(j, i, ranking);
        aigc_ranking_free(ranking);
        if (j->done)
            j->done[i] = true;
    } else if (atomic_compare_exchange_strong(&j->status, &none, (int)status)) {
        j->error = error;
    }
}

static void work(void *state, int chunk, int thread)
{
    job *j = state;
    size_t first = (size_t)chunk * j->per_chunk;

    (void)thread;
    for (size_t i = first; i < j->n && i < first + j->per_chunk && j->status == AIGC_OK; i++)
        if (!j->done || !j->done[i])
            rank_one(j, i);
}

aigc_status aigc_each_start(const aigc_recommender *recommender, const aigc_query *queries, size_t n, size_t k,
                            int n_threads, const volatile sig_atomic_t *interrupt, bool *done, uint32_t *items,
                            float *scores, aigc_each **out, aigc_error *err)
{
    if (rank_check_k(k, err) != AIGC_OK)
        return AIGC_E_ARGUMENT;
    aigc_each *j = aigc_calloc(1, sizeof *j);
    if (j == NULL)
        return aigc_fail_memory(err, "rankings", sizeof *j);
    *j = (aigc_each){.model = recommender,
                     .queries = queries,
                     .n = n,
                     .k = k,
                     .interrupt = interrupt,
                     .done = done,
                     .items = items,
                     .scores = scores,
                     .per_chunk = n / THREAD_MAX_CHUNKS + 1};
    aigc_status status = rank_pool(n_threads, &j->pool, err);
    if (status != AIGC_OK) {
        free(j);
        return status;
    }
    thread_pool_start(j->pool, &(thread_program){next, work, j});
    *out = j;
    return AIGC_OK;
}

aigc_status aigc_each_finish(aigc_each *j, aigc_error *err)
{
    thread_pool_finish(j->pool);
    if (j->status != AIGC_OK && err)
        *err = j->error;
    return (aigc_status)j->status;
}

/* The pool ends by itself only when the program is over, which what is left for is made short. */
void aigc_each_free(aigc_each *j)
{
    int none = AIGC_OK;

    if (j == NULL)
        return;
    atomic_compare_exchange_strong(&j->status, &none, AIGC_INTERRUPTED);
    thread_pool_finish(j->pool);
    thread_pool_destroy(j->pool);
    free(j);
}

aigc_status aigc_recommend_each(const aigc_recommender *recommender, const aigc_query *queries, size_t n, size_t k,
                                int n_threads, const volatile sig_atomic_t *interrupt, bool *done, uint32_t *items,
                                float *scores, aigc_error *err)
{
    aigc_each *each;
    aigc_status status =
        aigc_each_start(recommender, queries, n, k, n_threads, interrupt, done, items, scores, &each, err);

    if (status != AIGC_OK)
        return status;
    status = aigc_each_finish(each, err);
    aigc_each_free(each);
    return status;
}
