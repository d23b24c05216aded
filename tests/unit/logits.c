/* logits.c: a model, a cache and a batch put together by hand, as core/engine does it. */
#include "logits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <dirent.h>

#include "model/forward.h"

typedef struct setup {
    aigc_model *model;
    kv_cache kv;
    thread_pool *pool;
    forward *forward;
    int32_t *blocks;
} setup;

static void demand(aigc_status status, const aigc_error *err)
{
    if (status != AIGC_OK)
        fail_msg("%s", err->message);
}

static void open_all(setup *s, const char *path, const logits_options *o, int n)
{
    aigc_error err;
    int n_blocks = (n + KV_BLOCK - 1) / KV_BLOCK;

    demand(aigc_model_open(path, AIGC_MODEL_WEIGHTS, &s->model, &err), &err);
    demand(kv_cache_create(&s->kv, s->model->hp.n_layers, s->model->hp.n_kv_heads, s->model->hp.head_dim,
                           o->kv == AIGC_KV_F16, (size_t)n_blocks, &err),
           &err);
    demand(thread_pool_create(o->n_threads, &s->pool, &err), &err);
    demand(forward_create(s->model, NULL, 0, &s->kv, s->pool, o->n_batch, 1, n, NULL, &s->forward, &err), &err);
    /* Blocks out of order: a sequence's table may name any. */
    s->blocks = test_malloc((size_t)n_blocks * sizeof *s->blocks);
    for (int i = 0; i < n_blocks; i++)
        s->blocks[i] = n_blocks - 1 - i;
}

static void close_all(setup *s)
{
    test_free(s->blocks);
    forward_destroy(s->forward);
    thread_pool_destroy(s->pool);
    kv_cache_free(&s->kv);
    aigc_model_close(s->model);
}

/* One batch: tokens begin .. begin + n - 1 of the sequence; out is [n][n_vocab]. */
static void run_batch(setup *s, const int32_t *tokens, int begin, int n, float *out)
{
    size_t n_vocab = s->model->hp.n_vocab;
    token_span one = {.tokens = tokens + begin, .blocks = s->blocks, .n = n, .position = begin, .n_outputs = n};
    forward_result result;
    int done = 0;

    forward_begin(s->forward, &one, 1);
    while ((result = forward_run(s->forward, INT64_MAX)) == FORWARD_LOGITS) {
        int first, n_rows;
        float *logits;

        forward_logits(s->forward, &first, &n_rows, &logits);
        assert_int_equal(first, done);
        assert_in_range(n_rows, 1, n - done);
        memcpy(out + (size_t)first * n_vocab, logits, (size_t)n_rows * n_vocab * sizeof *out);
        done += n_rows;
    }
    assert_int_equal(result, FORWARD_DONE);
    assert_int_equal(done, n);
}

float *logits_of_file(const char *path, const logits_options *options, const int32_t *tokens, int n, int *n_vocab)
{
    setup s = {0};
    float *out;

    open_all(&s, path, options, n);
    *n_vocab = (int)s.model->hp.n_vocab;
    out = malloc((size_t)n * (size_t)*n_vocab * sizeof *out);
    assert_non_null(out);
    for (int begin = 0; begin < n; begin += options->n_batch)
        run_batch(&s, tokens, begin, n - begin < options->n_batch ? n - begin : options->n_batch,
                  out + (size_t)begin * (size_t)*n_vocab);
    close_all(&s);
    return out;
}

int best_of(const float *x, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

const char *temporary_directory(void)
{
    static char path[4096];
    const char *base = getenv("TMPDIR");

    if ((size_t)snprintf(path, sizeof path, "%s/aigc-test-XXXXXX", base && *base ? base : "/tmp") >= sizeof path)
        fail_msg("TMPDIR is too long");
    if (!mkdtemp(path))
        fail_msg("can't create %s", path);
    return path;
}

void remove_temporary_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;

    if (!directory)
        return;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(path);
}
