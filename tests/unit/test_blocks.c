/* Blocks of the KV cache: prefixes found token by token, shared by count, the longest unused given up first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/blocks.h"

static block_pool *open_bounded(int n, int n_cached)
{
    block_pool *pool = NULL;
    assert_int_equal(block_pool_create(n, n_cached, &pool, NULL), AIGC_OK);
    return pool;
}

static block_pool *open_pool(int n)
{
    return open_bounded(n, n);
}

/* Token t of text number `text`; texts agree in their first `shared` tokens. */
static void make_text(int32_t *tokens, int n, int text, int shared)
{
    for (int i = 0; i < n; i++)
        tokens[i] = i < shared ? i : 1000 * text + i;
}

static int take(block_pool *pool)
{
    assert_true(blocks_promise(pool, 1));
    return block_take(pool);
}

static int match(block_pool *pool, const int32_t *tokens, int n, int32_t *blocks, int *n_partial)
{
    int partial;
    return blocks_match(pool, tokens, n, blocks, &partial, n_partial);
}

static void prefixes_are_found(void **state)
{
    (void)state;
    enum { N = 3 * KV_BLOCK };
    block_pool *pool = open_pool(8);
    int32_t tokens[N], blocks[8];
    make_text(tokens, N, 1, 0);
    int a = take(pool), b = take(pool), c = take(pool), n_partial;
    assert_int_equal(match(pool, tokens, N, blocks, &n_partial), 0);
    assert_int_equal(block_publish(pool, NO_BLOCK, a, tokens, KV_BLOCK), a);
    assert_int_equal(block_publish(pool, a, b, tokens + KV_BLOCK, KV_BLOCK), b);
    assert_int_equal(block_publish(pool, b, c, tokens + 2 * KV_BLOCK, 5), c);

    assert_int_equal(match(pool, tokens, N, blocks, &n_partial), 2);
    assert_int_equal(blocks[0], a);
    assert_int_equal(blocks[1], b);
    assert_int_equal(n_partial, 5);
    assert_int_equal(match(pool, tokens, 2 * KV_BLOCK - 1, blocks, &n_partial), 1);
    assert_int_equal(n_partial, KV_BLOCK - 1);
    tokens[KV_BLOCK + 3] = -7;
    assert_int_equal(match(pool, tokens, N, blocks, &n_partial), 1);
    assert_int_equal(n_partial, 3);
    block_pool_destroy(pool);
}

static void equal_blocks_are_merged(void **state)
{
    (void)state;
    block_pool *pool = open_pool(4);
    int32_t tokens[KV_BLOCK];
    make_text(tokens, KV_BLOCK, 1, 0);
    int a = take(pool), b = take(pool);
    assert_int_equal(block_publish(pool, NO_BLOCK, a, tokens, KV_BLOCK), a);
    assert_int_equal(block_publish(pool, NO_BLOCK, b, tokens, KV_BLOCK), a);
    assert_int_equal(blocks_available(pool), 3); /* b is free again, a has two users */
    block_release(pool, a);
    assert_int_equal(blocks_available(pool), 3);
    block_release(pool, a);
    assert_int_equal(blocks_available(pool), 4);
    block_pool_destroy(pool);
}

static void promises_bound_memory(void **state)
{
    (void)state;
    block_pool *pool = open_pool(4);
    assert_true(blocks_promise(pool, 3));
    assert_false(blocks_promise(pool, 2));
    assert_true(blocks_promise(pool, 1));
    assert_int_equal(blocks_available(pool), 0);
    for (int i = 0; i < 4; i++)
        block_take(pool);
    assert_int_equal(blocks_available(pool), 0);
    assert_false(blocks_promise(pool, 1));
    block_pool_destroy(pool);
}

static void oldest_is_given_up_first(void **state)
{
    (void)state;
    block_pool *pool = open_pool(4);
    int32_t texts[3][2 * KV_BLOCK], blocks[4];
    int n_partial;
    for (int i = 0; i < 2; i++) { /* two texts of two blocks fill the pool */
        make_text(texts[i], 2 * KV_BLOCK, i + 1, 0);
        int a = take(pool), b = take(pool);
        block_publish(pool, NO_BLOCK, a, texts[i], KV_BLOCK);
        block_publish(pool, a, b, texts[i] + KV_BLOCK, KV_BLOCK);
        block_release(pool, b);
        block_release(pool, a);
    }
    assert_int_equal(blocks_available(pool), 4);
    take(pool); /* costs the end of the older text, not its beginning and not the newer one */
    assert_int_equal(match(pool, texts[0], 2 * KV_BLOCK, blocks, &n_partial), 1);
    assert_int_equal(match(pool, texts[1], 2 * KV_BLOCK, blocks, &n_partial), 2);
    take(pool);
    assert_int_equal(match(pool, texts[0], 2 * KV_BLOCK, blocks, &n_partial), 0);
    assert_int_equal(match(pool, texts[1], 2 * KV_BLOCK, blocks, &n_partial), 2);
    block_pool_destroy(pool);
}

/* Memory is touched for what runs and what the cache may keep, not for all that there might be. */
static void cached_blocks_are_bounded(void **state)
{
    (void)state;
    enum { POOL = 100, CACHED = 5, N = 2 };
    block_pool *pool = open_bounded(POOL, CACHED);
    int32_t tokens[N * KV_BLOCK], blocks[N];
    int highest = 0, n_partial;
    for (int text = 1; text <= 1000; text++) {
        make_text(tokens, N * KV_BLOCK, text, 0);
        int a = take(pool), b = take(pool);
        block_publish(pool, NO_BLOCK, a, tokens, KV_BLOCK);
        block_publish(pool, a, b, tokens + KV_BLOCK, KV_BLOCK);
        block_release(pool, b);
        block_release(pool, a);
        highest = a > highest ? a : highest;
        highest = b > highest ? b : highest;
        assert_int_equal(blocks_available(pool), POOL);
    }
    assert_int_equal(highest, CACHED + N - 1);
    int found = 0;
    for (int text = 1; text <= 1000; text++) {
        make_text(tokens, N * KV_BLOCK, text, 0);
        found += match(pool, tokens, N * KV_BLOCK, blocks, &n_partial);
    }
    assert_int_equal(found, CACHED); /* the two last texts and the beginning of the one before */
    block_pool_destroy(pool);
}

/* A random life of many sequences against what must always hold. */
static void many_sequences_in(int n_cached)
{
    enum { POOL = 40, SEQUENCES = 6, MOST = 8, ROUNDS = 10000 };
    block_pool *pool = open_bounded(POOL, n_cached);
    struct {
        int32_t tokens[MOST * KV_BLOCK], blocks[MOST];
        int n;
    } live[SEQUENCES];
    memset(live, 0, sizeof live);
    srand(1);
    for (int round = 0; round < ROUNDS; round++) {
        int s = rand() % SEQUENCES;
        for (int i = live[s].n - 1; i >= 0; i--)
            block_release(pool, live[s].blocks[i]);
        int n = 1 + rand() % MOST, n_partial, used = 0;
        make_text(live[s].tokens, n * KV_BLOCK, rand() % 5, rand() % (n * KV_BLOCK));
        int shared = match(pool, live[s].tokens, n * KV_BLOCK, live[s].blocks, &n_partial);
        for (int i = 0; i < shared; i++)
            block_share(pool, live[s].blocks[i]);
        live[s].n = 0;
        if (!blocks_promise(pool, n - shared)) {
            for (int i = shared - 1; i >= 0; i--)
                block_release(pool, live[s].blocks[i]);
            continue;
        }
        for (int i = shared; i < n; i++)
            live[s].blocks[i] = block_publish(pool, i == 0 ? NO_BLOCK : live[s].blocks[i - 1], block_take(pool),
                                              live[s].tokens + i * KV_BLOCK, KV_BLOCK);
        live[s].n = n;
        int32_t found[MOST];
        assert_int_equal(match(pool, live[s].tokens, n * KV_BLOCK, found, &n_partial), n);
        assert_memory_equal(found, live[s].blocks, (size_t)n * sizeof *found);
        bool seen[POOL] = {false};
        for (int t = 0; t < SEQUENCES; t++)
            for (int i = 0; i < live[t].n; i++) {
                used += !seen[live[t].blocks[i]];
                seen[live[t].blocks[i]] = true;
            }
        assert_int_equal(blocks_available(pool), POOL - used);
    }
    block_pool_destroy(pool);
}

static void many_sequences(void **state)
{
    (void)state;
    many_sequences_in(40);
    many_sequences_in(7);
    many_sequences_in(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_are_found),        cmocka_unit_test(equal_blocks_are_merged),
        cmocka_unit_test(promises_bound_memory),     cmocka_unit_test(oldest_is_given_up_first),
        cmocka_unit_test(cached_blocks_are_bounded), cmocka_unit_test(many_sequences),
    };
    return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
