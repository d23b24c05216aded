/*
 * recommend.c: fits and asks recommenders from text files, for bench/recommend.py.
 *
 *     bench-recommend fit EVENTS ITEMS USERS MODEL [name=value ...]    fit, write the model, print what was chosen
 *     bench-recommend evaluate EVENTS ITEMS USERS N [name=value ...]   figures on N users kept out
 *     bench-recommend rank MODEL QUERIES K                             one line of item keys for each line of queries
 *     bench-recommend serve MODEL QUERIES K ROUNDS                     seconds of each query, one a line
 *     bench-recommend all MODEL EVENTS K THREADS                       wall and CPU seconds for all users together:
 *                                                                      folding in and ranking, then ranking alone
 *     bench-recommend iterate EVENTS [name=value ...]                  wall and CPU seconds of each iteration
 *
 * EVENTS: user, item and optionally weight and time on a line, apart by tabs; a file named *.u32 holds pairs of
 * 32-bit numbers instead. ITEMS: key, title and tags apart by "|".
 * USERS: key and attributes name=value; a value that is a number is one. "-" stands for no file. QUERIES: fields apart
 * by tabs: e:KEY an event, i:TEXT an interest, a:NAME=VALUE an attribute, m:KEY a candidate, k: keep what was seen.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aigc.h"
#include "base/file.h"
#include "recommend/catalogue.h"
#include "recommend/factors.h"
#include "recommend/fit.h"

enum { FIELDS_MOST = 20000, LINE_MOST = 1 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(aigc_status status, const aigc_error *err)
{
    if (status == AIGC_OK)
        return;
    fprintf(stderr, "bench-recommend: %s\n", err->message);
    exit(1);
}

static FILE *open_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        fprintf(stderr, "bench-recommend: can't open %s\n", path);
        exit(1);
    }
    return f;
}

static aigc_string string(char *s)
{
    return (aigc_string){s, strlen(s)};
}

/* Cuts a line at tabs, in place. Returns the number of fields, -1 at the end of the file. */
static int fields(FILE *f, char *line, char **field)
{
    int n = 0;

    if (fgets(line, LINE_MOST, f) == NULL)
        return -1;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *s = line; s && n < FIELDS_MOST; n++) {
        field[n] = s;
        if ((s = strchr(s, '\t')) != NULL)
            *s++ = '\0';
    }
    return n;
}

static char line[LINE_MOST], *field[FIELDS_MOST];

/* Pairs of numbers as they lie in memory: files too large to be text. */
static void read_numbers(FILE *f, catalogue *c)
{
    uint32_t pair[2];
    aigc_error err;

    while (fread(pair, sizeof pair, 1, f) == 1) {
        aigc_event e = {.weight = 1, .time = NAN};
        aigc_string user = {(char *)&pair[0], sizeof pair[0]}, item = {(char *)&pair[1], sizeof pair[1]};
        check(catalogue_user_number(c, user, &e.user, &err), &err);
        check(catalogue_item_number(c, item, &e.item, &err), &err);
        check(catalogue_add_events(c, &e, 1, &err), &err);
    }
}

static void read_events(const char *path, aigc_fit *fit)
{
    FILE *f = open_file(path);
    aigc_error err;
    int n;

    if (strstr(path, ".u32"))
        read_numbers(f, &fit->c);
    while ((n = fields(f, line, field)) >= 2) {
        aigc_event e = {.weight = n > 2 ? strtof(field[2], NULL) : 1, .time = n > 3 ? strtod(field[3], NULL) : NAN};
        check(aigc_fit_user(fit, string(field[0]), &e.user, &err), &err);
        check(aigc_fit_item(fit, string(field[1]), &e.item, &err), &err);
        check(aigc_fit_add_events(fit, &e, 1, &err), &err);
    }
    fclose(f);
}

static void read_items(const char *path, aigc_fit *fit)
{
    FILE *f = open_file(path);
    aigc_error err;
    int n;

    while ((n = fields(f, line, field)) >= 2) {
        aigc_string title = string(field[1]), tags[64];
        aigc_item item = {.key = string(field[0]), .texts = &title, .n_texts = 1, .tags = tags, .time = NAN};
        for (char *s = n > 2 ? field[2] : NULL; s && *s && item.n_tags < 64;) {
            size_t len = strcspn(s, "|");
            tags[item.n_tags++] = (aigc_string){s, len};
            s += len + (s[len] == '|');
        }
        check(aigc_fit_add_items(fit, &item, 1, &err), &err);
    }
    fclose(f);
}

static aigc_attribute attribute(char *s)
{
    char *value = strchr(s, '='), *end;
    aigc_attribute a = {.name = {s, value ? (size_t)(value - s) : strlen(s)}};

    value = value ? value + 1 : s + strlen(s);
    a.text = string(value);
    a.number = strtod(value, &end);
    a.kind = *value && *end == '\0' ? AIGC_VALUE_NUMBER : AIGC_VALUE_TEXT;
    return a;
}

static void read_users(const char *path, aigc_fit *fit)
{
    FILE *f = open_file(path);
    aigc_error err;
    int n;

    while ((n = fields(f, line, field)) >= 1) {
        aigc_attribute attributes[32];
        aigc_user user = {.key = string(field[0]), .attributes = attributes};
        for (int i = 1; i < n && i < 32; i++)
            attributes[user.n_attributes++] = attribute(field[i]);
        check(aigc_fit_add_users(fit, &user, 1, &err), &err);
    }
    fclose(f);
}

static void set_option(aigc_fit_options *o, const char *name, double value)
{
    if (strcmp(name, "factors") == 0)
        o->n_factors = (int)value;
    else if (strcmp(name, "iterations") == 0)
        o->n_iterations = (int)value;
    else if (strcmp(name, "regularization") == 0)
        o->regularization = value;
    else if (strcmp(name, "unobserved") == 0)
        o->unobserved = value;
    else if (strcmp(name, "solver") == 0)
        o->solver = (aigc_fit_solver)value;
    else if (strcmp(name, "weights") == 0)
        o->weights = (aigc_fit_weights)value;
    else if (strcmp(name, "ease") == 0)
        o->ease_items = (int)value;
    else if (strcmp(name, "lambda") == 0)
        o->ease_lambda = value;
    else if (strcmp(name, "latent") == 0)
        o->n_latent = (int)value;
    else if (strcmp(name, "holdout") == 0)
        o->holdout_users = (int)value;
    else if (strcmp(name, "threads") == 0)
        o->n_threads = (int)value;
    else if (strcmp(name, "seed") == 0)
        o->seed = (uint64_t)value;
    else if (strcmp(name, "time") == 0)
        o->holdout = AIGC_HOLDOUT_TIME;
    else {
        fprintf(stderr, "bench-recommend: there is no option %s\n", name);
        exit(2);
    }
}

static aigc_fit_options read_options(int argc, char **argv)
{
    aigc_fit_options o = aigc_fit_defaults();

    for (int i = 0; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (value)
            *value++ = '\0';
        set_option(&o, argv[i], value ? atof(value) : 1);
    }
    return o;
}

static aigc_fit *run_fit(char **paths, const aigc_fit_options *o)
{
    aigc_fit_progress p;
    aigc_fit *fit;
    aigc_error err;
    const char *phase = "";

    check(aigc_fit_create(o, &fit, &err), &err);
    if (strcmp(paths[1], "-") != 0)
        read_items(paths[1], fit);
    if (strcmp(paths[2], "-") != 0)
        read_users(paths[2], fit);
    if (strcmp(paths[0], "-") != 0)
        read_events(paths[0], fit);
    double begin = now(), since = begin, longest = 0, last = begin;
    do {
        check(aigc_fit_step(fit, &p, &err), &err);
        double t = now();
        longest = t - last > longest ? t - last : longest;
        last = t;
        if (strcmp(p.phase, phase) != 0 || p.done) {
            if (*phase)
                fprintf(stderr, "%-24s %8.3f s, longest step %.3f s\n", phase, t - since, longest);
            phase = p.phase;
            since = t;
            longest = 0;
        }
    } while (!p.done);
    aigc_fit_info info;
    aigc_fit_describe(fit, &info);
    printf("items %u users %u events %llu pairs %llu words %llu factors %d regularization %g unobserved %g lambda %g "
           "ease_items %u peak_mb %.0f seconds %.3f\n",
           info.n_items, info.n_users, (unsigned long long)info.n_events, (unsigned long long)info.n_pairs,
           (unsigned long long)info.n_words, info.n_factors, info.regularization, info.unobserved, info.ease_lambda,
           info.ease_items, (double)info.peak_bytes / 1e6, now() - begin);
    return fit;
}

static int fit_command(int argc, char **argv)
{
    aigc_fit_options o = read_options(argc - 4, argv + 4);
    aigc_fit *fit = run_fit(argv, &o);
    const void *image;
    size_t size;
    aigc_error err;
    file_writer *w;

    check(aigc_fit_image(fit, &image, &size, &err), &err);
    check(file_writer_open(argv[3], &w, &err), &err);
    check(file_writer_write(w, image, size, &err), &err);
    check(file_writer_commit(w, &err), &err);
    printf("model_mb %.1f\n", (double)size / 1e6);
    aigc_fit_destroy(fit);
    return 0;
}

static int evaluate_command(int argc, char **argv)
{
    aigc_fit_options o = read_options(argc - 4, argv + 4);
    const aigc_metrics *m;

    o.evaluate_users = atoi(argv[3]);
    aigc_fit *fit = run_fit(argv, &o);
    size_t n = aigc_fit_metrics(fit, &m);
    for (size_t i = 0; i < n; i++) {
        printf("%-14s", m[i].ranker);
        for (int c = 0; c < AIGC_METRIC_CUTOFFS && m[i].cutoffs[c]; c++)
            printf("  recall@%d %.4f  ndcg@%d %.4f (%.4f)", m[i].cutoffs[c], m[i].recall[c], m[i].cutoffs[c],
                   m[i].ndcg[c], m[i].ndcg_error[c]);
        printf("  coverage %.3f  users %u\n", m[i].coverage, m[i].n_users);
    }
    aigc_fit_destroy(fit);
    return 0;
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

typedef struct question {
    aigc_query q;
    aigc_event events[FIELDS_MOST];
    aigc_interest interests[64];
    aigc_attribute attributes[64];
    uint32_t among[FIELDS_MOST];
} question;

static void read_query(const aigc_recommender *recommender, int n, size_t k, question *x)
{
    x->q = aigc_query_defaults();
    x->q.k = k;
    x->q.events = x->events;
    x->q.interests = x->interests;
    x->q.attributes = x->attributes;
    for (int i = 0; i < n; i++) {
        char *s = field[i] + 2;
        uint32_t item = AIGC_NO_ITEM;
        if (field[i][0] == 'e' || field[i][0] == 'm')
            item = aigc_recommender_find(recommender, string(s));
        if (field[i][0] == 'e' && item != AIGC_NO_ITEM)
            x->events[x->q.n_events++] = (aigc_event){.item = item, .weight = 1, .time = NAN};
        else if (field[i][0] == 'm' && item != AIGC_NO_ITEM)
            x->among[x->q.n_among++] = item, x->q.among = x->among;
        else if (field[i][0] == 'i')
            x->interests[x->q.n_interests++] = (aigc_interest){string(s), 1};
        else if (field[i][0] == 'a')
            x->attributes[x->q.n_attributes++] = attribute(s);
        else if (field[i][0] == 'k')
            x->q.keep_seen = true;
    }
}

static int ask_command(char **argv, int rounds)
{
    static question x;
    aigc_recommender *recommender;
    aigc_error err;
    file_map map;
    FILE *f = open_file(argv[1]);
    int n;

    check(file_map_open(argv[0], &map, &err), &err);
    check(aigc_recommender_open(map.data, map.size, &recommender, &err), &err);
    while ((n = fields(f, line, field)) >= 0) {
        for (int r = 0; r < (rounds ? rounds : 1); r++) {
            const aigc_recommendation *results;
            aigc_ranking *ranking;
            double begin = now();
            read_query(recommender, n, (size_t)atoi(argv[2]), &x);
            x.q.reasons = rounds > 0;
            check(aigc_recommend(recommender, &x.q, &ranking, &err), &err);
            size_t m = aigc_ranking_results(ranking, &results);
            if (rounds)
                printf("%.6f\n", now() - begin);
            for (size_t i = 0; i < m && !rounds; i++) {
                aigc_string key;
                if (aigc_recommender_key(recommender, results[i].item, &key))
                    printf("%s%.*s", i ? "\t" : "", (int)key.len, key.data);
            }
            if (!rounds)
                printf("\n");
            aigc_ranking_free(ranking);
        }
    }
    aigc_recommender_close(recommender);
    file_map_close(&map);
    return 0;
}

/* ---- iterations ---------------------------------------------------------------------------------------------- */

static int iterate_command(int argc, char **argv)
{
    aigc_fit_options o = read_options(argc - 1, argv + 1);
    FILE *f = open_file(argv[0]);
    catalogue c;
    pairs_maker maker = {0};
    pairs by_item;
    bool done = false;
    aigc_error err;
    thread_pool *pool;
    factors x;
    int n;

    catalogue_init(&c, 0);
    if (strstr(argv[0], ".u32"))
        read_numbers(f, &c);
    while ((n = fields(f, line, field)) >= 2) {
        aigc_event e = {.weight = 1, .time = NAN};
        check(catalogue_user_number(&c, string(field[0]), &e.user, &err), &err);
        check(catalogue_item_number(&c, string(field[1]), &e.item, &err), &err);
        check(catalogue_add_events(&c, &e, 1, &err), &err);
    }
    double begin = now();
    while (!done)
        check(pairs_maker_step(&c, &maker, AIGC_WEIGHTS_BINARY, &done, &err), &err);
    if (!pairs_transpose(&maker.p, &by_item))
        return 1;
    fprintf(stderr, "pairs in %.3f s\n", now() - begin);
    check(thread_pool_create(o.n_threads ? o.n_threads : 2, &pool, &err), &err);
    factor_options fo = {o.n_factors ? o.n_factors : 64, 0.005, 0.1, o.solver, 0};
    if (!factors_create(&x, &fo, &maker.p, &by_item, pool))
        return 1;
    for (int i = 0; i < (o.n_iterations ? o.n_iterations : 5); i++) {
        double cpu = (double)clock();
        begin = now();
        while (!factors_step(&x))
            continue;
        printf("%.4f %.4f\n", now() - begin, ((double)clock() - cpu) / CLOCKS_PER_SEC);
    }
    factors_free(&x);
    thread_pool_destroy(pool);
    return 0;
}

/* Every user of a file of events ranked at once, by a model of it: wall and CPU seconds. */
static int all_command(char **argv)
{
    aigc_recommender *recommender;
    aigc_query *queries = NULL;
    aigc_event *events = NULL;
    size_t n = 0, n_events = 0, *first = NULL;
    char last[256] = "";
    aigc_error err;
    file_map map;
    FILE *f = open_file(argv[1]);
    int k = atoi(argv[2]);

    check(file_map_open(argv[0], &map, &err), &err);
    check(aigc_recommender_open(map.data, map.size, &recommender, &err), &err);
    while (fields(f, line, field) >= 2) { /* a user's lines stand together */
        if (n_events % 65536 == 0)
            events = realloc(events, (n_events + 65536) * sizeof *events);
        if (strcmp(last, field[0]) != 0) {
            snprintf(last, sizeof last, "%s", field[0]);
            first = realloc(first, (n + 2) * sizeof *first);
            first[n++] = n_events;
        }
        events[n_events++] =
            (aigc_event){.item = aigc_recommender_find(recommender, string(field[1])), .weight = 1, .time = NAN};
    }
    queries = calloc(n, sizeof *queries);
    uint32_t *items = calloc(n * (size_t)k, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        queries[i] = aigc_query_defaults();
        queries[i].events = events + first[i];
        queries[i].n_events = (i + 1 < n ? first[i + 1] : n_events) - first[i];
    }
    aigc_people *people;
    double begin[2] = {now()}, cpu[2] = {(double)clock()};
    check(aigc_people_open(recommender, queries, n, atoi(argv[3]), NULL, &people, &err), &err);
    begin[1] = now();
    cpu[1] = (double)clock();
    check(aigc_people_rank(people, (size_t)k, items, NULL, &err), &err);
    double end = now(), cpu_end = (double)clock();
    for (int i = 0; i < 2; i++)
        printf("%.4f %.4f\n", end - begin[i], (cpu_end - cpu[i]) / CLOCKS_PER_SEC);
    aigc_people_close(people);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 6 && strcmp(argv[1], "fit") == 0)
        return fit_command(argc - 2, argv + 2);
    if (argc >= 6 && strcmp(argv[1], "evaluate") == 0)
        return evaluate_command(argc - 2, argv + 2);
    if (argc == 5 && strcmp(argv[1], "rank") == 0)
        return ask_command(argv + 2, 0);
    if (argc == 6 && strcmp(argv[1], "serve") == 0)
        return ask_command(argv + 2, atoi(argv[5]));
    if (argc == 6 && strcmp(argv[1], "all") == 0)
        return all_command(argv + 2);
    if (argc >= 3 && strcmp(argv[1], "iterate") == 0)
        return iterate_command(argc - 2, argv + 2);
    fprintf(stderr, "usage: bench-recommend fit|evaluate|rank|serve|all|iterate ... (bench/recommend.c says more)\n");
    return 2;
}
