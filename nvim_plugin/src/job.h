/*
 * job.h: one request on its way through a session: what was asked, what has come out of it so far, how it ended.
 * Used by session.c and by the Lua side; knows no Lua itself.
 */
#ifndef AIGC_LUA_JOB_H
#define AIGC_LUA_JOB_H

#include "aigc.h"

typedef struct text_buffer {
    char *data;
    size_t len, size;
} text_buffer;

bool text_buffer_append(text_buffer *b, const char *text, size_t len);
void text_buffer_free(text_buffer *b);

/* What a piece of text was made of: its end in a text_buffer, and the tokens that it took. */
typedef struct piece_mark {
    size_t end;
    int n_tokens;
    double logprob; /* their sum */
} piece_mark;

/* Grows like a text_buffer. */
typedef struct mark_buffer {
    piece_mark *data;
    size_t len, size;
} mark_buffer;

/* A request's options together with the memory that they point to. */
typedef struct job_spec {
    aigc_request_options options; /* prompt, tokens, stop and bias point to the members below */
    char *prompt;
    int32_t *tokens;
    char **stop; /* [options.n_stop] */
    aigc_logit_bias *bias;
    bool fit;     /* drop the oldest tokens of a prompt that leaves no room for max_tokens */
    char *suffix; /* text that follows, or NULL */
    size_t suffix_len;
    int weigh;      /* alternatives to choose from by the suffix if the model has no tokens for it; 0: don't */
    bool logprobs;  /* the caller wants tokens with their log-probabilities */
    bool personal;  /* the session's personal layer takes part */
    bool documents; /* and that of the documents at hand */
} job_spec;

/* One alternative of a request. `text`, `finish` and what follows belong to the thread that runs the job until it is
 * finished; `fresh` is shared under the session's lock; `out` belongs to the thread that takes events. */
typedef struct job_alternative {
    text_buffer text;  /* all of it */
    text_buffer fresh; /* not yet handed to the taker */
    text_buffer out;   /* being handed out: swapped with fresh, so that nothing is copied or allocated under the lock */
    mark_buffer fresh_marks, out_marks; /* one for each piece in them */
    size_t n_marked;                    /* tokens that a mark has told of */
    aigc_finish finish;
    double logprob;
    aigc_token *tokens; /* [n_tokens] */
    size_t n_tokens;
    aigc_token *top; /* [n_tokens][options.top_logprobs], rows filled up with id -1 */
} job_alternative;

/* How the text between prompt and suffix came to be (infill.h). */
typedef enum job_infill { INFILL_NONE, INFILL_TOKENS, INFILL_WEIGHED } job_infill;

typedef enum job_state { JOB_WAITING, JOB_RUNNING, JOB_FINISHED } job_state;

typedef struct job {
    struct job *next; /* the session's list, in the order of submission */
    long long id;
    job_spec spec;
    int n;                         /* alternatives that there is room for; spec.options.n of them are asked for */
    job_alternative *alternatives; /* [n] */
    int *rank;                     /* [n]: alternatives, most probable first */
    aigc_request *request;         /* while it runs */
    aigc_request_info info;
    job_infill infill;
    int n_dropped;      /* prompt tokens that were left out to make the prompt fit */
    aigc_token *prompt; /* [n_prompt], kept for prompt_logprobs */
    size_t n_prompt;
    job_state state; /* under the session's lock, like the next two */
    bool cancelled;
    bool has_fresh;
    aigc_status status; /* with error: why it failed */
    aigc_error error;
} job;

/* A job with default options; its alternatives come with job_prepare(). NULL when memory is out. */
job *job_new(void);

/* To be called when the options are complete: makes room for options.n alternatives. */
bool job_prepare(job *j);

/* Adds a piece to an alternative's `fresh`, with a mark. The request must be live. False when memory is out. */
bool job_add_fresh(job *j, const aigc_piece *piece);

/* Notes in j->error that there is no room for something. Returns AIGC_E_MEMORY. */
aigc_status job_out_of_memory(job *j, const char *what);

/* Frees the job and a request that is still in the engine. NULL is allowed. */
void job_free(job *j);

/* Called with each piece of text as it comes; returning false ends the request. */
typedef bool (*job_sink)(void *context, const aigc_piece *piece);

/* Runs the job to its end, or until *interrupt is set or the sink wants no more: then finish stays AIGC_RUNNING where
 * an alternative was not complete. The outcome is in the job. */
aigc_status job_run(job *j, aigc_model *model, aigc_engine *engine, const volatile sig_atomic_t *interrupt,
                    job_sink sink, void *context);

#endif
