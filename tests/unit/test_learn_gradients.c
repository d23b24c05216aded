/*
 * test_learn_gradients.c: losses and gradients of whole small models of each row against finite differences of a plain
 * forward pass in double (learn_reference.c), and that they do not depend on the number of threads.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn_reference.h"

/* A context above one tile of attention, sizes that are no multiples of vectors, several heads to a key-value head. */
static const learn_shape llama = {.arch = "llama",
                                  .n_layers = 2,
                                  .n_embd = 24,
                                  .n_heads = 4,
                                  .n_kv_heads = 2,
                                  .n_ff = 37,
                                  .n_context = 75,
                                  .n_vocab = 41,
                                  .norm_eps = 1e-5f,
                                  .rope_base = 10000};
static const learn_shape qwen2 = {.arch = "qwen2",
                                  .n_layers = 2,
                                  .n_embd = 24,
                                  .n_heads = 4,
                                  .n_kv_heads = 1,
                                  .n_ff = 35,
                                  .n_context = 75,
                                  .n_vocab = 41,
                                  .tied = true,
                                  .norm_eps = 1e-6f,
                                  .rope_base = 1000000};
static const learn_shape gpt2 = {.arch = "gpt2",
                                 .n_layers = 2,
                                 .n_embd = 21,
                                 .n_heads = 3,
                                 .n_kv_heads = 3,
                                 .n_ff = 50,
                                 .n_context = 75,
                                 .n_vocab = 41,
                                 .tied = true,
                                 .norm_eps = 1e-5f};

enum { N_SEQUENCES = 2, MAX_TOKENS = 2 * 75, DOCUMENT = 29, ENTRIES = 6 };

typedef struct batch_memory {
    int32_t ids[MAX_TOKENS], targets[MAX_TOKENS], first[MAX_TOKENS];
} batch_memory;

static learn_batch make_batch(const learn_shape *shape, int number, batch_memory *m)
{
    formula_batch(shape->n_vocab, N_SEQUENCES, shape->n_context, DOCUMENT, number, m->ids, m->targets, m->first);
    return (learn_batch){m->ids, m->targets, m->first};
}

static learner *make_learner(const learn_shape *shape, int n_threads)
{
    aigc_error err;
    learner *l;

    if (learner_create(shape, N_SEQUENCES, n_threads, &l, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    formula_weights(learner_layout(l), 0.35, learner_weights(l));
    return l;
}

static double backward(learner *l, const learn_batch *b, float scale)
{
    aigc_error err;
    double loss;

    if (learner_backward(l, b, scale, &loss, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return loss;
}

/* The slope of the reference loss along a direction that has `n` entries from `offset` on. */
static double slope(const learn_layout *layout, double *w, const learn_batch *b, const dropout *drop, size_t offset,
                    size_t n, const double *direction)
{
    const double h = 1e-4;
    double loss[4];

    for (int i = 0; i < 4; i++) {
        double step = (i < 2 ? h : 2 * h) * (i % 2 ? -1 : 1);

        for (size_t j = 0; j < n; j++)
            w[offset + j] += step * direction[j];
        loss[i] = reference_loss_dropped(layout, w, b, N_SEQUENCES, drop);
        for (size_t j = 0; j < n; j++)
            w[offset + j] -= step * direction[j];
    }
    /* Fourth order: the error is h^4 times the fifth derivative. */
    return (8 * (loss[0] - loss[1]) - (loss[2] - loss[3])) / (12 * h);
}

static void check_near(const char *what, const char *name, double got, double expected, double size, double *worst)
{
    double error = fabs(got - expected) / (fabs(expected) + 0.05 * size);

    *worst = fmax(*worst, error);
    if (!(error < 1e-4))
        fail_msg("%s of %s: %.9g, by finite differences %.9g", what, name, got, expected);
}

/* Some entries alone, and a random direction through all: no entry can be wrong without turning that slope. */
static void check_tensor(const learn_layout *layout, const learn_tensor *t, const float *g, double *w,
                         const learn_batch *b, const dropout *drop, double scale, double *worst)
{
    size_t n = t->k * t->rows;
    double *direction = calloc(n, sizeof *direction), along = 0, square = 0;

    assert_non_null(direction);
    for (size_t j = 0; j < n; j++) {
        direction[j] = formula_unit(j * 31 + t->offset);
        along += direction[j] * (double)g[t->offset + j];
        square += (double)g[t->offset + j] * (double)g[t->offset + j];
    }
    assert_true(square > 0); /* every tensor has a part in the loss */
    check_near("slope", t->name, along, scale * slope(layout, w, b, drop, t->offset, n, direction), sqrt(square),
               worst);
    for (int i = 0; i < ENTRIES; i++) {
        size_t j = (size_t)((formula_unit((uint64_t)i * 7919 + t->offset) + 1) / 2 * (double)n);
        double one = 1;

        check_near("gradient", t->name, (double)g[t->offset + j],
                   scale * slope(layout, w, b, drop, t->offset + j, 1, &one), sqrt(square / (double)n), worst);
    }
    free(direction);
}

static void check_gradients(const learn_shape *shape, double p)
{
    dropout drop = dropout_of(p), *used = p > 0 ? &drop : NULL;
    learner *l = make_learner(shape, 2);
    const learn_layout *layout = learner_layout(l);
    batch_memory memory;
    learn_batch b = make_batch(shape, 0, &memory);
    double *w = calloc(layout->n_floats, sizeof *w), worst = 0, forward_loss, expected;
    const double scale = 1.0 / 64;
    aigc_error err;

    assert_non_null(w);
    for (size_t i = 0; i < layout->n_floats; i++)
        w[i] = (double)learner_weights(l)[i];
    expected = reference_loss(layout, w, &b, N_SEQUENCES);
    drop.key = dropout_key(5, 7);
    if (p > 0) {
        assert_int_equal(learner_use_dropout(l, p, &err), AIGC_OK);
        learner_set_dropout_key(l, drop.key);
    }
    assert_int_equal(learner_loss(l, &b, &forward_loss, &err), AIGC_OK);
    assert_true(fabs(forward_loss - expected) < 1e-6 * expected); /* nothing is left out here */
    if (p > 0) {
        double whole = expected;

        expected = reference_loss_dropped(layout, w, &b, N_SEQUENCES, used);
        assert_true(fabs(expected - whole) > 1e-3 * whole);
    }
    assert_true(fabs(backward(l, &b, (float)scale) - expected) < 1e-6 * expected);
    for (int i = 0; i < layout->n_tensors; i++)
        check_tensor(layout, &layout->tensors[i], learner_gradients(l), w, &b, used, scale, &worst);
    print_message("# %s%s: largest relative difference %.2g over %d tensors\n", shape->arch,
                  p > 0 ? " with dropout" : "", worst, layout->n_tensors);
    free(w);
    learner_destroy(l);
}

static void test_llama(void **state)
{
    (void)state;
    check_gradients(&llama, 0);
}

static void test_qwen2(void **state)
{
    (void)state;
    check_gradients(&qwen2, 0);
}

static void test_gpt2(void **state)
{
    (void)state;
    check_gradients(&gpt2, 0);
}

static void test_dropout(void **state)
{
    (void)state;
    check_gradients(&llama, 0.25);
    check_gradients(&gpt2, 0.1);
}

/* How much is left out, that its mean stays, and that keys, sites and elements differ. */
static void test_masks(void **state)
{
    enum { N = 100000 };
    dropout d = dropout_of(0.3);
    float x[100], y[100], whole[100];
    int out = 0, same_key = 0, same_site = 0;

    (void)state;
    d.key = dropout_key(1, 2);
    dropout other = d;
    other.key = dropout_key(1, 3);
    for (uint64_t i = 0; i < N; i++) {
        bool dropped = dropout_factor(&d, 4, i) == 0;

        out += dropped;
        same_key += dropped == (dropout_factor(&other, 4, i) == 0);
        same_site += dropped == (dropout_factor(&d, 5, i) == 0);
    }
    assert_in_range(out, 29400, 30600);      /* four deviations: 580 */
    assert_in_range(same_key, 57400, 58600); /* 0.3^2 + 0.7^2 */
    assert_in_range(same_site, 57400, 58600);
    assert_true(fabs((double)d.scale * 0.7 - 1) < 1e-4);
    for (int i = 0; i < 100; i++)
        x[i] = (float)(i + 1);
    dropout_apply(&d, 4, 17, x, NULL, whole, 100); /* cut anywhere, the same */
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(whole[i] == x[i] * dropout_factor(&d, 4, 17 + i));
        dropout_apply(&d, 4, 17 + i, &x[i], x, &y[i], 1);
        assert_true(y[i] == x[0] + whole[i]);
    }
    assert_true(dropout_of(0).threshold == 0 && dropout_of(0).scale == 1);
}

/* Two batches add up, and the bits are the same on any number of threads, after updates too. */
static void test_threads(void **state)
{
    const learn_shape *shapes[] = {&llama, &gpt2};
    const adamw_options o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};

    (void)state;
    for (int i = 0; i < 2; i++) {
        learner *one = make_learner(shapes[i], 1), *three = make_learner(shapes[i], 3);
        aigc_error err;
        double norms[2];
        size_t bytes = learner_layout(one)->n_floats * sizeof(float);
        batch_memory memory;

        if (learner_use_dropout(one, 0.2, &err) != AIGC_OK || learner_use_dropout(three, 0.2, &err) != AIGC_OK)
            fail_msg("%s", err.message);
        for (int step = 1; step <= 3; step++) {
            for (int half = 0; half < 2; half++) {
                learn_batch b = make_batch(shapes[i], step * 2 + half, &memory);

                assert_true(backward(one, &b, 0.01f) == backward(three, &b, 0.01f));
            }
            assert_memory_equal(learner_gradients(one), learner_gradients(three), bytes);
            assert_int_equal(learner_update(one, &o, 0.01, (uint64_t)step, &norms[0], &err), AIGC_OK);
            assert_int_equal(learner_update(three, &o, 0.01, (uint64_t)step, &norms[1], &err), AIGC_OK);
            assert_true(norms[0] == norms[1]);
            assert_memory_equal(learner_weights(one), learner_weights(three), bytes);
        }
        learner_destroy(one);
        learner_destroy(three);
    }
}

/* A document gives the same loss packed behind another as alone: nothing is seen across the border. */
static void test_borders(void **state)
{
    const learn_shape *shapes[] = {&llama, &gpt2, &qwen2};
    enum { FIRST = 43 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        learner *l = make_learner(shapes[i], 1);
        int n = shapes[i]->n_context;
        batch_memory memory;
        learn_batch b = make_batch(shapes[i], 5, &memory);
        double packed, alone;
        aigc_error err;

        /* Sequence 0: something, and from FIRST on the document; sequence 1: the document, and something after it. */
        for (int t = 0; t < 2 * n; t++) {
            memory.targets[t] = -1;
            memory.first[t] = t % n >= (t < n ? FIRST : n - FIRST) ? (t < n ? FIRST : n - FIRST) : 0;
        }
        for (int t = 0; t + FIRST < n; t++) {
            memory.ids[n + t] = memory.ids[FIRST + t];
            memory.targets[FIRST + t] = t + FIRST + 1 < n ? memory.ids[FIRST + t + 1] : -1;
        }
        assert_int_equal(learner_loss(l, &b, &packed, &err), AIGC_OK);
        for (int t = 0; t + FIRST < n; t++) {
            memory.targets[n + t] = memory.targets[FIRST + t];
            memory.targets[FIRST + t] = -1;
        }
        assert_int_equal(learner_loss(l, &b, &alone, &err), AIGC_OK);
        assert_true(packed > 1 && fabs(packed - alone) < 1e-5 * packed);
        learner_destroy(l);
    }
}

static void expect_refusal(learn_shape shape, const char *part)
{
    aigc_error err;
    learner *l;

    assert_int_equal(learner_create(&shape, N_SEQUENCES, 1, &l, &err), AIGC_E_ARGUMENT);
    if (strstr(err.message, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, err.message);
}

static void test_refusals(void **state)
{
    learn_shape s;
    learner *l = make_learner(&llama, 1);
    batch_memory memory;
    learn_batch b = make_batch(&llama, 0, &memory);
    double loss;
    aigc_error err;

    (void)state;
    s = llama, s.arch = "bert", expect_refusal(s, "'bert'");
    s = llama, s.n_heads = 5, expect_refusal(s, "width of 24");
    s = llama, s.n_kv_heads = 3, expect_refusal(s, "4 heads");
    s = llama, s.n_heads = 8, expect_refusal(s, "even width");
    s = gpt2, s.n_kv_heads = 1, expect_refusal(s, "gpt2");
    s = llama, s.n_layers = 0, expect_refusal(s, "layers");
    s = llama, s.norm_eps = 0, expect_refusal(s, "epsilon");
    memory.ids[3] = llama.n_vocab;
    assert_int_equal(learner_loss(l, &b, &loss, &err), AIGC_E_TEXT);
    memory.ids[3] = 0;
    memory.first[3] = 4;
    assert_int_equal(learner_loss(l, &b, &loss, &err), AIGC_E_ARGUMENT);
    learner_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),   cmocka_unit_test(test_qwen2),    cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_dropout), cmocka_unit_test(test_masks),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_borders), cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests_name("learn_gradients", tests, NULL, NULL);
}
