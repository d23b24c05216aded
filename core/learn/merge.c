/* merge.c: a model with an adapter's changes in its own weights: W + scale * B A. The interface is in aigc.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/rewrite.h"
#include "model/adapter.h"

typedef struct merger {
    const aigc_adapter *adapter;
    float scale;
    const adapter_pair *pair; /* of the tensor at hand */
    float *a;                 /* [rank][k] */
    float *b;                 /* [rank] one row */
} merger;

/* The adapter's part for a tensor of the model, or NULL. */
static const adapter_pair *find_pair(const aigc_adapter *adapter, const char *name)
{
    char known[96];
    unsigned i;
    if (sscanf(name, "blk.%u.", &i) != 1 || i >= adapter->model->hp.n_layers)
        return NULL;
    for (int role = 0; role < LAYER_MATRICES; role++) {
        const adapter_pair *pair = &adapter->layers[i].pairs[role];
        snprintf(known, sizeof known, "blk.%u.%s.weight", i, layer_roles[role].name);
        if (pair->a.data != NULL && strcmp(name, known) == 0)
            return pair;
    }
    return NULL;
}

static const unsigned char *row_of(const matrix *m, size_t row)
{
    return (const unsigned char *)m->data + row * m->row_bytes;
}

static bool has_pair(void *context, const gguf_tensor *t)
{
    merger *m = context;
    m->pair = find_pair(m->adapter, t->name);
    for (size_t r = 0; m->pair != NULL && r < m->pair->rank; r++)
        tensor_row_to_float(m->pair->a.type, row_of(&m->pair->a, r), m->a + r * m->pair->a.k, m->pair->a.k);
    return m->pair != NULL;
}

static void merge_row(void *context, const gguf_tensor *t, size_t row, float *values)
{
    merger *m = context;
    size_t k = t->dims[0];
    tensor_row_to_float(m->pair->b.type, row_of(&m->pair->b, row), m->b, m->pair->rank);
    rewrite_add_product(m->scale * m->pair->scale, m->b, m->a, m->pair->rank, k, values);
}

static aigc_status merge(merger *m, const char *type, const char *name, const char *path,
                         const volatile sig_atomic_t *interrupt, aigc_error *err)
{
    const aigc_model *model = m->adapter->model;
    size_t widest = 0, rank = m->adapter->most_rank;
    for (int i = 0; i < DIMENSIONS; i++)
        widest = model->hp.dims[i] > widest ? model->hp.dims[i] : widest;
    m->a = aigc_calloc(rank, widest * sizeof *m->a);
    m->b = aigc_calloc(rank, sizeof *m->b);
    aigc_status status = AIGC_OK;
    if (m->a == NULL || m->b == NULL) {
        status = aigc_fail_memory(err, "an adapter's matrix", rank * widest * sizeof *m->a);
    } else {
        rewrite r = {
            .wanted = has_pair, .row = merge_row, .context = m, .type = type, .name = name, .interrupt = interrupt};
        status = rewrite_model(model->file, &r, path, err);
    }
    free(m->a);
    free(m->b);
    return status;
}

aigc_status aigc_merge(const char *base_path, const char *adapter_path, double scale, const char *type,
                       const char *name, const char *path, const volatile sig_atomic_t *interrupt, aigc_error *err)
{
    aigc_model *model;
    aigc_adapter *adapter;
    if (!(scale >= -1e6 && scale <= 1e6))
        return aigc_fail(err, AIGC_E_ARGUMENT, "an adapter's scale must be from -1e6 to 1e6, not %g", scale);
    aigc_status status = aigc_model_open(base_path, AIGC_MODEL_WEIGHTS, &model, err);
    if (status != AIGC_OK)
        return status;
    status = aigc_adapter_open(model, adapter_path, &adapter, err);
    if (status == AIGC_OK) {
        merger m = {.adapter = adapter, .scale = (float)scale};
        status = merge(&m, type, name, path, interrupt, err);
        aigc_adapter_close(adapter);
    }
    aigc_model_close(model);
    return status;
}
