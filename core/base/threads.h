/*
 * threads.h: a pool of worker threads that lives with neighbours.
 *
 * Work comes as a program: a row of phases, each cut into chunks. Threads take chunks as they come free; the thread
 * that completes a phase's last chunk asks the program for the next phase and publishes it. So a thread that the
 * operating system has taken off its core delays at most the chunk it holds, and nobody waits for a thread that holds
 * none. Waiting threads spin for a moment, the shorter the busier the machine, and
 * then sleep (futex).
 *
 * Workers are created at the first run that can use them, with all signals blocked, and never call host code. They run
 * on the processors that the thread which runs the program may use: when a host moves that one, they follow at the next
 * run.
 */
#ifndef AIGC_BASE_THREADS_H
#define AIGC_BASE_THREADS_H

#include "base/error.h"

typedef struct thread_pool thread_pool;

typedef struct thread_program {
    /* Sets up the next phase: serial work goes here, it runs on one thread while no chunk runs. Returns the phase's
     * number of chunks (at most THREAD_MAX_CHUNKS), or 0 at the end of the program. A phase of one chunk runs on the
     * calling thread without waking anyone. */
    int (*next)(void *context);
    /* Runs chunk number `chunk` of the current phase. `thread` is 0 to n_threads - 1, for scratch memory. */
    void (*work)(void *context, int chunk, int thread);
    void *context;
} thread_program;

enum { THREAD_MAX = 64, THREAD_MAX_CHUNKS = 1000000 };

/* n_threads counts the caller. No thread is started yet. */
aigc_status thread_pool_create(int n_threads, thread_pool **pool, aigc_error *err);
int thread_pool_size(const thread_pool *pool);

/* Runs the program to its end on the caller and the workers. If workers can't be created the caller works alone. */
void thread_pool_run(thread_pool *pool, const thread_program *program);

/* The same in two parts: the workers begin, while the caller does something else until it comes to help them finish.
 * Phases of one chunk that come first run on the caller at once. */
void thread_pool_start(thread_pool *pool, const thread_program *program);
void thread_pool_finish(thread_pool *pool);

/* Joins the workers. NULL is allowed. */
void thread_pool_destroy(thread_pool *pool);

#endif
