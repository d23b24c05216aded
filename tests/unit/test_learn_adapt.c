/*
 * test_learn_adapt.c: fine-tuning. LoRA's gradients against finite differences of a plain forward pass in double, over
 * weights with the adapter merged in; learning from responses and from preferences against PyTorch
 * (tests/reference/make_adapt_golden.py); LoRA of full rank against training all weights; runs that go on from a
 * checkpoint.
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
#include "vocabularies.h"

#include "../models/synthetic.h"

/* Those of make_adapt_golden.py. */
static const learn_shape shapes[] = {
    {"llama", 2, 48, 4, 2, 96, 64, 261, false, 1e-5f, 10000},
    {"qwen2", 2, 48, 4, 2, 96, 64, 261, true, 1e-6f, 1e6f},
    {"gpt2", 2, 48, 4, 4, 192, 64, 261, true, 1e-5f, 0},
};

/* Small, with a context above one tile of attention. */
static const learn_shape small[] = {
    {"llama", 2, 24, 4, 2, 37, 75, 261, false, 1e-5f, 10000},
    {"qwen2", 2, 24, 4, 1, 35, 75, 261, true, 1e-6f, 1e6f},
    {"gpt2", 2, 21, 3, 3, 50, 75, 261, true, 1e-5f, 0},
};

enum { N_SHAPES = 3, SEQUENCES = 2, MAX_TOKENS = 2 * 75, RANK = 3 };

static char directory[4096], path[4200];

static void set_bytes(gguf_writer *w)
{
    aigc_error err;

    if (synthetic_set_vocabulary(w, VOCABULARY_BYTES_BPE, 261, NULL, &err) != AIGC_OK)
        fail_msg("%s", err.message);
}

/* A model file with weights by the formula; its path is in `path`. */
static void write_base(const learn_shape *shape, double spread)
{
    const made_vocabulary bytes = {.more = set_bytes};
    gguf_file *vocabulary = make_vocabulary(&bytes);
    const model_metadata metadata = {.vocabulary = vocabulary, .name = "base"};
    learn_layout layout;
    aigc_error err;

    if (layout_create(shape, &layout, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    float *weights = calloc(layout.n_floats, sizeof *weights);
    assert_non_null(weights);
    formula_weights(&layout, spread, weights);
    snprintf(path, sizeof path, "%s/%s.gguf", directory, shape->arch);
    if (layout_write_model(&layout, weights, TYPE_F32, &metadata, NULL, path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    free(weights);
    layout_free(&layout);
    gguf_close(vocabulary);
}

/* ---- gradients ---- */

typedef struct problem {
    const learn_layout *layout;
    double *weights, *merged; /* [n_floats]; merged: with the adapter's product added */
    learn_batch batch;
} problem;

static void merge_tensor(const problem *p, int weight, int a, int b)
{
    const learn_tensor *w = &p->layout->tensors[weight], *ta = &p->layout->tensors[a], *tb = &p->layout->tensors[b];

    for (size_t row = 0; row < w->rows; row++)
        for (size_t i = 0; i < w->k; i++) {
            double sum = 0;

            for (size_t r = 0; r < ta->rows; r++)
                sum += p->weights[tb->offset + row * ta->rows + r] * p->weights[ta->offset + r * w->k + i];
            p->merged[w->offset + row * w->k + i] += (double)p->layout->lora_scale * sum;
        }
}

static double loss_at(const problem *p)
{
    memcpy(p->merged, p->weights, p->layout->n_floats * sizeof *p->merged);
    for (uint32_t i = 0; i < p->layout->hp.n_layers; i++)
        for (int role = 0; role < LAYER_MATRICES; role++) {
            const layer_tensors *t = &p->layout->layers[i];

            if (t->lora_a[role] != NO_TENSOR)
                merge_tensor(p, t->weight[role], t->lora_a[role], t->lora_b[role]);
        }
    return reference_loss(p->layout, p->merged, &p->batch, SEQUENCES);
}

/* The slope along a direction through one tensor. */
static double slope(const problem *p, const learn_tensor *t, const double *direction)
{
    const double h = 1e-4;
    double loss[4];

    for (int i = 0; i < 4; i++) {
        double step = (i < 2 ? h : 2 * h) * (i % 2 ? -1 : 1);

        for (size_t j = 0; j < t->k * t->rows; j++)
            p->weights[t->offset + j] += step * direction[j];
        loss[i] = loss_at(p);
        for (size_t j = 0; j < t->k * t->rows; j++)
            p->weights[t->offset + j] -= step * direction[j];
    }
    return (8 * (loss[0] - loss[1]) - (loss[2] - loss[3])) / (12 * h);
}

/* A random direction through all entries: none can be wrong without turning the slope. */
static void check_tensor(const problem *p, const learn_tensor *t, const float *gradient, double *worst)
{
    size_t n = t->k * t->rows;
    double *direction = calloc(n, sizeof *direction), along = 0, square = 0;

    assert_non_null(direction);
    for (size_t j = 0; j < n; j++) {
        direction[j] = formula_unit(j * 31 + t->offset);
        along += direction[j] * (double)gradient[j];
        square += (double)gradient[j] * (double)gradient[j];
    }
    double expected = slope(p, t, direction), error = fabs(along - expected) / (fabs(expected) + 0.05 * sqrt(square));

    assert_true(square > 0);
    *worst = fmax(*worst, error);
    if (!(error < 1e-4))
        fail_msg("slope of %s: %.9g, by finite differences %.9g", t->name, along, expected);
    free(direction);
}

static void check_gradients(const learn_shape *shape)
{
    static int32_t ids[MAX_TOKENS], targets[MAX_TOKENS], first[MAX_TOKENS];
    aigc_model *base;
    aigc_error err;
    learner *l;
    double loss, worst = 0;

    write_base(shape, 0.35);
    if (aigc_model_open(path, AIGC_MODEL_ALL, &base, &err) != AIGC_OK ||
        learner_create_from(base, shape->n_context, RANK, 2 * RANK, SEQUENCES, 2, &l, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    problem p = {.layout = learner_layout(l), .batch = {ids, targets, first}};
    const size_t n = p.layout->n_floats, first_trained = p.layout->first_trained;
    assert_true(layout_start_from(p.layout, base, 1, NULL, learner_weights(l)));
    /* Not zero at the beginning, as B is: every gradient must depend on everything. */
    for (size_t i = first_trained; i < n; i++)
        learner_weights(l)[i] = (float)(0.35 * formula_unit(i));
    p.weights = calloc(n, sizeof *p.weights);
    p.merged = calloc(n, sizeof *p.merged);
    assert_true(p.weights != NULL && p.merged != NULL);
    for (size_t i = 0; i < n; i++)
        p.weights[i] = (double)learner_weights(l)[i];
    formula_batch(shape->n_vocab, SEQUENCES, shape->n_context, 29, 0, ids, targets, first);
    assert_int_equal(learner_backward(l, &p.batch, 1, &loss, &err), AIGC_OK);
    assert_true(fabs(loss - loss_at(&p)) < 1e-6 * loss);
    for (int i = 0; i < p.layout->n_tensors; i++)
        if (p.layout->tensors[i].offset >= first_trained)
            check_tensor(&p, &p.layout->tensors[i],
                         learner_gradients(l) + (p.layout->tensors[i].offset - first_trained), &worst);
    print_message("# %s: largest relative difference %.2g\n", shape->arch, worst);
    free(p.weights);
    free(p.merged);
    learner_destroy(l);
    aigc_model_close(base);
}

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_gradients(&small[i]);
}

/* ---- responses and preferences ---- */

enum { GOLDEN_STEPS = 20, EXAMPLES = 8 };

typedef struct golden_step {
    double loss, norm;
} golden_step;

static void read_golden(const char *wanted, golden_step steps[GOLDEN_STEPS])
{
    FILE *in = fopen("tests/reference/adapt.golden", "r");
    char line[128], name[32];
    golden_step g;
    int step, n = 0;

    if (!in)
        fail_msg("can't open tests/reference/adapt.golden (tests run from the repository's root)");
    while (fgets(line, sizeof line, in))
        if (sscanf(line, "%31s %d %lf %lf", name, &step, &g.loss, &g.norm) == 4 && strcmp(name, wanted) == 0) {
            assert_int_equal(step, n + 1);
            assert_in_range(n, 0, GOLDEN_STEPS - 1);
            steps[n++] = g;
        }
    fclose(in);
    assert_int_equal(n, GOLDEN_STEPS);
}

/* example() of make_adapt_golden.py */
static void feed_examples(aigc_trainer *t, aigc_train_text kind, bool preferences)
{
    char prompt[32], chosen[32], rejected[32];
    aigc_error err;

    for (int i = 0; i < EXAMPLES; i++) {
        snprintf(prompt, sizeof prompt, "%c%c is", 'a' + i, 'a' + i);
        snprintf(chosen, sizeof chosen, " good %d.", i);
        snprintf(rejected, sizeof rejected, " bad %c!", 'a' + i);
        aigc_status status =
            preferences ? aigc_trainer_feed_preference(t, kind, prompt, strlen(prompt), chosen, strlen(chosen),
                                                       rejected, strlen(rejected), &err)
                        : aigc_trainer_feed_pair(t, kind, prompt, strlen(prompt), chosen, strlen(chosen), &err);
        if (status != AIGC_OK)
            fail_msg("%s", err.message);
    }
}

static aigc_trainer *open_trainer(const aigc_train_options *o)
{
    aigc_trainer *t;
    aigc_error err;

    if (aigc_trainer_create(NULL, o, &t, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return t;
}

static void start(aigc_trainer *t, uint64_t n_steps)
{
    aigc_error err;

    if (aigc_trainer_start(t, n_steps, &err) != AIGC_OK)
        fail_msg("%s", err.message);
}

static aigc_train_progress run_step(aigc_trainer *t)
{
    aigc_train_progress p;
    aigc_error err;

    if (aigc_trainer_step(t, &p, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return p;
}

static void check_golden(const learn_shape *shape, bool preferences)
{
    aigc_train_options o = aigc_finetune_defaults();
    golden_step golden[GOLDEN_STEPS];
    double worst = 0, worst_norm = 0;
    char name[32];
    aigc_trainer_info info;
    aigc_train_progress p = {0};

    write_base(shape, 0.1);
    snprintf(name, sizeof name, "%s-%s", shape->arch, preferences ? "preferences" : "responses");
    read_golden(name, golden);
    o.base = path;
    o.lora_rank = 0;
    o.preference_beta = 0.3;
    o.rate = 2e-3;
    o.n_warmup = 0;
    /* A preference has 25 positions, a pair 13: two of those, or four of these, fill a window. */
    o.n_context = 52;
    o.n_sequences = preferences ? 2 : 1;
    o.n_accumulate = 2;
    o.n_threads = 2;
    aigc_trainer *t = open_trainer(&o);
    feed_examples(t, AIGC_TEXT_TRAIN, preferences);
    aigc_trainer_describe(t, &info);
    assert_int_equal(info.n_train_examples, EXAMPLES);
    assert_int_equal(info.epoch_steps, 1);
    assert_int_equal(info.n_cut, 0);
    start(t, GOLDEN_STEPS);
    for (int i = 0; i < GOLDEN_STEPS; i++) {
        p = run_step(t);
        worst = fmax(worst, fabs(p.loss - golden[i].loss));
        worst_norm = fmax(worst_norm, fabs(p.gradient_norm / golden[i].norm - 1));
    }
    print_message("# %s: loss %.4f to %.4f, largest difference from PyTorch %.2g (norm of the gradient: %.2g)\n", name,
                  golden[0].loss, p.loss, worst, worst_norm);
    assert_true(worst < 1e-3);
    assert_true(worst_norm < 1e-2);
    assert_true(!preferences || p.accuracy == 1);
    aigc_trainer_destroy(t);
}

static void test_responses(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_golden(&shapes[i], false);
}

static void test_preferences(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_golden(&shapes[i], true);
}

/* ---- full rank ---- */

/* Each prompt with the response that belongs to another: the same words, to be learned anew. */
static void feed_shifted(aigc_trainer *t, aigc_train_text kind, int shift)
{
    char prompt[32], response[32];
    aigc_error err;

    for (int i = 0; i < EXAMPLES; i++) {
        snprintf(prompt, sizeof prompt, "%c%c is", 'a' + i, 'a' + i);
        snprintf(response, sizeof response, " %d dogs %c", (i + shift) % EXAMPLES, 'a' + (i + shift) % EXAMPLES);
        if (aigc_trainer_feed_pair(t, kind, prompt, strlen(prompt), response, strlen(response), &err) != AIGC_OK)
            fail_msg("%s", err.message);
    }
}

/* A base that has learned something. */
static void train_base(const char *trained)
{
    aigc_train_options o = aigc_finetune_defaults();
    aigc_error err;

    o.base = path;
    o.lora_rank = 0;
    o.rate = 3e-3;
    o.n_context = 52;
    o.n_sequences = 2;
    o.n_threads = 2;
    aigc_trainer *t = open_trainer(&o);
    feed_shifted(t, AIGC_TEXT_TRAIN, 0);
    start(t, 150);
    for (int i = 0; i < 150; i++)
        run_step(t);
    if (aigc_trainer_write(t, trained, NULL, NULL, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    aigc_trainer_destroy(t);
}

/* The mean loss after some steps towards other responses. */
static double final_loss(const char *base, int lora_rank, double rate)
{
    aigc_train_options o = aigc_finetune_defaults();
    aigc_train_score score;
    aigc_error err;

    o.base = base;
    o.lora_rank = lora_rank;
    o.lora_alpha = lora_rank > 0 ? lora_rank : 1;
    o.rate = rate;
    o.n_context = 52;
    o.n_sequences = 2;
    o.n_threads = 2;
    aigc_trainer *t = open_trainer(&o);
    feed_shifted(t, AIGC_TEXT_TRAIN, 3);
    feed_shifted(t, AIGC_TEXT_VALID, 3);
    start(t, 150);
    for (int i = 0; i < 150; i++)
        run_step(t);
    if (aigc_trainer_evaluate(t, &score, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(score.n_tokens, EXAMPLES * 10); /* nine letters and the end */
    aigc_trainer_destroy(t);
    return score.loss;
}

/* With a rank of the whole width the adapter can say all that the matrices can. */
static void test_full_rank(void **state)
{
    char trained[4200];

    (void)state;
    write_base(&shapes[0], 0.1);
    snprintf(trained, sizeof trained, "%s/trained.gguf", directory);
    train_base(trained);
    double full = final_loss(trained, 0, 1e-3), thin = final_loss(trained, 1, 1e-3),
           lora = final_loss(trained, 48, 3e-3);

    print_message("# all weights: loss %.4f; LoRA of rank 48: %.4f, of rank 1: %.4f\n", full, lora, thin);
    assert_true(full < 0.3); /* there was something to learn, and it was learned */
    assert_true(lora < full + 0.05);
    assert_true(thin > lora + 0.1); /* and that took the rank */
}

/* ---- checkpoints ---- */

static void run_to(aigc_trainer *t, uint64_t step)
{
    while (run_step(t).step < step)
        continue;
}

static void check_resume(int lora_rank, bool preferences)
{
    aigc_train_options o = aigc_finetune_defaults();
    char checkpoint[4200], model[2][4200];
    char *bytes[2];
    size_t len[2];
    aigc_error err;

    o.base = path;
    o.lora_rank = lora_rank;
    o.n_context = 52;
    o.n_sequences = 2;
    snprintf(checkpoint, sizeof checkpoint, "%s/run.checkpoint", directory);
    for (int i = 0; i < 2; i++) { /* undisturbed on one thread; cut in two on one and three */
        o.n_threads = 1;
        aigc_trainer *t = open_trainer(&o);
        feed_examples(t, AIGC_TEXT_TRAIN, preferences);
        start(t, 12);
        run_to(t, i == 0 ? 12 : 5);
        if (i == 1) {
            assert_int_equal(aigc_trainer_save(t, checkpoint, &err), AIGC_OK);
            aigc_trainer_destroy(t);
            o.n_threads = 3;
            t = open_trainer(&o);
            feed_examples(t, AIGC_TEXT_TRAIN, preferences);
            if (aigc_trainer_load(t, checkpoint, &err) != AIGC_OK)
                fail_msg("%s", err.message);
            run_to(t, 12);
        }
        snprintf(model[i], sizeof model[i], "%s/result%d.gguf", directory, i);
        if (aigc_trainer_write(t, model[i], NULL, NULL, &err) != AIGC_OK)
            fail_msg("%s", err.message);
        bytes[i] = read_whole(model[i], &len[i]);
        aigc_trainer_destroy(t);
    }
    assert_int_equal(len[0], len[1]);
    assert_memory_equal(bytes[0], bytes[1], len[0]);
    free(bytes[0]);
    free(bytes[1]);
    /* Other data is another run. */
    aigc_trainer *t = open_trainer(&o);
    feed_examples(t, AIGC_TEXT_TRAIN, !preferences);
    assert_int_equal(aigc_trainer_load(t, checkpoint, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "another run"));
    aigc_trainer_destroy(t);
}

static void test_resume(void **state)
{
    (void)state;
    write_base(&shapes[1], 0.1);
    check_resume(4, false);
    check_resume(0, true);
    check_resume(4, true);
}

/* ---- examples ---- */

/* What is longer than the context loses the beginning of its prompt, then the end of the response. */
static void test_cut(void **state)
{
    aigc_train_options o = aigc_finetune_defaults();
    aigc_trainer_info info;
    aigc_error err;
    char text[201];

    (void)state;
    write_base(&shapes[0], 0.1);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    o.base = path;
    o.n_context = 20;
    o.n_threads = 1;
    aigc_trainer *t = open_trainer(&o);
    assert_int_equal(aigc_trainer_feed_pair(t, AIGC_TEXT_TRAIN, text, 13, text, 7, &err), AIGC_OK); /* 20 positions */
    aigc_trainer_describe(t, &info);
    assert_true(info.n_cut == 0 && info.n_train_tokens == 21);
    assert_int_equal(aigc_trainer_feed_pair(t, AIGC_TEXT_TRAIN, text, 14, text, 7, &err), AIGC_OK);
    assert_int_equal(aigc_trainer_feed_pair(t, AIGC_TEXT_TRAIN, text, 100, text, 200, &err), AIGC_OK);
    assert_int_equal(aigc_trainer_feed_pair(t, AIGC_TEXT_TRAIN, "", 0, text, 200, &err), AIGC_OK);
    aigc_trainer_describe(t, &info);
    assert_true(info.n_cut == 3 && info.n_train_tokens == 4 * 21 && info.n_train_examples == 4);
    /* A response that ends itself gets no second end. */
    assert_int_equal(aigc_trainer_feed_pair(t, AIGC_TEXT_TRAIN, "x", 1, "y<|endoftext|>\n", 15, &err), AIGC_OK);
    aigc_trainer_describe(t, &info);
    assert_int_equal(info.n_train_tokens, 4 * 21 + 4);
    assert_int_equal(aigc_trainer_feed_pair(t, AIGC_TEXT_TRAIN, "x", 1, "", 0, &err), AIGC_E_ARGUMENT);
    assert_int_equal(aigc_trainer_feed(t, AIGC_TEXT_TRAIN, "x", 1, &err), AIGC_E_ARGUMENT);
    assert_int_equal(aigc_trainer_feed_preference(t, AIGC_TEXT_TRAIN, "x", 1, "y", 1, "z", 1, &err), AIGC_E_ARGUMENT);
    aigc_trainer_destroy(t);
    /* Both responses of a preference have half the context, and one prompt. */
    t = open_trainer(&o);
    assert_int_equal(aigc_trainer_feed_preference(t, AIGC_TEXT_TRAIN, text, 50, text, 3, text, 5, &err), AIGC_OK);
    aigc_trainer_describe(t, &info);
    assert_true(info.n_cut == 1 && info.n_train_tokens == 5 + 4 + 5 + 6); /* 10 positions hold 11 ids */
    aigc_trainer_destroy(t);
}

static void expect_refusal(aigc_train_options o, const char *part)
{
    aigc_trainer *t;
    aigc_error err;

    assert_int_not_equal(aigc_trainer_create(NULL, &o, &t, &err), AIGC_OK);
    if (strstr(err.message, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, err.message);
}

static void test_refusals(void **state)
{
    aigc_train_options o = aigc_finetune_defaults(), bad;

    (void)state;
    write_base(&shapes[2], 0.1);
    o.base = path;
    bad = o, bad.n_layers = 2, expect_refusal(bad, "can't be chosen");
    bad = o, bad.init = path, expect_refusal(bad, "give either");
    bad = o, bad.lora_rank = -1, expect_refusal(bad, "rank");
    bad = o, bad.lora_alpha = 0, expect_refusal(bad, "alpha");
    bad = o, bad.preference_beta = 0, expect_refusal(bad, "beta");
    bad = o, bad.n_context = 65, expect_refusal(bad, "context"); /* of learned positions there are 64 */
    bad = o, bad.n_context = 4, expect_refusal(bad, "too short");
    bad = o, bad.base = "/nonexistent", expect_refusal(bad, "/nonexistent");
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
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_responses), cmocka_unit_test(test_preferences),
        cmocka_unit_test(test_full_rank), cmocka_unit_test(test_resume),    cmocka_unit_test(test_cut),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests_name("learn_adapt", tests, make_directory, remove_directory);
}
