/*
 * training_run.c: a run of core's trainer in the calling session, for train_model() and finetune_model().
 *
 * Interrupts are looked for between steps, and one that comes within a step ends it early: core returns
 * AIGC_INTERRUPTED and begins the step anew if the interrupt was none that ends the query.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/pmsignal.h"
#include "training.h"
#include "utils/builtins.h"

enum {
    TRIAL_STEPS = 4, /* that are timed when minutes are given; the first one is not */
    TEXTS_BETWEEN_CHECKS = 64
};

const char *const precision_names[] = {"f32", "bf16", NULL};
const char *const schedule_names[] = {"cosine", "stable", NULL};
const char *const optimiser_names[] = {"adamw", "muon", NULL};

/* ---- settings ---- */

void training_check_call(const char *function)
{
    char *call = psprintf("%s()", function);

    PreventCommandDuringRecovery(call);
    PreventCommandIfReadOnly(call);
}

void training_check_settings(RunSettings *s)
{
    aigc_error error;

    if ((s->steps > 0) + (s->minutes > 0) + (s->epochs > 0) != 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("options must have one of \"steps\", \"minutes\" and \"epochs\""),
                        errhint("For example {\"minutes\": 15}.")));
    if (s->type && aigc_trainer_check_type(text_to_utf8_cstring(s->type), &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    s->train.n_threads = setting_threads;
    s->train.interrupt = &InterruptPending;
    s->train.interrupt_steps = true;
}

/* ---- memory ---- */

static size_t memory_limit(void)
{
    return (size_t)setting_training_memory * 1024 * 1024;
}

void training_check_memory(size_t bytes, const char *detail)
{
    if (bytes > memory_limit())
        ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                        errmsg("training needs %zu MB of memory, but aigc.training_memory is %d MB", (bytes >> 20) + 1,
                               setting_training_memory),
                        errdetail("%s", detail)));
}

/* What the trainer has planned, and its text: four bytes a token, up to twice that while it grows. */
static void check_trainer_memory(const Training *t)
{
    aigc_trainer_info info;

    aigc_trainer_describe(t->trainer, &info);
    size_t weights = info.weight_bytes + info.gradient_bytes + info.moment_bytes;
    size_t activations = info.activation_bytes + info.scratch_bytes;
    size_t texts = (size_t)(info.n_train_tokens + info.n_valid_tokens) * 2 * sizeof(int32);
    if (weights + activations + texts > memory_limit())
        training_check_memory(weights + activations + texts,
                              psprintf("Weights, gradients and moments take %zu MB, activations %zu MB (less with a "
                                       "smaller \"batch\" or \"context\"), texts %zu MB.",
                                       weights >> 20, activations >> 20, texts >> 20));
}

/* ---- texts ---- */

void training_open(Training *t, const char *vocabulary, const char *model, const char *path)
{
    aigc_status status;
    aigc_error error;

    do {
        check_interrupts();
        t->trainer = NULL;
        status = aigc_trainer_create(vocabulary, &t->settings->train, &t->trainer, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK) {
        t->trainer = NULL;
        /* Core begins what it says of a file with its path, which not everybody may know. */
        if (model && strncmp(error.message, path, strlen(path)) == 0)
            raise_model_error(model, path, &error, NULL);
        raise_core_error(&error, NULL);
    }
    /* Its pages are taken from the system as they are used: until here next to none. */
    check_trainer_memory(t);
}

/* Held-out texts are spread evenly over the rows: row i is one where i * part passes an integer. */
static bool is_held_out(const Training *t, int64 i)
{
    return floor((double)(i + 1) * t->settings->held_out) > floor((double)i * t->settings->held_out);
}

/* A row of the query as core takes it. */
static aigc_status feed_row(Training *t, aigc_train_text kind, const char *texts[3], size_t lens[3], aigc_error *error)
{
    switch (t->texts.form) {
    case TEXT_ANSWERS:
        return aigc_trainer_feed_pair(t->trainer, kind, texts[0], lens[0], texts[1], lens[1], error);
    case TEXT_PREFERENCES:
        return aigc_trainer_feed_preference(t->trainer, kind, texts[0], lens[0], texts[1], lens[1], texts[2], lens[2],
                                            error);
    case TEXT_PLAIN:
        break;
    }
    return aigc_trainer_feed(t->trainer, kind, texts[0], lens[0], error);
}

static void feed_texts(Training *t)
{
    const char *texts[3];
    size_t lens[3];
    aigc_status status;
    aigc_error error;
    int64 i = 0;

    progress_phase(&t->progress, "tokenizing texts", t->texts.n_rows);
    text_spool_rewind(&t->texts);
    while (text_spool_next(&t->texts, texts, lens)) {
        do {
            check_interrupts();
            status = feed_row(t, is_held_out(t, i) ? AIGC_TEXT_VALID : AIGC_TEXT_TRAIN, texts, lens, &error);
        } while (status == AIGC_INTERRUPTED);
        if (status != AIGC_OK)
            raise_core_error(&error, NULL);
        if (++i % TEXTS_BETWEEN_CHECKS == 0) {
            check_trainer_memory(t);
            progress_update(&t->progress, i, NAN, 0);
        }
    }
    check_trainer_memory(t);
    text_spool_free(&t->texts);
}

/* ---- steps ---- */

double training_seconds(const instr_time *began)
{
    instr_time now;

    INSTR_TIME_SET_CURRENT(now);
    INSTR_TIME_SUBTRACT(now, *began);
    return INSTR_TIME_GET_DOUBLE(now);
}

static void start(Training *t, uint64 n_steps)
{
    aigc_status status;
    aigc_error error;

    do {
        check_interrupts();
        status = aigc_trainer_start(t->trainer, n_steps, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
}

static void step(Training *t)
{
    aigc_status status;
    aigc_error error;

    do {
        check_interrupts();
        /* A run of hours must not outlive the server: a new one could not start. */
        if (IsUnderPostmaster && !PostmasterIsAlive())
            ereport(FATAL,
                    (errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("terminating training because the postmaster is gone")));
        status = aigc_trainer_step(t->trainer, &t->last, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
}

/* How many steps fit into the minutes: a few are run and forgotten. */
static double count_steps_of_minutes(Training *t)
{
    instr_time began;

    progress_phase(&t->progress, "timing steps", TRIAL_STEPS);
    start(t, TRIAL_STEPS);
    for (int i = 0; i < TRIAL_STEPS; i++) {
        if (i == 1)
            INSTR_TIME_SET_CURRENT(began);
        step(t);
    }
    return t->settings->minutes * 60 / (training_seconds(&began) / (TRIAL_STEPS - 1));
}

static uint64 count_steps(Training *t)
{
    const RunSettings *s = t->settings;
    aigc_trainer_info info;

    aigc_trainer_describe(t->trainer, &info);
    double n = s->steps > 0 ? s->steps : s->epochs > 0 ? ceil(s->epochs * info.epoch_steps) : count_steps_of_minutes(t);
    return n < 1 ? 1 : n < MOST_STEPS ? (uint64)n : MOST_STEPS;
}

static void evaluate(Training *t, aigc_train_score *score)
{
    aigc_trainer_info info;
    aigc_status status;
    aigc_error error;

    aigc_trainer_describe(t->trainer, &info);
    if (info.n_valid_tokens < 2 && info.n_valid_examples == 0)
        return;
    progress_phase(&t->progress, "evaluating", 0);
    do {
        check_interrupts();
        status = aigc_trainer_evaluate(t->trainer, score, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
}

static void run_steps(Training *t)
{
    uint64 n_steps = count_steps(t);
    aigc_trainer_info info;
    instr_time began;

    aigc_trainer_describe(t->trainer, &info);
    start(t, n_steps);
    if (t->score_start)
        evaluate(t, &t->start_score);
    progress_phase(&t->progress, "training", (int64)n_steps);
    INSTR_TIME_SET_CURRENT(began);
    do {
        step(t);
        progress_update(&t->progress, (int64)t->last.step, t->last.loss,
                        (double)(t->last.step * info.step_tokens) / training_seconds(&began));
    } while (t->last.step < n_steps);
    evaluate(t, &t->score);
}

/* ---- the file ---- */

static void write_model(Training *t)
{
    const text *given = t->settings->type;
    const char *type = given ? text_to_utf8_cstring(given) : t->settings->train.base ? NULL : "F32";
    aigc_status status;
    aigc_error error;

    progress_phase(&t->progress, "writing model", 0);
    do {
        check_interrupts();
        status = t->adapter ? aigc_trainer_write_adapter(t->trainer, t->model.temporary, t->model.name, &error)
                            : aigc_trainer_write(t->trainer, t->model.temporary, type, t->model.name, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_new_model_error(&t->model, &error);
    check_interrupts();
    new_model_publish(&t->model);
}

void training_run(Training *t)
{
    feed_texts(t);
    run_steps(t);
    write_model(t);
}

void training_release(int code, Datum training)
{
    Training *t = (Training *)DatumGetPointer(training);

    aigc_bpe_trainer_destroy(t->bpe);
    aigc_trainer_destroy(t->trainer);
    new_model_abandon(&t->model);
    t->bpe = NULL;
    t->trainer = NULL;
    t->model.temporary = NULL;
}
