/*
 * The personal layer: its probabilities against tests/reference/personal.golden, taking back without a trace, its
 * bound, its file (whole, damaged, hostile), and what it does to an engine's requests.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../models/synthetic.h"
#include "base/random.h"
#include "engine/personal.h"

enum { MAX_IDS = 64 };

static aigc_model *model;

static int open_model(void **state)
{
    (void)state;
    char path[] = "/tmp/aigc-test-personal-XXXXXX";
    int fd = mkstemp(path);
    tensor_type type;
    aigc_error err = {0};
    assert_true(fd >= 0);
    close(fd);
    assert_true(synthetic_type("F32", &type));
    synthetic_options options = {.shape = synthetic_find("qwen2-tiny"), .type = type, .seed = 3, .n_threads = 1};
    if (synthetic_write(&options, path, &err) != AIGC_OK ||
        aigc_model_open(path, AIGC_MODEL_ALL, &model, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    unlink(path); /* the mapping stays */
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    aigc_model_close(model);
    return 0;
}

static aigc_personal *open_personal(const char *path, size_t most)
{
    aigc_error err = {0};
    aigc_personal *p = NULL;
    if (aigc_personal_open(model, path, most, &p, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return p;
}

static void learn(aigc_personal *p, const int32_t *ids, size_t n)
{
    aigc_error err = {0};
    if (aigc_personal_learn(p, ids, n, 0, &err) != AIGC_OK)
        fail_msg("%s", err.message);
}

static void unlearn(aigc_personal *p, const int32_t *ids, size_t n)
{
    aigc_error err = {0};
    if (aigc_personal_unlearn(p, ids, n, 0, &err) != AIGC_OK)
        fail_msg("%s", err.message);
}

static uint64_t n_ngrams(const aigc_personal *p)
{
    aigc_personal_info info;
    aigc_personal_describe(p, &info);
    return info.n_ngrams;
}

/* ---- the golden file ---- */

/* The golden model: p(w) in proportion to 1 / (w + 1). */
static double model_probability(int w, int n_vocab)
{
    double sum = 0;
    for (int i = 0; i < n_vocab; i++)
        sum += 1.0 / (i + 1);
    return 1.0 / (w + 1) / sum;
}

static size_t read_ids(char *text, int32_t *ids)
{
    size_t n = 0;
    char *rest;
    for (char *word = strtok_r(text, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
        assert_true(n < MAX_IDS);
        ids[n++] = atoi(word);
    }
    return n;
}

static void check_answers(const aigc_personal *p, const int32_t *history, size_t n, const char *expected, int n_vocab)
{
    float logits[MAX_IDS];
    double sum = 0;
    personal_scratch scratch;
    char *end;
    assert_int_equal(personal_scratch_open(&scratch, n_vocab, NULL), AIGC_OK);
    for (int w = 0; w < n_vocab; w++)
        logits[w] = (float)log(model_probability(w, n_vocab)) + 3.5f; /* logits have no scale of their own */
    personal_mix(p, &scratch, kernels_best(), history, n, logits, n_vocab);
    for (int w = 0; w < n_vocab; w++)
        sum += exp((double)logits[w]);
    for (int w = 0; w < n_vocab; w++, expected = end) {
        double want = strtod(expected, &end);
        double one = exp(personal_logprob(p, history, n, w, log(model_probability(w, n_vocab))));
        assert_ptr_not_equal(expected, end);
        if (fabs(one - want) > 1e-7 * want) /* adapt() was given floats */
            fail_msg("token %d: probability %.12g, not %.12g", w, one, want);
        if (fabs(exp((double)logits[w]) / sum - want) > 2e-6 * want)
            fail_msg("token %d: mixed probability %.9g, not %.9g", w, exp((double)logits[w]) / sum, want);
        assert_true(scratch.added[w] == 0);
    }
    personal_scratch_close(&scratch);
}

/* "adapt": the mixed log-probabilities are asked for first, as a request would have given them. */
static void adapt(aigc_personal *p, const int32_t *ids, size_t n, int n_vocab)
{
    aigc_token tokens[MAX_IDS];
    for (size_t i = 1; i < n; i++) {
        double own = log(model_probability(ids[i], n_vocab));
        tokens[i - 1] = (aigc_token){ids[i], (float)personal_logprob(p, ids + 1, i - 1, ids[i], own)};
    }
    aigc_personal_adapt(p, tokens, n - 1, 0, ids[0] == 1);
}

static void test_golden(void **state)
{
    (void)state;
    FILE *in = fopen("tests/reference/personal.golden", "r");
    char line[4096];
    int32_t ids[MAX_IDS];
    int n_vocab = 0, n_asked = 0;
    aigc_personal *p = open_personal(NULL, 0);
    assert_non_null(in);
    while (fgets(line, sizeof line, in) != NULL) {
        char *rest = strchr(line, ' ') + 1, *bar = strchr(line, '|');
        if (bar != NULL)
            *bar++ = '\0';
        size_t n = read_ids(rest, ids);
        if (strncmp(line, "vocab", 5) == 0)
            n_vocab = ids[0];
        else if (strncmp(line, "learn", 5) == 0)
            learn(p, ids, n);
        else if (strncmp(line, "unlearn", 7) == 0)
            unlearn(p, ids, n);
        else if (strncmp(line, "adapt", 5) == 0)
            adapt(p, ids, n, n_vocab);
        else
            check_answers(p, ids + 1, n - 1, bar, n_vocab), n_asked++;
    }
    fclose(in);
    assert_int_equal(n_asked, 20);
    aigc_personal_close(p);
}

/* ---- taking back ---- */

static size_t random_text(random_state *r, int32_t *ids)
{
    size_t n = 1 + random_u64(r) % (MAX_IDS - 1);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(random_u64(r) % (random_u64(r) % 12 + 1));
    return n;
}

/* Whether two layers have the same n-grams with the same counts, of all lengths. */
static void assert_same(const aigc_personal *a, const aigc_personal *b)
{
    assert_int_equal(a->table.n_live, b->table.n_live);
    assert_int_equal(a->table.n_live_contexts, b->table.n_live_contexts);
    for (uint32_t i = 1; i < a->table.n_ngrams; i++) {
        const ngram *g = &a->table.ngrams[i];
        const ngram_context *found[NGRAM_ORDER];
        int32_t history[NGRAM_ORDER];
        size_t n = 0;
        if (g->count == 0)
            continue;
        uint32_t context = (uint32_t)(g->key >> 32);
        for (; context != NGRAM_ROOT; context = (uint32_t)(a->table.contexts[context].key >> 32))
            history[n++] = (int32_t)(uint32_t)a->table.contexts[context].key; /* oldest first */
        assert_true(ngram_match(&b->table, history, n, found) == (int)n + 1);
        assert_int_equal(ngram_count(&b->table, found[n], ngram_token(g)), g->count);
        assert_int_equal(found[n]->total, a->table.contexts[(uint32_t)(g->key >> 32)].total);
        assert_int_equal(found[n]->types, a->table.contexts[(uint32_t)(g->key >> 32)].types);
    }
}

static void test_unlearn_is_inverse(void **state)
{
    (void)state;
    enum { N_TEXTS = 60 };
    static int32_t texts[N_TEXTS][MAX_IDS];
    size_t sizes[N_TEXTS];
    random_state r;
    random_seed(&r, 11, 0);
    aigc_personal *p = open_personal(NULL, 0), *kept = open_personal(NULL, 0);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N_TEXTS; i++) {
            sizes[i] = random_text(&r, texts[i]);
            learn(p, texts[i], sizes[i]);
        }
        for (int i = N_TEXTS - 1; i >= 0; i--)
            if (i % 7 == round % 7)
                learn(kept, texts[i], sizes[i]);
            else
                unlearn(p, texts[i], sizes[i]);
        assert_same(p, kept);
        assert_same(kept, p);
    }
    aigc_personal_clear(p);
    assert_int_equal(n_ngrams(p), 0);
    learn(p, texts[0], sizes[0]);
    unlearn(p, texts[0], sizes[0]);
    assert_int_equal(n_ngrams(p), 0);
    assert_int_equal(p->table.n_live_contexts, 0);
    unlearn(p, texts[0], sizes[0]); /* what is not there stays away */
    assert_int_equal(n_ngrams(p), 0);
    aigc_personal_close(p);
    aigc_personal_close(kept);
}

static void test_forget(void **state)
{
    (void)state;
    const int32_t text[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    aigc_phrase phrases[20];
    aigc_personal *p = open_personal(NULL, 0);
    learn(p, text, 12);
    learn(p, text, 12);
    assert_int_equal(aigc_personal_phrases(p, phrases, 20), 8);
    assert_int_equal(phrases[0].count, 2);
    assert_int_equal(phrases[0].tokens[0], 1);
    assert_int_equal(aigc_personal_forget(p, (const int32_t[]){6, 7}, 2), 4); /* 3-7, 4-8, 5-9, 6-10 */
    assert_int_equal(aigc_personal_phrases(p, phrases, 20), 4);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k + 1 < AIGC_PERSONAL_ORDER; k++)
            assert_false(phrases[i].tokens[k] == 6 && phrases[i].tokens[k + 1] == 7);
    assert_int_equal(aigc_personal_forget(p, text, 12), 6); /* what is left of it, with those that begin it */
    assert_int_equal(aigc_personal_forget(p, text, 0), 0);
    assert_int_equal(aigc_personal_phrases(p, phrases, 20), 0);
    /* Half of a name is as bad as all of it: 1-5 and 2-6 end in it, 3-7 and 4-8 have it, 5-9 and 6-10 begin in it. */
    learn(p, text, 12);
    assert_int_equal(aigc_personal_forget(p, (const int32_t[]){4, 5, 6, 7}, 4), 6);
    assert_int_equal(aigc_personal_phrases(p, phrases, 20), 2);
    /* So is half an n-gram of a longer name: 1-5 and 2-6 end in it, 3-7 and 4-8 are of it, 5-9 and 6-10 begin in it. */
    aigc_personal_clear(p);
    learn(p, text, 12);
    assert_int_equal(aigc_personal_forget(p, (const int32_t[]){3, 4, 5, 6, 7, 8}, 6), 6);
    assert_int_equal(aigc_personal_phrases(p, phrases, 20), 2);
    aigc_personal_close(p);
}

static void test_bound(void **state)
{
    (void)state;
    random_state r;
    int32_t ids[200];
    aigc_error err;
    aigc_personal *p = open_personal(NULL, 2000);
    random_seed(&r, 12, 0);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 200; i++)
            ids[i] = (int32_t)(random_u64(&r) % 300);
        learn(p, ids, 200);
        assert_true(n_ngrams(p) <= 2000);
        /* What was learned last is still there. */
        int32_t whole[NGRAM_ORDER];
        memcpy(whole, ids + 195, sizeof whole);
        assert_true(ngram_find(&p->table, whole) != NGRAM_NONE);
    }
    assert_true(n_ngrams(p) > 500);
    aigc_personal_close(p);
    assert_int_equal(aigc_personal_open(model, NULL, 10, &p, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "not 10"));
}

/* ---- experience ---- */

static void test_adapt(void **state)
{
    (void)state;
    const int32_t text[] = {5, 6, 7, 8, 5, 6, 7, 8, 5, 6, 7, 8};
    aigc_token tokens[12];
    aigc_personal *p = open_personal(NULL, 0);
    learn(p, text, 12);
    double before = personal_logprob(p, text, 4, 5, log(0.001));
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < 12; i++)
            tokens[i] = (aigc_token){text[i], (float)personal_logprob(p, text, i, text[i], log(0.001))};
        aigc_personal_adapt(p, tokens, 12, 0, true);
    }
    double trusted = personal_logprob(p, text, 4, 5, log(0.001));
    assert_true(trusted > before);
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < 12; i++)
            tokens[i] = (aigc_token){text[i], (float)personal_logprob(p, text, i, text[i], log(0.001))};
        aigc_personal_adapt(p, tokens, 12, 0, false);
    }
    assert_true(personal_logprob(p, text, 4, 5, log(0.001)) < trusted);
    aigc_personal_close(p);
}

/* ---- the file ---- */

static char *temporary(void)
{
    static char path[] = "/tmp/aigc-test-personal-file";
    snprintf(path, sizeof path, "/tmp/aigc-test-personal-%03d", (int)(getpid() % 1000));
    unlink(path);
    return path;
}

static unsigned char *read_file(const char *path, size_t *n)
{
    FILE *in = fopen(path, "rb");
    unsigned char *data = malloc(1 << 20);
    assert_non_null(in);
    assert_non_null(data);
    *n = fread(data, 1, 1 << 20, in);
    fclose(in);
    return data;
}

static void write_file(const char *path, const unsigned char *data, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, n, out), n);
    fclose(out);
}

static aigc_personal *learned(int n_texts)
{
    random_state r;
    int32_t ids[MAX_IDS];
    aigc_personal *p = open_personal(NULL, 0);
    random_seed(&r, 13, 0);
    for (int i = 0; i < n_texts; i++) {
        size_t n = random_text(&r, ids);
        learn(p, ids, n);
        adapt(p, ids, n, 24);
    }
    return p;
}

static void test_file(void **state)
{
    (void)state;
    aigc_error err = {0};
    struct stat st;
    char *path = temporary();
    aigc_personal *p = learned(30), *empty = open_personal(path, 0);
    assert_int_equal(n_ngrams(empty), 0);
    if (aigc_personal_save(p, path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    aigc_personal *read = open_personal(path, 0);
    assert_same(p, read);
    assert_memory_equal(p->weights, read->weights, sizeof p->weights);
    assert_int_equal(p->clock, read->clock);
    assert_int_equal(p->n_learned, read->n_learned);
    assert_int_equal(aigc_personal_save(p, "/nonexistent/x", &err), AIGC_E_IO);
    unlink(path);
    aigc_personal_close(p);
    aigc_personal_close(read);
    aigc_personal_close(empty);
}

static void assert_refused(const char *path, aigc_status code, const char *why)
{
    aigc_error err = {0};
    aigc_personal *p = NULL;
    assert_int_equal(aigc_personal_open(model, path, 0, &p, &err), code);
    assert_null(p);
    if (strstr(err.message, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, why);
}

static void test_damaged(void **state)
{
    (void)state;
    aigc_error err;
    char *path = temporary();
    aigc_personal *p = learned(3);
    size_t n;
    assert_int_equal(aigc_personal_save(p, path, &err), AIGC_OK);
    aigc_personal_close(p);
    unsigned char *data = read_file(path, &n);
    for (size_t cut = 0; cut < n; cut += 1 + cut / 8) {
        write_file(path, data, cut);
        assert_refused(path, AIGC_E_FORMAT, cut < 56 ? "not a personal file" : "sizes do not agree");
    }
    for (size_t i = 16; i < n; i += 1 + i / 50) {
        aigc_personal *damaged = NULL;
        data[i] ^= 0x10;
        write_file(path, data, n);
        assert_int_not_equal(aigc_personal_open(model, path, 0, &damaged, &err), AIGC_OK);
        data[i] ^= 0x10;
    }
    data[8] = 9;
    write_file(path, data, n);
    assert_refused(path, AIGC_E_UNSUPPORTED, "version 9");
    unlink(path);
    free(data);
    assert_refused("/tmp", AIGC_E_IO, "/tmp");
}

static uint64_t checksum_of(const unsigned char *data, size_t n)
{
    uint64_t sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ data[i]) * 0x100000001b3u;
    return sum;
}

/* Damage that knows the checksum: whatever is read must be sound, or be refused. */
static void test_hostile(void **state)
{
    (void)state;
    aigc_error err;
    char *path = temporary();
    aigc_personal *p = learned(4);
    size_t n;
    int n_read = 0, n_refused = 0;
    random_state r;
    random_seed(&r, 14, 0);
    assert_int_equal(aigc_personal_save(p, path, &err), AIGC_OK);
    aigc_personal_close(p);
    unsigned char *data = read_file(path, &n), *copy = malloc(n);
    assert_non_null(copy);
    for (int round = 0; round < 1500; round++) {
        memcpy(copy, data, n);
        for (int k = 1 + (int)(random_u64(&r) % 4); k > 0; k--) {
            size_t at = random_u64(&r) % 2 ? random_u64(&r) % 64 : random_u64(&r) % (n - 8);
            copy[at] = random_u64(&r) % 2 ? (unsigned char)random_u64(&r) : 0xff;
        }
        uint64_t sum = checksum_of(copy, n - 8);
        memcpy(copy + n - 8, &sum, 8);
        write_file(path, copy, n);
        if (aigc_personal_open(model, path, 0, &p, &err) == AIGC_OK) {
            double one = personal_logprob(p, (const int32_t[]){1, 2, 3, 4}, 4, 2, log(0.01));
            assert_true(one <= 1e-9);
            aigc_personal_clear(p);
            aigc_personal_close(p);
            n_read++;
        } else {
            n_refused++;
        }
    }
    assert_true(n_read > 100 && n_refused > 100);
    unlink(path);
    free(data);
    free(copy);
}

/* ---- in the engine ---- */

static aigc_request *run(aigc_engine *engine, const aigc_request_options *options)
{
    aigc_error err;
    aigc_request *request;
    if (aigc_submit(engine, options, &request, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    while (!aigc_request_done(request))
        if (aigc_step(engine, &err) != AIGC_OK)
            fail_msg("%s", err.message);
    return request;
}

static void assert_same_tokens(const aigc_request *a, const aigc_request *b)
{
    const aigc_token *x, *y;
    for (int i = 0; i < 2; i++) {
        size_t n = aigc_request_tokens(a, i, &x);
        assert_int_equal(aigc_request_tokens(b, i, &y), n);
        assert_memory_equal(x, y, n * sizeof *x);
    }
}

static void test_engine(void **state)
{
    (void)state;
    aigc_error err;
    aigc_engine *engine;
    aigc_engine_options eo = aigc_engine_defaults();
    aigc_request_options o = aigc_request_defaults();
    aigc_personal *p = open_personal(NULL, 0);
    const aigc_token *tokens, *scored;
    int32_t ids[40];
    eo.n_threads = 2;
    assert_int_equal(aigc_engine_open(model, &eo, &engine, &err), AIGC_OK);
    o.prompt = "The quick brown fox";
    o.prompt_len = 19;
    o.max_tokens = 16;
    o.n = 2;
    o.ignore_eos = true;
    aigc_request *without = run(engine, &o);
    o.personal = p;
    aigc_request *with_empty = run(engine, &o);
    assert_same_tokens(without, with_empty); /* an empty layer changes nothing */
    size_t n_prompt = aigc_request_prompt(without, &tokens), n = n_prompt;
    for (size_t i = 0; i < n_prompt; i++)
        ids[i] = tokens[i].id;
    for (int32_t i = 0; i < 12; i++)
        ids[n++] = 100 + i;
    for (int i = 0; i < 20; i++)
        learn(p, ids, n);
    o.sampling.temperature = 0;
    aigc_request *with = run(engine, &o);
    assert_int_equal(aigc_request_tokens(with, 1, &tokens), 16);
    for (int32_t i = 0; i < 12; i++)
        assert_int_equal(tokens[i].id, 100 + i); /* a model of random weights now knows the phrase */
    /* Scoring the same tokens gives the log-probabilities that generating gave. */
    aigc_request_options so = aigc_request_defaults();
    so.tokens = ids;
    so.n_tokens = n;
    so.max_tokens = 0;
    so.prompt_logprobs = true;
    so.personal = p;
    aigc_request *score = run(engine, &so);
    assert_int_equal(aigc_request_prompt(score, &scored), n);
    for (size_t i = 0; i < 12; i++)
        assert_float_equal(scored[n_prompt + i].logprob, tokens[i].logprob, 1e-5);
    /* Two layers: the one that is mixed in last has the last word. */
    aigc_personal *other = open_personal(NULL, 0);
    int32_t elsewhere[40];
    memcpy(elsewhere, ids, sizeof ids);
    for (size_t i = n_prompt; i < n; i++)
        elsewhere[i] += 50;
    for (int i = 0; i < 20; i++)
        learn(other, elsewhere, n);
    o.personal = other;
    o.documents = p;
    aigc_request *both = run(engine, &o);
    so.personal = other;
    so.documents = p;
    aigc_request *both_score = run(engine, &so);
    aigc_request_tokens(both, 0, &tokens);
    assert_int_equal(tokens[0].id, 150);
    aigc_request_prompt(both_score, &scored);
    assert_true(scored[n_prompt].logprob > logf(0.01f)); /* what the first layer says has not gone */
    aigc_request_free(both_score);
    aigc_request_free(both);
    aigc_personal_close(other);
    aigc_request_free(score);
    aigc_request_free(with);
    aigc_request_free(with_empty);
    aigc_request_free(without);
    aigc_engine_close(engine);
    aigc_personal_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),  cmocka_unit_test(test_unlearn_is_inverse),
        cmocka_unit_test(test_forget),  cmocka_unit_test(test_bound),
        cmocka_unit_test(test_adapt),   cmocka_unit_test(test_file),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_engine),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
