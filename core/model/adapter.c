/* adapter.c: see adapter.h. Every name and shape is checked against the model. */
#include "model/adapter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MAX_RANK = 1 << 16, NAME_BYTES = 96 };

typedef struct loader {
    aigc_adapter *adapter;
    const gguf_file *file;
    float alpha;
    uint64_t n_used; /* tensors that belong to a matrix of the model */
    aigc_error *err;
} loader;

static bool same(gguf_string s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static int shown(gguf_string s)
{
    return (int)(s.len < 64 ? s.len : 64);
}

static aigc_status check_kind(loader *l)
{
    const char *path = gguf_path(l->file), *architecture = l->adapter->model->recipe->name;
    gguf_string type = {"", 0}, kind = {"", 0}, name = {"", 0};
    aigc_status status;
    if ((status = gguf_get_string(l->file, "general.type", false, &type, l->err)) != AIGC_OK ||
        (status = gguf_get_string(l->file, "adapter.type", false, &kind, l->err)) != AIGC_OK ||
        (status = gguf_get_string(l->file, "general.architecture", true, &name, l->err)) != AIGC_OK ||
        (status = gguf_get_f32(l->file, "adapter.lora.alpha", false, &l->alpha, l->err)) != AIGC_OK)
        return status;
    if (!same(type, "adapter"))
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: it is no adapter, its general.type is '%.*s'", path, shown(type),
                         type.data);
    if (!same(kind, "lora"))
        return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: adapters of type '%.*s' are not supported (lora is)", path,
                         shown(kind), kind.data);
    if (!same(name, architecture))
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: it adapts a model of architecture '%.*s', not '%s'", path,
                         shown(name), name.data, architecture);
    if (!isfinite(l->alpha) || l->alpha < 0)
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: adapter.lora.alpha is %g", path, (double)l->alpha);
    return AIGC_OK;
}

static aigc_status take_matrix(loader *l, const gguf_tensor *t, matrix *out)
{
    if (t->type != TYPE_F32 && t->type != TYPE_F16 && t->type != TYPE_BF16)
        return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: tensor %s has type %s (F32, F16 and BF16 are supported)",
                         gguf_path(l->file), t->name, tensor_type_describe(t->type)->name);
    if (t->dims[2] * t->dims[3] != 1)
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: tensor %s is no matrix", gguf_path(l->file), t->name);
    *out = (matrix){t->data, t->type, t->dims[0], t->dims[1], tensor_row_bytes(t->type, t->dims[0])};
    l->n_used++;
    return AIGC_OK;
}

static aigc_status find_pair(loader *l, const char *name, const matrix *base, adapter_pair *out)
{
    char name_a[NAME_BYTES], name_b[NAME_BYTES];
    snprintf(name_a, sizeof name_a, "%s.lora_a", name);
    snprintf(name_b, sizeof name_b, "%s.lora_b", name);
    const gguf_tensor *a = gguf_find_tensor(l->file, name_a), *b = gguf_find_tensor(l->file, name_b);
    adapter_pair pair;
    aigc_status status;
    if (a == NULL && b == NULL)
        return AIGC_OK;
    if (a == NULL || b == NULL)
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: tensor %s is missing", gguf_path(l->file),
                         a == NULL ? name_a : name_b);
    if ((status = take_matrix(l, a, &pair.a)) != AIGC_OK || (status = take_matrix(l, b, &pair.b)) != AIGC_OK)
        return status;
    if (pair.a.k != base->k || pair.b.rows != base->rows)
        return aigc_fail(l->err, AIGC_E_FORMAT,
                         "%s: it adapts another model, its %s is for %zu x %zu, the model's is %zu x %zu",
                         gguf_path(l->file), name, pair.a.k, pair.b.rows, base->k, base->rows);
    if (pair.a.rows != pair.b.k || pair.a.rows > MAX_RANK)
        return aigc_fail(l->err, AIGC_E_FORMAT, "%s: %s of rank %zu and %s of rank %zu don't fit", gguf_path(l->file),
                         name_a, pair.a.rows, name_b, pair.b.k);
    pair.rank = pair.a.rows;
    pair.scale = l->alpha > 0 ? l->alpha / (float)pair.rank : 1.0f;
    if (pair.rank > l->adapter->most_rank)
        l->adapter->most_rank = pair.rank;
    *out = pair;
    return AIGC_OK;
}

static aigc_status find_pairs(loader *l)
{
    const aigc_model *model = l->adapter->model;
    char name[NAME_BYTES - 8];
    l->adapter->layers = aigc_calloc(model->hp.n_layers, sizeof *l->adapter->layers);
    if (l->adapter->layers == NULL)
        return aigc_fail_memory(l->err, "an adapter's layers", model->hp.n_layers * sizeof *l->adapter->layers);
    for (uint32_t i = 0; i < model->hp.n_layers; i++)
        for (int role = 0; role < LAYER_MATRICES; role++) {
            const matrix *base = &model->layers[i].weights[role];
            if (base->data == NULL)
                continue;
            snprintf(name, sizeof name, "blk.%u.%s.weight", i, layer_roles[role].name);
            aigc_status status = find_pair(l, name, base, &l->adapter->layers[i].pairs[role]);
            if (status != AIGC_OK)
                return status;
        }
    return AIGC_OK;
}

/* A tensor that was not found a place for must not be left out silently. */
static aigc_status refuse_unused(loader *l)
{
    const aigc_model *model = l->adapter->model;
    unsigned number;
    char role[32], which;
    int end = 0;
    for (uint64_t i = 0; i < gguf_n_tensors(l->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(l->file, i);
        bool known = false;
        if (sscanf(t->name, "blk.%u.%31[a-z_].weight.lora_%c%n", &number, role, &which, &end) == 3 &&
            t->name[end] == '\0' && (which == 'a' || which == 'b') && number < model->hp.n_layers)
            for (int r = 0; r < LAYER_MATRICES; r++)
                known |= model->layers[number].weights[r].data != NULL && strcmp(layer_roles[r].name, role) == 0;
        if (!known)
            return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: tensor %s adapts nothing that the model's layers have",
                             gguf_path(l->file), t->name);
    }
    return aigc_fail(l->err, AIGC_E_UNSUPPORTED, "%s: %" PRIu64 " of %" PRIu64 " tensors belong to the model's layers",
                     gguf_path(l->file), l->n_used, gguf_n_tensors(l->file));
}

static aigc_status load(aigc_adapter *adapter, aigc_error *err)
{
    loader l = {.adapter = adapter, .file = adapter->file, .err = err};
    aigc_status status;
    if ((status = check_kind(&l)) != AIGC_OK || (status = find_pairs(&l)) != AIGC_OK)
        return status;
    if (l.n_used == 0)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: it adapts nothing", gguf_path(l.file));
    return l.n_used == gguf_n_tensors(l.file) ? AIGC_OK : refuse_unused(&l);
}

/* The file is the adapter's from here on. */
static aigc_status open_file(aigc_model *model, gguf_file *file, aigc_adapter **out, aigc_error *err)
{
    aigc_adapter *adapter = aigc_calloc(1, sizeof *adapter);
    if (adapter == NULL) {
        gguf_close(file);
        return aigc_fail_memory(err, "an adapter", sizeof *adapter);
    }
    atomic_init(&adapter->references, 1);
    adapter->model = model_retain(model);
    adapter->file = file;
    aigc_status status = load(adapter, err);
    if (status != AIGC_OK) {
        aigc_adapter_close(adapter);
        return status;
    }
    *out = adapter;
    return AIGC_OK;
}

static aigc_status check_model(const aigc_model *model, aigc_error *err)
{
    if (model->recipe != NULL)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "%s was opened without its weights", gguf_path(model->file));
}

aigc_status aigc_adapter_open(aigc_model *model, const char *path, aigc_adapter **out, aigc_error *err)
{
    gguf_file *file;
    aigc_status status = check_model(model, err);
    if (status != AIGC_OK || (status = gguf_open(path, &file, err)) != AIGC_OK)
        return status;
    return open_file(model, file, out, err);
}

aigc_status adapter_open_memory(aigc_model *model, const void *data, size_t size, const char *name, aigc_adapter **out,
                                aigc_error *err)
{
    gguf_file *file;
    aigc_status status = check_model(model, err);
    if (status != AIGC_OK || (status = gguf_open_memory(data, size, name, &file, err)) != AIGC_OK)
        return status;
    return open_file(model, file, out, err);
}

aigc_adapter *adapter_retain(aigc_adapter *adapter)
{
    atomic_fetch_add(&adapter->references, 1);
    return adapter;
}

void aigc_adapter_close(aigc_adapter *adapter)
{
    if (adapter == NULL || atomic_fetch_sub(&adapter->references, 1) != 1)
        return;
    free(adapter->layers);
    gguf_close(adapter->file);
    aigc_model_close(adapter->model);
    free(adapter);
}
