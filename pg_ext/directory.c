/*
 * directory.c: models by name. A name is that of a file in aigc.model_directory, with or without ".gguf", and nothing
 * else: SQL reaches no other file. aigc_models() lists what is there, files that cannot be used included.
 */
#include "postgres.h"

#include <dirent.h>
#include <errno.h>

#include "aigc_pg.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#define SUFFIX        ".gguf"
#define NAMES_IN_HINT 8

/* File systems allow 255 bytes, the suffix included. */
#define MAX_NAME_BYTES (255 - (int)(sizeof SUFFIX - 1))

static bool has_suffix(const char *name)
{
    size_t len = strlen(name);

    return len > sizeof SUFFIX - 1 && strcmp(name + len - (sizeof SUFFIX - 1), SUFFIX) == 0;
}

/* Length of a model's own name in the name of its file or in what a user typed. */
static size_t stem_length(const char *name)
{
    return strlen(name) - (has_suffix(name) ? sizeof SUFFIX - 1 : 0);
}

bool model_name_valid(const char *name, const char **why)
{
    *why = NULL;
    if (name[0] == '\0')
        *why = "A model name cannot be empty.";
    else if (stem_length(name) > MAX_NAME_BYTES)
        *why = "A model name is the name of a file, which cannot be that long.";
    else if (strpbrk(name, "/\\"))
        *why = "A model name is the name of a file in aigc.model_directory; it cannot contain a slash.";
    else if (name[0] == '.')
        *why = "A model name cannot begin with a dot.";
    for (const char *c = name; *c && !*why; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *why = "A model name cannot contain control characters.";
    }
    return *why == NULL;
}

char *model_name(const text *given)
{
    char *name = text_to_utf8_cstring(given ? given : cstring_to_text(setting_model));
    const char *why;

    if (!model_name_valid(name, &why))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("invalid model name \"%s\"", utf8_for_display(name)), errdetail("%s", why)));
    name[stem_length(name)] = '\0';
    return name;
}

static char *path_of(const char *name)
{
    return psprintf("%s/%s%s", setting_model_directory, name, SUFFIX);
}

static int compare_names(const ListCell *a, const ListCell *b)
{
    return strcmp(lfirst(a), lfirst(b));
}

/* Names of the model files, sorted: palloc'd strings. A directory that cannot be read is an error unless quiet. */
static List *list_names(bool quiet)
{
    List *names = NIL;
    DIR *dir = AllocateDir(setting_model_directory);
    struct dirent *entry;
    const char *why;

    if (!dir && !quiet)
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not open the model directory: %m"),
                        errhint("The setting aigc.model_directory names it.")));
    while (dir && (entry = ReadDirExtended(dir, setting_model_directory, quiet ? DEBUG1 : ERROR)) != NULL) {
        if (has_suffix(entry->d_name) && model_name_valid(entry->d_name, &why))
            names = lappend(names, pnstrdup(entry->d_name, stem_length(entry->d_name)));
    }
    if (dir)
        FreeDir(dir);
    list_sort(names, compare_names);
    return names;
}

/* What to do when a model is not there: names those that are. */
static char *hint_models(void)
{
    List *names = list_names(true);
    StringInfoData hint;
    ListCell *cell;

    initStringInfo(&hint);
    if (names == NIL)
        return "The directory holds no model: put GGUF files there, or have a superuser set aigc.model_directory.";
    appendStringInfoString(&hint, "Name a model in the call or set aigc.model. The models there:");
    foreach (cell, names) {
        int i = foreach_current_index(cell);
        if (i == NAMES_IN_HINT) {
            appendStringInfo(&hint, " and %d more (see aigc_models())", list_length(names) - i);
            break;
        }
        appendStringInfo(&hint, "%s \"%s\"", i > 0 ? "," : "", utf8_for_display(lfirst(cell)));
    }
    appendStringInfoChar(&hint, '.');
    return hint.data;
}

char *model_path(const char *name, struct stat *file)
{
    char *path = path_of(name);

    if (stat(path, file) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
                            errmsg("there is no model \"%s\" in aigc.model_directory", utf8_for_display(name)),
                            errhint("%s", hint_models())));
        ereport(ERROR,
                (errcode_for_file_access(), errmsg("could not examine model \"%s\": %m", utf8_for_display(name))));
    }
    /* Opening a FIFO would wait for a writer. */
    if (!S_ISREG(file->st_mode))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("model \"%s\" is not a regular file", utf8_for_display(name))));
    return path;
}

enum {
    COL_NAME,
    COL_ARCHITECTURE,
    COL_PARAMETERS,
    COL_QUANTISATION,
    COL_CONTEXT,
    COL_BYTES,
    COL_LOADED,
    COL_ERROR,
    N_COLS
};

static Datum display_datum(const char *utf8)
{
    return CStringGetTextDatum(utf8_for_display(utf8));
}

/* Fills the columns that come out of the file. The strings are copied: the model is closed before anything can fail. */
static aigc_status describe_file(const char *path, char *architecture, char *quantisation, size_t size,
                                 aigc_model_info *info, aigc_error *error)
{
    aigc_model *model;
    aigc_status status = aigc_model_open(path, AIGC_MODEL_DESCRIBE, &model, error);

    memset(info, 0, sizeof *info);
    architecture[0] = quantisation[0] = '\0';
    if (status != AIGC_OK)
        return status;
    *info = *aigc_model_describe(model);
    strlcpy(architecture, info->architecture, size);
    strlcpy(quantisation, info->quantisation, size);
    status = aigc_model_check(model, error);
    aigc_model_close(model);
    return status;
}

/* One row of aigc_models(). */
static void fill_row(const char *name, Datum *values, bool *nulls)
{
    char architecture[64], quantisation[64];
    char *path = path_of(name);
    struct stat file;
    aigc_model_info info;
    aigc_error error;

    memset(nulls, true, N_COLS * sizeof *nulls);
    values[COL_NAME] = display_datum(name);
    values[COL_LOADED] = BoolGetDatum(false);
    nulls[COL_NAME] = nulls[COL_LOADED] = false;
    if (stat(path, &file) != 0) {
        values[COL_ERROR] = CStringGetTextDatum(psprintf("could not examine the file: %s", strerror(errno)));
        nulls[COL_ERROR] = false;
        return;
    }
    if (!S_ISREG(file.st_mode)) {
        values[COL_ERROR] = CStringGetTextDatum("not a regular file");
        nulls[COL_ERROR] = false;
        return;
    }
    values[COL_BYTES] = Int64GetDatum(file.st_size);
    values[COL_LOADED] = BoolGetDatum(session_model_loaded(name, &file));
    nulls[COL_BYTES] = false;
    if (describe_file(path, architecture, quantisation, sizeof architecture, &info, &error) != AIGC_OK) {
        values[COL_ERROR] = display_datum(error.message);
        nulls[COL_ERROR] = false;
    }
    if (architecture[0]) {
        values[COL_ARCHITECTURE] = display_datum(architecture);
        values[COL_PARAMETERS] = Int64GetDatum((int64)info.n_params);
        values[COL_QUANTISATION] = display_datum(quantisation);
        values[COL_CONTEXT] = Int32GetDatum((int32)Min(info.n_context, PG_INT32_MAX));
        memset(nulls + COL_ARCHITECTURE, false, (COL_CONTEXT - COL_ARCHITECTURE + 1) * sizeof *nulls);
    }
}

SQL_FUNCTION(sql_models);

Datum sql_models(PG_FUNCTION_ARGS)
{
    FuncCallContext *call;

    if (SRF_IS_FIRSTCALL()) {
        call = SRF_FIRSTCALL_INIT();
        MemoryContext old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
        if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
            elog(ERROR, "return type must be a row type");
        call->user_fctx = list_names(false);
        MemoryContextSwitchTo(old);
    }
    call = SRF_PERCALL_SETUP();
    CHECK_FOR_INTERRUPTS();
    if (call->call_cntr < (uint64)list_length(call->user_fctx)) {
        Datum values[N_COLS];
        bool nulls[N_COLS];
        fill_row(list_nth(call->user_fctx, (int)call->call_cntr), values, nulls);
        SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, values, nulls)));
    }
    SRF_RETURN_DONE(call);
}
