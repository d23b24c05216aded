/* model.c: opening a GGUF file and describing it. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

static char *copy_string(gguf_string s)
{
    char *copy = aigc_calloc(s.len + 1, 1);
    if (copy != NULL)
        memcpy(copy, s.data, s.len);
    return copy;
}

/* A string of the metadata, printable, "" if it is absent or of another type: descriptions are not worth an error. */
static aigc_status describe_string(const gguf_file *file, const char *key, char **out, aigc_error *err)
{
    gguf_string s = {"", 0};
    if (gguf_get_string(file, key, false, &s, NULL) != AIGC_OK || utf8_valid(s.data, s.len) != s.len ||
        memchr(s.data, '\0', s.len) != NULL)
        s = (gguf_string){"", 0};
    if ((*out = copy_string(s)) != NULL)
        utf8_make_printable(*out, s.len);
    return *out != NULL ? AIGC_OK : aigc_fail_memory(err, key, s.len + 1);
}

static void describe_u32(const aigc_model *model, const char *suffix, uint32_t *out)
{
    char key[256];
    int n = snprintf(key, sizeof key, "%s.%s", model->architecture, suffix);
    if (n > 0 && (size_t)n < sizeof key)
        gguf_get_u32(model->file, key, false, out, NULL); /* left 0 if it is of another type */
}

static void describe_token(const gguf_file *file, const char *key, int32_t *out)
{
    uint32_t id = UINT32_MAX;
    if (gguf_get_u32(file, key, false, &id, NULL) == AIGC_OK && id <= INT32_MAX)
        *out = (int32_t)id;
}

/* The type that holds most elements. */
static const char *main_type(const gguf_file *file)
{
    uint64_t elements[64] = {0}, most = 0;
    const char *name = "";
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        uint64_t *n = &elements[(unsigned)t->type % 64];
        *n += t->n_elements;
        if (*n > most) {
            most = *n;
            name = tensor_type_describe(t->type)->name;
        }
    }
    return name;
}

static aigc_status describe(aigc_model *model, aigc_error *err)
{
    const gguf_file *file = model->file;
    aigc_model_info *info = &model->info;
    aigc_status status;
    if ((status = describe_string(file, "general.name", &model->name, err)) != AIGC_OK ||
        (status = describe_string(file, "general.architecture", &model->architecture, err)) != AIGC_OK ||
        (status = describe_string(file, "tokenizer.ggml.model", &model->tokenizer_name, err)) != AIGC_OK)
        return status;
    *info = (aigc_model_info){
        .name = model->name,
        .architecture = model->architecture,
        .tokenizer = model->tokenizer_name,
        .quantisation = main_type(file),
        .file_bytes = gguf_size(file),
        .n_tensors = gguf_n_tensors(file),
        .n_metadata = gguf_n_values(file),
        .gguf_version = gguf_version(file),
        .bos = -1,
        .eos = -1,
    };
    for (uint64_t i = 0; i < info->n_tensors; i++) {
        info->n_params += gguf_tensor_at(file, i)->n_elements;
        info->weight_bytes += gguf_tensor_at(file, i)->bytes;
    }
    describe_u32(model, "context_length", &info->n_context);
    describe_u32(model, "embedding_length", &info->n_embd);
    describe_u32(model, "block_count", &info->n_layers);
    describe_u32(model, "attention.head_count", &info->n_heads);
    info->n_kv_heads = info->n_heads;
    describe_u32(model, "attention.head_count_kv", &info->n_kv_heads);
    describe_u32(model, "feed_forward_length", &info->n_ff);
    describe_token(file, "tokenizer.ggml.bos_token_id", &info->bos);
    describe_token(file, "tokenizer.ggml.eos_token_id", &info->eos);
    const gguf_value *vocabulary = gguf_find(file, "tokenizer.ggml.tokens");
    if (vocabulary != NULL && vocabulary->type == GGUF_ARRAY && vocabulary->n_items <= UINT32_MAX)
        info->n_vocab = (uint32_t)vocabulary->n_items;
    const gguf_tensor *embeddings = gguf_find_tensor(file, "token_embd.weight");
    if (embeddings != NULL && embeddings->dims[1] <= UINT32_MAX)
        info->n_vocab = (uint32_t)embeddings->dims[1];
    return AIGC_OK;
}

/* A vocabulary larger than the matrix of embeddings would give ids that the transformer can't look up. */
static aigc_status check_vocabulary(const aigc_model *model, aigc_error *err)
{
    int32_t n = tokenizer_n_vocab(model->tokens);
    if ((uint32_t)n > model->hp.n_vocab)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: the tokenizer has %d tokens but the embeddings only %u",
                         gguf_path(model->file), n, model->hp.n_vocab);
    return AIGC_OK;
}

static aigc_status prepare(aigc_model *model, unsigned parts, aigc_error *err)
{
    aigc_status status = describe(model, err);
    if (status == AIGC_OK && parts & AIGC_MODEL_WEIGHTS)
        status = model_load_weights(model, err);
    if (status == AIGC_OK && parts & AIGC_MODEL_TOKENIZER)
        status = tokenizer_open(model->file, &model->tokens, err);
    if (status != AIGC_OK || model->tokens == NULL)
        return status;
    model->info.bos = tokenizer_bos(model->tokens);
    model->info.eos = tokenizer_eos(model->tokens);
    return parts & AIGC_MODEL_WEIGHTS ? check_vocabulary(model, err) : AIGC_OK;
}

/* Makes a model of an open file, which it owns from then on: it is closed on failure. */
static aigc_status open_file(gguf_file *file, unsigned parts, aigc_model **out, aigc_error *err)
{
    aigc_model *model = aigc_calloc(1, sizeof *model);
    if (model == NULL) {
        gguf_close(file);
        return aigc_fail_memory(err, "a model", sizeof *model);
    }
    atomic_init(&model->references, 1);
    model->file = file;
    int guard = gguf_guard(file);
    aigc_status status = prepare(model, parts, err);
    if (gguf_check_whole(file, NULL) != AIGC_OK)
        status = gguf_check_whole(file, err); /* the reason for whatever else was found */
    gguf_unguard(guard);
    if (status != AIGC_OK) {
        aigc_model_close(model);
        return status;
    }
    *out = model;
    return AIGC_OK;
}

aigc_status aigc_model_open(const char *path, unsigned parts, aigc_model **out, aigc_error *err)
{
    if (path == NULL || path[0] == '\0')
        return aigc_fail(err, AIGC_E_ARGUMENT, "the path of the model is empty");
    if (parts & ~(unsigned)AIGC_MODEL_ALL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "unknown parts of a model: 0x%x", parts);
    gguf_file *file = NULL;
    aigc_status status = gguf_open(path, &file, err);
    return status == AIGC_OK ? open_file(file, parts, out, err) : status;
}

aigc_status model_open_memory(const void *data, size_t size, const char *name, unsigned parts, aigc_model **out,
                              aigc_error *err)
{
    gguf_file *file = NULL;
    aigc_status status = gguf_open_memory(data, size, name, &file, err);
    return status == AIGC_OK ? open_file(file, parts, out, err) : status;
}

aigc_model *model_retain(aigc_model *model)
{
    atomic_fetch_add(&model->references, 1);
    return model;
}

void aigc_model_close(aigc_model *model)
{
    if (model == NULL || atomic_fetch_sub(&model->references, 1) != 1)
        return;
    model_free_weights(model);
    tokenizer_close(model->tokens);
    gguf_close(model->file);
    free(model->name);
    free(model->architecture);
    free(model->tokenizer_name);
    free(model);
}

const aigc_model_info *aigc_model_describe(const aigc_model *model)
{
    return &model->info;
}

aigc_status aigc_model_tensor(const aigc_model *model, uint64_t i, aigc_tensor_info *info, aigc_error *err)
{
    if (i >= model->info.n_tensors)
        return aigc_fail(err, AIGC_E_ARGUMENT, "tensor %llu does not exist, there are %llu", (unsigned long long)i,
                         (unsigned long long)model->info.n_tensors);
    const gguf_tensor *t = gguf_tensor_at(model->file, i);
    const tensor_type_info *type = tensor_type_describe(t->type);
    *info = (aigc_tensor_info){
        .name = t->name,
        .type = type->name,
        .n_dims = t->n_dims,
        .dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]},
        .bytes = t->bytes,
        .runnable = type->runnable,
    };
    return AIGC_OK;
}

aigc_status aigc_model_metadata(const aigc_model *model, uint64_t i, const char **key, char *value, size_t size,
                                aigc_error *err)
{
    if (i >= model->info.n_metadata)
        return aigc_fail(err, AIGC_E_ARGUMENT, "metadata pair %llu does not exist, there are %llu",
                         (unsigned long long)i, (unsigned long long)model->info.n_metadata);
    const gguf_value *v = gguf_value_at(model->file, i);
    *key = v->key;
    gguf_value_print(v, value, size);
    return AIGC_OK;
}

aigc_status aigc_model_check(const aigc_model *model, aigc_error *err)
{
    if (model->recipe != NULL)
        return AIGC_OK; /* opened with its weights, so they were found */
    aigc_model trial = {.file = model->file};
    aigc_status status = model_load_weights(&trial, err);
    model_free_weights(&trial);
    return status;
}
