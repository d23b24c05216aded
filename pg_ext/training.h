/*
 * training.h: what train_model() and finetune_model() share.
 *
 *     training_options.c  options jsonb into a struct, by a table
 *     training_text.c     the texts of a query, kept until they have been read as often as needed
 *     publish.c           a model file that appears in the model directory at the end or not at all; drop_model()
 *     training_run.c      the trainer of core: texts in, steps, the file
 *     training.c          train_model()
 *     finetuning.c        finetune_model()
 *
 * All of it runs in the calling session, between PG_ENSURE_ERROR_CLEANUP and its end: what core holds and the temporary
 * file go whether an error, a cancel or a termination ends the work.
 */
#ifndef AIGC_TRAINING_H
#define AIGC_TRAINING_H

#include "aigc_pg.h"
#include "portability/instr_time.h"
#include "progress.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

/* The setting aigc.training_memory, in MB. */
extern int setting_training_memory;

/* ---- options (training_options.c) --------------------------------------------------------------------------- */

typedef enum OptionKind {
    OPTION_INT,    /* int */
    OPTION_REAL,   /* double */
    OPTION_SEED,   /* uint64 */
    OPTION_BOOL,   /* bool */
    OPTION_CHOICE, /* int (an enum): the number of one of the names in `choices` */
    OPTION_TEXT    /* text *, in the database's encoding */
} OptionKind;

typedef struct OptionSpec {
    const char *name;
    OptionKind kind;
    size_t offset;              /* of the value in the struct that read_options() fills */
    double least, most;         /* of numbers */
    const char *const *choices; /* ends with NULL */
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
    int64 n_skipped;   /* with a NULL or nothing to learn */
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

/* ---- a run of core's trainer (training_run.c) --------------------------------------------------------------- */

/* What both functions are told. */
typedef struct RunSettings {
    int steps; /* the length is one of these; 0: not given */
    double minutes, epochs;
    double held_out; /* part of the texts that is not trained on */
    bool replace;
    text *type; /* of the weights in the file; NULL: F32, or as they are in the base */
    aigc_train_options train;
} RunSettings;

/* Their rows of a table of options for a struct whose field `run` is a RunSettings. */
#define MOST_STEPS 2147483647
#define MOST_SIZE  (1 << 20)
#define RUN_OPTION(kind, name, struct_type, field, least, most)                                                        \
    {                                                                                                                  \
        name, kind, offsetof(struct_type, run.field), least, most, NULL                                                \
    }
#define RUN_OPTIONS(s)                                                                                                 \
    RUN_OPTION(OPTION_INT, "steps", s, steps, 1, MOST_STEPS),                                                          \
        RUN_OPTION(OPTION_REAL, "minutes", s, minutes, 0.01, 1e6),                                                     \
        RUN_OPTION(OPTION_REAL, "epochs", s, epochs, 0.001, 1e6),                                                      \
        RUN_OPTION(OPTION_REAL, "valid", s, held_out, 0, 0.5), RUN_OPTION(OPTION_BOOL, "replace", s, replace, 0, 0),   \
        RUN_OPTION(OPTION_TEXT, "type", s, type, 0, 0),                                                                \
        RUN_OPTION(OPTION_INT, "context", s, train.n_context, 2, MOST_SIZE),                                           \
        RUN_OPTION(OPTION_INT, "batch", s, train.n_sequences, 1, MOST_SIZE),                                           \
        RUN_OPTION(OPTION_INT, "accumulate", s, train.n_accumulate, 1, 1 << 16),                                       \
        {"precision", OPTION_CHOICE, offsetof(s, run.train.precision), 0, 0, precision_names},                         \
        RUN_OPTION(OPTION_REAL, "lr", s, train.rate, 1e-9, 10),                                                        \
        RUN_OPTION(OPTION_REAL, "lr_end", s, train.least_rate, 0, 1),                                                  \
        {"schedule", OPTION_CHOICE, offsetof(s, run.train.schedule), 0, 0, schedule_names},                            \
        RUN_OPTION(OPTION_REAL, "decay", s, train.decay, 0, 1e9),                                                      \
        RUN_OPTION(OPTION_INT, "warmup", s, train.n_warmup, 0, MOST_STEPS),                                            \
        {"optimizer", OPTION_CHOICE, offsetof(s, run.train.optimiser), 0, 0, optimiser_names},                         \
        RUN_OPTION(OPTION_REAL, "weight_decay", s, train.weight_decay, 0, 10),                                         \
        RUN_OPTION(OPTION_REAL, "dropout", s, train.dropout, 0, 0.999),                                                \
        RUN_OPTION(OPTION_REAL, "clip", s, train.clip, 0, 1e9), RUN_OPTION(OPTION_SEED, "seed", s, train.seed, 0, 0)

extern const char *const precision_names[]; /* of aigc_train_precision */
extern const char *const schedule_names[];  /* of aigc_train_schedule */
extern const char *const optimiser_names[]; /* of aigc_train_optimiser */

typedef struct Training {
    const char *function;
    RunSettings *settings;
    Progress progress;
    NewModel model;
    TextSpool texts;
    aigc_bpe_trainer *bpe; /* while a vocabulary is learned */
    aigc_trainer *trainer;
    bool adapter;     /* what is written is one */
    bool score_start; /* evaluate before the first step too */
    instr_time began;
    aigc_train_progress last; /* step */
    aigc_train_score start_score, score;
} Training;

/* Raises unless the function may run here, and options are given as they should: the length one of three ways. */
void training_check_call(const char *function);
void training_check_settings(RunSettings *settings);

/* An error if this is more than the setting allows; detail says what it is for. */
void training_check_memory(size_t bytes, const char *detail);

/* Since this moment. */
double training_seconds(const instr_time *began);

/* Opens core's trainer with the settings and the file of a vocabulary (NULL: that of settings.train.init or base). If
 * what is opened is a model (NULL: it is not), its name and path are for errors. */
void training_open(Training *t, const char *vocabulary, const char *model, const char *path);

/* Runs everything from the texts to the file. */
void training_run(Training *t);

/* Gives back what PostgreSQL does not know of. Called at the end, after an error, and before the session exits. */
void training_release(int code, Datum training);

#endif
