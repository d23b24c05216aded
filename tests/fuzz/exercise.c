/* exercise.c: see exercise.h. */
#include "exercise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/adapter.h"

static const char *const texts[] = {
    "Once upon a time",
    "",
    " the  th\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 1234567890\n\n\t\xf0\x9f\x98\x80<s></s><|endoftext|>",
    "<0x41>\xe2\x96\x81 don't [PAD1]",
};

enum { N_TEXTS = sizeof texts / sizeof texts[0] };

const char *depth_name(depth d)
{
    static const char *const names[DEPTHS] = {"were tried", "opened", "had a tokenizer", "had all their weights",
                                              "generated text"};

    return names[d];
}

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "exercise: %s\n", what);
        abort();
    }
}

static void require_error(aigc_status status, const aigc_error *err)
{
    require(err->code == status, "the error's code is not what was returned");
    require(err->message[0] != '\0', "an error without a message");
    require(utf8_valid(err->message, strlen(err->message)) == strlen(err->message), "a message that is not UTF-8");
}

/* ---- the file ---- */

static void check_tensors(const gguf_file *file, const unsigned char *data, size_t size)
{
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        size_t offset = (size_t)((const unsigned char *)t->data - data);

        require(offset <= size && t->bytes <= size - offset, "a tensor's data are outside the file");
        require(gguf_find_tensor(file, t->name) == t, "a tensor is not found by its name");
        require(tensor_row_bytes(t->type, t->dims[0]) * (t->n_elements / t->dims[0]) == t->bytes,
                "a tensor's rows are not its bytes");
    }
}

static void check_values(const gguf_file *file)
{
    for (uint64_t i = 0; i < gguf_n_values(file); i++) {
        const gguf_value *v = gguf_value_at(file, i);
        char *line = malloc(1 + i % 100);
        uint32_t u;
        int64_t n;
        float f;
        bool b;
        gguf_string s;
        aigc_error err;

        require(gguf_find(file, v->key) == v, "a value is not found by its key");
        gguf_value_print(v, line, 1 + i % 100);
        require(utf8_valid(line, strlen(line)) == strlen(line), "a printed value is not UTF-8");
        free(line);
        if (gguf_get_u32(file, v->key, true, &u, &err) != AIGC_OK)
            require_error(AIGC_E_FORMAT, &err);
        gguf_get_i64(file, v->key, true, &n, &err);
        gguf_get_f32(file, v->key, true, &f, &err);
        gguf_get_bool(file, v->key, true, &b, &err);
        gguf_get_string(file, v->key, true, &s, &err);
        gguf_array_f64(v, v->n_items - 1);
        gguf_array_i64(v, v->n_items / 2);
    }
}

/* ---- text ---- */

static void check_pieces(const tokenizer *t, const int32_t *ids, size_t n)
{
    static char piece[TOKEN_MAX_BYTES];

    for (size_t i = 0; i < n; i++) {
        require(ids[i] >= 0 && ids[i] < tokenizer_n_vocab(t), "a token is not in the vocabulary");
        require(tokenizer_piece(t, ids[i], i == 0, i % 2 ? AIGC_TEXT_RENDER_SPECIAL : 0, piece) <= TOKEN_MAX_BYTES,
                "a piece is too long");
        tokenizer_is_end(t, ids[i]);
    }
}

static void check_tokenizer(const tokenizer *t, uint64_t variant)
{
    static char piece[TOKEN_MAX_BYTES];

    for (size_t i = 0; i < N_TEXTS; i++) {
        unsigned flags = (unsigned)((variant >> i) & 3); /* add and parse special tokens, or not */
        int32_t *ids = NULL;
        size_t n = 0;
        aigc_error err;
        aigc_status status = tokenizer_encode(t, texts[i], strlen(texts[i]), flags, &ids, &n, &err);

        if (status != AIGC_OK) {
            require_error(status, &err);
            continue;
        }
        check_pieces(t, ids, n);
        free(ids);
    }
    for (int32_t id = -2; id < tokenizer_n_vocab(t) + 2; id += 1 + tokenizer_n_vocab(t) / 50)
        require(tokenizer_piece(t, id, false, AIGC_TEXT_RENDER_SPECIAL, piece) <= TOKEN_MAX_BYTES, "a piece too long");
    require(tokenizer_bos(t) >= -1 && tokenizer_bos(t) < tokenizer_n_vocab(t), "BOS is not in the vocabulary");
    require(tokenizer_eos(t) >= -1 && tokenizer_eos(t) < tokenizer_n_vocab(t), "EOS is not in the vocabulary");
}

/* ---- the model ---- */

static void check_description(const aigc_model *model)
{
    const aigc_model_info *info = aigc_model_describe(model);
    aigc_tensor_info tensor;
    const char *key;
    char value[64];
    aigc_error err;

    for (uint64_t i = 0; i <= info->n_tensors; i++)
        require((aigc_model_tensor(model, i, &tensor, &err) == AIGC_OK) == (i < info->n_tensors), "tensor numbers");
    for (uint64_t i = 0; i <= info->n_metadata; i++)
        require((aigc_model_metadata(model, i, &key, value, sizeof value, &err) == AIGC_OK) == (i < info->n_metadata),
                "metadata numbers");
}

static void take_text(aigc_request *request)
{
    aigc_piece piece;

    while (aigc_request_take(request, &piece))
        require(utf8_valid(piece.text, piece.text_len) == piece.text_len, "generated text is not UTF-8");
}

static void check_tokens(const aigc_request *request, int n, int32_t n_vocab)
{
    const aigc_token *tokens;

    for (int i = 0; i < n; i++) {
        size_t n_tokens = aigc_request_tokens(request, i, &tokens);

        for (size_t k = 0; k < n_tokens; k++)
            require(tokens[k].id >= 0 && tokens[k].id < n_vocab, "a generated token is not in the vocabulary");
    }
}

static bool generate(aigc_engine *engine, const aigc_model *model, uint64_t variant)
{
    aigc_request_options o = aigc_request_defaults();
    aigc_request *request;
    aigc_error err;
    aigc_status status;

    o.prompt = texts[variant % N_TEXTS];
    o.prompt_len = strlen(o.prompt);
    o.max_tokens = 5;
    o.n = 1 + (int)(variant / 4 % 2);
    o.sampling.temperature = variant / 8 % 2;
    o.sampling.top_p = variant / 16 % 2 ? 0.9 : 1;
    o.sampling.top_k = variant / 32 % 2 ? 5 : 0;
    o.sampling.repetition_penalty = variant / 64 % 2 ? 1.3 : 1;
    if (variant % 5 == 0) {
        o.sampling = aigc_sampling_unset();
        aigc_sampling_fill(&o.sampling, model);
    }
    o.sampling.seed = variant;
    o.top_logprobs = (int)(variant / 128 % 3);
    o.prompt_logprobs = variant / 8 % 3 == 0;
    status = aigc_submit(engine, &o, &request, &err);
    if (status != AIGC_OK) {
        require_error(status, &err);
        return false;
    }
    for (int steps = 0; !aigc_request_done(request); steps++) {
        require(steps < 1000, "a request does not end");
        status = aigc_step(engine, &err);
        if (status != AIGC_OK)
            require_error(status, &err);
        take_text(request);
    }
    take_text(request);
    check_tokens(request, o.n, (int32_t)aigc_model_describe(model)->n_vocab);
    aigc_request_free(request);
    return true;
}

static depth run_model(aigc_model *model, const aigc_adapter_use *adapter, uint64_t variant)
{
    aigc_engine_options o = aigc_engine_defaults();
    aigc_engine *engine;
    aigc_error err;
    aigc_status status;
    bool generated;

    check_description(model);
    o.n_threads = 1;
    o.n_sequences = 2;
    o.n_batch = 8;
    o.n_context = variant % 3 ? 64 : 0;
    o.kv_bytes = 1 << 20;
    o.kv = variant / 2 % 2 ? AIGC_KV_F32 : AIGC_KV_F16;
    o.adapters = adapter;
    o.n_adapters = adapter ? 1 : 0;
    status = aigc_engine_open(model, &o, &engine, &err);
    if (status != AIGC_OK) {
        require_error(status, &err);
        return DEPTH_LOADED;
    }
    generated = generate(engine, model, variant);
    aigc_engine_close(engine);
    return generated ? DEPTH_GENERATED : DEPTH_LOADED;
}

/* ---- adapters ---- */

static aigc_model *adapted;

bool exercise_adapters_of(const unsigned char *data, size_t size)
{
    aigc_error err;

    return model_open_memory(data, size, "base.gguf", AIGC_MODEL_ALL, &adapted, &err) == AIGC_OK;
}

static bool is_adapter(const gguf_file *file)
{
    gguf_string type;

    return adapted && gguf_get_string(file, "general.type", true, &type, NULL) == AIGC_OK && type.len == 7 &&
           memcmp(type.data, "adapter", 7) == 0;
}

static depth try_adapter(const unsigned char *data, size_t size, uint64_t variant)
{
    aigc_adapter *adapter;
    aigc_error err;
    aigc_status status = adapter_open_memory(adapted, data, size, "fuzz.gguf", &adapter, &err);
    depth reached;

    if (status != AIGC_OK) {
        require_error(status, &err);
        return DEPTH_OPENED;
    }
    reached = run_model(adapted, &(aigc_adapter_use){adapter, variant % 7 * 0.5f}, variant);
    aigc_adapter_close(adapter);
    return reached;
}

/* ---- the whole ---- */

depth exercise(const unsigned char *data, size_t size, uint64_t variant)
{
    gguf_file *file;
    tokenizer *t;
    aigc_model *model;
    aigc_error err;
    depth reached = DEPTH_OPENED;
    bool adapts;
    aigc_status status = gguf_open_memory(data, size, "fuzz.gguf", &file, &err);

    if (status != AIGC_OK) {
        require_error(status, &err);
        return DEPTH_REFUSED;
    }
    check_tensors(file, data, size);
    check_values(file);
    status = tokenizer_open(file, &t, &err);
    if (status == AIGC_OK) {
        check_tokenizer(t, variant);
        tokenizer_close(t);
        reached = DEPTH_TOKENIZED;
    } else
        require_error(status, &err);
    adapts = is_adapter(file);
    gguf_close(file);
    if (adapts)
        return try_adapter(data, size, variant);
    status = model_open_memory(data, size, "fuzz.gguf", AIGC_MODEL_DESCRIBE, &model, &err);
    require(status == AIGC_OK, "a file that opens can't be described");
    check_description(model);
    aigc_model_check(model, &err);
    aigc_model_close(model);
    status = model_open_memory(data, size, "fuzz.gguf", AIGC_MODEL_ALL, &model, &err);
    if (status != AIGC_OK) {
        require_error(status, &err);
        return reached;
    }
    reached = run_model(model, NULL, variant);
    aigc_model_close(model);
    return reached;
}
