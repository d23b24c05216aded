/* keys.h: numbers for byte strings, in the order in which they came. Used for the keys of items and users, for words
 * and for values of attributes; models hold the same table in place (image.h). */
#ifndef AIGC_RECOMMEND_KEYS_H
#define AIGC_RECOMMEND_KEYS_H

#include "aigc.h"

#define KEY_NONE UINT32_MAX

typedef struct key_table {
    char *bytes;
    size_t n_bytes, bytes_capacity;
    uint64_t *start; /* [n + 1] where each key begins in bytes */
    uint32_t n, capacity;
    uint32_t *slots;  /* open addressing; 0: free, else number + 1 */
    uint32_t n_slots; /* a power of two, or 0 */
} key_table;

uint64_t key_hash(const char *data, size_t len);

/* The number of a key, added if need be. KEY_NONE if memory is out. */
uint32_t key_add(key_table *t, const char *data, size_t len);
uint32_t key_find(const key_table *t, const char *data, size_t len);
aigc_string key_at(const key_table *t, uint32_t i);
void key_free(key_table *t);

/* The same on a table that lies in a model and may be anything: every read is checked. */
uint32_t key_find_in(const char *bytes, size_t n_bytes, const uint64_t *start, uint32_t n, const uint32_t *slots,
                     uint32_t n_slots, const char *data, size_t len);

#endif
