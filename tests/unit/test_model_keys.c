/*
 * test_model_keys.c: metadata that changes what a llama model computes, in the spellings that files have. The same
 * model is written with different keys; what they mean is compared by its logits. And how a model is described.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aigc.h"
#include "logits.h"

#include "../models/synthetic.h"

enum { N = 40 };

static const char *directory;
static char base_path[4200], changed_path[4200];

static int write_base(void **state)
{
    synthetic_options o = {.shape = synthetic_find("llama-tiny"), .type = TYPE_F32, .seed = 7, .n_threads = 1};
    aigc_error err;

    (void)state;
    directory = temporary_directory();
    snprintf(base_path, sizeof base_path, "%s/base.gguf", directory);
    snprintf(changed_path, sizeof changed_path, "%s/changed.gguf", directory);
    assert_non_null(o.shape);
    if (synthetic_write(&o, base_path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    remove_temporary_directory(directory);
    return 0;
}

/* ---- the same model with other keys ---- */

typedef struct rope_keys {
    const char *type;     /* rope.scaling.type; NULL: no such key */
    float factor, linear; /* rope.scaling.factor and rope.scale_linear; less than 0: no such key */
} rope_keys;

static void write_changed(const rope_keys *keys)
{
    gguf_file *base;
    gguf_writer *w;
    aigc_error err;

    assert_int_equal(gguf_open(base_path, &base, &err), AIGC_OK);
    assert_int_equal(gguf_writer_create(&w, &err), AIGC_OK);
    if (keys->type)
        gguf_writer_set_string(w, "llama.rope.scaling.type", keys->type, strlen(keys->type));
    if (!(keys->factor < 0))
        gguf_writer_set_f32(w, "llama.rope.scaling.factor", keys->factor);
    if (!(keys->linear < 0))
        gguf_writer_set_f32(w, "llama.rope.scale_linear", keys->linear);
    gguf_writer_copy_values(w, base);
    for (uint64_t i = 0; i < gguf_n_tensors(base); i++) {
        const gguf_tensor *t = gguf_tensor_at(base, i);
        gguf_writer_add_tensor(w, t->name, t->type, t->n_dims, t->dims);
    }
    assert_int_equal(gguf_writer_begin(w, changed_path, &err), AIGC_OK);
    for (uint64_t i = 0; i < gguf_n_tensors(base); i++) {
        const gguf_tensor *t = gguf_tensor_at(base, i);
        assert_int_equal(gguf_writer_data(w, t->data, t->bytes, &err), AIGC_OK);
    }
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_OK);
    gguf_close(base);
}

/* The caller frees it. */
static float *logits_with(const rope_keys *keys, int *n_vocab)
{
    logits_options o = {.n_threads = 1, .n_batch = N, .kv = AIGC_KV_F32};
    int32_t ids[N];

    for (int i = 0; i < N; i++)
        ids[i] = 3 + i * 5;
    write_changed(keys);
    return logits_of_file(changed_path, &o, ids, N, n_vocab);
}

static bool same_logits(const rope_keys *a, const rope_keys *b)
{
    int n_vocab;
    float *x = logits_with(a, &n_vocab), *y = logits_with(b, &n_vocab);
    bool same = memcmp(x, y, (size_t)N * (size_t)n_vocab * sizeof *x) == 0;

    free(x);
    free(y);
    return same;
}

/* ---- tests ---- */

/* A file that states a factor but no type, or has the key of old, is scaled all the same. */
static void test_linear_scaling(void **state)
{
    static const rope_keys none = {NULL, -1, -1}, scaled = {"linear", 4, -1};

    (void)state;
    assert_false(same_logits(&none, &scaled));
    assert_true(same_logits(&scaled, &(rope_keys){NULL, 4, -1}));
    assert_true(same_logits(&scaled, &(rope_keys){NULL, -1, 4}));
    assert_true(same_logits(&scaled, &(rope_keys){"linear", 4, 2}));
    assert_true(same_logits(&none, &(rope_keys){"none", 4, -1}));
    assert_true(same_logits(&none, &(rope_keys){"linear", 1, -1}));
    assert_true(same_logits(&none, &(rope_keys){"linear", -1, -1}));
    assert_true(same_logits(&none, &(rope_keys){NULL, 0, -1}));
}

static void refuse(const rope_keys *keys, aigc_status status, const char *message)
{
    aigc_model *model;
    aigc_error err;

    write_changed(keys);
    assert_int_equal(aigc_model_open(changed_path, AIGC_MODEL_WEIGHTS, &model, &err), status);
    if (!strstr(err.message, message))
        fail_msg("the message is: %s", err.message);
}

static void test_refused_scaling(void **state)
{
    (void)state;
    refuse(&(rope_keys){"yarn", 4, -1}, AIGC_E_UNSUPPORTED, "rope scaling 'yarn' is not supported");
    refuse(&(rope_keys){"linear", NAN, -1}, AIGC_E_FORMAT, "the factor of rope scaling is nan");
    refuse(&(rope_keys){NULL, INFINITY, -1}, AIGC_E_FORMAT, "the factor of rope scaling is inf");
    refuse(&(rope_keys){NULL, -1, NAN}, AIGC_E_FORMAT, "the factor of rope scaling is nan");
}

/* Hosts show descriptions on terminals, which a file must not command. */
static void test_printable_description(void **state)
{
    static const char name[] = "a\x1b[31m\nb\x7f\xc2\x9b \xe4\xb8\xad";
    gguf_writer *w;
    aigc_model *model;
    aigc_error err;

    (void)state;
    assert_int_equal(gguf_writer_create(&w, &err), AIGC_OK);
    gguf_writer_set_string(w, "general.name", name, sizeof name - 1);
    gguf_writer_set_string(w, "general.architecture", "lla\bma", 6);
    gguf_writer_set_string(w, "tokenizer.ggml.model", "\r", 1);
    assert_int_equal(gguf_writer_begin(w, changed_path, &err), AIGC_OK);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_OK);
    assert_int_equal(aigc_model_open(changed_path, AIGC_MODEL_DESCRIBE, &model, &err), AIGC_OK);
    assert_string_equal(aigc_model_describe(model)->name, "a?[31m?b??? \xe4\xb8\xad");
    assert_string_equal(aigc_model_describe(model)->architecture, "lla?ma");
    assert_string_equal(aigc_model_describe(model)->tokenizer, "?");
    aigc_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_scaling),
        cmocka_unit_test(test_refused_scaling),
        cmocka_unit_test(test_printable_description),
    };

    return cmocka_run_group_tests_name("metadata that changes the model", tests, write_base, remove_all);
}
