/* pairs.h: how often pairs of symbols stand side by side, where, and which is the most frequent. For bpe_trainer.c. */
#ifndef AIGC_LEARN_PAIRS_H
#define AIGC_LEARN_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pair and the words where it was found; owns words. */
typedef struct pair_candidate {
    int32_t left, right;
    int64_t count;
    uint32_t *words; /* [n_words] each once */
    uint32_t n_words, capacity;
} pair_candidate;

typedef struct pair_entry {
    int32_t left, right;
    int64_t count;
    uint32_t found; /* number + 1 of the list of words that is being gathered, or 0 */
    bool used;
} pair_entry;

/* Counts of all pairs, and the words gathered since pair_table_next_found() last came to its end. */
typedef struct pair_table {
    pair_entry *entries; /* open addressing */
    size_t n, n_entries;
    pair_candidate *found;
    size_t n_found, found_capacity, next_found;
} pair_table;

/* The pair's entry, made with count 0 if it is new; NULL if memory is out. Valid until the next new pair. */
pair_entry *pair_table_get(pair_table *table, int32_t left, int32_t right);

/* Gathers a word for the pair. Words come in ascending runs: the same word twice in a row counts once. */
bool pair_entry_add_word(pair_table *table, pair_entry *entry, uint32_t word);

/* Hands out the gathered pairs one by one, with their present counts; the caller owns the words. False at the end. */
bool pair_table_next_found(pair_table *table, pair_candidate *out);

void pair_table_free(pair_table *table);

/* A heap: the largest count first, then the lower left, then the lower right. */
typedef struct pair_queue {
    pair_candidate *items;
    size_t n, capacity;
} pair_queue;

/* Takes over the candidate's words, also when it fails (memory is out): they are freed then. */
bool pair_queue_push(pair_queue *queue, const pair_candidate *candidate);
bool pair_queue_pop(pair_queue *queue, pair_candidate *out);
void pair_queue_free(pair_queue *queue);

#endif
