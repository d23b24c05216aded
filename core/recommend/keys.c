/* keys.c: see keys.h. */
#include "recommend/keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { FIRST_SLOTS = 64, MOST_KEYS = 1 << 30 };

/* FNV-1a over words of eight bytes, then splitmix64's finaliser. */
uint64_t key_hash(const char *data, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u ^ len, word;
    size_t i = 0;

    for (; i + 8 <= len; i += 8) {
        memcpy(&word, data + i, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    for (; i < len; i++)
        h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

uint32_t key_find_in(const char *bytes, size_t n_bytes, const uint64_t *start, uint32_t n, const uint32_t *slots,
                     uint32_t n_slots, const char *data, size_t len)
{
    if (n_slots == 0)
        return KEY_NONE;
    uint32_t mask = n_slots - 1, at = (uint32_t)key_hash(data, len) & mask;
    for (uint32_t tries = 0; tries < n_slots; tries++, at = (at + 1) & mask) {
        uint32_t i = slots[at];
        if (i == 0)
            return KEY_NONE;
        if (i > n)
            continue;
        uint64_t begin = start[i - 1], end = start[i];
        if (begin <= end && end <= n_bytes && end - begin == len && (len == 0 || memcmp(bytes + begin, data, len) == 0))
            return i - 1;
    }
    return KEY_NONE;
}

uint32_t key_find(const key_table *t, const char *data, size_t len)
{
    return key_find_in(t->bytes, t->n_bytes, t->start, t->n, t->slots, t->n_slots, data, len);
}

aigc_string key_at(const key_table *t, uint32_t i)
{
    return (aigc_string){t->bytes + t->start[i], t->start[i + 1] - t->start[i]};
}

static void put(uint32_t *slots, uint32_t n_slots, uint64_t hash, uint32_t i)
{
    uint32_t at = (uint32_t)hash & (n_slots - 1);

    while (slots[at])
        at = (at + 1) & (n_slots - 1);
    slots[at] = i + 1;
}

static bool grow_slots(key_table *t)
{
    uint32_t n_slots = t->n_slots ? 2 * t->n_slots : FIRST_SLOTS;
    uint32_t *slots = aigc_calloc(n_slots, sizeof *slots);

    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < t->n; i++) {
        aigc_string key = key_at(t, i);
        put(slots, n_slots, key_hash(key.data, key.len), i);
    }
    free(t->slots);
    t->slots = slots;
    t->n_slots = n_slots;
    return true;
}

static bool grow_keys(key_table *t, size_t len)
{
    if (t->n + 1 >= t->capacity) {
        uint32_t capacity = t->capacity ? 2 * t->capacity : FIRST_SLOTS;
        uint64_t *start = aigc_realloc_array(t->start, (size_t)capacity + 1, sizeof *start);
        if (start == NULL)
            return false;
        if (t->start == NULL)
            start[0] = 0;
        t->start = start;
        t->capacity = capacity;
    }
    if (len > SIZE_MAX / 4 - t->n_bytes)
        return false;
    if (t->bytes == NULL || t->n_bytes + len > t->bytes_capacity) {
        size_t capacity = 2 * (t->n_bytes + len) + FIRST_SLOTS;
        char *bytes = realloc(t->bytes, capacity);
        if (bytes == NULL)
            return false;
        t->bytes = bytes;
        t->bytes_capacity = capacity;
    }
    return true;
}

uint32_t key_add(key_table *t, const char *data, size_t len)
{
    uint32_t found = key_find(t, data, len);

    if (found != KEY_NONE)
        return found;
    if (t->n >= MOST_KEYS || !grow_keys(t, len) || (t->n + 1 > t->n_slots / 2 && !grow_slots(t)))
        return KEY_NONE;
    if (len)
        memcpy(t->bytes + t->n_bytes, data, len);
    t->n_bytes += len;
    t->start[t->n + 1] = t->n_bytes;
    put(t->slots, t->n_slots, key_hash(data, len), t->n);
    return t->n++;
}

void key_free(key_table *t)
{
    free(t->bytes);
    free(t->start);
    free(t->slots);
    *t = (key_table){0};
}
