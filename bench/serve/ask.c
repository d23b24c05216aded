/*
 * ask.c: how long recommend() takes in a server, for bench/serve/run.
 *
 *     bench-ask CONNINFO CALLS NEW [KIND]   CALLS of each kind (or one, by number) in one session, then the first in
 * NEW sessions
 *
 * Times are of whole statements, as a client sees them: sent, run, all rows received, over a local socket, prepared
 * once. Prints a table line for each kind: p50, p90, p99 and the longest, in milliseconds, and the
 * processor time of the session's process for a call.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM = 100, PEOPLE_MOST = 1000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static PGresult *checked(PGconn *conn, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fprintf(stderr, "bench-ask: %s", PQerrorMessage(conn));
        exit(1);
    }
    return result;
}

static PGconn *session(const char *conninfo)
{
    PGconn *conn = PQconnectdb(conninfo);

    if (PQstatus(conn) != CONNECTION_OK) {
        fprintf(stderr, "bench-ask: %s", PQerrorMessage(conn));
        exit(1);
    }
    return conn;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Milliseconds that the session's process has been computing: what a busy machine does not change so much. 0 where
 * nobody tells. */
static double computed(PGconn *conn)
{
    char path[64];
    unsigned long long ns = 0;

    snprintf(path, sizeof path, "/proc/%d/schedstat", PQbackendPID(conn));
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    fclose(f);
    return 1e-6 * (double)ns;
}

static void report(const char *what, double *ms, int n, double cpu)
{
    qsort(ms, (size_t)n, sizeof *ms, compare);
    printf("| %-46s | %5d | %7.2f | %7.2f | %7.2f | %7.2f | %7.2f |\n", what, n, ms[n / 2], ms[n * 9 / 10],
           ms[n * 99 / 100], ms[n - 1], cpu / n);
    fflush(stdout);
}

/* ---- who asks ------------------------------------------------------------------------------------------------ */

typedef struct numbers {
    int n;
    char *of[PEOPLE_MOST];
} numbers;

static numbers query_numbers(PGconn *conn, const char *sql)
{
    PGresult *result = checked(conn, PQexec(conn, sql));
    numbers list = {.n = PQntuples(result)};

    if (list.n == 0 || list.n > PEOPLE_MOST) {
        fprintf(stderr, "bench-ask: %d rows from %s\n", list.n, sql);
        exit(1);
    }
    for (int i = 0; i < list.n; i++)
        list.of[i] = strdup(PQgetvalue(result, i, 0));
    PQclear(result);
    return list;
}

typedef enum kind { KNOWN, STATED, NOBODY, LIKES, SIMILAR, KINDS } kind;

static const char *const kind_names[KINDS] = {"a known user (about 50 events)", "interests, location and age",
                                              "nobody ({})", "three liked items", "similar_items()"};

static void profile_of(kind k, int i, const numbers *users, const numbers *items, char out[256])
{
    const char *a = items->of[i % items->n], *b = items->of[(i * 7 + 1) % items->n],
               *c = items->of[(i * 13 + 2) % items->n];

    switch (k) {
    case KNOWN:
        snprintf(out, 256, "{\"user\": %s}", users->of[i % users->n]);
        break;
    case STATED:
        snprintf(out, 256, "{\"interests\": [\"topic%d\", \"genre%d\"], \"location\": \"New York\", \"age\": %d}",
                 i * 37 % 400, i % 40, 18 + i % 50);
        break;
    case LIKES:
        snprintf(out, 256, "{\"likes\": [%s, %s, %s]}", a, b, c);
        break;
    case SIMILAR:
        snprintf(out, 256, "%s", a);
        break;
    default:
        snprintf(out, 256, "{}");
    }
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

static void ask_warm(PGconn *conn, kind k, const numbers *users, const numbers *items, int calls)
{
    double *ms = calloc((size_t)calls, sizeof *ms);
    const char *statement = k == SIMILAR ? "similar" : "recommend";
    double cpu = 0;

    for (int i = -WARM; i < calls; i++) {
        char profile[256];
        if (i == 0)
            cpu = computed(conn);
        const char *values[1] = {profile};
        profile_of(k, i + WARM, users, items, profile);
        double begin = now();
        PGresult *result = checked(conn, PQexecPrepared(conn, statement, 1, values, NULL, NULL, 0));
        if (i >= 0)
            ms[i] = now() - begin;
        if (PQntuples(result) != 10) {
            fprintf(stderr, "bench-ask: %d rows for %s\n", PQntuples(result), profile);
            exit(1);
        }
        PQclear(result);
    }
    report(kind_names[k], ms, calls, computed(conn) - cpu);
    free(ms);
}

/* The first call in a session, and the second. */
static void ask_first(const char *conninfo, kind k, const numbers *users, const numbers *items, int sessions)
{
    double *first = calloc((size_t)sessions, sizeof *first), *second = calloc((size_t)sessions, sizeof *second);
    double cpu[2] = {0};
    char name[100];

    for (int i = 0; i < sessions; i++) {
        PGconn *conn = session(conninfo);
        for (int call = 0; call < 2; call++) {
            char profile[256], sql[400];
            profile_of(k, 2 * i + call, users, items, profile);
            snprintf(sql, sizeof sql, "SELECT * FROM recommend('%s')", profile);
            double before = computed(conn), begin = now();
            PQclear(checked(conn, PQexec(conn, sql)));
            (call ? second : first)[i] = now() - begin;
            cpu[call] += computed(conn) - before;
        }
        PQfinish(conn);
    }
    snprintf(name, sizeof name, "%s: first call", kind_names[k]);
    report(name, first, sessions, cpu[0]);
    snprintf(name, sizeof name, "%s: second call", kind_names[k]);
    report(name, second, sessions, cpu[1]);
    free(first);
    free(second);
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: bench-ask CONNINFO CALLS NEW [KIND]\n");
        return 2;
    }
    PGconn *conn = session(argv[1]);
    numbers users = query_numbers(conn, "SELECT user_id FROM reads WHERE user_id < 20000 GROUP BY user_id "
                                        "HAVING count(*) BETWEEN 45 AND 55 ORDER BY user_id LIMIT 1000");
    numbers items = query_numbers(conn, "SELECT id FROM articles WHERE id % 3 = 0 ORDER BY id LIMIT 1000");
    PQclear(checked(conn, PQprepare(conn, "recommend", "SELECT * FROM recommend($1)", 1, NULL)));
    PQclear(checked(conn, PQprepare(conn, "similar", "SELECT * FROM similar_items($1)", 1, NULL)));
    printf("| %-46s | %5s | %7s | %7s | %7s | %7s | %7s |\n|---|---|---|---|---|---|---|\n", "milliseconds", "calls",
           "p50", "p90", "p99", "most", "CPU");
    for (kind k = 0; k < KINDS && atoi(argv[2]) > 0; k++)
        if (argc < 5 || (int)k == atoi(argv[4]))
            ask_warm(conn, k, &users, &items, atoi(argv[2]));
    PQfinish(conn);
    for (kind k = KNOWN; k <= STATED && atoi(argv[3]) > 0; k++)
        ask_first(argv[1], k, &users, &items, atoi(argv[3]));
    return 0;
}
