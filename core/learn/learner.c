/* learner.c: a learner's memory, and running its phases. See learner.h. */
#include "learn/learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"
#include "learn/learner_state.h"

enum {
    MAX_TOKENS = 1 << 20,   /* of a batch */
    LOGIT_BYTES = 32 << 20, /* about: of the logits that are held at a time */
    LEAST_LOGIT_ROWS = 64,
};

/* ---- memory ---- */

/* Hands out pieces of one block; run twice, first without the block, to count. */
typedef struct carver {
    unsigned char *block;
    size_t used;
    bool overflow;
} carver;

static void *carve(carver *c, size_t n, size_t size)
{
    size_t bytes, end;
    if (!aigc_mul(n, size, &bytes) || __builtin_add_overflow(c->used, bytes, &end) || end > SIZE_MAX / 2) {
        c->overflow = true;
        return NULL;
    }
    void *p = c->block != NULL ? c->block + c->used : NULL;
    c->used = (end + 63) / 64 * 64;
    return p;
}

static void carve_layer(learner *l, carver *c, layer_state *s)
{
    const hyperparameters *hp = &l->layout.hp;
    size_t n = (size_t)l->n_tokens;
    bool gated = l->layout.recipe->weights >> FFN_GATE & 1;
    s->x = carve(c, n * hp->n_embd, sizeof(float));
    s->qkv = carve(c, n * hp->dims[DIM_QKV], sizeof(float));
    s->att = carve(c, n * hp->dims[DIM_Q], sizeof(float));
    s->lse = carve(c, n * hp->n_heads, sizeof(float));
    s->middle = carve(c, n * hp->n_embd, sizeof(float));
    s->ffn[0] = carve(c, n * l->ffn_stride, sizeof(float));
    s->ffn[1] = gated && s->ffn[0] != NULL ? s->ffn[0] + hp->n_ff : NULL;
    s->attn_stats = carve(c, n, sizeof(norm_stat));
    s->ffn_stats = carve(c, n, sizeof(norm_stat));
    for (int role = 0; role < LAYER_MATRICES; role++)
        if (l->layout.lora_rank > 0 && l->layout.recipe->weights >> role & 1)
            s->u[role] = carve(c, n * (size_t)l->layout.lora_rank, sizeof(float));
}

static void carve_activations(learner *l, carver *c)
{
    const hyperparameters *hp = &l->layout.hp;
    size_t n = (size_t)l->n_tokens;
    for (uint32_t i = 0; i < hp->n_layers; i++)
        carve_layer(l, c, &l->layers[i]);
    l->x_end = carve(c, n * hp->n_embd, sizeof(float));
    l->end_stats = carve(c, n, sizeof(norm_stat));
}

static void carve_scratch(learner *l, carver *c)
{
    const hyperparameters *hp = &l->layout.hp;
    size_t n = (size_t)l->n_tokens, half = hp->n_rot / 2, angles = (size_t)hp->n_context * half;
    bool gated = l->layout.recipe->weights >> FFN_GATE & 1;
    l->ids = carve(c, n, sizeof *l->ids);
    l->targets = carve(c, n, sizeof *l->targets);
    l->first = carve(c, n, sizeof *l->first);
    l->factors = carve(c, n, sizeof *l->factors);
    l->cosines = carve(c, angles, sizeof(float));
    l->sines = carve(c, angles, sizeof(float));
    l->minus_sines = carve(c, angles, sizeof(float));
    l->y = carve(c, n * hp->n_embd, sizeof(float));
    l->h = carve(c, n * hp->n_ff, sizeof(float));
    l->dx = carve(c, n * hp->n_embd, sizeof(float));
    l->dy = carve(c, n * (hp->n_embd > hp->dims[DIM_Q] ? hp->n_embd : hp->dims[DIM_Q]), /* of attention's result too */
                  sizeof(float));
    l->dqkv = carve(c, n * hp->dims[DIM_QKV], sizeof(float));
    l->dffn[0] = carve(c, n * l->ffn_stride, sizeof(float));
    l->dffn[1] = gated && l->dffn[0] != NULL ? l->dffn[0] + hp->n_ff : NULL;
    l->du = carve(c, n * (size_t)l->layout.lora_rank, sizeof(float));
    l->dkv = hp->n_heads > hp->n_kv_heads ? carve(c, n * hp->dims[DIM_Q] * 2, sizeof(float)) : NULL;
    l->logits = carve(c, (size_t)l->logit_rows * hp->n_vocab, sizeof(float));
    l->losses = carve(c, n, sizeof(float));
    l->packed = carve(c, packed_words(l), sizeof *l->packed);
    l->thread_scratch = carve(c, (size_t)l->n_threads * l->thread_floats, sizeof(float));
}

static aigc_status take_block(learner *l, aigc_error *err)
{
    carver count = {0};
    carve_activations(l, &count);
    l->memory.activations = count.used;
    carve_scratch(l, &count);
    l->memory.scratch = count.used - l->memory.activations;
    if (count.overflow)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the activations of %d tokens are too large for this machine",
                         l->n_tokens);
    l->block = aigc_large_pages_alloc(count.used);
    if (l->block == NULL)
        return aigc_fail_memory(err, "training (activations)", count.used);
    l->block_bytes = count.used;
    carver c = {.block = l->block};
    carve_activations(l, &c);
    carve_scratch(l, &c);
    return AIGC_OK;
}

static size_t trained_bytes(const learner *l)
{
    return layout_trained_floats(&l->layout) * sizeof(float);
}

static aigc_status take_weights(learner *l, aigc_error *err)
{
    size_t bytes = l->layout.n_floats * sizeof(float), trained = trained_bytes(l);
    float **arrays[] = {&l->weights, &l->gradients, &l->moments[0], &l->moments[1]};
    for (int i = 0; i < 4; i++) {
        *arrays[i] = aigc_large_pages_alloc(i == 0 ? bytes : trained);
        if (*arrays[i] == NULL)
            return aigc_fail_memory(err, "training (weights, gradients and moments)", bytes + 3 * trained);
    }
    l->trained = l->weights + l->layout.first_trained;
    l->memory.weights = bytes;
    l->memory.gradients = trained;
    l->memory.moments = 2 * trained;
    return AIGC_OK;
}

/* The engine's angles. */
static void make_angles(learner *l)
{
    const hyperparameters *hp = &l->layout.hp;
    size_t half = hp->n_rot / 2;
    if (l->layout.recipe->position == POSITION_LEARNED)
        return;
    for (size_t i = 0; i < half; i++) {
        for (size_t t = 0; t < hp->n_context; t++) {
            double sine, cosine;
            real_sincos((double)t * l->layout.rope_freqs[i], &sine, &cosine);
            l->cosines[t * half + i] = (float)cosine;
            l->sines[t * half + i] = (float)sine;
            l->minus_sines[t * half + i] = -(float)sine;
        }
    }
}

static void set_sizes(learner *l)
{
    const hyperparameters *hp = &l->layout.hp;
    size_t rows = LOGIT_BYTES / sizeof(float) / hp->n_vocab;
    l->ffn_stride = (l->layout.recipe->weights >> FFN_GATE & 1 ? 2 : 1) * hp->n_ff;
    rows = rows < LEAST_LOGIT_ROWS ? LEAST_LOGIT_ROWS : rows;
    l->logit_rows = rows < (size_t)l->n_tokens ? (int)rows : l->n_tokens;
    l->attention = (attention){.kernels = l->kernels,
                               .n_heads = (int)hp->n_heads,
                               .n_kv_heads = (int)hp->n_kv_heads,
                               .head_dim = (int)hp->head_dim,
                               .n_tokens = (int)hp->n_context};
    size_t attend = attention_scratch(&l->attention), widest = attend > hp->n_ff ? attend : hp->n_ff;
    if (packed_tile_words() > widest)
        widest = packed_tile_words();
    l->thread_floats = (widest + 15) / 16 * 16;
}

/* OpenBLAS is at home on every processor; ours are faster than its float32 with AVX-512. */
static aigc_status choose_products(learner *l, gemm_precision precision, aigc_error *err)
{
    bool ours = precision != GEMM_F32 || cpu_best_level() == CPU_AVX512;
    aigc_status status = ours ? AIGC_OK : blas_open(&l->sgemm, err);
    if (status != AIGC_OK)
        return status;
    l->gemm = ours ? gemm_kernels_best(precision) : NULL;
    l->attention.gemm = gemm_kernels_best(precision);
    return plan_phases(l) ? AIGC_OK : aigc_fail_memory(err, "the plan of a step", sizeof(phase));
}

/* Everything behind the layout. */
static aigc_status set_up(learner *l, aigc_error *err)
{
    aigc_status status;
    int n_context = (int)l->layout.hp.n_context;
    if (l->n_sequences < 1 || l->n_sequences > MAX_TOKENS / n_context)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a batch must be from 1 to %d sequences of %d tokens, not %d",
                         MAX_TOKENS / n_context, n_context, l->n_sequences);
    l->n_tokens = l->n_sequences * n_context;
    l->kernels = kernels_best();
    l->layers = aigc_calloc(l->layout.hp.n_layers, sizeof *l->layers);
    if (l->layers == NULL)
        return aigc_fail_memory(err, "the table of layers", l->layout.hp.n_layers * sizeof *l->layers);
    set_sizes(l);
    if ((status = thread_pool_create(l->n_threads, &l->pool, err)) != AIGC_OK ||
        (status = take_weights(l, err)) != AIGC_OK || (status = take_block(l, err)) != AIGC_OK ||
        (status = optimiser_create(l, err)) != AIGC_OK)
        return status;
    make_angles(l);
    return choose_products(l, GEMM_F32, err);
}

/* The layout is the learner's from here on. */
static aigc_status create(learn_layout *layout, int n_sequences, int n_threads, learner **out, aigc_error *err)
{
    learner *l = aigc_calloc(1, sizeof *l);
    if (l == NULL) {
        layout_free(layout);
        return aigc_fail_memory(err, "a learner", sizeof *l);
    }
    l->layout = *layout;
    l->n_sequences = n_sequences;
    l->n_threads = n_threads;
    aigc_status status = set_up(l, err);
    if (status != AIGC_OK) {
        learner_destroy(l);
        return status;
    }
    *out = l;
    return AIGC_OK;
}

aigc_status learner_create(const learn_shape *shape, int n_sequences, int n_threads, learner **out, aigc_error *err)
{
    learn_layout layout;
    aigc_status status = layout_create(shape, &layout, err);
    return status == AIGC_OK ? create(&layout, n_sequences, n_threads, out, err) : status;
}

aigc_status learner_create_from(const aigc_model *base, int n_context, int lora_rank, double lora_alpha,
                                int n_sequences, int n_threads, learner **out, aigc_error *err)
{
    learn_layout layout;
    aigc_status status = layout_of_model(base, n_context, lora_rank, lora_alpha, &layout, err);
    return status == AIGC_OK ? create(&layout, n_sequences, n_threads, out, err) : status;
}

aigc_status learner_set_precision(learner *l, gemm_precision precision, aigc_error *err)
{
    return choose_products(l, precision, err);
}

void learner_destroy(learner *l)
{
    if (l == NULL)
        return;
    thread_pool_destroy(l->pool);
    aigc_pages_free(l->weights, l->layout.n_floats * sizeof(float));
    aigc_pages_free(l->gradients, trained_bytes(l));
    aigc_pages_free(l->moments[0], trained_bytes(l));
    aigc_pages_free(l->moments[1], trained_bytes(l));
    aigc_pages_free(l->block, l->block_bytes);
    free(l->layers);
    optimiser_free(l);
    free(l->forward.items);
    free(l->backward.items);
    free(l->squares.items);
    free(l->update.items);
    layout_free(&l->layout);
    free(l);
}

size_t learn_memory_total(const learn_memory *m)
{
    return m->weights + m->gradients + m->moments + m->activations + m->scratch;
}

const learn_memory *learner_memory(const learner *l)
{
    return &l->memory;
}

const learn_layout *learner_layout(const learner *l)
{
    return &l->layout;
}

float *learner_weights(learner *l)
{
    return l->weights;
}

float *learner_gradients(learner *l)
{
    return l->gradients;
}

float *learner_moments(learner *l, int which)
{
    return l->moments[which];
}

/* ---- running ---- */

static int next_phase(void *context)
{
    learner *l = context;
    if (l->stopped)
        return 0;
    l->next_phase++;
    return l->next_phase < l->running->n ? l->running->items[l->next_phase].n_chunks : 0;
}

static void work_chunk(void *context, int chunk, int thread)
{
    learner *l = context;
    const phase *p = &l->running->items[l->next_phase];
    if (!must_stop(l))
        p->work(l, p, chunk, thread);
}

bool run_phases(learner *l, const phase_list *list)
{
    thread_program program = {next_phase, work_chunk, l};
    l->running = list;
    l->next_phase = -1;
    l->stopped = false;
    thread_pool_run(l->pool, &program);
    return !l->stopped;
}

static aigc_status check_batch(const learner *l, const learn_batch *b, aigc_error *err)
{
    int32_t n_vocab = (int32_t)l->layout.hp.n_vocab, n_context = (int32_t)l->layout.hp.n_context;
    for (int t = 0; t < l->n_tokens; t++) {
        int32_t position = t % n_context;
        if (b->ids[t] < 0 || b->ids[t] >= n_vocab || b->targets[t] < -1 || b->targets[t] >= n_vocab)
            return aigc_fail(err, AIGC_E_TEXT, "token %d or its target %d is not in the vocabulary of %d", b->ids[t],
                             b->targets[t], n_vocab);
        if (b->first[t] < (position > 0 ? b->first[t - 1] : 0) || b->first[t] > position)
            return aigc_fail(err, AIGC_E_ARGUMENT, "token %d of a sequence can't be of a document that begins at %d",
                             position, b->first[t]);
    }
    return AIGC_OK;
}

void learner_set_interrupt(learner *l, const volatile sig_atomic_t *flag)
{
    l->interrupt = flag;
}

static aigc_status run_batch(learner *l, const phase_list *list, const learn_batch *b, const float *factors,
                             double *loss, aigc_error *err)
{
    aigc_status status = check_batch(l, b, err);
    if (status != AIGC_OK)
        return status;
    for (int t = 0; t < l->n_tokens; t++) {
        l->ids[t] = b->ids[t];
        l->targets[t] = b->targets[t];
        l->first[t] = b->first[t];
        l->factors[t] = factors != NULL ? factors[t] : 1;
    }
    if (!run_phases(l, list)) {
        l->stale = true; /* also after learner_loss(): a step of preferences calls both */
        return aigc_fail(err, AIGC_INTERRUPTED, "the step was interrupted");
    }
    *loss = 0;
    for (int t = 0; t < l->n_tokens; t++)
        *loss += (double)l->losses[t];
    return AIGC_OK;
}

aigc_status learner_use_dropout(learner *l, double p, aigc_error *err)
{
    if (!(p >= 0 && p < 1))
        return aigc_fail(err, AIGC_E_ARGUMENT, "dropout must be from 0 to below 1, not %g", p);
    l->dropout = dropout_of(p);
    return plan_phases(l) ? AIGC_OK : aigc_fail_memory(err, "the plan of a step", sizeof(phase));
}

void learner_set_dropout_key(learner *l, uint64_t key)
{
    l->dropout.key = key;
}

aigc_status learner_loss(learner *l, const learn_batch *batch, double *loss, aigc_error *err)
{
    l->scale = 0;
    return run_batch(l, &l->forward, batch, NULL, loss, err);
}

const float *learner_losses(const learner *l)
{
    return l->losses;
}

aigc_status learner_backward(learner *l, const learn_batch *batch, float scale, double *loss, aigc_error *err)
{
    return learner_backward_weighted(l, batch, NULL, scale, loss, err);
}

aigc_status learner_backward_weighted(learner *l, const learn_batch *batch, const float *factors, float scale,
                                      double *loss, aigc_error *err)
{
    if (!(scale > 0))
        return aigc_fail(err, AIGC_E_ARGUMENT, "the scale of the loss must be above 0, not %g", (double)scale);
    l->scale = scale;
    if (l->stale)
        memset(l->gradients, 0, trained_bytes(l));
    l->stale = false;
    memset(l->dx, 0, (size_t)l->n_tokens * l->layout.hp.n_embd * sizeof *l->dx);
    return run_batch(l, &l->backward, batch, factors, loss, err);
}
