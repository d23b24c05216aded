/*
 * model.h: a transformer as it lies in a mapped GGUF file: what its recipe says and where its weights are.
 *
 * Matrices point into the file; vectors (norms and biases, a few kilobytes a layer) are copied out as floats, because
 * files may hold them in other types and at any alignment.
 */
#ifndef AIGC_MODEL_MODEL_H
#define AIGC_MODEL_MODEL_H

#include <stdatomic.h>

#include "format/gguf.h"
#include "model/arch.h"
#include "text/tokenizer.h"

/* rows outputs of k inputs each, row after row. */
typedef struct matrix {
    const void *data; /* NULL if the model has no such matrix */
    tensor_type type;
    size_t k, rows, row_bytes;
} matrix;

typedef struct layer {
    matrix weights[LAYER_MATRICES];
    float *norms[LAYER_ROLES];  /* [n_embd], at ATTN_NORM and FFN_NORM */
    float *biases[LAYER_ROLES]; /* [rows] or NULL */
} layer;

typedef struct hyperparameters {
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab, n_context;
    uint32_t n_rot; /* dimensions of each head that are rotated */
    float norm_eps;
    float rope_base, rope_scale; /* positions are multiplied by rope_scale */
    size_t dims[DIMENSIONS];
} hyperparameters;

struct aigc_model {
    atomic_int references;
    gguf_file *file;
    tokenizer *tokens;  /* NULL unless opened with AIGC_MODEL_TOKENIZER */
    const arch *recipe; /* this and what follows: NULL or 0 unless opened with AIGC_MODEL_WEIGHTS */
    hyperparameters hp;
    layer *layers;
    matrix token_embd;    /* [n_vocab][n_embd] */
    matrix position_embd; /* [n_context][n_embd], for POSITION_LEARNED */
    matrix output;        /* [n_vocab][n_embd], token_embd if tied */
    float *output_norm, *output_norm_bias;
    double *rope_freqs; /* [n_rot / 2] radians for each position */
    aigc_model_info info;
    char *name, *architecture, *tokenizer_name; /* owned, for info */
};

/* Finds and checks all weights: fills recipe, hp and what follows. Called once, by aigc_model_open(). */
aigc_status model_load_weights(aigc_model *model, aigc_error *err);

/* Frees what model_load_weights() took. */
void model_free_weights(aigc_model *model);

aigc_model *model_retain(aigc_model *model);

/* aigc_model_open() over memory that the caller keeps; `name` is used in messages. For fuzzing. */
aigc_status model_open_memory(const void *data, size_t size, const char *name, unsigned parts, aigc_model **out,
                              aigc_error *err);

#endif
