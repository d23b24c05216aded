/*
 * publish.c: a new model's file, and drop_model(). A file is written in the model directory under a temporary name,
 * which no function takes for a model's, and gets its own by a rename at the end. A session that crashes in between
 * leaves the temporary file; its name holds the process id, and whoever trains next removes those whose process is
 * gone.
 */
#include "postgres.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "training.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define TEMPORARY ".aigc-training-"

/* Advisory locks of SQL functions have 1 or 2 here. */
#define LOCK_CLASS 0x6167

/* Two sessions may not make the same file. The lock is the transaction's, so it cannot outlive its session. */
static void claim_name(const NewModel *model)
{
    uint64 hash = hash_bytes_extended((const unsigned char *)model->path, (int)strlen(model->path), 0);
    LOCKTAG tag;

    SET_LOCKTAG_ADVISORY(tag, InvalidOid, (uint32)(hash >> 32), (uint32)hash, LOCK_CLASS);
    if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("model \"%s\" is being made by another session", utf8_for_display(model->name)),
                        errhint("The view aigc_progress shows how far it is.")));
}

/* Raises if there is a file of that name that may not go. */
static void check_name(const NewModel *model)
{
    struct stat file;

    if (lstat(model->path, &file) != 0) {
        if (errno != ENOENT)
            ereport(ERROR, (errcode_for_file_access(),
                            errmsg("could not examine model \"%s\": %m", utf8_for_display(model->name))));
        return;
    }
    if (!model->replace)
        ereport(ERROR,
                (errcode(ERRCODE_DUPLICATE_FILE),
                 errmsg("model \"%s\" exists in aigc.model_directory", utf8_for_display(model->name)),
                 errhint("Choose another name, or say {\"replace\": true}: sessions that use the old model keep it "
                         "until their next call.")));
    if (!S_ISREG(file.st_mode) && !S_ISLNK(file.st_mode))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("model \"%s\" is not a regular file", utf8_for_display(model->name))));
}

static void check_directory(void)
{
    if (access(setting_model_directory, W_OK | X_OK) != 0)
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not write to the model directory: %m"),
                        errhint("The server's operating system user must be able to create files in the directory "
                                "that the setting aigc.model_directory names.")));
}

/* Whether a file's name says that a process wrote it which is there no more. */
static bool is_left_behind(const char *name)
{
    char *end;

    if (strncmp(name, TEMPORARY, sizeof TEMPORARY - 1) != 0)
        return false;

    long pid = strtol(name + sizeof TEMPORARY - 1, &end, 10);
    return *end == '-' && pid > 0 && pid <= INT_MAX && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/* A file that cannot be removed is none of this call's business: the next one tries again. */
static void remove_left_behind(void)
{
    DIR *dir = AllocateDir(setting_model_directory);
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = ReadDirExtended(dir, setting_model_directory, DEBUG1)) != NULL) {
        if (!is_left_behind(entry->d_name))
            continue;
        char *path = psprintf("%s/%s", setting_model_directory, entry->d_name);
        if (unlink(path) == 0)
            ereport(LOG, (errmsg("removed \"%s\", which a training that crashed had left", path)));
    }
    FreeDir(dir);
}

void new_model_begin(NewModel *model, const text *name, bool replace)
{
    uint32 random;

    if (!pg_strong_random(&random, sizeof random))
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not obtain a random number")));
    model->name = model_name(name);
    model->path = model_file(model->name);
    model->replace = replace;
    claim_name(model);
    check_name(model);
    check_directory();
    remove_left_behind();
    model->temporary = psprintf("%s/" TEMPORARY "%d-%08x", setting_model_directory, MyProcPid, random);
}

/* So that the name outlives a power failure. Not fsync_fname(), which ends the whole server when it fails: the model is
 * there, and safe as soon as the file system has written what it holds. */
static void sync_directory(void)
{
    int fd = OpenTransientFile(setting_model_directory, O_RDONLY);

    if (fd < 0 || (pg_fsync(fd) != 0 && errno != EBADF && errno != EINVAL))
        ereport(WARNING, (errcode_for_file_access(), errmsg("could not sync the model directory: %m")));
    if (fd >= 0)
        CloseTransientFile(fd);
}

/* Until the rename nothing has happened, from then on the model is there: no interrupt comes in between. */
void new_model_publish(NewModel *model)
{
    check_name(model);
    if (rename(model->temporary, model->path) != 0)
        ereport(ERROR, (errcode_for_file_access(),
                        errmsg("could not create model \"%s\": %m", utf8_for_display(model->name))));
    model->temporary = NULL;
    sync_directory();
}

void new_model_abandon(NewModel *model)
{
    if (model->temporary)
        unlink(model->temporary);
}

/* ---- drop_model() ---- */

/* generate() without a model's name needs it. */
static void check_not_default(const char *name)
{
    const char *boot = GetConfigOptionResetString("aigc.model");
    bool is_default = strcmp(name, DEFAULT_MODEL) == 0 || strcmp(name, model_name(NULL)) == 0 ||
                      strcmp(name, model_name(cstring_to_text(boot))) == 0;

    if (is_default)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("cannot drop model \"%s\" because it is a default model", utf8_for_display(name)),
                        errdetail("It is the extension's own, or the setting aigc.model names it.")));
}

SQL_FUNCTION(sql_drop_model);

Datum sql_drop_model(PG_FUNCTION_ARGS)
{
    NewModel model = {.replace = true};
    struct stat file;

    training_check_call("drop_model");
    if (PG_ARGISNULL(0))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the model's name must not be null")));
    model.name = model_name(PG_GETARG_TEXT_PP(0));
    model.path = model_file(model.name);
    check_not_default(model.name);
    claim_name(&model);
    check_name(&model);
    if (lstat(model.path, &file) != 0 && errno == ENOENT && !PG_ARGISNULL(1) && PG_GETARG_BOOL(1)) {
        ereport(NOTICE, (errmsg("model \"%s\" does not exist, skipping", utf8_for_display(model.name))));
        PG_RETURN_VOID();
    }
    if (lstat(model.path, &file) != 0)
        model_path(model.name, &file); /* raises, and lists the models there are */
    if (unlink(model.path) != 0)
        ereport(ERROR,
                (errcode_for_file_access(), errmsg("could not remove model \"%s\": %m", utf8_for_display(model.name))));
    sync_directory();
    PG_RETURN_VOID();
}

void raise_new_model_error(const NewModel *model, const aigc_error *error)
{
    const char *message = error->message;
    size_t len = strlen(model->temporary);

    /* Core names the path that it writes to, with a suffix of its own. */
    if (strncmp(message, model->temporary, len) == 0 && strchr(message + len, ':'))
        message = strchr(message + len, ':') + 2;
    ereport(ERROR,
            (errcode(error->code == AIGC_E_IO ? ERRCODE_IO_ERROR : ERRCODE_INTERNAL_ERROR),
             errmsg("could not write model \"%s\": %s", utf8_for_display(model->name), utf8_for_display(message))));
}
