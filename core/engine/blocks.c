/* blocks.c: see blocks.h. */
#include "engine/blocks.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct block {
    int32_t tokens[KV_BLOCK];
    int n_tokens; /* 0: not in the tree */
    int users;
    int parent, first_child, next_sibling, previous_sibling;
    int older, newer; /* list of blocks in the tree that nobody uses */
} block;

struct block_pool {
    int n_blocks, n_free, n_unused, n_promised;
    int n_cached; /* bound on n_unused */
    int *free;    /* [n_blocks] a stack */
    int oldest, newest;
    int first_root;
    block *blocks;
};

aigc_status block_pool_create(int n_blocks, int n_cached, block_pool **out, aigc_error *err)
{
    block_pool *pool = aigc_calloc(1, sizeof *pool);
    if (pool != NULL) {
        pool->free = aigc_calloc((size_t)n_blocks, sizeof *pool->free);
        pool->blocks = aigc_calloc((size_t)n_blocks, sizeof *pool->blocks);
    }
    if (pool == NULL || pool->free == NULL || pool->blocks == NULL) {
        block_pool_destroy(pool);
        return aigc_fail_memory(err, "the table of KV blocks", (size_t)n_blocks * sizeof *pool->blocks);
    }
    pool->n_blocks = pool->n_free = n_blocks;
    pool->n_cached = n_cached;
    pool->oldest = pool->newest = pool->first_root = NO_BLOCK;
    for (int i = 0; i < n_blocks; i++)
        pool->free[i] = n_blocks - 1 - i; /* low numbers first: they share pages */
    *out = pool;
    return AIGC_OK;
}

void block_pool_destroy(block_pool *pool)
{
    if (pool == NULL)
        return;
    free(pool->free);
    free(pool->blocks);
    free(pool);
}

int blocks_available(const block_pool *pool)
{
    return pool->n_free + pool->n_unused - pool->n_promised;
}

bool blocks_promise(block_pool *pool, int n)
{
    if (blocks_available(pool) < n)
        return false;
    pool->n_promised += n;
    return true;
}

void blocks_unpromise(block_pool *pool, int n)
{
    pool->n_promised -= n;
}

/* ---- the list of unused blocks ---- */

static void unused_append(block_pool *pool, int i)
{
    block *b = &pool->blocks[i];
    b->older = pool->newest;
    b->newer = NO_BLOCK;
    *(pool->newest == NO_BLOCK ? &pool->oldest : &pool->blocks[pool->newest].newer) = i;
    pool->newest = i;
    pool->n_unused++;
}

static void unused_remove(block_pool *pool, int i)
{
    const block *b = &pool->blocks[i];
    *(b->older == NO_BLOCK ? &pool->oldest : &pool->blocks[b->older].newer) = b->newer;
    *(b->newer == NO_BLOCK ? &pool->newest : &pool->blocks[b->newer].older) = b->older;
    pool->n_unused--;
}

/* ---- the tree ---- */

static int *children_of(block_pool *pool, int parent)
{
    return parent == NO_BLOCK ? &pool->first_root : &pool->blocks[parent].first_child;
}

static void tree_insert(block_pool *pool, int parent, int i)
{
    block *b = &pool->blocks[i];
    int *first = children_of(pool, parent);
    b->parent = parent;
    b->first_child = NO_BLOCK;
    b->previous_sibling = NO_BLOCK;
    b->next_sibling = *first;
    if (*first != NO_BLOCK)
        pool->blocks[*first].previous_sibling = i;
    *first = i;
}

static void tree_remove(block_pool *pool, int i)
{
    block *b = &pool->blocks[i];
    if (b->previous_sibling != NO_BLOCK)
        pool->blocks[b->previous_sibling].next_sibling = b->next_sibling;
    else
        *children_of(pool, b->parent) = b->next_sibling;
    if (b->next_sibling != NO_BLOCK)
        pool->blocks[b->next_sibling].previous_sibling = b->previous_sibling;
    b->n_tokens = 0;
}

/* Frees the longest unused block. It has no children: they would be older still, or in use and it with them. */
static void forget_oldest(block_pool *pool)
{
    int victim = pool->oldest;
    unused_remove(pool, victim);
    tree_remove(pool, victim);
    pool->free[pool->n_free++] = victim;
}

/* ---- users ---- */

int block_take(block_pool *pool)
{
    if (pool->n_free == 0)
        forget_oldest(pool);
    int i = pool->free[--pool->n_free];
    pool->n_promised--;
    pool->blocks[i].users = 1;
    pool->blocks[i].n_tokens = 0;
    return i;
}

void block_share(block_pool *pool, int i)
{
    if (pool->blocks[i].users++ == 0)
        unused_remove(pool, i);
}

void block_release(block_pool *pool, int i)
{
    if (--pool->blocks[i].users > 0)
        return;
    if (pool->blocks[i].n_tokens == 0) {
        pool->free[pool->n_free++] = i;
        return;
    }
    unused_append(pool, i);
    if (pool->n_unused > pool->n_cached)
        forget_oldest(pool);
}

/* ---- prefixes ---- */

static int common_prefix(const int32_t *a, int n_a, const int32_t *b, int n_b)
{
    int n = 0;
    while (n < n_a && n < n_b && a[n] == b[n])
        n++;
    return n;
}

int blocks_match(const block_pool *pool, const int32_t *tokens, int n, int32_t *blocks, int *partial, int *n_partial)
{
    int n_blocks = 0, child = pool->first_root;
    *partial = NO_BLOCK;
    *n_partial = 0;
    while (child != NO_BLOCK) {
        int best = NO_BLOCK, most = 0;
        for (; child != NO_BLOCK; child = pool->blocks[child].next_sibling) {
            const block *b = &pool->blocks[child];
            int common = common_prefix(b->tokens, b->n_tokens, tokens + n_blocks * KV_BLOCK, n - n_blocks * KV_BLOCK);
            if (common > most) {
                most = common;
                best = child;
            }
        }
        if (most < KV_BLOCK) {
            *partial = best;
            *n_partial = most;
            break;
        }
        blocks[n_blocks++] = best;
        child = pool->blocks[best].first_child;
    }
    return n_blocks;
}

int block_publish(block_pool *pool, int parent, int i, const int32_t *tokens, int n)
{
    for (int child = *children_of(pool, parent); child != NO_BLOCK; child = pool->blocks[child].next_sibling) {
        const block *other = &pool->blocks[child];
        if (other->n_tokens >= n && memcmp(other->tokens, tokens, (size_t)n * sizeof *tokens) == 0) {
            block_share(pool, child);
            block_release(pool, i); /* its tokens are not known: it is free now */
            return child;
        }
    }
    block *b = &pool->blocks[i];
    memcpy(b->tokens, tokens, (size_t)n * sizeof *tokens);
    b->n_tokens = n;
    tree_insert(pool, parent, i);
    return i;
}
