/*
 * test_learn_corpus.c: documents as a row of tokens, windows of it with their borders and targets, and the order in
 * which windows come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "learn/corpus.h"
#include "logits.h"

enum { N_BYTES = 256, MOST = 64 };

typedef struct vocabulary {
    gguf_file *file;
    tokenizer *tokens;
} vocabulary;

/* A vocabulary of bytes and two control tokens, ids 0 and 1. Without eos the first is EOS too. */
static vocabulary make_vocabulary(const char *directory, bool bos, bool eos)
{
    static const char *const specials[] = {"<|first|>", "<|second|>"};
    aigc_bpe_trainer_options o = {
        .vocab_size = N_BYTES + 2, .pretokenizer = "gpt-2", .min_frequency = 2, .special = specials, .n_special = 2};
    char plain[4200], path[4200];
    aigc_bpe_trainer *trainer;
    gguf_file *from;
    gguf_writer *w;
    vocabulary v;
    aigc_error err;

    snprintf(plain, sizeof plain, "%s/plain.gguf", directory);
    snprintf(path, sizeof path, "%s/vocabulary.gguf", directory);
    assert_int_equal(aigc_bpe_trainer_create(&o, &trainer, &err), AIGC_OK);
    assert_int_equal(aigc_bpe_trainer_write(trainer, plain, "plain", &err), AIGC_OK);
    aigc_bpe_trainer_destroy(trainer);
    assert_int_equal(gguf_open(plain, &from, &err), AIGC_OK);
    assert_int_equal(gguf_writer_create(&w, &err), AIGC_OK);
    gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token", bos);
    gguf_writer_set_u32(w, "tokenizer.ggml.bos_token_id", 0);
    gguf_writer_set_u32(w, "tokenizer.ggml.eos_token_id", eos ? 1 : 0);
    gguf_writer_copy_prefix(w, from, "tokenizer.");
    assert_int_equal(gguf_writer_begin(w, path, &err), AIGC_OK);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_OK);
    gguf_close(from);
    assert_int_equal(gguf_open(path, &v.file, &err), AIGC_OK);
    if (tokenizer_open(v.file, &v.tokens, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return v;
}

static void close_vocabulary(vocabulary *v)
{
    tokenizer_close(v->tokens);
    gguf_close(v->file);
}

/* Writes a window as text: "B" and "E" for the control tokens, and for each token its target and its document's begin.
 */
static void show(const corpus *c, size_t start, size_t n, char *out)
{
    int32_t ids[MOST], targets[MOST], first[MOST];
    size_t n_targets = corpus_window(c, start, n, ids, targets, first), counted = 0;

    *out = '\0';
    for (size_t t = 0; t < n; t++) {
        char names[2];

        for (int i = 0; i < 2; i++) {
            int32_t id = i == 0 ? ids[t] : targets[t];
            char piece[TOKEN_MAX_BYTES] = "";

            if (id >= 0)
                tokenizer_piece(c->tokens, id, false, AIGC_TEXT_PLAIN, piece);
            names[i] = id < 0 ? '-' : id == tokenizer_bos(c->tokens) ? 'B' : id == c->eos ? 'E' : piece[0];
        }
        counted += targets[t] >= 0;
        out += sprintf(out, "%s%c%c%d", t > 0 ? " " : "", names[0], names[1], first[t]);
    }
    assert_int_equal(counted, n_targets);
}

static void check_windows(bool bos, bool eos, size_t n_ids, const char *from_0, const char *from_2)
{
    static const char text[] = "ab\n<|endoftext|>\ncd\n<|endoftext|>\n<|endoftext|>\nx";
    const char *directory = temporary_directory();
    vocabulary v = make_vocabulary(directory, bos, eos);
    char seen[1024];
    corpus c;
    aigc_error err;

    assert_int_equal(corpus_create(&c, v.tokens, &err), AIGC_OK);
    if (corpus_add(&c, text, strlen(text), &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(c.n, n_ids);
    show(&c, 0, 6, seen);
    assert_string_equal(seen, from_0);
    show(&c, 2, 4, seen);
    assert_string_equal(seen, from_2);
    assert_int_equal(corpus_add(&c, "ok\n<|endoftext|>\na\xff", 19, &err), AIGC_E_TEXT);
    assert_non_null(strstr(err.message, "document at byte 17"));
    corpus_free(&c);
    close_vocabulary(&v);
    remove_temporary_directory(directory);
}

/* One token for both: it ends a document and begins the next, and is learned. */
static void test_one_token(void **state)
{
    (void)state;
    check_windows(true, false, 9, "Ba0 ab0 bB0 Bc3 cd3 dB3", "bB0 Bc1 cd1 dB1");
    check_windows(false, false, 9, "Ba0 ab0 bB0 Bc3 cd3 dB3", "bB0 Bc1 cd1 dB1");
}

/* Two tokens: BOS after EOS is not learned. */
static void test_two_tokens(void **state)
{
    (void)state;
    check_windows(true, true, 11, "Ba0 ab0 bE0 E-0 Bc4 cd4", "bE0 E-0 Bc2 cd2");
}

/* BOS not added: EOS alone sets documents apart, and what follows it is not learned. */
static void test_end_alone(void **state)
{
    (void)state;
    check_windows(false, true, 8, "ab0 bE0 E-0 cd3 dE3 E-3", "E-0 cd1 dE1 E-1");
}

/* The end of the row has no targets. */
static void test_end_of_row(void **state)
{
    const char *directory = temporary_directory();
    vocabulary v = make_vocabulary(directory, false, true);
    char seen[256];
    corpus c;

    (void)state;
    assert_int_equal(corpus_create(&c, v.tokens, NULL), AIGC_OK);
    assert_int_equal(corpus_add(&c, "abc", 3, NULL), AIGC_OK);
    show(&c, 1, 5, seen);
    assert_string_equal(seen, "bc0 cE0 E-0 B-0 B-0"); /* id 0, BOS here, fills the rest */
    corpus_free(&c);
    close_vocabulary(&v);
    remove_temporary_directory(directory);
}

/* Each epoch has each window once, cut at a place of its own, and any window can be asked for at any time. */
static void test_order(void **state)
{
    enum { CONTEXT = 7, N_IDS = 100, WINDOWS = (N_IDS - CONTEXT) / CONTEXT, EPOCHS = 4 };
    size_t starts[EPOCHS * WINDOWS], shifts[EPOCHS];
    window_order o;
    int same_order = 0;

    (void)state;
    assert_int_equal(window_order_create(&o, 5, N_IDS, NULL, 0, CONTEXT, NULL), AIGC_OK);
    assert_int_equal(o.n_windows, WINDOWS);
    for (size_t i = 0; i < EPOCHS * WINDOWS; i++) {
        starts[i] = window_start(&o, i);
        assert_true(starts[i] + CONTEXT < N_IDS);
    }
    for (int e = 0; e < EPOCHS; e++) {
        bool seen[WINDOWS] = {false};

        shifts[e] = starts[e * WINDOWS] % CONTEXT;
        for (int i = 0; i < WINDOWS; i++) {
            size_t start = starts[e * WINDOWS + i];

            assert_int_equal(start % CONTEXT, shifts[e]);
            assert_false(seen[start / CONTEXT]);
            seen[start / CONTEXT] = true;
            same_order += e > 0 && start / CONTEXT == starts[i] / CONTEXT;
        }
    }
    assert_true(same_order < (EPOCHS - 1) * WINDOWS / 2);
    assert_false(shifts[0] == shifts[1] && shifts[1] == shifts[2] && shifts[2] == shifts[3]);
    for (size_t i = EPOCHS * WINDOWS; i-- > 0;) /* backwards: nothing depends on what was asked before */
        assert_int_equal(window_start(&o, i), starts[i]);
    window_order_free(&o);
    assert_int_equal(window_order_create(&o, 5, 2 * CONTEXT, NULL, 0, CONTEXT, NULL), AIGC_E_ARGUMENT);
}

/* Weights: how many windows of each part an epoch has, and that epochs go on where the last one left off. */
static void test_weights(void **state)
{
    enum { CONTEXT = 4, N_IDS = 4 * 61, EPOCHS = 10 };
    /* Windows 0 to 9, 10 to 29, 30 to 39, 40 to 59. */
    const corpus_part parts[] = {{0, 1}, {40, 0.3}, {120, 2.5}, {160, 0}};
    static const int taken[] = {10, 6, 25, 0}, sizes[] = {10, 20, 10, 20};
    int counts[60] = {0};
    window_order o;

    (void)state;
    assert_int_equal(window_order_create(&o, 5, N_IDS, parts, 4, CONTEXT, NULL), AIGC_OK);
    assert_int_equal(o.n_windows, 41);
    for (uint64_t e = 0; e < EPOCHS; e++) {
        int of_part[4] = {0};

        for (uint64_t i = 0; i < o.n_windows; i++) {
            size_t window = window_start(&o, e * o.n_windows + i) / CONTEXT;

            assert_in_range(window, 0, 59);
            counts[window]++;
            of_part[window < 10 ? 0 : window < 30 ? 1 : window < 40 ? 2 : 3]++;
        }
        for (int i = 0; i < 4; i++)
            assert_int_equal(of_part[i], taken[i]);
    }
    for (int window = 0, part = 0, begin = 0; window < 60; window++) {
        if (window == begin + sizes[part])
            begin += sizes[part++];
        assert_int_equal(counts[window], EPOCHS * taken[part] / sizes[part]);
    }
    window_order_free(&o);
    const corpus_part nothing[] = {{0, 0}};
    assert_int_equal(window_order_create(&o, 5, N_IDS, nothing, 1, CONTEXT, NULL), AIGC_E_ARGUMENT);
}

/* A weight of 1 is no weight: the same order and the same hash. */
static void test_parts(void **state)
{
    const char *directory = temporary_directory();
    vocabulary v = make_vocabulary(directory, true, true);
    corpus plain, weighed;

    (void)state;
    assert_int_equal(corpus_create(&plain, v.tokens, NULL), AIGC_OK);
    assert_int_equal(corpus_create(&weighed, v.tokens, NULL), AIGC_OK);
    assert_int_equal(corpus_weigh(&weighed, 1, NULL), AIGC_OK);
    assert_int_equal(corpus_add(&plain, "abc", 3, NULL), AIGC_OK);
    assert_int_equal(corpus_add(&weighed, "abc", 3, NULL), AIGC_OK);
    assert_int_equal(weighed.n_parts, 0);
    assert_true(plain.hash == weighed.hash);
    assert_int_equal(corpus_weigh(&weighed, 2, NULL), AIGC_OK);
    assert_int_equal(weighed.n_parts, 2);
    assert_true(weighed.parts[0].begin == 0 && weighed.parts[0].weight == 1);
    assert_true(weighed.parts[1].begin == weighed.n && weighed.parts[1].weight == 2);
    assert_int_equal(corpus_add(&plain, "abc", 3, NULL), AIGC_OK);
    assert_int_equal(corpus_add(&weighed, "abc", 3, NULL), AIGC_OK);
    assert_int_equal(plain.n, weighed.n);
    assert_false(plain.hash == weighed.hash);
    assert_int_equal(corpus_weigh(&weighed, -1, NULL), AIGC_E_ARGUMENT);
    corpus_free(&plain);
    corpus_free(&weighed);
    close_vocabulary(&v);
    remove_temporary_directory(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_token),  cmocka_unit_test(test_two_tokens), cmocka_unit_test(test_end_alone),
        cmocka_unit_test(test_end_of_row), cmocka_unit_test(test_order),      cmocka_unit_test(test_weights),
        cmocka_unit_test(test_parts),
    };

    return cmocka_run_group_tests_name("learn_corpus", tests, NULL, NULL);
}
