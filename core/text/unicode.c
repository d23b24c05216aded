/* unicode.c: classes of code points. */
#include "text/unicode.h"

#include <utf8proc.h>

/* White_Space beyond ASCII, which \s means in the expressions of all tokenizers that we follow. */
static int is_wide_space(uint32_t c)
{
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

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
    if (c < 0x80)
        return ascii_class(c);
    if (is_wide_space(c))
        return CHAR_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return CHAR_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CHAR_NUMBER;
    default:
        return CHAR_OTHER;
    }
}
