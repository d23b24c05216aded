/*
 * ngram.h: counts of token n-grams that can be taken back. Used by personal.c.
 *
 * What is added and removed are whole n-grams: a token after NGRAM_ORDER - 1 others (NGRAM_EDGE stands for those before
 * a text begins). Shorter ones count how many different tokens stand before them, as in Kneser-Ney smoothing: a shorter
 * one is added when a longer one that ends in it is seen for the first time, and removed when the last such one goes.
 * So the table is a function of the multiset of whole n-grams in it: removing what was added leaves no trace, whatever
 * happened in between. (Cache language models: Kuhn and De Mori, 1990. Counting types for the shorter contexts: Kneser
 * and Ney, 1995.)
 *
 * Contexts form a tree: a context's parent lacks its oldest token, the root is the empty one. The table is bounded:
 * when it is full, the quarter of the whole n-grams that has not been added to for the longest time is dropped.
 *
 * One thread at a time; reading (ngram_match and what it leads to) may go on in several while nobody writes.
 */
#ifndef AIGC_ENGINE_NGRAM_H
#define AIGC_ENGINE_NGRAM_H

#include "aigc.h"
#include "base/error.h"

enum {
    NGRAM_ORDER = AIGC_PERSONAL_ORDER,
    NGRAM_EDGE = -1,
    NGRAM_ROOT = 0,
    NGRAM_NONE = 0, /* no n-gram: they are numbered from 1 */
};

typedef struct ngram_context {
    uint64_t key;    /* parent << 32 | oldest token */
    uint32_t total;  /* sum of its n-grams' counts */
    uint32_t types;  /* how many there are */
    uint32_t first;  /* one of them, the head of a list, or NGRAM_NONE */
    uint32_t longer; /* contexts whose parent this is */
} ngram_context;

typedef struct ngram {
    uint64_t key; /* context << 32 | token */
    uint32_t count;
    uint32_t touched;        /* when it was last added, for whole ones: the caller's clock */
    uint32_t previous, next; /* in the context's list */
} ngram;

/* Open addressing over an array of things that begin with their key; see ngram.c. */
typedef struct ngram_index {
    uint32_t *slots; /* number + 1, 0: free */
    uint32_t mask;
} ngram_index;

typedef struct ngram_table {
    ngram_context *contexts; /* [n_contexts] free ones have total 0 and are linked by key */
    ngram *ngrams;           /* [n_ngrams], the first is not used; free ones have count 0 and are linked by key */
    uint32_t n_contexts, contexts_capacity, free_context;
    uint32_t n_ngrams, ngrams_capacity, free_ngram;
    uint32_t n_live, n_live_contexts; /* less the free ones */
    uint32_t n_most;                  /* bound on n_live */
    ngram_index context_index, ngram_index;
} ngram_table;

/* n_most: bound on the number of n-grams of all lengths, at least 1000. */
aigc_status ngram_open(ngram_table *t, size_t n_most, aigc_error *err);
void ngram_close(ngram_table *t);

/* Adds `count` times the n-gram of tokens[NGRAM_ORDER], oldest first. AIGC_E_MEMORY: nothing has changed. */
aigc_status ngram_add(ngram_table *t, const int32_t *tokens, uint32_t count, uint32_t clock, aigc_error *err);

/* Takes one occurrence back. False if there is none. */
bool ngram_remove(ngram_table *t, const int32_t *tokens);

/* Removes all occurrences of n-gram number i. */
void ngram_drop(ngram_table *t, uint32_t i);

/* Forgets everything, keeping the memory. */
void ngram_clear(ngram_table *t);

/* The contexts of 0, 1, ... tokens that the end of history[0..n) is, as long as they are known. Returns how many (at
 * least the root, at most NGRAM_ORDER). */
int ngram_match(const ngram_table *t, const int32_t *history, size_t n, const ngram_context *contexts[NGRAM_ORDER]);

/* How often token came in a context. */
uint32_t ngram_count(const ngram_table *t, const ngram_context *context, int32_t token);

/* The number of a whole n-gram, or NGRAM_NONE. */
uint32_t ngram_find(const ngram_table *t, const int32_t *tokens);

/* Whether number i, 1 <= i < n_ngrams, is a whole n-gram in use; then its tokens too. */
bool ngram_whole(const ngram_table *t, uint32_t i, int32_t tokens[NGRAM_ORDER]);

static inline int32_t ngram_token(const ngram *g)
{
    return (int32_t)(uint32_t)g->key;
}

#endif
