/*
 * test_adapter.c: adapters beside a model: they change what a merge changes, give the same bits in any batch and on any
 * number of threads, and a damaged or foreign file is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learn_reference.h"
#include "logits.h"
#include "model/adapter.h"
#include "vocabularies.h"

#include "../models/synthetic.h"

enum { N_TOKENS = 70, RANK = 5 };

static char directory[4096], base_path[4200], adapter_path[4200];

static const synthetic_shape shapes[] = {
    {"llama", "llama", 2, 64, 4, 2, 96, 128, 290, 1e4f, false, VOCABULARY_BYTES_SPM},
    {"qwen2", "qwen2", 2, 64, 4, 2, 96, 128, 262, 1e6f, true, VOCABULARY_BYTES_BPE},
    {"gpt2", "gpt2", 2, 64, 4, 4, 96, 128, 262, 0, true, VOCABULARY_BYTES_BPE},
};

static aigc_model *open_base(const synthetic_shape *shape, tensor_type type)
{
    synthetic_options o = {.shape = shape, .type = type, .seed = 3, .n_threads = 1};
    aigc_model *model;
    aigc_error err;

    snprintf(base_path, sizeof base_path, "%s/base.gguf", directory);
    if (synthetic_write(&o, base_path, &err) != AIGC_OK ||
        aigc_model_open(base_path, AIGC_MODEL_ALL, &model, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return model;
}

/* What can be wrong with an adapter. */
typedef struct made_adapter {
    const char *general_type, *adapter_type, *architecture; /* NULL: as it should be */
    float alpha;
    tensor_type type;
    int rank, wrong_rank;  /* of the first lora_b, if not 0 */
    int wider;             /* added to the first lora_a's inputs */
    const char *extra;     /* one more tensor of this name */
    bool no_b, no_tensors; /* the first matrix has no lora_b */
} made_adapter;

static const made_adapter GOOD = {.alpha = 2 * RANK, .type = TYPE_F32, .rank = RANK};

static void set_string(gguf_writer *w, const char *key, const char *value)
{
    gguf_writer_set_string(w, key, value, strlen(value));
}

/* The tensors of an adapter for all matrices; the writer's second pass writes their data. */
static void put_tensors(gguf_writer *w, const aigc_model *model, const made_adapter *m, bool data)
{
    uint64_t number = 0;
    aigc_error err;

    for (uint32_t i = 0; i < model->hp.n_layers && !m->no_tensors; i++)
        for (int role = 0; role < LAYER_MATRICES; role++)
            for (int b = 0; b < 2 && model->layers[i].weights[role].data; b++, number++) {
                const matrix *base = &model->layers[i].weights[role];
                bool first = number < 2;
                uint64_t dims[2] = {base->k + (uint64_t)(first ? m->wider : 0), (uint64_t)m->rank};
                char name[96];

                if (b) {
                    dims[0] = (uint64_t)(first && m->wrong_rank ? m->wrong_rank : m->rank);
                    dims[1] = base->rows;
                }
                if (b && first && m->no_b)
                    continue;
                snprintf(name, sizeof name, "blk.%u.%s.weight.lora_%c", i, layer_roles[role].name, b ? 'b' : 'a');
                if (!data) {
                    gguf_writer_add_tensor(w, name, m->type, 2, dims);
                    continue;
                }
                float *row = calloc(dims[0], sizeof *row);
                unsigned char *out = calloc(dims[0], 4);
                for (uint64_t r = 0; r < dims[1]; r++) {
                    for (uint64_t k = 0; k < dims[0]; k++)
                        row[k] = (float)(0.2 * formula_unit(number * 1000000 + r * dims[0] + k));
                    assert_true(tensor_row_from_float(m->type, row, out, dims[0]));
                    assert_int_equal(gguf_writer_data(w, out, tensor_row_bytes(m->type, dims[0]), &err), AIGC_OK);
                }
                free(row);
                free(out);
            }
}

static void write_adapter(const aigc_model *model, const made_adapter *m)
{
    uint64_t one[1] = {1};
    gguf_writer *w;
    aigc_error err;
    float zero = 0;

    snprintf(adapter_path, sizeof adapter_path, "%s/adapter.gguf", directory);
    assert_int_equal(gguf_writer_create(&w, &err), AIGC_OK);
    set_string(w, "general.type", m->general_type ? m->general_type : "adapter");
    set_string(w, "general.architecture", m->architecture ? m->architecture : model->recipe->name);
    set_string(w, "adapter.type", m->adapter_type ? m->adapter_type : "lora");
    gguf_writer_set_f32(w, "adapter.lora.alpha", m->alpha);
    put_tensors(w, model, m, false);
    if (m->extra)
        gguf_writer_add_tensor(w, m->extra, TYPE_F32, 1, one);
    if (gguf_writer_begin(w, adapter_path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    put_tensors(w, model, m, true);
    if (m->extra)
        assert_int_equal(gguf_writer_data(w, &zero, sizeof zero, &err), AIGC_OK);
    if (gguf_writer_finish(w, &err) != AIGC_OK)
        fail_msg("%s", err.message);
}

static aigc_adapter *open_adapter(aigc_model *model, const made_adapter *m)
{
    aigc_adapter *adapter;
    aigc_error err;

    write_adapter(model, m);
    if (aigc_adapter_open(model, adapter_path, &adapter, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return adapter;
}

/* ---- what they change ---- */

typedef struct how {
    int n_threads, n_batch;
    const aigc_adapter_use *adapters;
    size_t n_adapters;
} how;

/* Log-probabilities of some tokens, given those before. */
static void score(aigc_model *model, how h, float out[N_TOKENS])
{
    aigc_engine_options o = aigc_engine_defaults();
    aigc_request_options r = aigc_request_defaults();
    int32_t tokens[N_TOKENS];
    const aigc_token *scored;
    aigc_engine *engine;
    aigc_request *request;
    aigc_error err;

    for (int t = 0; t < N_TOKENS; t++)
        tokens[t] = (int32_t)((formula_unit((uint64_t)t + 5) + 1) / 2 * 260);
    o.n_threads = h.n_threads;
    o.n_batch = h.n_batch;
    o.n_sequences = 1;
    o.kv = AIGC_KV_F32;
    o.adapters = h.adapters;
    o.n_adapters = h.n_adapters;
    r.tokens = tokens;
    r.n_tokens = N_TOKENS;
    r.max_tokens = 0;
    r.prompt_logprobs = true;
    if (aigc_engine_open(model, &o, &engine, &err) != AIGC_OK || aigc_submit(engine, &r, &request, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    while (!aigc_request_done(request))
        assert_int_equal(aigc_step(engine, &err), AIGC_OK);
    assert_int_equal(aigc_request_prompt(request, &scored), N_TOKENS);
    for (int t = 0; t < N_TOKENS; t++)
        out[t] = scored[t].logprob;
    aigc_request_free(request);
    aigc_engine_close(engine);
}

static double largest_difference(const float *a, const float *b)
{
    double most = 0;

    for (int t = 0; t < N_TOKENS; t++)
        most = fmax(most, fabs((double)a[t] - (double)b[t]));
    return most;
}

/* The model of base_path with the adapter merged into it. */
static void score_merged(double scale, const char *type, float out[N_TOKENS])
{
    char path[4200];
    aigc_model *merged;
    aigc_error err;

    snprintf(path, sizeof path, "%s/merged.gguf", directory);
    if (aigc_merge(base_path, adapter_path, scale, type, "merged", path, NULL, &err) != AIGC_OK ||
        aigc_model_open(path, AIGC_MODEL_ALL, &merged, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_string_equal(aigc_model_describe(merged)->name, "merged");
    score(merged, (how){2, 16, NULL, 0}, out);
    aigc_model_close(merged);
}

static void test_merged(void **state)
{
    const tensor_type types[] = {TYPE_F32, TYPE_F16, TYPE_BF16};
    float plain[N_TOKENS], adapted[N_TOKENS], merged[N_TOKENS];

    (void)state;
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < 3; i++) {
            aigc_model *model = open_base(&shapes[s], TYPE_F32);
            made_adapter made = GOOD;
            made.type = types[i];
            aigc_adapter_use use = {open_adapter(model, &made), 1.5f};

            score(model, (how){2, 16, NULL, 0}, plain);
            score(model, (how){2, 16, &use, 1}, adapted);
            score_merged(1.5, NULL, merged);
            double moved = largest_difference(plain, adapted), off = largest_difference(adapted, merged);
            if (i == 0)
                print_message("# %s: moved by %.3g, merged differs by %.2g\n", shapes[s].name, moved, off);
            assert_true(moved > 0.1);
            assert_true(off < 1e-4 * (1 + moved));
            aigc_adapter_close(use.adapter);
            aigc_model_close(model);
        }
}

/* Quantised: the merge rounds the weights anew, so it is as near as that allows; --type chooses another. */
static void test_merged_types(void **state)
{
    float plain[N_TOKENS], adapted[N_TOKENS], merged[N_TOKENS];
    aigc_model *model = open_base(&shapes[0], TYPE_Q8_0);
    aigc_adapter_use use = {open_adapter(model, &GOOD), 1};
    aigc_error err;

    (void)state;
    score(model, (how){2, 16, NULL, 0}, plain);
    score(model, (how){2, 16, &use, 1}, adapted);
    double moved = largest_difference(plain, adapted);
    score_merged(1, NULL, merged);
    assert_true(moved > 0.1 && largest_difference(adapted, merged) < 0.2 * moved);
    score_merged(1, "F16", merged);
    assert_true(largest_difference(adapted, merged) < 0.2 * moved);
    assert_int_equal(aigc_merge(base_path, adapter_path, 1, "Q9", NULL, "/tmp/never", NULL, &err), AIGC_E_ARGUMENT);
    assert_int_equal(aigc_merge(base_path, base_path, 1, NULL, NULL, "/tmp/never", NULL, &err), AIGC_E_FORMAT);
    assert_int_equal(aigc_merge(base_path, adapter_path, NAN, NULL, NULL, "/tmp/never", NULL, &err), AIGC_E_ARGUMENT);
    aigc_adapter_close(use.adapter);
    aigc_model_close(model);
}

static void test_same_bits(void **state)
{
    const how ways[] = {{1, 1, NULL, 0}, {1, 7, NULL, 0}, {3, 16, NULL, 0}, {2, 128, NULL, 0}};
    const tensor_type types[] = {TYPE_F32, TYPE_Q8_0, TYPE_Q4_0};
    float first[N_TOKENS], again[N_TOKENS], other[N_TOKENS];

    (void)state;
    for (int i = 0; i < 3; i++) {
        aigc_model *model = open_base(&shapes[i], types[i]);
        aigc_adapter *adapter = open_adapter(model, &GOOD);
        aigc_adapter_use uses[] = {{adapter, 1}, {adapter, -0.5f}, {adapter, 0}};

        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
            how h = ways[w];
            h.adapters = uses;
            h.n_adapters = 2;
            score(model, h, w == 0 ? first : again);
            if (w > 0)
                assert_memory_equal(first, again, sizeof first);
        }
        score(model, (how){2, 16, uses, 1}, other);
        assert_memory_not_equal(first, other, sizeof first);
        /* Nothing times an adapter is nothing. */
        score(model, (how){2, 16, NULL, 0}, first);
        score(model, (how){2, 16, &uses[2], 1}, again);
        assert_memory_equal(first, again, sizeof first);
        aigc_adapter_close(adapter);
        aigc_model_close(model);
    }
}

/* ---- what is refused ---- */

static void expect_refusal(aigc_model *model, made_adapter m, const char *part)
{
    aigc_adapter *adapter;
    aigc_error err;

    write_adapter(model, &m);
    assert_int_not_equal(aigc_adapter_open(model, adapter_path, &adapter, &err), AIGC_OK);
    if (strstr(err.message, part) == NULL || strncmp(err.message, adapter_path, strlen(adapter_path)) != 0)
        fail_msg("'%s' is not in '%s', or the path is not", part, err.message);
}

static void test_refusals(void **state)
{
    aigc_model *model = open_base(&shapes[0], TYPE_F32);
    made_adapter m;

    (void)state;
    m = GOOD, m.general_type = "model", expect_refusal(model, m, "no adapter");
    m = GOOD, m.adapter_type = "ia3", expect_refusal(model, m, "'ia3'");
    m = GOOD, m.architecture = "gpt2", expect_refusal(model, m, "'gpt2'");
    m = GOOD, m.alpha = NAN, expect_refusal(model, m, "alpha");
    m = GOOD, m.alpha = -1, expect_refusal(model, m, "alpha");
    m = GOOD, m.wider = 1, expect_refusal(model, m, "another model");
    m = GOOD, m.wrong_rank = RANK + 1, expect_refusal(model, m, "don't fit");
    m = GOOD, m.no_b = true, expect_refusal(model, m, "attn_q.weight.lora_b is missing");
    m = GOOD, m.no_tensors = true, expect_refusal(model, m, "nothing");
    m = GOOD, m.extra = "output.weight.lora_a", expect_refusal(model, m, "output.weight.lora_a");
    m = GOOD, m.extra = "blk.7.attn_q.weight.lora_a", expect_refusal(model, m, "blk.7");
    m = GOOD, m.type = TYPE_Q8_0, m.rank = 32, expect_refusal(model, m, "Q8_0");
    aigc_model_close(model);
}

static void test_engine_refusals(void **state)
{
    aigc_model *model = open_base(&shapes[0], TYPE_F32), *twin = open_base(&shapes[0], TYPE_F32);
    aigc_adapter_use use = {open_adapter(model, &GOOD), 1}, many[9];
    aigc_engine_options o = aigc_engine_defaults();
    aigc_engine *engine;
    aigc_error err;

    (void)state;
    for (int i = 0; i < 9; i++)
        many[i] = use;
    o.adapters = many;
    o.n_adapters = 9;
    assert_int_equal(aigc_engine_open(model, &o, &engine, &err), AIGC_E_ARGUMENT);
    o.n_adapters = 1;
    assert_int_equal(aigc_engine_open(twin, &o, &engine, &err), AIGC_E_ARGUMENT);
    many[0].scale = NAN;
    assert_int_equal(aigc_engine_open(model, &o, &engine, &err), AIGC_E_ARGUMENT);
    aigc_adapter_close(use.adapter);
    aigc_model_close(model);
    aigc_model_close(twin);
}

/* Damaged bytes: refused, or run like any other adapter, but never read behind their end. */
static void test_damaged(void **state)
{
    aigc_model *model = open_base(&shapes[2], TYPE_F32);
    float scores[N_TOKENS];
    size_t len;
    int n_opened = 0;
    random_state r;

    (void)state;
    write_adapter(model, &GOOD);
    char *good = read_whole(adapter_path, &len);
    random_seed(&r, 1, 1);
    for (int i = 0; i < 4000; i++) {
        size_t size = i % 4 == 0 ? (size_t)(random_unit(&r) * (double)len) : len;
        char *bytes = malloc(size + 1); /* of its own, so that a checker sees its end */
        aigc_adapter *adapter;

        memcpy(bytes, good, size);
        for (int n = 0; n < 1 + i % 3 && size > 0; n++) /* mostly in the header */
            bytes[(size_t)(random_unit(&r) * (double)(size < 3000 ? size : 3000))] = (char)random_u64(&r);
        if (adapter_open_memory(model, bytes, size, "damaged", &adapter, NULL) == AIGC_OK) {
            aigc_adapter_use use = {adapter, 1};
            if (n_opened++ % 50 == 0)
                score(model, (how){1, 16, &use, 1}, scores);
            aigc_adapter_close(adapter);
        }
        free(bytes);
    }
    print_message("# %d of 4000 damaged adapters open\n", n_opened);
    assert_in_range(n_opened, 1, 3000);
    free(good);
    aigc_model_close(model);
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "%s", temporary_directory());
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    remove_temporary_directory(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged),   cmocka_unit_test(test_merged_types),    cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_engine_refusals), cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests_name("adapter", tests, make_directory, remove_directory);
}
