/*
 * arch.h: how families of transformers differ, as a table. A new family is a row here; forward.c reads the row.
 *
 * Names of tensors and metadata keys are those of the GGUF specification ("Standardized tensor names").
 */
#ifndef AIGC_MODEL_ARCH_H
#define AIGC_MODEL_ARCH_H

#include <stddef.h>

typedef enum norm_kind {
    NORM_RMS,  /* x / rms(x) * w (Zhang and Sennrich, 2019) */
    NORM_LAYER /* (x - mean) / deviation * w + b */
} norm_kind;

typedef enum position_kind {
    POSITION_LEARNED,    /* a vector for each position, added to the token's */
    POSITION_ROPE_PAIRS, /* rotary, dimensions (2i, 2i + 1) (Su et al., 2021) */
    POSITION_ROPE_HALVES /* rotary, dimensions (i, i + n / 2), as GPT-NeoX does */
} position_kind;

typedef enum activation_kind { ACTIVATION_SILU, ACTIVATION_GELU_TANH } activation_kind;

/* The weights of a layer, by what they do. Matrices come first, then the norms. */
typedef enum layer_role {
    ATTN_Q,
    ATTN_K,
    ATTN_V,
    ATTN_QKV, /* the three above in one matrix, rows of q, then k, then v */
    ATTN_OUTPUT,
    FFN_GATE,
    FFN_UP,
    FFN_DOWN,
    LAYER_MATRICES,
    ATTN_NORM = LAYER_MATRICES,
    FFN_NORM,
    LAYER_ROLES
} layer_role;

/* Sizes that shapes are made of. */
typedef enum dimension { DIM_EMBD, DIM_Q, DIM_KV, DIM_QKV, DIM_FF, DIMENSIONS } dimension;

typedef struct role_shape {
    const char *name; /* between "blk.N." and ".weight" or ".bias" */
    dimension k;      /* inputs: the dimension that runs fastest in the file */
    dimension rows;   /* outputs, and the bias's length; a norm has only these */
} role_shape;

extern const role_shape layer_roles[LAYER_ROLES];

typedef struct arch {
    const char *name; /* general.architecture */
    norm_kind norm;
    position_kind position;
    activation_kind activation; /* of the gate if there is one, else of ffn_up */
    unsigned weights;           /* bit of each layer_role that the layers have */
    unsigned biases;            /* bit of each layer_role that must have a bias; others may */
} arch;

/* NULL if there is no such row. */
const arch *arch_find(const char *name, size_t len);

/* The names of all rows, separated by ", ", for messages. */
const char *arch_names(void);

#endif
