/*
 * encoder.h: what one call of tokenizer_encode() works with: the ids so far and memory kept from word to word.
 *
 * Merging takes up to 52 bytes for each symbol of a word. Words are short, but a hostile text can be one word, so their
 * length is bounded: a word of WORD_MAX_SYMBOLS takes less than 1 GB.
 */
#ifndef AIGC_TEXT_ENCODER_H
#define AIGC_TEXT_ENCODER_H

#include "text/merge.h"

enum {
    WORD_MAX_SYMBOLS = 1 << 24,
    STOP_INTERVAL = 1 << 20, /* bytes that are looked through before the interrupt flag is looked at again */
};

typedef struct encoder {
    int32_t *ids;
    size_t n_ids, ids_capacity;
    size_t unknown_end; /* n_ids behind the last id of unknown characters */
    char *word;         /* the text being merged, in the form that tokens have */
    size_t word_capacity;
    merger merger;
    bool word_too_long; /* why a function returned false, if so */
} encoder;

/* These return false if memory is out. */
bool encoder_push(encoder *e, int32_t id);
bool encoder_reserve_word(encoder *e, size_t bytes);
/* Begins to merge a word of at most n symbols. False also if that is too many. */
bool encoder_begin_word(encoder *e, size_t n);

/* How far to look for the end of the word at pos: len, or less if a word that reached so far would have more symbols
 * than may be, each having symbol_bytes at most. */
size_t encoder_word_limit(size_t pos, size_t len, size_t symbol_bytes);

/* Frees everything but ids. */
void encoder_free(encoder *e);

#endif
