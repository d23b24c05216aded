/* test_gguf_write.c: GGUF files are written, and read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_image.h"

static char *temporary_path(void)
{
    static char path[64];

    snprintf(path, sizeof path, "/tmp/aigc-test-gguf-%d.gguf", (int)getpid());
    return path;
}

static gguf_writer *new_writer(void)
{
    gguf_writer *w = NULL;
    aigc_error err;

    assert_int_equal(gguf_writer_create(&w, &err), AIGC_OK);
    return w;
}

static void set_all_types(gguf_writer *w)
{
    static const gguf_string words[] = {{"one", 3}, {"", 0}, {"\xe4\xb8\x89", 3}};
    static const int32_t ints[] = {-1, 0, 1};
    static const float floats[] = {0.5f, -1000};

    gguf_writer_set_string(w, "general.architecture", "llama", 5);
    gguf_writer_set_u32(w, "u32", 7);
    gguf_writer_set_i32(w, "i32", -7);
    gguf_writer_set_u64(w, "u64", UINT64_MAX);
    gguf_writer_set_f32(w, "f32", 0.1f);
    gguf_writer_set_bool(w, "bool", true);
    gguf_writer_set_strings(w, "strings", words, 3);
    gguf_writer_set_i32s(w, "i32s", ints, 3);
    gguf_writer_set_f32s(w, "f32s", floats, 2);
    gguf_writer_set_strings(w, "nothing", NULL, 0);
}

static void written_files_are_read_back(void **state)
{
    static const uint64_t odd[] = {3}, matrix[] = {256, 2};
    const char *path = temporary_path();
    unsigned char blocks[2 * 144], tail[6] = {1, 2, 3, 4, 5, 6};
    float norm[3] = {1, 2, 3};
    gguf_writer *w = new_writer();
    gguf_file *file;
    aigc_error err;

    (void)state;
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (unsigned char)(i * 31);
    set_all_types(w);
    gguf_writer_add_tensor(w, "norm", TYPE_F32, 1, odd);
    gguf_writer_add_tensor(w, "blocks", TYPE_Q4_K, 2, matrix);
    gguf_writer_add_tensor(w, "tail", TYPE_F16, 1, odd);
    assert_int_equal(gguf_writer_begin(w, path, &err), AIGC_OK);
    assert_int_equal(gguf_writer_data(w, norm, sizeof norm, &err), AIGC_OK);
    assert_int_equal(gguf_writer_data(w, blocks, 100, &err), AIGC_OK); /* in parts */
    assert_int_equal(gguf_writer_data(w, blocks + 100, sizeof blocks - 100, &err), AIGC_OK);
    assert_int_equal(gguf_writer_data(w, tail, sizeof tail, &err), AIGC_OK);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_OK);

    assert_int_equal(gguf_open(path, &file, &err), AIGC_OK);
    assert_int_equal(gguf_version(file), 3);
    assert_int_equal(gguf_n_values(file), 10);
    assert_prints(file, "u64", 99, "18446744073709551615");
    assert_prints(file, "i32", 99, "-7");
    assert_prints(file, "f32", 99, "0.1");
    assert_prints(file, "bool", 99, "true");
    assert_prints(file, "strings", 99, "string[3]: \"one\", \"\", \"\xe4\xb8\x89\"");
    assert_prints(file, "i32s", 99, "i32[3]: -1, 0, 1");
    assert_prints(file, "f32s", 99, "f32[2]: 0.5, -1000");
    assert_prints(file, "nothing", 99, "string[0]");
    assert_memory_equal(gguf_find_tensor(file, "norm")->data, norm, sizeof norm);
    assert_memory_equal(gguf_find_tensor(file, "blocks")->data, blocks, sizeof blocks);
    assert_memory_equal(gguf_find_tensor(file, "tail")->data, tail, sizeof tail);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal((uintptr_t)gguf_tensor_at(file, i)->data % 32, 0);
    assert_int_equal(gguf_size(file) % 32, 0);
    gguf_close(file);
    unlink(path);
}

static void values_are_copied(void **state)
{
    const char *path = temporary_path();
    image f = pack(HEAD "sIIsIIsIIQsss", "GGUF", 3, N(0), N(3), "general.alignment", GGUF_U32, 64, "n", GGUF_U32, 1,
                   "words", GGUF_ARRAY, GGUF_STRING, N(3), "a", "", "ccc");
    gguf_file *from = open_good(f), *file;
    gguf_writer *w = new_writer();
    aigc_error err;

    (void)state;
    gguf_writer_set_string(w, "n", "mine", 4);
    gguf_writer_copy_values(w, from);
    assert_int_equal(gguf_writer_begin(w, path, &err), AIGC_OK);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_OK);
    assert_int_equal(gguf_open(path, &file, &err), AIGC_OK);
    assert_int_equal(gguf_n_values(file), 2);
    assert_prints(file, "n", 99, "mine");
    assert_prints(file, "words", 99, "string[3]: \"a\", \"\", \"ccc\"");
    gguf_close(file);
    gguf_close(from);
    free(f.data);
    unlink(path);
}

/* Enough keys and tensors to grow every table of the writer. */
static void many_names(void **state)
{
    static const uint64_t one[] = {1};
    const char *path = temporary_path();
    gguf_writer *w = new_writer();
    gguf_file *file;
    aigc_error err;
    char name[32];

    (void)state;
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "name.%u", i);
        gguf_writer_set_u32(w, name, i);
        gguf_writer_add_tensor(w, name, TYPE_F32, 1, one);
    }
    assert_int_equal(gguf_writer_begin(w, path, &err), AIGC_OK);
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(gguf_writer_data(w, &i, 4, &err), AIGC_OK);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_OK);
    assert_int_equal(gguf_open(path, &file, &err), AIGC_OK);
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t value = 0;

        snprintf(name, sizeof name, "name.%u", i);
        assert_int_equal(gguf_get_u32(file, name, true, &value, &err), AIGC_OK);
        assert_int_equal(value, i);
        assert_memory_equal(gguf_find_tensor(file, name)->data, &i, 4);
    }
    gguf_close(file);
    unlink(path);
}

/* Begins and finishes a writer that something is wrong with: the message says what, and no file appears. */
static void assert_fails(gguf_writer *w, const char *message)
{
    aigc_error err = {AIGC_OK, ""};
    struct stat st;

    gguf_writer_begin(w, temporary_path(), NULL);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_E_ARGUMENT);
    if (!strstr(err.message, message))
        fail_msg("the message is: %s", err.message);
    assert_int_not_equal(stat(temporary_path(), &st), 0);
}

static void wrong_descriptions_are_refused(void **state)
{
    static const uint64_t dims[] = {48, 0}, huge[] = {UINT64_MAX, 3};
    gguf_writer *w;

    (void)state;
    gguf_writer_set_u32(w = new_writer(), "k", 1);
    gguf_writer_set_u32(w, "k", 1);
    assert_fails(w, "key \"k\" is set twice");
    gguf_writer_set_u32(w = new_writer(), "", 1);
    assert_fails(w, "not a name of 1 to 65535 bytes");
    gguf_writer_set_u32(w = new_writer(), "\xff", 1);
    assert_fails(w, "not a name");
    gguf_writer_set_u32(w = new_writer(), "general.alignment", 64);
    assert_fails(w, "always 32");
    gguf_writer_add_tensor(w = new_writer(), "t", TYPE_F32, 5, huge);
    assert_fails(w, "dimensions that don't fit");
    gguf_writer_add_tensor(w = new_writer(), "t", TYPE_F32, 2, dims);
    assert_fails(w, "dimensions that don't fit");
    gguf_writer_add_tensor(w = new_writer(), "t", TYPE_Q8_0, 1, dims);
    assert_fails(w, "tensor \"t\" of type Q8_0");
    gguf_writer_add_tensor(w = new_writer(), "t", TYPE_F32, 2, huge);
    assert_fails(w, "dimensions that don't fit");
    gguf_writer_add_tensor(w = new_writer(), "t", (tensor_type)4, 1, dims);
    assert_fails(w, "of type unknown");
}

static void wrong_data_are_refused(void **state)
{
    static const uint64_t dims[] = {4};
    const char *path = temporary_path();
    float data[8] = {0};
    aigc_error err;
    gguf_writer *w = new_writer();

    (void)state;
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_E_ARGUMENT); /* nothing begun */
    w = new_writer();
    gguf_writer_add_tensor(w, "t", TYPE_F32, 1, dims);
    assert_int_equal(gguf_writer_data(w, data, 4, &err), AIGC_E_ARGUMENT);
    assert_fails(w, "before gguf_writer_begin");
    w = new_writer();
    gguf_writer_add_tensor(w, "t", TYPE_F32, 1, dims);
    gguf_writer_begin(w, path, &err);
    gguf_writer_data(w, data, 12, &err);
    assert_int_equal(gguf_writer_finish(w, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "tensor \"t\" lacks 4 bytes of data");
    w = new_writer();
    gguf_writer_add_tensor(w, "t", TYPE_F32, 1, dims);
    gguf_writer_begin(w, path, &err);
    assert_int_equal(gguf_writer_data(w, data, 17, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "tensor \"t\" has 16 bytes, but 17 come");
    gguf_writer_abandon(w);
    w = new_writer();
    gguf_writer_add_tensor(w, "t", TYPE_F32, 1, dims);
    gguf_writer_begin(w, path, &err);
    gguf_writer_data(w, data, 16, &err);
    assert_int_equal(gguf_writer_data(w, data, 1, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "1 bytes of data come after the last tensor's");
    gguf_writer_abandon(w);
    gguf_writer_abandon(NULL);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_are_read_back),
        cmocka_unit_test(values_are_copied),
        cmocka_unit_test(many_names),
        cmocka_unit_test(wrong_descriptions_are_refused),
        cmocka_unit_test(wrong_data_are_refused),
    };

    return cmocka_run_group_tests_name("gguf_write", tests, NULL, NULL);
}
