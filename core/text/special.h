/*
 * special.h: finding the tokens that stand in text as they are ("<|im_start|>", user-defined words). Used by
 * tokenizer.c before the text between them is tokenized.
 */
#ifndef AIGC_TEXT_SPECIAL_H
#define AIGC_TEXT_SPECIAL_H

#include "text/vocab.h"

typedef struct special_entry {
    const char *text;
    uint16_t len;
    uint8_t kind;
    int32_t id;
} special_entry;

/* All control, user-defined and unknown tokens, sorted by their bytes: a trie without nodes. */
typedef struct special_set {
    special_entry *entries;
    size_t n;
    uint32_t first[257]; /* entries that begin with byte b are first[b] to first[b + 1] */
} special_set;

typedef struct special_match {
    size_t begin, end; /* in the text; both where the search stopped if there is none */
    int32_t id;        /* -1 if there is none */
} special_match;

/* Collects the tokens; their kinds must not change afterwards. False if memory is out. */
bool special_open(const vocab *v, special_set *set);
void special_close(special_set *set);

/* The leftmost special token of text[0..len) that begins in [pos, stop), the longest if several begin there. With `all`
 * false only user-defined tokens that are not control tokens count. */
special_match special_find(const special_set *set, const char *text, size_t pos, size_t stop, size_t len, bool all);

#endif
