/*
 * checkpoint.c: a run's state as a GGUF file: weights and moments as they stand, the step, and in one line what else
 * the numbers follow from, so that a run is never continued with other text or options.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "learn/trainer.h"

enum { RECIPE_BYTES = 1024, N_ARRAYS = 3 };

static const char *const array_names[N_ARRAYS] = {"train.weights", "train.mean", "train.square"};

static float *array_at(const aigc_trainer *t, int i)
{
    float *trained = learner_weights(t->core) + learner_layout(t->core)->first_trained;
    return i == 0 ? trained : learner_moments(t->core, i - 1);
}

/* What an adapted base and examples add to it. */
static void describe_adaptation(const aigc_trainer *t, char out[RECIPE_BYTES])
{
    const aigc_train_options *o = &t->options;
    const dataset *d = &t->examples[AIGC_TEXT_TRAIN];
    size_t n = strlen(out);
    if (o->base != NULL)
        n += (size_t)snprintf(out + n, RECIPE_BYTES - n, " lora-rank=%d lora-alpha=%a", o->lora_rank, o->lora_alpha);
    if (d->n_examples > 0)
        n += (size_t)snprintf(out + n, RECIPE_BYTES - n, " examples=%zu data=%016" PRIx64, d->n_examples, d->hash);
    if (d->preferences)
        snprintf(out + n, RECIPE_BYTES - n, " preference-beta=%a", o->preference_beta);
}

/*
 * What must not change: words separated by spaces, numbers printed exactly (%a). Length, decay and last rate stand
 * apart (save_schedule()). A word for an option that came later is left out where the option is at its default, so that
 * older checkpoints go on.
 */
static void describe_run(const aigc_trainer *t, char out[RECIPE_BYTES])
{
    const aigc_train_options *o = &t->options;
    const hyperparameters *hp = &learner_layout(t->core)->hp;
    snprintf(out, RECIPE_BYTES,
             "arch=%s layers=%" PRIu32 " width=%" PRIu32 " heads=%" PRIu32 " kv-heads=%" PRIu32 " ff=%" PRIu32
             " context=%" PRIu32 " vocabulary=%" PRIu32 " tied=%d batch=%d accumulate=%d schedule=%d rate=%a"
             " warmup=%" PRIu64 " beta1=%a beta2=%a decay=%a clip=%a seed=%" PRIu64 " tokens=%zu text=%016" PRIx64
             " init=%016" PRIx64 "%s%s",
             o->architecture, hp->n_layers, hp->n_embd, hp->n_heads, hp->n_kv_heads, hp->n_ff, hp->n_context,
             hp->n_vocab, !o->untied, o->n_sequences, o->n_accumulate, (int)o->schedule, o->rate, t->schedule.warmup,
             o->beta1, o->beta2, o->weight_decay, o->clip, o->seed, t->text[AIGC_TEXT_TRAIN].n,
             t->text[AIGC_TEXT_TRAIN].hash, t->init_hash, o->optimiser == AIGC_OPTIMISER_MUON ? " optimizer=muon" : "",
             o->precision == AIGC_PRECISION_BF16 ? " precision=bf16" : "");
    size_t len = strlen(out);
    if (o->dropout > 0)
        snprintf(out + len, RECIPE_BYTES - len, " dropout=%a", o->dropout);
    describe_adaptation(t, out);
}

/* What a run under the stable schedule may change while its rate has not begun to fall. */
static void save_schedule(const aigc_trainer *t, gguf_writer *w)
{
    uint64_t least;
    memcpy(&least, &t->schedule.least, sizeof least);
    gguf_writer_set_u64(w, "train.steps", t->schedule.n_steps);
    gguf_writer_set_u64(w, "train.warmup", t->schedule.warmup);
    gguf_writer_set_u64(w, "train.decay", t->schedule.decay);
    gguf_writer_set_u64(w, "train.least_bits", least); /* of a double: u64 keeps it exact */
}

aigc_status aigc_trainer_save(const aigc_trainer *t, const char *path, aigc_error *err)
{
    size_t n = layout_trained_floats(learner_layout(t->core));
    uint64_t dims[1] = {n};
    char run[RECIPE_BYTES];
    gguf_writer *w;
    aigc_status status = gguf_writer_create(&w, err);
    if (status != AIGC_OK)
        return status;
    describe_run(t, run);
    gguf_writer_set_string(w, "train.run", run, strlen(run));
    gguf_writer_set_u64(w, "train.step", t->step);
    save_schedule(t, w);
    for (int i = 0; i < N_ARRAYS; i++)
        gguf_writer_add_tensor(w, array_names[i], TYPE_F32, 1, dims);
    status = gguf_writer_begin(w, path, err);
    for (int i = 0; i < N_ARRAYS && status == AIGC_OK; i++)
        status = gguf_writer_data(w, array_at(t, i), n * sizeof(float), err);
    if (status != AIGC_OK) {
        gguf_writer_abandon(w);
        return status;
    }
    return gguf_writer_finish(w, err);
}

/* Names the first word that differs; of words at the end, one of the two may have more. */
static aigc_status compare_runs(const char *path, gguf_string saved, const char *now, aigc_error *err)
{
    const char *s = saved.data, *end = saved.data + saved.len;
    while (s < end || *now != '\0') {
        size_t n = strcspn(now, " "), m = 0;
        while (s + m < end && s[m] != ' ')
            m++;
        if (n != m || memcmp(s, now, n) != 0)
            return aigc_fail(err, AIGC_E_ARGUMENT, "%s belongs to another run: it has %.*s, this one %.*s", path,
                             m > 0 ? (int)(m < 200 ? m : 200) : 4, m > 0 ? s : "none", n > 0 ? (int)n : 4,
                             n > 0 ? now : "none");
        now += now[n] != '\0' ? n + 1 : n;
        s = s + m < end ? s + m + 1 : end;
    }
    return AIGC_OK;
}

static aigc_status load_arrays(aigc_trainer *t, const gguf_file *file, aigc_error *err)
{
    size_t n = layout_trained_floats(learner_layout(t->core));
    const gguf_tensor *arrays[N_ARRAYS];
    for (int i = 0; i < N_ARRAYS; i++) {
        arrays[i] = gguf_find_tensor(file, array_names[i]);
        if (arrays[i] == NULL || arrays[i]->type != TYPE_F32 || arrays[i]->n_elements != n)
            return aigc_fail(err, AIGC_E_FORMAT, "%s: %s is missing or not of %zu floats", gguf_path(file),
                             array_names[i], n);
    }
    for (int i = 0; i < N_ARRAYS; i++)
        memcpy(array_at(t, i), arrays[i]->data, n * sizeof(float));
    memset(learner_gradients(t->core), 0, n * sizeof(float));
    return AIGC_OK;
}

/* The schedule that the run had, and its step. */
static aigc_status load_schedule(const aigc_trainer *t, const gguf_file *file, learn_schedule *s, uint64_t *step,
                                 aigc_error *err)
{
    static const char *const keys[] = {"train.step", "train.steps", "train.warmup", "train.decay", "train.least_bits"};
    int64_t values[5];
    for (int i = 0; i < 5; i++) {
        aigc_status status = gguf_get_i64(file, keys[i], true, &values[i], err);
        if (status != AIGC_OK)
            return status;
    }
    if (values[0] < 0 || values[1] < 0 || values[0] > values[1] || values[2] < 0 || values[3] < 0)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: step %" PRId64 " of %" PRId64 " does not exist", gguf_path(file),
                         values[0], values[1]);
    *s = (learn_schedule){.kind = t->options.schedule,
                          .n_steps = (uint64_t)values[1],
                          .warmup = (uint64_t)values[2],
                          .decay = (uint64_t)values[3]};
    memcpy(&s->least, &values[4], sizeof s->least);
    *step = (uint64_t)values[0];
    return AIGC_OK;
}

/* Whether the steps so far are those that the new schedule would have made. */
static aigc_status compare_schedules(const char *path, const learn_schedule *was, const learn_schedule *is,
                                     uint64_t step, aigc_error *err)
{
    if (was->n_steps == is->n_steps && was->decay == is->decay && was->least == is->least)
        return AIGC_OK;
    if (was->kind != AIGC_SCHEDULE_STABLE)
        return aigc_fail(err, AIGC_E_ARGUMENT,
                         "%s belongs to another run: of %" PRIu64 " steps to %g of the learning rate, not %" PRIu64
                         " to %g; only a stable schedule can be given another end",
                         path, was->n_steps, was->least, is->n_steps, is->least);
    if (step > is->n_steps)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s has made %" PRIu64 " steps, more than %" PRIu64, path, step,
                         is->n_steps);
    if (step > schedule_top(was))
        return aigc_fail(err, AIGC_E_ARGUMENT,
                         "%s is at step %" PRIu64 ", its learning rate has fallen since step %" PRIu64
                         ": it can't be given another end",
                         path, step, schedule_top(was));
    if (step > schedule_top(is))
        return aigc_fail(err, AIGC_E_ARGUMENT,
                         "%s is at step %" PRIu64 ", but the learning rate should have fallen since step %" PRIu64,
                         path, step, schedule_top(is));
    return AIGC_OK;
}

/* length: 0 for the checkpoint's own */
static aigc_status load_file(aigc_trainer *t, const gguf_file *file, uint64_t length, bool more, aigc_error *err)
{
    learn_schedule was;
    uint64_t step = 0;
    gguf_string saved = {"", 0};
    char run[RECIPE_BYTES];
    aigc_status status;
    if ((status = load_schedule(t, file, &was, &step, err)) != AIGC_OK ||
        (status = gguf_get_string(file, "train.run", true, &saved, err)) != AIGC_OK)
        return status;
    uint64_t n_steps = length == 0 ? was.n_steps : length + (more ? step : 0);
    if ((status = trainer_prepare(t, n_steps, t->options.n_warmup < 0 ? (int64_t)was.warmup : -1, err)) != AIGC_OK)
        return status;
    describe_run(t, run);
    if ((status = compare_runs(gguf_path(file), saved, run, err)) != AIGC_OK ||
        (status = compare_schedules(gguf_path(file), &was, &t->schedule, step, err)) != AIGC_OK ||
        (t->options.base != NULL && (status = trainer_first_weights(t, err)) != AIGC_OK) ||
        (status = load_arrays(t, file, err)) != AIGC_OK)
        return status;
    t->step = step;
    return AIGC_OK;
}

static aigc_status load(aigc_trainer *t, const char *path, uint64_t length, bool more, aigc_error *err)
{
    gguf_file *file;
    aigc_status status = gguf_open(path, &file, err);
    if (status != AIGC_OK)
        return status;
    status = load_file(t, file, length, more, err);
    gguf_close(file);
    return status;
}

aigc_status aigc_trainer_load(aigc_trainer *t, const char *path, aigc_error *err)
{
    return load(t, path, 0, false, err);
}

aigc_status aigc_trainer_branch(aigc_trainer *t, const char *path, uint64_t n_steps, bool more, aigc_error *err)
{
    if (n_steps < 1 || n_steps > UINT32_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a run must be from 1 to %" PRIu32 " steps, not %" PRIu64, UINT32_MAX,
                         n_steps);
    return load(t, path, n_steps, more, err);
}
