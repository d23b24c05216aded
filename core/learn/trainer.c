/* trainer.c: the training interface of aigc.h over learner.h, corpus.h and schedule.h; feed.c and evaluate.c are parts
 * of it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "learn/dropout.h"
#include "learn/rewrite.h"
#include "learn/trainer.h"

enum { ZERO_AT_ONCE = 1 << 20, MOST_THREADS_UNASKED = 8, MOST_WARMUP_UNASKED = 1000 };

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
        .optimiser = AIGC_OPTIMISER_MUON,
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
    if ((status = check_real("the learning rate", o->rate, 0, 100, err)) != AIGC_OK ||
        (status = check_real("the last learning rate's part", o->least_rate, 0, 1.000001, err)) != AIGC_OK ||
        (status = check_real("dropout", o->dropout, 0, 1, err)) != AIGC_OK ||
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
    if (o->precision != AIGC_PRECISION_F32 && o->precision != AIGC_PRECISION_BF16)
        return aigc_fail(err, AIGC_E_ARGUMENT, "precision %d does not exist", (int)o->precision);
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

static aigc_status check_same(const char *what, int asked, uint32_t has, aigc_error *err)
{
    if (asked == 0 || (int64_t)asked == (int64_t)has)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "the model to begin from has %" PRIu32 " %s, not %d", has, what, asked);
}

/* Whether the options contradict the model to begin from. */
static aigc_status check_init(const aigc_train_options *o, const aigc_model *init, aigc_error *err)
{
    const hyperparameters *hp = &init->hp;
    const char *family = init->recipe->name;
    aigc_status status;
    if (o->architecture != NULL && strcmp(o->architecture, family) != 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the model to begin from is a %s, not a %s", family, o->architecture);
    if (o->untied && init->output.data == init->token_embd.data)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the model to begin from has no output matrix of its own");
    if ((status = check_same("layers", o->n_layers, hp->n_layers, err)) != AIGC_OK ||
        (status = check_same("dimensions (its width)", o->n_embd, hp->n_embd, err)) != AIGC_OK ||
        (status = check_same("heads", o->n_heads, hp->n_heads, err)) != AIGC_OK ||
        (status = check_same("key-value heads", o->n_kv_heads, hp->n_kv_heads, err)) != AIGC_OK ||
        (status = check_same("feed-forward dimensions", o->n_ff, hp->n_ff, err)) != AIGC_OK)
        return status;
    if (init->recipe->position == POSITION_LEARNED)
        return check_same("learned positions (its context)", o->n_context, hp->n_context, err);
    return AIGC_OK;
}

/* The options as they turned out. */
static void settle_options(aigc_train_options *o, const learn_layout *l)
{
    const hyperparameters *hp = &l->hp;
    o->architecture = l->recipe->name; /* lives as long as the program */
    o->n_layers = (int)hp->n_layers;
    o->n_embd = (int)hp->n_embd;
    o->n_heads = (int)hp->n_heads;
    o->n_kv_heads = (int)hp->n_kv_heads;
    o->n_ff = (int)hp->n_ff;
    o->n_context = (int)hp->n_context;
    o->untied = !l->tied;
}

static aigc_status take_batches(aigc_trainer *t, aigc_error *err)
{
    size_t n = (size_t)t->options.n_accumulate * (size_t)t->options.n_sequences * (size_t)t->options.n_context;
    t->ids = aigc_calloc(n, sizeof *t->ids);
    t->targets = aigc_calloc(n, sizeof *t->targets);
    t->first = aigc_calloc(n, sizeof *t->first);
    t->owners = aigc_calloc(n, sizeof *t->owners);
    t->factors = aigc_calloc(n / (size_t)t->options.n_accumulate, sizeof *t->factors);
    if (t->ids == NULL || t->targets == NULL || t->first == NULL || t->owners == NULL || t->factors == NULL)
        return aigc_fail_memory(err, "the tokens of a step", 5 * n * sizeof *t->ids);
    return AIGC_OK;
}

aigc_status trainer_load_init(aigc_trainer *t, aigc_error *err)
{
    const learn_layout *layout = learner_layout(t->core);
    float *weights = learner_weights(t->core);
    if (layout_start_from(layout, t->init, t->options.seed, trainer_interrupt(t), weights) &&
        layout_hash(layout, weights, trainer_interrupt(t), &t->init_hash))
        return AIGC_OK;
    return aigc_fail(err, AIGC_INTERRUPTED, "reading the model to begin from was interrupted");
}

/* The learner for a vocabulary and the shape that the options ask for. */
static aigc_status open_fresh(aigc_trainer *t, const char *tokenizer_path, aigc_error *err)
{
    aigc_train_options *o = &t->options;
    aigc_status status;
    if ((status = gguf_open(tokenizer_path, &t->vocabulary, err)) != AIGC_OK ||
        (status = tokenizer_open(t->vocabulary, &t->tokens, err)) != AIGC_OK)
        return status;
    learn_shape shape = shape_of(o, tokenizer_n_vocab(t->tokens));
    if ((status = learner_create(&shape, o->n_sequences, o->n_threads, &t->core, err)) == AIGC_OK)
        settle_options(o, learner_layout(t->core));
    return status;
}

/* The learner for a model to begin from. */
static aigc_status open_init(aigc_trainer *t, aigc_error *err)
{
    aigc_train_options *o = &t->options;
    aigc_status status;
    if ((status = aigc_model_open(o->init, AIGC_MODEL_ALL, &t->init, err)) != AIGC_OK)
        return status;
    t->vocabulary = t->init->file;
    t->tokens = t->init->tokens;
    int n_context = o->n_context != 0 ? o->n_context : (int)t->init->hp.n_context;
    if ((status = check_init(o, t->init, err)) != AIGC_OK ||
        (status = learner_create_from(t->init, n_context, 0, 0, o->n_sequences, o->n_threads, &t->core, err)) !=
            AIGC_OK)
        return status;
    settle_options(o, learner_layout(t->core));
    return trainer_load_init(t, err);
}

static aigc_status open_core(aigc_trainer *t, const char *tokenizer_path, aigc_error *err)
{
    const aigc_train_options *o = &t->options;
    return o->base != NULL   ? trainer_open_base(t, err)
           : o->init != NULL ? open_init(t, err)
                             : open_fresh(t, tokenizer_path, err);
}

static aigc_status open_parts(aigc_trainer *t, const char *tokenizer_path, aigc_error *err)
{
    aigc_train_options *o = &t->options;
    aigc_status status = check_options(o, err);
    if (status == AIGC_OK && (tokenizer_path != NULL) + (o->init != NULL) + (o->base != NULL) != 1)
        return aigc_fail(err, AIGC_E_ARGUMENT, "give either a vocabulary or a model to begin from, which has its own");
    if (status != AIGC_OK)
        return status;
    if (o->n_threads == 0)
        o->n_threads = cpu_count() < MOST_THREADS_UNASKED ? cpu_count() : MOST_THREADS_UNASKED;
    gemm_precision precision = o->precision == AIGC_PRECISION_BF16 ? GEMM_BF16 : GEMM_F32;
    if ((status = open_core(t, tokenizer_path, err)) != AIGC_OK ||
        (status = learner_set_precision(t->core, precision, err)) != AIGC_OK ||
        (o->dropout > 0 && (status = learner_use_dropout(t->core, o->dropout, err)) != AIGC_OK) ||
        (o->optimiser == AIGC_OPTIMISER_MUON && (status = learner_use_muon(t->core, err)) != AIGC_OK) ||
        (status = corpus_create(&t->text[AIGC_TEXT_TRAIN], t->tokens, err)) != AIGC_OK ||
        (status = corpus_create(&t->text[AIGC_TEXT_VALID], t->tokens, err)) != AIGC_OK)
        return status;
    for (int i = 0; i < 2; i++)
        dataset_create(&t->examples[i], t->tokens, o->n_context);
    tokenizer_set_interrupt(t->tokens, o->interrupt);
    learner_set_interrupt(t->core, trainer_interrupt(t));
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
    dataset_free(&t->examples[AIGC_TEXT_TRAIN]);
    dataset_free(&t->examples[AIGC_TEXT_VALID]);
    window_order_free(&t->order);
    if (t->init == NULL) {
        tokenizer_close(t->tokens);
        gguf_close(t->vocabulary);
    }
    aigc_model_close(t->init);
    trainer_free_notes(t);
    free(t->ids);
    free(t->targets);
    free(t->first);
    free(t->owners);
    free(t->factors);
    free(t);
}

/* Windows that an epoch has. */
static size_t epoch_windows(const aigc_trainer *t)
{
    size_t n = t->text[AIGC_TEXT_TRAIN].n, n_context = (size_t)t->options.n_context;
    return n == 0 ? t->examples[AIGC_TEXT_TRAIN].n_windows : n > n_context ? (n - n_context) / n_context : 0;
}

static uint64_t count_examples(const dataset *d)
{
    return d->n_examples / (d->preferences ? 2 : 1);
}

void aigc_trainer_describe(const aigc_trainer *t, aigc_trainer_info *info)
{
    const learn_memory *m = learner_memory(t->core);
    const aigc_train_options *o = &t->options;
    const dataset *train = &t->examples[AIGC_TEXT_TRAIN], *valid = &t->examples[AIGC_TEXT_VALID];
    uint64_t step_windows = (uint64_t)o->n_sequences * (uint64_t)o->n_accumulate;
    *info = (aigc_trainer_info){
        .n_params = learner_layout(t->core)->n_params,
        .n_trained = learner_layout(t->core)->n_trained,
        .n_train_tokens = t->text[AIGC_TEXT_TRAIN].n + train->n_ids,
        .n_valid_tokens = t->text[AIGC_TEXT_VALID].n + valid->n_ids,
        .n_train_examples = count_examples(train),
        .n_valid_examples = count_examples(valid),
        .n_cut = train->n_cut,
        .epoch_steps = (epoch_windows(t) + step_windows - 1) / step_windows,
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

/* LoRA's matrices begin at zero and bear about ten times the rate of whole models; preferences want less. */
static double unasked_rate(const aigc_trainer *t)
{
    if (t->options.base == NULL)
        return t->options.optimiser == AIGC_OPTIMISER_MUON ? 3e-3 : 1e-3;
    double rate = t->options.lora_rank > 0 ? 1e-3 : 1e-4;
    return t->examples[AIGC_TEXT_TRAIN].preferences ? rate / 5 : rate;
}

aigc_status trainer_prepare(aigc_trainer *t, uint64_t n_steps, int64_t warmup, aigc_error *err)
{
    if (n_steps > UINT32_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a run must be from 0 to %" PRIu32 " steps, not %" PRIu64, UINT32_MAX,
                         n_steps);
    if (t->options.rate == 0)
        t->options.rate = unasked_rate(t);
    t->schedule = make_schedule(&t->options, n_steps, warmup);
    if (t->started)
        return AIGC_OK;
    const dataset *d = &t->examples[AIGC_TEXT_TRAIN];
    const corpus *text = &t->text[AIGC_TEXT_TRAIN];
    aigc_status status = d->n_windows > 0 ? window_order_of(&t->order, t->options.seed, d->n_windows, err)
                                          : window_order_create(&t->order, t->options.seed, text->n, text->parts,
                                                                text->n_parts, (size_t)t->options.n_context, err);
    t->started = status == AIGC_OK;
    return status;
}

/* False: interrupted. Gigabytes take their time, since the system gives their pages now. */
static bool set_zero(float *array, size_t n, const volatile sig_atomic_t *interrupt)
{
    for (size_t at = 0; at < n; at += ZERO_AT_ONCE) {
        if (interrupt != NULL && *interrupt)
            return false;
        memset(array + at, 0, (n - at < ZERO_AT_ONCE ? n - at : ZERO_AT_ONCE) * sizeof *array);
    }
    return true;
}

aigc_status trainer_first_weights(aigc_trainer *t, aigc_error *err)
{
    const volatile sig_atomic_t *interrupt = trainer_interrupt(t);
    const learn_layout *layout = learner_layout(t->core);
    size_t n = layout_trained_floats(layout);
    bool whole = set_zero(learner_weights(t->core), layout->n_floats, interrupt) &&
                 set_zero(learner_gradients(t->core), n, interrupt) &&
                 set_zero(learner_moments(t->core, 0), n, interrupt) &&
                 set_zero(learner_moments(t->core, 1), n, interrupt);
    t->updating = false;
    learner_abandon_update(t->core);
    if (whole && t->init != NULL)
        whole = layout_start_from(layout, t->init, t->options.seed, interrupt, learner_weights(t->core));
    else if (whole)
        whole = layout_start(layout, t->options.seed, interrupt, learner_weights(t->core));
    if (!whole)
        return aigc_fail(err, AIGC_INTERRUPTED, "the start of training was interrupted");
    return preference_references(t, err);
}

aigc_status aigc_trainer_start(aigc_trainer *t, uint64_t n_steps, aigc_error *err)
{
    aigc_status status = trainer_prepare(t, n_steps, -1, err);
    if (status == AIGC_OK)
        status = trainer_first_weights(t, err);
    t->step = 0;
    return status;
}

/* ---- steps ---- */

learn_batch trainer_batch(const aigc_trainer *t, int number)
{
    size_t at = (size_t)number * (size_t)t->options.n_sequences * (size_t)t->options.n_context;
    return (learn_batch){t->ids + at, t->targets + at, t->first + at};
}

size_t trainer_fill(aigc_trainer *t, aigc_train_text kind, size_t sequence, size_t window)
{
    size_t n = (size_t)t->options.n_context, at = sequence * n;
    if (t->examples[kind].n_windows > 0)
        return dataset_window(&t->examples[kind], window, t->ids + at, t->targets + at, t->first + at, t->owners + at);
    return corpus_window(&t->text[kind], window, n, t->ids + at, t->targets + at, t->first + at);
}

/* Gradients of the mean loss over the step's n_targets targets. */
static aigc_status backward(aigc_trainer *t, size_t n_targets, aigc_train_progress *progress, aigc_error *err)
{
    double loss = 0, part;
    for (int i = 0; i < t->options.n_accumulate; i++) {
        learn_batch batch = trainer_batch(t, i);
        uint64_t number = t->step * (uint64_t)t->options.n_accumulate + (uint64_t)i;
        learner_set_dropout_key(t->core, dropout_key(t->options.seed, number));
        aigc_status status = learner_backward(t->core, &batch, 1.0f / (float)n_targets, &part, err);
        if (status != AIGC_OK)
            return status;
        loss += part;
    }
    progress->loss = loss / (double)n_targets;
    return AIGC_OK;
}

/* Cuts the step's windows out of the text, and computes their gradients. */
static aigc_status compute_gradients(aigc_trainer *t, aigc_train_progress *progress, aigc_error *err)
{
    uint64_t n_sequences = (uint64_t)t->options.n_sequences * (uint64_t)t->options.n_accumulate;
    size_t n_targets = 0;
    *progress = (aigc_train_progress){.step = t->step + 1, .n_steps = t->schedule.n_steps};
    progress->rate = schedule_rate(&t->schedule, progress->step);
    for (uint64_t i = 0; i < n_sequences; i++)
        n_targets += trainer_fill(t, AIGC_TEXT_TRAIN, i, window_start(&t->order, t->step * n_sequences + i));
    if (n_targets == 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the text has no document of two tokens");
    return t->examples[AIGC_TEXT_TRAIN].preferences ? preference_backward(t, progress, err)
                                                    : backward(t, n_targets, progress, err);
}

aigc_status aigc_trainer_step(aigc_trainer *t, aigc_train_progress *progress, aigc_error *err)
{
    const aigc_train_options *o = &t->options;
    aigc_train_progress *p = &t->updated;
    aigc_status status;
    if (!t->started || t->step >= t->schedule.n_steps)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the run of %" PRIu64 " steps is over or was not started",
                         t->schedule.n_steps);
    if (!t->updating && (status = compute_gradients(t, p, err)) != AIGC_OK)
        return status;
    t->updating = true;
    const adamw_options adamw = {o->beta1, o->beta2, 1e-8, o->weight_decay, o->clip};
    if ((status = learner_update(t->core, &adamw, p->rate, p->step, &p->gradient_norm, err)) != AIGC_OK)
        return status;
    t->updating = false;
    if (!isfinite(p->gradient_norm) || !isfinite(p->loss))
        return aigc_fail(err, AIGC_E_LIMIT,
                         "step %" PRIu64 ": the loss is %g and its gradient's norm %g: a lower "
                         "learning rate than %g may help",
                         p->step, p->loss, p->gradient_norm, o->rate);
    t->step++;
    *progress = *p;
    return AIGC_OK;
}

/* ---- models ---- */

aigc_status aigc_trainer_check_type(const char *type, aigc_error *err)
{
    tensor_type found;
    return rewrite_find_type(type, &found, err);
}

aigc_status aigc_trainer_write(const aigc_trainer *t, const char *path, const char *type, const char *name,
                               aigc_error *err)
{
    tensor_type as;
    if (t->init != NULL)
        return trainer_write_base(t, path, type, name, err);
    const model_metadata metadata = {t->vocabulary, name, t->notes, t->n_notes};
    aigc_status status = rewrite_find_type(type, &as, err);
    return status == AIGC_OK ? layout_write_model(learner_layout(t->core), learner_weights(t->core), as, &metadata,
                                                  trainer_interrupt(t), path, err)
                             : status;
}
