/*
 * The engine: the same request gives the same bytes however it is run, and every way of ending a request is clean.
 *
 * Models are small ones with random weights, one for each architecture and type of weights.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../models/synthetic.h"
#include "aigc.h"

enum { N_NEW = 24, MAX_TEXT = 16384 };

/* More than two blocks of keys and values, and with the new tokens within the smallest context. */
static const char PROMPT[] = "The quick brown fox jumps over the lazy dog, and then says that it is fine.";

typedef struct result {
    char text[4][MAX_TEXT]; /* of each alternative */
    size_t len[4];
    int32_t ids[4][N_NEW];
    float logprobs[4][N_NEW];
    size_t n_ids[4];
    aigc_finish finish[4];
} result;

static aigc_model *open_synthetic(const char *shape, const char *type_name)
{
    char path[] = "/tmp/aigc-test-engine-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    tensor_type type;
    assert_true(synthetic_type(type_name, &type));
    synthetic_options options = {.shape = synthetic_find(shape), .type = type, .seed = 7, .n_threads = 1};
    aigc_error err = {0};
    aigc_model *model = NULL;
    if (synthetic_write(&options, path, &err) != AIGC_OK ||
        aigc_model_open(path, AIGC_MODEL_ALL, &model, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    unlink(path); /* the mapping stays */
    return model;
}

static aigc_engine *open_engine(aigc_model *model, const aigc_engine_options *options)
{
    aigc_error err = {0};
    aigc_engine *engine = NULL;
    if (aigc_engine_open(model, options, &engine, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return engine;
}

static aigc_request_options sampled(int n)
{
    aigc_request_options o = aigc_request_defaults();
    o.prompt = PROMPT;
    o.prompt_len = strlen(PROMPT);
    o.max_tokens = N_NEW;
    o.n = n;
    o.ignore_eos = true;
    o.sampling.temperature = 0.9;
    o.sampling.top_p = 0.95;
    o.sampling.seed = 42;
    return o;
}

static aigc_request *submit(aigc_engine *engine, const aigc_request_options *options)
{
    aigc_error err = {0};
    aigc_request *request = NULL;
    if (aigc_submit(engine, options, &request, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return request;
}

static void take_all(aigc_request *request, result *r)
{
    aigc_piece piece;
    while (aigc_request_take(request, &piece)) {
        size_t *len = &r->len[piece.alternative];
        assert_true(*len + piece.text_len < MAX_TEXT);
        memcpy(r->text[piece.alternative] + *len, piece.text, piece.text_len);
        *len += piece.text_len;
        r->finish[piece.alternative] = piece.finish;
    }
}

static void collect(aigc_request *request, int n, result *r)
{
    take_all(request, r);
    for (int i = 0; i < n; i++) {
        const aigc_token *tokens;
        r->n_ids[i] = aigc_request_tokens(request, i, &tokens);
        for (size_t t = 0; t < r->n_ids[i]; t++) {
            r->ids[i][t] = tokens[t].id;
            r->logprobs[i][t] = tokens[t].logprob;
        }
    }
}

/* Runs one request to its end; streamed: text is taken after every step. */
static void run(aigc_engine *engine, const aigc_request_options *options, bool streamed, result *r)
{
    memset(r, 0, sizeof *r);
    aigc_request *request = submit(engine, options);
    while (!aigc_request_done(request)) {
        assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
        if (streamed)
            take_all(request, r);
    }
    collect(request, options->n, r);
    aigc_request_free(request);
}

static void assert_same(const result *a, const result *b)
{
    assert_memory_equal(a, b, sizeof *a);
}

/* ---- embeddings ---- */

enum { EMBEDDING_MOST = 1024 };

static size_t embed(aigc_engine *engine, const char *prompt, bool with_company, float *out)
{
    aigc_request_options o = aigc_request_defaults(), other = sampled(1);
    o.prompt = prompt;
    o.prompt_len = strlen(prompt);
    o.max_tokens = 1;
    o.prompt_embedding = true;
    aigc_request *company = with_company ? submit(engine, &other) : NULL;
    aigc_request *request = submit(engine, &o);
    assert_int_equal(aigc_request_embedding(request, NULL), 0); /* not computed yet */
    while (!aigc_request_done(request))
        aigc_step(engine, NULL);
    size_t n = aigc_request_embedding(request, NULL);
    assert_in_range(n, 1, EMBEDDING_MOST);
    assert_int_equal(aigc_request_embedding(request, out), n);
    aigc_request_free(request);
    aigc_request_free(company);
    return n;
}

/* The same bits in any company, by any cut of the prompt and with any number of threads; length 1; by what is said. */
static void embeddings_are_reproducible(void **state)
{
    (void)state;
    static float expected[EMBEDDING_MOST], other[EMBEDDING_MOST], got[EMBEDDING_MOST];
    aigc_model *model = open_synthetic("llama-tiny", "Q8_0");
    aigc_engine_options eo = aigc_engine_defaults();
    eo.n_threads = 1;
    aigc_engine *engine = open_engine(model, &eo);
    size_t n = embed(engine, PROMPT, false, expected);
    double square = 0;
    for (size_t i = 0; i < n; i++)
        square += (double)expected[i] * (double)expected[i];
    assert_true(fabs(square - 1) < 1e-5);
    embed(engine, "Something else altogether", false, other);
    assert_memory_not_equal(other, expected, n * sizeof *other);
    embed(engine, PROMPT, true, got);
    assert_memory_equal(got, expected, n * sizeof *got);
    aigc_request_options o = sampled(1);
    o.prompt_embedding = true;
    o.max_tokens = 0;
    aigc_request *request = NULL;
    aigc_error err = {0};
    assert_int_equal(aigc_submit(engine, &o, &request, &err), AIGC_E_ARGUMENT);
    aigc_engine_close(engine);

    static volatile sig_atomic_t flag;
    eo.n_threads = 3;
    eo.n_batch = 5;
    eo.interrupt = &flag;
    engine = open_engine(model, &eo);
    embed(engine, PROMPT, true, got);
    assert_memory_equal(got, expected, n * sizeof *got);
    aigc_engine_close(engine);
    aigc_model_close(model);
}

/* ---- reproducible ---- */

/* A plain run on a new engine, one thread, no cache: what all others must equal. */
static void run_alone(aigc_model *model, int n, result *r)
{
    aigc_engine_options eo = aigc_engine_defaults();
    eo.n_threads = 1;
    eo.prefix_cache = false;
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(n);
    run(engine, &o, false, r);
    assert_int_equal(r->n_ids[0], N_NEW);
    aigc_engine_close(engine);
}

static void check_threads_and_batches(aigc_model *model, const result *expected)
{
    static result r;
    static const struct {
        int threads, batch;
    } cases[] = {{2, 256}, {4, 256}, {1, 16}, {4, 17}, {3, 33}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        aigc_engine_options eo = aigc_engine_defaults();
        eo.n_threads = cases[i].threads;
        eo.n_batch = cases[i].batch;
        aigc_engine *engine = open_engine(model, &eo);
        aigc_request_options o = sampled(1);
        run(engine, &o, i % 2 == 0, &r);
        assert_same(&r, expected);
        aigc_engine_close(engine);
    }
}

static void check_prefix_cache(aigc_model *model, const result *expected)
{
    static result r;
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(1), other = o;
    other.prompt_len = 50; /* shares whole blocks and a part of one */
    other.sampling.seed = 5;
    run(engine, &other, true, &r);
    for (int i = 0; i < 3; i++) {
        run(engine, &o, true, &r);
        assert_same(&r, expected);
    }
    aigc_engine_info info;
    aigc_engine_describe(engine, &info);
    assert_true(info.n_prompt_hit >= 32 + 2 * 64);
    aigc_engine_close(engine);
}

/* The request beside seven others of other lengths, seeds and prompts, submitted before and after it. */
static void check_company(aigc_model *model, const result *expected)
{
    static result r;
    memset(&r, 0, sizeof r);
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request *others[7], *ours = NULL;
    for (int i = 0; i < 8; i++) {
        aigc_request_options o = sampled(1);
        if (i == 3) {
            ours = submit(engine, &o);
            continue;
        }
        o.prompt_len = (size_t)(10 + 8 * i);
        o.sampling.seed = (uint64_t)i;
        o.max_tokens = 10 + 5 * i;
        others[i < 3 ? i : i - 1] = submit(engine, &o);
        if (i < 3)
            assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
    }
    while (!aigc_request_done(ours))
        assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
    collect(ours, 1, &r);
    assert_same(&r, expected);
    aigc_request_free(ours);
    for (int i = 0; i < 7; i++)
        aigc_request_free(others[i]); /* some are still running */
    assert_false(aigc_engine_busy(engine));
    aigc_engine_close(engine);
}

static void check_interruptions(aigc_model *model, const result *expected)
{
    static result r;
    memset(&r, 0, sizeof r);
    static volatile sig_atomic_t flag;
    flag = 0;
    aigc_engine_options eo = aigc_engine_defaults();
    eo.interrupt = &flag;
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(1);
    aigc_request *request = submit(engine, &o);
    while (!aigc_request_done(request)) {
        flag = 1;
        assert_int_equal(aigc_step(engine, NULL), AIGC_INTERRUPTED);
        flag = 0;
        assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
    }
    collect(request, 1, &r);
    assert_same(&r, expected);
    aigc_request_free(request);
    aigc_engine_close(engine);
}

static void check_model(const char *shape, const char *type)
{
    static result expected;
    aigc_model *model = open_synthetic(shape, type);
    run_alone(model, 1, &expected);
    check_threads_and_batches(model, &expected);
    check_prefix_cache(model, &expected);
    check_company(model, &expected);
    check_interruptions(model, &expected);
    aigc_model_close(model);
}

static void same_bytes_llama(void **state)
{
    (void)state;
    static const char *const types[] = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        check_model("llama-tiny", types[i]);
}

static void same_bytes_gpt2(void **state)
{
    (void)state;
    check_model("gpt2-tiny", "F32");
    check_model("gpt2-tiny", "Q8_0");
}

static void same_bytes_qwen2(void **state)
{
    (void)state;
    check_model("qwen2-tiny", "F16");
    check_model("qwen2-tiny", "Q4_0");
}

/* No length is a multiple of a vector's or a block's. */
static void same_bytes_odd(void **state)
{
    (void)state;
    check_model("llama-odd", "F32");
    check_model("llama-odd", "F16");
    check_model("llama-odd", "BF16");
}

/* A long context is shared out among the threads; the prompt comes in pieces of any size. */
static void same_bytes_long_context(void **state)
{
    (void)state;
    static result expected, r;
    static int32_t ids[900];
    for (int i = 0; i < 900; i++)
        ids[i] = 3 + i * 7 % 250;
    aigc_model *model = open_synthetic("llama-tiny", "F32");
    for (int kv = AIGC_KV_F16; kv <= AIGC_KV_F32; kv++)
        for (int threads = 1; threads <= 4; threads++) {
            aigc_engine_options eo = aigc_engine_defaults();
            eo.kv = (aigc_kv_type)kv;
            eo.n_threads = threads;
            eo.n_batch = threads == 1 ? 1000 : 100 + 33 * threads;
            eo.n_context = 1024;
            aigc_engine *engine = open_engine(model, &eo);
            aigc_request_options o = sampled(1);
            o.tokens = ids;
            o.n_tokens = 900;
            run(engine, &o, true, threads == 1 ? &expected : &r);
            if (threads > 1)
                assert_same(&r, &expected);
            aigc_engine_close(engine);
        }
    aigc_model_close(model);
}

/* ---- alternatives, scores, ends ---- */

static void alternatives(void **state)
{
    (void)state;
    static result expected, r;
    aigc_model *model = open_synthetic("llama-tiny", "Q8_0");
    run_alone(model, 4, &expected);
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(4);
    o.prompt = PROMPT;
    run(engine, &o, true, &r);
    assert_same(&r, &expected);
    run(engine, &o, true, &r);
    assert_same(&r, &expected);
    for (int i = 1; i < 4; i++)
        assert_true(memcmp(r.ids[0], r.ids[i], sizeof r.ids[0]) != 0);
    o.n = 1; /* the first alternative is what a request for one gives */
    run(engine, &o, true, &r);
    assert_memory_equal(r.ids[0], expected.ids[0], sizeof r.ids[0]);

    o.n = 4;
    aigc_request *request = submit(engine, &o);
    while (!aigc_request_done(request))
        aigc_step(engine, NULL);
    int rank[4];
    aigc_request_rank(request, rank);
    for (int i = 1; i < 4; i++)
        assert_true(aigc_request_logprob(request, rank[i - 1]) >= aigc_request_logprob(request, rank[i]));
    double sum = 0;
    for (int t = 0; t < N_NEW; t++)
        sum += (double)expected.logprobs[2][t];
    assert_true(sum == aigc_request_logprob(request, 2));
    aigc_request_free(request);
    aigc_engine_close(engine);
    aigc_model_close(model);
}

/* Scoring prompt + text gives the log-probabilities that generating the text gave. */
static void scores_equal_generation(void **state)
{
    (void)state;
    static result r;
    aigc_model *model = open_synthetic("gpt2-tiny", "Q8_0");
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(1);
    o.prompt_len = 60;
    run(engine, &o, true, &r);
    int32_t *prompt, ids[256];
    size_t n_prompt;
    assert_int_equal(aigc_tokenize(model, PROMPT, 60, o.text_flags, &prompt, &n_prompt, NULL), AIGC_OK);
    memcpy(ids, prompt, n_prompt * sizeof *ids);
    memcpy(ids + n_prompt, r.ids[0], r.n_ids[0] * sizeof *ids);
    aigc_free(prompt);

    aigc_request_options score = aigc_request_defaults();
    score.tokens = ids;
    score.n_tokens = n_prompt + r.n_ids[0];
    score.max_tokens = 0;
    score.prompt_logprobs = true;
    aigc_request *request = submit(engine, &score);
    while (!aigc_request_done(request))
        assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
    const aigc_token *tokens;
    assert_int_equal(aigc_request_prompt(request, &tokens), score.n_tokens);
    assert_true(tokens[0].logprob == 0.0f);
    for (size_t t = 0; t < r.n_ids[0]; t++)
        assert_true(tokens[n_prompt + t].logprob == r.logprobs[0][t]);
    aigc_request_free(request);

    /* The same of the last tokens alone, and what comes before them is not computed again. */
    score.prompt_logprobs_from = score.n_tokens - 2;
    request = submit(engine, &score);
    while (!aigc_request_done(request))
        assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
    assert_int_equal(aigc_request_prompt(request, &tokens), score.n_tokens);
    for (size_t t = 0; t < score.n_tokens; t++) {
        bool scored = t >= score.prompt_logprobs_from;
        assert_true(tokens[t].logprob == (scored ? r.logprobs[0][t - n_prompt] : 0.0f));
    }
    aigc_request_info info;
    aigc_request_describe(request, &info);
    assert_int_equal(info.n_prompt_hit, score.n_tokens - 3);
    aigc_request_free(request);
    aigc_engine_close(engine);
    aigc_model_close(model);
}

static void top_logprobs_hold_the_greedy_token(void **state)
{
    (void)state;
    aigc_model *model = open_synthetic("llama-tiny", "F32");
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(1);
    o.sampling.temperature = 0;
    o.top_logprobs = 5;
    aigc_request *request = submit(engine, &o);
    while (!aigc_request_done(request))
        aigc_step(engine, NULL);
    const aigc_token *tokens, *top;
    size_t n = aigc_request_tokens(request, 0, &tokens);
    assert_int_equal(n, N_NEW);
    for (size_t t = 0; t < n; t++) {
        assert_int_equal(aigc_request_top(request, 0, t, &top), 5);
        assert_int_equal(top[0].id, tokens[t].id);
        assert_true(top[0].logprob == tokens[t].logprob);
        for (int i = 1; i < 5; i++)
            assert_true(top[i].logprob <= top[i - 1].logprob);
    }
    assert_int_equal(aigc_request_top(request, 0, n, &top), 0);
    aigc_request_free(request);
    aigc_engine_close(engine);
    aigc_model_close(model);
}

static void the_context_ends_a_text(void **state)
{
    (void)state;
    aigc_model *model = open_synthetic("gpt2-tiny", "F32");
    aigc_engine_options eo = aigc_engine_defaults();
    eo.n_context = 100;
    aigc_engine *engine = open_engine(model, &eo);
    int32_t ids[100] = {0};
    aigc_request_options o = sampled(1);
    o.tokens = ids;
    o.n_tokens = 90;
    static result r;
    run(engine, &o, true, &r);
    assert_int_equal(r.finish[0], AIGC_FINISH_CONTEXT);
    assert_int_equal(r.n_ids[0], 10);

    aigc_error err;
    aigc_request *request = NULL;
    o.n_tokens = 100;
    assert_int_equal(aigc_submit(engine, &o, &request, &err), AIGC_E_LIMIT);
    assert_string_equal(err.message, "the prompt has 100 tokens, but the context holds 100");
    assert_null(request);
    aigc_engine_close(engine);
    aigc_model_close(model);
}

/* More requests than sequences or memory: they wait in line and all come through. */
static void requests_wait_in_line(void **state)
{
    (void)state;
    static result expected, r;
    aigc_model *model = open_synthetic("llama-tiny", "Q4_0");
    run_alone(model, 1, &expected);
    aigc_engine_options eo = aigc_engine_defaults();
    eo.n_sequences = 3;
    eo.n_context = 256;
    eo.kv_bytes = 10 * 3 * 2 * 32 * 32 * 2 * 2; /* ten blocks: 3 layers, 2 heads of 32, two bytes, keys and values */
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request *requests[9];
    for (int i = 0; i < 9; i++) {
        aigc_request_options o = sampled(1);
        requests[i] = submit(engine, &o);
    }
    while (aigc_engine_busy(engine))
        assert_int_equal(aigc_step(engine, NULL), AIGC_OK);
    for (int i = 0; i < 9; i++) {
        memset(&r, 0, sizeof r);
        collect(requests[i], 1, &r);
        assert_same(&r, &expected);
        aigc_request_free(requests[i]);
    }
    aigc_engine_close(engine);
    aigc_model_close(model);
}

static void engines_close_with_live_requests(void **state)
{
    (void)state;
    aigc_model *model = open_synthetic("llama-tiny", "F32");
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(4);
    submit(engine, &o);
    submit(engine, &o);
    aigc_step(engine, NULL);
    aigc_model_close(model); /* the engine keeps it */
    aigc_step(engine, NULL);
    aigc_engine_close(engine);
    aigc_engine_close(NULL);
    aigc_request_free(NULL);
}

/* ---- bad arguments ---- */

static void expect_refused(aigc_engine *engine, const aigc_request_options *o, aigc_status code, const char *message)
{
    aigc_error err = {0};
    aigc_request *request = NULL;
    assert_int_equal(aigc_submit(engine, o, &request, &err), code);
    assert_null(request);
    assert_string_equal(err.message, message);
    assert_false(aigc_engine_busy(engine));
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    aigc_model *model = open_synthetic("llama-tiny", "F32");
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_engine *engine = open_engine(model, &eo);
    aigc_request_options o = sampled(1);
    o.max_tokens = -1;
    expect_refused(engine, &o, AIGC_E_ARGUMENT, "max_tokens must not be negative, it is -1");
    o = sampled(0);
    expect_refused(engine, &o, AIGC_E_ARGUMENT, "n must be from 1 to 16, not 0");
    o = sampled(1);
    o.top_logprobs = 21;
    expect_refused(engine, &o, AIGC_E_ARGUMENT, "top_logprobs must be from 0 to 20, not 21");
    o = sampled(1);
    int32_t ids[] = {1, 512};
    o.tokens = ids;
    o.n_tokens = 2;
    expect_refused(engine, &o, AIGC_E_TEXT, "token 512 is not in the vocabulary of 512");
    const char *stops[] = {""};
    o = sampled(1);
    o.stop = stops;
    o.n_stop = 1;
    expect_refused(engine, &o, AIGC_E_ARGUMENT, "stop string 1 is empty");
    o = sampled(1);
    o.prompt = "ab\xFF";
    o.prompt_len = 3;
    aigc_request *request = NULL;
    aigc_error err;
    assert_int_equal(aigc_submit(engine, &o, &request, &err), AIGC_E_TEXT);
    o = sampled(1);
    o.sampling.temperature = -1;
    assert_int_equal(aigc_submit(engine, &o, &request, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "temperature"));
    assert_null(request);
    aigc_engine_close(engine);
    aigc_model_close(model);
}

static void bad_engines_are_refused(void **state)
{
    (void)state;
    aigc_model *model = open_synthetic("gpt2-tiny", "F32");
    aigc_engine *engine = NULL;
    aigc_error err;
    aigc_engine_options eo = aigc_engine_defaults();
    eo.n_threads = -1;
    assert_int_equal(aigc_engine_open(model, &eo, &engine, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "threads must be from 1 to 64, not -1");
    eo = aigc_engine_defaults();
    eo.n_context = 129;
    assert_int_equal(aigc_engine_open(model, &eo, &engine, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "context must be from 1 to 128, not 129");
    eo = aigc_engine_defaults();
    eo.kv_bytes = 1000;
    assert_int_equal(aigc_engine_open(model, &eo, &engine, &err), AIGC_E_LIMIT);
    assert_null(engine);
    aigc_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_llama),
        cmocka_unit_test(same_bytes_gpt2),
        cmocka_unit_test(same_bytes_qwen2),
        cmocka_unit_test(same_bytes_odd),
        cmocka_unit_test(same_bytes_long_context),
        cmocka_unit_test(alternatives),
        cmocka_unit_test(scores_equal_generation),
        cmocka_unit_test(top_logprobs_hold_the_greedy_token),
        cmocka_unit_test(the_context_ends_a_text),
        cmocka_unit_test(requests_wait_in_line),
        cmocka_unit_test(engines_close_with_live_requests),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(embeddings_are_reproducible),
        cmocka_unit_test(bad_engines_are_refused),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
