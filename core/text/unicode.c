/* unicode.c: classes of code points. */
#include "text/unicode.h"

static char_class ascii_class(uint32_t c)
{
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
        return CHAR_LETTER;
    if (c >= '0' && c <= '9')
        return CHAR_NUMBER;
    return c == ' ' || (c >= '\t' && c <= '\r') ? CHAR_SPACE : CHAR_OTHER;
}

char_class unicode_class(uint32_t c)
{
    size_t lo = 0, hi = unicode_n_starts; /* unicode_starts[lo] <= c < unicode_starts[hi] */

    if (c < 0x80)
        return ascii_class(c);
    while (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;

        if (unicode_starts[middle] >> 2 <= c)
            lo = middle;
        else
            hi = middle;
    }
    return (char_class)(unicode_starts[lo] & 3);
}
