/*
 * adapter.h: a LoRA adapter (Hu et al., 2021) as it lies in a mapped GGUF file of llama.cpp's form: beside some
 * matrices W [rows][k] of a model two thin ones, A [rank][k] and B [rows][rank]: y = W x + scale * B (A x).
 *
 * The thin matrices point into the file. Opened for one model, whose shapes they were checked against; used by
 * forward_adapter.c and learn/merge.c.
 */
#ifndef AIGC_MODEL_ADAPTER_H
#define AIGC_MODEL_ADAPTER_H

#include "model/model.h"

typedef struct adapter_pair {
    matrix a, b; /* a.data is NULL if the adapter has none here */
    size_t rank;
    float scale; /* alpha / rank, or 1 if the file has no alpha */
} adapter_pair;

typedef struct adapter_layer {
    adapter_pair pairs[LAYER_MATRICES];
} adapter_layer;

struct aigc_adapter {
    atomic_int references;
    aigc_model *model;
    gguf_file *file;
    adapter_layer *layers; /* [n_layers] */
    size_t most_rank;
};

aigc_adapter *adapter_retain(aigc_adapter *adapter);

/* aigc_adapter_open() over memory that the caller keeps; `name` is used in messages. For fuzzing. */
aigc_status adapter_open_memory(aigc_model *model, const void *data, size_t size, const char *name,
                                aigc_adapter **adapter, aigc_error *err);

#endif
