/* factors.c: see factors.h. */
#include "recommend/factors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

enum {
    GRAM_PARTS = 32,          /* partial sums of V'V, added in their order: the same for any number of threads */
    CHUNKS_MOST = 8192,       /* of a step */
    CHUNK_BYTES = 512 << 10,  /* that the rows which a chunk gathers may have, about: a core's own cache */
    GRADIENT_STEPS = 3,       /* of conjugate gradient */
    EXACT_ROWS = 8,           /* that a thread takes */
    GRADIENT_ROWS = 24,       /* that go through it together, so that the dense part is a product of matrices */
    STEP_OPERATIONS = 1 << 30 /* about what one step computes, on one thread */
};

static const double FIRST_DEVIATION = 0.1;

/* Deviation / sqrt(d) so that first scores do not depend on d. */
static void randomise(factors *f)
{
    float scale = (float)(FIRST_DEVIATION / sqrt(f->o.n_factors));
    random_state r;

    random_seed(&r, f->o.seed, 1);
    for (uint32_t i = 0; i < f->by_item->n_rows; i++)
        for (int j = 0; j < f->o.n_factors; j++)
            f->items[i * f->d + j] = scale * (float)random_normal(&r);
}

/* What one thread needs: a matrix, or the vectors of a block of rows; and a panel of gathered rows. */
static size_t thread_scratch(size_t d)
{
    size_t exact = d * d + d + dense_gram_scratch(d), gradient = 4 * GRADIENT_ROWS * d;

    return dense_pad(exact > gradient ? exact : gradient);
}

static bool is_exact(const factors *f)
{
    return f->o.solver == AIGC_SOLVER_EXACT || (f->o.solver == AIGC_SOLVER_AUTO && f->d <= 16);
}

static size_t half_bytes(const factors *f)
{
    uint32_t users = f->by_user->n_rows, items = f->by_item->n_rows;

    return is_exact(f) ? 0 : (users > items ? users : items) * f->d * sizeof *f->half;
}

bool factors_create(factors *f, const factor_options *o, const pairs *by_user, const pairs *by_item, thread_pool *pool)
{
    *f = (factors){.o = *o, .d = dense_pad((size_t)o->n_factors), .by_user = by_user, .by_item = by_item, .pool = pool};
    f->k = dense_best();
    f->scratch_floats = thread_scratch(f->d);
    size_t users = by_user->n_rows * f->d, items = by_item->n_rows * f->d, square = f->d * f->d;
    size_t scratch = f->scratch_floats * (size_t)thread_pool_size(pool);
    f->users = aigc_large_pages_alloc(users * sizeof(float));
    f->items = aigc_large_pages_alloc(items * sizeof(float));
    f->gram = aigc_pages_alloc(square * sizeof(float));
    f->partial = aigc_pages_alloc(GRAM_PARTS * square * sizeof(float));
    f->scratch = aigc_pages_alloc(scratch * sizeof(float));
    f->half = is_exact(f) ? NULL : aigc_large_pages_alloc(half_bytes(f));
    f->chunks = aigc_calloc(CHUNKS_MOST + 1, sizeof *f->chunks);
    f->bytes = half_bytes(f) + (users + items + (GRAM_PARTS + 1) * square + scratch) * sizeof(float);
    if (f->users && f->items && f->gram && f->partial && f->scratch && f->chunks && (f->half || is_exact(f))) {
        randomise(f);
        return true;
    }
    factors_free(f);
    return false;
}

void factors_free(factors *f)
{
    size_t square = f->d * f->d * sizeof(float);

    if (f->k == NULL)
        return;
    aigc_pages_free(f->users, f->by_user->n_rows * f->d * sizeof(float));
    aigc_pages_free(f->items, f->by_item->n_rows * f->d * sizeof(float));
    aigc_pages_free(f->half, half_bytes(f));
    free(f->chunks);
    aigc_pages_free(f->gram, square);
    aigc_pages_free(f->partial, GRAM_PARTS * square);
    aigc_pages_free(f->scratch, f->scratch_floats * (size_t)thread_pool_size(f->pool) * sizeof(float));
    *f = (factors){0};
}

/* ---- V'V ----------------------------------------------------------------------------------------------------- */

typedef struct gram_job {
    factors *f;
    const float *rows;
    uint32_t n;
    bool begun;
} gram_job;

static int gram_next(void *context)
{
    gram_job *job = context;

    if (job->begun)
        return 0;
    job->begun = true;
    return GRAM_PARTS;
}

static void gram_work(void *context, int chunk, int thread)
{
    gram_job *job = context;
    factors *f = job->f;
    size_t begin = (size_t)job->n * (size_t)chunk / GRAM_PARTS, end = (size_t)job->n * (size_t)(chunk + 1) / GRAM_PARTS;
    float *part = f->partial + (size_t)chunk * f->d * f->d;

    if (f->half)
        f->k->to_half(job->rows + begin * f->d, (end - begin) * f->d, f->half + begin * f->d);
    memset(part, 0, f->d * f->d * sizeof *part);
    dense_gram(f->k, job->rows + begin * f->d, NULL, NULL, end - begin, f->d, part,
               f->scratch + (size_t)thread * f->scratch_floats);
}

/* alpha0 V'V into f->gram, both triangles. */
static void compute_gram(factors *f, const float *rows, uint32_t n)
{
    gram_job job = {.f = f, .rows = rows, .n = n};
    size_t d = f->d;

    thread_pool_run(f->pool, &(thread_program){gram_next, gram_work, &job});
    for (int part = 1; part < GRAM_PARTS; part++)
        f->k->axpy(1, f->partial + (size_t)part * d * d, f->partial, d * d);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++)
            f->gram[i * d + j] = (float)f->o.unobserved * f->partial[i <= j ? i * d + j : j * d + i];
}

void factors_item_gram(factors *f, float *out)
{
    compute_gram(f, f->items, f->by_item->n_rows);
    memcpy(out, f->gram, f->d * f->d * sizeof *out);
    f->gram_ready = false;
}

/* ---- one side ------------------------------------------------------------------------------------------------ */

typedef struct side_job {
    factors *f;
    const pairs *p;
    const float *fixed;
    float *solved;
    uint32_t begin, end, rows_per_chunk;
    int n_chunks;
    bool exact, begun;
} side_job;

static float ridge(const side_job *job, uint64_t n)
{
    const factor_options *o = &job->f->o;

    return (float)(o->regularization * ((double)n + o->unobserved * job->p->n_columns));
}

static void solve_exact(const side_job *job, uint32_t row, float *scratch)
{
    factors *f = job->f;
    const dense_kernels *k = f->k;
    size_t d = f->d;
    uint64_t from = job->p->start[row], n = job->p->start[row + 1] - from;
    const uint32_t *index = job->p->item + from;
    const float *weight = job->p->weight + from;
    float *a = scratch, *x = scratch + d * d, *panel = x + d;

    memset(x, 0, d * sizeof *x);
    if (n) {
        memcpy(a, f->gram, d * d * sizeof *a);
        dense_gram(k, job->fixed, index, weight, n, d, a, panel);
        float lambda = ridge(job, n);
        for (size_t i = 0; i < d; i++)
            a[i * d + i] += lambda;
        for (uint64_t i = 0; i < n; i++)
            k->axpy(weight[i], job->fixed + index[i] * d, x, d);
        if (dense_cholesky(k, a, d))
            dense_solve(k, a, d, x);
        else
            memset(x, 0, d * sizeof *x);
    }
    memcpy(job->solved + row * d, x, d * sizeof *x);
}

/* The conjugate gradient's vectors of a block of rows, [GRADIENT_ROWS][d] each. */
typedef struct gradient {
    float *x, *r, *p, *ap;
    float rr[GRADIENT_ROWS];
} gradient;

/* ap += w (v . p) v over the row's pairs, + ridge p. The dense part is there already. */
static void apply_row(const side_job *job, uint32_t row, const float *p, float *ap)
{
    const factors *f = job->f;
    uint64_t from = job->p->start[row], n = job->p->start[row + 1] - from;

    f->k->scale(-1, ap, f->d);
    f->k->residual(f->half, job->p->item + from, job->p->weight + from, n, f->d, 0, p, ap);
    f->k->scale(-1, ap, f->d);
    f->k->axpy(ridge(job, n), p, ap, f->d);
}

static void gradient_step(const side_job *job, gradient *g, uint32_t row, int i)
{
    const factors *f = job->f;
    size_t d = f->d;
    float *x = g->x + i * d, *r = g->r + i * d, *p = g->p + i * d, *ap = g->ap + i * d;

    if (!(g->rr[i] > 1e-20f))
        return;
    apply_row(job, row, p, ap);
    float alpha = g->rr[i] / f->k->dot(p, ap, d);
    if (!isfinite(alpha))
        return;
    f->k->axpy(alpha, p, x, d);
    f->k->axpy(-alpha, ap, r, d);
    float rr = f->k->dot(r, r, d);
    f->k->scale(rr / g->rr[i], p, d);
    f->k->axpy(1, r, p, d);
    g->rr[i] = rr;
}

static void solve_gradient(const side_job *job, uint32_t begin, uint32_t end, float *scratch)
{
    factors *f = job->f;
    size_t d = f->d, block = GRADIENT_ROWS * d;
    int m = (int)(end - begin);
    gradient g = {.x = job->solved + begin * d, .r = scratch, .p = scratch + block, .ap = scratch + 2 * block};

    memset(g.r, 0, block * sizeof *g.r);
    f->k->gemm(m, (int)d, (int)d, g.x, d, 1, f->gram, d, g.r, d, -1);
    for (int i = 0; i < m; i++) {
        uint64_t from = job->p->start[begin + i], n = job->p->start[begin + i + 1] - from;
        float *x = g.x + i * d, *r = g.r + i * d;
        if (n == 0)
            memset(x, 0, d * sizeof *x), memset(r, 0, d * sizeof *r);
        f->k->residual(f->half, job->p->item + from, job->p->weight + from, n, d, 1, x, r);
        f->k->axpy(-ridge(job, n), x, r, d);
        memcpy(g.p + i * d, r, d * sizeof *r);
        g.rr[i] = f->k->dot(r, r, d);
    }
    for (int step = 0; step < GRADIENT_STEPS; step++) {
        memset(g.ap, 0, block * sizeof *g.ap);
        f->k->gemm(m, (int)d, (int)d, g.p, d, 1, f->gram, d, g.ap, d, 1);
        for (int i = 0; i < m; i++)
            gradient_step(job, &g, begin + i, i);
    }
}

static int side_next(void *context)
{
    side_job *job = context;

    if (job->begun)
        return 0;
    job->begun = true;
    return job->n_chunks;
}

static void side_work(void *context, int chunk, int thread)
{
    side_job *job = context;
    float *scratch = job->f->scratch + (size_t)thread * job->f->scratch_floats;
    uint32_t begin = job->f->chunks[chunk], end = job->f->chunks[chunk + 1];

    if (!job->exact)
        solve_gradient(job, begin, end, scratch);
    else
        for (uint32_t row = begin; row < end; row++)
            solve_exact(job, row, scratch);
}

/* Rows that a thread takes together from `begin` on, four at a time, which is what a product takes together: so few
 * that what they gather, again and again, stays in a core's own cache, and that no thread has much more than another.
 */
static uint32_t chunk_end(const side_job *job, uint32_t begin)
{
    const uint64_t *start = job->p->start;
    uint64_t most = CHUNK_BYTES / (job->f->d * sizeof *job->f->half);
    uint32_t left = job->p->n_rows - begin, limit = begin + (left < job->rows_per_chunk ? left : job->rows_per_chunk);
    uint32_t end = begin;

    do
        end = limit - end < 4 ? limit : end + 4;
    while (end < limit && start[limit - end < 4 ? limit : end + 4] - start[begin] <= most);
    return end;
}

/* The chunks of one step: enough rows for STEP_OPERATIONS a thread. */
static void cut_chunks(side_job *job)
{
    double budget = (double)STEP_OPERATIONS * thread_pool_size(job->f->pool), d = (double)job->f->d;
    double per_pair = job->exact ? d * d : 40 * d, per_row = job->exact ? d * d * d / 2 : 8 * d * d;
    uint32_t *chunks = job->f->chunks;

    job->n_chunks = 0;
    for (chunks[0] = job->end = job->begin; job->end < job->p->n_rows && budget > 0 && job->n_chunks < CHUNKS_MOST;) {
        uint32_t next = chunk_end(job, job->end);
        budget -= (double)(job->p->start[next] - job->p->start[job->end]) * per_pair;
        budget -= (double)(next - job->end) * per_row;
        chunks[++job->n_chunks] = job->end = next;
    }
}

bool factors_step(factors *f)
{
    side_job job = {.f = f, .begin = f->next};

    job.p = f->items_turn ? f->by_item : f->by_user;
    job.fixed = f->items_turn ? f->users : f->items;
    job.solved = f->items_turn ? f->items : f->users;
    job.exact = is_exact(f);
    job.rows_per_chunk = job.exact ? EXACT_ROWS : GRADIENT_ROWS;
    if (!f->gram_ready) {
        compute_gram(f, job.fixed, f->items_turn ? f->by_user->n_rows : f->by_item->n_rows);
        f->gram_ready = true;
    }
    cut_chunks(&job);
    if (job.n_chunks)
        thread_pool_run(f->pool, &(thread_program){side_next, side_work, &job});
    f->next = job.end;
    if (f->next < job.p->n_rows)
        return false;
    f->next = 0;
    f->gram_ready = false;
    f->items_turn = !f->items_turn;
    f->n_done += !f->items_turn;
    return !f->items_turn;
}

void factors_fold_in(factors *f, const pairs *rows, uint32_t begin, uint32_t end, float *out)
{
    side_job job = {.f = f, .p = rows, .fixed = f->items, .solved = out, .exact = true};

    if (begin == 0)
        compute_gram(f, f->items, f->by_item->n_rows);
    f->gram_ready = false;
    while (begin < end) {
        for (job.n_chunks = 0, f->chunks[0] = begin; begin < end && job.n_chunks < CHUNKS_MOST;)
            f->chunks[++job.n_chunks] = begin = end - begin < EXACT_ROWS ? end : begin + EXACT_ROWS;
        job.begun = false;
        thread_pool_run(f->pool, &(thread_program){side_next, side_work, &job});
    }
}

uint64_t factors_progress(const factors *f)
{
    return (f->items_turn ? f->by_user->n_rows : 0) + (uint64_t)f->next;
}
