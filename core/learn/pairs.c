/* pairs.c: see pairs.h. */
#include "learn/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { FIRST_ENTRIES = 1 << 12 };

static size_t hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return (size_t)(h ^ h >> 32);
}

static pair_entry *find(pair_entry *entries, size_t n_entries, int32_t left, int32_t right)
{
    size_t i = hash(left, right) & (n_entries - 1);
    while (entries[i].used && (entries[i].left != left || entries[i].right != right))
        i = (i + 1) & (n_entries - 1);
    return &entries[i];
}

static bool grow_entries(pair_table *table)
{
    if (table->n_entries != 0 && table->n < table->n_entries / 2)
        return true;
    size_t n_entries = table->n_entries == 0 ? FIRST_ENTRIES : 2 * table->n_entries;
    pair_entry *entries = aigc_calloc(n_entries, sizeof *entries);
    if (entries == NULL)
        return false;
    for (size_t i = 0; i < table->n_entries; i++)
        if (table->entries[i].used)
            *find(entries, n_entries, table->entries[i].left, table->entries[i].right) = table->entries[i];
    free(table->entries);
    table->entries = entries;
    table->n_entries = n_entries;
    return true;
}

pair_entry *pair_table_get(pair_table *table, int32_t left, int32_t right)
{
    if (!grow_entries(table))
        return NULL;
    pair_entry *entry = find(table->entries, table->n_entries, left, right);
    if (!entry->used) {
        *entry = (pair_entry){.left = left, .right = right, .used = true};
        table->n++;
    }
    return entry;
}

static bool begin_found(pair_table *table, pair_entry *entry)
{
    if (table->n_found == table->found_capacity) {
        size_t capacity = 2 * table->found_capacity + 256;
        pair_candidate *found = aigc_realloc_array(table->found, capacity, sizeof *found);
        if (found == NULL)
            return false;
        table->found = found;
        table->found_capacity = capacity;
    }
    table->found[table->n_found++] = (pair_candidate){.left = entry->left, .right = entry->right};
    entry->found = (uint32_t)table->n_found;
    return true;
}

bool pair_entry_add_word(pair_table *table, pair_entry *entry, uint32_t word)
{
    if (entry->found == 0 && !begin_found(table, entry))
        return false;
    pair_candidate *f = &table->found[entry->found - 1];
    if (f->n_words > 0 && f->words[f->n_words - 1] == word)
        return true;
    if (f->n_words == f->capacity) {
        uint32_t capacity = 2 * f->capacity + 4;
        uint32_t *words = aigc_realloc_array(f->words, capacity, sizeof *words);
        if (words == NULL)
            return false;
        f->words = words;
        f->capacity = capacity;
    }
    f->words[f->n_words++] = word;
    return true;
}

bool pair_table_next_found(pair_table *table, pair_candidate *out)
{
    if (table->next_found == table->n_found) {
        table->next_found = table->n_found = 0;
        return false;
    }
    *out = table->found[table->next_found++];
    pair_entry *entry = find(table->entries, table->n_entries, out->left, out->right);
    entry->found = 0;
    out->count = entry->count;
    return true;
}

void pair_table_free(pair_table *table)
{
    for (size_t i = table->next_found; i < table->n_found; i++)
        free(table->found[i].words);
    free(table->found);
    free(table->entries);
    *table = (pair_table){0};
}

/* ---- the queue ---- */

static bool before(const pair_candidate *a, const pair_candidate *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

bool pair_queue_push(pair_queue *queue, const pair_candidate *candidate)
{
    if (queue->n == queue->capacity) {
        size_t capacity = 2 * queue->capacity + 1024;
        pair_candidate *items = aigc_realloc_array(queue->items, capacity, sizeof *items);
        if (items == NULL) {
            free(candidate->words);
            return false;
        }
        queue->items = items;
        queue->capacity = capacity;
    }
    size_t i = queue->n++;
    for (; i > 0 && before(candidate, &queue->items[(i - 1) / 2]); i = (i - 1) / 2)
        queue->items[i] = queue->items[(i - 1) / 2];
    queue->items[i] = *candidate;
    return true;
}

bool pair_queue_pop(pair_queue *queue, pair_candidate *out)
{
    if (queue->n == 0)
        return false;
    *out = queue->items[0];
    pair_candidate last = queue->items[--queue->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= queue->n)
            break;
        if (child + 1 < queue->n && before(&queue->items[child + 1], &queue->items[child]))
            child++;
        if (!before(&queue->items[child], &last))
            break;
        queue->items[i] = queue->items[child];
        i = child;
    }
    queue->items[i] = last;
    return true;
}

void pair_queue_free(pair_queue *queue)
{
    for (size_t i = 0; i < queue->n; i++)
        free(queue->items[i].words);
    free(queue->items);
    *queue = (pair_queue){0};
}
