/* utf8.h: one UTF-8 character at a time. Used where text from files is checked (error messages, names, descriptions).
 */
#ifndef AIGC_BASE_UTF8_H
#define AIGC_BASE_UTF8_H

#include <stddef.h>
#include <string.h>

/* Bytes (1 to 4) of the valid UTF-8 character that s[0..len) begins with, or 0 if it begins with none: overlong forms,
 * surrogates, values above U+10FFFF and cut characters are not valid. */
static inline size_t utf8_character(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf; /* range of the second byte */
    size_t n;

    if (len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len < n)
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Whether the character at s (n bytes, valid) is a control character: C0, DEL or C1. */
static inline int utf8_is_control(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;

    return (n == 1 && (s[0] < 0x20 || s[0] == 0x7f)) || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

/* Replaces control characters, which could command a terminal, and bytes that are no UTF-8 by '?'. */
static inline void utf8_make_printable(char *s, size_t len)
{
    for (size_t i = 0, step; i < len; i += step) {
        size_t n = utf8_character(s + i, len - i);

        step = n > 0 ? n : 1;
        if (n == 0 || utf8_is_control(s + i, n))
            memset(s + i, '?', step);
    }
}

#endif
