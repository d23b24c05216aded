/* context.c: see context.h. */
#include "recommend/context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/real.h"
#include "recommend/half.h"
#include "recommend/ranges.h"
#include "recommend/words.h"

enum { BANDS_MOST = 8, LIFTS_MOST = 1 << 24 };

/* People that a lift needs behind it: it is drawn to 0 as if so many more had the usual attributes. */
static const double LIFT_PRIOR = 20;
/* What fewer people have tells of these people, not of their kind. */
enum { LEAST_PEOPLE = 3 };
static const double LEAST_LIFT = 0.02;

float popularity_of(double n, double mean)
{
    return (float)real_log((n + 1) / (mean + 1));
}

float freshness_of(double time, double last, double half_life)
{
    static const double LN2 = 0x1.62e42fefa39efp-1;

    if (!isfinite(time) || !isfinite(last) || !(half_life > 0))
        return 0;
    return time >= last ? 1 : (float)real_exp(-LN2 * (last - time) / half_life);
}

/* ---- bands --------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Quantiles of an attribute's numbers, equal ones once: at most BANDS_MOST bands of about as many people (or items)
 * each; each number its own band if there are no more numbers than that. */
static uint32_t cut(float *numbers, size_t n, float *lower)
{
    uint32_t distinct = 0, m = 0;

    qsort(numbers, n, sizeof *numbers, by_size);
    for (size_t i = 0; i < n && distinct <= BANDS_MOST; i++)
        distinct += i == 0 || numbers[i] != numbers[i - 1];
    for (size_t i = 0; i < (distinct <= BANDS_MOST ? n : BANDS_MOST); i++) {
        float x = distinct <= BANDS_MOST ? numbers[i] : numbers[i * n / BANDS_MOST];
        if (m == 0 || x > lower[m - 1])
            lower[m++] = x;
    }
    return m;
}

/* The numbers of an attribute: people's, or the items' if people have none. */
static size_t numbers_of(const catalogue *c, uint32_t attribute, float *out)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_user_values; i++)
        if (c->user_values[i].attribute == attribute && c->user_values[i].value == KEY_NONE)
            out[n++] = c->user_values[i].number;
    for (size_t i = 0, of_users = n; i < c->n_item_values && of_users == 0; i++)
        if (c->item_values[i].attribute == attribute)
            out[n++] = c->item_values[i].number;
    return n;
}

static aigc_status cut_attributes(bands *b, const catalogue *c, aigc_error *err)
{
    uint32_t n = c->attributes.n;
    size_t most = c->n_user_values > c->n_item_values ? c->n_user_values : c->n_item_values;
    float *numbers = aigc_realloc_array(NULL, most, sizeof *numbers);

    b->attributes = aigc_calloc(n, sizeof *b->attributes);
    b->lower = aigc_calloc(n, BANDS_MOST * sizeof *b->lower);
    if (numbers == NULL || b->attributes == NULL || b->lower == NULL) {
        free(numbers);
        return aigc_fail_memory(err, "bands of attributes", most * sizeof *numbers);
    }
    for (uint32_t a = 0; a < n; a++) {
        const attribute_entry *entry = &c->attribute_entries[a];
        size_t m = numbers_of(c, a, numbers);
        b->attributes[a] = (model_attribute){.kind = entry->kind, .of_items = entry->of_items};
        b->attributes[a].of_users = entry->of_users;
        b->attributes[a].first_band = b->n_lower;
        b->attributes[a].n_bands = cut(numbers, m, b->lower + b->n_lower);
        b->n_lower += b->attributes[a].n_bands;
    }
    free(numbers);
    return AIGC_OK;
}

/* The value's number in b->values, KEY_NONE if memory is out. */
static uint32_t value_of(bands *b, const catalogue *c, const user_value *v)
{
    char term[TERM_MAX_BYTES + 8], name[32];

    if (v->value != KEY_NONE) {
        aigc_string key = key_at(&c->values, v->value);
        return key_add(&b->values, key.data, key.len);
    }
    const model_attribute *a = &b->attributes[v->attribute];
    uint32_t band = 0;
    while (band + 1 < a->n_bands && v->number >= b->lower[a->first_band + band + 1])
        band++;
    aigc_string text = {name, (size_t)snprintf(name, sizeof name, "band %u", band)};
    return key_add(&b->values, term, word_value(key_at(&c->attributes, v->attribute), text, term));
}

aigc_status bands_make(bands *b, const catalogue *c, aigc_error *err)
{
    uint32_t n = c->user_keys.n;

    *b = (bands){0};
    aigc_status status = cut_attributes(b, c, err);
    b->start = aigc_calloc((size_t)n + 2, sizeof *b->start);
    b->value = aigc_realloc_array(NULL, c->n_user_values, sizeof *b->value);
    if (status == AIGC_OK && (b->start == NULL || b->value == NULL))
        status = aigc_fail_memory(err, "attributes of users", c->n_user_values * sizeof *b->value);
    for (size_t i = 0; i < c->n_user_values && status == AIGC_OK; i++)
        b->start[c->user_values[i].user + 2]++;
    for (uint32_t u = 0; u < n && status == AIGC_OK; u++)
        b->start[u + 1] += b->start[u];
    for (size_t i = 0; i < c->n_user_values && status == AIGC_OK; i++) {
        uint32_t value = value_of(b, c, &c->user_values[i]);
        if (value == KEY_NONE)
            status = aigc_fail_memory(err, "values of attributes", b->values.bytes_capacity);
        else
            b->value[b->start[c->user_values[i].user + 1]++] = value;
    }
    if (status != AIGC_OK)
        bands_free(b);
    return status;
}

void bands_free(bands *b)
{
    free(b->attributes);
    free(b->lower);
    key_free(&b->values);
    free(b->start);
    free(b->value);
    *b = (bands){0};
}

/* ---- people -------------------------------------------------------------------------------------------------- */

/* Rows of users by value: who has it. */
static bool users_by_value(const bands *b, const pairs *by_user, const uint32_t *users, uint64_t **start_out,
                           uint32_t **rows_out)
{
    uint32_t n = b->values.n;
    uint64_t *start = aigc_calloc((size_t)n + 2, sizeof *start), all = 0;

    for (uint32_t r = 0; r < by_user->n_rows; r++)
        all += b->start[users[r] + 1] - b->start[users[r]];
    uint32_t *rows = aigc_realloc_array(NULL, all, sizeof *rows);
    *start_out = start;
    *rows_out = rows;
    if (start == NULL || rows == NULL)
        return false;
    for (uint32_t r = 0; r < by_user->n_rows; r++)
        for (uint64_t i = b->start[users[r]]; i < b->start[users[r] + 1]; i++)
            start[b->value[i] + 2]++;
    for (uint32_t v = 0; v < n; v++)
        start[v + 1] += start[v];
    for (uint32_t r = 0; r < by_user->n_rows; r++)
        for (uint64_t i = b->start[users[r]]; i < b->start[users[r] + 1]; i++)
            rows[start[b->value[i] + 1]++] = r;
    return true;
}

/* A context being made. */
struct context_maker {
    const catalogue *c;
    const bands *b;
    const pairs *by_user;
    double half_life;
    thread_pool *pool;
    uint64_t *by_value; /* [n_values + 1] where the rows of users who have a value begin */
    uint32_t *rows;
    float *with, *lift; /* [n_items] people with a value who did it, and what that says */
    double part;        /* of all pairs that are theirs */
    uint64_t *start;    /* of x->people, with index and weight */
    uint32_t *index;
    uint16_t *weight;
    size_t index_capacity, weight_capacity;
    int stage;
    uint64_t next; /* row or value of the stage */
};

enum { EVENTS, POPULARITY, PEOPLE, PAIRS_PER_STEP = 300000, ITEMS_PER_STEP = 500000, ITEMS_TOGETHER = 4096 };

/* The log of how much more often people with a value did each item than people at large; 0 where that says little. */
static void lift_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const item_context *x = context;
    const struct context_maker *m = x->maker;

    (void)thread;
    for (uint32_t i = begin; i < end; i++) {
        bool nobody = m->with[i] == 0 && x->count[i] == 0;
        double lift =
            nobody ? 0 : real_log((m->with[i] + LIFT_PRIOR * m->part) / ((x->count[i] + LIFT_PRIOR) * m->part));
        m->lift[i] = fabs(lift) > LEAST_LIFT ? (float)lift : 0;
    }
}

static bool add_lifts(item_context *x)
{
    struct context_maker *m = x->maker;
    uint32_t n = m->by_user->n_columns;

    ranges_run(m->pool, 0, n, ITEMS_TOGETHER, lift_work, x);
    for (uint32_t i = 0; i < n; i++) {
        if (m->lift[i] == 0 || x->people.n >= LIFTS_MOST)
            continue;
        if (!array_reserve((void **)&m->index, x->people.n, &m->index_capacity, sizeof *m->index) ||
            !array_reserve((void **)&m->weight, x->people.n, &m->weight_capacity, sizeof *m->weight))
            return false;
        m->index[x->people.n] = i;
        m->weight[x->people.n++] = half_from_float(m->lift[i]);
    }
    return true;
}

/* What the people with a value tell. */
static bool add_value(item_context *x, uint32_t value)
{
    struct context_maker *m = x->maker;
    const pairs *p = m->by_user;
    double sum = 0;
    bool ok = true;

    memset(m->with, 0, p->n_columns * sizeof *m->with);
    for (uint64_t r = m->by_value[value]; r < m->by_value[value + 1]; r++)
        for (uint64_t i = p->start[m->rows[r]]; i < p->start[m->rows[r] + 1]; i++, sum++)
            m->with[p->item[i]] += 1;
    m->part = sum / (double)pairs_n(p);
    if (sum > 0)
        ok = add_lifts(x);
    m->start[value + 1] = x->people.n;
    return ok;
}

/* ---- counts -------------------------------------------------------------------------------------------------- */

/* How often lately: each pair decays with its age. Without times it is the count. */
static void count_events(item_context *x, uint32_t begin, uint32_t end)
{
    const struct context_maker *m = x->maker;
    const pairs *p = m->by_user;
    double last = m->c->last_time - m->c->base_time;

    for (uint64_t i = p->start[begin]; i < p->start[end]; i++) {
        x->count[p->item[i]] += 1;
        x->recent[p->item[i]] += p->time ? freshness_of(p->time[i], last, m->half_life) : 1;
    }
}

static void popularity_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    item_context *x = context;
    const catalogue *c = x->maker->c;

    (void)thread;
    for (uint32_t i = begin; i < end; i++) {
        x->popularity[i] = popularity_of(x->count[i], x->mean_count);
        x->recent[i] = popularity_of(x->recent[i], x->mean_recent);
        x->fresh[i] = freshness_of(c->items[i].time, c->last_time, x->maker->half_life);
    }
}

static void weigh_counts(item_context *x)
{
    const struct context_maker *m = x->maker;
    uint32_t n = m->by_user->n_columns;
    double recent = 0;

    x->mean_count = n ? (double)pairs_n(m->by_user) / n : 0;
    for (uint32_t i = 0; i < n; i++)
        recent += x->recent[i];
    x->mean_recent = n ? recent / n : 0;
    ranges_run(m->pool, 0, n, ITEMS_TOGETHER, popularity_work, x);
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static bool open_maker(item_context *x, const uint32_t *users)
{
    struct context_maker *m = x->maker;
    uint32_t n = m->by_user->n_columns;

    x->count = aigc_calloc(n, sizeof *x->count);
    x->popularity = aigc_calloc(n, sizeof *x->popularity);
    x->recent = aigc_calloc(n, sizeof *x->recent);
    x->fresh = aigc_calloc(n, sizeof *x->fresh);
    m->with = aigc_calloc(n, sizeof *m->with);
    m->lift = aigc_calloc(n, sizeof *m->lift);
    m->start = aigc_calloc((size_t)m->b->values.n + 1, sizeof *m->start);
    return x->count && x->popularity && x->recent && x->fresh && m->with && m->lift && m->start &&
           users_by_value(m->b, m->by_user, users, &m->by_value, &m->rows);
}

bool context_begin(item_context *x, const catalogue *c, const bands *b, const pairs *by_user, const uint32_t *users,
                   double half_life, thread_pool *pool)
{
    *x = (item_context){.maker = aigc_calloc(1, sizeof *x->maker)};
    if (x->maker == NULL)
        return false;
    *x->maker = (struct context_maker){.c = c, .b = b, .by_user = by_user, .half_life = half_life, .pool = pool};
    return open_maker(x, users);
}

static void close_maker(item_context *x)
{
    struct context_maker *m = x->maker;

    if (m == NULL)
        return;
    free(m->by_value);
    free(m->rows);
    free(m->with);
    free(m->lift);
    x->people.start = m->start;
    x->people.index = m->index;
    x->people.weight = m->weight;
    x->people.n_rows = m->b->values.n;
    free(m);
    x->maker = NULL;
}

aigc_status context_step(item_context *x, bool *done, aigc_error *err)
{
    struct context_maker *m = x->maker;
    uint32_t n = m->by_user->n_columns, n_values = m->b->values.n;
    bool ok = true;

    *done = false;
    if (m->stage == EVENTS) {
        uint32_t end = pairs_rows(m->by_user, (uint32_t)m->next, PAIRS_PER_STEP);
        count_events(x, (uint32_t)m->next, end);
        m->next = end;
        m->stage += end == m->by_user->n_rows;
        return AIGC_OK;
    }
    if (m->stage == POPULARITY) {
        weigh_counts(x);
        m->next = 0;
        m->stage++;
        return AIGC_OK;
    }
    uint64_t values = n ? ITEMS_PER_STEP / n + 1 : n_values;
    for (; ok && values > 0 && m->next < n_values; values--)
        ok = add_value(x, (uint32_t)m->next++);
    if (!ok)
        return aigc_fail_memory(err, "attributes of people", x->people.n * 12);
    *done = m->next == n_values;
    if (*done)
        close_maker(x);
    return AIGC_OK;
}

void context_free(item_context *x)
{
    close_maker(x);
    free(x->count);
    free(x->popularity);
    free(x->recent);
    free(x->fresh);
    free((void *)(uintptr_t)x->people.start);
    free((void *)(uintptr_t)x->people.index);
    free((void *)(uintptr_t)x->people.weight);
    *x = (item_context){0};
}
