/*
 * blocks.h: who uses which block of the KV cache, and which blocks hold which tokens.
 *
 * Blocks are counted by the sequences that use them. Blocks whose tokens are known stand in a tree: a block's parent
 * holds the tokens before its own, so a path from the root is a prefix, compared token by token. Blocks that nobody
 * uses stay in the tree until their memory is needed or there are too many of them, the longest unused first. Used by
 * the engine.
 */
#ifndef AIGC_ENGINE_BLOCKS_H
#define AIGC_ENGINE_BLOCKS_H

#include "base/error.h"
#include "tensor/kernels.h"

enum { NO_BLOCK = -1 };

typedef struct block_pool block_pool;

/* At most n_cached blocks stay in the tree unused. Others are taken before those that never were, whose pages the
 * system has not been asked for yet. */
aigc_status block_pool_create(int n_blocks, int n_cached, block_pool **out, aigc_error *err);
void block_pool_destroy(block_pool *pool); /* NULL is allowed */

/* Blocks that are free or only cached, less those that are promised. */
int blocks_available(const block_pool *pool);

/* Promises n blocks, so that block_take() can't fail for whoever holds the promise. False if there are not so many. */
bool blocks_promise(block_pool *pool, int n);
void blocks_unpromise(block_pool *pool, int n);

/* Redeems one promise: a block with one user and no tokens known. */
int block_take(block_pool *pool);

/* One more user. */
void block_share(block_pool *pool, int block);

/* One user less. A sequence releases its blocks last position first: then no block outlives its parent in the tree. */
void block_release(block_pool *pool, int block);

/* Finds the longest cached prefix of tokens[0..n): fills blocks[] with whole blocks, returns how many. *partial is a
 * block whose first *n_partial tokens go on from there, or NO_BLOCK. No users are counted yet. */
int blocks_match(const block_pool *pool, const int32_t *tokens, int n, int32_t *blocks, int *partial, int *n_partial);

/* Makes the n tokens that a block holds known, under its parent (NO_BLOCK: at the root). If another block already holds
 * them, the user moves there: the return value is the block to use from now on. */
int block_publish(block_pool *pool, int parent, int block, const int32_t *tokens, int n);

#endif
