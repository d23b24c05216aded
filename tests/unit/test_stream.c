/* Streams of text: whole characters only, stop strings across token borders, nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/stream.h"

typedef struct fixture {
    stop_strings stops;
    text_stream text;
} fixture;

static void open_stream(fixture *f, const char *const *stops, size_t n)
{
    assert_int_equal(stop_strings_copy(stops, n, &f->stops, NULL), AIGC_OK);
    assert_int_equal(text_stream_create(&f->text, &f->stops, NULL), AIGC_OK);
}

static void close_stream(fixture *f)
{
    text_stream_free(&f->text);
    stop_strings_free(&f->stops);
}

static bool push(fixture *f, const char *bytes)
{
    bool stopped = false;
    assert_int_equal(text_stream_push(&f->text, bytes, strlen(bytes), &stopped, NULL), AIGC_OK);
    return stopped;
}

/* What is ready now must be exactly this. */
static void expect(fixture *f, const char *text)
{
    assert_int_equal(f->text.n_ready, strlen(text));
    assert_memory_equal(f->text.ready, text, strlen(text));
    f->text.n_ready = 0;
}

static void half_characters_are_held(void **state)
{
    (void)state;
    fixture f;
    open_stream(&f, NULL, 0);
    push(&f, "a\xE6");
    expect(&f, "a");
    push(&f, "\x97");
    expect(&f, "");
    push(&f, "\xA5!");
    expect(&f, "\xE6\x97\xA5!");
    push(&f, "\xF0\x9F\x98");
    expect(&f, "");
    assert_int_equal(text_stream_finish(&f.text, NULL), AIGC_OK);
    expect(&f, ""); /* a character that never became complete is no text */
    close_stream(&f);
}

static void bad_bytes_are_replaced(void **state)
{
    (void)state;
    fixture f;
    open_stream(&f, NULL, 0);
    push(&f, "x\xFFy");
    expect(&f, "x\xEF\xBF\xBDy");
    push(&f, "\xE6");
    push(&f, "z");
    expect(&f, "\xEF\xBF\xBDz");
    close_stream(&f);
}

static void stop_across_tokens(void **state)
{
    (void)state;
    const char *stops[] = {"User:", "\n\n"};
    fixture f;
    open_stream(&f, stops, 2);
    assert_false(push(&f, "Hello Us"));
    expect(&f, "Hello ");
    assert_false(push(&f, "e"));
    expect(&f, "");
    assert_false(push(&f, "d U"));
    expect(&f, "Used ");
    assert_false(push(&f, "ser"));
    assert_true(push(&f, ": and more"));
    expect(&f, "");
    close_stream(&f);
}

static void earliest_stop_wins(void **state)
{
    (void)state;
    const char *stops[] = {"later", "soon"};
    fixture f;
    open_stream(&f, stops, 2);
    assert_true(push(&f, "as soon as later"));
    expect(&f, "as ");
    close_stream(&f);
}

static void held_beginning_is_given_at_the_end(void **state)
{
    (void)state;
    const char *stops[] = {"END"};
    fixture f;
    open_stream(&f, stops, 1);
    assert_false(push(&f, "the EN"));
    expect(&f, "the ");
    assert_int_equal(text_stream_finish(&f.text, NULL), AIGC_OK);
    expect(&f, "EN");
    close_stream(&f);
}

static void stop_in_the_middle_of_a_character(void **state)
{
    (void)state;
    const char *stops[] = {"\xE6\x97\xA5"};
    fixture f;
    open_stream(&f, stops, 1);
    assert_false(push(&f, "a\xE6\x97"));
    expect(&f, "a");
    assert_true(push(&f, "\xA5"));
    expect(&f, "");
    close_stream(&f);
}

static void text_that_nobody_takes_is_kept(void **state)
{
    (void)state;
    fixture f;
    open_stream(&f, NULL, 0);
    for (int i = 0; i < 20000; i++)
        push(&f, "0123456789");
    assert_int_equal(f.text.n_ready, 200000);
    assert_memory_equal(f.text.ready + 199990, "0123456789", 10);
    close_stream(&f);
}

static void refuses_bad_stops(void **state)
{
    (void)state;
    aigc_error err;
    stop_strings stops;
    const char *empty[] = {"a", ""}, *bad[] = {"\xFF"};
    assert_int_equal(stop_strings_copy(empty, 2, &stops, &err), AIGC_E_ARGUMENT);
    assert_string_equal(err.message, "stop string 2 is empty");
    assert_int_equal(stop_strings_copy(bad, 1, &stops, &err), AIGC_E_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_characters_are_held),
        cmocka_unit_test(bad_bytes_are_replaced),
        cmocka_unit_test(stop_across_tokens),
        cmocka_unit_test(earliest_stop_wins),
        cmocka_unit_test(held_beginning_is_given_at_the_end),
        cmocka_unit_test(stop_in_the_middle_of_a_character),
        cmocka_unit_test(text_that_nobody_takes_is_kept),
        cmocka_unit_test(refuses_bad_stops),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
