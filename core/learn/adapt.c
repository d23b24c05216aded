/* adapt.c: training that adapts a model: opening the base, and writing what became of it. See trainer.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    o.optimiser = AIGC_OPTIMISER_ADAMW;
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
    o->architecture = t->init->recipe->name;
    o->untied = !learner_layout(t->core)->tied;
    return trainer_load_init(t, err);
}

/* ---- writing ---- */

typedef struct trained_weights {
    const learn_layout *layout;
    const float *weights;
    const float *whole, *a, *b; /* of the tensor at hand: all its values, or its thin matrices */
} trained_weights;

/* The values of a tensor of the layout, or NULL. */
static const float *find_values(const trained_weights *w, const char *name)
{
    for (int i = 0; i < w->layout->n_tensors; i++)
        if (strcmp(w->layout->tensors[i].name, name) == 0)
            return w->weights + w->layout->tensors[i].offset;
    return NULL;
}

/* All weights were trained: they replace the file's. */
static bool is_known(void *context, const gguf_tensor *t)
{
    trained_weights *w = context;
    w->whole = find_values(w, t->name);
    return w->whole != NULL;
}

static void take_row(void *context, const gguf_tensor *t, size_t row, float *values)
{
    const trained_weights *w = context;
    memcpy(values, w->whole + row * t->dims[0], t->dims[0] * sizeof *values);
}

static bool has_lora(void *context, const gguf_tensor *t)
{
    trained_weights *w = context;
    char thin[NAME_BYTES];
    snprintf(thin, sizeof thin, "%.*s.lora_a", NAME_BYTES - 8, t->name);
    w->a = find_values(w, thin);
    snprintf(thin, sizeof thin, "%.*s.lora_b", NAME_BYTES - 8, t->name);
    w->b = find_values(w, thin);
    return w->a != NULL;
}

static void merge_row(void *context, const gguf_tensor *t, size_t row, float *values)
{
    const trained_weights *w = context;
    size_t rank = (size_t)w->layout->lora_rank;
    rewrite_add_product(w->layout->lora_scale, w->b + row * rank, w->a, rank, t->dims[0], values);
}

aigc_status trainer_write_base(const aigc_trainer *t, const char *path, const char *type, const char *name,
                               aigc_error *err)
{
    trained_weights w = {.layout = learner_layout(t->core), .weights = learner_weights(t->core)};
    bool lora = w.layout->lora_rank > 0, adapted = t->options.base != NULL;
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.context_length", w.layout->recipe->name);
    rewrite r = {.wanted = lora ? has_lora : is_known,
                 .row = lora ? merge_row : take_row,
                 .context = &w,
                 .type = type,
                 .name = name,
                 .notes = t->notes,
                 .n_notes = t->n_notes,
                 .context_key = adapted ? NULL : key,
                 .n_context = w.layout->hp.n_context,
                 .interrupt = trainer_interrupt(t)};
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
    gguf_writer_set_interrupt(w, trainer_interrupt(t));
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
