/*
 * bench.c: `aigc bench`: tokens a second of prompts and of decoding, by threads and by parallel sequences.
 *
 * Each measurement is repeated, and the repetitions are interleaved (every configuration once, then every one again),
 * so that a change in the machine's mood touches all of them; the medians are shown. Prompts are random token ids from
 * a fixed seed, never the same twice, and the prefix cache is off.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

enum { SHORT_PROMPT = 16, MAX_SEQUENCES = 256 };

typedef struct bench {
    const settings *s;
    aigc_model *model;
    const aigc_model_info *info;
    int_list threads;
    aigc_engine *engines[LIST_MAX]; /* one for each entry of threads */
    int n_prompt, n_decode;         /* lengths, cut to the model's context */
    uint64_t random;                /* state of the token ids' generator */
    double *prompt[LIST_MAX];       /* [threads.n][repeat] tokens/s */
    double *decode[LIST_MAX];       /* [threads.n][repeat] */
    double *parallel[LIST_MAX];     /* [sequences.n][repeat], at the most threads */
} bench;

/* splitmix64 */
static uint64_t next_random(bench *b)
{
    uint64_t z = b->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int submit(bench *b, aigc_engine *engine, int n_prompt, int n_decode, aigc_request **request)
{
    aigc_error err;
    aigc_request_options options = aigc_request_defaults();
    int32_t *tokens = malloc((size_t)n_prompt * sizeof(*tokens));
    if (tokens == NULL)
        return complain("out of memory: a prompt of %d tokens", n_prompt);
    for (int i = 0; i < n_prompt; i++)
        tokens[i] = (int32_t)(next_random(b) % b->info->n_vocab);
    options.tokens = tokens;
    options.n_tokens = (size_t)n_prompt;
    options.max_tokens = n_decode;
    options.ignore_eos = true;
    options.sampling.temperature = 0;
    aigc_status code = aigc_submit(engine, &options, request, &err);
    free(tokens);
    return code == AIGC_OK ? EXIT_OK : complain("%s", err.message);
}

static int step(aigc_engine *engine)
{
    aigc_error err;
    aigc_status code = interrupted ? AIGC_INTERRUPTED : aigc_step(engine, &err);
    if (code == AIGC_INTERRUPTED)
        return EXIT_INTERRUPTED;
    return code == AIGC_OK ? EXIT_OK : complain("%s", err.message);
}

static int measure_prompt(bench *b, aigc_engine *engine, double *speed)
{
    aigc_request *request = NULL;
    int status = submit(b, engine, b->n_prompt, 1, &request);
    double started = now();
    while (status == EXIT_OK && !aigc_request_done(request))
        status = step(engine);
    *speed = b->n_prompt / (now() - started);
    aigc_request_free(request);
    return status;
}

/* How many tokens all requests have generated; *least is the fewest of one request. */
static size_t count_tokens(aigc_request *const *requests, int n, size_t *least)
{
    size_t sum = 0;
    const aigc_token *tokens;
    *least = SIZE_MAX;
    for (int i = 0; i < n; i++) {
        size_t count = aigc_request_tokens(requests[i], 0, &tokens);
        sum += count;
        if (count < *least)
            *least = count;
    }
    return sum;
}

/* Tokens a second of n sequences together, from when each has its first token until the first one ends. */
static int measure_decode(bench *b, aigc_engine *engine, int n, double *speed)
{
    aigc_request *requests[MAX_SEQUENCES] = {0};
    size_t least = 0, before = 0, after = 0;
    double started = 0;
    bool ended = false;
    int status = EXIT_OK;
    for (int i = 0; i < n && status == EXIT_OK; i++)
        status = submit(b, engine, SHORT_PROMPT, b->n_decode, &requests[i]);
    while (status == EXIT_OK && least == 0) {
        status = step(engine);
        before = count_tokens(requests, n, &least);
    }
    started = now();
    while (status == EXIT_OK && !ended) {
        status = step(engine);
        for (int i = 0; i < n; i++)
            ended = ended || aigc_request_done(requests[i]);
    }
    double seconds = now() - started;
    if (status == EXIT_OK)
        after = count_tokens(requests, n, &least);
    *speed = (double)(after - before) / seconds;
    for (int i = 0; i < n; i++)
        aigc_request_free(requests[i]);
    return status;
}

/* Every configuration once, into column `run` of the results. */
static int run_once(bench *b, int run)
{
    int status = EXIT_OK;
    for (size_t i = 0; i < b->threads.n && status == EXIT_OK; i++) {
        status = measure_prompt(b, b->engines[i], &b->prompt[i][run]);
        if (status == EXIT_OK)
            status = measure_decode(b, b->engines[i], 1, &b->decode[i][run]);
    }
    for (size_t i = 0; i < b->s->sequences.n && status == EXIT_OK; i++)
        status = measure_decode(b, b->engines[b->threads.n - 1], b->s->sequences.items[i], &b->parallel[i][run]);
    return status;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), by_value);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static void print_table(bench *b)
{
    const int_list *sequences = &b->s->sequences;
    int repeat = b->s->repeat, most = b->threads.items[b->threads.n - 1];
    printf("%s, %s, %.1f million parameters, %s; %s; medians of %d\n\n", *b->info->name ? b->info->name : "unnamed",
           b->info->architecture, (double)b->info->n_params / 1e6, b->info->quantisation, aigc_cpu_level_name(),
           repeat);
    printf("threads   prompt of %d, tokens/s   decode of %d, tokens/s\n", b->n_prompt, b->n_decode);
    for (size_t i = 0; i < b->threads.n; i++)
        printf("%7d %26.1f %25.1f\n", b->threads.items[i], median(b->prompt[i], repeat), median(b->decode[i], repeat));
    printf("\nsequences (%d threads)   decode, tokens/s of all   of each\n", most);
    for (size_t i = 0; i < sequences->n; i++) {
        double speed = median(b->parallel[i], repeat);
        printf("%9d %37.1f %9.1f\n", sequences->items[i], speed, speed / sequences->items[i]);
    }
}

static void print_json(bench *b)
{
    const int_list *sequences = &b->s->sequences;
    int repeat = b->s->repeat;
    printf("{\"model\": ");
    print_json_string(stdout, b->info->name, strlen(b->info->name));
    printf(", \"architecture\": ");
    print_json_string(stdout, b->info->architecture, strlen(b->info->architecture));
    printf(", \"parameters\": %llu, \"quantisation\": \"%s\", \"cpu\": \"%s\", \"version\": \"%s\"",
           (unsigned long long)b->info->n_params, b->info->quantisation, aigc_cpu_level_name(), aigc_version());
    printf(", \"prompt_tokens\": %d, \"decode_tokens\": %d, \"repeat\": %d, \"threads\": [", b->n_prompt, b->n_decode,
           repeat);
    for (size_t i = 0; i < b->threads.n; i++)
        printf("%s{\"threads\": %d, \"prompt_tokens_per_second\": %.2f, \"decode_tokens_per_second\": %.2f}",
               i ? ", " : "", b->threads.items[i], median(b->prompt[i], repeat), median(b->decode[i], repeat));
    printf("], \"sequences\": [");
    for (size_t i = 0; i < sequences->n; i++)
        printf("%s{\"sequences\": %d, \"threads\": %d, \"decode_tokens_per_second\": %.2f}", i ? ", " : "",
               sequences->items[i], b->threads.items[b->threads.n - 1], median(b->parallel[i], repeat));
    puts("]}");
}

/* 1, 2, 4 ... and the number of cores that this process may use. */
static void default_threads(int_list *list)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    if (cores > 64)
        cores = 64;
    for (int n = 1; n < cores; n *= 2)
        list->items[list->n++] = n;
    list->items[list->n++] = cores;
}

static int most_sequences(const bench *b)
{
    int most = 1;
    for (size_t i = 0; i < b->s->sequences.n; i++)
        if (b->s->sequences.items[i] > most)
            most = b->s->sequences.items[i];
    return most;
}

/* The longest sequence that an engine takes. It may be more than the file says. */
static int find_context(bench *b, int *context)
{
    aigc_error err;
    aigc_engine *engine;
    aigc_engine_info info;
    if (aigc_engine_open(b->model, &b->s->engine, &engine, &err) != AIGC_OK)
        return complain("%s", err.message);
    aigc_engine_describe(engine, &info);
    aigc_engine_close(engine);
    *context = info.n_context;
    return EXIT_OK;
}

/* Cuts the lengths to the context: the longest sequence is a whole prompt, or a short prompt and what follows. */
static int choose_lengths(bench *b)
{
    int context = 0;
    int status = find_context(b, &context);
    if (status != EXIT_OK)
        return status;
    if (context < SHORT_PROMPT + 8)
        return complain("a context of %d tokens is too short to measure with (at least %d)", context, SHORT_PROMPT + 8);
    b->n_prompt = b->s->prompt_tokens < context - 1 ? b->s->prompt_tokens : context - 1;
    b->n_decode = b->s->decode_tokens < context - SHORT_PROMPT ? b->s->decode_tokens : context - SHORT_PROMPT;
    return EXIT_OK;
}

static int open_engines(bench *b)
{
    aigc_error err;
    aigc_engine_options options = b->s->engine;
    int longest = SHORT_PROMPT + b->n_decode > b->n_prompt + 1 ? SHORT_PROMPT + b->n_decode : b->n_prompt + 1;
    if (options.n_context == 0)
        options.n_context = longest;
    options.n_sequences = most_sequences(b);
    options.prefix_cache = false;
    options.interrupt = &interrupted;
    for (size_t i = 0; i < b->threads.n; i++) {
        options.n_threads = b->threads.items[i];
        if (aigc_engine_open(b->model, &options, &b->engines[i], &err) != AIGC_OK)
            return complain("%s", err.message);
    }
    return EXIT_OK;
}

static int take_results(bench *b)
{
    size_t repeat = (size_t)b->s->repeat;
    bool ok = true;
    for (size_t i = 0; i < LIST_MAX; i++) {
        ok = ok && (b->prompt[i] = calloc(repeat, sizeof(double))) != NULL;
        ok = ok && (b->decode[i] = calloc(repeat, sizeof(double))) != NULL;
        ok = ok && (b->parallel[i] = calloc(repeat, sizeof(double))) != NULL;
    }
    return ok ? EXIT_OK : complain("out of memory: results of %zu runs", repeat);
}

static void end(bench *b)
{
    for (size_t i = 0; i < LIST_MAX; i++) {
        aigc_engine_close(b->engines[i]);
        free(b->prompt[i]);
        free(b->decode[i]);
        free(b->parallel[i]);
    }
    aigc_model_close(b->model);
}

static int run(settings *s)
{
    bench b = {.s = s, .threads = s->threads, .random = 1};
    int status = open_model(s, AIGC_MODEL_ALL, &b.model);
    if (status != EXIT_OK)
        return status;
    b.info = aigc_model_describe(b.model);
    if (b.threads.n == 0)
        default_threads(&b.threads);
    status = choose_lengths(&b);
    if (status == EXIT_OK)
        status = open_engines(&b);
    if (status == EXIT_OK)
        status = take_results(&b);
    if (status == EXIT_OK)
        status = run_once(&b, 0); /* warms caches up; overwritten below */
    for (int i = 0; i < s->repeat && status == EXIT_OK; i++)
        status = run_once(&b, i);
    if (status == EXIT_OK)
        (s->json ? print_json : print_table)(&b);
    end(&b);
    return status;
}

const command command_bench = {
    .name = "bench",
    .bit = FOR_BENCH,
    .summary = "speed by threads and by parallel sequences",
    .synopsis = "[-m FILE] [--threads LIST] [--sequences LIST] [--json] [options]",
    .details =
        "Measures how many tokens a second go through a prompt and come out of decoding, for each number of threads,\n"
        "and out of several sequences decoded together, at the last number of threads. Prompts are random tokens;\n"
        "lengths are cut to the model's context.\n",
    .run = run,
};
