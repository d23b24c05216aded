/* The thread pool: every chunk runs once, phases never overlap, serial work runs alone, workers go where their caller
 * may. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/threads.h"

enum { PHASES = 400, CHUNKS = 97 };

typedef struct counting {
    int phase;
    int chunks[PHASES];
    _Atomic int runs[PHASES][CHUNKS];
    _Atomic int running;
    _Atomic int serial_while_running;
    int n_threads;
    _Atomic int bad_thread;
} counting;

static int next_phase(void *context)
{
    counting *c = context;
    if (atomic_load(&c->running) != 0)
        atomic_fetch_add(&c->serial_while_running, 1);
    if (++c->phase >= PHASES)
        return 0;
    return c->chunks[c->phase];
}

static void work(void *context, int chunk, int thread)
{
    counting *c = context;
    atomic_fetch_add(&c->running, 1);
    if (thread < 0 || thread >= c->n_threads)
        atomic_fetch_add(&c->bad_thread, 1);
    atomic_fetch_add(&c->runs[c->phase][chunk], 1);
    atomic_fetch_sub(&c->running, 1);
}

static void run_with(int n_threads)
{
    static counting c;
    thread_pool *pool = NULL;
    assert_int_equal(thread_pool_create(n_threads, &pool, NULL), AIGC_OK);
    for (int round = 0; round < 20; round++) {
        memset(&c, 0, sizeof c);
        c.phase = -1;
        c.n_threads = n_threads;
        for (int p = 0; p < PHASES; p++)
            c.chunks[p] = 1 + (p * 7 + round) % CHUNKS;
        thread_pool_run(pool, &(thread_program){next_phase, work, &c});
        assert_int_equal(c.phase, PHASES);
        assert_int_equal(c.serial_while_running, 0);
        assert_int_equal(c.bad_thread, 0);
        for (int p = 0; p < PHASES; p++)
            for (int i = 0; i < CHUNKS; i++)
                assert_int_equal(c.runs[p][i], i < c.chunks[p]);
    }
    thread_pool_destroy(pool);
}

static void one_thread(void **state)
{
    (void)state;
    run_with(1);
}

static void four_threads(void **state)
{
    (void)state;
    run_with(4);
}

static void more_threads_than_cores(void **state)
{
    (void)state;
    run_with(13);
}

static void pool_without_a_run(void **state)
{
    (void)state;
    thread_pool *pool = NULL;
    assert_int_equal(thread_pool_create(4, &pool, NULL), AIGC_OK);
    assert_int_equal(thread_pool_size(pool), 4);
    thread_pool_destroy(pool);
    thread_pool_destroy(NULL);
}

static void refuses_bad_sizes(void **state)
{
    (void)state;
    aigc_error err;
    thread_pool *pool = NULL;
    assert_int_equal(thread_pool_create(0, &pool, &err), AIGC_E_ARGUMENT);
    assert_non_null(strstr(err.message, "not 0"));
    assert_int_equal(thread_pool_create(THREAD_MAX + 1, &pool, &err), AIGC_E_ARGUMENT);
    assert_null(pool);
}

#ifdef __linux__
/* Whether every thread of the process but this one may run on exactly these processors; n: how many others there are.
 */
static bool others_have(const cpu_set_t *processors, int *n)
{
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    bool same = true;
    *n = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        pid_t id = atoi(entry->d_name);
        cpu_set_t theirs;
        if (id == 0 || id == getpid())
            continue;
        assert_int_equal(sched_getaffinity(id, sizeof theirs, &theirs), 0);
        same = same && CPU_EQUAL(&theirs, processors);
        ++*n;
    }
    closedir(tasks);
    return same;
}

static void workers_follow_their_caller(void **state)
{
    (void)state;
    static counting c;
    thread_pool *pool = NULL;
    cpu_set_t all, one;
    int n_others;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    assert_int_equal(thread_pool_create(3, &pool, NULL), AIGC_OK);
    const cpu_set_t *steps[] = {&all, &one, &all};
    for (int i = 0; i < 3; i++) {
        memset(&c, 0, sizeof c);
        c.phase = PHASES - 3;
        c.n_threads = 3;
        c.chunks[PHASES - 2] = c.chunks[PHASES - 1] = 8;
        assert_int_equal(sched_setaffinity(0, sizeof *steps[i], steps[i]), 0);
        thread_pool_run(pool, &(thread_program){next_phase, work, &c});
        assert_true(others_have(steps[i], &n_others));
        assert_int_equal(n_others, 2);
    }
    thread_pool_destroy(pool);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread),
        cmocka_unit_test(four_threads),
        cmocka_unit_test(more_threads_than_cores),
        cmocka_unit_test(pool_without_a_run),
        cmocka_unit_test(refuses_bad_sizes),
#ifdef __linux__
        cmocka_unit_test(workers_follow_their_caller),
#endif
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
