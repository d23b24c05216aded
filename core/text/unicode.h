/*
 * unicode.h: what pre-tokenizers ask of a code point, and reading code points from text that is known to be UTF-8.
 *
 * Classes are those of the regular expressions that vocabularies were trained with: \p{L}, \p{N} and \s (the property
 * White_Space), as Unicode 16.0 has them. The table is our own, so that tokens do not depend on the system's libraries.
 */
#ifndef AIGC_TEXT_UNICODE_H
#define AIGC_TEXT_UNICODE_H

#include <stddef.h>
#include <stdint.h>

typedef enum char_class {
    CHAR_OTHER, /* [^\s\p{L}\p{N}] */
    CHAR_LETTER,
    CHAR_NUMBER,
    CHAR_SPACE,
} char_class;

char_class unicode_class(uint32_t c);

/* Where a class begins: code point << 2 | class, in rising order (unicode_table.c). */
extern const uint32_t unicode_starts[];
extern const size_t unicode_n_starts;

/* Bytes of the character that begins with `lead`, in valid UTF-8. */
static inline size_t utf8_length(char lead)
{
    unsigned char c = (unsigned char)lead;

    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* The code point at s, in valid UTF-8; *n gets its bytes. */
static inline uint32_t utf8_decode(const char *text, size_t *n)
{
    const unsigned char *s = (const unsigned char *)text;

    *n = utf8_length(*text);
    switch (*n) {
    case 1:
        return s[0];
    case 2:
        return (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    case 3:
        return (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    default:
        return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 | (uint32_t)(s[2] & 0x3f) << 6 |
               (s[3] & 0x3f);
    }
}

#endif
