/*
 * session.h: a model with its engine, used from the thread that owns it (Lua's) and from one worker thread.
 *
 * Requests that must not be waited for are submitted and run on the worker, which is created at the first of them, with
 * all signals blocked but the one of a file that was cut short. Loading the model happens there too. The newest request
 * wins: submitting one cancels the one that runs and the one that waits. What comes out is fetched by session_take(); a
 * byte in a pipe says that there is something to fetch. Requests that the caller waits for run on the caller's own
 * thread between session_enter() and session_leave(), and only while the worker has nothing to do: an engine belongs to
 * one thread at a time.
 *
 * All functions are for the owning thread. Only session_close() waits for the worker (as long as a step needs to see
 * the interrupt flag), and session_settle() for others'; session_model() and session_enter() may open the file.
 */
#ifndef AIGC_LUA_SESSION_H
#define AIGC_LUA_SESSION_H

#include "job.h"
#include "memory.h"

typedef struct session session;

typedef struct session_options {
    aigc_engine_options engine;
    unsigned parts;       /* AIGC_MODEL_*: what is read of the file */
    const char *lora;     /* path of an adapter beside the model, or NULL; copied */
    const char *personal; /* path of a personal layer's file, or NULL; copied */
    bool documents;       /* a layer for the documents at hand, in memory alone */
} session_options;

/* Notes the path and makes the pipe; the file is only asked for its permission. */
aigc_status session_open(const char *path, const session_options *options, session **s, aigc_error *err);

/* Cancels, joins the worker, frees everything. NULL is allowed. Not between session_enter() and session_leave(). */
void session_close(session *s);

/* The same without waiting: the worker does it, on its own thread, and ends then. Where there is neither a worker nor a
 * model it is done at once. */
void session_discard(session *s);

/* Waits until all sessions of the process that were discarded are gone, their personal layers written, but no longer
 * than so many milliseconds (negative: as long as it takes). Whether they are. To be called before the process ends,
 * and before what they may still write is read or removed. */
bool session_settle(int milliseconds);

const char *session_path(const session *s);

/* The model, opening it on this thread if nobody has. AIGC_E_LIMIT while the worker opens it. */
aigc_status session_model(session *s, aigc_model **model, aigc_error *err);

/* The engine, if it is open and the worker does not use it, or NULL. */
aigc_engine *session_idle_engine(session *s);

/* "unloaded", "loading", "idle" or "running". */
const char *session_state(session *s);

/* Whether the caller runs a request itself (so that a callback may not start another). */
bool session_entered(const session *s);

/* Lends the engine to the caller, opening it if need be. Fails while the worker has a request. */
aigc_status session_enter(session *s, aigc_model **model, aigc_engine **engine, aigc_error *err);
void session_leave(session *s);

/* Never set between session_enter() and session_leave(). */
const volatile sig_atomic_t *session_interrupt(const session *s);

/* Puts the job in line, sets its id and cancels the others. The session owns the job from here if that succeeds. */
aigc_status session_submit(session *s, job *j, aigc_error *err);

/* Cancels one request, or whichever there is if id is 0. Whether there was one to cancel. */
bool session_cancel(session *s, long long id);

/* Puts an order to the personal layer in line, which is the session's from here. The worker does it between requests,
 * in order. Fails if the session has no layer. */
aigc_status session_order(session *s, order *o, aigc_error *err);

/* Gives a job the layers that it asks for; it goes without, if the file cannot be read (session_memory()
 * tells why). For whoever may use the engine. */
void session_use_layer(session *s, job *j);

/* What the personal layer knows, with its n most frequent phrases at most. Fills a new view at once, on this thread,
 * which may have to open the model and to read the layer; AIGC_E_LIMIT while the worker has something to do. */
aigc_status session_memory(session *s, memory_view *view, aigc_error *err);

/* The same on the worker, in line like an order. session_looked() hands over the last view that was asked for, or NULL
 * as long as there is none; the caller frees it. */
aigc_status session_look(session *s, size_t n, aigc_error *err);
memory_view *session_looked(session *s);

/* Becomes readable when there is something to take; now and then also when that was taken just before. Belongs to the
 * session. */
int session_fd(const session *s);

/* Waits until then: whether there is something. Returns early when a signal comes. */
bool session_wait(session *s, int milliseconds);

/* Empties the pipe and prepares the jobs that have something to tell, in the order of submission, for session_next().
 * Does not wait for the worker: if it is in the way there is nothing, and the pipe stays as it is.
 * Jobs that were handed out finished are freed at the next session_take(). */
void session_take(session *s);

/* The next job of those, or NULL. *finished: it has ended, this is the last of it. Its `out` buffers hold new text. */
job *session_next(session *s, bool *finished);

#endif
