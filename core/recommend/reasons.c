/*
 * reasons.c: what a score is made of. The blend is a sum, so each signal's part is known; parts that come from what the
 * person did are shared out among those items: item-to-item weights exactly, words and directions by how near each item
 * is. Part of ranking.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "recommend/catalogue.h"
#include "recommend/half.h"
#include "recommend/ranking.h"

static const double LEAST_SHARE = 0.01;

/* Parts of one item's score, before they become shares. */
typedef struct parts {
    aigc_reason *list;
    size_t n;
} parts;

static void add(parts *p, aigc_reason_kind kind, int32_t index, double part)
{
    if (!isfinite(part) || part == 0)
        return;
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].kind == kind && p->list[i].index == index) {
            p->list[i].share += part;
            return;
        }
    p->list[p->n++] = (aigc_reason){kind, index, part};
}

/* The weight of `item` in a row whose indices should rise; 0 if it is not there. */
static float weight_in(const model_rows *rows, uint32_t row, uint32_t item)
{
    const uint32_t *index;
    const uint16_t *weight;
    uint64_t n = model_row(rows, row, &index, &weight), low = 0;

    while (n > low) {
        uint64_t middle = low + (n - low) / 2;
        if (index[middle] < item)
            low = middle + 1;
        else
            n = middle;
    }
    uint64_t all = model_row(rows, row, &index, &weight);
    return low < all && index[low] == item ? half_to_float(weight[low]) : 0;
}

static double dot_rows(const profile *p, const uint16_t *rows, size_t d, uint32_t a, uint32_t b)
{
    float *x = p->scratch;

    memset(x, 0, d * sizeof *x);
    p->k->axpy_half(1, rows + a * d, x, d);
    return p->k->dot_half(rows + b * d, x, d);
}

/* Terms that two items share. */
static double shared_terms(const model *m, uint32_t a, uint32_t b)
{
    const uint32_t *x, *y;
    const uint16_t *xw, *yw;
    uint64_t n = model_row(&m->docs, a, &x, &xw), k = model_row(&m->docs, b, &y, &yw);
    double sum = 0;

    for (uint64_t i = 0, j = 0; i < n && j < k;) {
        if (x[i] == y[j])
            sum += half_to_float(xw[i++]) * half_to_float(yw[j++]);
        else if (x[i] < y[j])
            i++;
        else
            j++;
    }
    return sum;
}

/* Shares `part` among the history by `near` (which may be of either sign, as dislikes are). */
static void share_out(parts *out, const profile *p, const double *near, size_t n, double part)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += near[i];
    if (!(sum > 1e-9))
        return;
    for (size_t i = 0; i < n; i++)
        add(out, p->history[i].kind, p->history[i].index, part * near[i] / sum);
}

static void content_parts(parts *out, const profile *p, uint32_t item, double *near)
{
    const model *m = p->m;
    const float *blend = m->n->blend[p->blend];
    size_t n = p->n_history < CONTENT_MOST ? p->n_history : CONTENT_MOST;

    if (p->latent && blend[SIGNAL_LATENT] != 0) {
        size_t d = m->n->n_latent;
        for (size_t i = 0; i < n; i++)
            near[i] = (p->history[i].liked ? 1 : -0.5) * dot_rows(p, m->latent, d, p->history[i].item, item);
        share_out(out, p, near, n, blend[SIGNAL_LATENT] * p->k->dot_half(m->latent + item * d, p->latent, d));
    }
    if (p->embedding && blend[SIGNAL_EMBEDDING] != 0) {
        size_t d = m->n->n_embedding;
        for (size_t i = 0; i < n; i++)
            near[i] = (p->history[i].liked ? 1 : -0.5) * dot_rows(p, m->embedding, d, p->history[i].item, item);
        share_out(out, p, near, n, blend[SIGNAL_EMBEDDING] * p->k->dot_half(m->embedding + item * d, p->embedding, d));
    }
    if (p->n_terms && blend[SIGNAL_WORDS] != 0) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            near[i] = (p->history[i].liked ? 1 : -0.5) * shared_terms(m, p->history[i].item, item);
        for (size_t i = 0; i < p->n_terms; i++)
            sum += p->terms[i].weight * weight_in(&m->docs, item, p->terms[i].term);
        share_out(out, p, near, n, blend[SIGNAL_WORDS] * sum);
    }
}

static void attribute_parts(parts *out, const profile *p, uint32_t item)
{
    const model *m = p->m;
    const float *blend = m->n->blend[p->blend];

    for (size_t i = 0; i < p->q->n_attributes; i++) {
        const aigc_attribute *a = &p->q->attributes[i];
        double match = 0;
        if (p->values[i] != UINT32_MAX)
            add(out, AIGC_REASON_ATTRIBUTE, (int32_t)i,
                blend[SIGNAL_PEOPLE] * weight_in(&m->people, p->values[i], item));
        if (p->matches[i] != UINT32_MAX && weight_in(&m->docs, item, p->matches[i]) > 0)
            match = blend[SIGNAL_MATCH];
        if (a->kind == AIGC_VALUE_POINT && place_is_valid(a->latitude, a->longitude))
            match = blend[SIGNAL_NEAR] * nearness(a->latitude, a->longitude, m->place + 2 * (size_t)item);
        add(out, AIGC_REASON_MATCH, (int32_t)i, match);
    }
}

static void item_parts(parts *out, const profile *p, uint32_t item, const float *interests, double *near)
{
    const model *m = p->m;
    const float *blend = m->n->blend[p->blend];
    float factors = blend[SIGNAL_FACTORS] + (model_is_cold(m, item) ? m->n->cold[p->blend] : 0);

    if (p->user)
        add(out, AIGC_REASON_PEOPLE, -1,
            factors * p->k->dot_half(m->factors + item * (size_t)m->n->n_factors, p->user, m->n->n_factors));
    for (size_t i = 0; i < p->n_history && blend[SIGNAL_ITEMS] != 0; i++)
        add(out, p->history[i].kind, p->history[i].index,
            blend[SIGNAL_ITEMS] * (p->history[i].liked ? 1 : -0.5) * weight_in(&m->ease, p->history[i].item, item));
    content_parts(out, p, item, near);
    attribute_parts(out, p, item);
    add(out, AIGC_REASON_POPULARITY, -1,
        blend[SIGNAL_POPULARITY] * m->popularity[item] + blend[SIGNAL_RECENT] * m->recent[item]);
    add(out, AIGC_REASON_FRESHNESS, -1, blend[SIGNAL_FRESH] * m->fresh[item]);
    for (size_t i = 0; i <= p->q->n_interests; i++)
        add(out, AIGC_REASON_INTEREST, i < p->q->n_interests ? (int32_t)i : -1, interests[i]);
}

static int by_share(const void *a, const void *b)
{
    const aigc_reason *x = a, *y = b;

    if (fabs(x->share) != fabs(y->share))
        return fabs(x->share) > fabs(y->share) ? -1 : 1;
    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : (x->index > y->index) - (x->index < y->index);
}

/* Parts become shares of what speaks for the item; against it, only dislikes are told. */
static size_t to_shares(parts *p, aigc_reason *out)
{
    double sum = 0;
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].share > 0)
            sum += p->list[i].share;
    qsort(p->list, p->n, sizeof *p->list, by_share);
    for (size_t i = 0; i < p->n && n < REASONS_MOST && sum > 0; i++) {
        aigc_reason *r = &p->list[i];
        r->share /= sum;
        if (r->share >= LEAST_SHARE || (r->kind == AIGC_REASON_DISLIKE && r->share <= -LEAST_SHARE))
            out[n++] = *r;
    }
    return n;
}

/* What each interest adds to each result, [n_results][n_interests + 1]; the last is the embedding's. One pass over the
 * catalogue for each interest: there are few. */
static aigc_status interest_parts(aigc_ranking *r, float *out, float *scores, aigc_error *err)
{
    const profile *p = &r->p;
    size_t n = p->q->n_interests;
    float weight = p->m->n->interest_weight;

    for (size_t i = 0; i <= n; i++) {
        if (r->q.interrupt && *r->q.interrupt)
            return aigc_fail(err, AIGC_INTERRUPTED, "ranking was interrupted");
        if (i == n && p->q->embedding == NULL)
            continue;
        memset(scores, 0, p->m->n->n_items * sizeof *scores);
        if (i < n)
            profile_interests(p, (int)i, weight, scores);
        else
            profile_embedding(p, weight, scores);
        for (size_t j = 0; j < r->n_results; j++)
            out[j * (n + 1) + i] = scores[r->results[j].item];
    }
    return AIGC_OK;
}

aigc_status ranking_reasons(aigc_ranking *r, aigc_error *err)
{
    const profile *p = &r->p;
    size_t n = p->q->n_interests + 1, most = p->n_history + 2 * p->q->n_attributes + n + 8;
    float *interests = aigc_calloc(r->n_results * n, sizeof *interests);
    float *scores = aigc_calloc(p->m->n->n_items, sizeof *scores);
    double *near = aigc_calloc(CONTENT_MOST, sizeof *near);
    parts list = {.list = aigc_calloc(most, sizeof *list.list)};
    aigc_status status = AIGC_OK;

    free(r->reasons);
    r->reasons = aigc_calloc(r->n_results * REASONS_MOST, sizeof *r->reasons);
    if (!interests || !scores || !near || !list.list || !r->reasons)
        status = aigc_fail_memory(err, "reasons", p->m->n->n_items * sizeof *scores);
    if (status == AIGC_OK)
        status = interest_parts(r, interests, scores, err);
    for (size_t i = 0; i < r->n_results && status == AIGC_OK; i++) {
        list.n = 0;
        item_parts(&list, p, r->results[i].item, interests + i * n, near);
        r->results[i].reasons = r->reasons + i * REASONS_MOST;
        r->results[i].n_reasons = to_shares(&list, r->reasons + i * REASONS_MOST);
    }
    free(interests);
    free(scores);
    free(near);
    free(list.list);
    return status;
}
