/* guard.c: see guard.h. */
#include "base/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

/* Each engine has one for its model and one for each adapter. */
enum { MOST_GUARDS = 256 };

/* Read by the handler at any time: `start` is 0 while the others are not to be believed. */
typedef struct slot {
    _Atomic(uintptr_t) start;
    _Atomic(size_t) size;
    _Atomic(atomic_bool *) struck;
    bool taken; /* under the mutex */
} slot;

static slot slots[MOST_GUARDS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction before;
static bool handles;

/* Zeros for all of the mapping, not for the page alone: each replaced page would be a mapping of its own, and of those
 * a process may have some 65,000. mmap() is a system call and no more. */
static bool void_mapping(slot *s, uintptr_t address)
{
    uintptr_t start = atomic_load(&s->start);
    size_t size = atomic_load(&s->size);
    atomic_bool *struck = atomic_load(&s->struck);
    if (start == 0 || address < start || address - start >= size || atomic_load(&s->start) != start)
        return false;
    if (mmap((void *)start, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
        MAP_FAILED)
        return false;
    atomic_store(struck, true);
    return true;
}

/* What would have happened without us. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else if (info->si_code > 0 || before.sa_handler == SIG_DFL) {
        sigaction(signal, &before, NULL); /* on return the fault comes again, and ends the process */
        if (info->si_code <= 0)
            raise(signal); /* somebody has sent it: nothing comes again by itself */
    }
}

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    int kept = errno;
    bool ours = false;
    for (int i = 0; info->si_code > 0 && i < MOST_GUARDS; i++)
        ours = void_mapping(&slots[i], (uintptr_t)info->si_addr) || ours;
    errno = kept;
    if (!ours)
        pass_on(signal, info, context);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    handles = sigaction(SIGBUS, &action, &before) == 0;
}

int guard_add(const void *data, size_t size, atomic_bool *struck)
{
    int found = -1;
    if (data == NULL || size == 0)
        return -1;
    pthread_once(&once, install);
    if (!handles)
        return -1;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < MOST_GUARDS && found < 0; i++)
        if (!slots[i].taken)
            found = i;
    if (found >= 0) {
        slots[found].taken = true;
        atomic_store(&slots[found].size, size);
        atomic_store(&slots[found].struck, struck);
        atomic_store(&slots[found].start, (uintptr_t)data);
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

void guard_remove(int guard)
{
    if (guard < 0)
        return;
    pthread_mutex_lock(&mutex);
    atomic_store(&slots[guard].start, 0);
    slots[guard].taken = false;
    pthread_mutex_unlock(&mutex);
}
