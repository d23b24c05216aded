/* extend.c: a model with more items and events than it was fitted from: aigc_recommender_extend(). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/real.h"
#include "recommend/content.h"
#include "recommend/context.h"
#include "recommend/fit.h"
#include "recommend/half.h"
#include "recommend/keys.h"
#include "recommend/numbers.h"

/* Everything of the new model that differs from the old one. */
typedef struct extension {
    const model *old;
    const volatile sig_atomic_t *interrupt;
    model_numbers n;
    key_table items, terms;
    term_count *counts; /* of the items given */
    size_t n_counts, counts_capacity;
    content_doc *docs; /* [n_items] of those; the others' are empty */
    uint32_t *given;   /* [n_items] which of the items given, or UINT32_MAX */
    content fresh;     /* vectors of the items given */
    model_rows rows, postings, ease;
    float *idf, *count, *popularity, *recent, *fresh_time, *place;
    double *time;
    uint16_t *factors, *latent, *term_latent, *embedding;
} extension;

enum { LOOK = 1 << 16 }; /* items or keys between two looks at the interrupt */

static aigc_status go_on(const extension *x, aigc_error *err)
{
    return x->interrupt && *x->interrupt ? aigc_fail(err, AIGC_INTERRUPTED, "extending the model was interrupted")
                                         : AIGC_OK;
}

static void extension_free(extension *x)
{
    key_free(&x->items);
    key_free(&x->terms);
    free(x->counts);
    free(x->docs);
    free(x->given);
    content_free(&x->fresh);
    rows_free(&x->rows);
    rows_free(&x->postings);
    free((void *)(uintptr_t)x->ease.start);
    void *arrays[] = {x->idf,  x->count,   x->popularity, x->recent,      x->fresh_time, x->place,
                      x->time, x->factors, x->latent,     x->term_latent, x->embedding};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

/* ---- keys and terms ------------------------------------------------------------------------------------------ */

static aigc_status copy_keys(const extension *x, const model_keys *from, key_table *to, const char *what,
                             aigc_error *err)
{
    aigc_string key;

    for (uint32_t i = 0; i < from->n; i++) {
        if (i % LOOK == 0 && go_on(x, err) != AIGC_OK)
            return AIGC_INTERRUPTED;
        if (!model_key(from, i, &key))
            return aigc_fail(err, AIGC_E_FORMAT, "%s number %u of the recommender model has no place in it", what, i);
        uint32_t number = key_add(to, key.data, key.len);
        if (number == KEY_NONE)
            return aigc_fail_memory(err, "keys", to->bytes_capacity);
        if (number != i)
            return aigc_fail(err, AIGC_E_FORMAT, "%s number %u of the recommender model stands in it twice", what, i);
    }
    return AIGC_OK;
}

/* The terms of an item's numbers, by the bands that the model has. */
static aigc_status read_numbers(extension *x, const aigc_item *item, size_t first, aigc_error *err)
{
    bool ok = true;

    for (size_t i = 0; i < item->n_attributes && ok; i++) {
        const aigc_attribute *a = &item->attributes[i];
        const float *lower;
        uint32_t n = a->kind == AIGC_VALUE_NUMBER ? model_bands(x->old, a->name, &lower) : 0;
        ok = n == 0 ||
             number_add_terms(&x->terms, a->name, lower, n, a->number, &x->counts, &x->n_counts, &x->counts_capacity);
    }
    catalogue_merge_terms(x->counts, first, &x->n_counts);
    return ok ? AIGC_OK : aigc_fail_memory(err, "numbers of items", x->n_counts * sizeof *x->counts);
}

/* Numbers the items and their terms. */
static aigc_status read_items(extension *x, const aigc_item *items, size_t n, aigc_error *err)
{
    uint32_t before = x->items.n, *numbers = aigc_realloc_array(NULL, n, sizeof *numbers);
    size_t *first = aigc_realloc_array(NULL, n + 1, sizeof *first);
    aigc_status status = numbers && first ? AIGC_OK : aigc_fail_memory(err, "items", n * sizeof *first);

    for (size_t i = 0; i < n && status == AIGC_OK; i++) {
        first[i] = x->n_counts;
        numbers[i] = key_add(&x->items, items[i].key.data, items[i].key.len);
        status = numbers[i] == KEY_NONE
                     ? aigc_fail_memory(err, "keys", x->items.bytes_capacity)
                     : catalogue_item_terms(&x->terms, &items[i], &x->counts, &x->n_counts, &x->counts_capacity, err);
        if (status == AIGC_OK)
            status = read_numbers(x, &items[i], first[i], err);
    }
    if (status == AIGC_OK) {
        first[n] = x->n_counts;
        x->docs = aigc_calloc(x->items.n, sizeof *x->docs);
        x->given = aigc_calloc(x->items.n, sizeof *x->given);
        if (x->docs == NULL || x->given == NULL)
            status = aigc_fail_memory(err, "items", x->items.n * sizeof *x->docs);
    }
    for (uint32_t i = 0; i < x->items.n && status == AIGC_OK; i++)
        x->given[i] = UINT32_MAX;
    for (size_t i = 0; i < n && status == AIGC_OK; i++) { /* of items given twice, the last counts */
        x->docs[numbers[i]] = (content_doc){x->counts + first[i], (uint32_t)(first[i + 1] - first[i])};
        x->given[numbers[i]] = (uint32_t)i;
    }
    x->n.n_items = x->items.n;
    x->n.n_new_items += x->items.n - before;
    free(numbers);
    free(first);
    return status;
}

/* ---- content ------------------------------------------------------------------------------------------------- */

/* The vectors by words. */
static aigc_status exchange_rows(extension *x, aigc_error *err)
{
    if (!rows_transpose_begin(&x->rows, x->terms.n, &x->postings))
        return aigc_fail_memory(err, "words of items", x->rows.n * 6);
    for (uint32_t i = 0; i < x->items.n; i += LOOK) {
        if (go_on(x, err) != AIGC_OK)
            return AIGC_INTERRUPTED;
        rows_transpose_some(&x->rows, i, x->items.n - i < LOOK ? x->items.n : i + LOOK, &x->postings);
    }
    return AIGC_OK;
}

/* Old vectors and new ones, one item after the other. */
static aigc_status join_rows(extension *x, aigc_error *err)
{
    uint64_t *start = aigc_calloc((size_t)x->items.n + 1, sizeof *start), n = 0;
    uint64_t most = x->old->docs.n + x->fresh.docs.n;
    uint32_t *index = aigc_realloc_array(NULL, most, sizeof *index);
    uint16_t *weight = aigc_realloc_array(NULL, most, sizeof *weight);

    x->rows = (model_rows){.start = start, .index = index, .weight = weight, .n_rows = x->items.n};
    if (start == NULL || index == NULL || weight == NULL)
        return aigc_fail_memory(err, "words of items", most * 6);
    for (uint32_t i = 0; i < x->items.n; i++) {
        if (i % LOOK == 0 && go_on(x, err) != AIGC_OK)
            return AIGC_INTERRUPTED;
        const model_rows *from = x->given[i] == UINT32_MAX ? &x->old->docs : &x->fresh.docs;
        const uint32_t *term;
        const uint16_t *w;
        uint64_t len = model_row(from, i, &term, &w);
        for (uint64_t j = 0; j < len && n < most; j++)
            if (term[j] < x->terms.n) {
                index[n] = term[j];
                weight[n++] = w[j];
            }
        start[i + 1] = n;
    }
    x->rows.n = n;
    return exchange_rows(x, err);
}

/* An array of n elements whose first ones are the old model's. */
static void *grown(const void *old, size_t n_old, size_t n, size_t size)
{
    void *p = aigc_calloc(n, size);

    if (p && n_old)
        memcpy(p, old, n_old * size);
    return p;
}

static aigc_status grow_arrays(extension *x, aigc_error *err)
{
    const model *m = x->old;
    size_t old = m->n->n_items, n = x->items.n, terms = m->n->n_terms, all = x->terms.n;

    x->count = grown(m->count, old, n, sizeof *x->count);
    x->popularity = grown(m->popularity, old, n, sizeof *x->popularity);
    x->recent = grown(m->recent, old, n, sizeof *x->recent);
    x->fresh_time = grown(m->fresh, old, n, sizeof *x->fresh_time);
    x->place = grown(m->place, 2 * old, 2 * n, sizeof *x->place);
    x->time = grown(m->time, old, n, sizeof *x->time);
    if (go_on(x, err) != AIGC_OK)
        return AIGC_INTERRUPTED;
    x->factors = grown(m->factors, old * m->n->n_factors, n * m->n->n_factors, sizeof *x->factors);
    if (go_on(x, err) != AIGC_OK)
        return AIGC_INTERRUPTED;
    x->latent = grown(m->latent, old * m->n->n_latent, n * m->n->n_latent, sizeof *x->latent);
    if (go_on(x, err) != AIGC_OK)
        return AIGC_INTERRUPTED;
    x->embedding = grown(m->embedding, old * m->n->n_embedding, n * m->n->n_embedding, sizeof *x->embedding);
    x->term_latent = grown(m->term_latent, terms * m->n->n_latent, all * m->n->n_latent, sizeof *x->term_latent);
    x->idf = grown(m->idf, terms, all, sizeof *x->idf);
    uint64_t *start = grown(m->ease.start, old + 1, n + 1, sizeof *start);
    for (size_t i = old + 1; start && i <= n; i++)
        start[i] = start[old];
    x->ease = m->ease;
    x->ease.start = start;
    x->ease.n_rows = (uint32_t)n;
    if (x->count && x->popularity && x->recent && x->fresh_time && x->place && x->time && x->factors && x->latent &&
        x->embedding && x->term_latent && x->idf && start)
        return AIGC_OK;
    return aigc_fail_memory(err, "a larger model", m->bytes);
}

/* Direction and, if the fit did not see anybody do anything with it, factors of one item given. work: [n_latent +
 * n_factors]. */
static void place_item(extension *x, uint32_t i, float *work)
{
    const model *m = x->old;
    const dense_kernels *k = dense_best();
    size_t c = m->n->n_latent, d = m->n->n_factors;
    const uint32_t *term;
    const uint16_t *weight;
    uint64_t n = model_row(&x->fresh.docs, i, &term, &weight);

    memset(work, 0, (c + d) * sizeof *work);
    for (uint64_t j = 0; j < n; j++)
        k->axpy_half(half_to_float(weight[j]), x->term_latent + term[j] * c, work, c);
    float length = c ? sqrtf(k->dot(work, work, c)) : 0;
    for (size_t j = 0; j < c; j++)
        x->latent[i * c + j] = half_from_float(length > 1e-12f ? work[j] / length : 0);
    if (c && d && (i >= m->n->n_items || model_is_cold(m, i)))
        factors_from_latent(k, x->latent + i * c, c, m->latent_factors, d, work + c, x->factors + i * d);
}

static aigc_status describe_items(extension *x, const aigc_item *items, aigc_error *err)
{
    size_t e = x->n.n_embedding, work_floats = (size_t)x->n.n_latent + x->n.n_factors;
    float *work = aigc_calloc(work_floats, sizeof *work);

    if (work == NULL)
        return aigc_fail_memory(err, "a direction", work_floats * sizeof *work);
    for (uint32_t i = 0; i < x->items.n; i++) {
        if (x->given[i] == UINT32_MAX)
            continue;
        const aigc_item *item = &items[x->given[i]];
        double square = 0;
        place_item(x, i, work);
        x->time[i] = isfinite(item->time) ? item->time : NAN;
        x->fresh_time[i] = freshness_of(x->time[i], x->n.last_time, x->n.half_life);
        x->place[2 * (size_t)i] = x->place[2 * (size_t)i + 1] = NAN;
        for (size_t j = 0; j < item->n_attributes; j++) {
            const aigc_attribute *a = &item->attributes[j];
            if (a->kind != AIGC_VALUE_POINT || !place_is_valid(a->latitude, a->longitude))
                continue;
            x->place[2 * (size_t)i] = (float)a->latitude;
            x->place[2 * (size_t)i + 1] = (float)a->longitude;
        }
        for (size_t j = 0; item->embedding && j < x->n.true_embedding; j++)
            square += (double)item->embedding[j] * item->embedding[j];
        for (size_t j = 0; item->embedding && j < x->n.true_embedding; j++)
            x->embedding[i * e + j] =
                half_from_float(square > 0 && isfinite(square) ? (float)(item->embedding[j] / sqrt(square)) : 0);
    }
    free(work);
    return AIGC_OK;
}

/* ---- events -------------------------------------------------------------------------------------------------- */

/* Whether an item was there when the model was fitted. Nobody has had the time to choose one that came since: it gets a
 * head start, as if it had been chosen as often as items are on average. */
static bool is_fitted(const model_numbers *n, uint32_t item)
{
    return item < n->n_items - n->n_new_items;
}

/* Counts more people; what was recent decays to the time of the latest event. */
static aigc_status count_events(extension *x, const aigc_event *events, size_t n, aigc_error *err)
{
    model_numbers *m = &x->n;
    double last = m->has_times ? m->last_time : -INFINITY, decay = 1, all = 0, recent = 0;

    /* Nothing that was there changes for a new item: scores must not tell that there is one which may not be seen. */
    if (n == 0)
        return AIGC_OK;
    for (size_t i = 0; i < n; i++) {
        if (events[i].item >= x->items.n)
            return aigc_fail(err, AIGC_E_ARGUMENT, "an event has item number %u, but there are %u items",
                             events[i].item, x->items.n);
        if (isfinite(events[i].time) && events[i].time > last)
            last = events[i].time;
    }
    if (m->has_times && last > m->last_time)
        decay = freshness_of(m->last_time, last, m->half_life);
    for (uint32_t i = 0; i < x->items.n; i++) {
        bool old = i < x->old->n->n_items;
        double head_start = old && is_fitted(x->old->n, i) ? 0 : m->mean_recent;
        x->recent[i] = old ? (float)(decay * (real_exp(x->recent[i]) * (m->mean_recent + 1) - 1 - head_start)) : 0;
        x->fresh_time[i] *= (float)decay;
    }
    for (size_t i = 0; i < n; i++) {
        if (!(events[i].weight > 0) || !isfinite(events[i].weight))
            continue;
        x->count[events[i].item] += 1;
        x->recent[events[i].item] += isfinite(events[i].time) ? freshness_of(events[i].time, last, m->half_life) : 1;
        m->n_events++;
    }
    for (uint32_t i = 0; i < x->items.n; i++) {
        x->recent[i] = x->recent[i] > 0 && isfinite(x->recent[i]) ? x->recent[i] : 0;
        all += x->count[i];
        recent += x->recent[i];
    }
    m->mean_count = x->items.n ? all / x->items.n : 0;
    m->mean_recent = x->items.n ? recent / x->items.n : 0;
    for (uint32_t i = 0; i < x->items.n; i++) {
        double head_start = is_fitted(m, i) ? 0 : 1;
        x->popularity[i] = popularity_of(x->count[i] + head_start * m->mean_count, m->mean_count);
        x->recent[i] = popularity_of(x->recent[i] + head_start * m->mean_recent, m->mean_recent);
    }
    if (last > -INFINITY) {
        m->last_time = last;
        m->has_times = 1;
    }
    return AIGC_OK;
}

/* ---- all together -------------------------------------------------------------------------------------------- */

static model_keys keys_of(const key_table *t)
{
    static const uint64_t NOTHING[2];

    return (model_keys){t->bytes, t->n_bytes, t->start ? t->start : NOTHING, t->n, t->slots, t->n_slots};
}

static aigc_status write_extension(extension *x, void **image, size_t *size, aigc_error *err)
{
    model m = *x->old;

    x->n.n_terms = x->terms.n;
    x->n.item_slots = x->items.n_slots;
    x->n.term_slots = x->terms.n_slots;
    m.n = &x->n;
    m.items = keys_of(&x->items);
    m.terms = keys_of(&x->terms);
    m.docs = x->rows;
    m.postings = x->postings;
    m.ease = x->ease;
    m.idf = x->idf;
    m.count = x->count;
    m.popularity = x->popularity;
    m.recent = x->recent;
    m.fresh = x->fresh_time;
    m.place = x->place;
    m.time = x->time;
    m.factors = x->factors;
    m.latent = x->latent;
    m.term_latent = x->term_latent;
    m.embedding = x->embedding;
    struct model_writer *w = NULL;
    thread_pool *pool = NULL;
    bool done = false;
    aigc_status status = thread_pool_create(1, &pool, err);
    if (status == AIGC_OK)
        status = model_writer_open(&m, &w, err);
    while (status == AIGC_OK && !done)
        status = go_on(x, err) == AIGC_OK ? model_writer_step(w, pool, &done, err) : AIGC_INTERRUPTED;
    model_writer_close(w, done ? image : NULL, size);
    thread_pool_destroy(pool);
    return status;
}

aigc_status aigc_recommender_extend(const aigc_recommender *recommender, const aigc_item *items, size_t n_items,
                                    const aigc_event *events, size_t n_events, const volatile sig_atomic_t *interrupt,
                                    void **image, size_t *size, aigc_error *err)
{
    const model *m = &recommender->m;
    extension x = {.old = m, .interrupt = interrupt, .n = *m->n};
    aigc_status status = copy_keys(&x, &m->items, &x.items, "item", err);

    if (status == AIGC_OK)
        status = copy_keys(&x, &m->terms, &x.terms, "word", err);
    if (status == AIGC_OK)
        status = read_items(&x, items, n_items, err);
    if (status == AIGC_OK)
        status = content_open(&x.fresh, x.docs, x.items.n, x.terms.n, &x.terms, m->idf, m->n->n_terms,
                              m->n->mean_length, err);
    for (bool made = false; status == AIGC_OK && !made;)
        status = go_on(&x, err) == AIGC_OK ? content_vectors_step(&x.fresh, x.docs, &made, err) : AIGC_INTERRUPTED;
    if (status == AIGC_OK)
        status = join_rows(&x, err);
    if (status == AIGC_OK)
        status = grow_arrays(&x, err);
    if (status == AIGC_OK)
        memcpy(x.idf + m->n->n_terms, x.fresh.idf + m->n->n_terms, (x.terms.n - m->n->n_terms) * sizeof *x.idf);
    if (status == AIGC_OK)
        status = count_events(&x, events, n_events, err);
    if (status == AIGC_OK)
        status = describe_items(&x, items, err);
    if (status == AIGC_OK)
        status = write_extension(&x, image, size, err);
    extension_free(&x);
    return status;
}
