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
    return i == 0 ? learner_weights(t->core) : learner_moments(t->core, i - 1);
}

/* Words separated by spaces. Numbers are printed exactly: %a. */
static void describe_run(const aigc_trainer *t, char out[RECIPE_BYTES])
{
    const aigc_train_options *o = &t->options;
    const hyperparameters *hp = &learner_layout(t->core)->hp;
    snprintf(out, RECIPE_BYTES,
             "arch=%s layers=%" PRIu32 " width=%" PRIu32 " heads=%" PRIu32 " kv-heads=%" PRIu32 " ff=%" PRIu32
             " context=%" PRIu32 " vocabulary=%" PRIu32 " tied=%d batch=%d accumulate=%d schedule=%d rate=%a least=%a"
             " warmup=%" PRIu64 " beta1=%a beta2=%a decay=%a clip=%a seed=%" PRIu64 " tokens=%zu text=%016" PRIx64,
             o->architecture, hp->n_layers, hp->n_embd, hp->n_heads, hp->n_kv_heads, hp->n_ff, hp->n_context,
             hp->n_vocab, o->tied, o->n_sequences, o->n_accumulate, (int)o->schedule, o->rate, o->least_rate,
             t->schedule.warmup, o->beta1, o->beta2, o->weight_decay, o->clip, o->seed, t->text[AIGC_TEXT_TRAIN].n,
             t->text[AIGC_TEXT_TRAIN].hash);
}

aigc_status aigc_trainer_save(const aigc_trainer *t, const char *path, aigc_error *err)
{
    size_t n = learner_layout(t->core)->n_floats;
    uint64_t dims[1] = {n};
    char run[RECIPE_BYTES];
    gguf_writer *w;
    aigc_status status = gguf_writer_create(&w, err);
    if (status != AIGC_OK)
        return status;
    describe_run(t, run);
    gguf_writer_set_string(w, "train.run", run, strlen(run));
    gguf_writer_set_u64(w, "train.step", t->step);
    gguf_writer_set_u64(w, "train.steps", t->schedule.n_steps);
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

/* Names the first word that differs. */
static aigc_status compare_runs(const char *path, gguf_string saved, const char *now, aigc_error *err)
{
    const char *s = saved.data, *end = saved.data + saved.len;
    for (;;) {
        size_t n = strcspn(now, " "), m = 0;
        while (s + m < end && s[m] != ' ')
            m++;
        if (n != m || memcmp(s, now, n) != 0)
            return aigc_fail(err, AIGC_E_ARGUMENT, "%s belongs to another run: it has %.*s, this one %.*s", path,
                             (int)(m < 200 ? m : 200), s, (int)n, now);
        if (now[n] == '\0')
            return s + m == end ? AIGC_OK
                                : aigc_fail(err, AIGC_E_FORMAT, "%s says more than it should of its run", path);
        now += n + 1;
        s = s + m < end ? s + m + 1 : end;
    }
}

static aigc_status load_arrays(aigc_trainer *t, const gguf_file *file, aigc_error *err)
{
    size_t n = learner_layout(t->core)->n_floats;
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

static aigc_status load_file(aigc_trainer *t, const gguf_file *file, aigc_error *err)
{
    int64_t step = 0, n_steps = 0;
    gguf_string saved = {"", 0};
    char run[RECIPE_BYTES];
    aigc_status status;
    if ((status = gguf_get_i64(file, "train.step", true, &step, err)) != AIGC_OK ||
        (status = gguf_get_i64(file, "train.steps", true, &n_steps, err)) != AIGC_OK ||
        (status = gguf_get_string(file, "train.run", true, &saved, err)) != AIGC_OK)
        return status;
    if (step < 0 || n_steps < 1 || step > n_steps)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: step %" PRId64 " of %" PRId64 " does not exist", gguf_path(file),
                         step, n_steps);
    if ((status = trainer_prepare(t, (uint64_t)n_steps, err)) != AIGC_OK)
        return status;
    describe_run(t, run);
    if ((status = compare_runs(gguf_path(file), saved, run, err)) != AIGC_OK ||
        (status = load_arrays(t, file, err)) != AIGC_OK)
        return status;
    t->step = (uint64_t)step;
    return AIGC_OK;
}

aigc_status aigc_trainer_load(aigc_trainer *t, const char *path, aigc_error *err)
{
    gguf_file *file;
    aigc_status status = gguf_open(path, &file, err);
    if (status != AIGC_OK)
        return status;
    status = load_file(t, file, err);
    gguf_close(file);
    return status;
}
