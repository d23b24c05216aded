/*
 * directory.c: models by name. A name is that of a file in aigc.model_directory, with or without ".gguf", and nothing
 * else: SQL reaches no other file.
 */
#include "postgres.h"

#include <dirent.h>
#include <errno.h>

#include "aigc_pg.h"
#include "lib/stringinfo.h"
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

char *model_file(const char *name)
{
    return psprintf("%s/%s%s", setting_model_directory, name, SUFFIX);
}

static int compare_names(const ListCell *a, const ListCell *b)
{
    return strcmp(lfirst(a), lfirst(b));
}

List *list_model_names(bool quiet)
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
    List *names = list_model_names(true);
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
    char *path = model_file(name);

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
