/* content.c: see content.h. */
#include "recommend/content.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"
#include "recommend/half.h"
#include "recommend/ranges.h"
#include "recommend/words.h"

/* BM25's constants, as Robertson and Zaragoza (2009) give them. */
static const double SATURATION = 1.2, LENGTH = 0.75;
/* Terms of more than this part of all items (and of more than a few items) say nothing about any of them. */
static const double COMMON = 0.5;
/* Function words count so little, in catalogues of fewer items than it takes for their idf to say so. */
static const double FUNCTION_WORD = 0.1;
enum { FEW_ITEMS = 1000 };
enum { COMMON_LEAST = 20, PASSES = 6, ROWS_PER_CHUNK = 256, ROWS_PER_STEP = 100000, ENTRIES_PER_STEP = 4000000 };

void rows_free(model_rows *rows)
{
    free((void *)(uintptr_t)rows->start);
    free((void *)(uintptr_t)rows->index);
    free((void *)(uintptr_t)rows->weight);
    *rows = (model_rows){0};
}

/* Room for the exchanged rows. Until they are all there, start holds their ends one place further. */
bool rows_transpose_begin(const model_rows *rows, uint32_t n_columns, model_rows *out)
{
    uint64_t *start = aigc_calloc((size_t)n_columns + 2, sizeof *start);

    *out = (model_rows){.start = start, .n = rows->n, .n_rows = n_columns};
    out->index = aigc_realloc_array(NULL, rows->n, sizeof *out->index);
    out->weight = aigc_realloc_array(NULL, rows->n, sizeof *out->weight);
    if (start == NULL || out->index == NULL || out->weight == NULL) {
        rows_free(out);
        return false;
    }
    for (uint64_t i = 0; i < rows->n; i++)
        start[rows->index[i] + 2]++;
    for (uint32_t c = 0; c < n_columns; c++)
        start[c + 1] += start[c];
    return true;
}

void rows_transpose_some(const model_rows *rows, uint32_t begin, uint32_t end, const model_rows *out)
{
    uint64_t *start = (uint64_t *)(uintptr_t)out->start;
    uint32_t *index = (uint32_t *)(uintptr_t)out->index;
    uint16_t *weight = (uint16_t *)(uintptr_t)out->weight;

    for (uint32_t r = begin; r < end; r++)
        for (uint64_t i = rows->start[r]; i < rows->start[r + 1]; i++) {
            uint64_t at = start[rows->index[i] + 1]++;
            index[at] = r;
            weight[at] = rows->weight[i];
        }
}

/* The stages: term vectors, those by terms, and of finding directions. */
enum { VECTORS, EXCHANGE, BEGIN, MULTIPLY, ORTHONORMALISE, ITEMS_TO_HALF, TERMS_TO_HALF, FINISHED };

/* ---- term vectors -------------------------------------------------------------------------------------------- */

static bool is_function_word(const key_table *terms, uint32_t term, uint32_t n_items)
{
    if (terms == NULL || n_items >= FEW_ITEMS)
        return false;
    aigc_string word = key_at(terms, term);
    return word_is_function(word.data, word.len);
}

static void compute_idf(content *c, const content_doc *docs, const key_table *terms, const float *given,
                        uint32_t n_given)
{
    double n = c->n_items;

    for (uint32_t i = 0; i < c->n_items; i++)
        for (uint32_t j = 0; j < docs[i].n; j++)
            c->idf[docs[i].terms[j].term] += 1;
    for (uint32_t t = 0; t < c->n_terms; t++) {
        double df = c->idf[t];
        c->idf[t] = t < n_given ? given[t]
                    : df == 0 || (df > COMMON_LEAST && df > COMMON * n)
                        ? 0
                        : (float)((is_function_word(terms, t, c->n_items) ? FUNCTION_WORD : 1) *
                                  real_log(1 + (n - df + 0.5) / (df + 0.5)));
    }
}

/* One item's vector, of length 1; returns its terms. */
static uint64_t write_doc(const content *c, const content_doc *doc, double mean, uint32_t *index, uint16_t *weight)
{
    double length = 0, square = 0;
    uint64_t n = 0;

    for (uint32_t j = 0; j < doc->n; j++)
        length += doc->terms[j].count;
    double norm = SATURATION * (1 - LENGTH + LENGTH * length / (mean > 0 ? mean : 1));
    for (int writing = 0; writing < 2; writing++) {
        for (uint32_t j = 0; j < doc->n; j++) {
            uint32_t term = doc->terms[j].term;
            double w = c->idf[term] * doc->terms[j].count * (SATURATION + 1) / (doc->terms[j].count + norm);
            if (!(w > 0))
                continue;
            if (!writing) {
                square += w * w;
                continue;
            }
            index[n] = term;
            weight[n++] = half_from_float((float)(w / sqrt(square)));
        }
    }
    return n;
}

static bool alloc_docs(content *c, const content_doc *docs, double *length)
{
    uint64_t all = 0;

    for (uint32_t i = 0; i < c->n_items; i++) {
        all += docs[i].n;
        for (uint32_t j = 0; j < docs[i].n; j++)
            *length += docs[i].terms[j].count;
    }
    c->docs.n_rows = c->n_items;
    c->docs.start = aigc_calloc((size_t)c->n_items + 1, sizeof *c->docs.start);
    c->docs.index = aigc_realloc_array(NULL, all, sizeof *c->docs.index);
    c->docs.weight = aigc_realloc_array(NULL, all, sizeof *c->docs.weight);
    c->idf = aigc_calloc(c->n_terms, sizeof *c->idf);
    c->bytes = 2 * all * 6 + ((size_t)c->n_items + 3 * (size_t)c->n_terms) * 8;
    return c->docs.start && c->docs.index && c->docs.weight && c->idf;
}

static aigc_status no_memory(const content *c, aigc_error *err)
{
    return aigc_fail_memory(err, "words of items", c->bytes);
}

aigc_status content_open(content *c, const content_doc *docs, uint32_t n_items, uint32_t n_terms,
                         const key_table *terms, const float *idf, uint32_t n_idf, double mean_length, aigc_error *err)
{
    double length = 0;

    *c = (content){.n_items = n_items, .n_terms = n_terms, .k = dense_best()};
    if (!alloc_docs(c, docs, &length)) {
        aigc_status status = no_memory(c, err);
        content_free(c);
        return status;
    }
    c->mean_length = idf ? mean_length : n_items ? length / n_items : 0;
    compute_idf(c, docs, terms, idf, n_idf);
    return AIGC_OK;
}

/* The next items' vectors, and then the same by terms. */
aigc_status content_vectors_step(content *c, const content_doc *docs, bool *done, aigc_error *err)
{
    uint32_t end = range_end(c->next, c->n_items, ROWS_PER_STEP);

    *done = false;
    if (c->stage == EXCHANGE) {
        rows_transpose_some(&c->docs, c->next, end, &c->postings);
        c->next = end;
        *done = end == c->n_items;
        return AIGC_OK;
    }
    for (; c->next < end; c->next++) {
        uint32_t *index = (uint32_t *)(uintptr_t)c->docs.index + c->docs.n;
        uint16_t *weight = (uint16_t *)(uintptr_t)c->docs.weight + c->docs.n;
        c->docs.n += write_doc(c, &docs[c->next], c->mean_length, index, weight);
        ((uint64_t *)(uintptr_t)c->docs.start)[c->next + 1] = c->docs.n;
    }
    if (end < c->n_items)
        return AIGC_OK;
    c->next = 0;
    c->stage = EXCHANGE;
    return rows_transpose_begin(&c->docs, c->n_terms, &c->postings) ? AIGC_OK : no_memory(c, err);
}

void content_free(content *c)
{
    free(c->idf);
    rows_free(&c->docs);
    rows_free(&c->postings);
    free(c->latent);
    free(c->term_latent);
    free(c->items);
    free(c->terms);
    free(c->gram);
    free(c->scratch);
    *c = (content){0};
}

/* ---- directions ---------------------------------------------------------------------------------------------- */

/* Pass 0, 2, 4 ... make terms from items, the others items from terms; the last makes the items' directions. */
static bool to_terms(const content *c)
{
    return c->pass % 2 == 0;
}

int content_steps(const content *c)
{
    return c->d ? PASSES : 1;
}

aigc_status content_begin(content *c, int d, uint64_t seed, thread_pool *pool, aigc_error *err)
{
    c->pool = pool;
    c->seed = seed;
    c->stage = BEGIN;
    c->next = 0;
    if (c->n_terms == 0 || d == 0)
        return AIGC_OK;
    c->true_d = d;
    c->d = dense_pad((size_t)d);
    c->items = aigc_calloc(c->n_items * c->d, sizeof *c->items);
    c->terms = aigc_calloc(c->n_terms * c->d, sizeof *c->terms);
    c->latent = aigc_calloc(c->n_items * c->d, sizeof *c->latent);
    c->term_latent = aigc_calloc(c->n_terms * c->d, sizeof *c->term_latent);
    c->gram = aigc_calloc(c->d * c->d, sizeof *c->gram);
    c->scratch = aigc_calloc(dense_gram_scratch(c->d), sizeof *c->scratch);
    if (!c->items || !c->terms || !c->latent || !c->term_latent || !c->gram || !c->scratch)
        return aigc_fail_memory(err, "directions of items", ((size_t)c->n_items + c->n_terms) * c->d * 6);
    c->bytes += ((size_t)c->n_items + c->n_terms) * c->d * 6;
    return AIGC_OK;
}

/* to[r] = sum of weight * from[index] over the row */
static void product_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const content *c = context;
    const model_rows *rows = to_terms(c) ? &c->postings : &c->docs;
    const float *from = to_terms(c) ? c->items : c->terms;
    float *to = to_terms(c) ? c->terms : c->items;
    size_t d = c->d;

    (void)thread;
    for (uint32_t r = begin; r < end; r++) {
        float *out = to + r * d;
        memset(out, 0, d * sizeof *out);
        for (uint64_t i = rows->start[r]; i < rows->start[r + 1]; i++)
            c->k->axpy(half_to_float(rows->weight[i]), from + rows->index[i] * d, out, d);
    }
}

/* Rows of the product: ENTRIES_PER_STEP entries or so. */
static void multiply_some(content *c, uint32_t n)
{
    const uint64_t *start = to_terms(c) ? c->postings.start : c->docs.start;
    uint32_t end = c->next;

    while (end < n && start[end] - start[c->next] < ENTRIES_PER_STEP)
        end = range_end(end, n, ROWS_PER_CHUNK);
    ranges_run(c->pool, c->next, end, ROWS_PER_CHUNK, product_work, c);
    c->next = end;
}

/* What makes columns orthonormal, X := X U^-1 with U'U = X'X: U into c->gram. A little is added to the diagonal, so
 * that directions that the data does not have come out small instead of failing. False if it fails. */
static bool find_factor(content *c, const float *x, uint32_t n)
{
    size_t d = c->d;
    float trace = 0;

    memset(c->gram, 0, d * d * sizeof *c->gram);
    dense_gram(c->k, x, NULL, NULL, n, d, c->gram, c->scratch);
    for (size_t i = 0; i < d; i++)
        trace += c->gram[i * d + i];
    for (size_t i = 0; i < d; i++)
        c->gram[i * d + i] += 1e-6f * trace + 1e-20f;
    if (!dense_cholesky(c->k, c->gram, d))
        return false;
    for (size_t i = 0; i < d; i++) /* what stands left of the diagonal must not count */
        for (size_t j = 0; j < i; j++)
            c->gram[i * d + j] = 0;
    return true;
}

static void orthonormal_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const content *c = context;
    float *x = to_terms(c) ? c->terms : c->items;
    size_t d = c->d;

    (void)thread;
    for (uint32_t r = begin; r < end; r++) {
        float *row = x + r * d;
        for (size_t i = 0; i < d; i++) {
            const float *u = c->gram + i * d;
            size_t first = i / DENSE_LANES * DENSE_LANES;
            float value = row[i] / u[i];
            c->k->axpy(-value, u + first, row + first, d - first);
            row[i] = value;
        }
    }
}

/* Rows to halves, those of items brought to length 1. */
static void half_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const content *c = context;
    const float *x = c->stage == ITEMS_TO_HALF ? c->items : c->terms;
    uint16_t *out = c->stage == ITEMS_TO_HALF ? c->latent : c->term_latent;
    size_t d = c->d;

    (void)thread;
    for (uint32_t r = begin; r < end; r++) {
        float length = c->stage == ITEMS_TO_HALF ? sqrtf(c->k->dot(x + r * d, x + r * d, d)) : 1;
        for (size_t i = 0; i < d; i++)
            out[r * d + i] = half_from_float(length > 1e-12f ? x[r * d + i] / length : 0);
    }
}

/* Some rows; true when all have been done. */
static bool work_on(content *c, uint32_t n, range_work *work)
{
    uint32_t end = range_end(c->next, n, ROWS_PER_STEP);

    ranges_run(c->pool, c->next, end, ROWS_PER_CHUNK, work, c);
    c->next = end == n ? 0 : end;
    return end == n;
}

static void begin_items(content *c)
{
    random_rows r = {.rows = c->items, .width = c->d, .columns = (size_t)c->true_d, .n = c->n_items, .deviation = 1};

    r.seed = c->seed;
    r.stream = 2;
    c->next = random_rows_step(&r, c->next, c->pool);
    if (c->next < c->n_items)
        return;
    c->next = 0;
    c->stage = MULTIPLY;
}

/* After the last row of a product: the last of them are the directions. */
static void end_product(content *c, uint32_t n)
{
    c->next = 0;
    if (c->pass + 1 == PASSES)
        c->stage = ITEMS_TO_HALF;
    else if (find_factor(c, to_terms(c) ? c->terms : c->items, n))
        c->stage = ORTHONORMALISE;
    c->pass += c->stage != ORTHONORMALISE;
}

static void finish(content *c)
{
    free(c->items);
    free(c->terms);
    c->items = c->terms = NULL;
    c->stage = FINISHED;
}

bool content_step(content *c)
{
    uint32_t n = to_terms(c) ? c->n_terms : c->n_items;

    if (c->d == 0)
        return true;
    switch (c->stage) {
    case BEGIN:
        begin_items(c);
        break;
    case MULTIPLY:
        multiply_some(c, n);
        if (c->next == n)
            end_product(c, n);
        break;
    case ORTHONORMALISE:
        if (work_on(c, n, orthonormal_work)) {
            c->pass++;
            c->stage = MULTIPLY;
        }
        break;
    case ITEMS_TO_HALF:
        if (work_on(c, c->n_items, half_work))
            c->stage = TERMS_TO_HALF;
        break;
    case TERMS_TO_HALF:
        if (work_on(c, c->n_terms, half_work))
            finish(c);
        break;
    case FINISHED:
        break;
    }
    return c->stage == FINISHED;
}
