/*
 * errors.c: errors of core as PostgreSQL errors. Core's sentences are already written as PostgreSQL wants a primary
 * message (lower case, no full stop, the value named); what is added is the SQLSTATE.
 */
#include "postgres.h"

#include "aigc_pg.h"

static int sqlstate(aigc_status status)
{
    switch (status) {
    case AIGC_E_ARGUMENT:
        return ERRCODE_INVALID_PARAMETER_VALUE;
    case AIGC_E_MEMORY:
        return ERRCODE_OUT_OF_MEMORY;
    case AIGC_E_IO:
        return ERRCODE_IO_ERROR;
    case AIGC_E_FORMAT:
        return ERRCODE_DATA_CORRUPTED;
    case AIGC_E_UNSUPPORTED:
        return ERRCODE_FEATURE_NOT_SUPPORTED;
    case AIGC_E_TEXT:
        return ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
    case AIGC_E_LIMIT:
        return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
    case AIGC_OK:
    case AIGC_INTERRUPTED:
        break;
    }
    return ERRCODE_INTERNAL_ERROR;
}

void raise_core_error(const aigc_error *error, const char *hint)
{
    ereport(ERROR, (errcode(sqlstate(error->code)), errmsg("%s", utf8_for_display(error->message)),
                    hint ? errhint("%s", hint) : 0));
}

char *message_without_path(const aigc_error *error, const char *path)
{
    size_t len = strlen(path);
    const char *message = error->message;

    if (strncmp(message, path, len) == 0 && strncmp(message + len, ": ", 2) == 0)
        message += len + 2;
    return utf8_for_display(message);
}

void raise_model_error(const char *model, const char *path, const aigc_error *error, const char *hint)
{
    ereport(ERROR, (errcode(sqlstate(error->code)),
                    errmsg("cannot use model \"%s\": %s", utf8_for_display(model), message_without_path(error, path)),
                    hint ? errhint("%s", hint) : 0));
}
