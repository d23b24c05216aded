/*
 * training.c: train_model(): a model, and a vocabulary if none is named, from the texts of a query.
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "training.h"
#include "utils/builtins.h"

#define FUNCTION "train_model"

enum {
    MERGES_AT_ONCE = 8,    /* of the vocabulary, between two looks for interrupts */
    SLICE_BYTES = 1 << 20, /* of a text whose words are counted in between */
    TEXTS_BETWEEN_CHECKS = 64
};

#define DEFAULT_VOCABULARY 4096
#define DEFAULT_HELD_OUT   0.05

enum { NOTE_CHAT_TEMPLATE, NOTE_DESCRIPTION, NOTE_LICENSE, N_NOTES };

static const char *const note_keys[N_NOTES] = {"tokenizer.chat_template", "general.description", "general.license"};

typedef struct Settings {
    RunSettings run;
    text *tokenizer; /* model whose vocabulary is used */
    text *init;      /* model whose vocabulary, shape and weights are begun from */
    int vocabulary;  /* tokens of the one that is learned if neither is named */
    text *arch;
    text *notes[N_NOTES]; /* metadata of the file */
} Settings;

/* ---- options ---- */

#define SHAPE_OPTION(name, field, most)                                                                                \
    {                                                                                                                  \
        name, OPTION_INT, offsetof(Settings, run.train.field), 1, most, NULL                                           \
    }

static const OptionSpec specs[] = {
    RUN_OPTIONS(Settings),
    {"tokenizer", OPTION_TEXT, offsetof(Settings, tokenizer), 0, 0, NULL},
    {"vocab", OPTION_INT, offsetof(Settings, vocabulary), 257, 1 << 24, NULL},
    {"init", OPTION_TEXT, offsetof(Settings, init), 0, 0, NULL},
    {"arch", OPTION_TEXT, offsetof(Settings, arch), 0, 0, NULL},
    {"chat_template", OPTION_TEXT, offsetof(Settings, notes[NOTE_CHAT_TEMPLATE]), 0, 0, NULL},
    {"description", OPTION_TEXT, offsetof(Settings, notes[NOTE_DESCRIPTION]), 0, 0, NULL},
    {"license", OPTION_TEXT, offsetof(Settings, notes[NOTE_LICENSE]), 0, 0, NULL},
    SHAPE_OPTION("layers", n_layers, 1024),
    SHAPE_OPTION("width", n_embd, MOST_SIZE),
    SHAPE_OPTION("heads", n_heads, MOST_SIZE),
    SHAPE_OPTION("kv_heads", n_kv_heads, MOST_SIZE),
    SHAPE_OPTION("ff", n_ff, MOST_SIZE),
    {"untied", OPTION_BOOL, offsetof(Settings, run.train.untied), 0, 0, NULL},
};

static void read_settings(Settings *s, const Jsonb *options)
{
    struct stat file;

    s->run.train = aigc_train_defaults();
    s->run.held_out = DEFAULT_HELD_OUT;
    if (options)
        read_options(options, specs, lengthof(specs), s);
    training_check_settings(&s->run);
    if (!!s->tokenizer + !!s->init + (s->vocabulary > 0) > 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("options can have only one of \"tokenizer\", \"init\" and \"vocab\""),
                        errdetail("A vocabulary is taken from a model or learned from the texts.")));
    if (s->arch)
        s->run.train.architecture = text_to_utf8_cstring(s->arch);
    if (s->init)
        s->run.train.init = model_path(model_name(s->init), &file);
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

static void check_words(const aigc_bpe_trainer *bpe)
{
    training_check_memory(aigc_bpe_trainer_memory(bpe),
                          "The texts have too many different words to learn a vocabulary from.");
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
            check_words(t->bpe);
            progress_update(&t->progress, done, NAN, 0);
        }
    }
    check_words(t->bpe);
}

/* Learns a vocabulary and writes it to a temporary file of PostgreSQL, which goes with the transaction at the latest.
 */
static File learn_vocabulary(Training *t, int vocab_size)
{
    static const char *const special[] = {"<|endoftext|>"};
    aigc_bpe_trainer_options options = {
        .vocab_size = vocab_size, .pretokenizer = "gpt-2", .min_frequency = 2, .special = special, .n_special = 1};
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

static void open_trainer(Training *t, const Settings *s)
{
    struct stat file;

    if (s->init) {
        training_open(t, NULL, model_name(s->init), s->run.train.init);
        return;
    }
    if (s->tokenizer) {
        char *name = model_name(s->tokenizer);
        char *path = model_path(name, &file);
        training_open(t, path, name, path);
        return;
    }
    File vocabulary = learn_vocabulary(t, s->vocabulary > 0 ? s->vocabulary : DEFAULT_VOCABULARY);
    training_open(t, FilePathName(vocabulary), NULL, NULL);
    FileClose(vocabulary); /* removed; the trainer keeps it mapped */
}

static void annotate(Training *t, const Settings *s)
{
    aigc_error error;

    for (int i = 0; i < N_NOTES; i++) {
        if (s->notes[i] &&
            aigc_trainer_annotate(t->trainer, note_keys[i], text_to_utf8_cstring(s->notes[i]), &error) != AIGC_OK)
            raise_core_error(&error, NULL);
    }
}

/* ---- the function ---- */

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
        Float8GetDatum(training_seconds(&t->began)),
    };
    bool nulls[lengthof(values)] = {false};
    nulls[7] = t->score.n_bytes == 0;
    return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

SQL_FUNCTION(sql_train_model);

Datum sql_train_model(PG_FUNCTION_ARGS)
{
    Training *t = palloc0(sizeof *t);
    Settings *settings = palloc0(sizeof *settings);
    TupleDesc desc;
    Datum row;

    training_check_call(FUNCTION);
    if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("%s must not be null", PG_ARGISNULL(0) ? "the model's name" : "the query")));
    INSTR_TIME_SET_CURRENT(t->began);
    t->settings = &settings->run;
    read_settings(settings, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
    new_model_begin(&t->model, PG_GETARG_TEXT_PP(0), settings->run.replace);
    progress_start(&t->progress, FUNCTION, t->model.name);
    PG_ENSURE_ERROR_CLEANUP(training_release, PointerGetDatum(t));
    {
        text_spool_fill(&t->texts, FUNCTION, PG_GETARG_TEXT_PP(1), true, &t->progress);
        open_trainer(t, settings);
        annotate(t, settings);
        training_run(t);
        row = make_row(t, desc);
    }
    PG_END_ENSURE_ERROR_CLEANUP(training_release, PointerGetDatum(t));
    training_release(0, PointerGetDatum(t));
    progress_end(&t->progress);
    PG_RETURN_DATUM(row);
}
