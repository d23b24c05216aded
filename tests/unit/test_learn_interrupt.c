/*
 * test_learn_interrupt.c: steps and evaluations that are interrupted at any moment and begun anew give the numbers of a
 * run that nothing disturbed; a model's file that is interrupted is not there.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "aigc.h"

enum { STEPS = 12, DISTURBANCES = 40 };

static volatile sig_atomic_t flag;
static atomic_bool over;

/* Sets the flag again and again, at moments that have nothing to do with the steps. */
static void *disturb(void *arg)
{
    unsigned pause = 1;
    (void)arg;
    for (int i = 0; i < DISTURBANCES && !over; i++) {
        flag = 1;
        pause = pause * 7 % 2003; /* microseconds */
        usleep(500 + 10 * pause);
    }
    return NULL;
}

static char *read_text(size_t *len)
{
    FILE *in = fopen("tests/reference/bpe_corpus.txt", "rb");
    char *text = malloc(1 << 16);
    if (in == NULL || text == NULL)
        fail_msg("can't read tests/reference/bpe_corpus.txt (tests run from the repository's root)");
    *len = fread(text, 1, 1 << 16, in);
    fclose(in);
    return text;
}

static void make_vocabulary(const char *path, const char *text, size_t len)
{
    const char *special[] = {"<|endoftext|>"};
    aigc_bpe_trainer_options options = {
        .vocab_size = 300, .pretokenizer = "gpt-2", .min_frequency = 2, .special = special, .n_special = 1};
    aigc_bpe_trainer *t;
    aigc_error err;
    bool done;
    assert_int_equal(aigc_bpe_trainer_create(&options, &t, &err), AIGC_OK);
    assert_int_equal(aigc_bpe_trainer_feed(t, text, len, &err), AIGC_OK);
    assert_int_equal(aigc_bpe_trainer_merge(t, 1000, &done, &err), AIGC_OK);
    assert_int_equal(aigc_bpe_trainer_write(t, path, "test", &err), AIGC_OK);
    aigc_bpe_trainer_destroy(t);
}

static aigc_trainer *open_trainer(const char *vocabulary, const char *text, size_t len, bool interrupted)
{
    aigc_train_options options = aigc_train_defaults();
    aigc_trainer *t;
    aigc_error err;
    options.n_layers = 2;
    options.n_embd = 64;
    options.n_heads = 4;
    options.n_context = 64;
    options.n_sequences = 8;
    options.n_accumulate = 2;
    options.n_threads = 2;
    options.interrupt = &flag;
    options.interrupt_steps = interrupted;
    if (aigc_trainer_create(vocabulary, &options, &t, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(aigc_trainer_feed(t, AIGC_TEXT_TRAIN, text, len, &err), AIGC_OK);
    assert_int_equal(aigc_trainer_feed(t, AIGC_TEXT_VALID, text, len / 4, &err), AIGC_OK);
    flag = 1;
    assert_int_equal(aigc_trainer_start(t, STEPS, &err), interrupted ? AIGC_INTERRUPTED : AIGC_OK);
    flag = 0;
    assert_int_equal(aigc_trainer_start(t, STEPS, &err), AIGC_OK);
    return t;
}

/* Runs all steps and an evaluation; returns how often they were interrupted. */
static int run(aigc_trainer *t, double losses[STEPS], double *score)
{
    aigc_train_progress p = {0};
    aigc_train_score s;
    aigc_status status;
    aigc_error err;
    int n = 0;
    while (p.step < STEPS) {
        if ((status = aigc_trainer_step(t, &p, &err)) == AIGC_OK) {
            losses[p.step - 1] = p.loss;
            continue;
        }
        assert_int_equal(status, AIGC_INTERRUPTED);
        flag = 0;
        n++;
    }
    while ((status = aigc_trainer_evaluate(t, &s, &err)) != AIGC_OK) {
        assert_int_equal(status, AIGC_INTERRUPTED);
        flag = 0;
        n++;
    }
    *score = s.bits_per_byte;
    return n;
}

static void test_interrupts(void **state)
{
    (void)state;
    char vocabulary[] = "/tmp/aigc-interrupt-XXXXXX.gguf";
    size_t len;
    char *text = read_text(&len);
    double quiet[STEPS], disturbed[STEPS], quiet_score, disturbed_score;
    pthread_t thread;
    close(mkstemps(vocabulary, 5));
    make_vocabulary(vocabulary, text, len);

    aigc_trainer *t = open_trainer(vocabulary, text, len, false);
    flag = 1; /* which this one does not look at in its steps */
    assert_int_equal(run(t, quiet, &quiet_score), 0);
    aigc_trainer_destroy(t);

    flag = 0;
    t = open_trainer(vocabulary, text, len, true);
    flag = 1;
    assert_int_equal(pthread_create(&thread, NULL, disturb, NULL), 0);
    int n = run(t, disturbed, &disturbed_score);
    over = true;
    pthread_join(thread, NULL);
    flag = 0; /* it may have been set once more since the last interruption */
    aigc_trainer_destroy(t);
    unlink(vocabulary);
    free(text);

    print_message("interrupted %d times\n", n);
    assert_true(n >= 1);
    assert_memory_equal(disturbed, quiet, sizeof quiet);
    assert_memory_equal(&disturbed_score, &quiet_score, sizeof quiet_score);
}

/* A model is written, read and adapted, or not at all. */
static void test_files(void **state)
{
    (void)state;
    char vocabulary[] = "/tmp/aigc-interrupt-XXXXXX.gguf", model[] = "/tmp/aigc-interrupt-XXXXXX.gguf";
    size_t len;
    char *text = read_text(&len);
    aigc_error err;
    close(mkstemps(vocabulary, 5));
    close(mkstemps(model, 5));
    unlink(model);
    make_vocabulary(vocabulary, text, len);
    aigc_trainer *t = open_trainer(vocabulary, text, len, true);
    flag = 1;
    assert_int_equal(aigc_trainer_write(t, model, "F32", "x", &err), AIGC_INTERRUPTED);
    assert_int_equal(access(model, F_OK), -1);
    flag = 0;
    assert_int_equal(aigc_trainer_write(t, model, "F32", "x", &err), AIGC_OK);
    aigc_trainer_destroy(t);
    flag = 1;
    assert_int_equal(aigc_quantize(model, "F16", NULL, vocabulary, &flag, &err), AIGC_INTERRUPTED);
    flag = 0;

    for (int lora = 0; lora < 2; lora++) {
        aigc_train_options options = lora ? aigc_finetune_defaults() : aigc_train_defaults();
        *(lora ? &options.base : &options.init) = model;
        options.interrupt = &flag;
        options.interrupt_steps = true;
        flag = 1;
        assert_int_equal(aigc_trainer_create(NULL, &options, &t, &err), AIGC_INTERRUPTED);
        flag = 0;
        assert_int_equal(aigc_trainer_create(NULL, &options, &t, &err), AIGC_OK);
        flag = 1;
        unlink(model);
        assert_int_equal(aigc_trainer_write(t, model, "Q8_0", "y", &err), AIGC_INTERRUPTED);
        assert_int_equal(access(model, F_OK), -1);
        flag = 0;
        assert_int_equal(aigc_trainer_write(t, model, "F32", "y", &err), AIGC_OK);
        aigc_trainer_destroy(t);
    }
    unlink(model);
    unlink(vocabulary);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_interrupts), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
