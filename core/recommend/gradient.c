/* gradient.c: see gradient.h. */
#include "recommend/gradient.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    STEPS = 3,
    LONG_BYTES = 24 << 20, /* of vectors of long rows */
    LONG_ROWS = 4,         /* of them that a thread takes together */
};

static size_t row_bytes(const factor_side *s)
{
    return s->d * sizeof *s->half;
}

bool gradient_is_long(const factor_side *s, uint32_t row)
{
    return s->p->n_columns * row_bytes(s) > GRADIENT_SHARED &&
           LONG_ROWS * side_pairs(s, row) * row_bytes(s) > GRADIENT_OWN;
}

/* ---- a pass of some rows ------------------------------------------------------------------------------------- */

/* Rows whose residual is gone are done. */
static bool goes_on(const gradient *g, uint32_t i)
{
    return g->pass == 0 || g->rr[i] > 1e-20f;
}

/* ap = alpha0 V'V p for rows [first, first + n). In the first pass p is x. */
static void dense_part(const gradient *g, const factor_side *s, uint32_t first, uint32_t n)
{
    size_t d = s->d;

    for (uint32_t i = first; i < first + n && g->pass == 0; i++) {
        float *x = s->solved + g->rows[i] * d;
        if (side_pairs(s, g->rows[i]) == 0)
            memset(x, 0, d * sizeof *x);
        memcpy(g->p + i * d, x, d * sizeof *x);
    }
    dense_multiply(s->k, g->p + first * d, n, s->panels, d, g->ap + first * d);
}

/* Pairs [from, to) of row i: ap += w (v.p) v; in the first pass less w v, which is b. The last step needs no more than
 * p'Ap of it. */
static void pairs_part(const gradient *g, const factor_side *s, uint32_t i, uint64_t from, uint64_t to)
{
    const uint32_t *item = s->p->item + from;
    const float *weight = s->p->weight + from, *p = g->p + i * s->d;

    if (!goes_on(g, i))
        return;
    if (g->pass < STEPS)
        s->k->apply(s->half, item, weight, to - from, s->d, g->pass ? 0 : 1, p, g->ap + i * s->d);
    else
        g->curvature[i] = s->k->curvature(s->half, item, weight, to - from, s->d, p, g->curvature[i]);
}

/* What row i does with Ap. */
static void end_pass(const gradient *g, const factor_side *s, uint32_t i)
{
    const dense_kernels *k = s->k;
    size_t d = s->d;
    float *x = s->solved + g->rows[i] * d, *r = g->r + i * d, *p = g->p + i * d, *ap = g->ap + i * d;

    if (!goes_on(g, i))
        return;
    k->axpy(side_ridge(s, side_pairs(s, g->rows[i])), p, ap, d);
    if (g->pass == 0) {
        memset(r, 0, d * sizeof *r);
        k->axpy(-1, ap, r, d);
        memcpy(p, r, d * sizeof *p);
        g->rr[i] = k->dot(r, r, d);
        g->curvature[i] = 0;
        return;
    }
    float alpha = g->rr[i] / (float)(k->dot(p, ap, d) + g->curvature[i]);
    if (!isfinite(alpha)) {
        g->rr[i] = 0;
        return;
    }
    k->axpy(alpha, p, x, d);
    if (g->pass == STEPS)
        return;
    k->axpy(-alpha, ap, r, d);
    float rr = k->dot(r, r, d);
    k->scale(rr / g->rr[i], p, d);
    k->axpy(1, r, p, d);
    g->rr[i] = rr;
}

/* ---- short rows ---------------------------------------------------------------------------------------------- */

size_t gradient_scratch(size_t d)
{
    return 3 * GRADIENT_ROWS * d;
}

void gradient_short(const factor_side *s, const uint32_t *rows, uint32_t n, float *scratch)
{
    float rr[GRADIENT_ROWS];
    double curvature[GRADIENT_ROWS];
    size_t block = GRADIENT_ROWS * s->d;
    gradient g = {.rows = rows, .n = n, .r = scratch, .p = scratch + block, .ap = scratch + 2 * block};

    g.rr = rr;
    g.curvature = curvature;
    for (; g.pass <= STEPS; g.pass++) {
        dense_part(&g, s, 0, n);
        for (uint32_t i = 0; i < n; i++) {
            pairs_part(&g, s, i, s->p->start[rows[i]], s->p->start[rows[i] + 1]);
            end_pass(&g, s, i);
        }
    }
}

/* ---- long rows ----------------------------------------------------------------------------------------------- */

bool gradient_open(gradient *g, size_t d, size_t most)
{
    size_t room = LONG_BYTES / (3 * d * sizeof(float));

    *g = (gradient){.room = most < room ? most : room};
    if (g->room == 0)
        return true;
    g->r = aigc_large_pages_alloc(3 * g->room * d * sizeof *g->r);
    g->rr = aigc_calloc(g->room, sizeof *g->rr);
    g->curvature = aigc_calloc(g->room, sizeof *g->curvature);
    g->next = aigc_calloc(g->room, sizeof *g->next);
    if (g->r == NULL)
        return false;
    g->p = g->r + g->room * d;
    g->ap = g->p + g->room * d;
    return g->rr && g->curvature && g->next;
}

void gradient_close(gradient *g, size_t d)
{
    aigc_pages_free(g->r, 3 * g->room * d * sizeof *g->r);
    free(g->rr);
    free(g->curvature);
    free(g->next);
    *g = (gradient){0};
}

size_t gradient_bytes(const gradient *g, size_t d)
{
    return g->room * (3 * d * sizeof *g->r + sizeof *g->rr + sizeof *g->curvature + sizeof *g->next);
}

uint32_t gradient_take(gradient *g, const uint32_t *rows, uint32_t n)
{
    g->rows = rows;
    g->n = n < g->room ? n : (uint32_t)g->room;
    g->pass = 0;
    g->block = 0;
    return g->n;
}

typedef struct long_job {
    gradient *g;
    const factor_side *s;
    uint32_t n_blocks;
    double left; /* operations */
    bool running;
} long_job;

static int long_next(void *context)
{
    long_job *job = context;
    gradient *g = job->g;
    double d = (double)job->s->d, n = 0;

    if (job->running && ++g->block == job->n_blocks) {
        g->block = 0;
        g->pass++;
    }
    job->running = job->left > 0 && g->pass <= STEPS;
    for (uint32_t i = 0; i < g->n; i++)
        n += (double)side_pairs(job->s, g->rows[i]);
    job->left -= n / job->n_blocks * 10 * d + (g->block ? 0 : 2 * g->n * d * d);
    return job->running ? (int)((g->n + LONG_ROWS - 1) / LONG_ROWS) : 0;
}

/* The end of row i's pairs with columns below `column`, not before its next one. */
static uint64_t pairs_below(const gradient *g, const factor_side *s, uint32_t i, uint64_t column)
{
    uint64_t low = g->next[i], high = s->p->start[g->rows[i] + 1];

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (s->p->item[middle] < column)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void long_work(void *context, int chunk, int thread)
{
    long_job *job = context;
    const factor_side *s = job->s;
    gradient *g = job->g;
    uint32_t first = (uint32_t)chunk * LONG_ROWS, end = g->n - first < LONG_ROWS ? g->n : first + LONG_ROWS;
    uint64_t column = (uint64_t)s->p->n_columns * (g->block + 1) / job->n_blocks;

    (void)thread;
    if (g->block == 0)
        dense_part(g, s, first, end - first);
    for (uint32_t i = first; i < end; i++) {
        if (g->block == 0)
            g->next[i] = s->p->start[g->rows[i]];
        uint64_t next = pairs_below(g, s, i, column);
        pairs_part(g, s, i, g->next[i], next);
        g->next[i] = next;
        if (g->block + 1 == job->n_blocks)
            end_pass(g, s, i);
    }
}

bool gradient_step(gradient *g, const factor_side *s, thread_pool *pool, double operations)
{
    long_job job = {.g = g, .s = s, .left = operations};

    job.n_blocks = (uint32_t)(s->p->n_columns * row_bytes(s) / GRADIENT_SHARED + 1);
    thread_pool_run(pool, &(thread_program){long_next, long_work, &job});
    return g->pass > STEPS;
}
