/*
 * layout.h: which weights a model to be trained has, and where each stands in one long array of floats.
 *
 * Weights, gradients and the optimiser's moments are four arrays of this one layout. Names and shapes are those of the
 * recipe's row in model/arch.c, so that a row is trained without code of its own where its pieces are known.
 */
#ifndef AIGC_LEARN_LAYOUT_H
#define AIGC_LEARN_LAYOUT_H

#include <stdint.h>

#include "format/gguf.h"
#include "model/model.h"

/* What the caller chooses; layout_create() checks it. */
typedef struct learn_shape {
    const char *arch;
    int n_layers, n_embd, n_heads, n_kv_heads, n_ff, n_context, n_vocab;
    bool tied; /* the token embedding is the output matrix too */
    float norm_eps, rope_base;
} learn_shape;

typedef struct learn_tensor {
    char name[64];
    size_t k, rows;  /* rows of k; a vector is one row */
    size_t offset;   /* in floats, a multiple of 16 */
    bool is_vector;  /* norms and biases: no weight decay, and one dimension in a file */
    float start;     /* the constant that it begins with, if deviation is 0 */
    float deviation; /* of the normal distribution that it begins with */
} learn_tensor;

enum { NO_TENSOR = -1 };

typedef struct layer_tensors {
    int weight[LAYER_ROLES], bias[LAYER_ROLES];         /* numbers of tensors, or NO_TENSOR */
    int lora_a[LAYER_MATRICES], lora_b[LAYER_MATRICES]; /* [rank][k] and [rows][rank] */
} layer_tensors;

typedef struct learn_layout {
    const arch *recipe;
    hyperparameters hp;
    bool tied;
    uint32_t n_positions;  /* context of the file; hp.n_context is that of the sequences trained on */
    double *rope_freqs;    /* [n_rot / 2] radians for each position */
    learn_tensor *tensors; /* in the order of the file */
    int n_tensors, capacity;
    size_t n_floats;      /* of an array that holds them all */
    size_t n_params;      /* without padding */
    int lora_rank;        /* 0: none */
    float lora_scale;     /* what the product of the two thin matrices is multiplied by */
    size_t first_trained; /* offset: tensors before it are frozen, those of LoRA come after it */
    size_t n_trained;     /* parameters, without padding */
    int token_embd, position_embd, output, output_norm, output_norm_bias;
    layer_tensors *layers;
} learn_layout;

/* Errors: AIGC_E_ARGUMENT names the size that is out of range. */
aigc_status layout_create(const learn_shape *shape, learn_layout *layout, aigc_error *err);

/* The layout of a model that is to be adapted or gone on with, with sequences of n_context tokens. lora_rank 0: all its
 * weights are trained; else they are frozen, and each matrix of attention and feed-forward has two thin matrices beside
 * it (Hu et al., 2021) whose product counts lora_alpha / lora_rank times. */
aigc_status layout_of_model(const aigc_model *base, int n_context, int lora_rank, double lora_alpha,
                            learn_layout *layout, aigc_error *err);

/* The base model's weights as floats, and the thin matrices at their beginning: A normal, B zero. False: *interrupt
 * (may be NULL) became non-zero. */
bool layout_start_from(const learn_layout *layout, const aigc_model *base, uint64_t seed,
                       const volatile sig_atomic_t *interrupt, float *weights);

/* Tells one beginning from another: a hash of weights, epsilon and rotary base. False: interrupted. */
bool layout_hash(const learn_layout *layout, const float *weights, const volatile sig_atomic_t *interrupt,
                 uint64_t *hash);
void layout_free(learn_layout *layout);

/* Floats of an array that holds what is trained. */
static inline size_t layout_trained_floats(const learn_layout *layout)
{
    return layout->n_floats - layout->first_trained;
}

/* First weights: normal with deviation 0.02, less by sqrt(2 n_layers) for the matrices that write into the residual
 * stream (Radford et al., 2019); norms 1, biases 0. The same seed gives the same bits. False: *interrupt (may be
 * NULL) became non-zero. */
bool layout_start(const learn_layout *layout, uint64_t seed, const volatile sig_atomic_t *interrupt, float *weights);

/* A pair of metadata whose value is text. */
#define NOTE_SAMPLING "general.sampling."
#define NOTE_TOP_K    NOTE_SAMPLING "top_k"

/* A key under general.sampling. has a number as its value, which notes.c has checked. */
typedef struct model_note {
    char *key, *value;
} model_note;

/* What a model's file says besides shape and weights. */
typedef struct model_metadata {
    const gguf_file *vocabulary; /* whose tokenizer.* is copied; NULL: none */
    const char *name;
    const model_note *notes; /* before them: a key is written once */
    size_t n_notes;
} model_metadata;

/* Notes as metadata: numbers as they are read elsewhere, else strings. */
void layout_write_notes(gguf_writer *w, const model_note *notes, size_t n_notes);

/* Writes a model file: matrices as `type` where their rows are whole blocks of it (rewrite_fitting_type()); vectors and
 * learned positions as F32. AIGC_INTERRUPTED: *interrupt (may be NULL) became non-zero, and nothing was written. */
aigc_status layout_write_model(const learn_layout *layout, const float *weights, tensor_type type,
                               const model_metadata *metadata, const volatile sig_atomic_t *interrupt, const char *path,
                               aigc_error *err);

#endif
