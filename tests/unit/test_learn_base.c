/*
 * test_learn_base.c: models that training from nothing never makes, as bases: heads wider than their share, rotated in
 * part, positions scaled, biases that the recipe lacks, quantised weights. The trainer's loss is the engine's score,
 * and what is written keeps all of it.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn_reference.h"
#include "logits.h"

#include "../models/synthetic.h"

enum { N_EMBD = 64, N_HEADS = 4, N_KV = 2, HEAD = 24, N_ROT = 16, N_FF = 96, N_VOCAB = 261, N_LAYERS = 2, N = 70 };

static char directory[4096], base_path[4200], written_path[4200];

/* ---- a file by hand ---- */

/* One more tensor, described in the first pass over all of them, written in the second. */
static void put(gguf_writer *w, bool data, tensor_type type, const char *name, uint64_t k, uint64_t rows, double middle)
{
    uint64_t dims[2] = {k, rows}, seed = 0;
    tensor_type as = rows == 1 ? TYPE_F32 : type;
    float row[N_EMBD + N_FF + N_VOCAB];
    unsigned char bytes[sizeof row];
    aigc_error err;

    if (!data) {
        gguf_writer_add_tensor(w, name, as, rows == 1 ? 1 : 2, dims);
        return;
    }
    for (const char *c = name; *c; c++)
        seed = seed * 131 + (uint64_t)(unsigned char)*c;
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t i = 0; i < k; i++)
            row[i] = (float)(middle + 0.3 * formula_unit(seed + r * k + i));
        assert_true(tensor_row_from_float(as, row, bytes, k));
        assert_int_equal(gguf_writer_data(w, bytes, tensor_row_bytes(as, k), &err), AIGC_OK);
    }
}

static void put_layer(gguf_writer *w, bool data, tensor_type type, int i)
{
    static const struct {
        const char *name;
        uint64_t k, rows;
        bool bias; /* only attn_q, attn_k and attn_v must have one in any recipe */
    } parts[] = {
        {"attn_q", N_EMBD, N_HEADS * HEAD, false}, {"attn_k", N_EMBD, N_KV * HEAD, true},
        {"attn_v", N_EMBD, N_KV * HEAD, false},    {"attn_output", N_HEADS * HEAD, N_EMBD, true},
        {"ffn_gate", N_EMBD, N_FF, false},         {"ffn_up", N_EMBD, N_FF, true},
        {"ffn_down", N_FF, N_EMBD, false},
    };
    char name[64];

    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", i, parts[p].name);
        put(w, data, type, name, parts[p].k, parts[p].rows, 0);
        snprintf(name, sizeof name, "blk.%d.%s.bias", i, parts[p].name);
        if (parts[p].bias)
            put(w, data, type, name, parts[p].rows, 1, 0);
    }
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", i);
    put(w, data, type, name, N_EMBD, 1, 1);
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", i);
    put(w, data, type, name, N_EMBD, 1, 1);
}

static void put_tensors(gguf_writer *w, bool data, tensor_type type)
{
    put(w, data, type, "output.weight", N_EMBD, N_VOCAB, 0); /* not in the order of the layout */
    put(w, data, type, "token_embd.weight", N_EMBD, N_VOCAB, 0);
    for (int i = 0; i < N_LAYERS; i++)
        put_layer(w, data, type, i);
    put(w, data, type, "output_norm.weight", N_EMBD, 1, 1);
    put(w, data, type, "rope_freqs.weight", N_ROT / 2, 1, 1);
}

static void write_base(tensor_type type)
{
    gguf_writer *w;
    aigc_error err;

    snprintf(base_path, sizeof base_path, "%s/base.gguf", directory);
    snprintf(written_path, sizeof written_path, "%s/written.gguf", directory);
    assert_int_equal(gguf_writer_create(&w, &err), AIGC_OK);
    gguf_writer_set_string(w, "general.architecture", "llama", 5);
    gguf_writer_set_string(w, "general.name", "odd", 3);
    gguf_writer_set_string(w, "tokenizer.chat_template", "{{ messages }}", 14);
    gguf_writer_set_u32(w, "llama.block_count", N_LAYERS);
    gguf_writer_set_u32(w, "llama.embedding_length", N_EMBD);
    gguf_writer_set_u32(w, "llama.feed_forward_length", N_FF);
    gguf_writer_set_u32(w, "llama.context_length", 300);
    gguf_writer_set_u32(w, "llama.attention.head_count", N_HEADS);
    gguf_writer_set_u32(w, "llama.attention.head_count_kv", N_KV);
    gguf_writer_set_u32(w, "llama.attention.key_length", HEAD);
    gguf_writer_set_u32(w, "llama.attention.value_length", HEAD);
    gguf_writer_set_u32(w, "llama.rope.dimension_count", N_ROT);
    gguf_writer_set_f32(w, "llama.rope.freq_base", 5000);
    gguf_writer_set_string(w, "llama.rope.scaling.type", "linear", 6);
    gguf_writer_set_f32(w, "llama.rope.scaling.factor", 2);
    gguf_writer_set_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (synthetic_set_vocabulary(w, VOCABULARY_BYTES_BPE, N_VOCAB, NULL, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    put_tensors(w, false, type);
    if (gguf_writer_begin(w, base_path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    put_tensors(w, true, type);
    if (gguf_writer_finish(w, &err) != AIGC_OK)
        fail_msg("%s", err.message);
}

/* ---- one loss ---- */

static void make_tokens(int32_t *ids, int32_t *targets, int32_t *first)
{
    for (int t = 0; t < N; t++) {
        ids[t] = (int32_t)((formula_unit((uint64_t)t + 99) + 1) / 2 * N_VOCAB);
        first[t] = 0;
    }
    for (int t = 0; t < N; t++)
        targets[t] = t + 1 < N ? ids[t + 1] : -1;
}

/* By the engine, the mean over the targets. */
static double engine_loss(const char *path, const int32_t *ids)
{
    logits_options o = {.n_threads = 2, .n_batch = 64, .kv = AIGC_KV_F32};
    int n_vocab;
    float *logits = logits_of_file(path, &o, ids, N, &n_vocab);
    double loss = 0;

    for (int t = 0; t + 1 < N; t++) {
        const float *row = logits + (size_t)t * (size_t)n_vocab;
        double sum = 0;

        for (int i = 0; i < n_vocab; i++)
            sum += exp((double)row[i]);
        loss += log(sum) - (double)row[ids[t + 1]];
    }
    free(logits);
    return loss / (N - 1);
}

static double trainer_loss(const char *path, int lora_rank, const learn_batch *batch)
{
    aigc_model *base;
    learner *l;
    double loss;
    aigc_error err;

    if (aigc_model_open(path, AIGC_MODEL_ALL, &base, &err) != AIGC_OK ||
        learner_create_from(base, N, lora_rank, 1, 1, 2, &l, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_true(layout_start_from(learner_layout(l), base, 1, NULL, learner_weights(l)));
    if (learner_loss(l, batch, &loss, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    learner_destroy(l);
    aigc_model_close(base);
    return loss / (N - 1);
}

static void test_loss(void **state)
{
    const struct {
        tensor_type type;
        double bound; /* quantised: the engine rounds activations too */
    } cases[] = {{TYPE_F32, 1e-5}, {TYPE_F16, 1e-5}, {TYPE_BF16, 1e-5}, {TYPE_Q8_0, 0.03}, {TYPE_Q4_0, 0.05}};
    int32_t ids[N], targets[N], first[N];
    const learn_batch batch = {ids, targets, first};

    (void)state;
    make_tokens(ids, targets, first);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_base(cases[i].type);
        double engine = engine_loss(base_path, ids), full = trainer_loss(base_path, 0, &batch);
        print_message("# %s: %.6f by the trainer, %.6f by the engine\n", tensor_type_describe(cases[i].type)->name,
                      full, engine);
        assert_true(fabs(full - engine) < cases[i].bound);
        assert_true(fabs(trainer_loss(base_path, 3, &batch) - full) < 1e-6); /* B begins at zero */
    }
}

/* Steps that change the weights; the file that is written says the same as the trainer, and all else of the base. */
static void check_written(int lora_rank)
{
    aigc_train_options o = aigc_finetune_defaults();
    const char text[] = "It was a dark night, and the rain fell in torrents, but for some moments when a wind came. ";
    int32_t ids[N], targets[N], first[N];
    aigc_train_progress p;
    aigc_trainer *t;
    gguf_file *file;
    gguf_string template = {"", 0};
    uint32_t context = 0;
    aigc_error err;

    make_tokens(ids, targets, first);
    write_base(TYPE_F32);
    o.base = base_path;
    o.lora_rank = lora_rank;
    o.n_context = 16;
    o.n_threads = 2;
    o.rate = 1e-2;
    if (aigc_trainer_create(NULL, &o, &t, &err) != AIGC_OK ||
        aigc_trainer_feed(t, AIGC_TEXT_TRAIN, text, strlen(text), &err) != AIGC_OK ||
        aigc_trainer_feed(t, AIGC_TEXT_VALID, text, 16, &err) != AIGC_OK || aigc_trainer_start(t, 8, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    for (int i = 0; i < 8; i++)
        assert_int_equal(aigc_trainer_step(t, &p, &err), AIGC_OK);
    if (aigc_trainer_write(t, written_path, NULL, NULL, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    aigc_trainer_destroy(t);
    const learn_batch batch = {ids, targets, first};
    double before = engine_loss(base_path, ids), engine = engine_loss(written_path, ids);
    assert_true(fabs(engine - before) > 0.01); /* it is another model */
    assert_true(fabs(trainer_loss(written_path, 0, &batch) - engine) < 1e-5);
    assert_int_equal(gguf_open(written_path, &file, &err), AIGC_OK);
    assert_int_equal(gguf_get_string(file, "tokenizer.chat_template", true, &template, &err), AIGC_OK);
    assert_memory_equal(template.data, "{{ messages }}", 14);
    assert_int_equal(gguf_get_u32(file, "llama.context_length", true, &context, &err), AIGC_OK);
    assert_int_equal(context, 300);
    assert_non_null(gguf_find_tensor(file, "rope_freqs.weight"));
    assert_string_equal(gguf_tensor_at(file, 0)->name, "output.weight");
    gguf_close(file);
}

static void test_written(void **state)
{
    (void)state;
    check_written(0);
    check_written(4);
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
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_written),
    };

    return cmocka_run_group_tests_name("learn_base", tests, make_directory, remove_directory);
}
