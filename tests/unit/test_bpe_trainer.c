/* Learning a vocabulary: the merges of Hugging Face's BpeTrainer, and a file that the tokenizer reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "aigc.h"
#include "format/gguf.h"

static const char *const special[] = {"<|endoftext|>"};

static aigc_bpe_trainer_options usual(int vocab_size)
{
    return (aigc_bpe_trainer_options){
        .vocab_size = vocab_size, .pretokenizer = "gpt-2", .min_frequency = 2, .special = special, .n_special = 1};
}

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = malloc(1 << 20);
    assert_non_null(text);
    *len = fread(text, 1, 1 << 20, f);
    fclose(f);
    return text;
}

/* Learns from text in pieces of any size and writes the vocabulary to path. */
static void learn(const char *text, size_t len, int vocab_size, const char *path)
{
    aigc_bpe_trainer_options options = usual(vocab_size);
    aigc_bpe_trainer *trainer = NULL;
    aigc_error err = {0};
    bool done = false;
    assert_int_equal(aigc_bpe_trainer_create(&options, &trainer, &err), AIGC_OK);
    if (aigc_bpe_trainer_feed(trainer, text, len, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    while (!done)
        assert_int_equal(aigc_bpe_trainer_merge(trainer, 7, &done, &err), AIGC_OK);
    if (aigc_bpe_trainer_write(trainer, path, "test", &err) != AIGC_OK)
        fail_msg("%s", err.message);
    aigc_bpe_trainer_destroy(trainer);
}

static void make_path(char *path)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void merges_are_those_of_the_reference(void **state)
{
    (void)state;
    char path[] = "/tmp/aigc-test-bpe-XXXXXX";
    make_path(path);
    size_t len, golden_len, at = 0;
    char *text = read_file("tests/reference/bpe_corpus.txt", &len);
    char *golden = read_file("tests/reference/bpe_merges.golden", &golden_len);
    learn(text, len, 900, path);

    gguf_file *file = NULL;
    aigc_error err;
    assert_int_equal(gguf_open(path, &file, &err), AIGC_OK);
    const gguf_value *merges = gguf_find(file, "tokenizer.ggml.merges");
    assert_non_null(merges);
    const unsigned char *cursor = merges->data;
    for (uint64_t i = 0; i < merges->n_items; i++) {
        gguf_string merge = gguf_next_string(&cursor);
        assert_true(at + merge.len < golden_len);
        assert_memory_equal(merge.data, golden + at, merge.len);
        assert_int_equal(golden[at + merge.len], '\n');
        at += merge.len + 1;
    }
    assert_int_equal(at, golden_len);
    assert_int_equal(merges->n_items, 369);
    gguf_close(file);
    unlink(path);
    free(text);
    free(golden);
}

/* The tokenizer that was learned encodes its own corpus and gives it back. */
static void what_is_written_is_a_tokenizer(void **state)
{
    (void)state;
    char path[] = "/tmp/aigc-test-bpe-XXXXXX", *back;
    make_path(path);
    size_t len, back_len, n;
    char *text = read_file("tests/reference/bpe_corpus.txt", &len);
    learn(text, len, 400, path);
    aigc_model *model = NULL;
    aigc_error err = {0};
    if (aigc_model_open(path, AIGC_MODEL_TOKENIZER, &model, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(aigc_model_describe(model)->n_vocab, 400);
    assert_int_equal(aigc_model_describe(model)->bos, 0);
    int32_t *ids;
    assert_int_equal(aigc_tokenize(model, text, len, AIGC_TEXT_PARSE_SPECIAL, &ids, &n, &err), AIGC_OK);
    assert_true(n < len * 6 / 10);
    size_t n_documents = 0;
    for (size_t i = 0; i < n; i++)
        n_documents += ids[i] == 0;
    assert_int_equal(n_documents, 12);
    assert_int_equal(aigc_detokenize(model, ids, n, AIGC_TEXT_RENDER_SPECIAL, &back, &back_len, &err), AIGC_OK);
    assert_int_equal(back_len, len);
    assert_memory_equal(back, text, len);
    aigc_free(ids);
    aigc_free(back);
    aigc_model_close(model);
    unlink(path);
    free(text);
}

static void expect_refused(aigc_bpe_trainer_options options, const char *message)
{
    aigc_bpe_trainer *trainer = NULL;
    aigc_error err;
    assert_int_equal(aigc_bpe_trainer_create(&options, &trainer, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, message);
    assert_null(trainer);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    aigc_bpe_trainer_options options = usual(256);
    expect_refused(options, "the vocabulary must have from 257 to 16777216 tokens, not 256");
    options = usual(300);
    options.pretokenizer = "gpt-9";
    expect_refused(options, "there is no pre-tokenizer 'gpt-9'");
    options = usual(300);
    options.min_frequency = -1;
    expect_refused(options, "the least frequency must not be negative, it is -1");
    const char *empty[] = {"a", ""};
    options = usual(300);
    options.special = empty;
    options.n_special = 2;
    expect_refused(options, "special token 2 is empty or not UTF-8");

    aigc_bpe_trainer *trainer = NULL;
    aigc_error err;
    bool done;
    options = usual(300);
    assert_int_equal(aigc_bpe_trainer_create(&options, &trainer, &err), AIGC_OK);
    assert_int_equal(aigc_bpe_trainer_feed(trainer, "ab\xFF", 3, &err), AIGC_E_TEXT);
    assert_string_equal(err.message, "the text is not valid UTF-8 at byte 2 (0xff)");
    assert_int_equal(aigc_bpe_trainer_merge(trainer, 10, &done, &err), AIGC_OK);
    assert_true(done); /* no text, no pairs */
    assert_int_equal(aigc_bpe_trainer_n_vocab(trainer), 257);
    assert_int_equal(aigc_bpe_trainer_feed(trainer, "ab", 2, &err), AIGC_E_ARGUMENT);
    aigc_bpe_trainer_destroy(trainer);
    aigc_bpe_trainer_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_are_those_of_the_reference),
        cmocka_unit_test(what_is_written_is_a_tokenizer),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests_name("bpe_trainer", tests, NULL, NULL);
}
