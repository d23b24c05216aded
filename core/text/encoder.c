/* encoder.c: growing memory of an encoding. */
#include "text/encoder.h"

#include <stdlib.h>

#include "base/memory.h"

bool encoder_push(encoder *e, int32_t id)
{
    if (e->n_ids == e->ids_capacity) {
        size_t capacity = e->ids_capacity + e->ids_capacity / 2 + 64;
        int32_t *ids = aigc_realloc_array(e->ids, capacity, sizeof *ids);

        if (!ids)
            return false;
        e->ids = ids;
        e->ids_capacity = capacity;
    }
    e->ids[e->n_ids++] = id;
    return true;
}

bool encoder_reserve_word(encoder *e, size_t bytes)
{
    char *word;

    if (bytes <= e->word_capacity)
        return true;
    bytes += bytes / 2;
    word = aigc_realloc_array(e->word, bytes, 1);
    if (!word)
        return false;
    e->word = word;
    e->word_capacity = bytes;
    return true;
}

bool encoder_begin_word(encoder *e, size_t n)
{
    e->word_too_long = n > WORD_MAX_SYMBOLS;
    return !e->word_too_long && merger_begin(&e->merger, n);
}

size_t encoder_word_limit(size_t pos, size_t len, size_t symbol_bytes)
{
    size_t too_long = symbol_bytes * (WORD_MAX_SYMBOLS + 1);

    return len - pos > too_long ? pos + too_long : len;
}

void encoder_free(encoder *e)
{
    merger_free(&e->merger);
    free(e->word);
}
