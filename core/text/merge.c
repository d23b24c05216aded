/* merge.c: a doubly linked row of symbols and a heap of the pairs that may be joined. */
#include "text/merge.h"

#include <stdlib.h>

#include "base/memory.h"

enum { HEAP_WAYS = 8 }; /* children of a node: words of a megabyte have heaps beyond the near caches, so few levels */

/* More than asked for, so that slowly growing words do not reallocate each time. */
static size_t room_for(size_t n)
{
    return n + (n < 4096 ? n : 4096);
}

bool merger_begin(merger *m, size_t n)
{
    m->n = m->n_heap = 0;
    if (n > m->capacity) {
        size_t capacity = room_for(n);
        merge_symbol *symbols = aigc_realloc_array(m->symbols, capacity, sizeof *symbols);

        if (!symbols)
            return false;
        m->symbols = symbols;
        m->capacity = capacity;
    }
    /* n - 1 pairs at first; each of at most n - 1 joins takes one out and puts at most two in. */
    if (2 * n > m->heap_capacity) {
        size_t capacity = room_for(2 * n);
        merge_pair *heap = aigc_realloc_array(m->heap, capacity, sizeof *heap);

        if (!heap)
            return false;
        m->heap = heap;
        m->heap_capacity = capacity;
    }
    return true;
}

void merger_add(merger *m, size_t start, size_t len, int32_t id)
{
    int32_t i = (int32_t)m->n++;

    m->symbols[i] = (merge_symbol){(uint32_t)start, (uint32_t)len, i - 1, -1, id};
    if (i > 0)
        m->symbols[i - 1].next = i;
}

static void sift_down(merge_pair *heap, size_t n, size_t i, merge_pair pair)
{
    for (size_t child; (child = HEAP_WAYS * i + 1) < n; i = child) {
        size_t end = child + HEAP_WAYS < n ? child + HEAP_WAYS : n;

        for (size_t other = child + 1; other < end; other++)
            child = heap[other].order < heap[child].order ? other : child;
        if (heap[child].order >= pair.order)
            break;
        heap[i] = heap[child];
    }
    heap[i] = pair;
}

static void heap_push(merger *m, merge_pair pair)
{
    size_t i = m->n_heap++;

    for (size_t parent; i > 0 && pair.order < m->heap[parent = (i - 1) / HEAP_WAYS].order; i = parent)
        m->heap[i] = m->heap[parent];
    m->heap[i] = pair;
}

static merge_pair heap_pop(merger *m)
{
    merge_pair top = m->heap[0];

    m->n_heap--;
    if (m->n_heap > 0)
        sift_down(m->heap, m->n_heap, 0, m->heap[m->n_heap]);
    return top;
}

/* Looks at symbol i and its neighbour on the right; true if they may be joined. */
static bool see_pair(const merger *m, const char *text, int32_t i, merge_rule rule, const void *context,
                     merge_pair *pair)
{
    const merge_symbol *left = &m->symbols[i];
    uint32_t priority;

    if (left->next < 0)
        return false;
    pair->len = left->len + m->symbols[left->next].len;
    if (!rule(context, text + left->start, left->len, pair->len, &priority, &pair->id))
        return false;
    pair->order = (uint64_t)priority << 32 | (uint32_t)i;
    return true;
}

static void join(merger *m, const merge_pair *pair)
{
    int32_t at = (int32_t)(uint32_t)pair->order;
    merge_symbol *left = &m->symbols[at], *right = &m->symbols[left->next];

    left->len = pair->len;
    left->id = pair->id;
    left->next = right->next;
    right->len = 0;
    if (right->next >= 0)
        m->symbols[right->next].prev = at;
}

bool merger_run(merger *m, const char *text, merge_rule rule, const void *context)
{
    merge_pair pair;

    for (size_t i = 0; i + 1 < m->n && !merger_stopped(m); i++)
        if (see_pair(m, text, (int32_t)i, rule, context, &pair))
            m->heap[m->n_heap++] = pair;
    for (size_t i = (m->n_heap + HEAP_WAYS - 2) / HEAP_WAYS; i-- > 0 && !merger_stopped(m);)
        sift_down(m->heap, m->n_heap, i, m->heap[i]);
    while (m->n_heap > 0 && !merger_stopped(m)) {
        const merge_symbol *left;

        pair = heap_pop(m);
        left = &m->symbols[(uint32_t)pair.order];
        if (left->len == 0 || left->next < 0 || left->len + m->symbols[left->next].len != pair.len)
            continue;
        join(m, &pair);
        if (left->prev >= 0 && see_pair(m, text, left->prev, rule, context, &pair))
            heap_push(m, pair);
        if (see_pair(m, text, (int32_t)(left - m->symbols), rule, context, &pair))
            heap_push(m, pair);
    }
    return !m->interrupted;
}

void merger_free(merger *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (merger){0};
}
