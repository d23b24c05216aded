/*
 * batch.c: the best items of many queries together: aigc_recommend_all() and aigc_people. Of most people factors and
 * what is the same for everybody is all that counts: they are folded in once and ranked in groups, as products
 * (best.h). Others bring a row of scores of their own to that, made when they are ranked.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "recommend/best.h"
#include "recommend/folding.h"
#include "recommend/ranges.h"
#include "recommend/ranking.h"

enum {
    OWN_SCORES_MOST = 8 << 20 /* of the people that a thread ranks together */
};

/* How a person is ranked. */
typedef enum person_kind {
    BY_PRODUCT,       /* factors, and what is the same for everybody */
    BY_LIKENESS,      /* factors alone */
    BY_OWN_SCORES = 2 /* with a row of scores of their own */
} person_kind;

typedef struct person {
    uint8_t kind, blend;
} person;

/* What a thread ranks with. */
typedef struct worker {
    best_group group;
    float *own; /* [own_rows][n_items] scores of those who have some besides products */
    float *user;
} worker;

struct aigc_people {
    const model *m;
    const aigc_query *queries;
    size_t n;
    const volatile sig_atomic_t *interrupt;
    thread_pool *pool;
    person *persons; /* [n] */
    float *vectors;  /* [n][n_factors] folded in and weighted */
    float *general;  /* [BLENDS][n_items] scores that are the same for everybody */
    best_items ready;
    folding folding; /* while they are folded in */
};

typedef struct job {
    aigc_people *p;
    size_t k, own_rows;
    uint32_t *items;
    float *scores;
    worker *workers;
    folding_group *groups;
    _Atomic int status; /* aigc_status of the first chunk that failed */
} job;

static void fail(job *j, aigc_status status)
{
    int none = AIGC_OK;
    atomic_compare_exchange_strong(&j->status, &none, (int)status);
}

static bool interrupted(const aigc_people *p)
{
    return p->interrupt && *p->interrupt;
}

/* ---- folding in ---------------------------------------------------------------------------------------------- */

/* Whether factors and what is the same for everybody are all that this person's scores are made of. */
static bool is_product(const profile *p)
{
    const model_numbers *n = p->m->n;
    const float *blend = n->blend[p->blend];

    if (p->q->n_interests || p->q->embedding || p->moment || (p->n_history && n->n_factors && n->cold[p->blend] != 0))
        return false;
    for (int s = 0; s < SIGNALS; s++)
        if (blend[s] != 0 && !signal_is_general(s) && s != SIGNAL_FACTORS && profile_has(p, (score_signal)s))
            return false;
    return true;
}

/* A person's factors, weighted. */
static void set_vector(aigc_people *people, size_t i, const float *user)
{
    const model_numbers *n = people->m->n;
    float weight = n->blend[people->persons[i].blend][SIGNAL_FACTORS];

    people->ready.k->axpy(weight, user, people->vectors + i * n->n_factors, n->n_factors);
}

/* By themselves, by Cholesky. */
static aigc_status fold_in(aigc_people *people, size_t i)
{
    profile p;
    aigc_status status = profile_read(people->m, &people->queries[i], &p, NULL);

    if (status == AIGC_OK)
        status = profile_fold_in(&p, NULL);
    if (p.user)
        set_vector(people, i, p.user);
    profile_close(&p);
    return status;
}

/* How somebody is ranked; *place is theirs in the group, if they are to be folded in with it. */
static aigc_status read_person(aigc_people *people, folding_group *g, size_t i, int *place)
{
    const aigc_query *q = &people->queries[i];
    person *who = &people->persons[i];
    profile p;
    aigc_status status = profile_read(people->m, q, &p, NULL);

    if (status != AIGC_OK)
        return status;
    who->blend = (uint8_t)p.blend;
    who->kind = !is_product(&p) ? BY_OWN_SCORES : q->likeness ? BY_LIKENESS : BY_PRODUCT;
    *place = who->kind != BY_OWN_SCORES && p.n_history ? folding_add(g, p.history, p.n_history) : -1;
    profile_close(&p);
    return AIGC_OK;
}

/* Up to FOLDING_ROWS people from `first` on. */
static aigc_status fold_some(job *j, folding_group *g, size_t first, size_t n)
{
    aigc_people *people = j->p;
    size_t d = people->m->n->n_factors;
    int place[FOLDING_ROWS];
    aigc_status status = AIGC_OK;

    folding_clear(g);
    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        status = interrupted(people) ? AIGC_INTERRUPTED : read_person(people, g, first + i, &place[i]);
    if (status != AIGC_OK || d == 0)
        return status;
    folding_solve(g, &people->folding);
    for (size_t i = 0; i < n && status == AIGC_OK; i++) {
        if (place[i] < 0)
            continue;
        if (g->done[place[i]])
            set_vector(people, first + i, g->x + (size_t)place[i] * d);
        else
            status = interrupted(people) ? AIGC_INTERRUPTED : fold_in(people, first + i);
    }
    return status;
}

static void fold_work(void *state, uint32_t begin, uint32_t end, int thread)
{
    job *j = state;
    aigc_status status = j->status;

    if (status == AIGC_OK)
        status = fold_some(j, &j->groups[thread], begin, end - begin);
    if (status != AIGC_OK)
        fail(j, status);
}

/* Popularity and the like, weighted, for each blend. */
static bool weigh_general(aigc_people *p)
{
    const model *m = p->m;
    uint32_t n = m->n->n_items;

    p->general = aigc_calloc((size_t)BLENDS * n, sizeof *p->general);
    for (int blend = 0; blend < BLENDS && p->general; blend++)
        for (int s = 0; s < SIGNALS; s++) {
            float weight = m->n->blend[blend][s];
            const float *x = signal_is_general(s) && weight != 0 ? signal_values(m, s) : NULL;
            for (uint32_t i = 0; i < n && x; i++)
                p->general[(size_t)blend * n + i] += weight * x[i];
        }
    return p->general != NULL;
}

static aigc_status finish(const job *j, size_t bytes, aigc_error *err)
{
    if (j->status == AIGC_INTERRUPTED)
        return aigc_fail(err, AIGC_INTERRUPTED, "ranking was interrupted");
    return j->status == AIGC_OK ? AIGC_OK : aigc_fail_memory(err, "rankings", bytes);
}

static aigc_status fold_all(aigc_people *p, aigc_error *err)
{
    job j = {.p = p};
    int n_threads = thread_pool_size(p->pool);
    bool ok = folding_open(&p->folding, p->m, p->n, p->pool);

    j.groups = aigc_calloc((size_t)n_threads, sizeof *j.groups);
    for (int i = 0; i < n_threads && ok && j.groups; i++)
        ok = folding_group_open(&j.groups[i], &p->folding);
    if (ok && j.groups)
        ranges_run(p->pool, 0, (uint32_t)p->n, FOLDING_ROWS, fold_work, &j);
    else
        j.status = AIGC_E_MEMORY;
    for (int i = 0; i < n_threads && j.groups; i++)
        folding_group_close(&j.groups[i]);
    free(j.groups);
    folding_close(&p->folding);
    return finish(&j, p->n * p->m->n->n_factors * sizeof *p->vectors, err);
}

static aigc_status open_people(aigc_people *p, aigc_error *err)
{
    size_t d = p->m->n->n_factors;

    p->persons = aigc_calloc(p->n, sizeof *p->persons);
    p->vectors = aigc_calloc(p->n * d, sizeof *p->vectors);
    if (p->persons && p->vectors && weigh_general(p) &&
        best_items_open(&p->ready, dense_best(), p->m->n->n_items, d, NULL, p->m->factors, p->general, BLENDS))
        return fold_all(p, err);
    return aigc_fail_memory(err, "people", p->n * d * sizeof *p->vectors);
}

aigc_status aigc_people_open(const aigc_recommender *recommender, const aigc_query *queries, size_t n, int n_threads,
                             const volatile sig_atomic_t *interrupt, aigc_people **out, aigc_error *err)
{
    if (n > UINT32_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%zu people are too many to rank together", n);
    aigc_people *p = aigc_calloc(1, sizeof *p);
    if (p == NULL)
        return aigc_fail_memory(err, "people", sizeof *p);
    *p = (aigc_people){.m = &recommender->m, .queries = queries, .n = n, .interrupt = interrupt};
    aigc_status status = rank_pool(n_threads, &p->pool, err);
    if (status == AIGC_OK)
        status = open_people(p, err);
    if (status == AIGC_OK)
        *out = p;
    else
        aigc_people_close(p);
    return status;
}

void aigc_people_close(aigc_people *p)
{
    if (p == NULL)
        return;
    best_items_close(&p->ready);
    thread_pool_destroy(p->pool);
    free(p->persons);
    free(p->vectors);
    free(p->general);
    free(p);
}

/* ---- ranking ------------------------------------------------------------------------------------------------- */

/* What must not be ranked, as rank_restrict() has it. */
static void exclude(const aigc_people *p, best_group *g, int l, const aigc_query *q)
{
    if (q->among)
        best_group_only(g, &p->ready, l, q->among, q->n_among);
    for (size_t i = 0; i < q->n_exclude; i++)
        best_group_exclude(g, &p->ready, l, q->exclude[i]);
    for (size_t i = 0; i < q->n_dislikes; i++)
        best_group_exclude(g, &p->ready, l, q->dislikes[i]);
    for (size_t i = 0; i < q->n_likes && !q->keep_seen; i++)
        best_group_exclude(g, &p->ready, l, q->likes[i]);
    for (size_t i = 0; i < q->n_events && !q->keep_seen; i++)
        best_group_exclude(g, &p->ready, l, q->events[i].item);
}

/* Scores of their own into row, and their factors, weighted, into the worker's user. */
static aigc_status own_scores(const aigc_people *people, worker *w, const aigc_query *q, float *row)
{
    size_t d = people->m->n->n_factors;
    profile p;
    aigc_status status = profile_open(people->m, q, &p, NULL);

    if (status != AIGC_OK)
        return status;
    profile_scores(&p, false, row);
    memset(w->user, 0, d * sizeof *w->user);
    if (p.user)
        p.k->axpy(people->m->n->blend[p.blend][SIGNAL_FACTORS], p.user, w->user, d);
    profile_close(&p);
    return AIGC_OK;
}

/* Person i into lane l; *own counts the rows of scores in use. */
static aigc_status seat(const aigc_people *p, worker *w, int l, size_t i, size_t *own)
{
    const aigc_query *q = &p->queries[i];
    const person *who = &p->persons[i];
    float *row = w->own + *own * p->m->n->n_items;
    aigc_status status = AIGC_OK;

    if (who->kind == BY_OWN_SCORES)
        status = own_scores(p, w, q, row);
    if (status != AIGC_OK)
        return status;
    best_group_set(&w->group, &p->ready, l, who->kind == BY_OWN_SCORES ? w->user : p->vectors + i * p->m->n->n_factors,
                   who->kind == BY_PRODUCT ? who->blend : -1, q->seed);
    if (who->kind == BY_OWN_SCORES) {
        w->group.base[l] = row;
        ++*own;
    }
    exclude(p, &w->group, l, q);
    return AIGC_OK;
}

static void write_list(const job *j, const best_group *g, int l, size_t i)
{
    const candidate *list = g->heap + (size_t)l * g->k;

    for (size_t r = 0; r < j->k; r++) {
        bool is = r < g->n[l];
        j->items[i * j->k + r] = is ? list[r].item : AIGC_NO_ITEM;
        if (j->scores)
            j->scores[i * j->k + r] = is ? list[r].score : 0;
    }
}

/* As many people from `first` on as there is room for; *n is how many. */
static aigc_status rank_some(const job *j, worker *w, size_t first, size_t end, size_t *n)
{
    aigc_status status = AIGC_OK;
    size_t own = 0;

    best_group_clear(&w->group, &j->p->ready);
    for (*n = 0; first + *n < end && own < j->own_rows && status == AIGC_OK; ++*n)
        status = interrupted(j->p) ? AIGC_INTERRUPTED : seat(j->p, w, (int)*n, first + *n, &own);
    if (status != AIGC_OK)
        return status;
    best_rank(&j->p->ready, &w->group);
    for (size_t l = 0; l < *n; l++)
        write_list(j, &w->group, (int)l, first + l);
    return AIGC_OK;
}

static void rank_work(void *state, uint32_t begin, uint32_t end, int thread)
{
    job *j = state;

    for (size_t first = begin, n = 0; first < end && j->status == AIGC_OK; first += n) {
        aigc_status status = rank_some(j, &j->workers[thread], first, end, &n);
        if (status != AIGC_OK)
            fail(j, status);
    }
}

static bool open_workers(job *j, int n_threads)
{
    size_t n = j->p->m->n->n_items;
    bool ok = true;

    j->own_rows = n ? OWN_SCORES_MOST / n : BEST_LANES;
    j->own_rows = j->own_rows < 1 ? 1 : j->own_rows < BEST_LANES ? j->own_rows : BEST_LANES;
    j->workers = aigc_calloc((size_t)n_threads, sizeof *j->workers);
    for (int i = 0; i < n_threads && j->workers && ok; i++) {
        worker *w = &j->workers[i];
        w->own = aigc_calloc(j->own_rows * n, sizeof *w->own);
        w->user = aigc_calloc(j->p->m->n->n_factors, sizeof *w->user);
        ok = best_group_open(&w->group, &j->p->ready, j->k) && w->own && w->user;
    }
    return ok && j->workers;
}

static void close_workers(job *j, int n_threads)
{
    for (int i = 0; i < n_threads && j->workers; i++) {
        best_group_close(&j->workers[i].group);
        free(j->workers[i].own);
        free(j->workers[i].user);
    }
    free(j->workers);
}

aigc_status aigc_people_rank(aigc_people *p, size_t k, uint32_t *items, float *scores, aigc_error *err)
{
    job j = {.p = p, .k = k, .items = items, .scores = scores};
    int n_threads = thread_pool_size(p->pool);

    if (rank_check_k(k, err) != AIGC_OK)
        return AIGC_E_ARGUMENT;
    if (open_workers(&j, n_threads))
        ranges_run(p->pool, 0, (uint32_t)p->n, BEST_LANES, rank_work, &j);
    else
        j.status = AIGC_E_MEMORY;
    close_workers(&j, n_threads);
    return finish(&j, (size_t)n_threads * (j.own_rows + 1) * p->m->n->n_items * sizeof(float), err);
}

aigc_status aigc_recommend_all(const aigc_recommender *recommender, const aigc_query *queries, size_t n, size_t k,
                               int n_threads, const volatile sig_atomic_t *interrupt, uint32_t *items, float *scores,
                               aigc_error *err)
{
    aigc_people *people;

    if (rank_check_k(k, err) != AIGC_OK)
        return AIGC_E_ARGUMENT;
    aigc_status status = aigc_people_open(recommender, queries, n, n_threads, interrupt, &people, err);
    if (status != AIGC_OK)
        return status;
    status = aigc_people_rank(people, k, items, scores, err);
    aigc_people_close(people);
    return status;
}
