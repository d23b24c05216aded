/* muon.c: see muon.h. */
#include "learn/muon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ITERATIONS = 5, POLYNOMIAL_CHUNK = 1 << 14 };

/* Jordan et al.: coefficients of the iteration, momentum, and what keeps the norm from being 0. */
static const float A = 3.4445f, B = -4.7750f, C = 2.0315f, MOMENTUM = 0.95f, TINY = 1e-7f;
static const double RMS = 0.2; /* of AdamW's updates, about (Liu et al.) */

typedef struct muon_matrix {
    size_t offset; /* as in gradients and moments */
    int rows, k;
    int first_slice, n_slices;
    float scale; /* 0.2 sqrt(max(rows, k)) */
} muon_matrix;

struct muon {
    muon_matrix *items;
    int n;
    bool *has;     /* [n_tensors] */
    slice *slices; /* of all matrices */
    double *squares;
    int n_slices;
    float *gram, *polynomial; /* [side][side], side the smaller of rows and k */
    size_t side_bytes;
    float rate, keep, gradient_scale;
};

/* ---- matrices ---- */

static bool is_trained(const learn_layout *layout, int tensor)
{
    return tensor != NO_TENSOR && layout->tensors[tensor].offset >= layout->first_trained;
}

static void add_matrix(muon *m, const learn_layout *layout, int tensor, size_t first_row, size_t rows)
{
    const learn_tensor *t = &layout->tensors[tensor];
    size_t offset = t->offset - layout->first_trained + first_row * t->k, n = rows * t->k;
    muon_matrix *added = &m->items[m->n++];
    *added = (muon_matrix){.offset = offset, .rows = (int)rows, .k = (int)t->k, .first_slice = m->n_slices};
    added->scale = (float)(RMS * sqrt((double)(rows > t->k ? rows : t->k)));
    for (size_t at = 0; at < n; at += SLICE)
        m->slices[m->n_slices++] = (slice){.offset = offset + at, .n = n - at < SLICE ? n - at : SLICE};
    added->n_slices = m->n_slices - added->first_slice;
    m->has[tensor] = true;
}

static void add_layer(muon *m, const learn_layout *layout, const layer_tensors *t)
{
    const size_t *dims = layout->hp.dims;
    for (int role = 0; role < LAYER_MATRICES; role++) {
        int tensor = t->weight[role];
        if (!is_trained(layout, tensor))
            continue;
        if (role != ATTN_QKV) {
            add_matrix(m, layout, tensor, 0, layout->tensors[tensor].rows);
            continue;
        }
        add_matrix(m, layout, tensor, 0, dims[DIM_Q]);
        add_matrix(m, layout, tensor, dims[DIM_Q], dims[DIM_KV]);
        add_matrix(m, layout, tensor, dims[DIM_Q] + dims[DIM_KV], dims[DIM_KV]);
    }
}

static aigc_status take_scratch(muon *m, aigc_error *err)
{
    size_t side = 0;
    for (int i = 0; i < m->n; i++) {
        size_t smaller = (size_t)(m->items[i].rows < m->items[i].k ? m->items[i].rows : m->items[i].k);
        side = smaller > side ? smaller : side;
    }
    m->side_bytes = side * side * sizeof(float);
    if (m->n == 0)
        return AIGC_OK;
    m->gram = aigc_pages_alloc(m->side_bytes);
    m->polynomial = aigc_pages_alloc(m->side_bytes);
    return m->gram != NULL && m->polynomial != NULL ? AIGC_OK : aigc_fail_memory(err, "Muon", 2 * m->side_bytes);
}

aigc_status muon_create(const learner *l, muon **out, aigc_error *err)
{
    const learn_layout *layout = &l->layout;
    size_t n_layers = layout->hp.n_layers, most = n_layers * (LAYER_MATRICES + 2); /* q, k and v may be one tensor */
    size_t most_slices = layout->n_floats / SLICE + most;
    muon *m = aigc_calloc(1, sizeof *m);
    if (m == NULL)
        return aigc_fail_memory(err, "Muon", sizeof *m);
    m->items = aigc_calloc(most, sizeof *m->items);
    m->has = aigc_calloc((size_t)layout->n_tensors, sizeof *m->has);
    m->slices = aigc_calloc(most_slices, sizeof *m->slices);
    m->squares = aigc_calloc(most_slices, sizeof *m->squares);
    aigc_status status = AIGC_OK;
    if (m->items == NULL || m->has == NULL || m->slices == NULL || m->squares == NULL)
        status = aigc_fail_memory(err, "Muon's slices", most_slices * sizeof *m->slices);
    for (size_t i = 0; status == AIGC_OK && i < n_layers; i++)
        add_layer(m, layout, &layout->layers[i]);
    if (status == AIGC_OK)
        status = take_scratch(m, err);
    if (status != AIGC_OK) {
        muon_free(m);
        return status;
    }
    *out = m;
    return AIGC_OK;
}

void muon_free(muon *m)
{
    if (m == NULL)
        return;
    free(m->items);
    free(m->has);
    free(m->slices);
    free(m->squares);
    aigc_pages_free(m->gram, m->side_bytes);
    aigc_pages_free(m->polynomial, m->side_bytes);
    free(m);
}

size_t muon_bytes(const muon *m)
{
    return 2 * m->side_bytes;
}

bool muon_has(const muon *m, int tensor)
{
    return m->has[tensor];
}

void muon_set_step(muon *m, double rate, float keep, float gradient_scale)
{
    m->rate = (float)rate;
    m->keep = keep;
    m->gradient_scale = gradient_scale;
}

/* ---- what phases do; p->layer is the number of the matrix, a chunk one of its slices ---- */

static slice *slice_of(const learner *l, const phase *p, int chunk)
{
    return &l->muon->slices[l->muon->items[p->layer].first_slice + chunk];
}

FOR_EACH_LEVEL static void mean_and_update(const float *g, float scale, float *mean, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float gradient = (1.0f - MOMENTUM) * (g[i] * scale);
        mean[i] = MOMENTUM * mean[i] + gradient;
        x[i] = gradient + MOMENTUM * mean[i];
    }
}

/* The running mean takes the gradient in; x is what Nesterov's momentum makes of both. */
static void muon_momentum(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    const slice *s = slice_of(l, p, chunk);
    float *x = l->moments[1] + s->offset;
    mean_and_update(l->gradients + s->offset, l->muon->gradient_scale, l->moments[0] + s->offset, x, s->n);
    l->muon->squares[s - l->muon->slices] = math_square_sum(x, s->n);
}

/* x is divided by its Frobenius norm, which bounds its singular values by 1. */
static void muon_normalise(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    const muon_matrix *whole = &l->muon->items[p->layer];
    const slice *s = slice_of(l, p, chunk);
    double squares = 0;
    for (int i = 0; i < whole->n_slices; i++)
        squares += l->muon->squares[whole->first_slice + i];
    l->kernels->scale(l->moments[1] + s->offset, 1.0f / ((float)sqrt(squares) + TINY), s->n);
}

FOR_EACH_LEVEL static void combine(const float *gram, float *polynomial, size_t n)
{
    for (size_t i = 0; i < n; i++)
        polynomial[i] = B * gram[i] + C * polynomial[i];
}

/* polynomial = a + b gram + c gram gram, which it holds: what x is multiplied by. gemm.n is the side. */
static void muon_polynomial(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t side = (size_t)p->gemm.n, begin = (size_t)chunk * POLYNOMIAL_CHUNK, end = begin + POLYNOMIAL_CHUNK;
    end = end < side * side ? end : side * side;
    combine(l->muon->gram + begin, l->muon->polynomial + begin, end - begin);
    for (size_t i = (begin + side) / (side + 1); i * (side + 1) < end; i++)
        l->muon->polynomial[i * (side + 1)] += A;
}

FOR_EACH_LEVEL static void apply(float *w, const float *x, float keep, float rate, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * keep - rate * x[i];
}

/* The last x stands in place of the gradient. */
static void muon_apply(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    const slice *s = slice_of(l, p, chunk);
    float *x = l->gradients + s->offset;
    apply(l->trained + s->offset, x, l->muon->keep, l->muon->rate * l->muon->items[p->layer].scale, s->n);
    memset(x, 0, s->n * sizeof *x);
    memset(l->moments[1] + s->offset, 0, s->n * sizeof *x);
}

/* ---- plan ---- */

static void add_slices(planner *p, phase_work *work, const muon *m, int i)
{
    add_phase(p, work, m->items[i].n_slices)->layer = i;
}

/* next = (a + b G + c G G) x, or the same from the right; G = x x^T, or x^T x where that is smaller. */
static void add_iteration(planner *p, const muon *m, const muon_matrix *w, const float *x, float *next)
{
    bool tall = w->rows > w->k;
    int side = tall ? w->k : w->rows, k = w->k;
    add_product(p, (product){.transpose_a = tall,
                             .transpose_b = !tall,
                             .m = side,
                             .n = side,
                             .k = tall ? w->rows : k,
                             .a = x,
                             .lda = k,
                             .b = x,
                             .ldb = k,
                             .c = m->gram,
                             .ldc = side});
    add_product(p, (product){.m = side,
                             .n = side,
                             .k = side,
                             .a = m->gram,
                             .lda = side,
                             .b = m->gram,
                             .ldb = side,
                             .c = m->polynomial,
                             .ldc = side});
    add_phase(p, muon_polynomial, chunks_of((size_t)side * (size_t)side, POLYNOMIAL_CHUNK))->gemm.n = side;
    add_product(p, (product){.m = w->rows,
                             .n = k,
                             .k = side,
                             .a = tall ? x : m->polynomial,
                             .lda = tall ? k : side,
                             .b = tall ? m->polynomial : x,
                             .ldb = tall ? side : k,
                             .c = next,
                             .ldc = k});
}

void muon_plan(const muon *m, planner *p)
{
    const learner *l = p->l;
    for (int i = 0; i < m->n; i++) {
        size_t offset = m->items[i].offset;
        float *x[2] = {l->moments[1] + offset, l->gradients + offset}; /* the gradient is not needed any more */
        add_slices(p, muon_momentum, m, i);
        add_slices(p, muon_normalise, m, i);
        for (int j = 0; j < ITERATIONS; j++)
            add_iteration(p, m, &m->items[i], x[j % 2], x[(j + 1) % 2]);
        add_slices(p, muon_apply, m, i);
    }
}
