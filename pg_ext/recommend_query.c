/*
 * recommend_query.c: SQL that recommendation runs through SPI: with whose rights, and by which plan.
 *
 * A plan is kept for the session by its text, so that a recommendation costs no parsing and planning. PostgreSQL itself
 * notices when a table, a policy or a role's rights change under a kept plan.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define MAX_PLANS 256

static Rights current_rights(void)
{
    Rights rights;

    GetUserIdAndSecContext(&rights.user, &rights.context);
    return rights;
}

void restore_rights(Rights before)
{
    SetUserIdAndSecContext(before.user, before.context);
}

/* The owner of aigc_recommender, found by the schema that the called function is in. */
static Oid catalogue_owner(FunctionCallInfo fcinfo)
{
    Oid table = get_relname_relid("aigc_recommender", get_func_namespace(fcinfo->flinfo->fn_oid));
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));

    if (!HeapTupleIsValid(tuple))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the extension's table \"aigc_recommender\" is missing"),
                 errhint("DROP EXTENSION aigc and create it again.")));
    Oid owner = ((Form_pg_class)GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

Rights take_catalogue_rights(FunctionCallInfo fcinfo)
{
    Rights before = current_rights();

    SetUserIdAndSecContext(catalogue_owner(fcinfo),
                           before.context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    return before;
}

Rights take_owner_rights(const Recommender *recommender)
{
    Rights before = current_rights();

    SetUserIdAndSecContext(recommender->owner, before.context | SECURITY_RESTRICTED_OPERATION);
    return before;
}

/*
 * A caller's rights are what is asked for, with one exception. Somebody else's recommender may name views, whose
 * functions would run with the rights of a superuser who only asked for recommendations. A superuser sees what the
 * recommender's owner sees.
 */
Rights take_reader_rights(const Recommender *recommender)
{
    if (superuser() && !superuser_arg(recommender->owner))
        return take_owner_rights(recommender);
    return current_rights();
}

typedef struct KeptPlan {
    char *sql;
    SPIPlanPtr plan;
} KeptPlan;

static KeptPlan plans[MAX_PLANS];
static int n_plans;

/*
 * Plans are never given up, since one that is given up may be running (a view that calls recommend()). A session that
 * fills the table plans the rest anew each time.
 */
static SPIPlanPtr plan_for(const char *sql, int n_args, const Oid *types, int options)
{
    for (int i = 0; i < n_plans; i++) {
        if (strcmp(plans[i].sql, sql) == 0)
            return plans[i].plan;
    }
    SPIPlanPtr plan = SPI_prepare_cursor(sql, n_args, (Oid *)types, options);
    if (!plan)
        elog(ERROR, "cannot prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
    if (n_plans < MAX_PLANS) {
        char *copy = MemoryContextStrdup(TopMemoryContext, sql);
        SPI_keepplan(plan);
        plans[n_plans++] = (KeptPlan){copy, plan};
    }
    return plan;
}

static void run_plan(SPIPlanPtr plan, const char *sql, const Datum *values, const char *nulls, bool read_only,
                     long limit)
{
    int code = SPI_execute_plan(plan, (Datum *)values, nulls, read_only, limit);

    if (code < 0)
        elog(ERROR, "cannot run \"%s\": %s", sql, SPI_result_code_string(code));
}

void run_query(const char *sql, int n_args, const Oid *types, const Datum *values, const char *nulls, bool read_only,
               long limit)
{
    run_plan(plan_for(sql, n_args, types, 0), sql, values, nulls, read_only, limit);
}

void run_fixed_query(const char *sql, int n_args, const Oid *types, const Datum *values, bool read_only, long limit)
{
    run_plan(plan_for(sql, n_args, types, CURSOR_OPT_GENERIC_PLAN), sql, values, NULL, read_only, limit);
}

char *row_text(uint64 row, int column)
{
    return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

Jsonb *jsonb_of(const char *json)
{
    return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}

static void set_local(const char *setting, const char *value)
{
    set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void pin_formats(void)
{
    set_local("datestyle", "ISO");
    set_local("intervalstyle", "postgres");
    set_local("timezone", "UTC");
    set_local("extra_float_digits", "1");
    set_local("bytea_output", "hex");
}

Rows begin_rows(FunctionCallInfo fcinfo)
{
    ReturnSetInfo *info = (ReturnSetInfo *)fcinfo->resultinfo;
    Rows rows;

    if (!info || !IsA(info, ReturnSetInfo))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("set-valued function called in context that cannot accept a set")));
    if (!(info->allowedModes & SFRM_Materialize))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("materialize mode is required")));

    MemoryContext old = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
    if (get_call_result_type(fcinfo, NULL, &rows.desc) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    rows.store = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
    info->returnMode = SFRM_Materialize;
    info->setResult = rows.store;
    info->setDesc = rows.desc;
    MemoryContextSwitchTo(old);
    return rows;
}
