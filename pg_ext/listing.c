/*
 * listing.c: aigc_models(), a row for each file of the model directory. Files that cannot be used are listed with the
 * reason, so that one broken file hides neither itself nor the others.
 */
#include "postgres.h"

#include <errno.h>

#include "aigc_pg.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

enum { NAME, ARCHITECTURE, PARAMETERS, QUANTISATION, CONTEXT, BYTES, LOADED, ERROR_TEXT, N_COLUMNS };

typedef struct Row {
    Datum values[N_COLUMNS];
    bool nulls[N_COLUMNS];
} Row;

static void set_value(Row *row, int column, Datum value)
{
    row->values[column] = value;
    row->nulls[column] = false;
}

/* Text that may be anything; nothing at all is NULL. */
static void set_text(Row *row, int column, const char *utf8)
{
    if (*utf8)
        set_value(row, column, CStringGetTextDatum(utf8_for_display(utf8)));
}

typedef struct Description {
    aigc_model_info info; /* its strings are gone */
    char architecture[64], quantisation[64];
} Description;

/* What the file says of itself, copied so that the model is closed before anything can fail. An error of a file that
 * can be read but not run leaves the description filled. */
static aigc_status describe(const char *path, Description *description, aigc_error *error)
{
    aigc_model *model;
    aigc_status status = aigc_model_open(path, AIGC_MODEL_DESCRIBE, &model, error);

    memset(description, 0, sizeof *description);
    if (status != AIGC_OK)
        return status;
    description->info = *aigc_model_describe(model);
    strlcpy(description->architecture, description->info.architecture, sizeof description->architecture);
    strlcpy(description->quantisation, description->info.quantisation, sizeof description->quantisation);
    status = aigc_model_check(model, error);
    aigc_model_close(model);
    return status;
}

static void fill_description(Row *row, const char *path)
{
    Description description;
    aigc_error error;

    if (describe(path, &description, &error) != AIGC_OK)
        set_value(row, ERROR_TEXT, CStringGetTextDatum(message_without_path(&error, path)));
    if (!description.architecture[0])
        return;
    set_text(row, ARCHITECTURE, description.architecture);
    set_value(row, PARAMETERS, Int64GetDatum((int64)description.info.n_params));
    set_text(row, QUANTISATION, description.quantisation);
    set_value(row, CONTEXT, Int32GetDatum((int32)Min(description.info.n_context, PG_INT32_MAX)));
}

static void fill_row(Row *row, const char *name)
{
    char *path = model_file(name);
    struct stat file;

    memset(row->nulls, true, sizeof row->nulls);
    set_text(row, NAME, name);
    set_value(row, LOADED, BoolGetDatum(false));
    if (stat(path, &file) != 0) {
        set_text(row, ERROR_TEXT, strerror(errno));
        return;
    }
    set_value(row, BYTES, Int64GetDatum(file.st_size));
    /* Opening a FIFO would wait for a writer. */
    if (!S_ISREG(file.st_mode)) {
        set_text(row, ERROR_TEXT, "not a regular file");
        return;
    }
    set_value(row, LOADED, BoolGetDatum(session_model_loaded(name, &file)));
    fill_description(row, path);
}

SQL_FUNCTION(sql_models);

Datum sql_models(PG_FUNCTION_ARGS)
{
    FuncCallContext *call;
    Row row;

    if (SRF_IS_FIRSTCALL()) {
        call = SRF_FIRSTCALL_INIT();
        MemoryContext old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
        if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
            elog(ERROR, "return type must be a row type");
        call->user_fctx = list_model_names(false);
        MemoryContextSwitchTo(old);
    }
    call = SRF_PERCALL_SETUP();
    CHECK_FOR_INTERRUPTS();
    if (call->call_cntr < (uint64)list_length(call->user_fctx)) {
        fill_row(&row, list_nth(call->user_fctx, (int)call->call_cntr));
        SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, row.values, row.nulls)));
    }
    SRF_RETURN_DONE(call);
}
