/* test_utf8.c: which bytes are UTF-8, where streamed bytes end in whole characters, and repair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/tokenizer.h"

#define BAD "\xef\xbf\xbd"

static void check_repair(const char *bytes, size_t len, const char *expected)
{
    char out[128];
    size_t n = utf8_repair(bytes, len, out);

    assert_int_equal(n, strlen(expected));
    assert_memory_equal(out, expected, n);
}

/* The examples of the Unicode Standard 16.0, tables 3-8 to 3-11, and some of one byte. */
static void test_repair(void **state)
{
    (void)state;
    check_repair("", 0, "");
    check_repair("plain", 5, "plain");
    check_repair("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    check_repair("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", 9, BAD BAD BAD BAD BAD BAD BAD BAD "A");
    check_repair("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", 9, BAD BAD BAD BAD BAD BAD BAD BAD "A");
    check_repair("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", 9, BAD BAD BAD BAD BAD "A" BAD BAD "B");
    check_repair("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", 9, BAD BAD BAD BAD "A");
    check_repair("\xe2\x82", 2, BAD);
    check_repair("a\x80", 2, "a" BAD);
}

static void test_valid(void **state)
{
    static const struct {
        const char *s;
        size_t len, offset;
    } cases[] = {
        {"", 0, 0},
        {"abcdefghijklmnop", 16, 16},
        {"abcdefgh\xff", 9, 8},
        {"\x00\x7f", 2, 2},
        {"\xc2\x80\xdf\xbf", 4, 4},
        {"\xe0\xa0\x80\xef\xbf\xbf", 6, 6},
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8, 8},
        {"a\xc1\xbf", 3, 1}, /* overlong */
        {"a\xe0\x9f\xbf", 4, 1},
        {"a\xf0\x8f\xbf\xbf", 5, 1},
        {"a\xed\xa0\x80", 4, 1},     /* surrogate */
        {"a\xf4\x90\x80\x80", 5, 1}, /* above U+10FFFF */
        {"ab\xe2\x82", 4, 2},
        {"ab\x80", 3, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_valid(cases[i].s, cases[i].len), cases[i].offset);
}

static void test_complete(void **state)
{
    static const struct {
        const char *s;
        size_t len, complete;
    } cases[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"a\xc3", 2, 1},
        {"a\xc3\xa9", 3, 3},
        {"a\xe2", 2, 1},
        {"a\xe2\x82", 3, 1},
        {"a\xe2\x82\xac", 4, 4},
        {"\xf0\x9f\x98", 3, 0},
        {"x\xf0\x9f\x98\x80\xf0", 6, 5},
        {"\x80", 1, 1}, /* can never become part of a character */
        {"\xff", 1, 1},
        {"\xe0\x80", 2, 2},
        {"\xed\xa0", 2, 2},
        {"\xf4\x90\x80", 3, 3},
        {"\xf0\x9f\xf0\x9f", 4, 2},
        {"\xc0", 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_complete(cases[i].s, cases[i].len), cases[i].complete);
}

/* Bytes that are likely to form characters and their beginnings. */
static size_t random_bytes(random_state *r, char *out, size_t max)
{
    static const unsigned char bytes[] = {'a',  0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf,
                                          0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff, 'z'};
    size_t n = random_u64(r) % (max + 1);

    for (size_t i = 0; i < n; i++)
        out[i] = (char)bytes[random_u64(r) % sizeof bytes];
    return n;
}

/* Whatever the pieces that bytes come in, what is held back and repaired in turn is what repair makes of the whole,
 * and that is valid. */
static void test_streamed_repair_equals_repair(void **state)
{
    random_state r;

    (void)state;
    random_seed(&r, 2, 0);
    for (int round = 0; round < 100000; round++) {
        char bytes[12], whole[36], streamed[36];
        size_t len = random_bytes(&r, bytes, sizeof bytes), n_whole = utf8_repair(bytes, len, whole), n = 0;

        assert_int_equal(utf8_valid(whole, n_whole), n_whole);
        assert_true((utf8_valid(bytes, len) == len) == (n_whole == len && memcmp(bytes, whole, len) == 0));
        for (size_t begin = 0, end = 0; end < len;) {
            size_t complete;

            end += 1 + random_u64(&r) % 3;
            end = end < len ? end : len;
            complete = end < len ? utf8_complete(bytes + begin, end - begin) : end - begin;
            assert_true(end - begin - complete <= 3);
            n += utf8_repair(bytes + begin, complete, streamed + n);
            begin += complete;
        }
        assert_int_equal(n, n_whole);
        assert_memory_equal(streamed, whole, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_streamed_repair_equals_repair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
