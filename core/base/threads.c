/* threads.c: see threads.h. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"

#ifdef __linux__
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/*
 * The state of a phase is one word, so that taking a chunk is one addition and a thread that comes late can never take
 * a chunk of a phase that is over:  epoch (24 bits) | number of chunks (20) | next chunk (20).
 */
enum { NEXT_BITS = 20, EPOCH_SHIFT = 2 * NEXT_BITS };
static const uint64_t FIELD = (1u << NEXT_BITS) - 1;

/*
 * How long a thread spins before it sleeps. Waking a sleeper costs tens of microseconds, so on a quiet machine it pays
 * to spin across the serial work between phases; on a busy one spinning keeps a core from the thread that is waited
 * for. So each thread learns: a spin in vain halves its patience, a spin that ends with work lets it grow.
 */
enum { SPIN_LEAST = 10000, SPIN_MOST = 50000, SPINS_BETWEEN_CLOCKS = 16, WORKER_STACK_BYTES = 512 << 10 };

typedef struct worker {
    struct thread_pool *pool;
    pthread_t handle;
    int number;
    int patience; /* nanoseconds */
} worker;

struct thread_pool {
    _Alignas(64) _Atomic uint64_t phase;
    _Alignas(64) _Atomic int chunks_left; /* of the current phase, counted down when a chunk is done */
    _Alignas(64) _Atomic uint32_t news;   /* changes whenever waiting threads have something to look at */
    _Atomic int n_asleep;
    _Atomic bool finished; /* the program is over */
    _Atomic bool quit;
    thread_program program;
    int n_threads, n_started; /* n_started counts workers that exist */
    bool start_tried;
    int caller_patience;
    worker workers[THREAD_MAX];
#ifdef __linux__
    cpu_set_t processors; /* where the workers may run */
#else
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
};

#ifdef __linux__
static void sleep_until_news(thread_pool *pool, uint32_t seen)
{
    syscall(SYS_futex, (uint32_t *)&pool->news, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void wake_sleepers(thread_pool *pool, int n)
{
    syscall(SYS_futex, (uint32_t *)&pool->news, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}
#else
static void sleep_until_news(thread_pool *pool, uint32_t seen)
{
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->news) == seen)
        pthread_cond_wait(&pool->changed, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

static void wake_sleepers(thread_pool *pool, int n)
{
    (void)n;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
}
#endif

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Tells waiting threads that something changed. A sleeper counts itself before the kernel compares `news`, so either
 * it is counted here or it does not fall asleep. */
static void announce(thread_pool *pool, int n)
{
    atomic_fetch_add(&pool->news, 1);
    if (atomic_load(&pool->n_asleep) > 0)
        wake_sleepers(pool, n);
}

static bool has_chunk(uint64_t phase)
{
    return (phase & FIELD) < ((phase >> NEXT_BITS) & FIELD);
}

/* The next chunk of the current phase, or -1 if all are taken. */
static int take_chunk(thread_pool *pool)
{
    uint64_t phase = atomic_load_explicit(&pool->phase, memory_order_acquire);
    if (!has_chunk(phase))
        return -1;
    phase = atomic_fetch_add_explicit(&pool->phase, 1, memory_order_acq_rel);
    return has_chunk(phase) ? (int)(phase & FIELD) : -1;
}

static void start_workers(thread_pool *pool);

/* Called by the one thread that has completed a phase: sets up the next one that has work for several threads. */
static void advance(thread_pool *pool, int thread)
{
    const thread_program *program = &pool->program;
    int n_chunks;
    while ((n_chunks = program->next(program->context)) == 1)
        program->work(program->context, 0, thread);
    if (n_chunks == 0) {
        atomic_store(&pool->finished, true);
        announce(pool, THREAD_MAX);
        return;
    }
    if (!pool->start_tried)
        start_workers(pool); /* the first phase for several threads; only the caller can come here then */
    uint64_t epoch = (atomic_load_explicit(&pool->phase, memory_order_relaxed) >> EPOCH_SHIFT) + 1;
    atomic_store_explicit(&pool->chunks_left, n_chunks, memory_order_relaxed);
    atomic_store(&pool->phase, epoch << EPOCH_SHIFT | (uint64_t)n_chunks << NEXT_BITS);
    announce(pool, n_chunks - 1);
}

/* Works while there are chunks; returns when all chunks of the phase are taken or the program is over. */
static void work_on_phase(thread_pool *pool, int thread)
{
    int chunk;
    while ((chunk = take_chunk(pool)) >= 0) {
        pool->program.work(pool->program.context, chunk, thread);
        if (atomic_fetch_sub_explicit(&pool->chunks_left, 1, memory_order_acq_rel) == 1)
            advance(pool, thread);
    }
}

/* Whether a waiting thread has something to do. Workers wait for work or the end of the pool, the caller for work or
 * the end of the program. */
static bool should_wake(thread_pool *pool, bool is_worker)
{
    if (has_chunk(atomic_load(&pool->phase)))
        return true;
    return is_worker ? atomic_load(&pool->quit) : atomic_load(&pool->finished);
}

/* True if there is something to do before patience ends. */
static bool spin(thread_pool *pool, bool is_worker, int patience)
{
    int64_t give_up = now_nanoseconds() + patience;
    do {
        for (int i = 0; i < SPINS_BETWEEN_CLOCKS; i++) {
            if (should_wake(pool, is_worker))
                return true;
            pause_cpu();
        }
    } while (now_nanoseconds() < give_up);
    return false;
}

/* Spins for a moment, then sleeps: a waiter that sleeps gives its core to the thread that it waits for. */
static void wait_for_work(thread_pool *pool, bool is_worker, int *patience)
{
    if (spin(pool, is_worker, *patience)) {
        *patience += *patience < SPIN_MOST ? *patience / 8 : 0;
        return;
    }
    *patience = *patience / 2 > SPIN_LEAST ? *patience / 2 : SPIN_LEAST;
    for (;;) {
        uint32_t seen = atomic_load(&pool->news);
        if (should_wake(pool, is_worker))
            return;
        atomic_fetch_add(&pool->n_asleep, 1);
        sleep_until_news(pool, seen);
        atomic_fetch_sub(&pool->n_asleep, 1);
    }
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    while (!atomic_load(&self->pool->quit)) {
        work_on_phase(self->pool, self->number);
        wait_for_work(self->pool, true, &self->patience);
    }
    return NULL;
}

#ifdef __linux__
/* Called by the caller of a run. A machine with more processors than a cpu_set_t holds has none to follow; a refusal
 * leaves a worker where it is. */
static void follow_caller(thread_pool *pool)
{
    cpu_set_t callers;
    if (sched_getaffinity(0, sizeof callers, &callers) != 0 || CPU_EQUAL(&callers, &pool->processors))
        return;
    pool->processors = callers;
    for (int i = 0; i < pool->n_started; i++)
        pthread_setaffinity_np(pool->workers[i].handle, sizeof callers, &callers);
}
#else
static void follow_caller(thread_pool *pool)
{
    (void)pool;
}
#endif

/* Workers inherit a mask with every signal blocked, so that the host's handlers only ever run on its own threads; but
 * for the one that they raise themselves when they read a file that was cut short (guard.h). */
static void start_workers(thread_pool *pool)
{
    pool->start_tried = true;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < pool->n_threads - 1; i++) {
        worker *w = &pool->workers[i];
        *w = (worker){.pool = pool, .number = i + 1, .patience = SPIN_MOST};
        if (pthread_create(&w->handle, &attributes, worker_main, w) != 0)
            break; /* fewer workers: slower, not wrong */
        pool->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

aigc_status thread_pool_create(int n_threads, thread_pool **out, aigc_error *err)
{
    if (n_threads < 1 || n_threads > THREAD_MAX)
        return aigc_fail(err, AIGC_E_ARGUMENT, "threads must be from 1 to %d, not %d", THREAD_MAX, n_threads);
    thread_pool *pool = NULL;
    if (posix_memalign((void **)&pool, 64, sizeof *pool) != 0)
        return aigc_fail_memory(err, "a thread pool", sizeof *pool);
    *pool = (thread_pool){.n_threads = n_threads, .caller_patience = SPIN_MOST};
#ifndef __linux__
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->changed, NULL);
#endif
    *out = pool;
    return AIGC_OK;
}

int thread_pool_size(const thread_pool *pool)
{
    return pool->n_threads;
}

void thread_pool_start(thread_pool *pool, const thread_program *program)
{
    pool->program = *program;
    atomic_store(&pool->finished, false);
    follow_caller(pool);
    advance(pool, 0);
}

void thread_pool_finish(thread_pool *pool)
{
    while (!atomic_load(&pool->finished)) {
        work_on_phase(pool, 0);
        wait_for_work(pool, false, &pool->caller_patience);
    }
}

void thread_pool_run(thread_pool *pool, const thread_program *program)
{
    thread_pool_start(pool, program);
    thread_pool_finish(pool);
}

void thread_pool_destroy(thread_pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->quit, true);
    announce(pool, THREAD_MAX);
    for (int i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[i].handle, NULL);
#ifndef __linux__
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->changed);
#endif
    free(pool);
}
