/* gguf_index.c: names in GGUF files, and records found by name: open addressing with linear probing. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "format/gguf_internal.h"

/* With at most half of the slots taken, a run this long comes by chance once in 10^10 names. Names made to collide
 * cost this many comparisons each, and are then refused. */
enum { MAX_PROBES = 128 };

size_t gguf_name_check(const char *name, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_character(name + i, len - i);
        if (n == 0 || utf8_is_control(name + i, n))
            return i;
    }
    return len;
}

/* FNV-1a, then the finaliser of MurmurHash3, since FNV's low bits alone are weak. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        h = (h ^ *p) * 0x100000001b3u;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static const void *record_at(const void *records, size_t record_size, uint64_t i)
{
    return (const char *)records + i * record_size;
}

static const char *record_name(const void *record)
{
    return *(const char *const *)record;
}

bool name_index_create(name_index *index, uint64_t n)
{
    size_t n_slots = 8;

    if (n >= UINT32_MAX)
        return false;
    while (n_slots / 2 < n)
        n_slots *= 2;
    index->slots = aigc_calloc(n_slots, sizeof index->slots[0]);
    index->n_slots = index->slots ? n_slots : 0;
    return index->slots != NULL;
}

void name_index_free(name_index *index)
{
    free(index->slots);
    *index = (name_index){NULL, 0};
}

/* Walks the probes of a name: gives the record that has it, or NULL and the free slot (NULL if there are too many). */
static const void *probe(const name_index *index, const void *records, size_t record_size, const char *name,
                         uint64_t hash, uint64_t **free_slot)
{
    *free_slot = NULL;
    for (size_t i = 0; i < MAX_PROBES && i < index->n_slots; i++) {
        uint64_t *slot = &index->slots[(hash + i) & (index->n_slots - 1)];
        const void *record;

        if (*slot == 0) {
            *free_slot = slot;
            return NULL;
        }
        if (*slot >> 32 != hash >> 32)
            continue;
        record = record_at(records, record_size, (*slot & UINT32_MAX) - 1);
        if (strcmp(record_name(record), name) == 0)
            return record;
    }
    return NULL;
}

name_added name_index_add(name_index *index, const void *records, size_t record_size, uint64_t i)
{
    const char *name = record_name(record_at(records, record_size, i));
    uint64_t hash = hash_name(name), *slot;

    if (probe(index, records, record_size, name, hash, &slot))
        return NAME_DUPLICATE;
    if (!slot)
        return NAME_CROWDED;
    *slot = (hash >> 32 << 32) | (i + 1);
    return NAME_ADDED;
}

const void *name_index_find(const name_index *index, const void *records, size_t record_size, const char *name)
{
    uint64_t *slot;

    return probe(index, records, record_size, name, hash_name(name), &slot);
}
