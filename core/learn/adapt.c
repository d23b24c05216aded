/* adapt.c: training that adapts a model: opening the base, and writing what became of it. See trainer.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learn/initial.h"
#include "learn/rewrite.h"
#include "learn/trainer.h"

enum { MOST_CONTEXT_UNASKED = 512, LEAST_CONTEXT = 8, NAME_BYTES = 96 };

aigc_train_options aigc_finetune_defaults(void)
{
    aigc_train_options o = aigc_train_defaults();
    o.lora_rank = 8;
    o.lora_alpha = 16;
    o.preference_beta = 0.1;
    o.n_sequences = 4;
    o.rate = 0;
    o.least_rate = 0;
    o.weight_decay = 0;
    return o;
}

/* ---- opening ---- */

static aigc_status check_options(const aigc_train_options *o, aigc_error *err)
{
    if (o->architecture != NULL || o->n_layers != 0 || o->n_embd != 0 || o->n_heads != 0 || o->n_kv_heads != 0 ||
        o->n_ff != 0 || o->untied)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the shape of a model that is adapted can't be chosen");
    if (!(o->preference_beta > 0) || o->preference_beta > 1e6)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the preferences' beta must be above 0 and at most 1e6, not %g",
                         o->preference_beta);
    if (o->n_context != 0 && o->n_context < LEAST_CONTEXT)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a context of %d tokens is too short (at least %d)", o->n_context,
                         LEAST_CONTEXT);
    return AIGC_OK;
}

aigc_status trainer_open_base(aigc_trainer *t, aigc_error *err)
{
    aigc_train_options *o = &t->options;
    aigc_status status = check_options(o, err);
    if (status != AIGC_OK || (status = aigc_model_open(o->base, AIGC_MODEL_ALL, &t->init, err)) != AIGC_OK)
        return status;
    t->vocabulary = t->init->file;
    t->tokens = t->init->tokens;
    if (o->n_context == 0)
        o->n_context = t->init->hp.n_context < MOST_CONTEXT_UNASKED ? (int)t->init->hp.n_context : MOST_CONTEXT_UNASKED;
    status = learner_create_from(t->init, o->n_context, o->lora_rank, o->lora_alpha, o->n_sequences, o->n_threads,
                                 &t->core, err);
    if (status != AIGC_OK)
        return status;
    const learn_layout *layout = learner_layout(t->core);
    o->architecture = layout->recipe->name;
    o->untied = !layout->tied;
    layout_start_from(layout, t->init, o->seed, learner_weights(t->core));
    t->init_hash = initial_hash(layout, learner_weights(t->core));
    return AIGC_OK;
}

/* ---- writing ---- */

typedef struct trained_weights {
    const learn_layout *layout;
    const float *weights;
} trained_weights;

/* The tensor's number in the layout, or NO_TENSOR. */
static int find_tensor(const learn_layout *l, const char *name)
{
    for (int i = 0; i < l->n_tensors; i++)
        if (strcmp(l->tensors[i].name, name) == 0)
            return i;
    return NO_TENSOR;
}

static const float *values_of(const trained_weights *w, int tensor)
{
    return w->weights + w->layout->tensors[tensor].offset;
}

/* Whole weights were trained: they replace the file's. */
static bool is_known(void *context, const gguf_tensor *t)
{
    const trained_weights *w = context;
    return find_tensor(w->layout, t->name) != NO_TENSOR;
}

static void take_row(void *context, const gguf_tensor *t, size_t row, float *values)
{
    const trained_weights *w = context;
    memcpy(values, values_of(w, find_tensor(w->layout, t->name)) + row * t->dims[0], t->dims[0] * sizeof *values);
}

/* The thin matrices of a tensor; false if it has none. */
static bool find_lora(const learn_layout *l, const char *name, int *a, int *b)
{
    char thin[NAME_BYTES];
    snprintf(thin, sizeof thin, "%s.lora_a", name);
    *a = find_tensor(l, thin);
    *b = *a + 1; /* add_lora() of layout.c */
    return *a != NO_TENSOR;
}

static bool has_lora(void *context, const gguf_tensor *t)
{
    const trained_weights *w = context;
    int a, b;
    return find_lora(w->layout, t->name, &a, &b);
}

/* values += scale * row of B times A */
static void merge_row(void *context, const gguf_tensor *t, size_t row, float *values)
{
    const trained_weights *w = context;
    size_t k = t->dims[0], rank = (size_t)w->layout->lora_rank;
    int a, b;
    find_lora(w->layout, t->name, &a, &b);
    for (size_t r = 0; r < rank; r++) {
        float factor = w->layout->lora_scale * values_of(w, b)[row * rank + r];
        for (size_t i = 0; i < k; i++)
            values[i] += factor * values_of(w, a)[r * k + i];
    }
}

aigc_status trainer_write_base(const aigc_trainer *t, const char *path, const char *type, const char *name,
                               aigc_error *err)
{
    trained_weights w = {learner_layout(t->core), learner_weights(t->core)};
    bool lora = w.layout->lora_rank > 0;
    rewrite r = {lora ? has_lora : is_known, lora ? merge_row : take_row, &w, type, name};
    return rewrite_model(t->init->file, &r, path, err);
}

aigc_status aigc_trainer_write_adapter(const aigc_trainer *t, const char *path, const char *name, aigc_error *err)
{
    const learn_layout *l = learner_layout(t->core);
    if (l->lora_rank == 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "there is no adapter to write: all weights were trained");
    gguf_writer *w;
    aigc_status status = gguf_writer_create(&w, err);
    if (status != AIGC_OK)
        return status;
    gguf_writer_set_string(w, "general.type", "adapter", 7);
    gguf_writer_set_string(w, "general.architecture", l->recipe->name, strlen(l->recipe->name));
    gguf_writer_set_string(w, "general.name", name, strlen(name));
    gguf_writer_set_string(w, "general.base_model.0.name", t->init->name, strlen(t->init->name));
    gguf_writer_set_u32(w, "general.base_model.count", 1);
    gguf_writer_set_string(w, "adapter.type", "lora", 4);
    gguf_writer_set_f32(w, "adapter.lora.alpha", (float)t->options.lora_alpha);
    for (int i = 0; i < l->n_tensors; i++) {
        uint64_t dims[2] = {l->tensors[i].k, l->tensors[i].rows};
        if (l->tensors[i].offset >= l->first_trained)
            gguf_writer_add_tensor(w, l->tensors[i].name, TYPE_F32, 2, dims);
    }
    status = gguf_writer_begin(w, path, err);
    for (int i = 0; i < l->n_tensors && status == AIGC_OK; i++) {
        const learn_tensor *tensor = &l->tensors[i];
        if (tensor->offset >= l->first_trained)
            status = gguf_writer_data(w, learner_weights(t->core) + tensor->offset,
                                      tensor->k * tensor->rows * sizeof(float), err);
    }
    if (status != AIGC_OK) {
        gguf_writer_abandon(w);
        return status;
    }
    return gguf_writer_finish(w, err);
}
