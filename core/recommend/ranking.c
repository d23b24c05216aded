/* ranking.c: see ranking.h and the second half of aigc_recommend.h. */
#include "recommend/ranking.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "recommend/heap.h"

enum {
    POOL_FACTOR = 5, /* items in the pool for each result, when results shall differ */
    POOL_LEAST = 100,
    POOL_MOST = 2000, /* beyond which diversity costs more than it gives */
};

aigc_query aigc_query_defaults(void)
{
    return (aigc_query){.k = 10, .at = NAN, .reasons = true};
}

/* ---- the best n ---------------------------------------------------------------------------------------------- */

size_t rank_best(const float *score, uint32_t n_items, size_t n, uint64_t seed, uint32_t **order, bool *ok)
{
    size_t m = 0;

    if (n > n_items)
        n = n_items;
    candidate *heap = aigc_realloc_array(NULL, n, sizeof *heap);
    *order = aigc_realloc_array(NULL, n, sizeof **order);
    *ok = heap && *order;
    if (!*ok) {
        free(heap);
        free(*order);
        *order = NULL;
        return 0;
    }
    for (uint32_t i = 0; i < n_items && n > 0; i++) {
        if (!(score[i] > -INFINITY) || (m == n && score[i] < heap[0].score))
            continue;
        heap_offer(heap, &m, n, (candidate){score[i], i, tie_of(seed, i)});
    }
    qsort(heap, m, sizeof *heap, in_order);
    for (size_t i = 0; i < m; i++)
        (*order)[i] = heap[i].item;
    free(heap);
    return m;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

aigc_status rank_check_k(size_t k, aigc_error *err)
{
    return k ? AIGC_OK : aigc_fail(err, AIGC_E_ARGUMENT, "k is 0, but at least one item must be asked for");
}

aigc_status rank_pool(int n_threads, thread_pool **pool, aigc_error *err)
{
    int cores = cpu_count();

    if (n_threads < 0 || n_threads > THREAD_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "n_threads is %d, but goes from 0 to %d", n_threads, THREAD_MAX);
    return thread_pool_create(n_threads ? n_threads : cores < 8 ? cores : 8, pool, err);
}

static aigc_status check_query(const aigc_query *q, aigc_error *err)
{
    if (!(q->diversity >= 0 && q->diversity <= 1))
        return aigc_fail(err, AIGC_E_ARGUMENT, "diversity is %g, but goes from 0 to 1", q->diversity);
    return rank_check_k(q->k, err);
}

static void take_out(const uint32_t *items, size_t n, uint32_t n_items, float *score)
{
    for (size_t i = 0; i < n; i++)
        if (items[i] < n_items)
            score[items[i]] = -INFINITY;
}

aigc_status rank_restrict(const aigc_query *q, uint32_t n, float *score, aigc_error *err)
{
    if (q->among) {
        bool *among = aigc_calloc(n, sizeof *among);
        if (among == NULL)
            return aigc_fail_memory(err, "the candidates", n);
        for (size_t i = 0; i < q->n_among; i++)
            if (q->among[i] < n)
                among[q->among[i]] = true;
        for (uint32_t i = 0; i < n; i++)
            if (!among[i])
                score[i] = -INFINITY;
        free(among);
    }
    take_out(q->exclude, q->n_exclude, n, score);
    take_out(q->dislikes, q->n_dislikes, n, score);
    if (!q->keep_seen)
        take_out(q->likes, q->n_likes, n, score);
    for (size_t i = 0; i < q->n_events && !q->keep_seen; i++)
        if (q->events[i].item < n)
            score[q->events[i].item] = -INFINITY;
    return AIGC_OK;
}

static bool interrupted(const aigc_ranking *r)
{
    return r->q.interrupt && *r->q.interrupt;
}

static aigc_status stop(aigc_error *err)
{
    return aigc_fail(err, AIGC_INTERRUPTED, "ranking was interrupted");
}

aigc_status aigc_ranking_open(const aigc_recommender *recommender, const aigc_query *query, aigc_ranking **out,
                              aigc_error *err)
{
    aigc_status status = check_query(query, err);
    aigc_ranking *r;

    if (status != AIGC_OK)
        return status;
    if ((r = aigc_calloc(1, sizeof *r)) == NULL)
        return aigc_fail_memory(err, "a ranking", sizeof *r);
    r->q = *query;
    status = profile_open(&recommender->m, &r->q, &r->p, err);
    if (status == AIGC_OK && interrupted(r))
        status = stop(err);
    if (status == AIGC_OK)
        status = bounds_open(&r->scores, &r->p, err);
    if (status == AIGC_OK)
        status = interrupted(r) ? stop(err) : rank_restrict(&r->q, r->p.m->n->n_items, r->scores.score, err);
    if (status == AIGC_OK)
        *out = r;
    else
        aigc_ranking_free(r);
    return status;
}

void aigc_ranking_free(aigc_ranking *r)
{
    if (r == NULL)
        return;
    bounds_close(&r->scores);
    profile_close(&r->p);
    free(r->order);
    free(r->hidden);
    free(r->results);
    free(r->reasons);
    free(r);
}

/* ---- pool ---------------------------------------------------------------------------------------------------- */

size_t aigc_ranking_wanted(const aigc_ranking *r)
{
    size_t k = r->q.k;

    if (r->q.diversity == 0 || k >= POOL_MOST)
        return k;
    size_t pool = k * POOL_FACTOR < POOL_LEAST ? POOL_LEAST : k * POOL_FACTOR;
    return pool < POOL_MOST ? pool : POOL_MOST;
}

/* The order of the first n items at least. What was given before stays as it was: the order is total. */
static aigc_status extend_order(aigc_ranking *r, size_t n, aigc_error *err)
{
    bool ok;

    if (n <= r->n_order || r->complete)
        return AIGC_OK;
    size_t ask = n < 2 * r->n_order ? 2 * r->n_order : n;
    uint32_t *order;
    size_t m = bounds_best(&r->scores, ask, r->q.seed, &order, &ok);
    if (!ok)
        return aigc_fail_memory(err, "a ranking", ask * sizeof(candidate));
    free(r->order);
    r->order = order;
    r->n_order = m;
    r->complete = m < ask;
    return AIGC_OK;
}

aigc_status aigc_ranking_more(aigc_ranking *r, size_t n, const uint32_t **items, size_t *n_items, aigc_error *err)
{
    size_t most = r->p.m->n->n_items - r->n_given;

    if (interrupted(r))
        return stop(err);
    if (n > most)
        n = most;
    aigc_status status = extend_order(r, r->n_given + n, err);
    if (status != AIGC_OK)
        return status;
    size_t end = r->n_given + n < r->n_order ? r->n_given + n : r->n_order;
    if (end > r->hidden_capacity) {
        size_t capacity = 2 * end;
        bool *hidden = aigc_realloc_array(r->hidden, capacity, sizeof *hidden);
        if (hidden == NULL)
            return aigc_fail_memory(err, "a ranking", capacity);
        memset(hidden + r->hidden_capacity, 0, capacity - r->hidden_capacity);
        r->hidden = hidden;
        r->hidden_capacity = capacity;
    }
    *items = r->order + r->n_given;
    *n_items = end - r->n_given;
    r->n_given = end;
    return AIGC_OK;
}

/* From the end: hosts hide items of the batch that they have just been given. */
void aigc_ranking_hide(aigc_ranking *r, uint32_t item)
{
    for (size_t i = r->n_given; i-- > 0;)
        if (r->order[i] == item) {
            r->n_hidden += !r->hidden[i];
            r->hidden[i] = true;
            return;
        }
}

size_t aigc_ranking_pool(const aigc_ranking *r)
{
    return r->n_given - r->n_hidden;
}

/* ---- selection ----------------------------------------------------------------------------------------------- */

static float cosine_half(const profile *p, const uint16_t *rows, size_t d, uint32_t a, uint32_t b, int *n)
{
    float *x = p->scratch, aa, bb, ab;

    if (d == 0)
        return 0;
    memset(x, 0, d * sizeof *x);
    p->k->axpy_half(1, rows + a * d, x, d);
    aa = p->k->dot(x, x, d);
    ab = p->k->dot_half(rows + b * d, x, d);
    memset(x, 0, d * sizeof *x);
    p->k->axpy_half(1, rows + b * d, x, d);
    bb = p->k->dot(x, x, d);
    float cosine = ab / sqrtf(aa * bb);
    if (!(fabsf(cosine) <= 1.01f))
        return 0;
    ++*n;
    return cosine;
}

float item_cosine(const profile *p, uint32_t a, uint32_t b)
{
    const model *m = p->m;
    int n = 0;
    float sum = cosine_half(p, m->factors, m->n->n_factors, a, b, &n);

    sum += cosine_half(p, m->latent, m->n->n_latent, a, b, &n);
    sum += cosine_half(p, m->embedding, m->n->n_embedding, a, b, &n);
    return n ? sum / (float)n : 0;
}

/*
 * Maximal marginal relevance (Carbonell and Goldstein, 1998): again and again the item of the pool with the largest
 * (1 - diversity) * relevance - diversity * (cosine to the most similar one chosen so far); relevance is the score,
 * from 0 for the least of the pool to 1 for the best.
 */
static aigc_status diversify(aigc_ranking *r, uint32_t *pool, size_t n, size_t k, aigc_error *err)
{
    float *similar = aigc_calloc(n, sizeof *similar);
    const float *score = r->scores.score;
    float best = score[pool[0]], span = best - score[pool[n - 1]], share = (float)r->q.diversity;

    if (similar == NULL)
        return aigc_fail_memory(err, "a selection", n * sizeof *similar);
    for (size_t done = 0; done < k; done++) {
        size_t chosen = done;
        float most = -INFINITY;
        if (interrupted(r)) {
            free(similar);
            return stop(err);
        }
        for (size_t i = done; i < n; i++) {
            float relevance = span > 0 ? 1 - (best - score[pool[i]]) / span : 1;
            float value = (1 - share) * relevance - share * similar[i];
            if (value > most) {
                most = value;
                chosen = i;
            }
        }
        uint32_t item = pool[chosen];
        /* the others keep their order, so that equal values go to the better score */
        memmove(pool + done + 1, pool + done, (chosen - done) * sizeof *pool);
        memmove(similar + done + 1, similar + done, (chosen - done) * sizeof *similar);
        pool[done] = item;
        for (size_t i = done + 1; i < n; i++) {
            float c = item_cosine(&r->p, item, pool[i]);
            if (done == 0 || c > similar[i])
                similar[i] = c;
        }
    }
    free(similar);
    return AIGC_OK;
}

aigc_status aigc_ranking_select(aigc_ranking *r, aigc_error *err)
{
    size_t n = 0, k;
    uint32_t *pool = aigc_realloc_array(NULL, r->n_given, sizeof *pool);
    aigc_status status = AIGC_OK;

    if (pool == NULL)
        return aigc_fail_memory(err, "a selection", r->n_given * sizeof *pool);
    for (size_t i = 0; i < r->n_given && n < aigc_ranking_wanted(r); i++)
        if (!r->hidden[i])
            pool[n++] = r->order[i];
    k = n < r->q.k ? n : r->q.k;
    if (r->q.diversity > 0 && n > 1 && k <= POOL_MOST)
        status = diversify(r, pool, n, k, err);
    free(r->results);
    r->results = status == AIGC_OK ? aigc_calloc(k, sizeof *r->results) : NULL;
    r->n_results = 0;
    if (status == AIGC_OK && r->results == NULL)
        status = aigc_fail_memory(err, "results", k * sizeof *r->results);
    for (size_t i = 0; i < k && status == AIGC_OK; i++)
        r->results[i] = (aigc_recommendation){.item = pool[i], .score = r->scores.score[pool[i]]};
    if (status == AIGC_OK)
        r->n_results = k;
    free(pool);
    if (status == AIGC_OK && r->q.reasons)
        status = ranking_reasons(r, err);
    return status;
}

size_t aigc_ranking_results(const aigc_ranking *r, const aigc_recommendation **results)
{
    *results = r->results;
    return r->n_results;
}

bool aigc_ranking_understood(const aigc_ranking *r, size_t interest)
{
    return interest < r->q.n_interests && r->p.wanted[interest].understood;
}

aigc_status aigc_recommend(const aigc_recommender *recommender, const aigc_query *query, aigc_ranking **out,
                           aigc_error *err)
{
    const uint32_t *items;
    size_t n;
    aigc_ranking *r;
    aigc_status status = aigc_ranking_open(recommender, query, &r, err);

    if (status != AIGC_OK)
        return status;
    status = aigc_ranking_more(r, aigc_ranking_wanted(r), &items, &n, err);
    if (status == AIGC_OK)
        status = aigc_ranking_select(r, err);
    if (status == AIGC_OK)
        *out = r;
    else
        aigc_ranking_free(r);
    return status;
}

aigc_status aigc_similar(const aigc_recommender *recommender, uint32_t item, const aigc_query *query,
                         aigc_ranking **out, aigc_error *err)
{
    aigc_query q = aigc_query_defaults();

    if (item >= recommender->m.n->n_items)
        return aigc_fail(err, AIGC_E_ARGUMENT, "there is no item number %u, the model has %u", item,
                         recommender->m.n->n_items);
    q.likes = &item;
    q.n_likes = 1;
    q.likeness = true;
    q.among = query->among;
    q.n_among = query->n_among;
    q.exclude = query->exclude;
    q.n_exclude = query->n_exclude;
    q.k = query->k;
    q.diversity = query->diversity;
    q.seed = query->seed;
    q.at = query->at;
    q.reasons = query->reasons;
    q.interrupt = query->interrupt;
    return aigc_recommend(recommender, &q, out, err);
}
