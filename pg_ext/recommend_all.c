/*
 * recommend_all.c: recommend_all(): for everybody who has events, or for the users given, what recommend() would say to
 * each of them.
 *
 * One query gives all events, those of a user together. Whenever some hundred users are at hand they are a group, which
 * threads rank while the next one is read (recommend_people.c). So memory does not grow with the number of users: what
 * does is the result, which PostgreSQL moves to a file beyond work_mem, and the sort, likewise. Which items the caller
 * may see is read once, in the statement's snapshot; the others are excluded for everybody.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "recommend_people.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#define DEFAULT_K        10
#define ROWS_AT_ONCE     4000
#define USERS_AT_ONCE    512           /* that are ranked together, */
#define ENTRIES_AT_ONCE  (1024 * 1024) /* fewer if their lists have more entries than this */
#define FEEDBACK_AT_ONCE 10000         /* users who may have nothing but feedback */

/* ---- reading ---- */

typedef void (*RowsFunction)(Everybody *all, const SPITupleTable *table, uint64 n);

/* Reads all rows of a query, with the caller's rights. */
static void read_rows(Everybody *all, const char *sql, int n_args, Oid *types, Datum *values, RowsFunction take)
{
    SPIPlanPtr plan = SPI_prepare_cursor(sql, n_args, types, CURSOR_OPT_NO_SCROLL);

    if (!plan)
        elog(ERROR, "cannot prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
    Portal portal = SPI_cursor_open(NULL, plan, values, NULL, true);
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
        if (SPI_processed == 0)
            break;
        SPITupleTable *table = SPI_tuptable;
        take(all, table, SPI_processed);
        SPI_freetuptable(table);
    }
    SPI_freetuptable(SPI_tuptable);
    SPI_cursor_close(portal);
    SPI_freeplan(plan);
}

static void show_items(Everybody *all, const SPITupleTable *table, uint64 n)
{
    bool null;

    for (uint64 row = 0; row < n; row++) {
        uint32_t item = item_at(all, table, row, 1, &null);
        if (item != AIGC_NO_ITEM)
            all->hidden[item] = false;
    }
}

/* Finds the items that the caller may not see, and excludes them for everybody. */
static void hide_items(Everybody *all)
{
    const Recommender *recommender = all->ask->recommender;
    bool has_items = OidIsValid(recommender->table[TABLE_ITEMS]);
    aigc_query *query = &all->ask->query;
    aigc_recommender_info info;

    progress_phase(&all->progress, "reading items", 0);
    aigc_recommender_describe(all->ask->use->model, &info);
    all->hidden = palloc_extended(Max(info.n_items, 1), MCXT_ALLOC_HUGE);
    memset(all->hidden, true, info.n_items);
    read_rows(all,
              has_items ? psprintf("SELECT %s FROM %s", recommender->role[ITEM_ID].column[0].sql,
                                   recommender->table_sql[TABLE_ITEMS])
                        : psprintf("SELECT DISTINCT %s FROM %s", recommender->role[EVENT_ITEM].column[0].sql,
                                   recommender->table_sql[TABLE_EVENTS]),
              0, NULL, NULL, show_items);

    size_t n = query->n_exclude;
    for (uint32 i = 0; i < info.n_items; i++)
        n += all->hidden[i];
    uint32_t *exclude = palloc_extended((n + 1) * sizeof *exclude, MCXT_ALLOC_HUGE);
    if (query->n_exclude > 0)
        memcpy(exclude, query->exclude, query->n_exclude * sizeof *exclude);
    for (uint32 i = 0; i < info.n_items; i++)
        if (all->hidden[i])
            exclude[query->n_exclude++] = i;
    query->exclude = exclude;
}

/* ---- everybody's events ---- */

/* Columns of the queries below: who it is (rows of one person stand together), their key, item, weight, time. */
enum { WHO = 1, KEY, ITEM, WEIGHT, TIME };

static bool same_person(const People *group, const SPITupleTable *table, Datum who)
{
    const TypeCacheEntry *type =
        lookup_type_cache(TupleDescAttr(table->tupdesc, WHO - 1)->atttypid, TYPECACHE_EQ_OPR_FINFO);

    return DatumGetBool(FunctionCall2Coll((FmgrInfo *)&type->eq_opr_finfo,
                                          TupleDescAttr(table->tupdesc, WHO - 1)->attcollation, group->who, who));
}

static void take_person(Everybody *all, const SPITupleTable *table, uint64 row)
{
    bool null;
    Datum who = SPI_getbinval(table->vals[row], table->tupdesc, WHO, &null);

    if (all->group->n > 0 && same_person(all->group, table, who))
        return;
    if (all->group->n == all->most)
        rank_group(all);
    MemoryContext old = MemoryContextSwitchTo(all->group->context);
    Form_pg_attribute column = TupleDescAttr(table->tupdesc, WHO - 1);
    all->group->who = datumCopy(who, column->attbyval, column->attlen);
    begin_person(all->group, SPI_getvalue(table->vals[row], table->tupdesc, KEY));
    MemoryContextSwitchTo(old);
}

static void take_events(Everybody *all, const SPITupleTable *table, uint64 n)
{
    bool null, null_weight, null_time;

    for (uint64 row = 0; row < n; row++) {
        take_person(all, table, row);
        uint32_t item = item_at(all, table, row, ITEM, &null);
        if (!null && all->only_without_events)
            all->group->people[all->group->n - 1].passed_over = true;
        if (item == AIGC_NO_ITEM || all->hidden[item])
            continue;
        Datum weight = SPI_getbinval(table->vals[row], table->tupdesc, WEIGHT, &null_weight);
        Datum time = SPI_getbinval(table->vals[row], table->tupdesc, TIME, &null_time);
        add_event(all->group, item, null_weight ? 0 : (float)DatumGetFloat8(weight),
                  null_time ? NAN : DatumGetFloat8(time));
    }
}

/* All who have events in the table. Their order is that of the column's type, where it has one. */
static char *everybody_sql(const Recommender *recommender)
{
    const Column *user = &recommender->role[EVENT_USER].column[0];
    bool ordered = OidIsValid(lookup_type_cache(user->type, TYPECACHE_LT_OPR)->lt_opr);

    return psprintf("SELECT g.who, g.who::pg_catalog.text, g.key::pg_catalog.text, g.weight, g.at FROM (SELECT e.who, "
                    "e.key, %s FROM (%s) AS e WHERE e.who IS NOT NULL AND e.key IS NOT NULL GROUP BY e.who, e.key) AS "
                    "g ORDER BY g.who%s",
                    event_sums_sql, event_rows_sql(recommender),
                    ordered ? "" : "::pg_catalog.text COLLATE pg_catalog.\"C\"");
}

/* Those whose keys are in $1, each once, in its order, with their events if they have any. */
static char *given_sql(const Everybody *all)
{
    const Recommender *recommender = all->ask->recommender;
    const char *given = "(SELECT u.key, pg_catalog.min(u.number) AS number FROM pg_catalog.unnest($1) WITH ORDINALITY "
                        "AS u (key, number) GROUP BY u.key) AS k";

    if (!OidIsValid(recommender->table[TABLE_EVENTS]))
        return psprintf("SELECT k.number, k.key, NULL::pg_catalog.text, NULL::pg_catalog.float8, "
                        "NULL::pg_catalog.float8 FROM %s ORDER BY 1",
                        given);
    Column user = recommender->role[EVENT_USER].column[0];
    user.name = "who";
    return psprintf("SELECT g.number, g.given, g.key::pg_catalog.text, g.weight, g.at FROM (SELECT k.number, k.key AS "
                    "given, e.key, %s FROM %s LEFT JOIN (%s) AS e ON e.key IS NOT NULL AND %s GROUP BY k.number, "
                    "k.key, e.key) AS g ORDER BY 1",
                    event_sums_sql, given, event_rows_sql(recommender),
                    comparison_sql("e", &user, "k", psprintf("key::%s", type_sql(all->key_type)), all->key_type));
}

static void rank_given(Everybody *all, Datum keys)
{
    read_rows(all, given_sql(all), 1, (Oid[]){TEXTARRAYOID}, (Datum[]){keys}, take_events);
    rank_group(all);
}

/* Who has feedback and no events. Their keys may be such as the other tables could not hold. */
static void rank_by_feedback(Everybody *all)
{
    char *sql = psprintf("SELECT DISTINCT f.user_key FROM %s.aigc_feedback AS f WHERE %s AND f.user_key IS NOT NULL "
                         "AND ($4 IS NULL OR f.user_key OPERATOR(pg_catalog.>) $4) ORDER BY 1 LIMIT %d",
                         extension_schema(all->ask->fcinfo), feedback_of, FEEDBACK_AT_ONCE);
    MemoryContext page = AllocSetContextCreate(CurrentMemoryContext, "aigc users", ALLOCSET_DEFAULT_SIZES);
    Datum *keys = palloc(FEEDBACK_AT_ONCE * sizeof *keys), *last = NULL;
    uint64 n;

    all->only_without_events = true;
    all->key_type = TEXTOID;
    do {
        query_feedback(all, sql, TEXTOID, last);
        SPITupleTable *table = SPI_tuptable;
        n = SPI_processed;
        MemoryContextReset(page);
        MemoryContext old = MemoryContextSwitchTo(page);
        for (uint64 i = 0; i < n; i++)
            keys[i] = CStringGetTextDatum(SPI_getvalue(table->vals[i], table->tupdesc, 1));
        SPI_freetuptable(table);
        if (n > 0) {
            rank_given(all, PointerGetDatum(construct_array(keys, (int)n, TEXTOID, -1, false, TYPALIGN_INT)));
            last = &keys[n - 1];
        }
        MemoryContextSwitchTo(old);
    } while (n == FEEDBACK_AT_ONCE);
    MemoryContextDelete(page);
}

/* ---- the call ---- */

static size_t lists_wanted(FunctionCallInfo fcinfo, int i, int of_profile)
{
    int k = !PG_ARGISNULL(i) ? PG_GETARG_INT32(i) : of_profile >= 0 ? of_profile : DEFAULT_K;

    if (k < 1 || k > MAX_RESULTS)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("k is %d, but must be between 1 and %d", k, MAX_RESULTS)));
    return (size_t)k;
}

static void check_users(ArrayType *users)
{
    Datum *keys;
    bool *nulls;
    int n;

    deconstruct_array(users, TEXTOID, -1, false, TYPALIGN_INT, &keys, &nulls, &n);
    for (int i = 0; i < n; i++) {
        if (nulls[i])
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("user %d of %d is null", i + 1, n)));
    }
    pfree(keys);
    pfree(nulls);
}

/* What keys of users are compared as: what recommend() takes them for. */
static Oid key_type(const Recommender *recommender)
{
    if (OidIsValid(recommender->table[TABLE_EVENTS]))
        return recommender->role[EVENT_USER].column[0].type;
    if (OidIsValid(recommender->table[TABLE_USERS]))
        return recommender->role[USER_ID].column[0].type;
    return TEXTOID;
}

static bool has_feedback(const Everybody *all)
{
    query_feedback(all,
                   psprintf("SELECT 1 FROM %s.aigc_feedback AS f WHERE %s AND $4 IS NULL LIMIT 1",
                            extension_schema(all->ask->fcinfo), feedback_of),
                   TEXTOID, NULL);
    bool has = SPI_processed > 0;
    SPI_freetuptable(SPI_tuptable);
    return has;
}

static Everybody *begin_everybody(FunctionCallInfo fcinfo, Rows rows)
{
    Everybody *all = palloc0(sizeof *all);
    Jsonb *profile = PG_ARGISNULL(3) ? jsonb_of("{}") : PG_GETARG_JSONB_P(3);

    all->rows = rows;
    all->ask = begin_ask(fcinfo, profile, PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)));
    if (all->ask->profile->user)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the profile of recommend_all() is for everybody, but names user \"%s\"",
                               all->ask->profile->user),
                        errhint("Name users with users => '{...}'.")));
    all->k = lists_wanted(fcinfo, 1, all->ask->profile->k);
    all->key_type = key_type(all->ask->recommender);
    all->most = Max(1, Min(USERS_AT_ONCE, ENTRIES_AT_ONCE / all->k));
    all->group = &all->groups[0];
    all->other = &all->groups[1];
    open_group(all, all->group);
    open_group(all, all->other);
    return all;
}

/* How many there will be at most, or about; 0: not known. How many users there are is for those to know who may see
 * all of them. */
static int64 users_expected(const Everybody *all, ArrayType *users)
{
    aigc_recommender_info info;

    if (users)
        return ArrayGetNItems(ARR_NDIM(users), ARR_DIMS(users));
    if (!has_privs_of_role(GetUserId(), all->ask->recommender->owner))
        return 0;
    aigc_recommender_describe(all->ask->use->model, &info);
    return info.n_users;
}

static void rank_all(Everybody *all, ArrayType *users)
{
    const Recommender *recommender = all->ask->recommender;
    bool has_events = OidIsValid(recommender->table[TABLE_EVENTS]);

    all->has_feedback = has_feedback(all);
    all->may_hide = may_hide_items(recommender);
    if (!users && !has_events && !all->has_feedback)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("recommender \"%s\" has no events that would tell who its users are", recommender->name),
                        errhint("Name users, for example users => ARRAY(SELECT id::text FROM people).")));
    hide_items(all);
    progress_phase(&all->progress, "ranking", users_expected(all, users));
    if (users)
        rank_given(all, PointerGetDatum(users));
    if (!users && has_events) {
        read_rows(all, everybody_sql(recommender), 0, NULL, NULL, take_events);
        rank_group(all);
    }
    if (!users && all->has_feedback)
        rank_by_feedback(all);
    finish_group(all, all->other);
}

SQL_FUNCTION(sql_recommend_all);

Datum sql_recommend_all(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);
    ArrayType *users = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);

    SPI_connect();
    int settings = NewGUCNestLevel();
    pin_formats();
    /* All rows of the cursors are fetched, not the first of them. */
    set_config_option("cursor_tuple_fraction", "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    if (users)
        check_users(users);
    Everybody *all = begin_everybody(fcinfo, rows);
    progress_start(&all->progress, "recommend_all", utf8_string(all->ask->recommender->name).data);
    Rights before = take_reader_rights(all->ask->recommender);
    rank_all(all, users);
    restore_rights(before);
    progress_end(&all->progress);
    end_ask(all->ask);
    AtEOXact_GUC(true, settings);
    SPI_finish();
    return (Datum)0;
}
