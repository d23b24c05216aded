/*
 * training.h: what train_model() and finetune_model() share.
 *
 *     training_options.c  options jsonb into a struct, by a table
 *     training_text.c     the texts of a query, kept until they have been read as often as needed
 *     publish.c           a model file that appears in the model directory at the end or not at all
 *     training.c          train_model()
 *
 * All of it runs in the calling session, between PG_ENSURE_ERROR_CLEANUP and its end: what core holds and the temporary
 * file go whether an error, a cancel or a termination ends the work.
 */
#ifndef AIGC_TRAINING_H
#define AIGC_TRAINING_H

#include "aigc_pg.h"
#include "progress.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

/* The setting aigc.training_memory, in MB. */
extern int setting_training_memory;

/* ---- options (training_options.c) --------------------------------------------------------------------------- */

typedef enum OptionKind {
    OPTION_INT,  /* int */
    OPTION_REAL, /* double */
    OPTION_SEED, /* uint64 */
    OPTION_BOOL, /* bool */
    OPTION_TEXT  /* text *, in the database's encoding */
} OptionKind;

typedef struct OptionSpec {
    const char *name;
    OptionKind kind;
    size_t offset;      /* of the value in the struct that read_options() fills */
    double least, most; /* of numbers */
} OptionSpec;

/* Sets what the object names; JSON null leaves a default. Raises on unknown names and wrong values. */
void read_options(const Jsonb *options, const OptionSpec *specs, int n_specs, void *out);

/* ---- texts (training_text.c) -------------------------------------------------------------------------------- */

/* What the columns of the query are. */
typedef enum TextForm {
    TEXT_PLAIN = 1,      /* one column of any name */
    TEXT_ANSWERS = 2,    /* prompt, response */
    TEXT_PREFERENCES = 3 /* prompt, chosen, rejected */
} TextForm;

typedef struct TextSpool {
    const char *function; /* for messages */
    TextForm form;
    Tuplestorestate *store; /* a row of `form` UTF-8 texts for each document; in memory up to work_mem, then on disk */
    TupleDesc desc;
    TupleTableSlot *slot;
    MemoryContext row; /* what text_spool_next() gives */
    int64 n_rows;      /* kept */
    int64 n_skipped;   /* with a NULL or without text */
    int64 n_bytes;
} TextSpool;

/* Runs the query as the calling user, read-only, and keeps its texts; only TEXT_PLAIN if plain. An error if there are
 * none. */
void text_spool_fill(TextSpool *spool, const char *function, const text *query, bool plain, Progress *progress);

/* Begins to read, once more if need be. */
void text_spool_rewind(TextSpool *spool);

/* The next row, valid until the next call: UTF-8 of each column in the order of TextForm. False at the end. */
bool text_spool_next(TextSpool *spool, const char *texts[3], size_t lens[3]);

/* Before the end of the transaction: frees disk and memory. */
void text_spool_free(TextSpool *spool);

/* ---- the new model's file (publish.c) ----------------------------------------------------------------------- */

typedef struct NewModel {
    char *name;      /* UTF-8, without ".gguf" */
    char *path;      /* where the model will be */
    char *temporary; /* where it is written to first */
    bool replace;    /* a model of that name may go */
} NewModel;

/* Claims the name until the transaction ends. Raises if there is such a model, another session makes it, or the
 * directory cannot be written. Removes what crashed sessions left behind. */
void new_model_begin(NewModel *model, const text *name, bool replace);

/* Gives the temporary file its name. */
void new_model_publish(NewModel *model);

/* Removes the temporary file, if there is one. */
void new_model_abandon(NewModel *model);

/* Raises an error of writing it, which does not name its path. */
_Noreturn void raise_new_model_error(const NewModel *model, const aigc_error *error);

#endif
