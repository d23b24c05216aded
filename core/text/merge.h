/*
 * merge.h: joining neighbouring symbols of a word, the most urgent pair first, until no pair may be joined. This is
 * what byte-level BPE (urgency: the rank of the merge) and SentencePiece (the score of the result) share.
 */
#ifndef AIGC_TEXT_MERGE_H
#define AIGC_TEXT_MERGE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct merge_symbol {
    uint32_t start, len; /* bytes in the word's text; len 0: joined to a symbol on its left */
    int32_t prev, next;  /* -1 at the ends */
    int32_t id;          /* token, or -1 */
} merge_symbol;

typedef struct merge_pair {
    uint64_t order; /* priority, then the symbol on the left: what the heap is ordered by */
    uint32_t len;   /* of both symbols together when the pair was seen: if it differs now, the pair is no more */
    int32_t id;     /* the token that the pair makes */
} merge_pair;

/* Working memory, kept from word to word. Begins as all zeros. */
typedef struct merger {
    merge_symbol *symbols; /* [n], in the order of the text; follow next from symbols[0] */
    size_t n, capacity;
    merge_pair *heap;
    size_t n_heap, heap_capacity;
    const volatile sig_atomic_t *interrupt; /* NULL, or what stops long work when it becomes non-zero */
    bool interrupted;                       /* and has */
} merger;

/* Whether to give up. The flag may be taken back at any time, so the answer is kept. */
static inline bool merger_stopped(merger *m)
{
    if (m->interrupt && *m->interrupt)
        m->interrupted = true;
    return m->interrupted;
}

/* Whether text[0..left_len) and text[left_len..len) may be joined; lower priority goes first. */
typedef bool (*merge_rule)(const void *context, const char *text, size_t left_len, size_t len, uint32_t *priority,
                           int32_t *id);

/* Begins a word of at most n symbols. False if memory is out. */
bool merger_begin(merger *m, size_t n);
void merger_add(merger *m, size_t start, size_t len, int32_t id);

/* Joins pairs by priority, the leftmost first among equals. Time O(n log n). False if it was stopped. */
bool merger_run(merger *m, const char *text, merge_rule rule, const void *context);

void merger_free(merger *m);

#endif
