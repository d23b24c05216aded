/* strings.h: byte strings numbered in the order in which they first came. Used by bpe_trainer.c for words and tokens.
 */
#ifndef AIGC_LEARN_STRINGS_H
#define AIGC_LEARN_STRINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct string_set {
    char *bytes; /* of all strings, one after the other */
    size_t n_bytes, bytes_capacity;
    size_t *ends; /* [n] where each ends */
    uint32_t n, capacity;
    uint32_t *slots; /* open addressing: number + 1, or 0 */
    uint32_t n_slots;
} string_set;

/* A zeroed set is empty. The number of the string, which is added if it is new; UINT32_MAX if memory is out. */
uint32_t string_set_add(string_set *set, const char *s, size_t len);

/* The string's number, or UINT32_MAX if it is not there. */
uint32_t string_set_find(const string_set *set, const char *s, size_t len);

const char *string_set_at(const string_set *set, uint32_t i, size_t *len);

void string_set_free(string_set *set);

#endif
