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
    aigc_adapter_close(model->adapter);
    aigc_model_close(model->model);
    if (model->lora)
        pfree(model->lora);
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

static bool same_lora(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The open model of that name with that adapter (NULL: with none), or NULL. */
static SessionModel *find_model(const char *name, const char *lora)
{
    dlist_iter at;

    dlist_foreach(at, &models)
    {
        SessionModel *model = dlist_container(SessionModel, node, at.cur);
        if (!model->retired && strcmp(model->name, name) == 0 && same_lora(model->lora, lora))
            return model;
    }
    return NULL;
}

bool session_model_loaded(const char *name, const struct stat *file)
{
    dlist_iter at;

    dlist_foreach(at, &models)
    {
        SessionModel *model = dlist_container(SessionModel, node, at.cur);
        if (!model->retired && ((strcmp(model->name, name) == 0 && same_file(&model->file, file)) ||
                                (model->lora && strcmp(model->lora, name) == 0 && same_file(&model->lora_file, file))))
            return true;
    }
    return false;
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
static SessionModel *add_model(const char *name, const char *lora, const struct stat *file)
{
    make_room();
    SessionModel *model = MemoryContextAllocZero(TopMemoryContext, sizeof *model);
    PG_TRY();
    {
        model->lora = lora ? MemoryContextStrdup(TopMemoryContext, lora) : NULL;
        model->name = MemoryContextStrdup(TopMemoryContext, name);
    }
    PG_CATCH();
    {
        if (model->lora)
            pfree(model->lora);
        pfree(model);
        PG_RE_THROW();
    }
    PG_END_TRY();
    model->file = *file;
    dlist_push_tail(&models, &model->node);
    n_open++;
    return model;
}

/* The model of that name with its file open, with weights if an engine is to follow, and with an adapter if lora is not
 * NULL. A model with an adapter is an entry of its own: its keys and values are others. */
static SessionModel *open_model(const char *name, const char *lora, bool weights)
{
    struct stat file, lora_file;
    char *path = model_path(name, &file), *lora_path = lora ? model_path(lora, &lora_file) : NULL;
    SessionModel *model = find_model(name, lora);
    aigc_error error;

    if (model && (!same_file(&model->file, &file) || (weights && !model->has_weights) ||
                  (lora && !same_file(&model->lora_file, &lora_file)))) {
        retire(model);
        model = NULL;
    }
    if (!model) {
        model = add_model(name, lora, &file);
        model->has_weights = weights;
        if (aigc_model_open(path, weights ? AIGC_MODEL_ALL : AIGC_MODEL_TOKENIZER, &model->model, &error) != AIGC_OK) {
            close_model(model);
            raise_model_error(name, path, &error, NULL);
        }
        aigc_model_set_interrupt(model->model, &InterruptPending);
        if (lora) {
            model->lora_file = lora_file;
            if (aigc_adapter_open(model->model, lora_path, &model->adapter, &error) != AIGC_OK) {
                close_model(model);
                raise_model_error(lora, lora_path, &error, NULL);
            }
        }
    }
    model->last_use = ++use_count;
    return model;
}

SessionModel *session_model(const text *name)
{
    return open_model(model_name(name), NULL, false);
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
    aigc_adapter_use adapter = {model->adapter, 1};
    aigc_error error;

    options.n_threads = setting_threads;
    options.n_context = setting_context_size;
    options.n_sequences = MAX_ALTERNATIVES;
    options.kv_bytes = (size_t)setting_kv_memory * 1024 * 1024;
    options.kv = (aigc_kv_type)setting_kv_type;
    /* Set by PostgreSQL's handlers of cancel, timeout and termination, like the model's: a step then returns at once.
     */
    options.interrupt = &InterruptPending;
    options.adapters = &adapter;
    options.n_adapters = model->adapter ? 1 : 0;
    if (aigc_engine_open(model->model, &options, &model->engine, &error) != AIGC_OK)
        raise_model_error(model->name, "", &error,
                          error.code == AIGC_E_LIMIT ? "Raise aigc.kv_memory or lower aigc.context_size." : NULL);
    model->threads = setting_threads;
    model->context_size = setting_context_size;
    model->kv_memory = setting_kv_memory;
    model->kv_type = setting_kv_type;
}

SessionModel *session_engine(const text *given, const text *given_lora)
{
    char *name = model_name(given), *lora = given_lora ? model_name(given_lora) : NULL;
    SessionModel *model = open_model(name, lora, true);

    if (model->engine && !same_settings(model)) {
        if (model->n_requests > 0) {
            retire(model);
            model = open_model(name, lora, true);
        } else {
            aigc_engine_close(model->engine);
            model->engine = NULL;
        }
    }
    if (!model->engine)
        open_engine(model);
    return model;
}
