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

typedef struct lifts {
    model_rows *out;
    uint64_t *start;
    uint32_t *index;
    uint16_t *weight;
    size_t index_capacity, weight_capacity;
} lifts;

/* The log of how much more often people with a value did each item than people at large, where that says something. */
static bool add_lifts(lifts *l, const float *count, const float *with, uint32_t n_items, double part)
{
    for (uint32_t i = 0; i < n_items; i++) {
        double lift = real_log((with[i] + LIFT_PRIOR * part) / ((count[i] + LIFT_PRIOR) * part));
        if (!(fabs(lift) > LEAST_LIFT) || l->out->n >= LIFTS_MOST)
            continue;
        if (!array_reserve((void **)&l->index, l->out->n, &l->index_capacity, sizeof *l->index) ||
            !array_reserve((void **)&l->weight, l->out->n, &l->weight_capacity, sizeof *l->weight))
            return false;
        l->index[l->out->n] = i;
        l->weight[l->out->n++] = half_from_float((float)lift);
    }
    return true;
}

static bool make_people(item_context *x, const bands *b, const pairs *by_user, const uint32_t *users)
{
    uint32_t n_items = by_user->n_columns, n = b->values.n, *rows = NULL;
    uint64_t *by_value = NULL;
    lifts l = {.out = &x->people, .start = aigc_calloc((size_t)n + 1, sizeof *l.start)};
    float *with = aigc_calloc(n_items, sizeof *with);
    bool ok = users_by_value(b, by_user, users, &by_value, &rows) && l.start && with;

    for (uint32_t v = 0; v < n && ok; v++) {
        double sum = 0, all = (double)pairs_n(by_user);
        memset(with, 0, n_items * sizeof *with);
        for (uint64_t r = by_value[v]; r < by_value[v + 1]; r++)
            for (uint64_t i = by_user->start[rows[r]]; i < by_user->start[rows[r] + 1]; i++, sum++)
                with[by_user->item[i]] += 1;
        ok = by_value[v + 1] - by_value[v] < LEAST_PEOPLE || sum == 0 ||
             add_lifts(&l, x->count, with, n_items, sum / all);
        l.start[v + 1] = x->people.n;
    }
    free(with);
    free(rows);
    free(by_value);
    x->people.start = l.start;
    x->people.index = l.index;
    x->people.weight = l.weight;
    x->people.n_rows = n;
    return ok;
}

/* ---- counts -------------------------------------------------------------------------------------------------- */

/* How often lately: each pair decays with its age. Without times it is the count. */
static void count_recent(item_context *x, const catalogue *c, const pairs *by_user, double half_life)
{
    double last = c->last_time - c->base_time;

    for (uint64_t i = 0; i < pairs_n(by_user); i++) {
        x->count[by_user->item[i]] += 1;
        x->recent[by_user->item[i]] += by_user->time ? freshness_of(by_user->time[i], last, half_life) : 1;
    }
}

aigc_status context_make(item_context *x, const catalogue *c, const bands *b, const pairs *by_user,
                         const uint32_t *users, double half_life, aigc_error *err)
{
    uint32_t n = by_user->n_columns;
    double recent = 0;

    *x = (item_context){0};
    x->count = aigc_calloc(n, sizeof *x->count);
    x->popularity = aigc_calloc(n, sizeof *x->popularity);
    x->recent = aigc_calloc(n, sizeof *x->recent);
    x->fresh = aigc_calloc(n, sizeof *x->fresh);
    if (!x->count || !x->popularity || !x->recent || !x->fresh) {
        context_free(x);
        return aigc_fail_memory(err, "counts of items", n * 4 * sizeof *x->count);
    }
    count_recent(x, c, by_user, half_life);
    x->mean_count = n ? (double)pairs_n(by_user) / n : 0;
    for (uint32_t i = 0; i < n; i++)
        recent += x->recent[i];
    x->mean_recent = n ? recent / n : 0;
    for (uint32_t i = 0; i < n; i++) {
        x->popularity[i] = popularity_of(x->count[i], x->mean_count);
        x->recent[i] = popularity_of(x->recent[i], x->mean_recent);
        x->fresh[i] = freshness_of(c->items[i].time, c->last_time, half_life);
    }
    if (make_people(x, b, by_user, users))
        return AIGC_OK;
    context_free(x);
    return aigc_fail_memory(err, "attributes of people", n * sizeof *x->count);
}

void context_free(item_context *x)
{
    free(x->count);
    free(x->popularity);
    free(x->recent);
    free(x->fresh);
    free((void *)(uintptr_t)x->people.start);
    free((void *)(uintptr_t)x->people.index);
    free((void *)(uintptr_t)x->people.weight);
    *x = (item_context){0};
}
