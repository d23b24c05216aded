/*
 * test_stories.c: a trained model of the llama family against what llama2.c's run.c computes for it: logits, and the
 * text of 200 tokens at temperature 0 (../shared/data/README.md says how the references were made).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "logits.h"

enum { N_POSITIONS = 64, N_VOCAB = 512, MAX_FILE = 1 << 20 };

/* The path of a reference file, or NULL with a message if the data directory is not there. */
static const char *data_path(const char *name)
{
    static char path[4096];
    const char *shared = getenv("AIGC_SHARED");
    FILE *file;

    snprintf(path, sizeof path, "%s/data/models/%s", shared && *shared ? shared : "../shared", name);
    file = fopen(path, "rb");
    if (!file) {
        print_message("# %s is missing: skipped\n", path);
        return NULL;
    }
    fclose(file);
    return path;
}

/* A whole file, malloc'd; skips the test if it is missing. */
static char *read_file(const char *name, size_t *size)
{
    const char *path = data_path(name);
    FILE *file;
    char *data;

    if (!path)
        skip();
    file = fopen(path, "rb");
    data = malloc(MAX_FILE + 1);
    assert_non_null(file);
    assert_non_null(data);
    *size = fread(data, 1, MAX_FILE, file);
    data[*size] = 0;
    fclose(file);
    return data;
}

static void check_logits(aigc_kv_type kv, int n_threads, int n_batch, float bound)
{
    logits_options o = {.n_threads = n_threads, .n_batch = n_batch, .kv = kv};
    size_t ids_size, size;
    char *ids = read_file("stories260K.greedy.ids", &ids_size);
    char *reference = read_file("stories260K.logits.f32", &size);
    char *cursor = ids;
    int32_t tokens[N_POSITIONS];
    int n_vocab;
    float *logits, worst = 0;

    assert_int_equal(size, sizeof(float) * N_POSITIONS * N_VOCAB);
    for (int i = 0; i < N_POSITIONS; i++)
        tokens[i] = (int32_t)strtol(cursor, &cursor, 10);
    logits = logits_of_file(data_path("stories260K.gguf"), &o, tokens, N_POSITIONS, &n_vocab);
    assert_int_equal(n_vocab, N_VOCAB);
    for (int i = 0; i < N_POSITIONS * N_VOCAB; i++) {
        float expected;

        memcpy(&expected, reference + (size_t)i * sizeof expected, sizeof expected);
        worst = fmaxf(worst, fabsf(logits[i] - expected));
    }
    print_message("# largest difference %.2g\n", worst);
    assert_true(worst < bound);
    free(logits);
    free(reference);
    free(ids);
}

static void test_logits_f32(void **state)
{
    (void)state;
    check_logits(AIGC_KV_F32, 2, 64, 1e-3f);
    check_logits(AIGC_KV_F32, 1, 1, 1e-3f);
    check_logits(AIGC_KV_F32, 3, 7, 1e-3f);
}

/* Keys rounded to half precision move this model's logits (deviation 7.4) by up to 0.0181 even in exact arithmetic. */
static void test_logits_f16(void **state)
{
    (void)state;
    check_logits(AIGC_KV_F16, 2, 64, 0.02f);
    check_logits(AIGC_KV_F16, 1, 1, 0.02f);
}

/* Runs the prompt to its end and returns the text, malloc'd; ids gets what was generated. */
static char *generate(const char *prompt, int max_tokens, aigc_kv_type kv, int32_t *ids)
{
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_request_options ro = aigc_request_defaults();
    aigc_model *model;
    aigc_engine *engine;
    aigc_request *request;
    const aigc_token *tokens;
    aigc_piece piece;
    aigc_error err = {0};
    char *text = calloc(1, MAX_FILE);
    size_t len = 0, n;

    assert_non_null(text);
    eo.kv = kv;
    ro.prompt = prompt;
    ro.prompt_len = strlen(prompt);
    ro.max_tokens = max_tokens;
    ro.sampling.temperature = 0;
    if (aigc_model_open(data_path("stories260K.gguf"), AIGC_MODEL_ALL, &model, &err) != AIGC_OK ||
        aigc_engine_open(model, &eo, &engine, &err) != AIGC_OK || aigc_submit(engine, &ro, &request, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    while (!aigc_request_done(request))
        if (aigc_step(engine, &err) != AIGC_OK)
            fail_msg("%s", err.message);
    while (aigc_request_take(request, &piece)) {
        assert_true(len + piece.text_len < MAX_FILE);
        memcpy(text + len, piece.text, piece.text_len);
        len += piece.text_len;
    }
    n = aigc_request_tokens(request, 0, &tokens);
    assert_int_equal(n, max_tokens);
    for (size_t i = 0; i < n; i++)
        ids[i] = tokens[i].id;
    aigc_request_free(request);
    aigc_engine_close(engine);
    aigc_model_close(model);
    return text;
}

static void test_greedy(void **state)
{
    const aigc_kv_type kv_types[] = {AIGC_KV_F32, AIGC_KV_F16};
    size_t text_size, ids_size;
    char *expected = read_file("stories260K.greedy.txt", &text_size);
    char *expected_ids = read_file("stories260K.greedy.ids", &ids_size);

    (void)state;
    for (int i = 0; i < 2; i++) {
        int32_t ids[200];
        char *text = generate("", 200, kv_types[i], ids);
        char *cursor = expected_ids;

        assert_string_equal(text, expected);
        assert_int_equal(strtol(cursor, &cursor, 10), 1); /* BOS */
        for (int t = 0; t < 200; t++)
            assert_int_equal(strtol(cursor, &cursor, 10), ids[t]);
        free(text);
    }
    free(expected_ids);
    free(expected);
}

static void test_prompted(void **state)
{
    static const char prompt[] = "Tom had a red ball";
    size_t size;
    char *expected = read_file("stories260K.prompted.txt", &size);
    int32_t ids[120];
    char *text = generate(prompt, 120, AIGC_KV_F32, ids);

    (void)state;
    assert_memory_equal(expected, prompt, strlen(prompt)); /* the file begins with the prompt */
    assert_string_equal(text, expected + strlen(prompt));
    free(text);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_f32),
        cmocka_unit_test(test_logits_f16),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_prompted),
    };

    return cmocka_run_group_tests_name("stories", tests, NULL, NULL);
}
