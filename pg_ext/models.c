/*
 * models.c: the models that this session has open, and their engines.
 *
 * A model is opened by the first call that names it and stays open for the next ones; weights are mapped, so sessions
 * share them in the page cache, and what a session adds is the vocabulary, keys and values, and scratch. A model whose
 * file has been replaced, or whose engine was opened with other settings, is opened anew by the next call; if a cursor
 * still generates with the old one, that one is retired and closes with its last request. A session keeps at most
 * MAX_OPEN models: the one that has not been used for longest makes room.
 */
#include "postgres.h"

#include "aigc_pg.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define MAX_OPEN 4

static dlist_head models = DLIST_STATIC_INIT(models);
static int n_open;
static uint64 use_count;

static void close_model(SessionModel *model)
{
    Assert(model->n_requests == 0);
    dlist_delete(&model->node);
    n_open--;
    aigc_engine_close(model->engine);
    aigc_model_close(model->model);
    pfree(model->name);
    pfree(model);
}

/* Takes a model out of use, at once or when its last request ends. */
static void retire(SessionModel *model)
{
    model->retired = true;
    if (model->n_requests == 0)
        close_model(model);
}

void session_model_pin(SessionModel *model)
{
    model->n_requests++;
}

void session_model_unpin(SessionModel *model)
{
    model->n_requests--;
    if (model->retired && model->n_requests == 0)
        close_model(model);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* The open model of that name, or NULL. */
static SessionModel *find_model(const char *name)
{
    dlist_iter at;

    dlist_foreach(at, &models)
    {
        SessionModel *model = dlist_container(SessionModel, node, at.cur);
        if (!model->retired && strcmp(model->name, name) == 0)
            return model;
    }
    return NULL;
}

bool session_model_loaded(const char *name, const struct stat *file)
{
    SessionModel *model = find_model(name);

    return model && same_file(&model->file, file);
}

/* Closes idle models, the least recently used first, until there is room for one more. */
static void make_room(void)
{
    while (n_open >= MAX_OPEN) {
        SessionModel *oldest = NULL;
        dlist_iter at;

        dlist_foreach(at, &models)
        {
            SessionModel *model = dlist_container(SessionModel, node, at.cur);
            if (model->n_requests == 0 && (!oldest || model->last_use < oldest->last_use))
                oldest = model;
        }
        if (!oldest)
            ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                            errmsg("this session already generates with %d models at once", MAX_OPEN),
                            errhint("Close cursors that read from generate_stream().")));
        close_model(oldest);
    }
}

/* A new entry of the list with nothing open yet, so that an error in here loses nothing. */
static SessionModel *add_model(const char *name, const struct stat *file)
{
    make_room();
    SessionModel *model = MemoryContextAllocZero(TopMemoryContext, sizeof *model);
    PG_TRY();
    {
        model->name = MemoryContextStrdup(TopMemoryContext, name);
    }
    PG_CATCH();
    {
        pfree(model);
        PG_RE_THROW();
    }
    PG_END_TRY();
    model->file = *file;
    dlist_push_tail(&models, &model->node);
    n_open++;
    return model;
}

/* The model of that name with its file open, with weights if an engine is to follow. */
static SessionModel *open_model(const char *name, bool weights)
{
    struct stat file;
    char *path = model_path(name, &file);
    SessionModel *model = find_model(name);
    aigc_error error;

    if (model && (!same_file(&model->file, &file) || (weights && !model->has_weights))) {
        retire(model);
        model = NULL;
    }
    if (!model) {
        model = add_model(name, &file);
        model->has_weights = weights;
        if (aigc_model_open(path, weights ? AIGC_MODEL_ALL : AIGC_MODEL_TOKENIZER, &model->model, &error) != AIGC_OK) {
            close_model(model);
            raise_model_error(name, path, &error, NULL);
        }
        aigc_model_set_interrupt(model->model, &InterruptPending);
    }
    model->last_use = ++use_count;
    return model;
}

SessionModel *session_model(const text *name)
{
    return open_model(model_name(name), false);
}

static bool same_settings(const SessionModel *model)
{
    return model->threads == setting_threads && model->context_size == setting_context_size &&
           model->kv_memory == setting_kv_memory && model->kv_type == setting_kv_type;
}

/* Opens the engine with the settings of now. */
static void open_engine(SessionModel *model)
{
    aigc_engine_options options = aigc_engine_defaults();
    aigc_error error;

    options.n_threads = setting_threads;
    options.n_context = setting_context_size;
    options.n_sequences = MAX_ALTERNATIVES;
    options.kv_bytes = (size_t)setting_kv_memory * 1024 * 1024;
    options.kv = (aigc_kv_type)setting_kv_type;
    /* Set by PostgreSQL's handlers of cancel, timeout and termination, like the model's: a step then returns at once.
     */
    options.interrupt = &InterruptPending;
    if (aigc_engine_open(model->model, &options, &model->engine, &error) != AIGC_OK)
        raise_model_error(model->name, "", &error,
                          error.code == AIGC_E_LIMIT ? "Raise aigc.kv_memory or lower aigc.context_size." : NULL);
    model->threads = setting_threads;
    model->context_size = setting_context_size;
    model->kv_memory = setting_kv_memory;
    model->kv_type = setting_kv_type;
}

SessionModel *session_engine(const text *given)
{
    char *name = model_name(given);
    SessionModel *model = open_model(name, true);

    if (model->engine && !same_settings(model)) {
        if (model->n_requests > 0) {
            retire(model);
            model = open_model(name, true);
        } else {
            aigc_engine_close(model->engine);
            model->engine = NULL;
        }
    }
    if (!model->engine)
        open_engine(model);
    return model;
}
