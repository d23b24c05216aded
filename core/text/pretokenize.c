/* pretokenize.c: the expressions of pretokenize.h, by hand. */
#include "text/pretokenize.h"

#include <string.h>

#include "text/unicode.h"

enum { NONE = -1 }; /* class of what lies behind the end */

/* Class of the character at pos, *next the position behind it. */
static int class_at(const char *text, size_t pos, size_t len, size_t *next)
{
    size_t n;
    uint32_t c;

    if (pos >= len)
        return NONE;
    c = utf8_decode(text + pos, &n);
    *next = pos + n;
    return (int)unicode_class(c);
}

/* End of the run of characters of one class at pos, at most `max` of them (0: any number). */
static size_t run_end(const char *text, size_t pos, size_t len, int class, int max)
{
    size_t next;

    for (int n = 0; (max == 0 || n < max) && class_at(text, pos, len, &next) == class; n++)
        pos = next;
    return pos;
}

static char lower(char c, bool fold)
{
    return fold && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* 's|'t|'re|'ve|'m|'ll|'d at pos: its end, or pos if there is none. With fold as (?i:...), where U+017F, the long s,
 * is an s too. */
static size_t contraction_end(const char *text, size_t pos, size_t len, bool fold)
{
    char a, b;

    if (text[pos] != '\'' || pos + 1 >= len)
        return pos;
    a = lower(text[pos + 1], fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return pos + 2;
    if (pos + 2 >= len)
        return pos;
    if (fold && memcmp(text + pos + 1, "\xc5\xbf", 2) == 0)
        return pos + 3;
    b = lower(text[pos + 2], fold);
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? pos + 3 : pos;
}

/* \s+(?!\S)|\s+ for the run of spaces from pos to end: all of it at the end of the text, else all but its last
 * character, which belongs to what follows; a single one stands alone. */
static size_t space_end(const char *text, size_t pos, size_t end, size_t len)
{
    size_t last = end;

    if (end == len)
        return end;
    do
        last--;
    while (((unsigned char)text[last] & 0xc0) == 0x80);
    return last > pos ? last : end;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * max_digits 1: the text is cut around each \p{N} first. */
static size_t next_gpt2(const pretokenizer *p, const char *text, size_t pos, size_t len)
{
    size_t begin = pos, end, unused;
    int class;

    end = contraction_end(text, pos, len, false);
    if (end > pos)
        return end;
    if (text[pos] == ' ' && pos + 1 < len)
        begin = pos + 1;
    class = class_at(text, begin, len, &unused);
    if (class == CHAR_NUMBER && p->max_digits)
        return begin > pos ? begin : run_end(text, pos, len, CHAR_NUMBER, p->max_digits);
    if (class != CHAR_SPACE)
        return run_end(text, begin, len, class, 0);
    end = run_end(text, pos, len, CHAR_SPACE, 0);
    if (p->max_digits && class_at(text, end, len, &unused) == CHAR_NUMBER)
        return end;
    return space_end(text, pos, end, len);
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 */
static size_t next_cl100k(const pretokenizer *p, const char *text, size_t pos, size_t len)
{
    size_t begin, next, unused, end = contraction_end(text, pos, len, true);
    int class;

    if (end > pos)
        return end;
    class = class_at(text, pos, len, &next);
    if (class == CHAR_LETTER ||
        (class != CHAR_NUMBER && !is_newline(text[pos]) && class_at(text, next, len, &unused) == CHAR_LETTER))
        return run_end(text, next, len, CHAR_LETTER, 0);
    if (class == CHAR_NUMBER)
        return run_end(text, pos, len, CHAR_NUMBER, p->max_digits);
    begin = text[pos] == ' ' ? next : pos;
    if (class_at(text, begin, len, &unused) == CHAR_OTHER) {
        end = run_end(text, begin, len, CHAR_OTHER, 0);
        while (end < len && is_newline(text[end]))
            end++;
        return end;
    }
    end = run_end(text, pos, len, CHAR_SPACE, 0);
    for (size_t i = end; i > pos; i--)
        if (is_newline(text[i - 1]))
            return i;
    return space_end(text, pos, end, len);
}

/* A missing name counts as "default": files older than the key have none. */
static const pretokenizer pretokenizers[] = {
    {"default gpt-2 phi-2 olmo mpt jais trillion exaone4 gigachat mellum a.x-4.0 granite-docling", next_gpt2, 0, false,
     false},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b", next_gpt2, 1, false, false},
    {"qwen2 deepseek-r1-qwen stablelm2 hunyuan solar-open megrez kormo grok-2", next_cl100k, 1, false, false},
    {"llama-bpe llama3 llama-v3 falcon3 pixtral lfm2", next_cl100k, 3, true, true},
    {"dbrx smaug-bpe chatglm-bpe", next_cl100k, 3, false, false},
    {"glm4", next_cl100k, 3, true, false},
};

/* Whether the words of list, set apart by single spaces, have name among them. */
static bool list_has(const char *list, const char *name, size_t len)
{
    for (const char *word = list; *word;) {
        size_t n = strcspn(word, " ");

        if (n == len && memcmp(word, name, n) == 0)
            return true;
        word += n + (word[n] == ' ');
    }
    return false;
}

const pretokenizer *pretokenizer_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++)
        if (list_has(pretokenizers[i].names, name, len))
            return &pretokenizers[i];
    return NULL;
}
