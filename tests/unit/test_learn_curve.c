/*
 * test_learn_curve.c: the first 50 steps of training against PyTorch's (tests/reference/make_learn_golden.py), and a
 * trained model written as a file and scored by the engine.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn/schedule.h"
#include "learn_reference.h"
#include "logits.h"

static const learn_shape shapes[] = {
    {"llama", 2, 48, 4, 2, 96, 64, 101, false, 1e-5f, 10000},
    {"qwen2", 2, 48, 4, 2, 96, 64, 101, true, 1e-6f, 1e6f},
    {"gpt2", 2, 48, 4, 4, 192, 64, 101, true, 1e-5f, 0},
};

enum { N_SHAPES = 3, STEPS = 50, SEQUENCES = 2, ACCUMULATE = 2, DOCUMENT = 23, TOKENS = SEQUENCES * 64 };

typedef struct golden_step {
    double loss, norm;
} golden_step;

typedef struct batch_memory {
    int32_t ids[TOKENS], targets[TOKENS], first[TOKENS];
} batch_memory;

static void read_golden(const char *wanted, golden_step steps[STEPS])
{
    FILE *in = fopen("tests/reference/learn.golden", "r");
    char line[128], name[16];
    golden_step g;
    int step, n = 0;

    if (!in)
        fail_msg("can't open tests/reference/learn.golden (tests run from the repository's root)");
    while (fgets(line, sizeof line, in))
        if (sscanf(line, "%15s %d %lf %lf", name, &step, &g.loss, &g.norm) == 4 && strcmp(name, wanted) == 0) {
            assert_int_equal(step, n + 1);
            assert_in_range(n, 0, STEPS - 1);
            steps[n++] = g;
        }
    fclose(in);
    assert_int_equal(n, STEPS);
}

static learn_batch make_batch(const learn_shape *shape, int number, batch_memory *m)
{
    formula_batch(shape->n_vocab, SEQUENCES, shape->n_context, DOCUMENT, number, m->ids, m->targets, m->first);
    return (learn_batch){m->ids, m->targets, m->first};
}

static int count_targets(const learn_batch *b)
{
    int n = 0;

    for (int t = 0; t < TOKENS; t++)
        n += b->targets[t] >= 0;
    return n;
}

static learner *make_learner(const learn_shape *shape)
{
    aigc_error err;
    learner *l;

    if (learner_create(shape, SEQUENCES, 2, &l, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    formula_weights(learner_layout(l), 0.1, learner_weights(l));
    return l;
}

/* One step; returns the mean loss before it. */
static double run_step(learner *l, const learn_shape *shape, int step, double *norm)
{
    const adamw_options o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
    const learn_schedule schedule = {AIGC_SCHEDULE_COSINE, 3e-3, 0.1, 10, STEPS, 0};
    batch_memory memory[ACCUMULATE];
    learn_batch batches[ACCUMULATE];
    double total = 0, loss;
    int n = 0;
    aigc_error err;

    for (int i = 0; i < ACCUMULATE; i++) {
        batches[i] = make_batch(shape, (step - 1) % 2 * ACCUMULATE + i, &memory[i]);
        n += count_targets(&batches[i]);
    }
    for (int i = 0; i < ACCUMULATE; i++) {
        if (learner_backward(l, &batches[i], 1.0f / (float)n, &loss, &err) != AIGC_OK)
            fail_msg("%s", err.message);
        total += loss;
    }
    assert_int_equal(learner_update(l, &o, schedule_rate(&schedule, (uint64_t)step), (uint64_t)step, norm, NULL),
                     AIGC_OK);
    return total / n;
}

static void check_curve(const learn_shape *shape, bool muon)
{
    learner *l = make_learner(shape);
    golden_step golden[STEPS];
    double worst = 0, worst_norm = 0, loss = 0, norm;
    char name[16];
    aigc_error err;

    snprintf(name, sizeof name, "%s%s", shape->arch, muon ? "-muon" : "");
    if (muon && learner_use_muon(l, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    read_golden(name, golden);
    for (int step = 1; step <= STEPS; step++) {
        loss = run_step(l, shape, step, &norm);
        worst = fmax(worst, fabs(loss - golden[step - 1].loss));
        worst_norm = fmax(worst_norm, fabs(norm / golden[step - 1].norm - 1));
    }
    print_message("# %s: loss %.4f to %.4f, largest difference from PyTorch %.2g (norm of the gradient: %.2g)\n", name,
                  golden[0].loss, loss, worst, worst_norm);
    assert_true(golden[STEPS - 1].loss < golden[0].loss - 1); /* there was something to follow */
    assert_true(worst < 1e-3);
    assert_true(worst_norm < 1e-2);
    learner_destroy(l);
}

static void test_curves(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_curve(&shapes[i], false);
}

static void test_muon(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_curve(&shapes[i], true);
}

/* With operands rounded to bfloat16 the loss and the gradient's norm are nearly the same, but not the same, at each of
 * the 50 steps' weights. (How far two runs drift apart: tests/cli/train.t.) */
static void test_bf16(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        learner *full = make_learner(&shapes[i]), *rounded = make_learner(&shapes[i]);
        size_t bytes = learner_layout(full)->n_floats * sizeof(float);
        double worst = 0, worst_norm = 0, norm, other;

        assert_int_equal(learner_set_precision(rounded, GEMM_BF16, NULL), AIGC_OK);
        for (int step = 1; step <= STEPS; step++) {
            memcpy(learner_weights(rounded), learner_weights(full), bytes);
            worst = fmax(worst,
                         fabs(run_step(full, &shapes[i], step, &norm) - run_step(rounded, &shapes[i], step, &other)));
            worst_norm = fmax(worst_norm, fabs(other / norm - 1));
        }
        print_message("# %s: bfloat16 changes a loss by %.2g at most (norm of the gradient: %.2g)\n", shapes[i].arch,
                      worst, worst_norm);
        assert_true(worst > 1e-7 && worst < 5e-3);
        assert_true(worst_norm < 5e-2);
        learner_destroy(full);
        learner_destroy(rounded);
    }
}

/* Sum of the log-probabilities that the engine gives to tokens 1 to n - 1. */
static double engine_score(const char *path, const int32_t *tokens, size_t n)
{
    logits_options o = {.n_threads = 2, .n_batch = 64, .kv = AIGC_KV_F32};
    int n_vocab;
    float *logits = logits_of_file(path, &o, tokens, (int)n, &n_vocab);
    double score = 0;

    for (size_t t = 0; t + 1 < n; t++) {
        const float *row = logits + t * (size_t)n_vocab;
        double sum = 0;

        for (int i = 0; i < n_vocab; i++)
            sum += exp((double)row[i]);
        score += (double)row[tokens[t + 1]] - log(sum);
    }
    free(logits);
    return score;
}

/* A model trained a little, and one document of a whole context: the trainer's loss is the engine's. */
static void check_engine(const learn_shape *shape, const char *directory)
{
    learner *l = make_learner(shape);
    batch_memory memory;
    learn_batch b = make_batch(shape, 3, &memory);
    const model_metadata metadata = {.name = "trained"};
    int n = shape->n_context;
    char path[4224];
    double loss, norm;
    aigc_error err;

    for (int step = 1; step <= 5; step++)
        run_step(l, shape, step, &norm);
    for (int t = 0; t < TOKENS; t++) {
        memory.first[t] = 0;
        memory.targets[t] = t < n - 1 ? memory.ids[t + 1] : -1;
    }
    assert_int_equal(learner_loss(l, &b, &loss, &err), AIGC_OK);
    snprintf(path, sizeof path, "%s/%s.gguf", directory, shape->arch);
    if (layout_write_model(learner_layout(l), learner_weights(l), TYPE_F32, &metadata, NULL, path, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    double score = engine_score(path, memory.ids, (size_t)n);
    print_message("# %s: loss %.6f, by the engine %.6f\n", shape->arch, loss / (n - 1), -score / (n - 1));
    assert_true(fabs(loss + score) / (n - 1) < 1e-5);
    learner_destroy(l);
}

static void test_engine(void **state)
{
    const char *directory = temporary_directory();

    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_engine(&shapes[i], directory);
    remove_temporary_directory(directory);
}

static void test_schedules(void **state)
{
    learn_schedule s = {AIGC_SCHEDULE_COSINE, 2, 0.1, 10, 110, 0};

    (void)state;
    assert_true(schedule_rate(&s, 1) == 0.2 && schedule_rate(&s, 10) == 2);
    assert_true(fabs(schedule_rate(&s, 60) - 1.1) < 1e-12); /* half-way between 2 and 0.2 */
    assert_true(fabs(schedule_rate(&s, 110) - 0.2) < 1e-12);
    s.kind = AIGC_SCHEDULE_STABLE;
    s.decay = 22;
    assert_int_equal(schedule_top(&s), 88);
    assert_true(schedule_rate(&s, 5) == 1 && schedule_rate(&s, 50) == 2 && schedule_rate(&s, 88) == 2);
    assert_true(fabs(schedule_rate(&s, 99) - 1.1) < 1e-12);
    assert_true(fabs(schedule_rate(&s, 110) - 0.2) < 1e-12);
    s.least = 0.3; /* the height must not depend on where the fall ends */
    assert_true(schedule_rate(&s, 50) == 2);
    s.decay = 0;
    assert_true(schedule_rate(&s, 110) == 2);
    s.decay = 1000; /* longer than the run: it begins where the warm-up ends */
    assert_int_equal(schedule_top(&s), 10);
    s = (learn_schedule){AIGC_SCHEDULE_COSINE, 2, 0, 0, 1, 0};
    assert_true(isfinite(schedule_rate(&s, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curves), cmocka_unit_test(test_muon),      cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_engine), cmocka_unit_test(test_schedules),
    };

    return cmocka_run_group_tests_name("learn_curve", tests, NULL, NULL);
}
