/* session.c: one model, one engine, one worker thread, a queue of depth one. */
#ifdef __linux__
#define _GNU_SOURCE 1 /* SCHED_BATCH, sched_getcpu */
#endif
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* The engine computes on this stack too; some systems' default is 128 KiB. NICENESS: whoever types comes first. */
enum { WORKER_STACK = 2 << 20, NICENESS = 10 };

/* Some 50 microseconds. */
enum { LOCK_TRIES = 2000 };

/* Some 15 MB: about 250 kB of text. */
enum { DOCUMENTS_NGRAMS = 1 << 18 };

/* How many sessions their workers have yet to close, in the whole process. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t fewer;
    int n;
} discarded = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

struct session {
    char *path;
    char *lora; /* or NULL */
    session_options options;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* for the worker: something waits, or the end has come */
    pthread_t worker;
    bool has_worker;
    bool entered;         /* the caller runs a request; only the owning thread looks */
    int editor_processor; /* where the owning thread was when the worker was last kept off it, or -1 */

    volatile sig_atomic_t interrupt; /* stops the running job; written under the lock */
    bool stop;
    bool discarded;              /* under the lock: nobody joins the worker, which closes the session */
    job *waiting, *running;      /* under the lock; also in the list */
    order *orders, **orders_end; /* under the lock: what waits */
    bool ordering;               /* under the lock: the worker does one */
    memory_view *view;           /* under the lock: what was looked at last, until somebody takes it */
    memory memory, documents;    /* whoever may use the engine */
    bool notified;               /* under the lock: a byte is in the pipe, or on its way there */
    int pipe_read, pipe_write;

    /* The owning thread's: all jobs that it has not seen the end of, and those handed out by the last take. */
    job *jobs;
    job *taken, *taken_next;
    job *live; /* the one of the list that runs, until session_next() has told of it */
    long long last_id;

    aigc_model *model;   /* set under the lock, once */
    aigc_engine *engine; /* used by whoever runs a request */
};

static aigc_status fail(aigc_error *err, aigc_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static aigc_status fail(aigc_error *err, aigc_status code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->message, sizeof err->message, format, ap);
    va_end(ap);
    err->code = code;
    return code;
}

/* The running step reads it without the lock. */
static void set_interrupt(session *s, int on)
{
    __atomic_store_n(&s->interrupt, on, __ATOMIC_RELAXED);
}

/* ---- the pipe ----------------------------------------------------------------------------------------------- */

static bool make_pipe(int fd[2])
{
    if (pipe(fd) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        /* Children of the editor must not inherit it, and neither end may ever block. */
        if (fcntl(fd[i], F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd[i], F_SETFL, O_NONBLOCK) != 0) {
            close(fd[0]);
            close(fd[1]);
            return false;
        }
    }
    return true;
}

/* Under the lock: whether a byte is due, at the edge from nothing to something. */
static bool set_notified(session *s)
{
    bool due = !s->notified;
    s->notified = true;
    return due;
}

/* Not under the lock: the write wakes the reader, which would find the lock taken, and by a thread of low priority that
 * the system may let wait just then. A full pipe says the same as a byte. */
static void notify(session *s)
{
    ssize_t written;
    do
        written = write(s->pipe_write, "", 1);
    while (written < 0 && errno == EINTR);
}

static void unlock_and_notify(session *s, bool due)
{
    pthread_mutex_unlock(&s->lock);
    if (due)
        notify(s);
}

static void drain(session *s)
{
    char bytes[16];
    ssize_t got;
    do
        got = read(s->pipe_read, bytes, sizeof bytes);
    while (got > 0 || (got < 0 && errno == EINTR));
}

/* ---- loading ------------------------------------------------------------------------------------------------ */

/* Opens what is not open yet. Called by the thread that may use the engine. */
static aigc_status load_model(session *s, aigc_model **model, aigc_error *err)
{
    if (!s->model) {
        aigc_model *opened;
        aigc_status status = aigc_model_open(s->path, s->options.parts, &opened, err);
        if (status != AIGC_OK)
            return status;
        pthread_mutex_lock(&s->lock);
        s->model = opened;
        pthread_mutex_unlock(&s->lock);
    }
    *model = s->model;
    return AIGC_OK;
}

static aigc_status load_engine(session *s, aigc_model **model, aigc_engine **engine, aigc_error *err)
{
    aigc_status status = load_model(s, model, err);
    if (status == AIGC_OK && !s->engine) {
        aigc_engine_options options = s->options.engine;
        aigc_adapter_use use = {NULL, 1};
        options.interrupt = &s->interrupt;
        options.adapters = &use;
        options.n_adapters = s->lora ? 1 : 0;
        if (s->lora)
            status = aigc_adapter_open(s->model, s->lora, &use.adapter, err);
        if (status == AIGC_OK)
            status = aigc_engine_open(s->model, &options, &s->engine, err);
        aigc_adapter_close(use.adapter); /* the engine keeps it open */
    }
    *engine = s->engine;
    return status;
}

/* ---- giving back -------------------------------------------------------------------------------------------- */

/* Under the lock, or when there is no worker. */
static order *take_order(session *s)
{
    order *o = s->orders;
    s->orders = o->next;
    if (!s->orders)
        s->orders_end = &s->orders;
    return o;
}

/* An order that the worker has not come to. What is to be forgotten is, even if nothing else was asked for. */
static void finish_order(session *s, order *o)
{
    bool forgets = o->kind == ORDER_FORGET || o->kind == ORDER_CLEAR;
    aigc_model *model;
    aigc_error err;
    if (o->documents || o->kind == ORDER_LOOK) {
        order_free(o);
        return;
    }
    if (forgets && load_model(s, &model, &err) == AIGC_OK)
        memory_open(&s->memory, model);
    memory_run(&s->memory, o);
}

static void free_list(job *j)
{
    while (j) {
        job *next = j->next;
        job_free(j);
        j = next;
    }
}

/* Called by the only thread that still knows of the session. */
static void give_back(session *s)
{
    while (s->orders)
        finish_order(s, take_order(s));
    memory_view_free(s->view);
    memory_close(&s->memory);
    memory_close(&s->documents);
    free_list(s->jobs);
    free_list(s->taken);
    aigc_engine_close(s->engine);
    aigc_model_close(s->model);
    close(s->pipe_read);
    close(s->pipe_write);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s->lora);
    free(s);
}

static void count_discarded(int more)
{
    pthread_mutex_lock(&discarded.lock);
    discarded.n += more;
    if (more < 0)
        pthread_cond_broadcast(&discarded.fewer);
    pthread_mutex_unlock(&discarded.lock);
}

/* ---- the worker --------------------------------------------------------------------------------------------- */

typedef struct worker_sink {
    session *s;
    job *j;
    bool lost;
} worker_sink;

static bool on_piece(void *context, const aigc_piece *piece)
{
    worker_sink *w = context;
    pthread_mutex_lock(&w->s->lock);
    w->lost = !job_add_fresh(w->j, piece);
    unlock_and_notify(w->s, !w->lost && set_notified(w->s));
    return !w->lost;
}

void session_use_layer(session *s, job *j)
{
    aigc_request_options *o = &j->spec.options;
    j->spec.personal = j->spec.personal && s->memory.wanted && memory_open(&s->memory, s->model) == AIGC_OK;
    o->personal = j->spec.personal ? s->memory.layer : NULL;
    if (j->spec.documents && s->documents.wanted && memory_open(&s->documents, s->model) == AIGC_OK)
        o->documents = s->documents.layer;
}

static void run_on_worker(session *s, job *j)
{
    aigc_model *model;
    aigc_engine *engine;
    worker_sink sink = {.s = s, .j = j};
    j->status = load_engine(s, &model, &engine, &j->error);
    if (j->status == AIGC_OK)
        session_use_layer(s, j);
    if (j->status == AIGC_OK)
        j->status = job_run(j, model, engine, &s->interrupt, on_piece, &sink);
    if (j->status == AIGC_OK && j->spec.options.personal)
        memory_keep(&s->memory, j);
    if (j->status == AIGC_OK && sink.lost)
        j->status = fail(&j->error, AIGC_E_MEMORY, "out of memory: no room for the generated text");
}

/* Lowers the priority of the calling thread and of those that it starts, which on Linux have one of their own. A batch
 * thread that is woken does not take the processor from the one that woke it: without that the editor's main loop was
 * seen to lose it for a millisecond or two in the middle of a submit. Both may always be asked for. */
static void yield_to_neighbours(void)
{
#ifdef __linux__
    struct sched_param none = {0};
    int own = getpriority(PRIO_PROCESS, 0);
    setpriority(PRIO_PROCESS, 0, own + NICENESS);
    sched_setscheduler(0, SCHED_BATCH, &none);
#endif
}

/* Called by the editor's thread, often. A low priority is not enough: Linux was seen to take the processor from the
 * main loop in the middle of a callback and give it to a worker that had just been queued there, until the next tick of
 * its clock, 4 ms later. So while there is a processor for each thread besides, the one that the main loop is on stays
 * its own; the engine's workers follow their caller (core/base/threads.h). If the system refuses, a worker may run
 * there. */
static void keep_worker_off_the_editor(session *s)
{
#ifdef __linux__
    int here = sched_getcpu();
    cpu_set_t all, others;
    if (!s->has_worker || here < 0 || here == s->editor_processor || sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    others = all;
    CPU_CLR(here, &others);
    int n_threads = s->options.engine.n_threads;
    bool enough = n_threads > 0 && CPU_COUNT(&others) >= n_threads;
    pthread_setaffinity_np(s->worker, sizeof all, enough ? &others : &all);
    s->editor_processor = here;
#else
    (void)s;
#endif
}

/* Under the lock, which it gives back while it works. */
static void do_job(session *s)
{
    job *j = s->running = s->waiting;
    s->waiting = NULL;
    set_interrupt(s, 0);
    j->state = JOB_RUNNING;
    pthread_mutex_unlock(&s->lock);
    run_on_worker(s, j);
    pthread_mutex_lock(&s->lock);
    s->running = NULL;
    j->state = JOB_FINISHED;
    unlock_and_notify(s, set_notified(s));
    pthread_mutex_lock(&s->lock);
}

/* Likewise. */
static void keep_view(session *s, memory_view *view)
{
    pthread_mutex_lock(&s->lock);
    memory_view *old = s->view;
    s->view = view;
    pthread_mutex_unlock(&s->lock);
    memory_view_free(old);
}

/* problem: with the model, or NULL. */
static void look(session *s, order *o, const aigc_error *problem)
{
    if (problem)
        o->view->error = *problem;
    else
        memory_look(&s->memory, o->view);
    keep_view(s, o->view);
    o->view = NULL;
}

static void do_order(session *s)
{
    order *o = take_order(s);
    aigc_model *model;
    aigc_error err;
    s->ordering = true;
    pthread_mutex_unlock(&s->lock);
    memory *m = o->documents ? &s->documents : &s->memory;
    aigc_status status = load_model(s, &model, &err);
    if (status == AIGC_OK)
        memory_open(m, model);
    if (o->kind == ORDER_LOOK) {
        look(s, o, status == AIGC_OK ? NULL : &err);
        order_free(o);
    } else {
        memory_run(m, o);
    }
    pthread_mutex_lock(&s->lock);
    s->ordering = false;
}

static void *worker_main(void *context)
{
    session *s = context;
    yield_to_neighbours();
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (s->waiting)
            do_job(s);
        if (s->orders && !s->stop)
            do_order(s);
        while (!s->stop && !s->waiting && !s->orders)
            pthread_cond_wait(&s->wake, &s->lock);
    }
    bool last = s->discarded;
    pthread_mutex_unlock(&s->lock);
    if (last) {
        give_back(s);
        count_discarded(-1);
    }
    return NULL;
}

/* The host's signals stay with the host's threads. */
static aigc_status start_worker(session *s, aigc_error *err)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed = pthread_attr_init(&attributes);
    if (failed)
        return fail(err, AIGC_E_IO, "cannot start the worker thread: %s", strerror(failed));
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* reading a model's file raises it, if that was cut short: the core handles it */
    pthread_attr_setstacksize(&attributes, WORKER_STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&s->worker, &attributes, worker_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed)
        return fail(err, AIGC_E_IO, "cannot start the worker thread: %s", strerror(failed));
    s->has_worker = true;
    return AIGC_OK;
}

/* ---- opening and closing ------------------------------------------------------------------------------------ */

aigc_status session_open(const char *path, const session_options *options, session **out, aigc_error *err)
{
    if (access(path, R_OK) != 0)
        return fail(err, AIGC_E_IO, "cannot read the model '%s': %s", path, strerror(errno));
    session *s = calloc(1, sizeof *s);
    char *copy = strdup(path), *lora = options->lora ? strdup(options->lora) : NULL;
    int fd[2];
    if (!s || !copy || (options->lora && !lora) || !memory_init(&s->memory, options->personal, options->personal, 0)) {
        free(s);
        free(copy);
        free(lora);
        return fail(err, AIGC_E_MEMORY, "out of memory: cannot open the model '%s'", path);
    }
    if (!make_pipe(fd)) {
        int reason = errno;
        memory_close(&s->memory);
        free(s);
        free(copy);
        free(lora);
        return fail(err, AIGC_E_IO, "cannot make a pipe: %s", strerror(reason));
    }
    s->path = copy;
    s->lora = lora;
    s->options = *options;
    s->orders_end = &s->orders;
    s->editor_processor = -1;
    memory_init(&s->documents, options->documents, NULL, DOCUMENTS_NGRAMS);
    s->pipe_read = fd[0];
    s->pipe_write = fd[1];
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    *out = s;
    return AIGC_OK;
}

/* Under the lock: the worker ends as soon as it sees that. */
static void stop_worker(session *s)
{
    s->stop = true;
    set_interrupt(s, 1);
    pthread_cond_signal(&s->wake);
}

void session_close(session *s)
{
    if (!s)
        return;
    if (s->has_worker) {
        pthread_mutex_lock(&s->lock);
        stop_worker(s);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->worker, NULL);
    }
    give_back(s);
}

void session_discard(session *s)
{
    aigc_error err;
    if (!s)
        return;
    if (!s->has_worker && (!s->model || start_worker(s, &err) != AIGC_OK)) {
        give_back(s);
        return;
    }
    count_discarded(1);
    pthread_mutex_lock(&s->lock);
    s->discarded = true;
    stop_worker(s);
    pthread_detach(s->worker);
    pthread_mutex_unlock(&s->lock);
}

bool session_settle(int milliseconds)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += milliseconds / 1000;
    end.tv_nsec += milliseconds % 1000 * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000L;
    }
    int failed = 0;
    pthread_mutex_lock(&discarded.lock);
    while (discarded.n > 0 && failed == 0)
        failed = milliseconds < 0 ? pthread_cond_wait(&discarded.fewer, &discarded.lock)
                                  : pthread_cond_timedwait(&discarded.fewer, &discarded.lock, &end);
    bool settled = discarded.n == 0;
    pthread_mutex_unlock(&discarded.lock);
    return settled;
}

const char *session_path(const session *s)
{
    return s->path;
}

/* ---- the caller's own requests ------------------------------------------------------------------------------ */

static bool worker_is_busy(session *s)
{
    return s->waiting || s->running || s->orders || s->ordering;
}

aigc_status session_model(session *s, aigc_model **model, aigc_error *err)
{
    pthread_mutex_lock(&s->lock);
    bool busy = worker_is_busy(s);
    *model = s->model;
    pthread_mutex_unlock(&s->lock);
    if (*model)
        return AIGC_OK;
    if (busy)
        return fail(err, AIGC_E_LIMIT, "the model is still being loaded by a submitted request");
    return load_model(s, model, err);
}

aigc_engine *session_idle_engine(session *s)
{
    pthread_mutex_lock(&s->lock);
    aigc_engine *engine = worker_is_busy(s) ? NULL : s->engine;
    pthread_mutex_unlock(&s->lock);
    return engine;
}

const char *session_state(session *s)
{
    pthread_mutex_lock(&s->lock);
    bool busy = worker_is_busy(s) || s->entered;
    bool loaded = s->model != NULL;
    pthread_mutex_unlock(&s->lock);
    if (busy)
        return loaded ? "running" : "loading";
    return loaded ? "idle" : "unloaded";
}

bool session_entered(const session *s)
{
    return s->entered;
}

aigc_status session_enter(session *s, aigc_model **model, aigc_engine **engine, aigc_error *err)
{
    if (s->entered)
        return fail(err, AIGC_E_LIMIT, "the model is busy: a callback of its own generate() cannot start another");
    pthread_mutex_lock(&s->lock);
    job *j = s->running ? s->running : s->waiting;
    long long id = j ? j->id : 0;
    bool learning = s->orders || s->ordering;
    pthread_mutex_unlock(&s->lock);
    if (id)
        return fail(err, AIGC_E_LIMIT, "the model is busy with request %lld: cancel it, or take its last event first",
                    id);
    if (learning)
        return fail(err, AIGC_E_LIMIT, "the model is busy: its personal layer is learning");
    set_interrupt(s, 0);
    aigc_status status = load_engine(s, model, engine, err);
    s->entered = status == AIGC_OK;
    return status;
}

void session_leave(session *s)
{
    s->entered = false;
}

const volatile sig_atomic_t *session_interrupt(const session *s)
{
    return &s->interrupt;
}

/* ---- requests for the worker -------------------------------------------------------------------------------- */

/* Under the lock. *due: a byte must be written then. */
static bool cancel_job(session *s, job *j, bool *due)
{
    if (!j || j->cancelled)
        return false;
    j->cancelled = true;
    if (j == s->running) {
        set_interrupt(s, 1);
    } else {
        s->waiting = NULL;
        j->state = JOB_FINISHED;
        *due = set_notified(s) || *due;
    }
    return true;
}

aigc_status session_submit(session *s, job *j, aigc_error *err)
{
    if (s->entered)
        return fail(err, AIGC_E_LIMIT, "the model is busy: a callback of its own generate() cannot submit a request");
    if (!s->has_worker) {
        aigc_status status = start_worker(s, err);
        if (status != AIGC_OK)
            return status;
    }
    keep_worker_off_the_editor(s);
    job **end = &s->jobs;
    while (*end)
        end = &(*end)->next;
    *end = j;
    j->id = ++s->last_id;
    bool due = false;
    pthread_mutex_lock(&s->lock);
    cancel_job(s, s->running, &due);
    cancel_job(s, s->waiting, &due);
    s->waiting = j;
    unlock_and_notify(s, due);
    pthread_cond_signal(&s->wake);
    return AIGC_OK;
}

bool session_cancel(session *s, long long id)
{
    bool cancelled = false, due = false;
    pthread_mutex_lock(&s->lock);
    if (s->running && (id == 0 || s->running->id == id))
        cancelled = cancel_job(s, s->running, &due);
    if (s->waiting && (id == 0 || s->waiting->id == id))
        cancelled = cancel_job(s, s->waiting, &due) || cancelled;
    unlock_and_notify(s, due);
    return cancelled;
}

aigc_status session_order(session *s, order *o, aigc_error *err)
{
    if (!(o->documents ? &s->documents : &s->memory)->wanted) {
        bool documents = o->documents;
        order_free(o);
        return fail(err, AIGC_E_ARGUMENT, "the model was opened without a layer for %s",
                    documents ? "documents" : "personal text");
    }
    if (s->entered) {
        order_free(o);
        return fail(err, AIGC_E_LIMIT, "the model is busy: a callback of its own generate() cannot teach it");
    }
    if (!s->has_worker) {
        aigc_status status = start_worker(s, err);
        if (status != AIGC_OK) {
            order_free(o);
            return status;
        }
    }
    keep_worker_off_the_editor(s);
    pthread_mutex_lock(&s->lock);
    *s->orders_end = o;
    s->orders_end = &o->next;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->wake);
    return AIGC_OK;
}

aigc_status session_look(session *s, size_t n, aigc_error *err)
{
    order *o = order_new(ORDER_LOOK, NULL, 0);
    if (!o || !(o->view = memory_view_new(n))) {
        order_free(o);
        return fail(err, AIGC_E_MEMORY, "out of memory: no room for %zu phrases", n);
    }
    keep_view(s, NULL); /* what was looked at before is not what is asked for now */
    return session_order(s, o, err);
}

memory_view *session_looked(session *s)
{
    pthread_mutex_lock(&s->lock);
    memory_view *view = s->view;
    s->view = NULL;
    pthread_mutex_unlock(&s->lock);
    return view;
}

aigc_status session_memory(session *s, memory_view *view, aigc_error *err)
{
    aigc_model *model;
    pthread_mutex_lock(&s->lock);
    bool busy = worker_is_busy(s) || s->entered;
    pthread_mutex_unlock(&s->lock);
    if (!s->memory.wanted)
        return fail(err, AIGC_E_ARGUMENT, "the model was opened without a layer for personal text");
    if (busy)
        return fail(err, AIGC_E_LIMIT, "the model is busy: ask again when it rests");
    aigc_status status = load_model(s, &model, err);
    if (status != AIGC_OK)
        return status;
    memory_open(&s->memory, model);
    memory_look(&s->memory, view);
    return AIGC_OK;
}

int session_fd(const session *s)
{
    return s->pipe_read;
}

bool session_wait(session *s, int milliseconds)
{
    struct pollfd p = {.fd = s->pipe_read, .events = POLLIN};
    return poll(&p, 1, milliseconds) == 1;
}

/* Under the lock. Makes the fresh text the reader's. What was handed out before has been read. */
static void hand_out(job *j)
{
    for (int i = 0; i < j->n; i++) {
        job_alternative *a = &j->alternatives[i];
        text_buffer read = a->out;
        read.len = 0;
        a->out = a->fresh;
        a->fresh = read;
        mark_buffer read_marks = a->out_marks;
        read_marks.len = 0;
        a->out_marks = a->fresh_marks;
        a->fresh_marks = read_marks;
    }
    j->has_fresh = false;
}

/* The worker holds the lock for less than a microsecond, unless the system takes its processor away meanwhile. */
static bool lock_at_once(session *s)
{
    for (int i = 0; i < LOCK_TRIES; i++)
        if (pthread_mutex_trylock(&s->lock) == 0)
            return true;
    return false;
}

void session_take(session *s)
{
    free_list(s->taken);
    s->taken = s->taken_next = NULL;
    s->live = NULL;
    keep_worker_off_the_editor(s);
    if (!lock_at_once(s))
        return; /* the pipe stays readable */
    drain(s);
    job **taken_end = &s->taken;
    s->notified = false;
    for (job **link = &s->jobs; *link;) {
        job *j = *link;
        if (j->has_fresh)
            hand_out(j);
        else
            for (int i = 0; i < j->n; i++)
                j->alternatives[i].out.len = 0;
        if (j->state == JOB_FINISHED) {
            *link = j->next;
            j->next = NULL;
            *taken_end = j;
            taken_end = &j->next;
        } else {
            if (j->state == JOB_RUNNING)
                s->live = j;
            link = &j->next;
        }
    }
    pthread_mutex_unlock(&s->lock);
    s->taken_next = s->taken;
}

job *session_next(session *s, bool *finished)
{
    job *j = s->taken_next;
    *finished = j != NULL;
    if (j) {
        s->taken_next = j->next;
    } else {
        j = s->live;
        s->live = NULL;
    }
    return j;
}
