/* encoder.h: what one call of tokenizer_encode() works with: the ids so far and memory kept from word to word. */
#ifndef AIGC_TEXT_ENCODER_H
#define AIGC_TEXT_ENCODER_H

#include "text/merge.h"

typedef struct encoder {
    int32_t *ids;
    size_t n_ids, ids_capacity;
    char *word; /* the text being merged, in the form that tokens have */
    size_t word_capacity;
    merger merger;
} encoder;

/* Both return false if memory is out. */
bool encoder_push(encoder *e, int32_t id);
bool encoder_reserve_word(encoder *e, size_t bytes);

/* Frees everything but ids. */
void encoder_free(encoder *e);

#endif
