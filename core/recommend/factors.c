/* factors.c: see factors.h. */
#include "recommend/factors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/ranges.h"

enum {
    GRAM_PARTS = 32,          /* partial sums of V'V, added in their order: the same for any number of threads */
    GRAM_ROWS = 16,           /* of V'V that a thread adds up */
    GRAM_STEP = 8192,         /* rows of each part in one step, at most */
    CHUNKS_MOST = 8192,       /* of a step */
    EXACT_ROWS = 8,           /* that a thread takes */
    STEP_OPERATIONS = 1 << 29 /* about what one step computes, on one thread */
};

static const double FIRST_DEVIATION = 0.1;

/* Some rows of the items as they begin: deviation / sqrt(d), so that first scores do not depend on d. */
static void randomise(factors *f)
{
    random_rows r = {.rows = f->items, .width = f->d, .columns = (size_t)f->o.n_factors, .n = f->by_item->n_rows};

    r.deviation = (float)(FIRST_DEVIATION / sqrt(f->o.n_factors));
    r.seed = f->o.seed;
    r.stream = 1;
    f->n_begun = random_rows_step(&r, f->n_begun, f->pool);
}

/* What one thread needs: a matrix, or the vectors of a block of rows; and a panel of gathered rows. */
static size_t thread_scratch(size_t d)
{
    size_t exact = d * d + d + dense_gram_scratch(d), steps = gradient_scratch(d);

    return dense_pad(exact > steps ? exact : steps);
}

static bool is_exact(const factors *f)
{
    return f->o.solver == AIGC_SOLVER_EXACT || (f->o.solver == AIGC_SOLVER_AUTO && f->d <= 16);
}

static uint32_t most_rows(const factors *f)
{
    return f->by_user->n_rows > f->by_item->n_rows ? f->by_user->n_rows : f->by_item->n_rows;
}

static size_t half_bytes(const factors *f)
{
    return is_exact(f) ? 0 : most_rows(f) * f->d * sizeof *f->half;
}

/* With either side solved. */
static factor_side side_of(const factors *f, bool items)
{
    return (factor_side){.k = f->k,
                         .d = f->d,
                         .p = items ? f->by_item : f->by_user,
                         .fixed = items ? f->users : f->items,
                         .half = f->half,
                         .gram = f->gram,
                         .panels = f->panels,
                         .solved = items ? f->items : f->users,
                         .regularization = f->o.regularization,
                         .unobserved = f->o.unobserved};
}

static uint32_t n_long(const factors *f, const factor_side *s)
{
    uint32_t n = 0;

    for (uint32_t row = 0; row < s->p->n_rows && !is_exact(f); row++)
        n += gradient_is_long(s, row);
    return n;
}

static bool open_gradient(factors *f)
{
    factor_side users = side_of(f, false), items = side_of(f, true);
    uint32_t m = n_long(f, &users), n = n_long(f, &items);

    f->half = is_exact(f) ? NULL : aigc_large_pages_alloc(half_bytes(f));
    f->panels = is_exact(f) ? NULL : aigc_pages_alloc(f->d * f->d * sizeof *f->panels);
    return gradient_open(&f->long_rows, f->d, m > n ? m : n) && (is_exact(f) || (f->half && f->panels));
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
    f->order = aigc_calloc(most_rows(f), sizeof *f->order);
    f->chunks = aigc_calloc(CHUNKS_MOST + 1, sizeof *f->chunks);
    bool ok = open_gradient(f) && f->users && f->items && f->gram && f->partial && f->scratch && f->order && f->chunks;
    f->bytes = half_bytes(f) + gradient_bytes(&f->long_rows, f->d) + most_rows(f) * sizeof *f->order +
               (users + items + (GRAM_PARTS + 1) * square + scratch) * sizeof(float);
    if (ok)
        randomise(f);
    else
        factors_free(f);
    return ok;
}

void factors_free(factors *f)
{
    size_t square = f->d * f->d * sizeof(float);

    if (f->k == NULL)
        return;
    aigc_pages_free(f->users, f->by_user->n_rows * f->d * sizeof(float));
    aigc_pages_free(f->items, f->by_item->n_rows * f->d * sizeof(float));
    aigc_pages_free(f->half, half_bytes(f));
    gradient_close(&f->long_rows, f->d);
    free(f->order);
    free(f->chunks);
    aigc_pages_free(f->gram, square);
    aigc_pages_free(f->panels, f->panels ? square : 0);
    aigc_pages_free(f->partial, GRAM_PARTS * square);
    aigc_pages_free(f->scratch, f->scratch_floats * (size_t)thread_pool_size(f->pool) * sizeof(float));
    *f = (factors){0};
}

/* ---- V'V ----------------------------------------------------------------------------------------------------- */

/* Rows [from, to) of each part, and at last the sum of the parts, and copies of it. */
typedef struct gram_job {
    factors *f;
    const float *rows;
    uint32_t n;
    size_t from, to;
    bool added, summed, copied;
} gram_job;

static size_t part_begin(const gram_job *job, int part)
{
    return (size_t)job->n * (size_t)part / GRAM_PARTS;
}

static int gram_next(void *context)
{
    gram_job *job = context;

    if (!job->added) {
        job->added = true;
        return GRAM_PARTS;
    }
    if (job->to < job->n / GRAM_PARTS + 1 || job->copied)
        return 0;
    if (!job->summed) {
        job->summed = true;
        return (int)(job->f->d / GRAM_ROWS);
    }
    job->copied = true;
    return job->f->panels ? (int)((job->f->d + DENSE_COLUMNS - 1) / DENSE_COLUMNS) : 0;
}

static void add_rows(const gram_job *job, int part, float *scratch)
{
    factors *f = job->f;
    size_t d = f->d, begin = part_begin(job, part), n = part_begin(job, part + 1) - begin;
    size_t from = job->from < n ? job->from : n, to = job->to < n ? job->to : n;
    float *sum = f->partial + (size_t)part * d * d;

    if (f->half)
        f->k->to_half(job->rows + (begin + from) * d, (to - from) * d, f->half + (begin + from) * d);
    if (from == 0)
        memset(sum, 0, d * d * sizeof *sum);
    dense_gram(f->k, job->rows + (begin + from) * d, NULL, NULL, to - from, d, sum, scratch);
}

/* Some rows of the sum, times alpha0, and what mirrors them. */
static void add_parts(const gram_job *job, size_t row)
{
    factors *f = job->f;
    size_t d = f->d, n = GRAM_ROWS * d;
    float *sum = f->partial + row * d;

    for (size_t part = 1; part < GRAM_PARTS; part++)
        f->k->axpy(1, sum + part * d * d, sum, n);
    for (size_t i = row; i < row + GRAM_ROWS; i++)
        for (size_t j = i; j < d; j++)
            f->gram[i * d + j] = f->gram[j * d + i] = (float)f->o.unobserved * f->partial[i * d + j];
}

static void gram_work(void *context, int chunk, int thread)
{
    gram_job *job = context;

    if (job->copied)
        dense_pack(job->f->gram, job->f->d, (size_t)chunk * DENSE_COLUMNS, job->f->panels);
    else if (job->summed)
        add_parts(job, (size_t)chunk * GRAM_ROWS);
    else
        add_rows(job, chunk, job->f->scratch + (size_t)thread * job->f->scratch_floats);
}

/* A bounded piece of alpha0 V'V into f->gram, both triangles. True when it is there. */
static bool gram_step(factors *f, const float *rows, uint32_t n)
{
    double budget = (double)STEP_OPERATIONS * thread_pool_size(f->pool);
    size_t most = (size_t)(budget / (GRAM_PARTS * (double)f->d * (double)f->d)) + DENSE_PANEL;
    most = most < GRAM_STEP ? most : GRAM_STEP;
    gram_job job = {.f = f, .rows = rows, .n = n, .from = f->gram_rows, .to = f->gram_rows + most};

    thread_pool_run(f->pool, &(thread_program){gram_next, gram_work, &job});
    f->gram_rows = job.summed ? 0 : job.to;
    return job.summed;
}

bool factors_item_gram(factors *f, float *out)
{
    f->gram_ready = false;
    if (!gram_step(f, f->items, f->by_item->n_rows))
        return false;
    if (out)
        memcpy(out, f->gram, f->d * f->d * sizeof *out);
    return true;
}

/* ---- one side ------------------------------------------------------------------------------------------------ */

typedef struct side_job {
    factors *f;
    factor_side s;
    const uint32_t *order; /* NULL: rows as they are */
    uint32_t end, rows_per_chunk;
    int n_chunks;
    bool exact, begun;
} side_job;

static void solve_exact(const factor_side *s, uint32_t row, float *scratch)
{
    const dense_kernels *k = s->k;
    size_t d = s->d;
    uint64_t from = s->p->start[row], n = side_pairs(s, row);
    const uint32_t *index = s->p->item + from;
    const float *weight = s->p->weight + from;
    float *a = scratch, *x = scratch + d * d, *panel = x + d;

    memset(x, 0, d * sizeof *x);
    if (n) {
        memcpy(a, s->gram, d * d * sizeof *a);
        dense_gram(k, s->fixed, index, weight, n, d, a, panel);
        float lambda = side_ridge(s, n);
        for (size_t i = 0; i < d; i++)
            a[i * d + i] += lambda;
        for (uint64_t i = 0; i < n; i++)
            k->axpy(weight[i], s->fixed + index[i] * d, x, d);
        if (dense_cholesky(k, a, d))
            dense_solve(k, a, d, x);
        else
            memset(x, 0, d * sizeof *x);
    }
    memcpy(s->solved + row * d, x, d * sizeof *x);
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
    factors *f = job->f;
    float *scratch = f->scratch + (size_t)thread * f->scratch_floats;
    uint32_t begin = f->chunks[chunk], end = f->chunks[chunk + 1];

    if (!job->exact)
        gradient_short(&job->s, job->order + begin, end - begin, scratch);
    else
        for (uint32_t i = begin; i < end; i++)
            solve_exact(&job->s, job->order ? job->order[i] : i, scratch);
}

/* Rows that a thread takes together from place `begin` on, four at a time, which is what a product takes together: so
 * few that no thread has much more than another, and that what they gather, again and again, stays in a core's own
 * cache. */
static uint32_t chunk_end(const side_job *job, uint32_t begin)
{
    const factors *f = job->f;
    uint64_t room = GRADIENT_OWN / (f->d * sizeof *f->half), n = 0;
    uint32_t left = f->n_short - begin, limit = begin + (left < job->rows_per_chunk ? left : job->rows_per_chunk);
    uint32_t end = begin;

    while (end < limit) {
        uint32_t next = limit - end < 4 ? limit : end + 4;
        for (uint32_t i = end; i < next; i++)
            n += side_pairs(&job->s, f->order[i]);
        if (n > room && end > begin)
            break;
        end = next;
    }
    return end;
}

/* The chunks of one step: enough rows for STEP_OPERATIONS a thread. */
static void cut_chunks(side_job *job)
{
    factors *f = job->f;
    double budget = (double)STEP_OPERATIONS * thread_pool_size(f->pool), d = (double)f->d;
    double per_pair = job->exact ? d * d : 40 * d, per_row = job->exact ? d * d * d / 2 : 8 * d * d;

    job->n_chunks = 0;
    for (f->chunks[0] = job->end = f->next; job->end < f->n_short && budget > 0 && job->n_chunks < CHUNKS_MOST;) {
        uint32_t next = chunk_end(job, job->end);
        for (uint32_t i = job->end; i < next; i++)
            budget -= (double)side_pairs(&job->s, f->order[i]) * per_pair + per_row;
        f->chunks[++job->n_chunks] = job->end = next;
    }
}

/* Which rows stand where in the order. */
static void order_rows(factors *f, const factor_side *s)
{
    uint32_t n = s->p->n_rows, last = n;

    f->n_short = 0;
    for (uint32_t row = 0; row < n; row++)
        if (is_exact(f) || !gradient_is_long(s, row))
            f->order[f->n_short++] = row;
    for (uint32_t row = n; row-- > 0 && last > f->n_short;)
        if (gradient_is_long(s, row))
            f->order[--last] = row;
}

static void short_step(factors *f, const factor_side *s)
{
    side_job job = {.f = f, .s = *s, .order = f->order, .exact = is_exact(f)};

    job.rows_per_chunk = job.exact ? EXACT_ROWS : GRADIENT_ROWS;
    cut_chunks(&job);
    thread_pool_run(f->pool, &(thread_program){side_next, side_work, &job});
    f->next = job.end;
}

static void long_step(factors *f, const factor_side *s)
{
    double budget = (double)STEP_OPERATIONS * thread_pool_size(f->pool);

    if (!f->taken)
        gradient_take(&f->long_rows, f->order + f->next, s->p->n_rows - f->next);
    f->taken = !gradient_step(&f->long_rows, s, f->pool, budget);
    if (!f->taken)
        f->next += f->long_rows.n;
}

bool factors_step(factors *f)
{
    factor_side s = side_of(f, f->items_turn);

    if (f->n_begun < f->by_item->n_rows) {
        randomise(f);
        return false;
    }
    if (!f->gram_ready) {
        if (f->gram_rows == 0)
            order_rows(f, &s);
        f->gram_ready = gram_step(f, s.fixed, s.p->n_columns);
        return false;
    }
    if (f->next < f->n_short)
        short_step(f, &s);
    else if (f->next < s.p->n_rows)
        long_step(f, &s);
    if (f->next < s.p->n_rows)
        return false;
    f->next = 0;
    f->gram_ready = false;
    f->items_turn = !f->items_turn;
    f->n_done += !f->items_turn;
    return !f->items_turn;
}

void factors_fold_in(factors *f, const pairs *rows, uint32_t begin, uint32_t end, float *out)
{
    side_job job = {.f = f, .s = side_of(f, false), .exact = true};

    job.s.p = rows;
    job.s.solved = out;
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
