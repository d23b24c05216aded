/* content.c: see content.h. */
#include "recommend/content.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/real.h"
#include "recommend/half.h"
#include "recommend/words.h"

/* BM25's constants, as Robertson and Zaragoza (2009) give them. */
static const double SATURATION = 1.2, LENGTH = 0.75;
/* Terms of more than this part of all items (and of more than a few items) say nothing about any of them. */
static const double COMMON = 0.5;
/* Function words count so little, in catalogues of fewer items than it takes for their idf to say so. */
static const double FUNCTION_WORD = 0.1;
enum { FEW_ITEMS = 1000 };
enum { COMMON_LEAST = 20, PASSES = 6, ROWS_PER_CHUNK = 256, ROWS_PER_STEP = 100000 };

void rows_free(model_rows *rows)
{
    free((void *)(uintptr_t)rows->start);
    free((void *)(uintptr_t)rows->index);
    free((void *)(uintptr_t)rows->weight);
    *rows = (model_rows){0};
}

bool rows_transpose(const model_rows *rows, uint32_t n_columns, model_rows *out)
{
    uint64_t *start = aigc_calloc((size_t)n_columns + 2, sizeof *start);
    uint32_t *index = aigc_realloc_array(NULL, rows->n, sizeof *index);
    uint16_t *weight = aigc_realloc_array(NULL, rows->n, sizeof *weight);

    *out = (model_rows){.start = start, .index = index, .weight = weight, .n = rows->n, .n_rows = n_columns};
    if (start == NULL || index == NULL || weight == NULL) {
        rows_free(out);
        return false;
    }
    for (uint64_t i = 0; i < rows->n; i++)
        start[rows->index[i] + 2]++;
    for (uint32_t c = 0; c < n_columns; c++)
        start[c + 1] += start[c];
    for (uint32_t r = 0; r < rows->n_rows; r++)
        for (uint64_t i = rows->start[r]; i < rows->start[r + 1]; i++) {
            uint64_t at = start[rows->index[i] + 1]++;
            index[at] = r;
            weight[at] = rows->weight[i];
        }
    return true;
}

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

aigc_status content_vectors(content *c, const content_doc *docs, uint32_t n_items, uint32_t n_terms,
                            const key_table *terms, const float *idf, uint32_t n_idf, double mean_length,
                            aigc_error *err)
{
    uint64_t all = 0;
    double length = 0;

    *c = (content){.n_items = n_items, .n_terms = n_terms, .k = dense_best()};
    for (uint32_t i = 0; i < n_items; i++) {
        all += docs[i].n;
        for (uint32_t j = 0; j < docs[i].n; j++)
            length += docs[i].terms[j].count;
    }
    uint64_t *start = aigc_calloc((size_t)n_items + 1, sizeof *start);
    uint32_t *index = aigc_realloc_array(NULL, all, sizeof *index);
    uint16_t *weight = aigc_realloc_array(NULL, all, sizeof *weight);
    c->idf = aigc_calloc(n_terms, sizeof *c->idf);
    c->docs = (model_rows){.start = start, .index = index, .weight = weight, .n_rows = n_items};
    if (start == NULL || index == NULL || weight == NULL || c->idf == NULL) {
        content_free(c);
        return aigc_fail_memory(err, "words of items", all * 6);
    }
    c->mean_length = idf ? mean_length : n_items ? length / n_items : 0;
    compute_idf(c, docs, terms, idf, n_idf);
    for (uint32_t i = 0; i < n_items; i++) {
        c->docs.n += write_doc(c, &docs[i], c->mean_length, index + c->docs.n, weight + c->docs.n);
        start[i + 1] = c->docs.n;
    }
    if (!rows_transpose(&c->docs, n_terms, &c->postings)) {
        content_free(c);
        return aigc_fail_memory(err, "words of items", all * 6);
    }
    c->bytes = 2 * all * 6 + ((size_t)n_items + 3 * (size_t)n_terms) * 8;
    return AIGC_OK;
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
    random_state r;

    c->pool = pool;
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
    random_seed(&r, seed, 2);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int j = 0; j < d; j++)
            c->items[i * c->d + j] = (float)random_normal(&r);
    return AIGC_OK;
}

typedef struct product_job {
    const content *c;
    const model_rows *rows;
    const float *from;
    float *to;
    uint32_t begin, end;
    bool begun;
} product_job;

static int product_next(void *context)
{
    product_job *job = context;

    if (job->begun)
        return 0;
    job->begun = true;
    return (int)((job->end - job->begin + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK);
}

/* to[r] = sum of weight * from[index] over the row */
static void product_work(void *context, int chunk, int thread)
{
    product_job *job = context;
    size_t d = job->c->d;
    uint32_t begin = job->begin + (uint32_t)chunk * ROWS_PER_CHUNK;

    (void)thread;
    for (uint32_t r = begin; r < job->end && r < begin + ROWS_PER_CHUNK; r++) {
        float *out = job->to + r * d;
        memset(out, 0, d * sizeof *out);
        for (uint64_t i = job->rows->start[r]; i < job->rows->start[r + 1]; i++)
            job->c->k->axpy(half_to_float(job->rows->weight[i]), job->from + job->rows->index[i] * d, out, d);
    }
}

/* Columns made orthonormal: X := X U^-1 with U'U = X'X. A little is added to the diagonal, so that directions that
 * the data does not have come out small instead of failing. */
static void orthonormalise(content *c, float *x, uint32_t n)
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
        return;
    for (size_t i = 0; i < d; i++) /* what stands left of the diagonal must not count below */
        for (size_t j = 0; j < i; j++)
            c->gram[i * d + j] = 0;
    for (uint32_t r = 0; r < n; r++) {
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

/* Rows to halves, brought to length 1 if asked for. */
static void to_half(const content *c, const float *x, uint32_t n, bool unit, uint16_t *out)
{
    size_t d = c->d;

    for (uint32_t r = 0; r < n; r++) {
        float length = unit ? sqrtf(c->k->dot(x + r * d, x + r * d, d)) : 1;
        for (size_t i = 0; i < d; i++)
            out[r * d + i] = half_from_float(length > 1e-12f ? x[r * d + i] / length : 0);
    }
}

bool content_step(content *c)
{
    bool terms = to_terms(c);
    uint32_t n = terms ? c->n_terms : c->n_items;

    if (c->d == 0 || c->pass >= PASSES)
        return true;
    product_job job = {.c = c, .rows = terms ? &c->postings : &c->docs, .begin = c->next};
    job.from = terms ? c->items : c->terms;
    job.to = terms ? c->terms : c->items;
    job.end = n - c->next < ROWS_PER_STEP ? n : c->next + ROWS_PER_STEP;
    if (job.end > job.begin)
        thread_pool_run(c->pool, &(thread_program){product_next, product_work, &job});
    c->next = job.end;
    if (c->next < n)
        return false;
    c->next = 0;
    if (++c->pass < PASSES) {
        orthonormalise(c, job.to, n);
        return false;
    }
    to_half(c, c->items, c->n_items, true, c->latent);
    to_half(c, c->terms, c->n_terms, false, c->term_latent);
    free(c->items);
    free(c->terms);
    c->items = c->terms = NULL;
    return true;
}
