/* evaluate.c: see evaluate.h. */
#include "recommend/evaluate.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"
#include "recommend/profile.h"
#include "recommend/ranges.h"
#include "recommend/ranking.h"
#include "recommend/words.h"

enum { USERS_PER_STEP = 64 };

double discount(size_t place)
{
    static const double LN2 = 0x1.62e42fefa39efp-1;

    return LN2 / real_log((double)place + 2);
}

aigc_status evaluator_open(evaluator *e, const aigc_fit *fit, const model *m, const holdout *h, aigc_error *err)
{
    *e = (evaluator){.fit = fit, .m = m, .h = h};
    memcpy(e->cutoffs, fit->o.cutoffs, sizeof e->cutoffs);
    e->users = aigc_calloc((size_t)h->n * RANKERS_MOST, sizeof *e->users);
    e->seen = aigc_calloc(RANKERS_MOST, m->n->n_items);
    if (e->users && e->seen)
        return AIGC_OK;
    evaluator_close(e);
    return aigc_fail_memory(err, "figures of users", (size_t)h->n * RANKERS_MOST * sizeof *e->users);
}

void evaluator_close(evaluator *e)
{
    free(e->users);
    free(e->seen);
    *e = (evaluator){0};
}

/* ---- a user as a query --------------------------------------------------------------------------------------- */

/* The text of a value: its term after the name and "=". */
static aigc_string value_text(const catalogue *c, const user_value *v)
{
    char term[TERM_MAX_BYTES + 8];
    aigc_string key = key_at(&c->values, v->value), name = key_at(&c->attributes, v->attribute);
    size_t before = word_value(name, (aigc_string){"x", 1}, term) - 1;

    return before <= key.len ? (aigc_string){key.data + before, key.len - before} : (aigc_string){"", 0};
}

static size_t user_attributes(const aigc_fit *fit, uint32_t user, aigc_attribute *out)
{
    const catalogue *c = &fit->c;
    size_t n = 0;

    for (size_t i = fit->user_first[user]; i < c->n_user_values && c->user_values[i].user == user; i++) {
        const user_value *v = &c->user_values[i];
        if (n == ATTRIBUTES_MOST)
            break;
        out[n] = (aigc_attribute){.name = key_at(&c->attributes, v->attribute), .kind = AIGC_VALUE_NUMBER};
        out[n].number = v->number;
        if (v->value != KEY_NONE) {
            out[n].kind = AIGC_VALUE_TEXT;
            out[n].text = value_text(c, v);
        }
        n++;
    }
    return n;
}

aigc_query user_query(const aigc_fit *fit, const holdout *h, uint32_t row, size_t n, aigc_event *events,
                      aigc_attribute *attributes)
{
    aigc_query q = aigc_query_defaults();
    uint64_t from = h->shown.start[row], len = h->shown.start[row + 1] - from;

    /* Spread over the row, which is sorted by item: any other choice would prefer low numbers. */
    n = n < len ? n : len;
    for (size_t i = 0; i < n; i++) {
        uint64_t at = from + i * len / n;
        events[i] = (aigc_event){.item = h->shown.item[at], .weight = 1};
        events[i].weight = h->shown.weight[at];
        events[i].time = h->shown.time ? h->shown.time[at] : NAN;
    }
    q.events = events;
    q.n_events = n;
    q.attributes = attributes;
    q.n_attributes = user_attributes(fit, h->users[row], attributes);
    return q;
}

/* ---- ranking users ------------------------------------------------------------------------------------------- */

bool is_hidden(const holdout *h, uint32_t row, uint32_t item)
{
    uint64_t low = h->hidden.start[row], high = h->hidden.start[row + 1], end = high;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (h->hidden.item[middle] < item)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && h->hidden.item[low] == item;
}

static void measure(const evaluator *e, uint32_t row, const uint32_t *order, size_t n, user_metrics *out)
{
    size_t n_hidden = e->h->hidden.start[row + 1] - e->h->hidden.start[row];

    for (int c = 0; c < AIGC_METRIC_CUTOFFS; c++) {
        size_t k = (size_t)e->cutoffs[c], best = k < n_hidden ? k : n_hidden;
        double hits = 0, gain = 0, ideal = 0;
        if (k == 0 || n_hidden == 0)
            continue;
        for (size_t i = 0; i < best; i++)
            ideal += discount(i);
        for (size_t i = 0; i < k && i < n; i++)
            if (is_hidden(e->h, row, order[i])) {
                hits++;
                gain += discount(i);
            }
        out->recall[c] = hits / (double)best;
        out->ndcg[c] = gain / ideal;
    }
}

typedef struct users_job {
    evaluator *e;
    _Atomic bool failed;
} users_job;

static bool rank_user(evaluator *e, uint32_t row, float *score, aigc_event *events)
{
    aigc_attribute attributes[ATTRIBUTES_MOST];
    uint32_t n = e->m->n->n_items, *order;
    int most = 1;
    profile p;
    bool ok = true;

    for (int c = 0; c < AIGC_METRIC_CUTOFFS; c++)
        most = e->cutoffs[c] > most ? e->cutoffs[c] : most;
    aigc_query q = user_query(e->fit, e->h, row, SIZE_MAX, events, attributes);
    if (profile_open(e->m, &q, &p, NULL) != AIGC_OK)
        return false;
    for (int r = 0; r < e->n_rankers && ok; r++) {
        const float *blend = e->rankers[r].blend[p.blend];
        memset(score, 0, n * sizeof *score);
        for (int s = 0; s < SIGNALS; s++)
            if (blend[s] != 0)
                profile_signal(&p, (score_signal)s, blend[s], score);
        for (size_t i = 0; i < q.n_events; i++)
            score[q.events[i].item] = -INFINITY;
        size_t len = rank_best(score, n, (size_t)most, 0, &order, &ok);
        if (!ok)
            break;
        measure(e, row, order, len, &e->users[(size_t)row * RANKERS_MOST + (size_t)r]);
        for (size_t i = 0; i < len && i < (size_t)e->cutoffs[0]; i++)
            __atomic_store_n(&e->seen[(size_t)r * n + order[i]], 1, __ATOMIC_RELAXED);
        free(order);
    }
    profile_close(&p);
    return ok;
}

/* Of one user. */
static void users_work(void *context, uint32_t row, uint32_t end, int thread)
{
    users_job *job = context;
    size_t n = job->e->h->shown.start[end] - job->e->h->shown.start[row];
    float *score = aigc_calloc(job->e->m->n->n_items, sizeof *score);
    aigc_event *events = aigc_calloc(n, sizeof *events);

    (void)thread;
    if (score == NULL || events == NULL || !rank_user(job->e, row, score, events))
        job->failed = true;
    free(score);
    free(events);
}

aigc_status evaluator_step(evaluator *e, bool *done, aigc_error *err)
{
    users_job job = {.e = e};
    uint32_t end = range_end(e->next, e->h->n, fit_people(e->fit, USERS_PER_STEP));

    ranges_run(e->fit->pool, e->next, end, 1, users_work, &job);
    e->next = end;
    *done = e->next == e->h->n;
    return job.failed ? aigc_fail_memory(err, "scores", e->m->n->n_items * sizeof(float)) : AIGC_OK;
}

void evaluator_result(const evaluator *e, int r, aigc_metrics *out)
{
    uint32_t n_items = e->m->n->n_items, n_seen = 0, n = e->h->n;

    *out = (aigc_metrics){.ranker = e->rankers[r].name, .n_users = n};
    memcpy(out->cutoffs, e->cutoffs, sizeof out->cutoffs);
    for (int c = 0; c < AIGC_METRIC_CUTOFFS; c++) {
        double square = 0;
        for (uint32_t u = 0; u < n; u++) {
            const user_metrics *one = &e->users[(size_t)u * RANKERS_MOST + (size_t)r];
            out->recall[c] += one->recall[c] / n;
            out->ndcg[c] += one->ndcg[c] / n;
            square += one->ndcg[c] * one->ndcg[c] / n;
        }
        double variance = square - out->ndcg[c] * out->ndcg[c];
        out->ndcg_error[c] = n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0;
    }
    for (uint32_t i = 0; i < n_items; i++)
        n_seen += e->seen[(size_t)r * n_items + i];
    out->coverage = n_items ? (double)n_seen / n_items : 0;
}

double evaluator_ndcg(const evaluator *e, int r)
{
    aigc_metrics m;
    int c = AIGC_METRIC_CUTOFFS - 1;

    evaluator_result(e, r, &m);
    while (c > 0 && e->cutoffs[c] == 0)
        c--;
    return m.ndcg[c];
}
