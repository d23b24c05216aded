/* words.c: see words.h. */
#include "recommend/words.h"

#include <string.h>

#include "base/utf8.h"
#include "text/unicode.h"

/* Simple lower case of the alphabets that have two: Latin (with Latin-1 and Extended-A), Greek, Cyrillic, Armenian,
 * full-width Latin. Enough to compare words; Unicode's full tables serve languages of scripts that have no case. */
static uint32_t lower(uint32_t c)
{
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if (c >= 0x531 && c <= 0x556)
        return c + 48;
    if (c >= 0xff21 && c <= 0xff3a)
        return c + 32;
    if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14a && c <= 0x177) || (c >= 0x460 && c <= 0x481) ||
        (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f) || (c >= 0x1e00 && c <= 0x1eff))
        return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
        return c & 1 ? c + 1 : c;
    return c;
}

/* Scripts that are written without spaces between words. */
static bool is_unspaced(uint32_t c)
{
    return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3134f) || (c >= 0x0e00 && c <= 0x0eff) ||
           (c >= 0x1000 && c <= 0x109f) || (c >= 0x1780 && c <= 0x17ff);
}

/* A combining mark belongs to the letter before it. */
static bool is_mark(uint32_t c)
{
    return (c >= 0x300 && c <= 0x36f) || (c >= 0x0900 && c <= 0x0dff && unicode_class(c) == CHAR_OTHER);
}

static size_t encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* The S stemmer: ies -> y, es -> e, s -> nothing, with the exceptions that Harman gives. */
static size_t singular(char *word, size_t n)
{
    if (n <= 3 || word[n - 1] != 's')
        return n;
    char before = word[n - 2], third = word[n - 3];
    if (before == 'e' && third == 'i') {
        if (n == 4 || word[n - 4] == 'e' || word[n - 4] == 'a')
            return n;
        word[n - 3] = 'y';
        return n - 2;
    }
    if (before == 'e')
        return third == 'a' || third == 'e' || third == 'o' ? n : n - 1;
    return before == 'u' || before == 's' || (unsigned char)before >= 0x80 ? n : n - 1;
}

static bool in_word(uint32_t c)
{
    char_class class = unicode_class(c);
    return class == CHAR_LETTER || class == CHAR_NUMBER;
}

/* The pair of c, which has just been read, and the character after it, which stays to begin the next pair; c alone
 * only where nothing stands beside it. False if c ends a run: its pair has been given. */
static bool pair(word_reader *r, uint32_t c, bool alone)
{
    size_t n;

    r->term_len = encode(c, r->term);
    if (r->at < r->len) {
        uint32_t next = utf8_decode(r->text + r->at, &n);
        if (is_unspaced(next) && in_word(next)) {
            r->term_len += encode(next, r->term + r->term_len);
            r->in_run = true;
            return true;
        }
    }
    r->in_run = false;
    return alone;
}

bool word_next(word_reader *r)
{
    size_t n;

    while (r->at < r->len) {
        uint32_t c = utf8_decode(r->text + r->at, &n);
        if (!in_word(c)) {
            r->at += n;
            continue;
        }
        if (is_unspaced(c)) {
            r->at += n;
            if (pair(r, c, !r->in_run))
                return true;
            continue;
        }
        for (r->term_len = 0; r->at < r->len; r->at += n) {
            c = utf8_decode(r->text + r->at, &n);
            if (is_unspaced(c) || !(in_word(c) || is_mark(c)))
                break;
            if (r->term_len + 4 <= TERM_MAX_BYTES)
                r->term_len += encode(lower(c), r->term + r->term_len);
        }
        r->term_len = singular(r->term, r->term_len);
        return true;
    }
    return false;
}

bool word_is_function(const char *term, size_t len)
{
    /* In the singular, where word_next() takes an "s" away: "doe", "your". */
    static const char WORDS[] =
        " a about after all an and any are as at be been before being between both but by can could did do doe down "
        "during each for from had has have he her here him his how i if in into is it its me more most my no nor not "
        "of "
        "off on once one only or other our out over own same she should so some such than that the their them then "
        "there "
        "these they this those through to too under until up very was we were what when where which while who whom "
        "whose "
        "why will with would you your ";
    char word[16] = " ";

    if (len == 0 || len + 3 > sizeof word)
        return false;
    memcpy(word + 1, term, len);
    memcpy(word + 1 + len, " ", 2);
    return strstr(WORDS, word) != NULL;
}

/* Lower case, runs of white space as one space, none at the ends. */
static size_t normal(aigc_string s, char *out, size_t size)
{
    size_t n, len = 0;
    bool space = false;

    for (size_t i = 0; i < s.len; i += n) {
        uint32_t c = utf8_decode(s.data + i, &n);
        if (unicode_class(c) == CHAR_SPACE || c < 0x20) {
            space = len > 0;
            continue;
        }
        if (len + 5 > size)
            break;
        if (space)
            out[len++] = ' ';
        space = false;
        len += encode(lower(c), out + len);
    }
    return len;
}

size_t word_tag(aigc_string tag, char *out)
{
    out[0] = TERM_TAG;
    size_t n = normal(tag, out + 1, TERM_MAX_BYTES - 1);
    return n ? n + 1 : 0;
}

size_t word_value(aigc_string attribute, aigc_string value, char *out)
{
    out[0] = TERM_VALUE;
    size_t n = 1 + normal(attribute, out + 1, TERM_MAX_BYTES / 2);
    out[n++] = '=';
    size_t m = normal(value, out + n, TERM_MAX_BYTES - n);
    return m ? n + m : 0;
}

bool word_is_text(aigc_string s)
{
    for (size_t i = 0, n; i < s.len; i += n)
        if ((n = utf8_character(s.data + i, s.len - i)) == 0)
            return false;
    return true;
}
