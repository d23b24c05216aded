/* utf8.c: whole characters of streamed bytes, validity, repair. Declared in tokenizer.h. */
#include "base/utf8.h"

#include <string.h>

#include "text/tokenizer.h"

/* Bytes at the beginning of s[0..len) that may still become one character when more bytes come: a lead byte and the
 * continuation bytes that fit it. 0 if s begins with a whole character or with a byte that can't begin one. */
static size_t partial_character(const char *s, size_t len)
{
    static const char fill[2][3] = {"\x80\x80\x80", "\xbf\xbf\xbf"}; /* least and greatest bytes that may follow */
    char whole[8];
    size_t n = len < 3 ? len : 3;

    if (utf8_character(s, len))
        return 0;
    for (; n > 0; n--)
        for (int i = 0; i < 2; i++) {
            memcpy(whole, s, n);
            memcpy(whole + n, fill[i], 3);
            if (utf8_character(whole, n + 3) > n)
                return n;
        }
    return 0;
}

size_t utf8_complete(const char *s, size_t len)
{
    for (size_t n = len < 3 ? len : 3; n > 0; n--)
        if (partial_character(s + len - n, n) == n)
            return len - n;
    return len;
}

size_t utf8_valid(const char *s, size_t len)
{
    size_t i = 0, n;

    while (i < len) {
        uint64_t eight;

        if (len - i >= sizeof eight && (memcpy(&eight, s + i, sizeof eight), !(eight & 0x8080808080808080u))) {
            i += sizeof eight;
            continue;
        }
        n = utf8_character(s + i, len - i);
        if (n == 0)
            return i;
        i += n;
    }
    return len;
}

size_t utf8_repair(const char *s, size_t len, char *out)
{
    size_t n_out = 0;

    for (size_t i = 0; i < len;) {
        size_t valid = utf8_valid(s + i, len - i);

        memcpy(out + n_out, s + i, valid);
        n_out += valid;
        i += valid;
        if (i < len) {
            size_t part = partial_character(s + i, len - i);

            memcpy(out + n_out, "\xef\xbf\xbd", 3);
            n_out += 3;
            i += part ? part : 1;
        }
    }
    return n_out;
}
