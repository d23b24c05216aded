/* error.c: error messages: formatted, made printable and fitted into aigc_error. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { FORMATTED_MAX = 8192, MESSAGE_MAX = sizeof(((aigc_error *)0)->message) - 1 };

static bool continues_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Copies s[0..len) to out, leaving out its middle if it is too long: a long path stands at the beginning, and what is
 * wrong with it at the end. */
static void copy_fitted(char *out, const char *s, size_t len)
{
    static const char gap[] = " ... ";
    size_t head = 200, tail = MESSAGE_MAX - head - strlen(gap);

    if (len <= MESSAGE_MAX) {
        memcpy(out, s, len + 1);
        return;
    }
    while (continues_character(s[head]))
        head--;
    while (continues_character(s[len - tail]))
        tail--;
    memcpy(out, s, head);
    memcpy(out + head, gap, strlen(gap));
    memcpy(out + head + strlen(gap), s + len - tail, tail);
    out[head + strlen(gap) + tail] = '\0';
}

aigc_status aigc_fail(aigc_error *err, aigc_status code, const char *format, ...)
{
    char text[FORMATTED_MAX]; /* apart from *err: the arguments may point into it */
    va_list args;
    int n;

    if (!err)
        return code;
    va_start(args, format);
    n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) {
        text[0] = '\0';
        n = 0;
    }
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    utf8_make_printable(text, (size_t)n); /* file names and a file's strings end up here */
    err->code = code;
    copy_fitted(err->message, text, (size_t)n);
    return code;
}

aigc_status aigc_fail_memory(aigc_error *err, const char *what, size_t bytes)
{
    return aigc_fail(err, AIGC_E_MEMORY, "out of memory: %s needs %zu bytes", what, bytes);
}
