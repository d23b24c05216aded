/* strings.c: see strings.h. */
#include "learn/strings.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { FIRST_SLOTS = 1 << 12 };

static uint64_t hash(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then a final mix */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

const char *string_set_at(const string_set *set, uint32_t i, size_t *len)
{
    size_t begin = i > 0 ? set->ends[i - 1] : 0;
    *len = set->ends[i] - begin;
    return set->bytes + begin;
}

/* The slot that holds the string, or the free one where it would go. The table is never full. */
static uint32_t *find_slot(const string_set *set, const char *s, size_t len)
{
    uint32_t mask = set->n_slots - 1;
    for (uint32_t i = (uint32_t)hash(s, len) & mask;; i = (i + 1) & mask) {
        size_t n;
        if (set->slots[i] == 0)
            return &set->slots[i];
        const char *other = string_set_at(set, set->slots[i] - 1, &n);
        if (n == len && memcmp(other, s, len) == 0)
            return &set->slots[i];
    }
}

uint32_t string_set_find(const string_set *set, const char *s, size_t len)
{
    return set->n_slots == 0 ? UINT32_MAX : *find_slot(set, s, len) - 1;
}

static bool grow_slots(string_set *set)
{
    if (set->n_slots != 0 && set->n < set->n_slots / 2)
        return true;
    uint32_t n_slots = set->n_slots == 0 ? FIRST_SLOTS : 2 * set->n_slots;
    uint32_t *slots = n_slots != 0 ? aigc_calloc(n_slots, sizeof *slots) : NULL;
    if (slots == NULL)
        return false;
    free(set->slots);
    set->slots = slots;
    set->n_slots = n_slots;
    for (uint32_t i = 0; i < set->n; i++) {
        size_t len;
        const char *s = string_set_at(set, i, &len);
        *find_slot(set, s, len) = i + 1;
    }
    return true;
}

static bool grow_strings(string_set *set, size_t len)
{
    if (set->n == set->capacity) {
        uint32_t capacity = set->capacity == 0 ? 1024 : 2 * set->capacity;
        size_t *ends = aigc_realloc_array(set->ends, capacity, sizeof *ends);
        if (ends == NULL)
            return false;
        set->ends = ends;
        set->capacity = capacity;
    }
    if (set->bytes_capacity - set->n_bytes < len) {
        size_t capacity = 2 * set->bytes_capacity + len + 4096;
        char *bytes = aigc_realloc_array(set->bytes, capacity, 1);
        if (bytes == NULL)
            return false;
        set->bytes = bytes;
        set->bytes_capacity = capacity;
    }
    return true;
}

uint32_t string_set_add(string_set *set, const char *s, size_t len)
{
    if (!grow_slots(set))
        return UINT32_MAX;
    uint32_t *slot = find_slot(set, s, len);
    if (*slot != 0)
        return *slot - 1;
    if (!grow_strings(set, len))
        return UINT32_MAX;
    memcpy(set->bytes + set->n_bytes, s, len);
    set->n_bytes += len;
    set->ends[set->n++] = set->n_bytes;
    *slot = set->n;
    return set->n - 1;
}

void string_set_free(string_set *set)
{
    free(set->bytes);
    free(set->ends);
    free(set->slots);
    *set = (string_set){0};
}
