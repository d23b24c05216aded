/*
 * stream.h: from the bytes of tokens to text that may be shown: whole UTF-8 characters, and nothing that may still turn
 * out to be a stop string. Used by the engine, one for each alternative.
 */
#ifndef AIGC_ENGINE_STREAM_H
#define AIGC_ENGINE_STREAM_H

#include "base/error.h"

/* Strings that end a text; shared by the alternatives of a request. */
typedef struct stop_strings {
    char **strings; /* [n] owned, NUL-terminated, not empty */
    size_t *lengths;
    size_t n, longest;
} stop_strings;

aigc_status stop_strings_copy(const char *const *strings, size_t n, stop_strings *out, aigc_error *err);
void stop_strings_free(stop_strings *stops);

typedef struct text_stream {
    const stop_strings *stops;
    char *held; /* bytes that may not be shown yet */
    size_t n_held, held_capacity;
    char *ready; /* valid UTF-8 */
    size_t n_ready, ready_capacity;
} text_stream;

/* Takes the memory that pushing tokens needs as long as ready text is taken after each. */
aigc_status text_stream_create(text_stream *s, const stop_strings *stops, aigc_error *err);
void text_stream_free(text_stream *s);

/* Adds the n (at most TOKEN_MAX_BYTES) bytes of a token. *stopped is set if they complete a stop string: text before it
 * is ready then, and the rest forgotten. */
aigc_status text_stream_push(text_stream *s, const char *bytes, size_t n, bool *stopped, aigc_error *err);

/* Nothing more comes: what was held is ready, but for a character that is not complete. */
aigc_status text_stream_finish(text_stream *s, aigc_error *err);

#endif
