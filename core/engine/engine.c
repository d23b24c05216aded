/* engine.c: opening and closing an engine, and its step. */
#include "engine/engine.h"

#include <stdlib.h>
#include <time.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "model/adapter.h"

enum {
    DEFAULT_MAX_THREADS = 8,
    MAX_SEQUENCES = 256,
    MAX_BATCH = 2048,
    CACHED_SEQUENCES = 4, /* whole contexts that the prefix cache keeps, if the bound on KV memory allows */
    STEP_NANOSECONDS = 20 * 1000 * 1000,
    /* Rotary positions have no end, and converters of small models understate the context (llama2.c's writes 128
     * whatever the model was trained with): the default is at least this. */
    MIN_ROTARY_CONTEXT = 512,
};

int64_t engine_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

aigc_engine_options aigc_engine_defaults(void)
{
    return (aigc_engine_options){
        .n_sequences = 16,
        .n_batch = 256,
        .kv_bytes = (size_t)1 << 30,
        .kv = AIGC_KV_F16,
        .prefix_cache = true,
    };
}

static aigc_status check_range(const char *what, long value, long min, long max, aigc_error *err)
{
    if (value >= min && value <= max)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "%s must be from %ld to %ld, not %ld", what, min, max, value);
}

/* Fills in what the caller left to us, and checks the rest. */
static aigc_status resolve_threads(aigc_engine_options *o, aigc_error *err)
{
    aigc_status status;
    if (o->n_threads == 0) {
        int cores = cpu_count();
        o->n_threads = cores < DEFAULT_MAX_THREADS ? cores : DEFAULT_MAX_THREADS;
    }
    if ((status = check_range("threads", o->n_threads, 1, THREAD_MAX, err)) != AIGC_OK ||
        (status = check_range("sequences", o->n_sequences, 1, MAX_SEQUENCES, err)) != AIGC_OK ||
        (status = check_range("batch", o->n_batch, 1, MAX_BATCH, err)) != AIGC_OK)
        return status;
    if (o->kv != AIGC_KV_F16 && o->kv != AIGC_KV_F32)
        return aigc_fail(err, AIGC_E_ARGUMENT, "unknown type of keys and values: %d", (int)o->kv);
    if (o->n_batch < o->n_sequences)
        o->n_batch = o->n_sequences; /* every sequence gets its token in every batch */
    return AIGC_OK;
}

/* Chooses the context and the number of blocks within the bound on KV memory. */
static aigc_status resolve_context(const aigc_model *model, aigc_engine_options *o, int *n_blocks, aigc_error *err)
{
    const hyperparameters *hp = &model->hp;
    size_t block = kv_block_bytes(hp->n_layers, hp->n_kv_heads, hp->head_dim, o->kv == AIGC_KV_F16);
    size_t most = block > 0 ? o->kv_bytes / block : 0;
    if (most < 1)
        return aigc_fail(err, AIGC_E_LIMIT, "%d tokens need %zu bytes of KV memory, but the bound is %zu", KV_BLOCK,
                         block, o->kv_bytes);
    if (most > INT32_MAX / KV_BLOCK)
        most = INT32_MAX / KV_BLOCK;
    size_t holds = most * KV_BLOCK;
    bool rotary = model->recipe->position != POSITION_LEARNED;
    size_t usual = rotary && hp->n_context < MIN_ROTARY_CONTEXT ? MIN_ROTARY_CONTEXT : hp->n_context;
    if (o->n_context == 0)
        o->n_context = (int)(usual < holds ? usual : holds);
    aigc_status status = check_range("context", o->n_context, 1, rotary ? INT32_MAX : (long)hp->n_context, err);
    if (status != AIGC_OK)
        return status;
    if ((size_t)o->n_context > holds)
        return aigc_fail(err, AIGC_E_LIMIT, "a context of %d tokens does not fit the %zu bytes of KV memory (%zu do)",
                         o->n_context, o->kv_bytes, holds);
    size_t per_sequence = ((size_t)o->n_context + KV_BLOCK - 1) / KV_BLOCK;
    size_t sequences = (size_t)(o->n_sequences > CACHED_SEQUENCES ? o->n_sequences : CACHED_SEQUENCES);
    *n_blocks = (int)(per_sequence <= most / sequences ? per_sequence * sequences : most);
    return AIGC_OK;
}

static aigc_status open_parts(aigc_engine *e, int n_blocks, aigc_error *err)
{
    const hyperparameters *hp = &e->model->hp;
    const aigc_engine_options *o = &e->options;
    int per_sequence = (int)(((size_t)o->n_context + KV_BLOCK - 1) / KV_BLOCK);
    int n_cached = per_sequence <= n_blocks / CACHED_SEQUENCES ? per_sequence * CACHED_SEQUENCES : n_blocks;
    aigc_status status;
    e->spans = aigc_calloc((size_t)o->n_sequences, sizeof *e->spans);
    e->members = aigc_calloc((size_t)o->n_sequences, sizeof *e->members);
    e->row_copies_bytes = (size_t)o->n_threads * hp->n_vocab * sizeof *e->row_copies;
    e->row_copies = aigc_pages_alloc(e->row_copies_bytes);
    if (e->spans == NULL || e->members == NULL || e->row_copies == NULL)
        return aigc_fail_memory(err, "an engine", e->row_copies_bytes);
    if ((status = kv_cache_create(&e->kv, hp->n_layers, hp->n_kv_heads, hp->head_dim, o->kv == AIGC_KV_F16,
                                  (size_t)n_blocks, err)) != AIGC_OK ||
        (status = block_pool_create(n_blocks, n_cached, &e->blocks, err)) != AIGC_OK ||
        (status = thread_pool_create(o->n_threads, &e->pool, err)) != AIGC_OK)
        return status;
    return forward_create(e->model, e->adapters, (int)o->n_adapters, &e->kv, e->pool, o->n_batch, o->n_sequences,
                          o->n_context, o->interrupt, &e->forward, err);
}

static aigc_status check_adapters(const aigc_model *model, const aigc_engine_options *o, aigc_error *err)
{
    if (o->n_adapters > FORWARD_MAX_ADAPTERS)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%zu adapters are more than %d", o->n_adapters, FORWARD_MAX_ADAPTERS);
    for (size_t i = 0; i < o->n_adapters; i++) {
        const aigc_adapter_use *use = &o->adapters[i];
        if (use->adapter->model != model)
            return aigc_fail(err, AIGC_E_ARGUMENT, "%s was not opened for this model", gguf_path(use->adapter->file));
        if (!(use->scale >= -1e6f && use->scale <= 1e6f))
            return aigc_fail(err, AIGC_E_ARGUMENT, "an adapter's scale must be from -1e6 to 1e6, not %g",
                             (double)use->scale);
    }
    return AIGC_OK;
}

static void guard_files(aigc_engine *e)
{
    e->guards[0] = gguf_guard(e->model->file);
    for (size_t i = 0; i < e->options.n_adapters; i++)
        e->guards[1 + i] = gguf_guard(e->adapters[i].adapter->file);
}

/* Whether the weights that were read are those of the files. */
static aigc_status check_files(const aigc_engine *e, aigc_error *err)
{
    aigc_status status = gguf_check_whole(e->model->file, err);
    for (size_t i = 0; status == AIGC_OK && i < e->options.n_adapters; i++)
        status = gguf_check_whole(e->adapters[i].adapter->file, err);
    return status;
}

aigc_status engine_look_at_files(aigc_engine *e, aigc_error *err)
{
    aigc_status status = gguf_look_again(e->model->file, err);
    for (size_t i = 0; status == AIGC_OK && i < e->options.n_adapters; i++)
        status = gguf_look_again(e->adapters[i].adapter->file, err);
    return status;
}

aigc_status aigc_engine_open(aigc_model *model, const aigc_engine_options *options, aigc_engine **out, aigc_error *err)
{
    if (model->recipe == NULL || model->tokens == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s was opened without its %s", gguf_path(model->file),
                         model->recipe == NULL ? "weights" : "tokenizer");
    aigc_engine_options resolved = *options;
    int n_blocks = 0;
    aigc_status status = check_adapters(model, options, err);
    if (status == AIGC_OK)
        status = resolve_threads(&resolved, err);
    if (status == AIGC_OK)
        status = resolve_context(model, &resolved, &n_blocks, err);
    if (status != AIGC_OK)
        return status;
    aigc_engine *e = aigc_calloc(1, sizeof *e);
    if (e == NULL)
        return aigc_fail_memory(err, "an engine", sizeof *e);
    e->model = model_retain(model);
    e->kernels = kernels_best();
    e->options = resolved;
    e->options.adapters = e->adapters;
    for (size_t i = 0; i < resolved.n_adapters; i++)
        e->adapters[i] = (aigc_adapter_use){adapter_retain(resolved.adapters[i].adapter), resolved.adapters[i].scale};
    guard_files(e);
    status = open_parts(e, n_blocks, err);
    if (status != AIGC_OK) {
        aigc_engine_close(e);
        return status;
    }
    *out = e;
    return AIGC_OK;
}

void aigc_engine_close(aigc_engine *e)
{
    if (e == NULL)
        return;
    e->in_batch = false;
    while (e->requests != NULL)
        aigc_request_free(e->requests);
    thread_pool_destroy(e->pool);
    forward_destroy(e->forward);
    block_pool_destroy(e->blocks);
    kv_cache_free(&e->kv);
    if (e->row_copies != NULL)
        aigc_pages_free(e->row_copies, e->row_copies_bytes);
    free(e->spans);
    free(e->members);
    for (size_t i = 0; i <= e->options.n_adapters; i++)
        gguf_unguard(e->guards[i]);
    for (size_t i = 0; i < e->options.n_adapters; i++)
        aigc_adapter_close(e->adapters[i].adapter);
    aigc_model_close(e->model);
    free(e);
}

void aigc_engine_describe(const aigc_engine *e, aigc_engine_info *info)
{
    *info = (aigc_engine_info){
        .n_threads = e->options.n_threads,
        .n_context = e->options.n_context,
        .n_sequences = e->options.n_sequences,
        .n_batch = e->options.n_batch,
        .kv_bytes = e->kv.bytes,
        .scratch_bytes = forward_bytes(e->forward) + e->row_copies_bytes,
        .n_prompt = e->n_prompt,
        .n_prompt_hit = e->n_prompt_hit,
        .n_computed = e->n_computed,
        .n_steps = e->n_steps,
    };
}

bool aigc_engine_busy(const aigc_engine *e)
{
    for (const aigc_request *r = e->requests; r != NULL; r = r->next)
        if (!aigc_request_done(r))
            return true;
    return false;
}

static bool begin_batch(aigc_engine *e)
{
    schedule_admit(e);
    if (!schedule_plan(e))
        return false;
    forward_begin(e->forward, e->spans, e->n_spans);
    e->in_batch = true;
    return true;
}

/* Computes until a batch is done or the time of a step is over. All memory was taken before: what can fail is reading
 * the weights, and nothing is made of what was read then. */
static aigc_status run_batch(aigc_engine *e, aigc_error *err)
{
    int64_t deadline = engine_now() + STEP_NANOSECONDS;
    e->n_steps++;
    for (;;) {
        forward_result result = forward_run(e->forward, deadline);
        aigc_status status = check_files(e, err);
        if (status != AIGC_OK)
            return status;
        switch (result) {
        case FORWARD_LOGITS:
            generate_from_logits(e);
            break;
        case FORWARD_PAUSED:
            return AIGC_OK;
        case FORWARD_INTERRUPTED:
            e->in_batch = false;
            return AIGC_INTERRUPTED;
        case FORWARD_DONE:
            e->in_batch = false;
            schedule_commit(e);
            return AIGC_OK;
        }
    }
}

aigc_status aigc_step(aigc_engine *e, aigc_error *err)
{
    if (e->options.interrupt != NULL && *e->options.interrupt)
        return AIGC_INTERRUPTED;
    if (!e->in_batch && !begin_batch(e))
        return AIGC_OK;
    aigc_status status = run_batch(e, err);
    if (status != AIGC_OK && status != AIGC_INTERRUPTED) {
        e->in_batch = false;
        generate_no_more(e);
    }
    return status;
}
