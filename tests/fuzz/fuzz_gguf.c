/*
 * fuzz_gguf: opens damaged model files, and uses those that open: describes them, tokenizes, generates.
 *
 *     fuzz_gguf [-n INPUTS] [-s SEED] [-j PROCESSES] [-i FIRST] [-o FOLDER]
 *     fuzz_gguf -c FOLDER    writes the undamaged files there, as libFuzzer's corpus
 *
 * Built by `make fuzz` with AddressSanitizer and UndefinedBehaviorSanitizer, which end the process at the first fault.
 * What was being tried is then saved as FOLDER/fuzz-SEED-NUMBER.gguf; -i NUMBER -n 1 tries it again. Input number i
 * depends on the seed and i alone. Prints TAP.
 *
 * Compiled with -DAIGC_LIBFUZZER by clang -fsanitize=fuzzer it is a target of libFuzzer instead (`make libfuzzer`).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "exercise.h"
#include "mutate.h"
#include "seeds.h"

#ifdef AIGC_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exercise(data, size, size);
    return 0;
}

#else

/* Of the sanitizers' runtime: a function to call before the process dies, and one to ask for options (what the
 * environment's ASAN_OPTIONS says comes after them). */
void __sanitizer_set_death_callback(void (*callback)(void));
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "handle_abort=1:allocator_may_return_null=1:max_allocation_size_mb=256:detect_leaks=1";
}

__attribute__((visibility("default"))) const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}

enum { SECONDS_PER_INPUT = 20, MAX_PROCESSES = 64 };

typedef struct options {
    uint64_t n, first, seed;
    int n_processes;
    const char *folder, *corpus;
} options;

/* The input that is being tried, for when the process dies of it. */
static struct {
    const options *o;
    uint64_t number;
    const unsigned char *data;
    size_t size;
} current;

static bool save(const char *path, const unsigned char *data, size_t size)
{
    FILE *out = fopen(path, "w");
    bool written = out && fwrite(data, 1, size, out) == size;

    if (out && fclose(out) != 0)
        written = false;
    if (!written)
        fprintf(stderr, "fuzz_gguf: can't write %s: %s\n", path, strerror(errno));
    return written;
}

static void save_current(void)
{
    char path[4096];

    if (!current.data)
        return;
    snprintf(path, sizeof path, "%s/fuzz-%llu-%llu.gguf", current.o->folder, (unsigned long long)current.o->seed,
             (unsigned long long)current.number);
    fprintf(stderr, "fuzz_gguf: input %llu of seed %llu\n", (unsigned long long)current.number,
            (unsigned long long)current.o->seed);
    if (save(path, current.data, current.size))
        fprintf(stderr, "fuzz_gguf: saved as %s\n", path);
    current.data = NULL;
}

static bool save_corpus(const char *folder, const seed_set *seeds)
{
    for (size_t i = 0; i < seeds->n; i++) {
        char path[4096];

        snprintf(path, sizeof path, "%s/%s", folder, seeds->seeds[i].name);
        if (!save(path, seeds->seeds[i].data, seeds->seeds[i].size))
            return false;
    }
    return true;
}

static void out_of_time(int signal_number)
{
    (void)signal_number;
    fprintf(stderr, "fuzz_gguf: an input took more than %d seconds of processor time\n", SECONDS_PER_INPUT);
    abort(); /* AddressSanitizer shows where it was */
}

static void try_input(const options *o, const seed_set *seeds, uint64_t number, depth_counts *counts)
{
    random_state r;
    const struct itimerval limit = {.it_value.tv_sec = SECONDS_PER_INPUT};
    size_t size;
    unsigned char *data;

    random_seed(&r, o->seed, number);
    data = mutate(seeds->seeds, seeds->n, seeds_choose(seeds, random_u64(&r)), &r, &size);
    if (!data)
        abort();
    current.number = number;
    current.size = size;
    current.data = data;
    setitimer(ITIMER_PROF, &limit, NULL);
    counts->n[exercise(data, size, number)]++;
    current.data = NULL;
    free(data);
}

/* Every n_processes-th input. */
static void run_share(const options *o, const seed_set *seeds, int share, depth_counts *counts)
{
    current.o = o;
    signal(SIGPROF, out_of_time); /* of processor time: a busy machine is no endless loop */
    __sanitizer_set_death_callback(save_current);
    for (uint64_t i = (uint64_t)share; i < o->n; i += (uint64_t)o->n_processes)
        try_input(o, seeds, o->first + i, counts);
    setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
}

/* Runs the inputs in processes of their own. Returns how many of these failed. */
static int run_all(const options *o, const seed_set *seeds, depth_counts *counts)
{
    pid_t children[MAX_PROCESSES];
    int failed = 0, status;

    fflush(NULL);
    for (int i = 0; i < o->n_processes; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            run_share(o, seeds, i, &counts[i]);
            exit(0); /* leaks are looked for here */
        }
    }
    for (int i = 0; i < o->n_processes; i++)
        if (children[i] < 0 || waitpid(children[i], &status, 0) != children[i] || status != 0)
            failed++;
    return failed;
}

static void print_result(bool ok, int number, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", number, what);
}

/* Good seeds must get all the way, and damage must be survived at each stage, or this tests nothing. */
static int report(const options *o, const seed_set *seeds, int failed, const depth_counts *counts)
{
    uint64_t reached[DEPTHS] = {0};
    char line[128];
    int bad = failed != 0;

    for (int i = 0; i < o->n_processes; i++)
        for (int d = 0; d < DEPTHS; d++)
            for (int to = 0; to <= d; to++)
                reached[to] += counts[i].n[d];
    printf("1..%d\n", DEPTHS + 1);
    snprintf(line, sizeof line, "%llu damaged files (seed %llu) gave errors or text, and nothing else",
             (unsigned long long)o->n, (unsigned long long)o->seed);
    print_result(!failed, 1, line);
    for (int d = 0; d < DEPTHS; d++) {
        bool ok = reached[d] > 0 || o->n < 1000;

        snprintf(line, sizeof line, "%llu of them %s", (unsigned long long)reached[d], depth_name(d));
        print_result(ok, d + 2, line);
        bad |= !ok;
    }
    for (size_t i = 0; i < seeds->n; i++)
        printf("# seed file %s: %zu bytes, %zu fields\n", seeds->seeds[i].name, seeds->seeds[i].size,
               seeds->seeds[i].n_fields);
    return bad;
}

static bool parse(int argc, char **argv, options *o)
{
    int c;

    while ((c = getopt(argc, argv, "n:s:j:i:o:c:")) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

        if (c == 'n')
            o->n = value;
        else if (c == 's')
            o->seed = value;
        else if (c == 'j')
            o->n_processes = (int)value;
        else if (c == 'i')
            o->first = value;
        else if (c == 'o')
            o->folder = optarg;
        else if (c == 'c')
            o->corpus = optarg;
        else
            return false;
    }
    return optind == argc && o->n_processes >= 1 && o->n_processes <= MAX_PROCESSES;
}

/* Undamaged files go all the way. */
static bool try_seeds(const seed_set *seeds)
{
    for (size_t i = 0; i < seeds->n; i++) {
        depth reached = exercise(seeds->seeds[i].data, seeds->seeds[i].size, i);

        if (reached < seeds->expected[i]) {
            fprintf(stderr, "fuzz_gguf: of undamaged files, %s only %s\n", seeds->seeds[i].name, depth_name(reached));
            return false;
        }
    }
    return true;
}

static bool fuzz(const options *o, const seed_set *seeds)
{
    size_t size = (size_t)o->n_processes * sizeof(depth_counts);
    depth_counts *counts = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool ok;

    if (counts == MAP_FAILED || !try_seeds(seeds))
        return false;
    ok = report(o, seeds, run_all(o, seeds, counts), counts) == 0;
    munmap(counts, size);
    return ok;
}

int main(int argc, char **argv)
{
    options o = {.n = 20000, .seed = 1, .n_processes = 2, .folder = "."};
    seed_set seeds;
    bool ok;

    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: fuzz_gguf [-n INPUTS] [-s SEED] [-j PROCESSES, 1 to %d] [-i FIRST] [-o FOLDER] | -c FOLDER\n",
                MAX_PROCESSES);
        return 2;
    }
    if (!seeds_make(&seeds)) {
        fprintf(stderr, "fuzz_gguf: can't make the undamaged files: %s\n", strerror(errno));
        return 1;
    }
    ok = o.corpus ? save_corpus(o.corpus, &seeds) : fuzz(&o, &seeds);
    seeds_free(&seeds);
    return ok ? 0 : 1;
}

#endif
