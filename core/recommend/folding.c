/* folding.c: see folding.h. */
#include "recommend/folding.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/ranges.h"

enum {
    STEPS_MOST = 40,
    INVERSE_ROWS = 8, /* that a thread takes */
};

/* What may be left of b, in lengths: rounding leaves about so much. */
static const double LEFT = 0x1p-22;

/* ---- what people share --------------------------------------------------------------------------------------- */

static float ridge(const model *m, double n)
{
    return (float)(m->n->regularization * (n + m->n->unobserved * m->n->n_items));
}

typedef struct inverse_job {
    const dense_kernels *k;
    size_t d;
    const float *u; /* Cholesky's factor */
    float *out;     /* [d][d] */
} inverse_job;

static void inverse_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const inverse_job *job = context;

    (void)thread;
    for (size_t r = begin; r < end; r++) {
        float *row = job->out + r * job->d;
        memset(row, 0, job->d * sizeof *row);
        row[r] = 1;
        dense_solve(job->k, job->u, job->d, row);
    }
}

static void pack(const float *a, size_t d, float *panels)
{
    for (size_t c = 0; c < d; c += DENSE_COLUMNS)
        dense_pack(a, d, c, panels);
}

/* a and inverse are [d][d] of scratch. */
static bool invert(const folding *f, float *a, float *inverse, thread_pool *pool)
{
    const model_numbers *n = f->m->n;
    size_t d = n->n_factors;
    double mean = n->n_users ? (double)n->n_pairs / n->n_users : 0;
    inverse_job job = {.k = f->k, .d = d, .u = a, .out = inverse};

    memcpy(a, f->m->gram, d * d * sizeof *a);
    for (size_t i = 0; i < d; i++)
        a[i * d + i] += i < n->true_factors ? ridge(f->m, mean) : 1;
    if (!dense_cholesky(f->k, a, d))
        return false;
    ranges_run(pool, 0, (uint32_t)d, INVERSE_ROWS, inverse_work, &job);
    pack(inverse, d, f->inverse);
    pack(f->m->gram, d, f->gram);
    return true;
}

/* The inverse costs about as much as folding in a person for each factor. */
bool folding_open(folding *f, const model *m, size_t n, thread_pool *pool)
{
    size_t d = m->n->n_factors;

    *f = (folding){.m = m, .k = dense_best()};
    if (d == 0 || n < d)
        return true;
    float *scratch = aigc_realloc_array(NULL, 2 * d * d, sizeof *scratch);
    f->gram = aigc_realloc_array(NULL, 2 * d * d, sizeof *f->gram);
    if (scratch == NULL || f->gram == NULL) {
        free(scratch);
        folding_close(f);
        return false;
    }
    f->inverse = f->gram + d * d;
    if (!invert(f, scratch, scratch + d * d, pool))
        folding_close(f);
    free(scratch);
    return true;
}

void folding_close(folding *f)
{
    free(f->gram);
    f->gram = f->inverse = NULL;
}

/* ---- people -------------------------------------------------------------------------------------------------- */

bool folding_group_open(folding_group *g, const folding *f)
{
    size_t block = FOLDING_ROWS * (size_t)f->m->n->n_factors, most = (size_t)FOLDING_ROWS * HISTORY_MOST;

    *g = (folding_group){.x = aigc_calloc(5 * block, sizeof *g->x)};
    g->item = aigc_realloc_array(NULL, most, sizeof *g->item);
    g->weight = aigc_realloc_array(NULL, 2 * most, sizeof *g->weight);
    if (g->x == NULL || g->item == NULL || g->weight == NULL)
        return false;
    g->wanted = g->weight + most;
    g->r = g->x + block;
    g->z = g->r + block;
    g->p = g->z + block;
    g->ap = g->p + block;
    return true;
}

void folding_group_close(folding_group *g)
{
    free(g->x);
    free(g->item);
    free(g->weight);
    *g = (folding_group){0};
}

void folding_clear(folding_group *g)
{
    g->n = 0;
}

int folding_add(folding_group *g, const past *history, size_t n)
{
    size_t at = g->start[g->n];

    for (size_t i = 0; i < n; i++, at++) {
        g->item[at] = history[i].item;
        g->weight[at] = history[i].weight;
        g->wanted[at] = history[i].liked ? history[i].weight : 0;
    }
    g->start[g->n + 1] = at;
    return g->n++;
}

/* z = M r of everybody, M being the inverse. */
static void precondition(const folding_group *g, const folding *f)
{
    dense_multiply(f->k, g->r, (size_t)g->n, f->inverse, f->m->n->n_factors, g->z);
}

/* From x = 0: r = b, the sum of w v over what they like. */
static void begin(folding_group *g, const folding *f)
{
    size_t d = f->m->n->n_factors, block = (size_t)g->n * d;

    memset(g->x, 0, block * sizeof *g->x);
    memset(g->r, 0, block * sizeof *g->r);
    for (int i = 0; i < g->n; i++) {
        float *r = g->r + (size_t)i * d;
        size_t from = g->start[i], n = g->start[i + 1] - from;
        f->k->apply(f->m->factors, g->item + from, g->wanted + from, n, d, -1, g->x, r);
        double rr = f->k->dot(r, r, d);
        g->least[i] = LEFT * LEFT * rr;
        g->done[i] = rr == 0;
    }
    precondition(g, f);
    memcpy(g->p, g->z, block * sizeof *g->p);
    for (int i = 0; i < g->n; i++)
        g->rz[i] = f->k->dot(g->r + (size_t)i * d, g->z + (size_t)i * d, d);
}

/* ap holds alpha0 V'V p. */
static void step(folding_group *g, const folding *f, int i)
{
    const dense_kernels *k = f->k;
    size_t d = f->m->n->n_factors, at = (size_t)i * d, from = g->start[i], n = g->start[i + 1] - from;
    float *p = g->p + at, *ap = g->ap + at, *r = g->r + at;

    k->axpy(ridge(f->m, (double)n), p, ap, d);
    k->apply(f->m->factors, g->item + from, g->weight + from, n, d, 0, p, ap);
    float alpha = (float)(g->rz[i] / k->dot(p, ap, d));
    k->axpy(alpha, p, g->x + at, d);
    k->axpy(-alpha, ap, r, d);
    g->done[i] = k->dot(r, r, d) <= g->least[i];
}

/* The next direction. */
static void turn(folding_group *g, const folding *f, int i)
{
    size_t d = f->m->n->n_factors, at = (size_t)i * d;
    double rz = f->k->dot(g->r + at, g->z + at, d);

    f->k->scale((float)(rz / g->rz[i]), g->p + at, d);
    f->k->axpy(1, g->z + at, g->p + at, d);
    g->rz[i] = rz;
}

void folding_solve(folding_group *g, const folding *f)
{
    bool all = false;

    memset(g->done, 0, sizeof g->done);
    if (f->gram == NULL)
        return;
    begin(g, f);
    for (int n = 0; n < STEPS_MOST && !all; n++) {
        dense_multiply(f->k, g->p, (size_t)g->n, f->gram, f->m->n->n_factors, g->ap);
        all = true;
        for (int i = 0; i < g->n; i++) {
            if (!g->done[i])
                step(g, f, i);
            all &= g->done[i];
        }
        if (all)
            break;
        precondition(g, f);
        for (int i = 0; i < g->n; i++)
            if (!g->done[i])
                turn(g, f, i);
    }
}
