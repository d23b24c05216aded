/* events.c: events as they come, and the pairs that are made of them. Part of catalogue.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"
#include "recommend/catalogue.h"

enum { MEDIAN_SAMPLE = 100000 };

static aigc_status add_event(catalogue *c, const aigc_event *e, aigc_error *err)
{
    size_t chunk = c->n_events / EVENT_CHUNK;

    if (e->user >= c->user_keys.n)
        return aigc_fail(err, AIGC_E_ARGUMENT, "an event has user number %u, but there are %u users", e->user,
                         c->user_keys.n);
    if (e->item >= c->item_keys.n)
        return aigc_fail(err, AIGC_E_ARGUMENT, "an event has item number %u, but there are %u items", e->item,
                         c->item_keys.n);
    if (chunk == c->n_chunks) {
        if (!array_reserve((void **)&c->chunks, chunk, &c->chunks_capacity, sizeof *c->chunks) ||
            (c->chunks[chunk] = aigc_realloc_array(NULL, EVENT_CHUNK, sizeof **c->chunks)) == NULL)
            return aigc_fail_memory(err, "events", EVENT_CHUNK * sizeof **c->chunks);
        c->n_chunks++;
    }
    bool timed = isfinite(e->time);
    if (timed && !c->has_times) {
        c->has_times = true;
        c->base_time = c->last_time = e->time;
    }
    if (timed && e->time > c->last_time)
        c->last_time = e->time;
    c->chunks[chunk][c->n_events++ % EVENT_CHUNK] =
        (stored_event){e->user, e->item, e->weight, timed ? (float)(e->time - c->base_time) : NAN};
    return AIGC_OK;
}

aigc_status catalogue_add_events(catalogue *c, const aigc_event *events, size_t n, aigc_error *err)
{
    aigc_status status = AIGC_OK;

    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        status = add_event(c, &events[i], err);
    return status;
}

/* Whether an event is evidence of anything. */
static bool counts(const stored_event *e)
{
    return isfinite(e->weight) && e->weight != 0;
}

static const stored_event *event_at(const catalogue *c, uint64_t i)
{
    return &c->chunks[i / EVENT_CHUNK][i % EVENT_CHUNK];
}

/* ---- pairs, in steps ----------------------------------------------------------------------------------------- */

/* How many of each kind there are, and where rows begin. */
static bool count_rows(catalogue *c, pairs_maker *m)
{
    uint64_t kept = 0;

    for (uint64_t i = 0; i < c->n_events; i++) {
        const stored_event *e = event_at(c, i);
        m->counts.n_zero += e->weight == 0;
        m->counts.n_not_finite += !isfinite(e->weight);
        kept += counts(e);
    }
    if (!pairs_alloc(&m->p, c->user_keys.n, c->item_keys.n, kept, c->has_times))
        return false;
    for (uint64_t i = 0; i < c->n_events; i++)
        if (counts(event_at(c, i)))
            m->p.start[event_at(c, i)->user + 1]++;
    for (uint32_t u = 0; u < m->p.n_rows; u++)
        m->p.start[u + 1] += m->p.start[u];
    return true;
}

/* One chunk of events into their users' rows, in the order in which they came; start becomes the rows' ends. */
static void fill_rows(catalogue *c, pairs_maker *m)
{
    pairs *p = &m->p;
    uint64_t begin = m->next * EVENT_CHUNK, end = begin + EVENT_CHUNK < c->n_events ? begin + EVENT_CHUNK : c->n_events;

    for (uint64_t i = begin; i < end; i++) {
        const stored_event *e = event_at(c, i);
        if (!counts(e))
            continue;
        uint64_t at = p->start[e->user]++;
        p->item[at] = e->item;
        p->weight[at] = e->weight;
        if (p->time)
            p->time[at] = e->time;
    }
    free(c->chunks[m->next]);
    c->chunks[m->next++] = NULL;
}

typedef struct entry {
    uint32_t item, order;
    float weight, time;
} entry;

static int by_item(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Sorts a row and adds up what belongs together; returns how many pairs are left, written from `to` on. */
static uint64_t merge_row(pairs *p, uint64_t begin, uint64_t end, uint64_t to, entry *row, event_counts *n)
{
    size_t m = 0, len = (size_t)(end - begin);

    for (size_t i = 0; i < len; i++)
        row[i] = (entry){p->item[begin + i], (uint32_t)i, p->weight[begin + i], p->time ? p->time[begin + i] : NAN};
    qsort(row, len, sizeof *row, by_item);
    for (size_t i = 0; i < len;) {
        double weight = 0;
        float time = NAN;
        size_t first = i;
        for (; i < len && row[i].item == row[first].item; i++) {
            weight += row[i].weight;
            time = row[i].time > time || isnan(time) ? row[i].time : time;
        }
        n->n_negative += weight < 0;
        if (!(weight > 0))
            continue;
        p->item[to + m] = row[first].item;
        p->weight[to + m] = weight < 1e30 ? (float)weight : 1e30f;
        if (p->time)
            p->time[to + m] = time;
        m++;
    }
    return m;
}

/* Some rows sorted; false if memory is out. */
static bool merge_rows(pairs_maker *m)
{
    pairs *p = &m->p;
    uint64_t from = m->begin;

    for (; m->next < p->n_rows && m->begin - from < EVENT_CHUNK; m->next++) {
        uint64_t end = p->start[m->next + 1], n = end - m->begin;
        if (!array_reserve(&m->row, n, &m->row_capacity, sizeof(entry)))
            return false;
        m->to += merge_row(p, m->begin, end, m->to, m->row, &m->counts);
        p->start[m->next + 1] = m->to;
        m->begin = end;
    }
    return true;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The median of the weights, from a sample spread evenly over them. 0 if memory is out. */
static float median(const pairs *p)
{
    uint64_t n = pairs_n(p), m = n < MEDIAN_SAMPLE ? n : MEDIAN_SAMPLE;
    float *sample = aigc_realloc_array(NULL, m, sizeof *sample);

    if (sample == NULL)
        return 0;
    for (uint64_t i = 0; i < m; i++)
        sample[i] = p->weight[i * n / m];
    qsort(sample, m, sizeof *sample, by_size);
    float middle = m ? sample[m / 2] : 1;
    free(sample);
    return middle;
}

float event_weight(aigc_fit_weights how, double weight, double middle)
{
    static const double LN2 = 0x1.62e42fefa39efp-1, MOST = 1e6; /* beyond it, everything else would be lost */

    if (how == AIGC_WEIGHTS_BINARY || (how == AIGC_WEIGHTS_LOG && weight == middle))
        return 1;
    if (how == AIGC_WEIGHTS_LOG && middle > 0)
        weight = real_log(1 + weight / middle) / LN2;
    return (float)(weight < MOST ? weight : MOST);
}

void pairs_maker_free(pairs_maker *m)
{
    pairs_free(&m->p);
    free(m->row);
    *m = (pairs_maker){0};
}

static bool make_some(catalogue *c, pairs_maker *m, aigc_fit_weights weights)
{
    pairs *p = &m->p;

    switch (m->stage) {
    case 0:
        m->stage = 1;
        return count_rows(c, m);
    case 1:
        if (m->next < c->n_chunks) {
            fill_rows(c, m);
            return true;
        }
        memmove(p->start + 1, p->start, p->n_rows * sizeof *p->start);
        p->start[0] = 0;
        catalogue_free_events(c);
        m->next = 0;
        m->stage = 2;
        return true;
    case 2:
        if (m->next < p->n_rows)
            return merge_rows(m);
        m->next = 0;
        m->stage = 3;
        return (m->median = median(p)) > 0;
    default:
        for (uint64_t n = 0; n < EVENT_CHUNK && m->next < pairs_n(p); n++, m->next++)
            p->weight[m->next] = event_weight(weights, p->weight[m->next], m->median);
        return true;
    }
}

aigc_status pairs_maker_step(catalogue *c, pairs_maker *m, aigc_fit_weights weights, bool *done, aigc_error *err)
{
    if (!make_some(c, m, weights))
        return aigc_fail_memory(err, "events", c->n_events * 12);
    *done = m->stage == 3 && m->next == pairs_n(&m->p);
    return AIGC_OK;
}
