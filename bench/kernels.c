/*
 * kernels.c: measures the kernels alone: build/bench-kernels [options], see usage(). For whoever works on core/tensor;
 * bench/run measures whole models.
 *
 * Decoding streams a matrix that is larger than every cache through one token (GB/s of weights); prompts multiply a
 * matrix with many tokens (GOP/s, two operations for a weight and a token).
 *
 * The machine may have other work. One thread's figure is the lower quartile of the times of its chunks, which are
 * shorter than a time slice, so that chunks that were interrupted do not count. Several threads' figure is the best
 * run.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tensor/kernels.h"

enum {
    MAX_THREADS = 64,
    MAX_TIMES = 1 << 16,
    DECODE_CHUNK = 64 << 10, /* bytes, about what the forward pass hands to a thread */
    PROMPT_CHUNK = 64,       /* rows */
    PROMPT_ROWS = 1024,
};

typedef struct problem {
    const aigc_kernels *kernels;
    tensor_type type;
    size_t k, row_bytes;
    int rows, chunk_rows, n_tokens;
    const char *weights, *acts;
    float *out;
    atomic_int next_row;
    double *times; /* [MAX_TIMES] seconds of chunks, for one thread */
    int n_times;
} problem;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("bench-kernels: mmap");
        exit(1);
    }
    return p;
}

static void *work(void *arg)
{
    problem *p = arg;
    void *scratch = aligned_alloc(64, matmul_scratch_bytes(p->type, p->k));
    for (;;) {
        int begin = atomic_fetch_add(&p->next_row, p->chunk_rows), end = begin + p->chunk_rows;
        if (begin >= p->rows)
            break;
        double start = now();
        p->kernels->matmul(p->type, p->weights, p->row_bytes, p->k, begin, end < p->rows ? end : p->rows, p->acts,
                           p->n_tokens, p->out + begin, (size_t)p->rows, scratch);
        if (p->times && p->n_times < MAX_TIMES)
            p->times[p->n_times++] = now() - start;
    }
    free(scratch);
    return NULL;
}

/* Seconds of one product. */
static double run_once(problem *p, int threads)
{
    pthread_t workers[MAX_THREADS];
    atomic_store(&p->next_row, 0);
    double start = now();
    for (int i = 1; i < threads; i++)
        if (pthread_create(&workers[i], NULL, work, p) != 0) {
            fputs("bench-kernels: cannot create a thread\n", stderr);
            exit(1);
        }
    work(p);
    for (int i = 1; i < threads; i++)
        pthread_join(workers[i], NULL);
    return now() - start;
}

/* Seconds of a product within `budget` seconds of trying. */
static double run_best(problem *p, int threads, double budget)
{
    double start = now(), best = run_once(p, threads);
    while (now() - start < budget) {
        double seconds = run_once(p, threads);
        best = seconds < best ? seconds : best;
    }
    return best;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds that one thread would take if nobody disturbed it. */
static double run_quartile(problem *p, double budget)
{
    p->times = malloc(MAX_TIMES * sizeof *p->times);
    p->n_times = 0;
    run_best(p, 1, budget);
    qsort(p->times, p->n_times, sizeof *p->times, compare_times);
    double seconds = p->times[p->n_times / 4] * p->rows / p->chunk_rows;
    free(p->times);
    p->times = NULL;
    return seconds;
}

/* `work` of one product in each second, by threads. */
static void print_rates(problem *p, double work_done, double budget, const char *unit)
{
    printf("%-8s %-5s k %5zu  %4d tokens  %5.1f MB  %6.1f", p->kernels->name, tensor_type_describe(p->type)->name, p->k,
           p->n_tokens, (double)p->row_bytes * p->rows * 0x1p-20, work_done / run_quartile(p, budget) * 1e-9);
    for (int threads = 2; threads <= 4; threads *= 2)
        printf("  %6.1f", work_done / run_best(p, threads, budget) * 1e-9);
    printf("  %s\n", unit);
    fflush(stdout);
}

/* A few rows of random numbers, repeated: values do not matter to the speed as long as none is denormal. */
static problem problem_new(const aigc_kernels *kernels, tensor_type type, size_t k, int rows, int n_tokens)
{
    problem p = {.kernels = kernels, .type = type, .k = k, .rows = rows, .n_tokens = n_tokens};
    p.row_bytes = tensor_row_bytes(type, k);
    size_t act_bytes = act_row_bytes(act_type_for(type), k), bytes = p.row_bytes * (size_t)rows;
    char *weights = map(bytes), *acts = map(act_bytes * n_tokens);
    float *x = malloc(k * sizeof(float));
    for (int r = 0; r < 16; r++) {
        for (size_t i = 0; i < k; i++)
            x[i] = (float)rand() / (float)RAND_MAX - 0.5f;
        tensor_row_from_float(type, x, weights + r * p.row_bytes, k);
    }
    for (size_t done = 16 * p.row_bytes; done < bytes; done *= 2)
        memcpy(weights + done, weights, bytes - done < done ? bytes - done : done);
    for (int t = 0; t < n_tokens; t++)
        kernels->prepare(act_type_for(type), x, acts + t * act_bytes, k);
    free(x);
    p.weights = weights;
    p.acts = acts;
    p.out = map((size_t)rows * n_tokens * sizeof(float));
    return p;
}

static void problem_free(problem *p)
{
    munmap((void *)p->weights, p->row_bytes * (size_t)p->rows);
    munmap((void *)p->acts, act_row_bytes(act_type_for(p->type), p->k) * p->n_tokens);
    munmap(p->out, (size_t)p->rows * p->n_tokens * sizeof(float));
}

static void bench_decode(const aigc_kernels *kernels, tensor_type type, size_t k, size_t megabytes, int n_tokens,
                         double budget)
{
    size_t row_bytes = tensor_row_bytes(type, k);
    int chunk = (int)((DECODE_CHUNK / row_bytes + KERNEL_PANEL_ROWS) / KERNEL_PANEL_ROWS * KERNEL_PANEL_ROWS);
    int rows = (int)((megabytes << 20) / row_bytes / chunk * chunk);
    problem p = problem_new(kernels, type, k, rows, n_tokens);
    p.chunk_rows = chunk;
    print_rates(&p, (double)row_bytes * rows, budget, "GB/s");
    problem_free(&p);
}

static void bench_prompt(const aigc_kernels *kernels, tensor_type type, size_t k, int n_tokens, double budget)
{
    problem p = problem_new(kernels, type, k, PROMPT_ROWS, n_tokens);
    p.chunk_rows = PROMPT_CHUNK;
    print_rates(&p, 2.0 * k * PROMPT_ROWS * n_tokens, budget, "GOP/s");
    problem_free(&p);
}

static void usage(FILE *out)
{
    fputs("usage: bench-kernels [--level NAME] [--type NAME] [--k N] [--tokens N] [--mb N] [--seconds S]\n"
          "\n"
          "Measures matrix products with 1, 2 and 4 threads: decoding in GB/s, prompts in GOP/s.\n"
          "\n"
          "  --level NAME   generic, avx2 or avx512 (default: avx2 and avx512)\n"
          "  --type NAME    F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K (default: all)\n"
          "  --k N          length of a row (default: 768, 896, 2048, 8192, where the type allows)\n"
          "  --tokens N     only this number of tokens, in GB/s up to 16 tokens (default: 1, 8 and 512)\n"
          "  --mb N         size of the matrix for decoding (default 500)\n"
          "  --seconds S    time for each figure (default 0.7)\n",
          out);
}

typedef struct options {
    const char *level, *type;
    size_t k, megabytes;
    int tokens;
    double seconds;
} options;

static void bench_type(const aigc_kernels *kernels, tensor_type type, const options *o)
{
    static const size_t sizes[] = {768, 896, 2048, 8192};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t k = o->k ? o->k : sizes[i];
        if (k % tensor_type_describe(type)->block_elements == 0) {
            int tokens = o->tokens;
            if (tokens > 16)
                bench_prompt(kernels, type, k, tokens, o->seconds);
            else if (tokens)
                bench_decode(kernels, type, k, o->megabytes, tokens, o->seconds);
            else {
                bench_decode(kernels, type, k, o->megabytes, 1, o->seconds);
                bench_decode(kernels, type, k, o->megabytes, 8, o->seconds);
                bench_prompt(kernels, type, k, 512, o->seconds);
            }
        }
        if (o->k)
            break;
    }
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"level", required_argument, NULL, 'l'}, {"type", required_argument, NULL, 't'},
        {"k", required_argument, NULL, 'k'},     {"tokens", required_argument, NULL, 'n'},
        {"mb", required_argument, NULL, 'm'},    {"seconds", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    static const tensor_type types[] = {TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_K, TYPE_Q6_K, TYPE_F16, TYPE_BF16, TYPE_F32};
    options o = {.megabytes = 500, .seconds = 0.7};
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        switch (c) {
        case 'l':
            o.level = optarg;
            break;
        case 't':
            o.type = optarg;
            break;
        case 'k':
            o.k = strtoul(optarg, NULL, 10);
            break;
        case 'n':
            o.tokens = atoi(optarg);
            break;
        case 'm':
            o.megabytes = strtoul(optarg, NULL, 10);
            break;
        case 's':
            o.seconds = strtod(optarg, NULL);
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    for (int level = CPU_GENERIC; level < CPU_LEVELS; level++) {
        const aigc_kernels *kernels = kernels_for((cpu_level)level);
        if (!kernels || (o.level ? strcmp(o.level, kernels->name) != 0 : level == CPU_GENERIC))
            continue;
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            if (!o.type || strcmp(o.type, tensor_type_describe(types[i])->name) == 0)
                bench_type(kernels, types[i], &o);
    }
    return 0;
}
