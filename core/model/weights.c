/* weights.c: from the tensors of a file to the layers of a model. Every shape is checked against the recipe. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"
#include "model/kv.h"
#include "model/model.h"

enum {
    MAX_LAYERS = 65536,
    MAX_WIDTH = 1 << 24, /* of any vector: keeps products of two sizes inside 64 bits and activations in int */
};

typedef struct loader {
    aigc_model *model;
    const gguf_file *file;
    uint64_t n_used; /* tensors that the recipe found a place for */
    aigc_error *err;
} loader;

static aigc_status key_u32(loader *l, const char *suffix, bool required, uint32_t *out)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", l->model->recipe->name, suffix);
    return gguf_get_u32(l->file, key, required, out, l->err);
}

static aigc_status key_f32(loader *l, const char *suffix, bool required, float *out)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", l->model->recipe->name, suffix);
    return gguf_get_f32(l->file, key, required, out, l->err);
}

static aigc_status check_range(loader *l, const char *what, uint64_t value, uint64_t min, uint64_t max)
{
    if (value >= min && value <= max)
        return AIGC_OK;
    return aigc_fail(l->err, AIGC_E_FORMAT, "%s: %s is %" PRIu64 ", which is not from %" PRIu64 " to %" PRIu64,
                     gguf_path(l->file), what, value, min, max);
}

/* By what positions are multiplied. Files of old have rope.scale_linear for the factor, some no type beside it: that is
 * linear scaling, as in llama.cpp. A factor of 0 is none. */
static aigc_status read_rope_scaling(loader *l)
{
    gguf_string kind = {"linear", 6};
    float factor = 0.0f;
    char key[128];
    aigc_status status;
    snprintf(key, sizeof key, "%s.rope.scaling.type", l->model->recipe->name);
    if ((status = key_f32(l, "rope.scale_linear", false, &factor)) != AIGC_OK ||
        (status = key_f32(l, "rope.scaling.factor", false, &factor)) != AIGC_OK ||
        (status = gguf_get_string(l->file, key, false, &kind, l->err)) != AIGC_OK)
        return status;
    bool linear = kind.len == 6 && memcmp(kind.data, "linear", 6) == 0;
    if (!linear && !(kind.len == 4 && memcmp(kind.data, "none", 4) == 0))
        return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: rope scaling '%.*s' is not supported (none and linear are)",
                         gguf_path(l->file), (int)(kind.len < 64 ? kind.len : 64), kind.data);
    if (!(factor >= 0.0f) || !isfinite(factor))
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: the factor of rope scaling is %g, which must be positive",
                         gguf_path(l->file), (double)factor);
    l->model->hp.rope_scale = linear && factor > 0.0f ? 1.0f / factor : 1.0f;
    return AIGC_OK;
}

static aigc_status read_rope(loader *l)
{
    hyperparameters *hp = &l->model->hp;
    aigc_status status;
    hp->n_rot = hp->head_dim;
    hp->rope_base = 10000.0f;
    if ((status = key_u32(l, "rope.dimension_count", false, &hp->n_rot)) != AIGC_OK ||
        (status = key_f32(l, "rope.freq_base", false, &hp->rope_base)) != AIGC_OK)
        return status;
    if (hp->n_rot < 2 || hp->n_rot > hp->head_dim || hp->n_rot % 2 != 0)
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: rope.dimension_count is %u, which is not even and from 2 to %u",
                         gguf_path(l->file), hp->n_rot, hp->head_dim);
    if (!(hp->rope_base > 0.0f) || !isfinite(hp->rope_base))
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: rope.freq_base is %g, which must be positive", gguf_path(l->file),
                         (double)hp->rope_base);
    return read_rope_scaling(l);
}

/* Some converters write "expert_count = 0" for dense models. */
static aigc_status refuse_experts(loader *l)
{
    uint32_t n_experts = 0;
    aigc_status status = key_u32(l, "expert_count", false, &n_experts);
    if (status == AIGC_OK && n_experts > 0)
        return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: a mixture of %u experts is not supported", gguf_path(l->file),
                         n_experts);
    return status;
}

static aigc_status read_sizes(loader *l)
{
    hyperparameters *hp = &l->model->hp;
    aigc_status status;
    if ((status = key_u32(l, "block_count", true, &hp->n_layers)) != AIGC_OK ||
        (status = key_u32(l, "embedding_length", true, &hp->n_embd)) != AIGC_OK ||
        (status = key_u32(l, "feed_forward_length", true, &hp->n_ff)) != AIGC_OK ||
        (status = key_u32(l, "context_length", true, &hp->n_context)) != AIGC_OK ||
        (status = key_u32(l, "attention.head_count", true, &hp->n_heads)) != AIGC_OK)
        return status;
    hp->n_kv_heads = hp->n_heads;
    if ((status = key_u32(l, "attention.head_count_kv", false, &hp->n_kv_heads)) != AIGC_OK ||
        (status = check_range(l, "block_count", hp->n_layers, 1, MAX_LAYERS)) != AIGC_OK ||
        (status = check_range(l, "embedding_length", hp->n_embd, 1, MAX_WIDTH)) != AIGC_OK ||
        (status = check_range(l, "feed_forward_length", hp->n_ff, 1, MAX_WIDTH)) != AIGC_OK ||
        (status = check_range(l, "context_length", hp->n_context, 1, INT32_MAX)) != AIGC_OK ||
        (status = check_range(l, "attention.head_count", hp->n_heads, 1, hp->n_embd)) != AIGC_OK ||
        (status = check_range(l, "attention.head_count_kv", hp->n_kv_heads, 1, hp->n_heads)) != AIGC_OK)
        return status;
    if (hp->n_heads % hp->n_kv_heads != 0)
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: %u heads can't share %u key-value heads evenly",
                         gguf_path(l->file), hp->n_heads, hp->n_kv_heads);
    hp->head_dim = hp->n_embd / hp->n_heads;
    uint32_t value_length = 0;
    if ((status = key_u32(l, "attention.key_length", false, &hp->head_dim)) != AIGC_OK)
        return status;
    value_length = hp->head_dim;
    if ((status = key_u32(l, "attention.value_length", false, &value_length)) != AIGC_OK ||
        (status = check_range(l, "attention.key_length", hp->head_dim, 1, KV_MAX_HEAD_DIM)) != AIGC_OK ||
        (status = check_range(l, "attention.value_length", value_length, hp->head_dim, hp->head_dim)) != AIGC_OK ||
        (status = check_range(l, "attention.head_count * key_length", (uint64_t)hp->n_heads * hp->head_dim, 1,
                              MAX_WIDTH)) != AIGC_OK)
        return status;
    return refuse_experts(l);
}

static aigc_status read_hyperparameters(loader *l)
{
    hyperparameters *hp = &l->model->hp;
    aigc_status status = read_sizes(l);
    if (status != AIGC_OK)
        return status;
    bool rms = l->model->recipe->norm == NORM_RMS;
    status = key_f32(l, rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", true, &hp->norm_eps);
    if (status != AIGC_OK)
        return status;
    if (!(hp->norm_eps > 0.0f) || !isfinite(hp->norm_eps))
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: the norm's epsilon is %g, which is not positive",
                         gguf_path(l->file), (double)hp->norm_eps);
    size_t q = (size_t)hp->n_heads * hp->head_dim, kv = (size_t)hp->n_kv_heads * hp->head_dim;
    hp->dims[DIM_EMBD] = hp->n_embd;
    hp->dims[DIM_Q] = q;
    hp->dims[DIM_KV] = kv;
    hp->dims[DIM_QKV] = q + 2 * kv;
    hp->dims[DIM_FF] = hp->n_ff;
    return l->model->recipe->position == POSITION_LEARNED ? AIGC_OK : read_rope(l);
}

static aigc_status fail_shape(loader *l, const gguf_tensor *t, size_t k, size_t rows)
{
    return aigc_fail(l->err, AIGC_E_FORMAT,
                     "%s: tensor %s is %" PRIu64 " x %" PRIu64 " x %" PRIu64 ", expected %zu x %zu", gguf_path(l->file),
                     t->name, t->dims[0], t->dims[1], t->dims[2] * t->dims[3], k, rows);
}

static aigc_status refuse_type(loader *l, const gguf_tensor *t)
{
    return aigc_fail(
        l->err, AIGC_E_UNSUPPORTED,
        "%s: tensor %s has type %s, which can't be run yet (F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K can)",
        gguf_path(l->file), t->name, tensor_type_describe(t->type)->name);
}

/* Finds a matrix of k inputs; rows is checked unless it is 0. An absent one is an error if required. */
static aigc_status find_matrix(loader *l, const char *name, size_t k, size_t rows, bool required, matrix *out)
{
    const gguf_tensor *t = gguf_find_tensor(l->file, name);
    if (t == NULL)
        return !required ? AIGC_OK
                         : aigc_fail(l->err, AIGC_E_FORMAT, "%s: tensor %s is missing", gguf_path(l->file), name);
    if (t->dims[0] != k || (rows != 0 && t->dims[1] != rows) || t->dims[2] * t->dims[3] != 1)
        return fail_shape(l, t, k, rows != 0 ? rows : t->dims[1]);
    if (!tensor_type_describe(t->type)->runnable)
        return refuse_type(l, t);
    *out = (matrix){t->data, t->type, k, t->dims[1], tensor_row_bytes(t->type, k)};
    l->n_used++;
    return AIGC_OK;
}

/* Copies a vector of n floats; an absent one gives NULL, an error if required. */
static aigc_status find_vector(loader *l, const char *name, size_t n, bool required, float **out)
{
    const gguf_tensor *t = gguf_find_tensor(l->file, name);
    if (t == NULL)
        return !required ? AIGC_OK
                         : aigc_fail(l->err, AIGC_E_FORMAT, "%s: tensor %s is missing", gguf_path(l->file), name);
    if (t->dims[0] != n || t->n_elements != n)
        return fail_shape(l, t, n, 1);
    if (!tensor_type_describe(t->type)->runnable)
        return refuse_type(l, t);
    *out = aigc_calloc(n, sizeof **out);
    if (*out == NULL)
        return aigc_fail_memory(l->err, name, n * sizeof **out);
    tensor_row_to_float(t->type, t->data, *out, n);
    l->n_used++;
    return AIGC_OK;
}

static aigc_status find_layer_role(loader *l, uint32_t i, layer_role role)
{
    const arch *recipe = l->model->recipe;
    const role_shape *shape = &layer_roles[role];
    layer *into = &l->model->layers[i];
    const size_t *dims = l->model->hp.dims;
    char name[64];
    aigc_status status;
    snprintf(name, sizeof name, "blk.%u.%s.weight", i, shape->name);
    if (role < LAYER_MATRICES)
        status = find_matrix(l, name, dims[shape->k], dims[shape->rows], true, &into->weights[role]);
    else
        status = find_vector(l, name, dims[shape->rows], true, &into->norms[role]);
    if (status != AIGC_OK || (role >= LAYER_MATRICES && recipe->norm == NORM_RMS))
        return status; /* such a norm has no bias to add: one in the file would be refused as unused */
    snprintf(name, sizeof name, "blk.%u.%s.bias", i, shape->name);
    return find_vector(l, name, dims[shape->rows], recipe->biases >> role & 1, &into->biases[role]);
}

static aigc_status find_layers(loader *l)
{
    aigc_model *model = l->model;
    /* A layer that the file has no tensors for must not cost memory. */
    if (model->hp.n_layers > gguf_n_tensors(l->file))
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: %u layers but only %" PRIu64 " tensors", gguf_path(l->file),
                         model->hp.n_layers, gguf_n_tensors(l->file));
    model->layers = aigc_calloc(model->hp.n_layers, sizeof *model->layers);
    if (model->layers == NULL)
        return aigc_fail_memory(l->err, "the table of layers", model->hp.n_layers * sizeof *model->layers);
    for (uint32_t i = 0; i < model->hp.n_layers; i++)
        for (int role = 0; role < LAYER_ROLES; role++)
            if (model->recipe->weights >> role & 1) {
                aigc_status status = find_layer_role(l, i, role);
                if (status != AIGC_OK)
                    return status;
            }
    return AIGC_OK;
}

static aigc_status find_embeddings(loader *l)
{
    aigc_model *model = l->model;
    hyperparameters *hp = &model->hp;
    aigc_status status = find_matrix(l, "token_embd.weight", hp->n_embd, 0, true, &model->token_embd);
    if (status != AIGC_OK)
        return status;
    if ((status = check_range(l, "the vocabulary", model->token_embd.rows, 1, MAX_WIDTH)) != AIGC_OK)
        return status;
    hp->n_vocab = (uint32_t)model->token_embd.rows;
    model->output = model->token_embd; /* tied, unless the file has one of its own */
    bool learned = model->recipe->position == POSITION_LEARNED;
    if ((status = find_matrix(l, "output.weight", hp->n_embd, hp->n_vocab, false, &model->output)) != AIGC_OK ||
        (status = find_vector(l, "output_norm.weight", hp->n_embd, true, &model->output_norm)) != AIGC_OK)
        return status;
    if (model->recipe->norm == NORM_LAYER)
        status = find_vector(l, "output_norm.bias", hp->n_embd, true, &model->output_norm_bias);
    if (status != AIGC_OK)
        return status;
    if (learned)
        status = find_matrix(l, "position_embd.weight", hp->n_embd, hp->n_context, true, &model->position_embd);
    return status;
}

/* Angles a position turns each pair by: base^(-2i / n), slowed by the file's factors if it has them (Llama 3.1). */
static aigc_status make_rope(loader *l)
{
    aigc_model *model = l->model;
    uint32_t half = model->hp.n_rot / 2;
    if (model->recipe->position == POSITION_LEARNED)
        return AIGC_OK;
    float *factors = NULL;
    aigc_status status = find_vector(l, "rope_freqs.weight", half, false, &factors);
    if (status != AIGC_OK)
        return status;
    model->rope_freqs = aigc_calloc(half, sizeof *model->rope_freqs);
    if (model->rope_freqs == NULL) {
        free(factors);
        return aigc_fail_memory(l->err, "the table of angles", half * sizeof *model->rope_freqs);
    }
    for (uint32_t i = 0; i < half && status == AIGC_OK; i++) {
        double factor = factors != NULL ? (double)factors[i] : 1.0;
        if (!(factor > 0.0))
            status = aigc_fail(l->err, AIGC_E_FORMAT, "%s: rope_freqs.weight has %g, which is not positive",
                               gguf_path(l->file), factor);
        model->rope_freqs[i] =
            real_pow((double)model->hp.rope_base, -2.0 * i / model->hp.n_rot) * (double)model->hp.rope_scale / factor;
    }
    free(factors);
    return status;
}

/* A tensor that the recipe has no place for would be left out of the sum: refuse rather than compute nonsense. */
static aigc_status refuse_unused(loader *l)
{
    if (l->n_used == gguf_n_tensors(l->file))
        return AIGC_OK;
    const aigc_model *model = l->model;
    for (uint64_t i = 0; i < gguf_n_tensors(l->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(l->file, i);
        unsigned number;
        int end = 0;
        bool known = strcmp(t->name, "token_embd.weight") == 0 || strncmp(t->name, "output", 6) == 0 ||
                     strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "rope_freqs.weight") == 0;
        if (sscanf(t->name, "blk.%u.%n", &number, &end) == 1 && end > 0 && number < model->hp.n_layers)
            for (int role = 0; role < LAYER_ROLES; role++) {
                size_t len = strlen(layer_roles[role].name);
                if (model->recipe->weights >> role & 1 && strncmp(t->name + end, layer_roles[role].name, len) == 0 &&
                    t->name[(size_t)end + len] == '.')
                    known = true;
            }
        if (!known)
            return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: tensor %s has no place in architecture %s",
                             gguf_path(l->file), t->name, model->recipe->name);
    }
    return aigc_fail(l->err, AIGC_E_UNSUPPORTED,
                     "%s: %" PRIu64 " of %" PRIu64 " tensors have a place in architecture %s", gguf_path(l->file),
                     l->n_used, gguf_n_tensors(l->file), model->recipe->name);
}

aigc_status model_load_weights(aigc_model *model, aigc_error *err)
{
    loader l = {.model = model, .file = model->file, .err = err};
    gguf_string name = {"", 0};
    aigc_status status = gguf_get_string(model->file, "general.type", false, &name, err);
    if (status == AIGC_OK && name.len == 7 && memcmp(name.data, "adapter", 7) == 0)
        return aigc_fail(err, AIGC_E_UNSUPPORTED,
                         "%s: it is an adapter, to be used beside the model that it was made for",
                         gguf_path(model->file));
    if (status == AIGC_OK)
        status = gguf_get_string(model->file, "general.architecture", true, &name, err);
    if (status != AIGC_OK)
        return status;
    model->recipe = arch_find(name.data, name.len);
    if (model->recipe == NULL)
        return aigc_fail(err, AIGC_E_UNSUPPORTED, "%s: architecture '%.*s' is not supported (%s are)",
                         gguf_path(model->file), (int)(name.len < 64 ? name.len : 64), name.data, arch_names());
    if ((status = read_hyperparameters(&l)) != AIGC_OK || (status = find_embeddings(&l)) != AIGC_OK ||
        (status = find_layers(&l)) != AIGC_OK || (status = make_rope(&l)) != AIGC_OK)
        return status;
    return refuse_unused(&l);
}

void model_free_weights(aigc_model *model)
{
    for (uint32_t i = 0; model->layers != NULL && i < model->hp.n_layers; i++)
        for (int role = 0; role < LAYER_ROLES; role++) {
            free(model->layers[i].norms[role]);
            free(model->layers[i].biases[role]);
        }
    free(model->layers);
    free(model->output_norm);
    free(model->output_norm_bias);
    free(model->rope_freqs);
}
