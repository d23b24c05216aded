/* trainer.c: the training interface of aigc.h over learner.h, corpus.h and schedule.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "learn/initial.h"
#include "learn/trainer.h"

enum { MOST_THREADS_UNASKED = 8, MOST_WARMUP_UNASKED = 1000 };

/* The shape where neither the options nor a model to begin from say otherwise. */
static const learn_shape default_shape = {.arch = "llama",
                                          .n_layers = 6,
                                          .n_embd = 256,
                                          .n_heads = 8,
                                          .n_context = 256,
                                          .norm_eps = 1e-5f,
                                          .rope_base = 1e4f};

aigc_train_options aigc_train_defaults(void)
{
    return (aigc_train_options){
        .n_sequences = 16,
        .n_accumulate = 1,
        .rate = 1e-3,
        .least_rate = 0.1,
        .n_warmup = -1,
        .decay = 0.2,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .weight_decay = 0.1,
        .clip = 1,
        .valid_tokens = 100000,
    };
}

/* ---- opening ---- */

static aigc_status check_real(const char *what, double value, double above, double below, aigc_error *err)
{
    if (value >= above && value < below)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "%s must be at least %g and below %g, not %g", what, above, below, value);
}

static aigc_status check_options(const aigc_train_options *o, aigc_error *err)
{
    aigc_status status;
    if ((status = check_real("the learning rate", o->rate, 1e-12, 100, err)) != AIGC_OK ||
        (status = check_real("the last learning rate's part", o->least_rate, 0, 1.000001, err)) != AIGC_OK ||
        (status = check_real("the decay", o->decay, 0, UINT32_MAX, err)) != AIGC_OK ||
        (status = check_real("beta1", o->beta1, 1e-6, 1, err)) != AIGC_OK ||
        (status = check_real("beta2", o->beta2, 1e-6, 1, err)) != AIGC_OK ||
        (status = check_real("weight decay", o->weight_decay, 0, 100, err)) != AIGC_OK ||
        (status = check_real("the gradient's bound", o->clip, 0, 1e30, err)) != AIGC_OK)
        return status;
    if (o->n_accumulate < 1 || o->n_accumulate > 1 << 16)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a step must be from 1 to %d batches, not %d", 1 << 16, o->n_accumulate);
    if (o->schedule != AIGC_SCHEDULE_COSINE && o->schedule != AIGC_SCHEDULE_STABLE)
        return aigc_fail(err, AIGC_E_ARGUMENT, "schedule %d does not exist", (int)o->schedule);
    if (o->optimiser != AIGC_OPTIMISER_ADAMW && o->optimiser != AIGC_OPTIMISER_MUON)
        return aigc_fail(err, AIGC_E_ARGUMENT, "optimiser %d does not exist", (int)o->optimiser);
    return AIGC_OK;
}

/* ---- shape ---- */

static int gated_width(const char *architecture, int64_t n_embd)
{
    const arch *recipe = arch_find(architecture, strlen(architecture));
    bool gated = recipe != NULL && recipe->weights >> FFN_GATE & 1;
    int64_t n_ff = gated ? (n_embd * 8 / 3 + 31) / 32 * 32 : n_embd * 4;
    return n_ff < INT32_MAX ? (int)n_ff : INT32_MAX;
}

/* The shape that the options ask for, from nothing. */
static learn_shape shape_of(const aigc_train_options *o, int n_vocab)
{
    learn_shape s = default_shape;
    s.arch = o->architecture != NULL ? o->architecture : s.arch;
    s.n_layers = o->n_layers != 0 ? o->n_layers : s.n_layers;
    s.n_embd = o->n_embd != 0 ? o->n_embd : s.n_embd;
    s.n_heads = o->n_heads != 0 ? o->n_heads : s.n_heads;
    s.n_kv_heads = o->n_kv_heads != 0 ? o->n_kv_heads : s.n_heads;
    s.n_ff = o->n_ff != 0 ? o->n_ff : gated_width(s.arch, s.n_embd);
    s.n_context = o->n_context != 0 ? o->n_context : s.n_context;
    s.n_vocab = n_vocab;
    s.tied = !o->untied;
    return s;
}

static aigc_status check_same(const char *what, int asked, int has, aigc_error *err)
{
    if (asked == 0 || asked == has)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "the model to begin from has %d %s, not %d", has, what, asked);
}

/* The shape of the model to begin from, which the options must not contradict. */
static aigc_status shape_of_init(const aigc_train_options *o, const aigc_model *init, learn_shape *s, aigc_error *err)
{
    aigc_status status = initial_shape(init, s, err);
    if (status != AIGC_OK)
        return status;
    if (o->architecture != NULL && strcmp(o->architecture, s->arch) != 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the model to begin from is a %s, not a %s", s->arch, o->architecture);
    if (o->untied && s->tied)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the model to begin from has no output matrix of its own");
    if ((status = check_same("layers", o->n_layers, s->n_layers, err)) != AIGC_OK ||
        (status = check_same("dimensions (its width)", o->n_embd, s->n_embd, err)) != AIGC_OK ||
        (status = check_same("heads", o->n_heads, s->n_heads, err)) != AIGC_OK ||
        (status = check_same("key-value heads", o->n_kv_heads, s->n_kv_heads, err)) != AIGC_OK ||
        (status = check_same("feed-forward dimensions", o->n_ff, s->n_ff, err)) != AIGC_OK)
        return status;
    if (init->recipe->position == POSITION_LEARNED)
        return check_same("learned positions (its context)", o->n_context, s->n_context, err);
    s->n_context = o->n_context != 0 ? o->n_context : s->n_context;
    return AIGC_OK;
}

/* Opens what the vocabulary and the shape come from. */
static aigc_status open_sources(aigc_trainer *t, const char *tokenizer_path, learn_shape *shape, aigc_error *err)
{
    const aigc_train_options *o = &t->options;
    aigc_status status;
    if ((tokenizer_path == NULL) == (o->init == NULL))
        return aigc_fail(err, AIGC_E_ARGUMENT, "give either a vocabulary or a model to begin from, which has its own");
    if (o->init != NULL) {
        if ((status = aigc_model_open(o->init, AIGC_MODEL_ALL, &t->init, err)) != AIGC_OK)
            return status;
        t->vocabulary = t->init->file;
        t->tokens = t->init->tokens;
        return shape_of_init(o, t->init, shape, err);
    }
    if ((status = gguf_open(tokenizer_path, &t->vocabulary, err)) != AIGC_OK ||
        (status = tokenizer_open(t->vocabulary, &t->tokens, err)) != AIGC_OK)
        return status;
    *shape = shape_of(o, tokenizer_n_vocab(t->tokens));
    return AIGC_OK;
}

/* The options as they turned out. */
static void settle_options(aigc_train_options *o, const learn_shape *s)
{
    o->architecture = s->arch;
    o->n_layers = s->n_layers;
    o->n_embd = s->n_embd;
    o->n_heads = s->n_heads;
    o->n_kv_heads = s->n_kv_heads;
    o->n_ff = s->n_ff;
    o->n_context = s->n_context;
    o->untied = !s->tied;
    if (o->n_threads == 0)
        o->n_threads = cpu_count() < MOST_THREADS_UNASKED ? cpu_count() : MOST_THREADS_UNASKED;
}

static aigc_status take_batches(aigc_trainer *t, aigc_error *err)
{
    size_t n = (size_t)t->options.n_accumulate * (size_t)t->options.n_sequences * (size_t)t->options.n_context;
    t->ids = aigc_calloc(n, sizeof *t->ids);
    t->targets = aigc_calloc(n, sizeof *t->targets);
    t->first = aigc_calloc(n, sizeof *t->first);
    if (t->ids == NULL || t->targets == NULL || t->first == NULL)
        return aigc_fail_memory(err, "the tokens of a step", 3 * n * sizeof *t->ids);
    return AIGC_OK;
}

static aigc_status open_parts(aigc_trainer *t, const char *tokenizer_path, aigc_error *err)
{
    aigc_train_options *o = &t->options;
    learn_shape shape;
    aigc_status status;
    if ((status = check_options(o, err)) != AIGC_OK ||
        (status = open_sources(t, tokenizer_path, &shape, err)) != AIGC_OK)
        return status;
    settle_options(o, &shape);
    tokenizer_set_interrupt(t->tokens, o->interrupt);
    if ((status = learner_create(&shape, o->n_sequences, o->n_threads, &t->core, err)) != AIGC_OK ||
        (o->optimiser == AIGC_OPTIMISER_MUON && (status = learner_use_muon(t->core, err)) != AIGC_OK) ||
        (status = corpus_create(&t->text[AIGC_TEXT_TRAIN], t->tokens, err)) != AIGC_OK ||
        (status = corpus_create(&t->text[AIGC_TEXT_VALID], t->tokens, err)) != AIGC_OK)
        return status;
    if (o->interrupt_steps)
        learner_set_interrupt(t->core, o->interrupt);
    o->architecture = learner_layout(t->core)->recipe->name; /* lives as long as the program */
    if (t->init != NULL) {
        initial_weights(t->init, learner_layout(t->core), learner_weights(t->core));
        t->init_hash = initial_hash(learner_layout(t->core), learner_weights(t->core));
    }
    return take_batches(t, err);
}

aigc_status aigc_trainer_create(const char *tokenizer_path, const aigc_train_options *options, aigc_trainer **out,
                                aigc_error *err)
{
    aigc_trainer *t = aigc_calloc(1, sizeof *t);
    if (t == NULL)
        return aigc_fail_memory(err, "a trainer", sizeof *t);
    t->options = *options;
    aigc_status status = open_parts(t, tokenizer_path, err);
    if (status != AIGC_OK) {
        aigc_trainer_destroy(t);
        return status;
    }
    *out = t;
    return AIGC_OK;
}

void aigc_trainer_destroy(aigc_trainer *t)
{
    if (t == NULL)
        return;
    learner_destroy(t->core);
    corpus_free(&t->text[AIGC_TEXT_TRAIN]);
    corpus_free(&t->text[AIGC_TEXT_VALID]);
    window_order_free(&t->order);
    if (t->init == NULL) {
        tokenizer_close(t->tokens);
        gguf_close(t->vocabulary);
    }
    aigc_model_close(t->init);
    free(t->ids);
    free(t->targets);
    free(t->first);
    free(t);
}

void aigc_trainer_describe(const aigc_trainer *t, aigc_trainer_info *info)
{
    const learn_memory *m = learner_memory(t->core);
    const aigc_train_options *o = &t->options;
    *info = (aigc_trainer_info){
        .n_params = learner_layout(t->core)->n_params,
        .n_train_tokens = t->text[AIGC_TEXT_TRAIN].n,
        .n_valid_tokens = t->text[AIGC_TEXT_VALID].n,
        .step_tokens = (uint64_t)o->n_sequences * (uint64_t)o->n_context * (uint64_t)o->n_accumulate,
        .n_threads = o->n_threads,
        .weight_bytes = m->weights,
        .gradient_bytes = m->gradients,
        .moment_bytes = m->moments,
        .activation_bytes = m->activations,
        .scratch_bytes = m->scratch,
        .step = t->step,
        .n_steps = t->schedule.n_steps,
    };
}

aigc_status aigc_trainer_feed(aigc_trainer *t, aigc_train_text kind, const char *text, size_t len, aigc_error *err)
{
    if (kind == AIGC_TEXT_TRAIN && t->started)
        return aigc_fail(err, AIGC_E_ARGUMENT, "text to train on can't be added once training has started");
    return corpus_add(&t->text[kind], text, len, err);
}

/* ---- a run's beginning ---- */

static learn_schedule make_schedule(const aigc_train_options *o, uint64_t n_steps, int64_t warmup)
{
    uint64_t unasked = n_steps / 20 < MOST_WARMUP_UNASKED ? n_steps / 20 : MOST_WARMUP_UNASKED;
    double decay = o->decay < 1 ? o->decay * (double)n_steps : o->decay;
    return (learn_schedule){
        .kind = o->schedule,
        .rate = o->rate,
        .least = o->least_rate,
        .warmup = warmup >= 0        ? (uint64_t)warmup
                  : o->n_warmup >= 0 ? (uint64_t)o->n_warmup
                                     : unasked,
        .n_steps = n_steps,
        .decay = o->schedule == AIGC_SCHEDULE_STABLE ? (uint64_t)decay : 0,
    };
}

aigc_status trainer_prepare(aigc_trainer *t, uint64_t n_steps, int64_t warmup, aigc_error *err)
{
    if (n_steps > UINT32_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a run must be from 0 to %" PRIu32 " steps, not %" PRIu64, UINT32_MAX,
                         n_steps);
    t->schedule = make_schedule(&t->options, n_steps, warmup);
    if (t->started)
        return AIGC_OK;
    aigc_status status =
        window_order_create(&t->order, t->options.seed, t->text[AIGC_TEXT_TRAIN].n, (size_t)t->options.n_context, err);
    t->started = status == AIGC_OK;
    return status;
}

aigc_status aigc_trainer_start(aigc_trainer *t, uint64_t n_steps, aigc_error *err)
{
    aigc_status status = trainer_prepare(t, n_steps, -1, err);
    if (status != AIGC_OK)
        return status;
    const learn_layout *layout = learner_layout(t->core);
    size_t bytes = layout->n_floats * sizeof(float);
    memset(learner_weights(t->core), 0, bytes);
    memset(learner_gradients(t->core), 0, bytes);
    memset(learner_moments(t->core, 0), 0, bytes);
    memset(learner_moments(t->core, 1), 0, bytes);
    if (t->init != NULL)
        initial_weights(t->init, layout, learner_weights(t->core));
    else
        layout_start(layout, t->options.seed, learner_weights(t->core));
    t->step = 0;
    return AIGC_OK;
}

/* ---- steps ---- */

static learn_batch batch_at(const aigc_trainer *t, int number)
{
    size_t at = (size_t)number * (size_t)t->options.n_sequences * (size_t)t->options.n_context;
    return (learn_batch){t->ids + at, t->targets + at, t->first + at};
}

/* Cuts sequence number `sequence` of the step out of the text. Returns its number of targets. */
static size_t fill_sequence(aigc_trainer *t, const corpus *c, size_t sequence, size_t start)
{
    size_t n = (size_t)t->options.n_context, at = sequence * n;
    return corpus_window(c, start, n, t->ids + at, t->targets + at, t->first + at);
}

aigc_status aigc_trainer_step(aigc_trainer *t, aigc_train_progress *progress, aigc_error *err)
{
    const aigc_train_options *o = &t->options;
    if (!t->started || t->step >= t->schedule.n_steps)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the run of %" PRIu64 " steps is over or was not started",
                         t->schedule.n_steps);
    uint64_t n_sequences = (uint64_t)o->n_sequences * (uint64_t)o->n_accumulate;
    size_t n_targets = 0;
    double loss = 0, part;
    for (uint64_t i = 0; i < n_sequences; i++)
        n_targets += fill_sequence(t, &t->text[AIGC_TEXT_TRAIN], i, window_start(&t->order, t->step * n_sequences + i));
    if (n_targets == 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the text has no document of two tokens");
    for (int i = 0; i < o->n_accumulate; i++) {
        learn_batch batch = batch_at(t, i);
        aigc_status status = learner_backward(t->core, &batch, 1.0f / (float)n_targets, &part, err);
        if (status != AIGC_OK)
            return status;
        loss += part;
    }
    const adamw_options adamw = {o->beta1, o->beta2, 1e-8, o->weight_decay, o->clip};
    double rate = schedule_rate(&t->schedule, t->step + 1);
    double norm = learner_update(t->core, &adamw, rate, t->step + 1);
    if (!isfinite(norm) || !isfinite(loss))
        return aigc_fail(err, AIGC_E_LIMIT,
                         "step %" PRIu64 ": the loss is %g and its gradient's norm %g: a lower "
                         "learning rate than %g may help",
                         t->step + 1, loss / (double)n_targets, norm, o->rate);
    t->step++;
    *progress = (aigc_train_progress){t->step, t->schedule.n_steps, loss / (double)n_targets, norm, rate};
    return AIGC_OK;
}

/* ---- evaluation ---- */

/* Bytes that the targets of the batch in hand stand for. */
static uint64_t count_bytes(const aigc_trainer *t)
{
    char piece[TOKEN_MAX_BYTES];
    uint64_t bytes = 0;
    size_t n = (size_t)t->options.n_sequences * (size_t)t->options.n_context;
    for (size_t i = 0; i < n; i++)
        if (t->targets[i] >= 0) {
            int len = tokenizer_piece(t->tokens, t->targets[i], false, AIGC_TEXT_PLAIN, piece);
            bytes += len > 0 ? (uint64_t)len : 0;
        }
    return bytes;
}

aigc_status aigc_trainer_evaluate(aigc_trainer *t, aigc_train_score *score, aigc_error *err)
{
    const corpus *c = &t->text[AIGC_TEXT_VALID];
    size_t n_context = (size_t)t->options.n_context, n_sequences = (size_t)t->options.n_sequences;
    if (c->n < 2)
        return aigc_fail(err, AIGC_E_ARGUMENT, "there is no text to evaluate on");
    size_t n_windows = (c->n - 1 + n_context - 1) / n_context, n_used = t->options.valid_tokens / n_context;
    n_used = n_used < 1 ? 1 : n_used < n_windows ? n_used : n_windows;
    double total = 0, part;
    *score = (aigc_train_score){0};
    for (size_t done = 0; done < n_used; done += n_sequences) {
        for (size_t s = 0; s < n_sequences; s++) {
            size_t window = done + s < n_used ? (done + s) * n_windows / n_used : n_windows; /* behind the end: empty */
            score->n_tokens += fill_sequence(t, c, s, window * n_context);
        }
        learn_batch batch = batch_at(t, 0);
        aigc_status status = learner_loss(t->core, &batch, &part, err);
        if (status != AIGC_OK)
            return status;
        total += part;
        score->n_bytes += count_bytes(t);
    }
    if (score->n_tokens > 0)
        score->loss = total / (double)score->n_tokens;
    if (score->n_bytes > 0)
        score->bits_per_byte = total / M_LN2 / (double)score->n_bytes;
    return AIGC_OK;
}

/* ---- models ---- */

aigc_status aigc_trainer_write(const aigc_trainer *t, const char *path, const char *type, const char *name,
                               aigc_error *err)
{
    static const tensor_type types[] = {TYPE_F32, TYPE_F16, TYPE_BF16, TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_K, TYPE_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(tensor_type_describe(types[i])->name, type) == 0)
            return layout_write_model(learner_layout(t->core), learner_weights(t->core), types[i], t->vocabulary, name,
                                      path, err);
    return aigc_fail(err, AIGC_E_ARGUMENT, "weights can't be written as '%s' (F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K)",
                     type);
}
