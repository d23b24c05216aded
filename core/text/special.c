/* special.c: a sorted array searched byte by byte. */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const uint8_t SPECIAL = TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN;

static int compare_entries(const void *a, const void *b)
{
    const special_entry *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

    if (order)
        return order;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

bool special_open(const vocab *v, special_set *set)
{
    size_t n = 0;

    *set = (special_set){0};
    for (int32_t id = 0; id < v->n; id++)
        n += v->tokens[id].len && (v->tokens[id].kind & SPECIAL);
    set->entries = aigc_calloc(n, sizeof *set->entries);
    if (!set->entries)
        return false;
    for (int32_t id = 0; id < v->n; id++)
        if (v->tokens[id].len && (v->tokens[id].kind & SPECIAL))
            set->entries[set->n++] = (special_entry){vocab_text(v, id), v->tokens[id].len, v->tokens[id].kind, id};
    qsort(set->entries, set->n, sizeof *set->entries, compare_entries);
    for (size_t i = 0; i < set->n; i++)
        set->first[(unsigned char)set->entries[i].text[0] + 1]++;
    for (int b = 0; b < 256; b++)
        set->first[b + 1] += set->first[b];
    return true;
}

void special_close(special_set *set)
{
    free(set->entries);
    *set = (special_set){0};
}

static bool counts(const special_entry *e, bool all)
{
    return all || (e->kind & SPECIAL) == TOKEN_USER;
}

/* First entry of [lo, hi), which agree up to `depth`, whose byte there is at least c. */
static size_t lower_bound(const special_set *set, size_t lo, size_t hi, size_t depth, int c)
{
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;

        if ((unsigned char)set->entries[middle].text[depth] < c)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

/* The longest entry that text[0..len) begins with, or NULL. */
static const special_entry *match_here(const special_set *set, const char *text, size_t len, bool all)
{
    const special_entry *best = NULL;
    unsigned char c = (unsigned char)text[0];
    size_t lo = set->first[c], hi = set->first[c + 1];

    for (size_t depth = 1; lo < hi; depth++) {
        const special_entry *e = &set->entries[lo];

        for (; lo < hi && set->entries[lo].len == depth; lo++)
            if (counts(&set->entries[lo], all) && (!best || best->len < depth))
                best = &set->entries[lo];
        if (lo == hi || depth == len)
            break;
        e = &set->entries[lo];
        if (hi - lo == 1)
            return e->len <= len && counts(e, all) && memcmp(e->text, text, e->len) == 0 ? e : best;
        c = (unsigned char)text[depth];
        lo = lower_bound(set, lo, hi, depth, c);
        hi = lower_bound(set, lo, hi, depth, c + 1);
    }
    return best;
}

special_match special_find(const special_set *set, const char *text, size_t pos, size_t stop, size_t len, bool all)
{
    for (; pos < stop; pos++) {
        unsigned char c = (unsigned char)text[pos];

        if (set->first[c] < set->first[c + 1]) {
            const special_entry *e = match_here(set, text + pos, len - pos, all);

            if (e)
                return (special_match){pos, pos + e->len, e->id};
        }
    }
    return (special_match){stop, stop, -1};
}
