/* best.c: see best.h. */
#include "recommend/best.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { LENGTH_BUCKETS = 1 << 16 };

/* ---- items --------------------------------------------------------------------------------------------------- */

static void read_row(const best_items *x, uint32_t item, float *out)
{
    if (x->rows) {
        memcpy(out, x->rows + item * x->d, x->d * sizeof *out);
        return;
    }
    memset(out, 0, x->d * sizeof *out);
    x->k->axpy_half(1, x->half + item * x->d, out, x->d);
}

/* The buckets of a float's upper half: larger ones first. What is not finite goes with the largest. */
static uint32_t bucket_of(float length)
{
    uint32_t bits;

    memcpy(&bits, &length, sizeof bits);
    return length >= 0 ? LENGTH_BUCKETS - 1 - (bits >> 16) : 0;
}

/* Items by length, longest first up to a bucket's width, equal ones by number: a counting sort. */
static bool sort_items(best_items *x, const float *length)
{
    uint32_t *start = aigc_calloc(LENGTH_BUCKETS + 1, sizeof *start);

    if (start == NULL)
        return false;
    for (uint32_t i = 0; i < x->n; i++)
        start[bucket_of(length[i]) + 1]++;
    for (uint32_t b = 0; b < LENGTH_BUCKETS; b++)
        start[b + 1] += start[b];
    for (uint32_t i = 0; i < x->n; i++) {
        x->place[i] = start[bucket_of(length[i])]++;
        x->order[x->place[i]] = i;
    }
    free(start);
    return true;
}

static void note_bounds(best_items *x, const float *length)
{
    for (uint32_t p = 0; p < x->n; p++) {
        uint32_t item = x->order[p], c = p / BEST_CHUNK;
        bool first = p % BEST_CHUNK == 0;
        if (first || !(length[item] <= x->length[c]))
            x->length[c] = length[item];
        for (size_t e = 0; e < x->n_extra; e++) {
            float *most = &x->most[c * x->n_extra + e], value = x->extra[e * x->n + item];
            if (first || !(value <= *most))
                *most = value;
        }
    }
}

bool best_items_open(best_items *x, const dense_kernels *k, uint32_t n, size_t d, const float *rows,
                     const uint16_t *half, const float *extra, size_t n_extra)
{
    size_t chunks = ((size_t)n + BEST_CHUNK - 1) / BEST_CHUNK;
    float *row = aigc_calloc(d, sizeof *row), *length = aigc_calloc(n, sizeof *length);

    *x = (best_items){.k = k, .n = n, .d = d, .rows = rows, .half = half, .extra = extra, .n_extra = n_extra};
    x->order = aigc_calloc(n, sizeof *x->order);
    x->place = aigc_calloc(n, sizeof *x->place);
    x->length = aigc_calloc(chunks, sizeof *x->length);
    x->most = aigc_calloc(chunks * n_extra, sizeof *x->most);
    bool ok = row && length && x->order && x->place && x->length && x->most;
    for (uint32_t i = 0; i < n && ok; i++) {
        read_row(x, i, row);
        length[i] = sqrtf(k->dot(row, row, d));
    }
    ok = ok && sort_items(x, length);
    if (ok)
        note_bounds(x, length);
    else
        best_items_close(x);
    free(row);
    free(length);
    return ok;
}

void best_items_close(best_items *x)
{
    free(x->order);
    free(x->place);
    free(x->length);
    free(x->most);
    *x = (best_items){0};
}

/* ---- people -------------------------------------------------------------------------------------------------- */

static size_t width_of(const best_items *x)
{
    return x->d + x->n_extra;
}

bool best_group_open(best_group *g, const best_items *x, size_t k)
{
    size_t width = width_of(x);

    *g = (best_group){.k = k};
    g->panel = aigc_calloc(width * BEST_LANES, sizeof *g->panel);
    g->excluded = aigc_calloc(x->n, sizeof *g->excluded);
    g->heap = aigc_calloc(BEST_LANES * k, sizeof *g->heap);
    g->rows = aigc_calloc(width * BEST_CHUNK, sizeof *g->rows);
    g->scores = aigc_calloc(BEST_CHUNK * BEST_LANES, sizeof *g->scores);
    if (g->panel && g->excluded && g->heap && g->rows && g->scores)
        return true;
    best_group_close(g);
    return false;
}

void best_group_close(best_group *g)
{
    free(g->panel);
    free(g->excluded);
    free(g->heap);
    free(g->rows);
    free(g->scores);
    *g = (best_group){0};
}

void best_group_clear(best_group *g, const best_items *x)
{
    memset(g->panel, 0, width_of(x) * BEST_LANES * sizeof *g->panel);
    memset(g->excluded, 0, x->n * sizeof *g->excluded);
    memset(g->base, 0, sizeof g->base);
    memset(g->taken, 0, sizeof g->taken);
    memset(g->n, 0, sizeof g->n);
    for (int l = 0; l < BEST_LANES; l++)
        g->least[l] = INFINITY;
}

void best_group_set(best_group *g, const best_items *x, int l, const float *vector, int extra, uint64_t seed)
{
    for (size_t i = 0; i < x->d && vector; i++)
        g->panel[i * BEST_LANES + l] = vector[i];
    if (extra >= 0)
        g->panel[(x->d + (size_t)extra) * BEST_LANES + l] = 1;
    g->length[l] = vector ? sqrtf(x->k->dot(vector, vector, x->d)) : 0;
    g->extra[l] = extra;
    g->seed[l] = seed;
    g->taken[l] = true;
    g->least[l] = -INFINITY;
}

void best_group_exclude(best_group *g, const best_items *x, int l, uint32_t item)
{
    if (item < x->n)
        g->excluded[x->place[item]] |= 1u << l;
}

void best_group_only(best_group *g, const best_items *x, int l, const uint32_t *items, size_t n)
{
    for (uint32_t p = 0; p < x->n; p++)
        g->excluded[p] |= 1u << l;
    for (size_t i = 0; i < n; i++)
        if (items[i] < x->n)
            g->excluded[x->place[items[i]]] &= ~(1u << l);
}

/* ---- ranking ------------------------------------------------------------------------------------------------- */

/*
 * Whether nobody's list can change: what an item adds is at most |u| |v| + extra, and the rounding of a sum of n
 * products is at most n 2^-24 |u| |v| (Higham, "Accuracy and stability of numerical algorithms", 3.1), that of the two
 * lengths no more each.
 */
static bool is_hopeless(const best_items *x, const best_group *g, size_t chunk)
{
    float slack = 1 + 4e-7f * (float)(width_of(x) + 16);

    for (int l = 0; l < BEST_LANES; l++) {
        if (!g->taken[l])
            continue;
        float own = g->extra[l] < 0 ? 0 : x->most[chunk * x->n_extra + (size_t)g->extra[l]];
        float product = g->length[l] * x->length[chunk], bound = product * slack + own;
        bound += (fabsf(own) + product) * (slack - 1);
        if (g->base[l] || !(bound < g->least[l]))
            return false;
    }
    return true;
}

static void read_chunk(const best_items *x, best_group *g, uint32_t begin, uint32_t n)
{
    size_t width = width_of(x);

    for (uint32_t r = 0; r < n; r++) {
        uint32_t item = x->order[begin + r];
        read_row(x, item, g->rows + r * width);
        for (size_t e = 0; e < x->n_extra; e++)
            g->rows[r * width + x->d + e] = x->extra[e * x->n + item];
    }
}

static void add_bases(const best_items *x, best_group *g, uint32_t begin, uint32_t n)
{
    for (int l = 0; l < BEST_LANES; l++)
        for (uint32_t r = 0; r < n && g->base[l]; r++)
            g->scores[r * BEST_LANES + (size_t)l] += g->base[l][x->order[begin + r]];
}

/* One score into one list. */
static void offer(best_group *g, int l, uint32_t item, float score)
{
    if (!(score > -INFINITY))
        return;
    candidate *heap = g->heap + (size_t)l * g->k;
    heap_offer(heap, &g->n[l], g->k, (candidate){score, item, tie_of(g->seed[l], item)});
    if (g->n[l] == g->k)
        g->least[l] = heap[0].score;
}

static void sift_chunk(const best_items *x, best_group *g, uint32_t begin, uint32_t n)
{
    uint32_t mask[BEST_CHUNK];

    x->k->reach(g->scores, n, g->least, mask);
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t left = mask[r] & ~g->excluded[begin + r]; left; left &= left - 1) {
            int l = __builtin_ctz(left);
            float score = g->scores[r * BEST_LANES + (size_t)l];
            if (g->taken[l] && score >= g->least[l]) /* which may have risen in this chunk */
                offer(g, l, x->order[begin + r], score);
        }
}

void best_rank(const best_items *x, best_group *g)
{
    size_t width = width_of(x);

    for (uint32_t begin = 0; begin < x->n; begin += BEST_CHUNK) {
        uint32_t n = x->n - begin < BEST_CHUNK ? x->n - begin : BEST_CHUNK;
        if (is_hopeless(x, g, begin / BEST_CHUNK))
            continue;
        read_chunk(x, g, begin, n);
        memset(g->scores, 0, n * BEST_LANES * sizeof *g->scores);
        x->k->gemm((int)n, BEST_LANES, (int)width, g->rows, width, 1, g->panel, BEST_LANES, g->scores, BEST_LANES,
                   false);
        add_bases(x, g, begin, n);
        sift_chunk(x, g, begin, n);
    }
    for (int l = 0; l < BEST_LANES; l++)
        qsort(g->heap + (size_t)l * g->k, g->n[l], sizeof *g->heap, in_order);
}
