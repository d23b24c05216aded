/* muon.c: see muon.h. */
#include "learn/muon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ITERATIONS = 5, DONE = ITERATIONS + 2 };

/* Jordan et al.: coefficients of the iteration, momentum, and what keeps the norm from being 0. */
static const float A = 3.4445f, B = -4.7750f, C = 2.0315f, MOMENTUM = 0.95f, TINY = 1e-7f;
static const double RMS = 0.2; /* of AdamW's updates, about (Liu et al.) */

typedef struct muon_matrix {
    size_t offset; /* as in gradients and moments */
    int rows, k;
    int stage; /* of the step at hand: 0: not begun; 1 + iterations that are done; DONE */
} muon_matrix;

struct muon {
    muon_matrix *items; /* those that cost most first: threads then end at about the same time */
    int n;
    bool *has;    /* [n_tensors] */
    size_t side;  /* the longest smaller side of all matrices, rounded up */
    float *grams; /* [thread][2][side][side]: x x^T, and the polynomial of it */
    size_t bytes; /* of grams */
    float rate, keep, gradient_scale;
};

/* ---- matrices ---- */

static int smaller_side(const muon_matrix *w)
{
    return w->rows < w->k ? w->rows : w->k;
}

static int larger_side(const muon_matrix *w)
{
    return w->rows < w->k ? w->k : w->rows;
}

static bool is_trained(const learn_layout *layout, int tensor)
{
    return tensor != NO_TENSOR && layout->tensors[tensor].offset >= layout->first_trained;
}

static void add_matrix(muon *m, const learn_layout *layout, int tensor, size_t first_row, size_t rows)
{
    const learn_tensor *t = &layout->tensors[tensor];
    muon_matrix *added = &m->items[m->n++];
    *added = (muon_matrix){
        .offset = t->offset - layout->first_trained + first_row * t->k, .rows = (int)rows, .k = (int)t->k};
    size_t side = (size_t)smaller_side(added);
    m->side = side > m->side ? (side + 15) / 16 * 16 : m->side;
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

static int by_cost(const void *a, const void *b)
{
    const muon_matrix *x = a, *y = b;
    double cost_x = (double)x->rows * x->k * smaller_side(x), cost_y = (double)y->rows * y->k * smaller_side(y);
    if (cost_x != cost_y)
        return cost_x > cost_y ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static aigc_status find_matrices(muon *m, const learner *l, aigc_error *err)
{
    const learn_layout *layout = &l->layout;
    size_t most = layout->hp.n_layers * (LAYER_MATRICES + 2), area, bytes; /* q, k and v may be one tensor */
    m->items = aigc_calloc(most, sizeof *m->items);
    m->has = aigc_calloc((size_t)layout->n_tensors, sizeof *m->has);
    if (m->items == NULL || m->has == NULL)
        return aigc_fail_memory(err, "Muon's matrices", most * sizeof *m->items);
    for (uint32_t i = 0; i < layout->hp.n_layers; i++)
        add_layer(m, layout, &layout->layers[i]);
    if (m->n == 0)
        return AIGC_OK;
    qsort(m->items, (size_t)m->n, sizeof *m->items, by_cost);
    if (!aigc_mul(m->side, m->side, &area) || !aigc_mul(2 * sizeof(float) * (size_t)l->n_threads, area, &bytes))
        return aigc_fail(err, AIGC_E_LIMIT, "matrices of %zu rows and columns are too large for Muon", m->side);
    m->grams = aigc_pages_alloc(bytes);
    m->bytes = bytes;
    return m->grams != NULL ? AIGC_OK : aigc_fail_memory(err, "Muon", bytes);
}

aigc_status muon_create(const learner *l, muon **out, aigc_error *err)
{
    muon *m = aigc_calloc(1, sizeof *m);
    if (m == NULL)
        return aigc_fail_memory(err, "Muon", sizeof *m);
    aigc_status status = find_matrices(m, l, err);
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
    aigc_pages_free(m->grams, m->bytes);
    free(m);
}

size_t muon_bytes(const muon *m)
{
    return m->bytes;
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
    for (int i = 0; i < m->n; i++)
        m->items[i].stage = 0;
}

/* ---- a step of one matrix ---- */

/* The running mean takes the gradient in; x is what Nesterov's momentum makes of both. */
FOR_EACH_LEVEL static void momentum(const float *g, float scale, float *mean, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float gradient = (1.0f - MOMENTUM) * (g[i] * scale);
        mean[i] = MOMENTUM * mean[i] + gradient;
        x[i] = gradient + MOMENTUM * mean[i];
    }
}

FOR_EACH_LEVEL static void combine(const float *gram, float *polynomial, size_t n)
{
    for (size_t i = 0; i < n; i++)
        polynomial[i] = B * gram[i] + C * polynomial[i];
}

FOR_EACH_LEVEL static void apply(float *w, const float *x, float keep, float rate, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * keep - rate * x[i];
}

/* next = (a + b G + c G G) x, or the same from the right; G = x x^T, or x^T x where that is smaller. False:
 * interrupted, x is as it was. */
static bool iterate(learner *l, const muon_matrix *w, const float *x, float *next, int thread)
{
    bool tall = w->rows > w->k;
    int side = smaller_side(w), k = w->k;
    size_t area = l->muon->side * l->muon->side;
    float *gram = l->muon->grams + 2 * area * (size_t)thread, *polynomial = gram + area;
    product of_x = {.transpose_a = tall, .transpose_b = !tall, .m = side, .n = side, .k = larger_side(w)};
    of_x.a = of_x.b = x;
    of_x.lda = of_x.ldb = k;
    of_x.c = gram;
    of_x.ldc = side;
    if (!whole_product(l, &of_x, thread))
        return false;
    product square = {.m = side, .n = side, .k = side, .a = gram, .b = gram, .c = polynomial};
    square.lda = square.ldb = square.ldc = side;
    if (!whole_product(l, &square, thread))
        return false;
    combine(gram, polynomial, (size_t)side * (size_t)side);
    for (int i = 0; i < side; i++)
        polynomial[(size_t)i * (size_t)side + (size_t)i] += A;
    product last = {.m = w->rows, .n = k, .k = side, .a = polynomial, .lda = side, .b = x, .ldb = k};
    if (tall) {
        last.a = x;
        last.lda = k;
        last.b = polynomial;
        last.ldb = side;
    }
    last.c = next;
    last.ldc = k;
    return whole_product(l, &last, thread);
}

/* A chunk is a matrix. Where it is interrupted it goes on the next time. */
static void muon_step(learner *l, const phase *p, int chunk, int thread)
{
    (void)p;
    const muon *m = l->muon;
    muon_matrix *w = &m->items[chunk];
    size_t n = (size_t)w->rows * (size_t)w->k;
    float *g = l->gradients + w->offset, *x[2] = {l->moments[1] + w->offset, g}; /* once read, g is scratch too */
    if (w->stage == DONE)
        return;
    if (w->stage == 0) {
        momentum(g, m->gradient_scale, l->moments[0] + w->offset, x[0], n);
        /* Divided by its Frobenius norm, x has no singular value above 1. */
        l->kernels->scale(x[0], 1.0f / ((float)sqrt(math_square_sum(x[0], n)) + TINY), n);
        w->stage = 1;
    }
    for (int i = w->stage - 1; i < ITERATIONS; i++, w->stage++)
        if (!iterate(l, w, x[i % 2], x[(i + 1) % 2], thread))
            return;
    float scale = (float)(RMS * sqrt((double)larger_side(w)));
    apply(l->trained + w->offset, x[ITERATIONS % 2], m->keep, m->rate * scale, n);
    memset(x[0], 0, n * sizeof *g);
    memset(x[1], 0, n * sizeof *g);
    w->stage = DONE;
}

void muon_plan(const muon *m, planner *p)
{
    if (m->n > 0)
        add_phase(p, muon_step, m->n);
}
