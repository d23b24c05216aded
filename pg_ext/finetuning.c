/*
 * finetuning.c: finetune_model(): a model that goes on learning from the texts of a query: plain texts, prompts with
 * responses, or prompts with a chosen and a rejected response. What it writes is a model, the adapter merged into it,
 * so that every function can use it; or the adapter alone, where that is asked for.
 */
#include "postgres.h"

#include "funcapi.h"
#include "storage/ipc.h"
#include "training.h"
#include "utils/builtins.h"

#define FUNCTION "finetune_model"

#define DEFAULT_EPOCHS   3
#define DEFAULT_HELD_OUT 0.05

typedef struct Settings {
    RunSettings run;
    bool full;    /* all weights, not an adapter's */
    bool adapter; /* write the adapter */
} Settings;

static const OptionSpec specs[] = {
    RUN_OPTIONS(Settings),
    {"lora_rank", OPTION_INT, offsetof(Settings, run.train.lora_rank), 1, 4096, NULL},
    {"lora_alpha", OPTION_REAL, offsetof(Settings, run.train.lora_alpha), 1e-6, 1e6, NULL},
    {"dpo_beta", OPTION_REAL, offsetof(Settings, run.train.preference_beta), 1e-6, 1e6, NULL},
    {"full", OPTION_BOOL, offsetof(Settings, full), 0, 0, NULL},
    {"adapter", OPTION_BOOL, offsetof(Settings, adapter), 0, 0, NULL},
};

static void read_settings(Settings *s, const text *base, const Jsonb *options)
{
    aigc_train_options *train = &s->run.train;
    struct stat file;

    *train = aigc_finetune_defaults();
    train->base = model_path(model_name(base), &file);
    train->lora_alpha = 0; /* follows the rank */
    s->run.held_out = DEFAULT_HELD_OUT;
    if (options)
        read_options(options, specs, lengthof(specs), s);
    if (s->run.steps == 0 && s->run.minutes == 0 && s->run.epochs == 0)
        s->run.epochs = DEFAULT_EPOCHS;
    training_check_settings(&s->run);
    if (s->full && s->adapter)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options cannot have both \"full\" and \"adapter\""),
                 errdetail("If all weights are trained there is no adapter.")));
    if (s->adapter && s->run.type)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options cannot have both \"adapter\" and \"type\""),
                 errdetail("An adapter is written as it was trained, in F32.")));
    if (s->full)
        train->lora_rank = 0;
    if (train->lora_alpha == 0)
        train->lora_alpha = 2 * train->lora_rank;
}

static Datum make_row(const Training *t, TupleDesc desc)
{
    bool preferences = t->texts.form == TEXT_PREFERENCES;
    aigc_trainer_info info;

    aigc_trainer_describe(t->trainer, &info);
    Datum values[] = {
        CStringGetTextDatum(utf8_for_display(t->model.name)),
        Int64GetDatum(t->texts.n_rows),
        Int64GetDatum(t->texts.n_skipped),
        Int64GetDatum((int64)info.n_cut),
        Int64GetDatum((int64)info.n_trained),
        Int64GetDatum((int64)t->last.step),
        Int64GetDatum((int64)(t->last.step * info.step_tokens)),
        Float8GetDatum(t->last.loss),
        Float8GetDatum(t->start_score.bits_per_byte),
        Float8GetDatum(t->score.bits_per_byte),
        Float8GetDatum(t->score.accuracy),
        Float8GetDatum(training_seconds(&t->began)),
    };
    bool nulls[lengthof(values)] = {false};
    nulls[8] = nulls[9] = preferences || t->score.n_bytes == 0;
    nulls[10] = !preferences || t->score.n_preferences == 0;
    return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static void check_arguments(FunctionCallInfo fcinfo)
{
    static const char *const names[] = {"the model's name", "the base model's name", "the query"};

    for (int i = 0; i < (int)lengthof(names); i++) {
        if (PG_ARGISNULL(i))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", names[i])));
    }
}

SQL_FUNCTION(sql_finetune_model);

Datum sql_finetune_model(PG_FUNCTION_ARGS)
{
    Training *t = palloc0(sizeof *t);
    Settings *settings = palloc0(sizeof *settings);
    TupleDesc desc;
    Datum row;

    training_check_call(FUNCTION);
    if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    check_arguments(fcinfo);
    INSTR_TIME_SET_CURRENT(t->began);
    t->settings = &settings->run;
    read_settings(settings, PG_GETARG_TEXT_PP(1), PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3));
    t->adapter = settings->adapter;
    t->score_start = true;
    new_model_begin(&t->model, PG_GETARG_TEXT_PP(0), settings->run.replace);
    progress_start(&t->progress, FUNCTION, t->model.name);
    PG_ENSURE_ERROR_CLEANUP(training_release, PointerGetDatum(t));
    {
        text_spool_fill(&t->texts, FUNCTION, PG_GETARG_TEXT_PP(2), false, &t->progress);
        training_open(t, NULL, model_name(PG_GETARG_TEXT_PP(1)), settings->run.train.base);
        training_run(t);
        row = make_row(t, desc);
    }
    PG_END_ENSURE_ERROR_CLEANUP(training_release, PointerGetDatum(t));
    training_release(0, PointerGetDatum(t));
    progress_end(&t->progress);
    PG_RETURN_DATUM(row);
}
