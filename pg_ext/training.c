/*
 * training.c: train_model(): a model, and a vocabulary if none is named, from the texts of a query.
 *
 * Everything runs in the calling session. Interrupts are looked for between steps, and one that comes within a step
 * ends it early: core returns AIGC_INTERRUPTED and begins the step anew if the interrupt was none that ends the query.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "training.h"
#include "utils/builtins.h"

#define FUNCTION "train_model"

enum {
    TRIAL_STEPS = 4,       /* that are timed when minutes are given; the first one is not */
    MERGES_AT_ONCE = 8,    /* of the vocabulary, between two looks for interrupts */
    SLICE_BYTES = 1 << 20, /* of a text whose words are counted in between */
    TEXTS_BETWEEN_CHECKS = 64
};

#define DEFAULT_VOCABULARY 4096
#define DEFAULT_HELD_OUT   0.05

typedef struct Settings {
    int steps;       /* 0: minutes */
    double minutes;  /* 0: steps */
    text *tokenizer; /* model whose vocabulary is used; NULL: learn one */
    int vocabulary;  /* tokens of the one that is learned */
    double held_out; /* part of the texts */
    text *type_option, *arch, *schedule;
    char *type; /* of the weights in the file */
    bool replace;
    aigc_train_options train;
} Settings;

typedef struct Training {
    Settings settings;
    Progress progress;
    NewModel model;
    TextSpool texts;
    aigc_bpe_trainer *bpe;
    aigc_trainer *trainer;
    instr_time began;
    aigc_train_progress last; /* step */
    aigc_train_score score;
} Training;

/* ---- options ---- */

#define AT(field)  offsetof(Settings, field)
#define MOST_STEPS 2147483647
#define MOST_SIZE  (1 << 20)

static const OptionSpec specs[] = {
    {"steps", OPTION_INT, AT(steps), 1, MOST_STEPS},
    {"minutes", OPTION_REAL, AT(minutes), 0.01, 1e6},
    {"tokenizer", OPTION_TEXT, AT(tokenizer), 0, 0},
    {"vocab", OPTION_INT, AT(vocabulary), 257, 1 << 24},
    {"valid", OPTION_REAL, AT(held_out), 0, 0.5},
    {"replace", OPTION_BOOL, AT(replace), 0, 0},
    {"type", OPTION_TEXT, AT(type_option), 0, 0},
    {"arch", OPTION_TEXT, AT(arch), 0, 0},
    {"layers", OPTION_INT, AT(train.n_layers), 1, 1024},
    {"width", OPTION_INT, AT(train.n_embd), 1, MOST_SIZE},
    {"heads", OPTION_INT, AT(train.n_heads), 1, MOST_SIZE},
    {"kv_heads", OPTION_INT, AT(train.n_kv_heads), 1, MOST_SIZE},
    {"ff", OPTION_INT, AT(train.n_ff), 1, MOST_SIZE},
    {"context", OPTION_INT, AT(train.n_context), 2, MOST_SIZE},
    {"untied", OPTION_BOOL, AT(train.untied), 0, 0},
    {"batch", OPTION_INT, AT(train.n_sequences), 1, MOST_SIZE},
    {"accumulate", OPTION_INT, AT(train.n_accumulate), 1, 1 << 16},
    {"lr", OPTION_REAL, AT(train.rate), 1e-9, 10},
    {"lr_end", OPTION_REAL, AT(train.least_rate), 0, 1},
    {"schedule", OPTION_TEXT, AT(schedule), 0, 0},
    {"warmup", OPTION_INT, AT(train.n_warmup), 0, MOST_STEPS},
    {"weight_decay", OPTION_REAL, AT(train.weight_decay), 0, 10},
    {"clip", OPTION_REAL, AT(train.clip), 0, 1e9},
    {"seed", OPTION_SEED, AT(train.seed), 0, 0},
};

static void set_schedule(Settings *s)
{
    char *name = text_to_utf8_cstring(s->schedule);

    if (strcmp(name, "cosine") != 0 && strcmp(name, "stable") != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("option \"schedule\" must be \"cosine\" or \"stable\", not \"%s\"", name)));
    s->train.schedule = strcmp(name, "stable") == 0 ? AIGC_SCHEDULE_STABLE : AIGC_SCHEDULE_COSINE;
}

static void set_type(Settings *s)
{
    aigc_error error;

    s->type = text_to_utf8_cstring(s->type_option);
    if (aigc_trainer_check_type(s->type, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
}

static void read_settings(Settings *s, const Jsonb *options)
{
    s->train = aigc_train_defaults();
    s->held_out = DEFAULT_HELD_OUT;
    s->type = "F32";
    if (options)
        read_options(options, specs, lengthof(specs), s);
    if ((s->steps > 0) == (s->minutes > 0))
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must have either \"steps\" or \"minutes\""),
                 errhint("For example {\"minutes\": 15}.")));
    if (s->tokenizer && s->vocabulary > 0)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options have both \"tokenizer\" and \"vocab\""),
                 errdetail("A vocabulary is taken from a model or learned from the texts.")));
    if (s->schedule)
        set_schedule(s);
    if (s->type_option)
        set_type(s);
    if (s->arch)
        s->train.architecture = text_to_utf8_cstring(s->arch);
    s->train.n_threads = setting_threads;
    s->train.interrupt = &InterruptPending;
    s->train.interrupt_steps = true;
}

/* ---- memory ---- */

static void check_memory(size_t bytes, const char *what)
{
    size_t most = (size_t)setting_training_memory * 1024 * 1024;

    if (bytes > most)
        ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                        errmsg("training needs %zu MB of memory, but aigc.training_memory is %d MB",
                               bytes / (1024 * 1024) + 1, setting_training_memory),
                        errdetail("%s", what)));
}

/* What the trainer has planned, and its text: four bytes a token, up to twice that while it grows. */
static void check_trainer_memory(const Training *t)
{
    aigc_trainer_info info;

    aigc_trainer_describe(t->trainer, &info);
    check_memory(
        info.weight_bytes + info.gradient_bytes + info.moment_bytes + info.activation_bytes + info.scratch_bytes +
            2 * sizeof(int32) * (info.n_train_tokens + info.n_valid_tokens),
        psprintf("Weights, gradients and moments take %zu MB, activations %zu MB (less with a smaller \"batch\" "
                 "or \"context\"), %zu tokens of text %zu MB.",
                 (info.weight_bytes + info.gradient_bytes + info.moment_bytes) >> 20,
                 (info.activation_bytes + info.scratch_bytes) >> 20,
                 (size_t)(info.n_train_tokens + info.n_valid_tokens),
                 (size_t)(info.n_train_tokens + info.n_valid_tokens) * 2 * sizeof(int32) >> 20));
}

/* ---- the vocabulary ---- */

/* Where a text longer than a slice can be cut without cutting a word in two, if it has spaces at all. */
static size_t slice_length(const char *utf8, size_t len)
{
    size_t n = Min(len, SLICE_BYTES);

    if (n == len)
        return n;
    while (n > 0 && utf8[n] != ' ' && utf8[n] != '\n')
        n--;
    if (n == 0)
        n = pg_encoding_mbcliplen(PG_UTF8, utf8, SLICE_BYTES, SLICE_BYTES - 1);
    return n;
}

static void count_words(Training *t)
{
    const char *texts[3];
    size_t lens[3], n;
    aigc_error error;
    int64 done = 0;

    text_spool_rewind(&t->texts);
    while (text_spool_next(&t->texts, texts, lens)) {
        for (size_t at = 0; at < lens[0]; at += n) {
            check_interrupts();
            n = slice_length(texts[0] + at, lens[0] - at);
            if (aigc_bpe_trainer_feed(t->bpe, texts[0] + at, n, &error) != AIGC_OK)
                raise_core_error(&error, NULL);
        }
        if (++done % TEXTS_BETWEEN_CHECKS == 0) {
            check_memory(aigc_bpe_trainer_memory(t->bpe), "The texts have too many different words to learn a "
                                                          "vocabulary from.");
            progress_update(&t->progress, done, NAN, 0);
        }
    }
    check_memory(aigc_bpe_trainer_memory(t->bpe),
                 "The texts have too many different words to learn a vocabulary from.");
}

/* Learns a vocabulary and writes it to a temporary file of PostgreSQL, which goes with the transaction at the latest.
 */
static File learn_vocabulary(Training *t)
{
    static const char *const special[] = {"<|endoftext|>"};
    aigc_bpe_trainer_options options = {.vocab_size =
                                            t->settings.vocabulary > 0 ? t->settings.vocabulary : DEFAULT_VOCABULARY,
                                        .pretokenizer = "gpt-2",
                                        .min_frequency = 2,
                                        .special = special,
                                        .n_special = 1};
    aigc_error error;
    bool done = false;

    if (aigc_bpe_trainer_create(&options, &t->bpe, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    progress_phase(&t->progress, "counting words", t->texts.n_rows);
    count_words(t);
    progress_phase(&t->progress, "learning vocabulary", options.vocab_size);
    while (!done) {
        check_interrupts();
        if (aigc_bpe_trainer_merge(t->bpe, MERGES_AT_ONCE, &done, &error) != AIGC_OK)
            raise_core_error(&error, NULL);
        progress_update(&t->progress, aigc_bpe_trainer_n_vocab(t->bpe), NAN, 0);
    }
    File file = OpenTemporaryFile(false);
    if (aigc_bpe_trainer_write(t->bpe, FilePathName(file), t->model.name, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    aigc_bpe_trainer_destroy(t->bpe);
    t->bpe = NULL;
    return file;
}

/* ---- the trainer ---- */

static void create_trainer(Training *t, const char *vocabulary)
{
    aigc_error error;

    if (aigc_trainer_create(vocabulary, &t->settings.train, &t->trainer, &error) != AIGC_OK) {
        t->trainer = NULL;
        raise_core_error(&error, error.code == AIGC_E_UNSUPPORTED
                                     ? "Training needs OpenBLAS (Debian: libopenblas0-pthread)."
                                     : NULL);
    }
    /* Its pages are taken from the system as they are used: until here next to none. */
    check_trainer_memory(t);
}

static void open_trainer(Training *t)
{
    struct stat file;

    if (t->settings.tokenizer) {
        create_trainer(t, model_path(model_name(t->settings.tokenizer), &file));
        return;
    }
    File vocabulary = learn_vocabulary(t);
    create_trainer(t, FilePathName(vocabulary));
    FileClose(vocabulary); /* removed; the trainer keeps it mapped */
}

/* Held-out texts are spread evenly over the rows: row i is one where i * part passes an integer. */
static bool is_held_out(const Training *t, int64 i)
{
    return floor((double)(i + 1) * t->settings.held_out) > floor((double)i * t->settings.held_out);
}

static void feed_text(Training *t, aigc_train_text kind, const char *utf8, size_t len)
{
    aigc_status status;
    aigc_error error;

    do {
        check_interrupts();
        status = aigc_trainer_feed(t->trainer, kind, utf8, len, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
}

static void feed_texts(Training *t)
{
    const char *texts[3];
    size_t lens[3];
    int64 i = 0;

    progress_phase(&t->progress, "tokenizing texts", t->texts.n_rows);
    text_spool_rewind(&t->texts);
    while (text_spool_next(&t->texts, texts, lens)) {
        feed_text(t, is_held_out(t, i) ? AIGC_TEXT_VALID : AIGC_TEXT_TRAIN, texts[0], lens[0]);
        if (++i % TEXTS_BETWEEN_CHECKS == 0) {
            check_trainer_memory(t);
            progress_update(&t->progress, i, NAN, 0);
        }
    }
    check_trainer_memory(t);
    text_spool_free(&t->texts);
}

/* ---- steps ---- */

static double seconds_since(const instr_time *began)
{
    instr_time now;

    INSTR_TIME_SET_CURRENT(now);
    INSTR_TIME_SUBTRACT(now, *began);
    return INSTR_TIME_GET_DOUBLE(now);
}

static void start_run(Training *t, uint64 n_steps)
{
    aigc_error error;

    if (aigc_trainer_start(t->trainer, n_steps, &error) != AIGC_OK)
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
static uint64 count_steps(Training *t)
{
    instr_time began;

    if (t->settings.steps > 0)
        return t->settings.steps;
    progress_phase(&t->progress, "timing steps", TRIAL_STEPS);
    start_run(t, TRIAL_STEPS);
    for (int i = 0; i < TRIAL_STEPS; i++) {
        if (i == 1)
            INSTR_TIME_SET_CURRENT(began);
        step(t);
    }
    double n = t->settings.minutes * 60 / (seconds_since(&began) / (TRIAL_STEPS - 1));
    return n < 1 ? 1 : n < MOST_STEPS ? (uint64)n : MOST_STEPS;
}

static void run_steps(Training *t)
{
    uint64 n_steps = count_steps(t);
    aigc_trainer_info info;
    instr_time began;

    aigc_trainer_describe(t->trainer, &info);
    start_run(t, n_steps);
    progress_phase(&t->progress, "training", (int64)n_steps);
    INSTR_TIME_SET_CURRENT(began);
    do {
        step(t);
        progress_update(&t->progress, (int64)t->last.step, t->last.loss,
                        (double)(t->last.step * info.step_tokens) / seconds_since(&began));
    } while (t->last.step < n_steps);
}

static void evaluate(Training *t)
{
    aigc_trainer_info info;
    aigc_status status;
    aigc_error error;

    aigc_trainer_describe(t->trainer, &info);
    if (info.n_valid_tokens < 2)
        return;
    progress_phase(&t->progress, "evaluating", 0);
    do {
        check_interrupts();
        status = aigc_trainer_evaluate(t->trainer, &t->score, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
}

/* ---- the result ---- */

static void write_model(Training *t)
{
    aigc_error error;

    progress_phase(&t->progress, "writing model", 0);
    if (aigc_trainer_write(t->trainer, t->model.temporary, t->settings.type, t->model.name, &error) != AIGC_OK)
        raise_new_model_error(&t->model, &error);
    check_interrupts();
    new_model_publish(&t->model);
}

static Datum make_row(const Training *t, TupleDesc desc)
{
    aigc_trainer_info info;

    aigc_trainer_describe(t->trainer, &info);
    Datum values[] = {
        CStringGetTextDatum(utf8_for_display(t->model.name)),
        Int64GetDatum(t->texts.n_rows),
        Int64GetDatum(t->texts.n_skipped),
        Int64GetDatum((int64)info.n_params),
        Int64GetDatum((int64)t->last.step),
        Int64GetDatum((int64)(t->last.step * info.step_tokens)),
        Float8GetDatum(t->last.loss),
        Float8GetDatum(t->score.bits_per_byte),
        Float8GetDatum(seconds_since(&t->began)),
    };
    bool nulls[lengthof(values)] = {false};
    nulls[7] = t->score.n_bytes == 0;
    return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Gives back what PostgreSQL does not know of. Called at the end, after an error, and before the session exits. */
static void release(int code, Datum arg)
{
    Training *t = (Training *)DatumGetPointer(arg);

    aigc_bpe_trainer_destroy(t->bpe);
    aigc_trainer_destroy(t->trainer);
    new_model_abandon(&t->model);
    t->bpe = NULL;
    t->trainer = NULL;
    t->model.temporary = NULL;
}

static Datum train(Training *t, const text *query, TupleDesc desc)
{
    text_spool_fill(&t->texts, FUNCTION, query, true, &t->progress);
    open_trainer(t);
    feed_texts(t);
    run_steps(t);
    evaluate(t);
    Datum row = make_row(t, desc);
    write_model(t);
    return row;
}

SQL_FUNCTION(sql_train_model);

Datum sql_train_model(PG_FUNCTION_ARGS)
{
    Training *t = palloc0(sizeof *t);
    TupleDesc desc;
    Datum row;

    PreventCommandDuringRecovery(FUNCTION "()");
    PreventCommandIfReadOnly(FUNCTION "()");
    if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("%s must not be null", PG_ARGISNULL(0) ? "the model's name" : "the query")));
    INSTR_TIME_SET_CURRENT(t->began);
    read_settings(&t->settings, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
    new_model_begin(&t->model, PG_GETARG_TEXT_PP(0), t->settings.replace);
    progress_start(&t->progress, FUNCTION, t->model.name);
    PG_ENSURE_ERROR_CLEANUP(release, PointerGetDatum(t));
    row = train(t, PG_GETARG_TEXT_PP(1), desc);
    PG_END_ENSURE_ERROR_CLEANUP(release, PointerGetDatum(t));
    release(0, PointerGetDatum(t));
    progress_end(&t->progress);
    PG_RETURN_DATUM(row);
}
