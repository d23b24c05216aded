/*
 * content.h: what items are about: term vectors (TF-IDF with BM25's saturation and length, of length 1), the same by
 * term, and their directions in a subspace found by randomised subspace iteration (Halko, Martinsson and Tropp, 2011):
 * latent semantic analysis without the rotation, which cosines do not see.
 */
#ifndef AIGC_RECOMMEND_CONTENT_H
#define AIGC_RECOMMEND_CONTENT_H

#include "base/threads.h"
#include "recommend/catalogue.h"
#include "recommend/dense.h"
#include "recommend/model.h"

typedef struct content {
    uint32_t n_items, n_terms;
    float *idf;
    model_rows docs, postings;
    size_t d; /* of directions, padded */
    int true_d;
    double mean_length;
    uint16_t *latent, *term_latent;
    float *items, *terms; /* [n][d], while directions are found */
    float *gram, *scratch;
    thread_pool *pool;
    const dense_kernels *k;
    uint64_t seed;
    int pass;      /* of the iteration */
    int stage;     /* of finding directions */
    uint32_t next; /* row of the stage */
    size_t bytes;
} content;

/* Term vectors of items given as rows of (term, count): row i is docs[first[i] .. first[i] + n[i]). Function words
 * among the terms (NULL: not known) count little, which matters in small catalogues, where they are not in most items.
 * idf may be given (then for the first n_idf terms it is kept, and the mean length too). Errors: AIGC_E_MEMORY. */
typedef struct content_doc {
    const term_count *terms;
    uint32_t n;
} content_doc;
aigc_status content_open(content *c, const content_doc *docs, uint32_t n_items, uint32_t n_terms,
                         const key_table *terms, const float *idf, uint32_t n_idf, double mean_length, aigc_error *err);
/* A bounded piece of the vectors, in both orders. */
aigc_status content_vectors_step(content *c, const content_doc *docs, bool *done, aigc_error *err);

/* Begins to find d directions (0: none), then pieces of it; true when done. */
aigc_status content_begin(content *c, int d, uint64_t seed, thread_pool *pool, aigc_error *err);
bool content_step(content *c);
int content_steps(const content *c); /* how many there are */

void content_free(content *c);

/* Rows exchanged with columns: room for them, and then rows after rows, all of them. False if memory is out. */
bool rows_transpose_begin(const model_rows *rows, uint32_t n_columns, model_rows *out);
void rows_transpose_some(const model_rows *rows, uint32_t begin, uint32_t end, const model_rows *out);
void rows_free(model_rows *rows);

#endif
