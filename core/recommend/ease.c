/* ease.c: see ease.h. */
#include "recommend/ease.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/content.h"
#include "recommend/half.h"
#include "recommend/ranges.h"

enum {
    UPDATE_ROWS = 96,     /* rows of the matrix that a thread updates together */
    UPDATE_COLUMNS = 256, /* and columns, so that their part of the swept block stays in the cache */
    GRAM_CHUNK = 4,       /* rows of G that a thread takes */
    GRAM_STEP = 20000000, /* increments of one step, for each thread */
    SAMPLE = 100003       /* weights that a threshold is found from */
};

static const float LEAST_WEIGHT = 1e-4f;

/* ---- choosing items ------------------------------------------------------------------------------------------ */

static uint64_t n_users(const ease *e, uint32_t item)
{
    return e->by_item->start[item + 1] - e->by_item->start[item];
}

static uint32_t n_above(const ease *e, uint64_t count)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < e->by_item->n_rows; i++)
        n += n_users(e, i) > count;
    return n;
}

/* The most popular items that anybody did anything with, in the order of their numbers; of those with as many users as
 * the last of them, the first. */
static void choose(ease *e, uint32_t most)
{
    uint32_t n_items = e->by_item->n_rows;
    uint64_t low = 0, high = e->by_user->n_rows; /* no more than `most` items have more users than high */

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (n_above(e, middle) <= most)
            high = middle;
        else
            low = middle + 1;
    }
    uint32_t equal = most - n_above(e, high);
    for (uint32_t i = 0; i < n_items; i++) {
        uint64_t n = n_users(e, i);
        bool chosen = n > high || (n == high && n > 0 && equal > 0);
        equal -= chosen && n == high;
        e->places[i] = chosen ? e->n : UINT32_MAX;
        if (chosen)
            e->items[e->n++] = i;
    }
}

bool ease_create(ease *e, const pairs *by_user, const pairs *by_item, uint32_t most_items, bool keep_gram,
                 thread_pool *pool)
{
    uint32_t n_items = by_item->n_rows;

    *e = (ease){.by_user = by_user, .by_item = by_item, .pool = pool, .k = dense_best()};
    e->items = aigc_calloc(n_items, sizeof *e->items);
    e->places = aigc_calloc(n_items, sizeof *e->places);
    if (e->items == NULL || e->places == NULL) {
        ease_free(e);
        return false;
    }
    choose(e, most_items);
    e->ld = dense_pad(e->n) | DENSE_LANES; /* an odd number of vectors: rows do not fall on the same cache lines */
    size_t square = (size_t)e->n * e->ld, block = EASE_BLOCK * e->ld;
    e->a = aigc_pages_alloc(square * sizeof(float));
    e->gram = keep_gram ? aigc_pages_alloc(square * sizeof(float)) : e->a;
    e->row = aigc_pages_alloc(block * sizeof(float));
    e->swept = aigc_pages_alloc(block * sizeof(float));
    e->diagonal = aigc_calloc(e->n, sizeof *e->diagonal);
    e->pivot = aigc_calloc(2 * EASE_BLOCK * EASE_BLOCK, sizeof(float));
    e->bytes = (square * (keep_gram ? 2 : 1) + 2 * block) * sizeof(float);
    if (e->a && e->gram && e->row && e->swept && e->pivot && e->diagonal)
        return true;
    ease_free(e);
    return false;
}

void ease_free(ease *e)
{
    size_t square = (size_t)e->n * e->ld * sizeof(float), block = EASE_BLOCK * e->ld * sizeof(float);

    if (e->gram != e->a)
        aigc_pages_free(e->gram, square);
    aigc_pages_free(e->a, square);
    aigc_pages_free(e->row, block);
    aigc_pages_free(e->swept, block);
    free(e->pivot);
    free(e->diagonal);
    free(e->items);
    free(e->places);
    *e = (ease){0};
}

/* ---- G ------------------------------------------------------------------------------------------------------- */

/* Row r of G: everything that those who have its item have, from r on; counts are exact in float up to 2^24. */
static void gram_row(const ease *e, uint32_t r)
{
    float *row = e->gram + r * e->ld;
    const pairs *users = e->by_item, *items = e->by_user;
    uint32_t item = e->items[r];

    memset(row, 0, e->ld * sizeof *row);
    for (uint64_t i = users->start[item]; i < users->start[item + 1]; i++) {
        uint32_t u = users->item[i];
        for (uint64_t j = items->start[u + 1]; j-- > items->start[u] && items->item[j] >= item;) {
            uint32_t place = e->places[items->item[j]];
            if (place != UINT32_MAX)
                row[place] += 1;
        }
    }
}

/* Increments of row r, at most; those who have a popular item have more than others. */
static double gram_cost(const ease *e, uint32_t r)
{
    const uint64_t *start = e->by_user->start;
    uint32_t item = e->items[r];
    uint64_t n = 0;

    for (uint64_t i = e->by_item->start[item]; i < e->by_item->start[item + 1]; i++)
        n += 1 + start[e->by_item->item[i] + 1] - start[e->by_item->item[i]];
    return (double)n;
}

static void gram_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    for (uint32_t r = begin; r < end; r++)
        gram_row(context, r);
}

bool ease_gram_step(ease *e)
{
    double budget = (double)GRAM_STEP * thread_pool_size(e->pool);
    uint32_t end = e->next;

    while (end < e->n && budget > 0)
        budget -= gram_cost(e, end++);
    ranges_run(e->pool, e->next, end, GRAM_CHUNK, gram_work, e);
    e->next = end;
    e->gram_done = e->next == e->n;
    return e->gram_done;
}

/* ---- inverse ------------------------------------------------------------------------------------------------- */

void ease_begin(ease *e, double lambda)
{
    if (e->gram != e->a && e->n)
        memcpy(e->a, e->gram, (size_t)e->n * e->ld * sizeof *e->a);
    for (uint32_t i = 0; i < e->n; i++)
        e->a[i * e->ld + i] += (float)lambda;
    e->next = 0;
    e->failed = false;
}

/* Rows [p, p + b) of the symmetric matrix, all columns, into e->row. */
static void read_block(const ease *e, uint32_t p, uint32_t b)
{
    memset(e->row, 0, EASE_BLOCK * e->ld * sizeof *e->row);
    for (uint32_t c = 0; c < p; c++)
        for (uint32_t r = 0; r < b; r++)
            e->row[r * e->ld + c] = e->a[c * e->ld + p + r];
    for (uint32_t r = 0; r < b; r++) {
        for (uint32_t c = 0; c < r; c++)
            e->row[r * e->ld + p + c] = e->a[(p + c) * e->ld + p + r];
        memcpy(e->row + r * e->ld + p + r, e->a + (p + r) * e->ld + p + r, (e->n - p - r) * sizeof *e->row);
    }
}

/* The inverse of the block's own square into e->pivot, [EASE_BLOCK][EASE_BLOCK]. */
static bool invert_pivot(const ease *e, uint32_t p, uint32_t b)
{
    float *u = e->pivot + EASE_BLOCK * EASE_BLOCK;

    for (uint32_t r = 0; r < EASE_BLOCK; r++)
        for (uint32_t c = 0; c < EASE_BLOCK; c++)
            u[r * EASE_BLOCK + c] = r < b && c < b ? e->row[r * e->ld + p + c] : r == c;
    if (!dense_cholesky(e->k, u, EASE_BLOCK))
        return false;
    memset(e->pivot, 0, EASE_BLOCK * EASE_BLOCK * sizeof *e->pivot);
    for (uint32_t r = 0; r < EASE_BLOCK; r++) {
        e->pivot[r * EASE_BLOCK + r] = 1;
        dense_solve(e->k, u, EASE_BLOCK, e->pivot + r * EASE_BLOCK);
    }
    return true;
}

static void swept_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const ease *e = context;

    (void)thread;
    for (uint32_t r = 0; r < EASE_BLOCK; r++)
        memset(e->swept + r * e->ld + begin, 0, (end - begin) * sizeof *e->swept);
    e->k->gemm(EASE_BLOCK, (int)(end - begin), EASE_BLOCK, e->pivot, EASE_BLOCK, 1, e->row + begin, e->ld,
               e->swept + begin, e->ld, false);
}

/* A -= row' swept for some rows, from their own column on. */
static void update_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const ease *e = context;
    uint32_t columns = (uint32_t)dense_pad(e->n);

    (void)thread;
    for (uint32_t c = begin; c < columns; c += UPDATE_COLUMNS) {
        uint32_t width = columns - c < UPDATE_COLUMNS ? columns - c : UPDATE_COLUMNS;
        e->k->gemm((int)(end - begin), (int)width, EASE_BLOCK, e->row + begin, 1, e->ld, e->swept + c, e->ld,
                   e->a + begin * e->ld + c, e->ld, true);
    }
}

/* The swept block takes its place: rows D^-1 A, its own square -D^-1. */
static void write_block(const ease *e, uint32_t p, uint32_t b)
{
    for (uint32_t c = 0; c < p; c++)
        for (uint32_t r = 0; r < b; r++)
            e->a[c * e->ld + p + r] = e->swept[r * e->ld + c];
    for (uint32_t r = 0; r < b; r++) {
        float *row = e->a + (p + r) * e->ld;
        for (uint32_t c = r; c < b; c++)
            row[p + c] = -e->pivot[r * EASE_BLOCK + c];
        memcpy(row + p + b, e->swept + r * e->ld + p + b, (e->n - p - b) * sizeof *row);
    }
}

enum { SQUARE = 32 };

/* The lower triangle, by squares that fit the cache. */
static void mirror_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const ease *e = context;

    (void)thread;
    for (uint32_t c = begin; c < e->n; c += SQUARE)
        for (uint32_t i = begin; i < end; i++)
            for (uint32_t j = c > i ? c : i; j < e->n && j < c + SQUARE; j++)
                e->a[j * e->ld + i] = e->a[i * e->ld + j];
}

bool ease_step(ease *e)
{
    uint32_t p = e->next, b = e->n - p < EASE_BLOCK ? e->n - p : EASE_BLOCK;

    if (p >= e->n)
        return true;
    read_block(e, p, b);
    if (!invert_pivot(e, p, b)) {
        e->failed = true;
        return true;
    }
    ranges_run(e->pool, 0, (uint32_t)dense_pad(e->n), UPDATE_COLUMNS, swept_work, e);
    ranges_run(e->pool, 0, e->n, UPDATE_ROWS, update_work, e);
    write_block(e, p, b);
    e->next = p + b;
    if (e->next < e->n)
        return false;
    ranges_run(e->pool, 0, e->n, SQUARE, mirror_work, e);
    for (uint32_t i = 0; i < e->n; i++)
        e->diagonal[i] = e->a[i * e->ld + i];
    return true;
}

/* ---- weights ------------------------------------------------------------------------------------------------- */

/* B[i][j], by places. */
static float weight_of(const ease *e, uint32_t i, uint32_t j)
{
    return i == j ? 0 : -e->a[i * e->ld + j] / e->diagonal[j];
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A size that about `most` weights exceed. */
static bool threshold(const ease *e, uint64_t most, float *least)
{
    uint64_t all = (uint64_t)e->n * e->n, n = all < SAMPLE ? all : SAMPLE;

    *least = LEAST_WEIGHT;
    if (all <= most || n == 0)
        return true;
    float *sample = aigc_realloc_array(NULL, n, sizeof *sample);
    if (sample == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)((double)i * (double)all / (double)n);
        sample[i] = fabsf(weight_of(e, (uint32_t)(at / e->n), (uint32_t)(at % e->n)));
    }
    qsort(sample, n, sizeof *sample, by_size);
    float cut = sample[(uint64_t)((double)n * (1 - (double)most / (double)all))];
    if (cut > *least)
        *least = cut;
    free(sample);
    return true;
}

typedef struct rows_job {
    const ease *e;
    float least;
    uint64_t *start; /* [n_items + 1] */
    uint32_t *index; /* NULL: rows are counted */
    uint16_t *weight;
} rows_job;

/* The rows of some of the items with weights, from their places in start on; or how many there are, there. */
static void rows_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    rows_job *job = context;
    const ease *e = job->e;

    (void)thread;
    for (uint32_t i = begin; i < end; i++) {
        uint64_t n = job->index ? job->start[e->items[i]] : 0;
        for (uint32_t j = 0; j < e->n; j++) {
            float w = weight_of(e, i, j);
            if (!(fabsf(w) > job->least))
                continue;
            if (job->index) {
                job->index[n] = e->items[j];
                job->weight[n] = half_from_float(w);
            }
            n++;
        }
        if (job->index == NULL)
            job->start[e->items[i] + 1] = n;
    }
}

bool ease_rows(const ease *e, uint64_t most, model_rows *out)
{
    uint32_t n_items = e->by_item->n_rows;
    rows_job job = {.e = e, .start = aigc_calloc((size_t)n_items + 1, sizeof *job.start)};

    *out = (model_rows){.start = job.start, .n_rows = n_items};
    if (job.start == NULL || !threshold(e, most, &job.least)) {
        rows_free(out);
        return false;
    }
    ranges_run(e->pool, 0, e->n, GRAM_CHUNK, rows_work, &job);
    for (uint32_t i = 0; i < n_items; i++)
        job.start[i + 1] += job.start[i];
    out->n = job.start[n_items];
    out->index = job.index = aigc_realloc_array(NULL, out->n, sizeof *job.index);
    out->weight = job.weight = aigc_realloc_array(NULL, out->n, sizeof *job.weight);
    if (job.index == NULL || job.weight == NULL) {
        rows_free(out);
        return false;
    }
    ranges_run(e->pool, 0, e->n, GRAM_CHUNK, rows_work, &job);
    return true;
}
