/* initial.c: see initial.h. */
#include "learn/initial.h"

#include <stdio.h>
#include <string.h>

static const uint64_t FNV_START = 0xcbf29ce484222325u, FNV_PRIME = 0x100000001b3u;

static aigc_status refuse(const aigc_model *model, const char *what, aigc_error *err)
{
    return aigc_fail(err, AIGC_E_UNSUPPORTED, "%s: %s, which can't be trained", gguf_path(model->file), what);
}

/* A recipe may lack biases that the engine takes from the file where they are. */
static aigc_status check_biases(const aigc_model *model, aigc_error *err)
{
    char what[64];
    for (uint32_t i = 0; i < model->hp.n_layers; i++)
        for (int role = 0; role < LAYER_ROLES; role++)
            if (model->layers[i].biases[role] != NULL && !(model->recipe->biases >> role & 1)) {
                snprintf(what, sizeof what, "layer %u has a bias for %s", i, layer_roles[role].name);
                return refuse(model, what, err);
            }
    return AIGC_OK;
}

aigc_status initial_shape(const aigc_model *model, learn_shape *shape, aigc_error *err)
{
    const hyperparameters *hp = &model->hp;
    if (hp->n_heads * hp->head_dim != hp->n_embd)
        return refuse(model, "heads don't share the width evenly", err);
    if (model->recipe->position != POSITION_LEARNED &&
        (hp->n_rot != hp->head_dim || hp->rope_scale != 1.0f || gguf_find_tensor(model->file, "rope_freqs.weight")))
        return refuse(model, "heads are rotated in part or positions are scaled", err);
    aigc_status status = check_biases(model, err);
    if (status != AIGC_OK)
        return status;
    *shape = (learn_shape){
        .arch = model->recipe->name,
        .n_layers = (int)hp->n_layers,
        .n_embd = (int)hp->n_embd,
        .n_heads = (int)hp->n_heads,
        .n_kv_heads = (int)hp->n_kv_heads,
        .n_ff = (int)hp->n_ff,
        .n_context = (int)hp->n_context,
        .n_vocab = (int)hp->n_vocab,
        .tied = gguf_find_tensor(model->file, "output.weight") == NULL,
        .norm_eps = hp->norm_eps,
        .rope_base = hp->rope_base,
    };
    return AIGC_OK;
}

void initial_weights(const aigc_model *model, const learn_layout *layout, float *weights)
{
    for (int i = 0; i < layout->n_tensors; i++) {
        const learn_tensor *t = &layout->tensors[i];
        const gguf_tensor *from = gguf_find_tensor(model->file, t->name); /* there and large enough: opening checked */
        size_t row_bytes = tensor_row_bytes(from->type, t->k);
        for (size_t r = 0; r < t->rows; r++)
            tensor_row_to_float(from->type, (const unsigned char *)from->data + r * row_bytes,
                                weights + t->offset + r * t->k, t->k);
    }
}

static uint64_t hash_floats(uint64_t hash, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        hash = (hash ^ bits) * FNV_PRIME;
    }
    return hash;
}

uint64_t initial_hash(const learn_layout *layout, const float *weights)
{
    uint64_t hash = hash_floats(FNV_START, &layout->hp.norm_eps, 1);
    hash = hash_floats(hash, &layout->hp.rope_base, 1);
    for (int i = 0; i < layout->n_tensors; i++) {
        const learn_tensor *t = &layout->tensors[i];
        hash = hash_floats(hash, weights + t->offset, t->k * t->rows);
    }
    return hash;
}
