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
enum { NAMED_LEAST = 3 };

/* What an interest has to add to an item that is about it, and what interests have to add to one that is near them, as
 * parts of what an interest adds to an item that has it as a tag. */
static const double LEAST_INTEREST = 0.4, LEAST_NEARNESS = 0.05;

/* What is further away than 200 km is not near. */
static const double LEAST_NEAR = 0.2;

/* Parts of one item's score, before they become shares. */
typedef struct parts {
    aigc_reason *list; /* the history's parts first, in its order; then the others, each kind and index once */
    size_t n;
} parts;

static void add(parts *p, aigc_reason_kind kind, int32_t index, double part)
{
    if (!isfinite(part) || part == 0)
        return;
    p->list[p->n++] = (aigc_reason){kind, index, part};
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
static void share_out(parts *out, const double *near, size_t n, double part)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += near[i];
    if (!(sum > 1e-9))
        return;
    for (size_t i = 0; i < n; i++)
        if (isfinite(part * near[i]))
            out->list[i].share += part * near[i] / sum;
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
        share_out(out, near, n, blend[SIGNAL_LATENT] * p->k->dot_half(m->latent + item * d, p->latent, d));
    }
    if (p->embedding && blend[SIGNAL_EMBEDDING] != 0) {
        size_t d = m->n->n_embedding;
        for (size_t i = 0; i < n; i++)
            near[i] = (p->history[i].liked ? 1 : -0.5) * dot_rows(p, m->embedding, d, p->history[i].item, item);
        share_out(out, near, n, blend[SIGNAL_EMBEDDING] * p->k->dot_half(m->embedding + item * d, p->embedding, d));
    }
    if (p->n_terms && blend[SIGNAL_WORDS] != 0) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            near[i] = (p->history[i].liked ? 1 : -0.5) * shared_terms(m, p->history[i].item, item);
        for (size_t i = 0; i < p->n_terms; i++)
            sum += p->terms[i].weight * model_weight(&m->docs, item, p->terms[i].term);
        share_out(out, near, n, blend[SIGNAL_WORDS] * sum);
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
                blend[SIGNAL_PEOPLE] * model_weight(&m->people, p->values[i], item));
        if (p->matches[i] != UINT32_MAX && model_weight(&m->docs, item, p->matches[i]) > 0)
            match = blend[SIGNAL_MATCH];
        if (a->kind == AIGC_VALUE_POINT && place_is_valid(a->latitude, a->longitude)) {
            double near = nearness(a->latitude, a->longitude, m->place + 2 * (size_t)item);
            match = near >= LEAST_NEAR ? blend[SIGNAL_NEAR] * near : 0;
        }
        add(out, AIGC_REASON_MATCH, (int32_t)i, match);
    }
}

/* An item that is only near to an interest is not said to match it; to be near to what is not wanted says nothing. */
static void interest_parts(parts *out, const profile *p, uint32_t item)
{
    double unit = p->m->n->interest_weight[p->blend], near = embedding_part(p, item);

    for (size_t i = 0; i < p->q->n_interests; i++) {
        double part = interest_part(p, i, item), weight = p->wanted[i].weight;
        if (fabs(part) >= LEAST_INTEREST * unit * fabs(weight))
            add(out, AIGC_REASON_INTEREST, (int32_t)i, part);
        else if (weight > 0)
            near += part;
    }
    if (fabs(near) >= LEAST_NEARNESS * unit)
        add(out, AIGC_REASON_INTEREST, -1, near);
}

static void item_parts(parts *out, const profile *p, uint32_t item, double *near)
{
    const model *m = p->m;
    const float *blend = m->n->blend[p->blend];
    float factors = blend[SIGNAL_FACTORS] + (model_is_cold(m, item) ? m->n->cold[p->blend] : 0);

    for (size_t i = 0; i < p->n_history; i++)
        out->list[out->n++] = (aigc_reason){p->history[i].kind, p->history[i].index, 0};
    for (size_t i = 0; i < p->n_history && blend[SIGNAL_ITEMS] != 0; i++)
        out->list[i].share =
            blend[SIGNAL_ITEMS] * (p->history[i].liked ? 1 : -0.5) * model_weight(&m->ease, p->history[i].item, item);
    if (p->user)
        add(out, AIGC_REASON_PEOPLE, model_is_cold(m, item) ? AIGC_NOBODY_YET : -1,
            factors * p->k->dot_half(m->factors + item * (size_t)m->n->n_factors, p->user, m->n->n_factors));
    content_parts(out, p, item, near);
    attribute_parts(out, p, item);
    if (!p->q->likeness) {
        add(out, AIGC_REASON_POPULARITY, -1,
            signal_weight(p, SIGNAL_POPULARITY) * m->popularity[item] +
                signal_weight(p, SIGNAL_RECENT) * general_values(p, SIGNAL_RECENT)[item]);
        add(out, AIGC_REASON_FRESHNESS, -1, signal_weight(p, SIGNAL_FRESH) * general_values(p, SIGNAL_FRESH)[item]);
    }
    interest_parts(out, p, item);
}

static int by_share(const void *a, const void *b)
{
    const aigc_reason *x = a, *y = b;

    if (fabs(x->share) != fabs(y->share))
        return fabs(x->share) > fabs(y->share) ? -1 : 1;
    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : (x->index > y->index) - (x->index < y->index);
}

/* What the person said they do not want is told, too, if the item has it. */
static bool is_unwanted(const profile *p, const aigc_reason *r)
{
    return r->kind == AIGC_REASON_DISLIKE ||
           (r->kind == AIGC_REASON_INTEREST && r->index >= 0 && p->wanted[r->index].weight < 0);
}

/* What somebody did, where each item is one of many: the first few are told however small their shares are. */
static bool is_history(const aigc_reason *r)
{
    return (r->kind == AIGC_REASON_EVENT || r->kind == AIGC_REASON_LIKE) && r->share > 0;
}

/* The largest shares; what is left of a long history is told as one. */
static size_t choose_reasons(const profile *p, const parts *all, aigc_reason *out)
{
    double rest = 0;
    size_t n = 0, named = 0;
    aigc_reason_kind kind = AIGC_REASON_EVENT;

    for (size_t i = 0; i < all->n; i++) {
        const aigc_reason *r = &all->list[i];
        bool told = r->share >= LEAST_SHARE || (r->share <= -LEAST_SHARE && (p->q->against || is_unwanted(p, r))) ||
                    (is_history(r) && named < NAMED_LEAST);
        if (told && n < REASONS_MOST - 1) {
            out[n++] = *r;
            named += is_history(r);
        } else if (is_history(r)) {
            rest += r->share;
            kind = r->kind;
        }
    }
    if (rest >= LEAST_SHARE)
        out[n++] = (aigc_reason){kind, -1, rest};
    qsort(out, n, sizeof *out, by_share);
    return n;
}

/* Parts become shares of what speaks for the item, or if nothing does, of what speaks against it. */
static size_t to_shares(const profile *p, parts *all, aigc_reason *out)
{
    double sum = 0, against = 0;
    size_t some = 0;

    for (size_t i = 0; i < all->n; i++) {
        if (all->list[i].share == 0)
            continue;
        if (all->list[i].share > 0)
            sum += all->list[i].share;
        else
            against -= all->list[i].share;
        all->list[some++] = all->list[i];
    }
    all->n = some;
    for (size_t i = 0; i < all->n; i++)
        all->list[i].share /= sum > 0 ? sum : against;
    qsort(all->list, all->n, sizeof *all->list, by_share);
    return choose_reasons(p, all, out);
}

aigc_status ranking_reasons(aigc_ranking *r, aigc_error *err)
{
    const profile *p = &r->p;
    size_t most = p->n_history + 2 * p->q->n_attributes + p->q->n_interests + 8;
    double *near = aigc_calloc(CONTENT_MOST, sizeof *near);
    parts list = {.list = aigc_calloc(most, sizeof *list.list)};
    aigc_status status = AIGC_OK;

    free(r->reasons);
    r->reasons = aigc_calloc(r->n_results * REASONS_MOST, sizeof *r->reasons);
    if (!near || !list.list || !r->reasons)
        status = aigc_fail_memory(err, "reasons", r->n_results * REASONS_MOST * sizeof *r->reasons);
    for (size_t i = 0; i < r->n_results && status == AIGC_OK; i++) {
        list.n = 0;
        item_parts(&list, p, r->results[i].item, near);
        r->results[i].reasons = r->reasons + i * REASONS_MOST;
        r->results[i].n_reasons = to_shares(p, &list, r->reasons + i * REASONS_MOST);
        if (r->q.interrupt && *r->q.interrupt)
            status = aigc_fail(err, AIGC_INTERRUPTED, "ranking was interrupted");
    }
    free(near);
    free(list.list);
    return status;
}
