/* forward.c: the forward pass as a program of phases for the thread pool, and the memory that it works in. */
#include "model/forward.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "model/forward_state.h"

/* The phases of a transformer with serial residuals: attention, then feed-forward. */
static const forward_step prologue_steps[] = {{begin_tokens, work_embed}};
enum { ATTEND_STEP = 3 };
static const forward_step layer_steps[] = {
    {begin_tokens, work_attn_norm},          {begin_qkv, work_matmul},
    {begin_tokens, work_rope_store},         [ATTEND_STEP] = {begin_attend, work_attend},
    {begin_attn_prepare, work_attn_prepare}, {begin_attn_output, work_matmul},
    {begin_tokens, work_ffn_norm},           {begin_ffn_in, work_matmul},
    {begin_tokens, work_ffn_activate},       {begin_ffn_down, work_matmul},
};
static const forward_step head_steps[] = {{begin_head_norm, work_head_norm}, {begin_head, work_matmul}};

enum stage { STAGE_PROLOGUE, STAGE_LAYERS, STAGE_HEAD };
enum { LAYER_STEPS = sizeof layer_steps / sizeof layer_steps[0] };

static const forward_step *current_step(const forward *f)
{
    switch (f->stage) {
    case STAGE_PROLOGUE:
        return &prologue_steps[0];
    case STAGE_LAYERS:
        return &layer_steps[f->step];
    default:
        return &head_steps[f->step];
    }
}

/* ---- running ---- */

static int64_t now_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool end_run(forward *f, forward_result result)
{
    f->running = result != FORWARD_DONE && result != FORWARD_INTERRUPTED;
    f->result = result;
    return false;
}

/* Once the last layer's keys and values are stored, only tokens whose logits are wanted matter: the others' rows are
 * dropped, and the spans are cut to their ends. */
static void keep_outputs(forward *f)
{
    size_t n_embd = f->model->hp.n_embd, q = f->model->hp.dims[DIM_Q], qkv = f->model->hp.dims[DIM_QKV];
    if (f->n_outputs == f->n_tokens)
        return;
    for (int i = 0; i < f->n_outputs; i++) {
        size_t to = (size_t)i, from = (size_t)f->output_token[i]; /* from >= to */
        memmove(f->x + to * n_embd, f->x + from * n_embd, n_embd * sizeof *f->x);
        memmove(f->qkv + to * qkv, f->qkv + from * qkv, q * sizeof *f->qkv);
        f->token_position[i] = f->token_position[from];
        f->output_token[i] = i;
    }
    f->n_tokens = 0;
    for (int s = 0; s < f->n_spans; s++) {
        token_span *span = &f->spans[s];
        span->position += span->n - span->n_outputs;
        span->n = span->n_outputs;
        f->span_start[s] = f->n_tokens;
        f->n_tokens += span->n;
    }
}

/* Moves to the next phase. False if this run ends here; f->result then says why. */
static bool move_on(forward *f)
{
    f->step++;
    if (f->stage == STAGE_PROLOGUE && f->step == 1) {
        f->stage = STAGE_LAYERS;
        f->step = f->layer = 0;
    } else if (f->stage == STAGE_LAYERS && f->step == LAYER_STEPS) {
        f->step = 0;
        if (++f->layer == (int)f->model->hp.n_layers)
            f->stage = STAGE_HEAD;
    } else if (f->stage == STAGE_HEAD && f->step == 2) {
        f->step = -1; /* the next run moves on to the next rows */
        return end_run(f, FORWARD_LOGITS);
    }
    if (f->stage == STAGE_LAYERS && f->step == ATTEND_STEP && f->layer == (int)f->model->hp.n_layers - 1) {
        if (f->n_outputs == 0)
            return end_run(f, FORWARD_DONE);
        keep_outputs(f);
    }
    if (f->stage == STAGE_HEAD && f->step == 0) {
        f->output_first += f->output_n;
        f->output_n = 0;
        if (f->output_first == f->n_outputs)
            return end_run(f, FORWARD_DONE);
    }
    return true;
}

static int next_phase(void *context)
{
    forward *f = context;
    if (atomic_load(&f->skipped))
        return end_run(f, FORWARD_INTERRUPTED);
    if (f->progressed && now_nanoseconds() > f->deadline)
        return end_run(f, FORWARD_PAUSED);
    if (!move_on(f))
        return 0;
    f->progressed = true;
    return current_step(f)->begin(f);
}

static void work_phase(void *context, int chunk, int thread)
{
    forward *f = context;
    if (f->interrupt != NULL && *f->interrupt) {
        atomic_store(&f->skipped, true);
        return;
    }
    current_step(f)->work(f, chunk, thread);
}

forward_result forward_run(forward *f, int64_t deadline)
{
    if (!f->running)
        return FORWARD_DONE;
    f->deadline = deadline;
    f->progressed = false;
    thread_program program = {next_phase, work_phase, f};
    thread_pool_run(f->pool, &program);
    return f->result;
}

void forward_begin(forward *f, const token_span *spans, int n_spans)
{
    memcpy(f->spans, spans, (size_t)n_spans * sizeof *spans);
    f->n_spans = n_spans;
    f->n_tokens = f->n_outputs = 0;
    for (int s = 0; s < n_spans; s++) {
        f->span_start[s] = f->n_tokens;
        for (int i = 0; i < spans[s].n; i++, f->n_tokens++) {
            f->token_id[f->n_tokens] = spans[s].tokens[i];
            f->token_position[f->n_tokens] = spans[s].position + i;
            f->in_span[f->n_tokens] = s;
            if (i >= spans[s].n - spans[s].n_outputs)
                f->output_token[f->n_outputs++] = f->n_tokens;
        }
    }
    f->stage = STAGE_PROLOGUE;
    f->step = -1;
    f->layer = f->output_first = f->output_n = 0;
    f->running = f->n_tokens > 0;
    atomic_store(&f->skipped, false);
}

void forward_logits(forward *f, int *first, int *n, float **logits)
{
    *first = f->output_first;
    *n = f->output_n;
    *logits = f->logits;
}

/* ---- memory ---- */

/* Cuts one mapping into arrays: a first pass with base NULL adds the sizes up, a second one places the pointers. */
typedef struct arena {
    unsigned char *base;
    size_t used;
    bool overflow;
} arena;

static void *arena_take(arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!aigc_mul(n, size, &bytes) || bytes > SIZE_MAX / 4 || a->used > SIZE_MAX / 4) {
        a->overflow = true;
        return NULL;
    }
    void *p = a->base != NULL ? a->base + a->used : NULL;
    a->used += (bytes + 63) / 64 * 64;
    return p;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void note_scratch(const matrix *m, size_t *most)
{
    if (m->data != NULL)
        *most = max_size(*most, matmul_scratch_bytes(m->type, m->k));
}

static void note_pairs(const forward *f, uint32_t i, int role, size_t *most)
{
    note_scratch(&f->model->layers[i].weights[role], most);
    for (int a = 0; a < f->n_adapters; a++) {
        note_scratch(&f->adapters[a].adapter->layers[i].pairs[role].a, most);
        note_scratch(&f->adapters[a].adapter->layers[i].pairs[role].b, most);
    }
}

static size_t matmul_scratch_of(const forward *f)
{
    const aigc_model *model = f->model;
    size_t most = 64;
    note_scratch(&model->output, &most);
    for (uint32_t i = 0; i < model->hp.n_layers; i++)
        for (int role = 0; role < LAYER_MATRICES; role++)
            note_pairs(f, i, role, &most);
    return most;
}

static size_t widest(const hyperparameters *hp)
{
    return max_size(hp->n_embd, max_size(hp->n_ff, hp->dims[DIM_Q]));
}

/* Floats that a thin matrix makes of a row, at most. */
static size_t widest_thin(const forward *f)
{
    size_t most = 0;
    for (int i = 0; i < DIMENSIONS; i++)
        most = max_size(most, f->model->hp.dims[i]);
    for (int i = 0; i < f->n_adapters; i++)
        most = max_size(most, f->adapters[i].adapter->most_rank);
    return most;
}

static void place_thread(const forward *f, arena *a, thread_scratch *s, size_t matmul_bytes)
{
    const hyperparameters *hp = &f->model->hp;
    size_t rows = max_size(ATTN_TILE_ROWS, hp->n_heads / hp->n_kv_heads);
    s->row = arena_take(a, widest(hp), sizeof(float));
    s->matmul = arena_take(a, matmul_bytes, 1);
    s->thin = arena_take(a, f->thin_floats, sizeof(float));
    s->q = arena_take(a, rows * hp->head_dim, sizeof(float));
    for (int i = 0; i < 3; i++) {
        s->m[i] = arena_take(a, rows, sizeof(float));
        s->l[i] = arena_take(a, rows, sizeof(float));
        s->o[i] = arena_take(a, rows * hp->head_dim, sizeof(float));
    }
    s->begin = arena_take(a, rows, sizeof(int));
    s->end = arena_take(a, rows, sizeof(int));
}

static void place(forward *f, arena *a, size_t matmul_bytes)
{
    const hyperparameters *hp = &f->model->hp;
    size_t n = (size_t)f->n_batch, rows = max_size(n, FORWARD_LOGIT_ROWS);
    f->spans = arena_take(a, (size_t)f->max_spans, sizeof *f->spans);
    f->span_start = arena_take(a, (size_t)f->max_spans, sizeof *f->span_start);
    f->span_tile = arena_take(a, (size_t)f->max_spans + 1, sizeof *f->span_tile);
    f->token_id = arena_take(a, n, sizeof *f->token_id);
    f->token_position = arena_take(a, n, sizeof *f->token_position);
    f->in_span = arena_take(a, n, sizeof *f->in_span);
    f->output_token = arena_take(a, n, sizeof *f->output_token);
    f->x = arena_take(a, n * hp->n_embd, sizeof(float));
    f->product = arena_take(a, n * hp->n_embd, sizeof(float));
    f->qkv = arena_take(a, n * hp->dims[DIM_QKV], sizeof(float));
    f->attn = arena_take(a, n * hp->dims[DIM_Q], sizeof(float));
    f->ffn[0] = arena_take(a, n * hp->n_ff, sizeof(float));
    f->ffn[1] = arena_take(a, n * hp->n_ff, sizeof(float));
    for (int type = 0; type < ACT_TYPES; type++)
        f->acts[type] =
            arena_take(a, rows, act_row_bytes(type, (widest(hp) + K_ELEMENTS - 1) / K_ELEMENTS * K_ELEMENTS));
    for (int i = 0; i < f->n_adapters; i++)
        for (int role = 0; role < LAYER_MATRICES; role++)
            f->thin[i][role] = arena_take(a, n, act_row_bytes(ACT_F32, f->adapters[i].adapter->most_rank));
    f->cosines = arena_take(a, n * (hp->n_rot / 2), sizeof(float));
    f->sines = arena_take(a, n * (hp->n_rot / 2), sizeof(float));
    f->split = arena_take(a, SPLIT_TOKENS * hp->n_heads * (size_t)f->max_chunks, (hp->head_dim + 2) * sizeof(float));
    f->logits = arena_take(a, FORWARD_LOGIT_ROWS * (size_t)hp->n_vocab, sizeof(float));
    f->threads = arena_take(a, (size_t)f->n_threads, sizeof *f->threads);
    for (int i = 0; i < f->n_threads; i++) {
        thread_scratch unplaced;
        place_thread(f, a, a->base != NULL ? &f->threads[i] : &unplaced, matmul_bytes);
    }
}

aigc_status forward_create(const aigc_model *model, const aigc_adapter_use *adapters, int n_adapters, kv_cache *kv,
                           thread_pool *pool, int n_batch, int n_spans, int n_context,
                           const volatile sig_atomic_t *interrupt, forward **out, aigc_error *err)
{
    forward *f = aigc_calloc(1, sizeof *f);
    if (f == NULL)
        return aigc_fail_memory(err, "a forward pass", sizeof *f);
    *f = (forward){
        .model = model,
        .kernels = kernels_best(),
        .kv = kv,
        .pool = pool,
        .interrupt = interrupt,
        .n_batch = n_batch,
        .max_spans = n_spans,
        .max_chunks = (n_context - 1) / ATTN_CHUNK + 1, /* contexts reach INT_MAX */
        .n_threads = thread_pool_size(pool),
    };
    for (int i = 0; i < n_adapters; i++)
        f->adapters[f->n_adapters++] = adapters[i];
    f->thin_floats = n_adapters > 0 ? widest_thin(f) : 0;
    size_t matmul_bytes = matmul_scratch_of(f);
    arena sizes = {0};
    place(f, &sizes, matmul_bytes);
    f->memory_bytes = sizes.used;
    f->memory = sizes.overflow ? NULL : aigc_pages_alloc(sizes.used);
    if (f->memory == NULL) {
        free(f);
        return aigc_fail_memory(err, "scratch for a batch", sizes.used);
    }
    arena memory = {.base = f->memory};
    place(f, &memory, matmul_bytes);
    *out = f;
    return AIGC_OK;
}

size_t forward_bytes(const forward *f)
{
    return f->memory_bytes;
}

void forward_destroy(forward *f)
{
    if (f == NULL)
        return;
    aigc_pages_free(f->memory, f->memory_bytes);
    free(f);
}
