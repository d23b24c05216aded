/*
 * flops: how many products and sums this machine makes a second now: the ceiling of training, which multiplies
 * matrices.
 *
 *     build/flops [threads [runs [thread]]]
 *
 * Prints the best of the runs in GFLOP/s of all threads together, or, if told so, of the time that one thread spends on
 * a processor: float32, then products of bfloat16 pairs (0: the
 * processor has none). bench/train calls it beside each measurement.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"

#ifdef __x86_64__
#include <immintrin.h>

enum { MAX_THREADS = 64, REGISTERS = 20 };

static const long REPEATS = 20000000; /* some 50 ms: long beside the start of threads, and their spreading over cores */

/* Each kind: REPEATS times REGISTERS instructions that don't wait for each other. Returns the operations of one
 * instruction; *sum keeps the compiler from leaving the loop out. */

__attribute__((target("avx512f"))) static double float_512(float *sum)
{
    __m512 acc[REGISTERS], x = _mm512_set1_ps(1e-9f), y = _mm512_set1_ps(1.0f);
    for (int i = 0; i < REGISTERS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (long r = 0; r < REPEATS; r++) {
#pragma GCC unroll 20
        for (int i = 0; i < REGISTERS; i++)
            acc[i] = _mm512_fmadd_ps(x, y, acc[i]);
    }
    for (int i = 0; i < REGISTERS; i++)
        *sum += _mm512_reduce_add_ps(acc[i]);
    return 32;
}

__attribute__((target("avx512f,avx512bf16"))) static double bf16_512(float *sum)
{
    __m512 acc[REGISTERS];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x30803080), y = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (int i = 0; i < REGISTERS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (long r = 0; r < REPEATS; r++) {
#pragma GCC unroll 20
        for (int i = 0; i < REGISTERS; i++)
            acc[i] = _mm512_dpbf16_ps(acc[i], x, y);
    }
    for (int i = 0; i < REGISTERS; i++)
        *sum += _mm512_reduce_add_ps(acc[i]);
    return 64;
}

__attribute__((target("avx2,fma"))) static double float_256(float *sum)
{
    enum { FEWER = 12 }; /* there are 16 registers */
    __m256 acc[FEWER], x = _mm256_set1_ps(1e-9f), y = _mm256_set1_ps(1.0f);
    float parts[8];
    for (int i = 0; i < FEWER; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (long r = 0; r < REPEATS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < FEWER; i++)
            acc[i] = _mm256_fmadd_ps(x, y, acc[i]);
    }
    for (int i = 1; i < FEWER; i++)
        acc[0] = _mm256_add_ps(acc[0], acc[i]);
    _mm256_storeu_ps(parts, acc[0]);
    *sum += parts[0];
    return 16.0 * FEWER / REGISTERS;
}

typedef double kind(float *sum);

typedef struct worker {
    kind *run;
    double operations;
    float sum;
} worker;

static void *work(void *argument)
{
    worker *w = argument;
    w->operations = w->run(&w->sum) * (double)REPEATS * REGISTERS;
    return NULL;
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double measure_thread(kind *run)
{
    worker w = {.run = run};
    double began = now(CLOCK_THREAD_CPUTIME_ID);
    work(&w);
    return w.operations / (now(CLOCK_THREAD_CPUTIME_ID) - began) * 1e-9;
}

/* GFLOP/s, or -1 if threads can't be started. */
static double measure(kind *run, int n_threads)
{
    pthread_t threads[MAX_THREADS];
    worker workers[MAX_THREADS];
    double began = now(CLOCK_MONOTONIC), operations = 0;
    int n = 0;
    for (; n < n_threads; n++) {
        workers[n] = (worker){.run = run};
        if (pthread_create(&threads[n], NULL, work, &workers[n]) != 0)
            break;
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        operations += workers[i].operations;
    }
    return n == n_threads ? operations / (now(CLOCK_MONOTONIC) - began) * 1e-9 : -1;
}

int main(int argc, char **argv)
{
    int n_threads = argc > 1 ? atoi(argv[1]) : cpu_count(), runs = argc > 2 ? atoi(argv[2]) : 3;
    kind *kinds[2] = {cpu_supports(CPU_AVX512) ? float_512
                      : cpu_supports(CPU_AVX2) ? float_256
                                               : NULL,
                      cpu_multiplies_bf16() ? bf16_512 : NULL};
    if (n_threads < 1 || n_threads > MAX_THREADS || runs < 1) {
        fprintf(stderr, "flops: threads must be from 1 to %d, runs at least 1\n", MAX_THREADS);
        return 2;
    }
    for (int k = 0; k < 2; k++) {
        double best = 0;
        for (int i = 0; kinds[k] != NULL && i < runs; i++) {
            double rate = argc > 3 ? measure_thread(kinds[k]) : measure(kinds[k], n_threads);
            if (rate < 0) {
                fprintf(stderr, "flops: can't start %d threads\n", n_threads);
                return 1;
            }
            best = rate > best ? rate : best;
        }
        printf("%.1f%c", best, k == 0 ? ' ' : '\n');
    }
    return 0;
}

#else

int main(void)
{
    puts("0 0"); /* no vectors that are known here */
    return 0;
}

#endif
