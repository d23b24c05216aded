/* trial.c: see trial.h. */
#include "recommend/trial.h"

#include <stdlib.h>

#include "base/memory.h"
#include "recommend/ranges.h"

enum { FOLDED_PER_STEP = 256 };

static aigc_status no_memory(const factor_trial *t, aigc_error *err)
{
    return aigc_fail_memory(err, "a trial of factors", (size_t)t->h->n * (t->f->d * sizeof(float) + sizeof(double)));
}

aigc_status factor_trial_open(factor_trial *t, factors *f, const holdout *h, int cutoff, aigc_error *err)
{
    *t = (factor_trial){.f = f, .h = h, .cutoff = cutoff, .n_threads = thread_pool_size(f->pool)};
    t->users = aigc_calloc((size_t)h->n * f->d, sizeof *t->users);
    t->ndcg = aigc_calloc(h->n, sizeof *t->ndcg);
    t->groups = aigc_calloc((size_t)t->n_threads, sizeof *t->groups);
    if (t->users && t->ndcg && t->groups)
        return AIGC_OK;
    factor_trial_close(t);
    return aigc_fail_memory(err, "a trial of factors", (size_t)h->n * (f->d * sizeof(float) + sizeof(double)));
}

void factor_trial_close(factor_trial *t)
{
    for (int i = 0; t->groups && i < t->n_threads; i++)
        best_group_close(&t->groups[i]);
    best_items_close(&t->items);
    free(t->groups);
    free(t->users);
    free(t->ndcg);
    *t = (factor_trial){0};
}

static bool open_ranking(factor_trial *t)
{
    const factors *f = t->f;
    bool ok = best_items_open(&t->items, f->k, f->by_item->n_rows, f->d, f->items, NULL, NULL, 0);

    for (int i = 0; i < t->n_threads && ok; i++)
        ok = best_group_open(&t->groups[i], &t->items, (size_t)t->cutoff);
    return ok;
}

/* NDCG of a list, -1 if nothing is hidden of the row. */
static double list_ndcg(const factor_trial *t, uint32_t row, const candidate *list, size_t n)
{
    size_t n_hidden = t->h->hidden.start[row + 1] - t->h->hidden.start[row];
    double gain = 0, ideal = 0;

    for (size_t i = 0; i < n; i++)
        gain += is_hidden(t->h, row, list[i].item) ? discount(i) : 0;
    for (size_t i = 0; i < n_hidden && i < (size_t)t->cutoff; i++)
        ideal += discount(i);
    return n_hidden ? gain / ideal : -1;
}

static void rank_group(const factor_trial *t, best_group *g, uint32_t first, uint32_t n)
{
    const pairs *shown = &t->h->shown;

    best_group_clear(g, &t->items);
    for (uint32_t l = 0; l < n; l++) {
        best_group_set(g, &t->items, (int)l, t->users + (first + l) * t->f->d, -1, 0);
        for (uint64_t i = shown->start[first + l]; i < shown->start[first + l + 1]; i++)
            best_group_exclude(g, &t->items, (int)l, shown->item[i]);
    }
    best_rank(&t->items, g);
    for (uint32_t l = 0; l < n; l++)
        t->ndcg[first + l] = list_ndcg(t, first + l, g->heap + l * g->k, g->n[l]);
}

static void groups_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const factor_trial *t = context;

    rank_group(t, &t->groups[thread], begin, end - begin);
}

static double mean_ndcg(const factor_trial *t)
{
    double sum = 0;

    for (uint32_t u = 0; u < t->h->n; u++)
        sum += t->ndcg[u] >= 0 ? t->ndcg[u] : 0;
    return t->h->n ? sum / t->h->n : 0;
}

aigc_status factor_trial_step(factor_trial *t, bool *done, double *ndcg, aigc_error *err)
{
    uint32_t left = t->h->n - t->next, most = t->folded ? (uint32_t)t->n_threads * BEST_LANES : FOLDED_PER_STEP;
    uint32_t end = t->next + (left < most ? left : most);

    if (!t->ready) {
        t->ready = factors_item_gram(t->f, NULL);
        return AIGC_OK;
    }
    if (t->folded)
        ranges_run(t->f->pool, t->next, end, BEST_LANES, groups_work, t);
    else
        factors_fold_in(t->f, &t->h->shown, t->next, end, t->users);
    t->next = end;
    *done = t->folded && end == t->h->n;
    if (*done)
        *ndcg = mean_ndcg(t);
    if (!t->folded && end == t->h->n) {
        t->folded = true;
        t->next = 0;
        if (!open_ranking(t))
            return no_memory(t, err);
    }
    return AIGC_OK;
}
