/* stream.c: see stream.h. */
#include "engine/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer.h"

void stop_strings_free(stop_strings *stops)
{
    for (size_t i = 0; stops->strings != NULL && i < stops->n; i++)
        free(stops->strings[i]);
    free(stops->strings);
    free(stops->lengths);
    *stops = (stop_strings){0};
}

aigc_status stop_strings_copy(const char *const *strings, size_t n, stop_strings *out, aigc_error *err)
{
    *out = (stop_strings){.n = n};
    if (n == 0)
        return AIGC_OK;
    out->strings = aigc_calloc(n, sizeof *out->strings);
    out->lengths = aigc_calloc(n, sizeof *out->lengths);
    for (size_t i = 0; i < n && out->strings != NULL && out->lengths != NULL; i++) {
        if (strings[i] == NULL || strings[i][0] == '\0') {
            stop_strings_free(out);
            return aigc_fail(err, AIGC_E_ARGUMENT, "stop string %zu is empty", i + 1);
        }
        out->lengths[i] = strlen(strings[i]);
        if (utf8_valid(strings[i], out->lengths[i]) != out->lengths[i]) {
            stop_strings_free(out);
            return aigc_fail(err, AIGC_E_TEXT, "stop string %zu is not valid UTF-8", i + 1);
        }
        out->longest = out->lengths[i] > out->longest ? out->lengths[i] : out->longest;
        if ((out->strings[i] = strdup(strings[i])) == NULL)
            break;
    }
    if (out->strings == NULL || out->lengths == NULL || out->strings[n - 1] == NULL) {
        stop_strings_free(out);
        return aigc_fail_memory(err, "stop strings", n * sizeof *out->strings);
    }
    return AIGC_OK;
}

aigc_status text_stream_create(text_stream *s, const stop_strings *stops, aigc_error *err)
{
    /* Held from before: less than a stop string, or less than a character. */
    size_t held = TOKEN_MAX_BYTES + stops->longest + 4;
    *s = (text_stream){.stops = stops, .held_capacity = held, .ready_capacity = 3 * held};
    s->held = aigc_calloc(held, 1);
    s->ready = aigc_calloc(s->ready_capacity, 1);
    if (s->held != NULL && s->ready != NULL)
        return AIGC_OK;
    text_stream_free(s);
    return aigc_fail_memory(err, "a stream of text", 4 * held);
}

void text_stream_free(text_stream *s)
{
    free(s->held);
    free(s->ready);
    s->held = s->ready = NULL;
}

/* Moves the first n held bytes to the ready text. */
static aigc_status release(text_stream *s, size_t n, aigc_error *err)
{
    size_t need = s->n_ready + 3 * n; /* a bad byte becomes three */
    if (need > s->ready_capacity) {
        char *grown = realloc(s->ready, 2 * need);
        if (grown == NULL)
            return aigc_fail_memory(err, "text that nobody takes", 2 * need);
        s->ready = grown;
        s->ready_capacity = 2 * need;
    }
    s->n_ready += utf8_repair(s->held, n, s->ready + s->n_ready);
    memmove(s->held, s->held + n, s->n_held - n);
    s->n_held -= n;
    return AIGC_OK;
}

/* Where the first stop string begins in the held bytes, or n_held. */
static size_t find_stop(const text_stream *s)
{
    for (size_t at = 0; at < s->n_held; at++)
        for (size_t i = 0; i < s->stops->n; i++)
            if (s->stops->lengths[i] <= s->n_held - at &&
                memcmp(s->held + at, s->stops->strings[i], s->stops->lengths[i]) == 0)
                return at;
    return s->n_held;
}

/* Where the held bytes end in what may be the beginning of a stop string, or n_held. */
static size_t find_stop_beginning(const text_stream *s)
{
    size_t at = s->n_held > s->stops->longest ? s->n_held - s->stops->longest : 0;
    for (; at < s->n_held; at++)
        for (size_t i = 0; i < s->stops->n; i++)
            if (s->stops->lengths[i] > s->n_held - at &&
                memcmp(s->held + at, s->stops->strings[i], s->n_held - at) == 0)
                return at;
    return s->n_held;
}

aigc_status text_stream_push(text_stream *s, const char *bytes, size_t n, bool *stopped, aigc_error *err)
{
    memcpy(s->held + s->n_held, bytes, n);
    s->n_held += n;
    size_t end = find_stop(s);
    *stopped = end < s->n_held;
    if (*stopped) {
        s->n_held = end;
        return text_stream_finish(s, err);
    }
    size_t safe = find_stop_beginning(s);
    return release(s, utf8_complete(s->held, safe), err);
}

aigc_status text_stream_finish(text_stream *s, aigc_error *err)
{
    aigc_status status = release(s, utf8_complete(s->held, s->n_held), err);
    s->n_held = 0;
    return status;
}
