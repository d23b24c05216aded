/* profile.c: see profile.h. What signals add is in signals.c. */
#include "recommend/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/real.h"
#include "recommend/catalogue.h"
#include "recommend/context.h"
#include "recommend/half.h"
#include "recommend/numbers.h"
#include "recommend/words.h"

/* ---- history ------------------------------------------------------------------------------------------------- */

/* By item, those of equal items as they stood: a byte at a time, the lowest first. Hosts often have them in order. */
static bool sort_history(past *h, size_t n)
{
    uint32_t most = 0;
    bool ordered = true;

    for (size_t i = 0; i < n; i++) {
        most = h[i].item > most ? h[i].item : most;
        ordered &= i == 0 || h[i - 1].item <= h[i].item;
    }
    if (ordered)
        return true;
    past *from = h, *to = aigc_realloc_array(NULL, n, sizeof *to), *other = to;
    if (to == NULL)
        return false;
    for (int shift = 0; shift < 32 && most >> shift; shift += 8) {
        size_t start[257] = {0};
        for (size_t i = 0; i < n; i++)
            start[(from[i].item >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            start[b + 1] += start[b];
        for (size_t i = 0; i < n; i++)
            to[start[from[i].item >> shift & 255]++] = from[i];
        past *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != h)
        memcpy(h, from, n * sizeof *h);
    free(other);
    return true;
}

/* The latest first; without times, the heaviest; the lowest number among equals. */
static int by_worth(const void *a, const void *b)
{
    const past *x = a, *y = b;
    double s = isnan(x->time) ? -INFINITY : x->time, t = isnan(y->time) ? -INFINITY : y->time;

    if (s != t)
        return s > t ? -1 : 1;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static size_t collect(const profile *p, past *out)
{
    const aigc_query *q = p->q;
    uint32_t n_items = p->m->n->n_items;
    size_t n = 0;

    for (size_t i = 0; i < q->n_events; i++)
        if (q->events[i].item < n_items && isfinite(q->events[i].weight) && q->events[i].weight != 0)
            out[n++] =
                (past){q->events[i].item, q->events[i].weight, true, AIGC_REASON_EVENT, (int32_t)i, q->events[i].time};
    for (size_t i = 0; i < q->n_likes; i++)
        if (q->likes[i] < n_items)
            out[n++] = (past){q->likes[i], 1, true, AIGC_REASON_LIKE, (int32_t)i, INFINITY};
    for (size_t i = 0; i < q->n_dislikes; i++)
        if (q->dislikes[i] < n_items)
            out[n++] = (past){q->dislikes[i], 1, false, AIGC_REASON_DISLIKE, (int32_t)i, INFINITY};
    return n;
}

/* One entry an item: weights of events add up; a like or dislike settles the matter. */
static size_t merge(const profile *p, past *h, size_t n)
{
    const model_numbers *m = p->m->n;
    size_t to = 0;

    for (size_t i = 0; i < n;) {
        past one = h[i];
        double sum = 0;
        bool stated = false;
        for (; i < n && h[i].item == one.item; i++) {
            if (h[i].kind == AIGC_REASON_EVENT) {
                sum += h[i].weight;
                if (h[i].time > one.time || isnan(one.time))
                    one.time = h[i].time;
                continue;
            }
            one = h[i];
            stated = true;
        }
        if (!stated) {
            if (sum == 0)
                continue;
            one.liked = sum > 0;
            one.weight = event_weight((aigc_fit_weights)m->weights, fabs(sum), m->median_weight);
        }
        if (one.weight > 0 && isfinite(one.weight))
            h[to++] = one;
    }
    return to;
}

static aigc_status open_history(profile *p, aigc_error *err)
{
    const aigc_query *q = p->q;
    size_t n = q->n_events + q->n_likes + q->n_dislikes;

    if (n == 0)
        return AIGC_OK;
    p->history = n < INT32_MAX ? aigc_calloc(n, sizeof *p->history) : NULL;
    if (p->history == NULL)
        return aigc_fail_memory(err, "what the person did", n * sizeof *p->history);
    n = collect(p, p->history);
    if (!sort_history(p->history, n))
        return aigc_fail_memory(err, "what the person did", n * sizeof *p->history);
    n = merge(p, p->history, n);
    if (n > HISTORY_MOST) {
        qsort(p->history, n, sizeof *p->history, by_worth);
        n = HISTORY_MOST;
        if (!sort_history(p->history, n))
            return aigc_fail_memory(err, "what the person did", n * sizeof *p->history);
    }
    p->n_history = n;
    for (size_t i = 0; i < n; i++)
        p->n_liked += p->history[i].liked;
    return AIGC_OK;
}

/* ---- factors ------------------------------------------------------------------------------------------------- */

/* The row of A x = b that this person would have had in the fit (factors.h); what they dislike is a pair whose
 * product should be 0. */
aigc_status profile_fold_in(profile *p, aigc_error *err)
{
    const model *m = p->m;
    size_t d = m->n->n_factors, n = p->n_history;

    if (n == 0 || d == 0)
        return AIGC_OK;
    float *memory = aigc_realloc_array(NULL, d + d * d + DENSE_PANEL * d, sizeof *memory);
    if (memory == NULL)
        return aigc_fail_memory(err, "folding in", (d + DENSE_PANEL) * d * sizeof *memory);
    float *x = memory, *a = x + d, *panel = a + d * d;
    memset(x, 0, d * sizeof *x);
    memcpy(a, m->gram, d * d * sizeof *a);
    for (size_t i = 0; i < n; i += DENSE_PANEL) {
        size_t len = n - i < DENSE_PANEL ? n - i : DENSE_PANEL;
        memset(panel, 0, len * d * sizeof *panel);
        for (size_t j = 0; j < len; j++) {
            const past *h = &p->history[i + j];
            float *row = panel + j * d;
            p->k->axpy_half(1, m->factors + h->item * d, row, d);
            if (h->liked)
                p->k->axpy(h->weight, row, x, d);
            if (h->weight != 1)
                p->k->scale(sqrtf(h->weight), row, d);
        }
        dense_gram(p->k, panel, NULL, NULL, len, d, a, panel);
    }
    /* As in the fit: new items are not in the gram either. */
    uint32_t fitted = m->n->n_items - m->n->n_new_items;
    float ridge = (float)(m->n->regularization * ((double)n + m->n->unobserved * fitted));
    for (size_t i = 0; i < d; i++)
        a[i * d + i] += i < m->n->true_factors ? ridge : 1;
    if (dense_cholesky(p->k, a, d))
        dense_solve(p->k, a, d, x);
    else
        memset(x, 0, d * sizeof *x);
    p->user = memory;
    return AIGC_OK;
}

/* ---- content ------------------------------------------------------------------------------------------------- */

static bool normalise(const dense_kernels *k, float *x, size_t n)
{
    float length = sqrtf(k->dot(x, x, n));

    if (!(length > 1e-12f) || !isfinite(length))
        return false;
    k->scale(1 / length, x, n);
    return true;
}

/* Mean direction of the liked items' rows, disliked ones taken away; NULL if there is none. */
static aigc_status direction(const profile *p, const uint16_t *rows, size_t d, float **out, aigc_error *err)
{
    size_t seen = 0;

    if (d == 0 || p->n_history == 0)
        return AIGC_OK;
    float *x = aigc_calloc(d, sizeof *x);
    if (x == NULL)
        return aigc_fail_memory(err, "a profile", d * sizeof *x);
    for (size_t i = 0; i < p->n_history && seen < CONTENT_MOST; i++, seen++)
        p->k->axpy_half(p->history[i].liked ? 1 : -0.5f, rows + p->history[i].item * d, x, d);
    if (normalise(p->k, x, d))
        *out = x;
    else
        free(x);
    return AIGC_OK;
}

static int by_term(const void *a, const void *b)
{
    uint32_t x = ((const term_weight *)a)->term, y = ((const term_weight *)b)->term;
    return (x > y) - (x < y);
}

static int by_weight(const void *a, const void *b)
{
    const term_weight *x = a, *y = b;

    if (fabsf(x->weight) != fabsf(y->weight))
        return fabsf(x->weight) > fabsf(y->weight) ? -1 : 1;
    return by_term(a, b);
}

/* Adds up equal terms, brings the whole to length 1 and puts the heaviest first. */
static size_t merge_terms(term_weight *t, size_t n)
{
    size_t m = 0;
    double square = 0;

    qsort(t, n, sizeof *t, by_term);
    for (size_t i = 0; i < n; i++) {
        if (m && t[m - 1].term == t[i].term)
            t[m - 1].weight += t[i].weight;
        else
            t[m++] = t[i];
    }
    for (size_t i = 0; i < m; i++)
        square += (double)t[i].weight * t[i].weight;
    for (size_t i = 0; i < m && square > 0; i++)
        t[i].weight = (float)(t[i].weight / sqrt(square));
    qsort(t, m, sizeof *t, by_weight);
    return m;
}

static aigc_status history_terms(profile *p, aigc_error *err)
{
    size_t n = 0, seen = p->n_history < CONTENT_MOST ? p->n_history : CONTENT_MOST;
    const uint32_t *term;
    const uint16_t *weight;

    for (size_t i = 0; i < seen; i++)
        n += model_row(&p->m->docs, p->history[i].item, &term, &weight);
    if (n == 0)
        return AIGC_OK;
    p->terms = aigc_calloc(n, sizeof *p->terms);
    if (p->terms == NULL)
        return aigc_fail_memory(err, "the words of a profile", n * sizeof *p->terms);
    n = 0;
    for (size_t i = 0; i < seen; i++) {
        uint64_t len = model_row(&p->m->docs, p->history[i].item, &term, &weight);
        float sign = p->history[i].liked ? 1 : -0.5f;
        for (uint64_t j = 0; j < len; j++)
            if (term[j] < p->m->n->n_terms)
                p->terms[n++] = (term_weight){term[j], sign * half_to_float(weight[j])};
    }
    p->n_terms = merge_terms(p->terms, n);
    return AIGC_OK;
}

/* ---- attributes and interests
 * ---------------------------------------------------------------------------------------------- */

/* The term that items with the same value have: of a number, the nearest beginning of a band. */
size_t match_term(const model *m, const aigc_attribute *a, char *term)
{
    const float *lower;

    if (a->kind == AIGC_VALUE_POINT || !word_is_text(a->name))
        return 0;
    if (a->kind == AIGC_VALUE_TEXT)
        return word_is_text(a->text) ? word_value(a->name, a->text, term) : 0;
    uint32_t n = isfinite(a->number) ? model_bands(m, a->name, &lower) : 0;
    return n ? number_term(a->name, number_between(lower, n, a->number).band[0], term) : 0;
}

/* A value that too few people have to tell anything is not known. */
static uint32_t value_with_people(const model *m, const aigc_attribute *a)
{
    uint32_t value = model_value(m, a);
    const uint32_t *index;
    const uint16_t *weight;

    return value != UINT32_MAX && model_row(&m->people, value, &index, &weight) > 0 ? value : UINT32_MAX;
}

static aigc_status read_query(profile *p, aigc_error *err)
{
    const aigc_query *q = p->q;
    char term[TERM_MAX_BYTES + 8];

    p->values = aigc_calloc(q->n_attributes, sizeof *p->values);
    p->matches = aigc_calloc(q->n_attributes, sizeof *p->matches);
    p->wanted = aigc_calloc(q->n_interests, sizeof *p->wanted);
    p->scratch =
        aigc_calloc(3 * ((size_t)p->m->n->n_factors + p->m->n->n_latent + p->m->n->n_embedding), sizeof *p->scratch);
    if (p->values == NULL || p->matches == NULL || p->wanted == NULL || p->scratch == NULL)
        return aigc_fail_memory(err, "attributes and interests", q->n_interests * sizeof *p->wanted);
    for (size_t i = 0; i < q->n_interests; i++)
        read_interest(p->m, q, &q->interests[i], &p->wanted[i]);
    for (size_t i = 0; i < q->n_attributes; i++) {
        const aigc_attribute *a = &q->attributes[i];
        size_t len = match_term(p->m, a, term);
        p->values[i] = value_with_people(p->m, a);
        p->matches[i] = len ? known_term(p->m, q, term, len) : UINT32_MAX;
    }
    return AIGC_OK;
}

/* Nothing that a learned blend could go by: attributes that the model does not know tell nothing either. */
static bool is_nobody(const profile *p)
{
    return p->n_history == 0 && !profile_has(p, SIGNAL_PEOPLE) && !profile_has(p, SIGNAL_MATCH) &&
           !profile_has(p, SIGNAL_NEAR);
}

/* Whether they ask for something in particular. */
static bool wants_something(const profile *p)
{
    bool wants = p->q->embedding != NULL;

    for (size_t i = 0; i < p->q->n_interests; i++)
        wants |= p->wanted[i].understood && p->wanted[i].weight != 0;
    return wants;
}

/* Popularity goes on decaying after the last event; before it, it stays as it is, since the model has only sums. */
static float recent_at(const model *m, uint32_t item, double decay)
{
    double mean = m->n->mean_recent, n = real_exp(m->recent[item]) * (mean + 1) - 1;

    return popularity_of(n > 0 ? decay * n : 0, decay * mean);
}

/* What comes later than the moment is not new then. */
static aigc_status read_moment(profile *p, aigc_error *err)
{
    const model *m = p->m;
    double at = p->q->at, last = m->n->last_time, half_life = m->n->half_life;
    size_t padded = dense_pad(m->n->n_items);

    if (!isfinite(at) || !isfinite(last) || at == last)
        return AIGC_OK;
    if ((p->moment = aigc_calloc(2 * padded, sizeof *p->moment)) == NULL)
        return aigc_fail_memory(err, "what is new", 2 * padded * sizeof *p->moment);
    double decay = m->n->has_times ? freshness_of(last, at, half_life) : 1;
    for (uint32_t i = 0; i < m->n->n_items; i++) {
        p->moment[i] = decay < 1 ? recent_at(m, i, decay) : m->recent[i];
        p->moment[padded + i] = m->time[i] <= at ? freshness_of(m->time[i], at, half_life) : 0;
    }
    return AIGC_OK;
}

static void choose_blend(profile *p)
{
    p->blend = is_nobody(p) ? BLEND_NOBODY : blend_of(p->n_liked);
    p->general = wants_something(p) ? p->m->n->beside[p->blend] : 1;
}

aigc_status profile_read(const model *m, const aigc_query *q, profile *p, aigc_error *err)
{
    *p = (profile){.m = m, .q = q, .k = dense_best()};
    aigc_status status = open_history(p, err);
    if (status == AIGC_OK)
        status = direction(p, m->latent, m->n->n_latent, &p->latent, err);
    if (status == AIGC_OK)
        status = direction(p, m->embedding, m->n->n_embedding, &p->embedding, err);
    if (status == AIGC_OK)
        status = history_terms(p, err);
    if (status == AIGC_OK)
        status = read_query(p, err);
    if (status == AIGC_OK)
        status = read_moment(p, err);
    if (status == AIGC_OK)
        choose_blend(p);
    else
        profile_close(p);
    return status;
}

aigc_status profile_open(const model *m, const aigc_query *q, profile *p, aigc_error *err)
{
    aigc_status status = profile_read(m, q, p, err);

    if (status != AIGC_OK)
        return status;
    status = profile_fold_in(p, err);
    if (status != AIGC_OK)
        profile_close(p);
    return status;
}

void profile_close(profile *p)
{
    free(p->history);
    free(p->user);
    free(p->latent);
    free(p->embedding);
    free(p->terms);
    free(p->values);
    free(p->matches);
    free(p->wanted);
    free(p->scratch);
    free(p->moment);
    *p = (profile){0};
}
