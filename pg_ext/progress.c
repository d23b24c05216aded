/*
 * progress.c: progress.h, and the function behind the view aigc_progress.
 *
 * Every PostgreSQL backend has a slot in shared memory where VACUUM, CREATE INDEX and their kind report: the number of
 * a command and 20 numbers. A report of ours is these 20 numbers, under a command number of our own, which PostgreSQL's
 * own views do not show. So the report needs no shared memory of ours and no shared_preload_libraries, is read without
 * locks, and goes with the transaction or the backend however that ends.
 */
#include "postgres.h"

#include <math.h>

#include "aigc_pg.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "progress.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#endif

/* "aigc", far from PostgreSQL's own, which count from 0. Another layout of ProgressReport needs another number. */
#define COMMAND ((ProgressCommandType)0x61696763)

StaticAssertDecl(sizeof(ProgressReport) == PGSTAT_NUM_PROGRESS_PARAM * sizeof(int64),
                 "a report fills a backend's progress counters");

/* ---- reporting ---- */

static void publish(const Progress *progress)
{
    int index[PGSTAT_NUM_PROGRESS_PARAM];
    int64 values[PGSTAT_NUM_PROGRESS_PARAM];

    for (int i = 0; i < PGSTAT_NUM_PROGRESS_PARAM; i++)
        index[i] = i;
    memcpy(values, &progress->report, sizeof values);
    /* PostgreSQL 13 does not let an extension see whether its command is still there: it begins anew each time. */
#if PG_VERSION_NUM >= 140000
    if (MyBEEntry && MyBEEntry->st_progress_command != COMMAND)
#endif
        pgstat_progress_start_command(COMMAND, InvalidOid);
    pgstat_progress_update_multi_param(PGSTAT_NUM_PROGRESS_PARAM, index, values);
}

static void estimate_end(Progress *progress)
{
    ProgressReport *report = &progress->report;
    TimestampTz now = GetCurrentTimestamp();

    report->estimated_end = 0;
    if (report->done > 0 && report->total >= report->done)
        report->estimated_end = now + (TimestampTz)((double)(now - progress->phase_started) / report->done *
                                                    (report->total - report->done));
}

void progress_start(Progress *progress, const char *command, const char *target)
{
    memset(progress, 0, sizeof *progress);
    strlcpy(progress->report.command, command, sizeof progress->report.command);
    int n = pg_encoding_mbcliplen(PG_UTF8, target, strlen(target), sizeof progress->report.target - 1);
    memcpy(progress->report.target, target, n);
    progress->report.started = GetCurrentTimestamp();
    progress_phase(progress, "", 0);
}

void progress_phase(Progress *progress, const char *phase, int64 total)
{
    ProgressReport *report = &progress->report;

    memset(report->phase, 0, sizeof report->phase);
    strlcpy(report->phase, phase, sizeof report->phase);
    report->done = 0;
    report->total = total;
    report->loss = NAN;
    report->rate = 0;
    report->estimated_end = 0;
    progress->phase_started = GetCurrentTimestamp();
    publish(progress);
}

void progress_update(Progress *progress, int64 done, double loss, double rate)
{
    progress->report.done = done;
    progress->report.loss = loss;
    progress->report.rate = rate;
    estimate_end(progress);
    publish(progress);
}

void progress_total(Progress *progress, int64 total)
{
    progress->report.total = total;
    estimate_end(progress);
    publish(progress);
}

void progress_end(Progress *progress)
{
    pgstat_progress_end_command();
}

/* ---- the view ---- */

enum { PID, DATID, USESYSID, COMMAND_NAME, TARGET, PHASE, DONE, TOTAL, LOSS, RATE, STARTED, ESTIMATED_END, N_COLUMNS };

typedef struct Row {
    Datum values[N_COLUMNS];
    bool nulls[N_COLUMNS];
} Row;

static void set_value(Row *row, int column, Datum value)
{
    row->values[column] = value;
    row->nulls[column] = false;
}

static void set_text(Row *row, int column, const char *utf8)
{
    if (*utf8)
        set_value(row, column, CStringGetTextDatum(utf8_for_display(utf8)));
}

/* As pg_stat_activity decides: one's own sessions, those of roles one has the rights of, or all for who reads them. */
static bool may_see(Oid user)
{
#if PG_VERSION_NUM >= 160000
    return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) || has_privs_of_role(GetUserId(), user);
#elif PG_VERSION_NUM >= 140000
    return is_member_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) || has_privs_of_role(GetUserId(), user);
#else
    return is_member_of_role(GetUserId(), DEFAULT_ROLE_READ_ALL_STATS) || has_privs_of_role(GetUserId(), user);
#endif
}

static void fill_report(Row *row, const ProgressReport *report)
{
    set_text(row, COMMAND_NAME, report->command);
    set_text(row, TARGET, report->target);
    set_text(row, PHASE, report->phase);
    set_value(row, DONE, Int64GetDatum(report->done));
    if (report->total > 0)
        set_value(row, TOTAL, Int64GetDatum(report->total));
    if (!isnan(report->loss))
        set_value(row, LOSS, Float8GetDatum(report->loss));
    if (report->rate > 0)
        set_value(row, RATE, Float8GetDatum(report->rate));
    set_value(row, STARTED, TimestampTzGetDatum(report->started));
    if (report->estimated_end != 0)
        set_value(row, ESTIMATED_END, TimestampTzGetDatum(report->estimated_end));
}

/* False: this backend reports nothing of ours. */
static bool fill_row(Row *row, const PgBackendStatus *backend)
{
    ProgressReport report;

    if (backend->st_procpid == 0 || backend->st_progress_command != COMMAND)
        return false;
    memcpy(&report, backend->st_progress_param, sizeof report);
    if (!report.command[0])
        return false; /* begun this very moment */
    memset(row->nulls, true, sizeof row->nulls);
    set_value(row, PID, Int32GetDatum(backend->st_procpid));
    set_value(row, DATID, ObjectIdGetDatum(backend->st_databaseid));
    set_value(row, USESYSID, ObjectIdGetDatum(backend->st_userid));
    if (may_see(backend->st_userid))
        fill_report(row, &report);
    return true;
}

static const PgBackendStatus *backend_at(int i)
{
#if PG_VERSION_NUM >= 160000
    return &pgstat_get_local_beentry_by_index(i)->backendStatus;
#else
    return &pgstat_fetch_stat_local_beentry(i)->backendStatus;
#endif
}

SQL_FUNCTION(sql_progress);

Datum sql_progress(PG_FUNCTION_ARGS)
{
    FuncCallContext *call;
    Row row;

    if (SRF_IS_FIRSTCALL()) {
        call = SRF_FIRSTCALL_INIT();
        MemoryContext old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
        if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
            elog(ERROR, "return type must be a row type");
        MemoryContextSwitchTo(old);
        call->max_calls = pgstat_fetch_stat_numbackends();
        int *next = MemoryContextAlloc(call->multi_call_memory_ctx, sizeof *next);
        *next = 1; /* backends are counted from 1 */
        call->user_fctx = next;
    }
    call = SRF_PERCALL_SETUP();
    for (int *next = call->user_fctx; *next <= (int)call->max_calls;) {
        if (fill_row(&row, backend_at((*next)++)))
            SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, row.values, row.nulls)));
    }
    SRF_RETURN_DONE(call);
}
