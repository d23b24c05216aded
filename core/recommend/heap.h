/* heap.h: the best n of a stream of scored items, in one total order. Used by ranking.c and best.c. */
#ifndef AIGC_RECOMMEND_HEAP_H
#define AIGC_RECOMMEND_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct candidate {
    float score;
    uint32_t item;
    uint64_t tie;
} candidate;

/* A bijection of the item for every seed, so that ties have one order; seed 0 keeps the order of the items. */
static inline uint64_t tie_of(uint64_t seed, uint32_t item)
{
    if (seed == 0)
        return item;
    uint64_t x = seed * 0x9e3779b97f4a7c15u + item;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Whether a comes before b. */
static inline bool before(const candidate *a, const candidate *b)
{
    if (a->score != b->score)
        return a->score > b->score;
    return a->tie != b->tie ? a->tie < b->tie : a->item < b->item;
}

/* heap[0] is the one that would go first if a better one came. */
static inline void sift_down(candidate *heap, size_t n, size_t i)
{
    candidate moved = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child], &heap[child + 1]))
            child++;
        if (!before(&moved, &heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* One more into a heap of *n, which holds no more than `most` (> 0). */
static inline void heap_offer(candidate *heap, size_t *n, size_t most, candidate c)
{
    if (*n < most) {
        heap[(*n)++] = c;
        if (*n == most)
            for (size_t j = most / 2 + 1; j-- > 0;)
                sift_down(heap, most, j);
    } else if (before(&c, &heap[0])) {
        heap[0] = c;
        sift_down(heap, most, 0);
    }
}

/* For qsort(): the best first. */
static inline int in_order(const void *a, const void *b)
{
    return before(a, b) ? -1 : before(b, a);
}

#endif
