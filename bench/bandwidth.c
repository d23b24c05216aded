/*
 * bandwidth: how fast this machine reads memory now: the ceiling of decoding, which reads every weight once a token.
 *
 *     build/bandwidth [threads [MiB [runs]]]
 *
 * Prints the best of the runs in GB/s. bench/run calls it beside each measurement, because on a shared host the
 * bandwidth of one minute is not that of the next.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"

enum { MAX_THREADS = 64 };

typedef struct reader {
    const uint64_t *words;
    size_t n;
    uint64_t sum;
} reader;

static pthread_barrier_t start, end;

/* Eight sums, so that loads don't wait for additions. The sum is kept, so that the loop is. */
static uint64_t read_words(const uint64_t *words, size_t n)
{
    uint64_t sums[8] = {0};

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            sums[lane] += words[i + (size_t)lane];
    return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

static void *work(void *argument)
{
    reader *r = argument;

    for (;;) {
        pthread_barrier_wait(&start);
        if (r->n == 0)
            return NULL;
        r->sum += read_words(r->words, r->n);
        pthread_barrier_wait(&end);
    }
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Writes every page once, runs the readers, prints. Returns a number that depends on what was read. */
static uint64_t measure(uint64_t *words, size_t n_words, int n_threads, int n_runs)
{
    reader readers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    double best = 0;
    uint64_t sum = 0;

    for (size_t i = 0; i < n_words; i++)
        words[i] = i;
    pthread_barrier_init(&start, NULL, (unsigned)n_threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)n_threads + 1);
    for (int t = 0; t < n_threads; t++) {
        readers[t] = (reader){words + n_words / (size_t)n_threads * (size_t)t, n_words / (size_t)n_threads, 0};
        if (pthread_create(&threads[t], NULL, work, &readers[t]) != 0) {
            fprintf(stderr, "bandwidth: can't start thread %d\n", t);
            exit(1);
        }
    }
    for (int run = 0; run <= n_runs; run++) {
        double began = now(), rate;

        if (run == n_runs)
            for (int t = 0; t < n_threads; t++)
                readers[t].n = 0;
        pthread_barrier_wait(&start);
        if (run == n_runs)
            break;
        pthread_barrier_wait(&end);
        rate = (double)n_words * sizeof *words / (now() - began) * 1e-9;
        best = rate > best ? rate : best;
    }
    for (int t = 0; t < n_threads; t++) {
        pthread_join(threads[t], NULL);
        sum += readers[t].sum;
    }
    printf("%.2f\n", best);
    return sum;
}

int main(int argc, char **argv)
{
    int n_threads = argc > 1 ? atoi(argv[1]) : 4;
    long mib = argc > 2 ? atol(argv[2]) : 512;
    int n_runs = argc > 3 ? atoi(argv[3]) : 3;
    uint64_t *words;

    if (n_threads < 1 || n_threads > MAX_THREADS || mib < 1 || mib > 1 << 20 || n_runs < 1) {
        fprintf(stderr, "usage: bandwidth [threads [MiB [runs]]]\n");
        return 2;
    }
    words = aigc_pages_alloc((size_t)mib << 20);
    if (!words) {
        fprintf(stderr, "bandwidth: can't get %ld MiB\n", mib);
        return 1;
    }
    measure(words, ((size_t)mib << 20) / sizeof *words, n_threads, n_runs);
    aigc_pages_free(words, (size_t)mib << 20);
    return 0;
}
