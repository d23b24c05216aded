/* test_gguf.c: GGUF files that are as they should be are read: made by hand and real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_image.h"

/* ---- files that are as they should be ---- */

static void good_file_is_read(void **state)
{
    image f = good_file();
    gguf_file *file = open_good(f);
    const gguf_tensor *t;
    const gguf_value *v;
    const unsigned char *cursor;

    (void)state;
    assert_string_equal(gguf_path(file), "made.gguf");
    assert_int_equal(gguf_version(file), 3);
    assert_int_equal(gguf_size(file), f.size);
    assert_int_equal(gguf_n_values(file), 3);
    assert_int_equal(gguf_n_tensors(file), 2);
    assert_null(gguf_value_at(file, 3));
    assert_null(gguf_tensor_at(file, 2));
    assert_null(gguf_find(file, "word"));
    assert_null(gguf_find_tensor(file, ""));
    t = gguf_find_tensor(file, "weight");
    assert_ptr_equal(t, gguf_tensor_at(file, 0));
    assert_int_equal(t->type, TYPE_Q8_0);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 32);
    assert_int_equal(t->dims[1], 2);
    assert_int_equal(t->dims[2] * t->dims[3], 1);
    assert_int_equal(t->n_elements, 64);
    assert_int_equal(t->bytes, 68);
    t = gguf_find_tensor(file, "norm");
    assert_int_equal(t->bytes, 12);
    assert_ptr_equal((const unsigned char *)t->data + 12, f.data + f.size);
    v = gguf_find(file, "words");
    assert_int_equal(v->type, GGUF_ARRAY);
    assert_int_equal(v->item_type, GGUF_STRING);
    assert_int_equal(v->n_items, 3);
    cursor = v->data;
    assert_int_equal(gguf_next_string(&cursor).len, 1);
    assert_int_equal(gguf_next_string(&cursor).len, 0);
    assert_memory_equal(gguf_next_string(&cursor).data, "ccc", 3);
    gguf_close(file);
    free(f.data);
}

static void smallest_files(void **state)
{
    image versions[] = {pack(HEAD, "GGUF", 2, N(0), N(0)), pack(HEAD, "GGUF", 3, N(0), N(0))};
    gguf_file *file;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        file = open_good(versions[i]);
        assert_int_equal(gguf_version(file), 2 + i);
        assert_null(gguf_find(file, "a"));
        assert_null(gguf_find_tensor(file, "a"));
        gguf_close(file);
        free(versions[i].data);
    }
    gguf_close(NULL);
}

/* A scalar of no dimensions, whose datum stands right behind the descriptions, at a multiple of 8 but not of 32. */
static void alignment_is_followed(void **state)
{
    image f = pack(HEAD "sIIsIIQF", "GGUF", 3, N(1), N(1), "general.alignment", GGUF_U32, 8, "scalar!", 0, TYPE_F32,
                   N(0), 2.5);
    gguf_file *file;

    (void)state;
    assert_int_equal((f.size - 4) % 32, 24);
    file = open_good(f);
    assert_int_equal(gguf_tensor_at(file, 0)->n_dims, 1);
    assert_int_equal(gguf_tensor_at(file, 0)->n_elements, 1);
    assert_true(*(const float *)gguf_tensor_at(file, 0)->data == 2.5f);
    gguf_close(file);
    free(f.data);
}

static void memory_must_be_aligned(void **state)
{
    uint64_t room[16] = {0};
    gguf_file *file;
    aigc_error err;

    (void)state;
    assert_int_equal(gguf_open_memory((char *)room + 1, 64, "x", &file, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "aligned to 8"));
}

/* Every prefix of a good file is refused, and reads nothing beyond its end. */
static void truncated_files_are_refused(void **state)
{
    image f = good_file();

    (void)state;
    for (size_t size = 0; size < f.size; size++) {
        image cut = {malloc(size + 1), size};
        gguf_file *file = NULL;
        aigc_error err = {AIGC_OK, ""};

        memcpy(cut.data, f.data, size);
        cut.data = realloc(cut.data, size ? size : 1);
        assert_int_equal(open_image(cut, &file, &err), AIGC_E_FORMAT);
        assert_null(file);
        free(cut.data);
    }
    free(f.data);
}

static void paths_that_are_no_files(void **state)
{
    gguf_file *file;
    aigc_error err;

    (void)state;
    assert_int_equal(gguf_open("/tmp", &file, &err), AIGC_E_IO);
    assert_string_equal(err.message, "/tmp: is a directory, not a file");
    assert_int_equal(gguf_open("/no/such/model.gguf", &file, &err), AIGC_E_IO);
    assert_string_equal(err.message, "/no/such/model.gguf: can't open it: No such file or directory");
}

/* ---- values ---- */

static image numbers_file(void)
{
    return pack(HEAD "sIB"
                     "sIB"
                     "sII"
                     "sII"
                     "sIQ"
                     "sIQ"
                     "sIF"
                     "sID"
                     "sID"
                     "sIB"
                     "sIs",
                "GGUF", 3, N(0), N(11), "u8", GGUF_U8, 200, "i8", GGUF_I8, -3, "u32", GGUF_U32, 4000000000u, "i32",
                GGUF_I32, -7, "u64", GGUF_U64, UINT64_MAX, "i64", GGUF_I64, (uint64_t)INT64_MIN, "f32", GGUF_F32, 0.1,
                "f64", GGUF_F64, 2.5, "huge", GGUF_F64, 1e300, "bool", GGUF_BOOL, 1, "text", GGUF_STRING,
                "a\tb \xff\"c");
}

static void integers_are_converted(void **state)
{
    image f = numbers_file();
    gguf_file *file = open_good(f);
    aigc_error err;
    uint32_t u = 1;
    int64_t i = 1;

    (void)state;
    assert_int_equal(gguf_get_u32(file, "u8", true, &u, &err), AIGC_OK);
    assert_int_equal(u, 200);
    assert_int_equal(gguf_get_u32(file, "u32", true, &u, &err), AIGC_OK);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(gguf_get_u32(file, "i8", true, &u, &err), AIGC_E_FORMAT);
    assert_string_equal(err.message, "made.gguf: i8 is -3 (type i8), not an integer from 0 to 4294967295");
    assert_int_equal(gguf_get_u32(file, "u64", true, &u, &err), AIGC_E_FORMAT);
    assert_int_equal(gguf_get_u32(file, "f64", true, &u, &err), AIGC_E_FORMAT);
    assert_int_equal(gguf_get_u32(file, "bool", true, &u, &err), AIGC_E_FORMAT);
    assert_int_equal(gguf_get_u32(file, "text", true, &u, &err), AIGC_E_FORMAT);
    assert_int_equal(u, 4000000000u); /* left alone */
    assert_int_equal(gguf_get_u32(file, "none", false, &u, &err), AIGC_OK);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(gguf_get_u32(file, "none", true, &u, &err), AIGC_E_FORMAT);
    assert_string_equal(err.message, "made.gguf: the metadata lack none");
    assert_int_equal(gguf_get_i64(file, "i64", true, &i, &err), AIGC_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(gguf_get_i64(file, "i32", true, &i, &err), AIGC_OK);
    assert_true(i == -7);
    assert_int_equal(gguf_get_i64(file, "u64", true, &i, &err), AIGC_E_FORMAT);
    gguf_close(file);
    free(f.data);
}

static void other_scalars_are_converted(void **state)
{
    image f = numbers_file();
    gguf_file *file = open_good(f);
    aigc_error err;
    float x = 1;
    bool b = false;
    gguf_string s = {NULL, 0};

    (void)state;
    assert_int_equal(gguf_get_f32(file, "f32", true, &x, &err), AIGC_OK);
    assert_true(x == 0.1f);
    assert_int_equal(gguf_get_f32(file, "f64", true, &x, &err), AIGC_OK);
    assert_true(x == 2.5f);
    assert_int_equal(gguf_get_f32(file, "i32", true, &x, &err), AIGC_OK);
    assert_true(x == -7);
    assert_int_equal(gguf_get_f32(file, "huge", true, &x, &err), AIGC_E_FORMAT);
    assert_int_equal(gguf_get_f32(file, "u32", true, &x, &err), AIGC_E_FORMAT);
    assert_int_equal(gguf_get_f32(file, "text", true, &x, &err), AIGC_E_FORMAT);
    assert_true(x == -7);
    assert_int_equal(gguf_get_bool(file, "bool", true, &b, &err), AIGC_OK);
    assert_true(b);
    assert_int_equal(gguf_get_bool(file, "u8", true, &b, &err), AIGC_E_FORMAT);
    assert_int_equal(gguf_get_string(file, "text", true, &s, &err), AIGC_OK);
    assert_int_equal(s.len, 7);
    assert_int_equal(gguf_get_string(file, "u8", true, &s, &err), AIGC_E_FORMAT);
    gguf_close(file);
    free(f.data);
}

static void array_items_are_converted(void **state)
{
    image f = pack(HEAD "sIIQII"
                        "sIIQDDD"
                        "sIIQs",
                   "GGUF", 3, N(0), N(3), "i", GGUF_ARRAY, GGUF_I32, N(2), -5, 6, "d", GGUF_ARRAY, GGUF_F64, N(3), 1.5,
                   1e300, (double)NAN, "s", GGUF_ARRAY, GGUF_STRING, N(1), "12345678");
    gguf_file *file = open_good(f);

    (void)state;
    assert_true(gguf_array_i64(gguf_find(file, "i"), 0) == -5);
    assert_true(gguf_array_f64(gguf_find(file, "i"), 1) == 6.0);
    assert_true(gguf_array_i64(gguf_find(file, "i"), 2) == 0); /* beyond the end */
    assert_true(gguf_array_f64(gguf_find(file, "d"), 0) == 1.5);
    assert_true(gguf_array_i64(gguf_find(file, "d"), 0) == 1);
    assert_true(gguf_array_i64(gguf_find(file, "d"), 1) == INT64_MAX);
    assert_true(gguf_array_i64(gguf_find(file, "d"), 2) == 0);
    assert_true(gguf_array_i64(gguf_find(file, "s"), 0) == 0);
    gguf_close(file);
    free(f.data);
}

static void values_are_printed(void **state)
{
    image f = numbers_file(), g = good_file();
    gguf_file *file = open_good(f), *good = open_good(g);

    (void)state;
    assert_prints(file, "u64", 99, "18446744073709551615");
    assert_prints(file, "i64", 99, "-9223372036854775808");
    assert_prints(file, "f32", 99, "0.1");
    assert_prints(file, "huge", 99, "1e+300");
    assert_prints(file, "bool", 99, "true");
    assert_prints(file, "text", 99, "a\\tb \\xff\"c");
    assert_prints(file, "text", 12, "a\\tb \\xff\"c");
    assert_prints(file, "text", 11, "a\\tb ...");
    assert_prints(file, "text", 1, "");
    assert_prints(file, "u64", 20, "...");
    assert_prints(file, "u64", 21, "18446744073709551615");
    assert_prints(good, "words", 99, "string[3]: \"a\", \"\", \"ccc\"");
    assert_prints(good, "words", 20, "string[3]: \"a\", ...");
    gguf_close(file);
    gguf_close(good);
    free(f.data);
    free(g.data);
}

/* ---- real files (expected values: gguf-py) ---- */

/* Opens a file of ../shared/data, or skips the test. */
static gguf_file *open_shared(const char *name)
{
    const char *shared = getenv("AIGC_SHARED");
    char path[4096];
    gguf_file *file = NULL;
    aigc_error err;

    snprintf(path, sizeof path, "%s/data/%s", shared ? shared : "../shared", name);
    if (access(path, R_OK) != 0) {
        print_message("%s is missing: skipped\n", path);
        skip();
    }
    if (gguf_open(path, &file, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return file;
}

static gguf_string string_item(const gguf_file *file, const char *key, uint64_t i)
{
    const gguf_value *v = gguf_find(file, key);
    const unsigned char *cursor;
    gguf_string s = {NULL, 0};

    assert_non_null(v);
    assert_true(i < v->n_items);
    cursor = v->data;
    for (uint64_t k = 0; k <= i; k++)
        s = gguf_next_string(&cursor);
    return s;
}

static void assert_string_is(gguf_string s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.data, expected, s.len);
}

static uint64_t bytes_of_strings(const gguf_value *v)
{
    const unsigned char *cursor = v->data;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < v->n_items; i++)
        sum += gguf_next_string(&cursor).len;
    return sum;
}

static void gpt2_vocabulary_is_read(void **state)
{
    gguf_file *file = open_shared("tokenizers/ggml-vocab-gpt-2.gguf");
    float eps = 0;
    aigc_error err;

    (void)state;
    assert_int_equal(gguf_n_values(file), 16);
    assert_int_equal(gguf_n_tensors(file), 0);
    assert_int_equal(gguf_find(file, "tokenizer.ggml.tokens")->n_items, 50257);
    assert_string_is(string_item(file, "tokenizer.ggml.tokens", 1000), "ale");
    assert_string_is(string_item(file, "tokenizer.ggml.tokens", 50256), "<|endoftext|>");
    assert_string_is(string_item(file, "tokenizer.ggml.merges", 49999), "\xc4\xa0g azed");
    assert_int_equal(gguf_array_i64(gguf_find(file, "tokenizer.ggml.token_type"), 50256), 3);
    assert_int_equal(bytes_of_strings(gguf_find(file, "tokenizer.ggml.tokens")), 356735);
    assert_int_equal(bytes_of_strings(gguf_find(file, "tokenizer.ggml.merges")), 406304);
    assert_int_equal(gguf_get_f32(file, "gpt2.attention.layer_norm_epsilon", true, &eps, &err), AIGC_OK);
    assert_true(eps == 1e-5f);
    gguf_close(file);
}

static void phi3_vocabulary_is_read(void **state)
{
    gguf_file *file = open_shared("tokenizers/ggml-vocab-phi-3.gguf");
    const gguf_value *types;
    gguf_string chat = {NULL, 0};
    int64_t sum = 0;
    aigc_error err;

    (void)state;
    types = gguf_find(file, "tokenizer.ggml.token_type");
    for (uint64_t i = 0; i < types->n_items; i++)
        sum += gguf_array_i64(types, i);
    assert_int_equal(sum, 33426);
    assert_true(gguf_array_f64(gguf_find(file, "tokenizer.ggml.scores"), 20000) == -19741.0);
    assert_string_is(string_item(file, "tokenizer.ggml.tokens", 31999), "\xe7\xbb\x99");
    assert_int_equal(gguf_get_string(file, "tokenizer.chat_template", true, &chat, &err), AIGC_OK);
    assert_int_equal(chat.len, 269);
    gguf_close(file);
}

static void stories_model_is_read(void **state)
{
    gguf_file *file = open_shared("models/stories260K.gguf");
    const gguf_tensor *t;
    const float *x;
    uint64_t elements = 0;
    double sum = 0;

    (void)state;
    assert_int_equal(gguf_n_values(file), 19);
    assert_int_equal(gguf_n_tensors(file), 48);
    for (uint64_t i = 0; i < 48; i++)
        elements += gguf_tensor_at(file, i)->n_elements;
    assert_int_equal(elements, 292800);
    t = gguf_find_tensor(file, "blk.4.ffn_down.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[0], 172);
    assert_int_equal(t->dims[1], 64);
    assert_int_equal(t->bytes, 172 * 64 * 4);
    x = t->data;
    for (uint64_t i = 0; i < t->n_elements; i++)
        sum += x[i];
    assert_true(fabs(sum - 19.543787761240765) < 1e-9);
    assert_true(x[0] == -0.04791265f);
    gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file_is_read),           cmocka_unit_test(smallest_files),
        cmocka_unit_test(alignment_is_followed),       cmocka_unit_test(memory_must_be_aligned),
        cmocka_unit_test(truncated_files_are_refused), cmocka_unit_test(paths_that_are_no_files),
        cmocka_unit_test(integers_are_converted),      cmocka_unit_test(other_scalars_are_converted),
        cmocka_unit_test(array_items_are_converted),   cmocka_unit_test(values_are_printed),
        cmocka_unit_test(gpt2_vocabulary_is_read),     cmocka_unit_test(phi3_vocabulary_is_read),
        cmocka_unit_test(stories_model_is_read),
    };

    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
