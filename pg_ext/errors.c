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

/* Whether message begins with the path's first len bytes; core writes '?' for what cannot be printed. */
static bool begins_with_path(const char *message, const char *path, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!message[i] || (message[i] != path[i] && message[i] != '?'))
            return false;
    return true;
}

/* What follows "path: " in message, or NULL. */
static const char *behind_path(const char *message, const char *path)
{
    size_t len = strlen(path);

    return begins_with_path(message, path, len) && strncmp(message + len, ": ", 2) == 0 ? message + len + 2 : NULL;
}

/* The directory is for superusers to know. A long path stands in the message without its middle. */
char *message_without_path(const aigc_error *error, const char *path)
{
    const char *message = error->message, *why = behind_path(message, path), *gap = strstr(message, " ... ");
    const char *slash = strrchr(path, '/');

    if (!why && gap && (size_t)(gap - message) < strlen(path) && begins_with_path(message, path, gap - message)) {
        for (const char *at = gap; *at && !why; at++)
            why = behind_path(at, slash ? slash + 1 : path);
        if (!why)
            why = gap + 1;
    }
    return utf8_for_display(why ? why : message);
}

void raise_model_error(const char *model, const char *path, const aigc_error *error, const char *hint)
{
    ereport(ERROR, (errcode(sqlstate(error->code)),
                    errmsg("cannot use model \"%s\": %s", utf8_for_display(model), message_without_path(error, path)),
                    hint ? errhint("%s", hint) : 0));
}
