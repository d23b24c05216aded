/*
 * aigc_pg.h: what the files of the PostgreSQL extension share. Each of them includes postgres.h first, then this.
 *
 *     module.c     library load and settings
 *     errors.c     errors of core as PostgreSQL errors
 *     encoding.c   text between the database's encoding and UTF-8
 *     directory.c  model names and the model directory
 *     listing.c    aigc_models()
 *     models.c     the models and engines that this session has open
 *     requests.c   a request's life: submit, wait for a piece, free, also after an error
 *     text.c       tokenize(), detokenize(), count_tokens(), score_text(), aigc_version()
 *     generate.c   generate(), generate_alternatives(), generate_stream()
 *     progress.c   the view aigc_progress, and what it shows (progress.h)
 *     training.h   train_model() and its files
 *     recommend_pg.h  recommend() and its files
 *
 * Whatever core allocates is invisible to PostgreSQL's memory contexts, and any PostgreSQL call may leave by longjmp.
 * So what lives across such a call hangs on a memory context's reset callback (requests) or in a static list (models).
 */
#ifndef AIGC_PG_H
#define AIGC_PG_H

#include <sys/stat.h>

#include "aigc.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 130000
#error "aigc needs PostgreSQL 13 or later"
#endif

/* Declares a function that SQL calls, visible although the library hides its symbols. */
#define SQL_FUNCTION(name)                                                                                             \
    PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                          \
    PG_FUNCTION_INFO_V1(name)

/* Alternatives that one request may ask for: the sequences that an engine runs at once. */
#define MAX_ALTERNATIVES 32

/* What generate() uses where no model is named: it comes with the extension. */
#define DEFAULT_MODEL "aigc-base"

/* ---- settings (module.c) ------------------------------------------------------------------------------------ */

extern char *setting_model;
extern char *setting_model_directory;
extern int setting_threads;
extern int setting_context_size;
extern int setting_kv_memory; /* MB */
extern int setting_kv_type;   /* aigc_kv_type */
extern int setting_max_tokens;
extern int setting_seed; /* -1: a new one for each call */

/* ---- errors (errors.c) -------------------------------------------------------------------------------------- */

/* Raises an error of core as it stands; hint may be NULL. */
_Noreturn void raise_core_error(const aigc_error *error, const char *hint);

/* Raises an error of core as `cannot use model "name": ...`, without the path of its file. */
_Noreturn void raise_model_error(const char *model, const char *path, const aigc_error *error, const char *hint);

/* What core says of a file, for display. Core begins it with the path, which not everybody may know. */
char *message_without_path(const aigc_error *error, const char *path);

/* ---- encoding (encoding.c) ---------------------------------------------------------------------------------- */

/* A text value as UTF-8, not NUL-terminated: the value's own bytes when nothing has to change. */
const char *text_to_utf8(const text *value, size_t *len);

/* The same as a palloc'd string. PostgreSQL text holds no NUL. */
char *text_to_utf8_cstring(const text *value);

/* UTF-8 that a model wrote as a text value. */
text *utf8_to_text(const char *utf8, size_t len);

/* UTF-8 from a file or from core, for a message or a listing: what the database cannot hold becomes '?'. Never fails.
 */
char *utf8_for_display(const char *utf8);

/* ---- the model directory (directory.c) ---------------------------------------------------------------------- */

/* Whether a name (UTF-8) may be a model's; if not, *why says so in a sentence. */
bool model_name_valid(const char *name, const char **why);

/* The model's own name, palloc'd UTF-8: the given one or the setting's, without ".gguf". Raises on a bad name. */
char *model_name(const text *given);

/* Path of the model's file, palloc'd, whether there is one or not. */
char *model_file(const char *name);

/* The same when it must be there: *file gets its stat. Raises, listing the models there are, when there is none. */
char *model_path(const char *name, struct stat *file);

/* Names of the models in the directory, sorted, palloc'd. A directory that cannot be read is an error unless quiet. */
List *list_model_names(bool quiet);

/* ---- models of this session (models.c) ---------------------------------------------------------------------- */

typedef struct SessionModel {
    dlist_node node;
    char *name; /* UTF-8, without ".gguf" */
    char *lora; /* likewise: the adapter beside it, or NULL */
    struct stat file, lora_file;
    aigc_model *model;
    aigc_adapter *adapter;                         /* NULL without lora */
    bool has_weights;                              /* opened with weights, not for its tokenizer alone */
    aigc_engine *engine;                           /* NULL until a request needs it */
    int threads, context_size, kv_memory, kv_type; /* the settings that the engine was opened with */
    int n_requests;                                /* live requests of this session */
    bool retired;                                  /* out of date: closes with its last request */
    uint64 last_use;
    aigc_error failure; /* the error of the last step that failed */
} SessionModel;

/* The model of that name (NULL: the setting's), opened for its tokenizer at least. Valid until the next call. */
SessionModel *session_model(const text *name);

/* The same with an engine that has the settings of now, and with the adapter of that name if lora is not NULL. Valid
 * while it has requests, else until the next call. */
SessionModel *session_engine(const text *name, const text *lora);

/* Counts requests in and out; a retired model goes with its last one. */
void session_model_pin(SessionModel *model);
void session_model_unpin(SessionModel *model);

/* Whether this session has the model open. */
bool session_model_loaded(const char *name, const struct stat *file);

/* ---- requests (requests.c) ---------------------------------------------------------------------------------- */

typedef struct Request {
    SessionModel *model;
    aigc_request *request;
    MemoryContextCallback on_reset;
} Request;

/* CHECK_FOR_INTERRUPTS() between two pieces of work: cancel, timeouts and termination leave from here. */
void check_interrupts(void);

/* Submits a request that lives in the current memory context: an error, a cancel or a closed cursor frees it. */
Request *request_begin(SessionModel *model, const aigc_request_options *options);

/* Steps the engine until a piece of this request is there. False: everything has been taken. */
bool request_next(Request *request, aigc_piece *piece);

/* Frees the request before its memory context goes. */
void request_end(Request *request);

#endif
