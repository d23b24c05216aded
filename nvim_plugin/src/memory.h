/*
 * memory.h: a session's personal layer: opened when it is first needed, taught by orders, saved now and then. Knows no
 * Lua and no threads: session.c lets one thread at a time in.
 *
 * Several editors may share a file. Before it is written it is read again if another has replaced it, and what was
 * ordered here since the last time is done once more: nobody's words are lost.
 */
#ifndef AIGC_LUA_MEMORY_H
#define AIGC_LUA_MEMORY_H

#include <sys/stat.h>
#include <time.h>

#include "job.h"

typedef enum order_kind {
    ORDER_LEARN,    /* text */
    ORDER_UNLEARN,  /* text */
    ORDER_FORGET,   /* whatever contains text */
    ORDER_CLEAR,    /* everything */
    ORDER_FEEDBACK, /* text was shown, n_taken bytes of it are in the buffer, the rest was rejected or not */
    ORDER_SAVE,
    ORDER_LOOK, /* fill `view` */
} order_kind;

typedef struct memory_phrase {
    char *text;
    size_t len;
    uint32_t count;
} memory_phrase;

/* What a layer knows, for reading while the layer is at work again. */
typedef struct memory_view {
    aigc_error error; /* why there is no layer; code AIGC_OK: there is one, and the rest is valid */
    aigc_error unwritten;
    aigc_personal_info info;
    memory_phrase *phrases; /* [n] of at most `most`, the most frequent first */
    size_t n, most;
} memory_view;

/* NULL when memory is out. */
memory_view *memory_view_new(size_t most);
void memory_view_free(memory_view *view); /* NULL is allowed */

typedef struct order {
    struct order *next;
    order_kind kind;
    char *text;
    size_t len, n_taken;
    bool rejected;
    bool documents; /* for the layer of the documents at hand */
    memory_view *view;
} order;

/* Copies text, which may be NULL. NULL when memory is out. */
order *order_new(order_kind kind, const char *text, size_t len);
void order_free(order *o);      /* NULL is allowed */
void order_free_list(order *o); /* it and those behind it */

enum { MEMORY_RECORDS = 16 };

/* The tokens of an alternative that may have been shown, for feedback. */
typedef struct memory_record {
    char *text;
    size_t len;
    aigc_token *tokens; /* [n] the first n_before are of the prompt */
    size_t n, n_before;
} memory_record;

typedef struct memory {
    bool wanted;       /* false: there is no layer */
    char *path;        /* NULL: it is kept in memory alone */
    size_t max_ngrams; /* 0: the default */
    aigc_model *model;
    aigc_personal *layer; /* NULL until memory_open() has succeeded */
    aigc_error error;     /* why it has not, or could not be written; code AIGC_OK: neither */
    bool changed;
    struct stat seen;      /* the file as it was read or written last; st_ino 0: there was none */
    struct timespec saved; /* when */
    order *log, **log_end; /* what was learned and forgotten since then */
    memory_record records[MEMORY_RECORDS];
    int next_record;
} memory;

/* path is copied; NULL: nothing is kept; with a slash at its end, a folder in which each vocabulary has a file. False
 * when memory is out. */
bool memory_init(memory *m, bool wanted, const char *path, size_t max_ngrams);

/* Reads the file, once. A file that cannot be read is left alone: there is no layer then, and the error stays. */
aigc_status memory_open(memory *m, aigc_model *model);

/* Does what is ordered and frees the order. The model is opened already. */
void memory_run(memory *m, order *o);

/* Fills a new view. For whoever may use the engine; the layer is opened already, or cannot be. */
void memory_look(const memory *m, memory_view *view);

/* Keeps the tokens of a job that has run, for feedback. */
void memory_keep(memory *m, const job *j);

/* Writes the file if something has changed. */
aigc_status memory_save(memory *m);

/* Saves and frees. */
void memory_close(memory *m);

#endif
