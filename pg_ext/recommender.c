/*
 * recommender.c: the catalogue of recommenders: create_recommender(), drop_recommender(), recommenders(), and how the
 * other functions find the one that is meant. A row of aigc_recommender says which tables and columns it reads; the row
 * of aigc_recommender_model with its name, if there is one, which model it has.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#define MAX_NAME 200 /* bytes */

/* The one that serves when none is named and several are in reach. */
#define DEFAULT_NAME "default"

const char *extension_schema(FunctionCallInfo fcinfo)
{
    return quote_identifier(get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid)));
}

Datum role_name(Oid role)
{
    return DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(role, false)));
}

/* ---- create ---- */

/* Arguments of create_recommender(), in their order: the name, then each table and the columns of it. */
enum {
    ARG_NAME,
    ARG_ITEMS,
    ARG_ITEM_ID,
    ARG_EVENTS = ARG_ITEM_ID + (EVENT_USER - ITEM_ID) + 0,
    ARG_EVENT_USER,
    ARG_USERS = ARG_EVENT_USER + (USER_ID - EVENT_USER),
    ARG_USER_ID,
    ARG_OPTIONS = ARG_USER_ID + (N_ROLES - USER_ID),
    N_ARGS
};

static const int table_arg[N_TABLES] = {ARG_ITEMS, ARG_EVENTS, ARG_USERS};

static int role_arg(ColumnRole role)
{
    static const int first_arg[N_TABLES] = {ARG_ITEM_ID, ARG_EVENT_USER, ARG_USER_ID};
    static const ColumnRole first_role[N_TABLES] = {ITEM_ID, EVENT_USER, USER_ID};
    RecommendTable table = role_info[role].table;

    return first_arg[table] + (int)(role - first_role[table]);
}

static void add_column(ColumnList *list, const char *name)
{
    list->column = list->n ? repalloc(list->column, (list->n + 1) * sizeof(Column)) : palloc(sizeof(Column));
    memset(&list->column[list->n], 0, sizeof(Column));
    list->column[list->n++].name = pstrdup(name);
}

/* Columns from a text or text[] value. */
static void read_columns(Recommender *recommender, ColumnRole role, Datum value)
{
    Datum *names;
    bool *nulls;
    int n;

    if (!role_info[role].list) {
        add_column(&recommender->role[role], TextDatumGetCString(value));
        return;
    }
    deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
    for (int i = 0; i < n; i++) {
        if (nulls[i])
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("column %d of %s is null", i + 1, role_info[role].argument)));
        add_column(&recommender->role[role], TextDatumGetCString(names[i]));
    }
}

static void check_table(Oid table, const char *argument)
{
    char kind = get_rel_relkind(table);

    if (kind == '\0')
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", table)));
    if (!strchr("rpvmf", kind))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" cannot be used as %s, since it is not a table or view", get_rel_name(table),
                               argument)));
    if (get_rel_persistence(table) == RELPERSISTENCE_TEMP)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("\"%s\" cannot be used as %s, since other sessions cannot see a temporary table",
                               get_rel_name(table), argument)));
}

/* A table's key is the column of its primary key unless it is named. */
static void default_key(Recommender *recommender, ColumnRole role)
{
    Oid table = recommender->table[role_info[role].table], constraint;

    if (recommender->role[role].n > 0)
        return;
    Bitmapset *key = get_primary_key_attnos(table, false, &constraint);
    if (bms_num_members(key) != 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s must be given, since table \"%s\" has no primary key of one column",
                               role_info[role].argument, get_rel_name(table))));
    int number = bms_singleton_member(key) + FirstLowInvalidHeapAttributeNumber;
    add_column(&recommender->role[role], get_attname(table, (AttrNumber)number, false));
}

static void require_column(const Recommender *recommender, ColumnRole role)
{
    if (recommender->role[role].n == 0)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("%s must be given with %s", role_info[role].argument, table_argument[role_info[role].table])));
}

static void check_name(const char *name)
{
    if (!*name || strlen(name) > MAX_NAME)
        ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
                        errmsg("a recommender's name has 1 to %d bytes, not %zu", MAX_NAME, strlen(name))));
}

static void check_definition(Recommender *recommender)
{
    check_name(recommender->name);
    if (!OidIsValid(recommender->table[TABLE_ITEMS]) && !OidIsValid(recommender->table[TABLE_EVENTS]))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a recommender needs items or events"),
                        errhint("Name at least one table, for example items => 'articles'.")));
    for (int role = 0; role < N_ROLES; role++) {
        RecommendTable table = role_info[role].table;
        if (recommender->role[role].n > 0 && !OidIsValid(recommender->table[table]))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("%s is given without %s", role_info[role].argument, table_argument[table])));
    }
    for (int table = 0; table < N_TABLES; table++) {
        if (OidIsValid(recommender->table[table]))
            check_table(recommender->table[table], table_argument[table]);
    }
    if (OidIsValid(recommender->table[TABLE_ITEMS]))
        default_key(recommender, ITEM_ID);
    if (OidIsValid(recommender->table[TABLE_USERS]))
        default_key(recommender, USER_ID);
    if (OidIsValid(recommender->table[TABLE_EVENTS])) {
        require_column(recommender, EVENT_USER);
        require_column(recommender, EVENT_ITEM);
    }
    resolve_columns(recommender);
    check_column_rights(recommender);
}

static Recommender *read_arguments(FunctionCallInfo fcinfo)
{
    Recommender *recommender = palloc0(sizeof *recommender);

    if (PG_ARGISNULL(ARG_NAME))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a recommender's name must not be null")));
    recommender->name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_NAME));
    recommender->owner = GetUserId();
    for (int table = 0; table < N_TABLES; table++)
        recommender->table[table] = PG_ARGISNULL(table_arg[table]) ? InvalidOid : PG_GETARG_OID(table_arg[table]);
    for (int role = 0; role < N_ROLES; role++) {
        if (!PG_ARGISNULL(role_arg(role)))
            read_columns(recommender, role, PG_GETARG_DATUM(role_arg(role)));
    }
    recommender->options = PG_ARGISNULL(ARG_OPTIONS) ? jsonb_of("{}") : PG_GETARG_JSONB_P(ARG_OPTIONS);
    fit_options(recommender);
    return recommender;
}

/* The column names of a role as a value of its column in aigc_recommender. */
static Datum role_value(const ColumnList *list, bool as_array, char *null)
{
    Datum *names = palloc(Max(list->n, 1) * sizeof *names);

    for (int i = 0; i < list->n; i++)
        names[i] = CStringGetTextDatum(list->column[i].name);
    *null = ' ';
    if (as_array)
        return PointerGetDatum(construct_array(names, list->n, TEXTOID, -1, false, TYPALIGN_INT));
    if (list->n == 0)
        *null = 'n';
    return list->n ? names[0] : (Datum)0;
}

/* What was said about the items of a recommender of that name which is no more. */
static void delete_feedback(FunctionCallInfo fcinfo, const char *name)
{
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(name)};

    run_query(
        psprintf("DELETE FROM %s.aigc_feedback WHERE recommender OPERATOR(pg_catalog.=) $1", extension_schema(fcinfo)),
        1, types, values, NULL, false, 0);
}

static void insert_definition(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Oid types[N_ARGS + 1];
    Datum values[N_ARGS + 1];
    char nulls[N_ARGS + 1];
    StringInfoData sql;

    types[ARG_NAME] = TEXTOID;
    values[ARG_NAME] = CStringGetTextDatum(recommender->name);
    nulls[ARG_NAME] = ' ';
    for (int table = 0; table < N_TABLES; table++) {
        types[table_arg[table]] = REGCLASSOID;
        values[table_arg[table]] = ObjectIdGetDatum(recommender->table[table]);
        nulls[table_arg[table]] = OidIsValid(recommender->table[table]) ? ' ' : 'n';
    }
    for (int role = 0; role < N_ROLES; role++) {
        int arg = role_arg(role);
        types[arg] = role_info[role].list ? TEXTARRAYOID : TEXTOID;
        values[arg] = role_value(&recommender->role[role], role_info[role].list, &nulls[arg]);
    }
    types[ARG_OPTIONS] = JSONBOID;
    values[ARG_OPTIONS] = JsonbPGetDatum(recommender->options);
    nulls[ARG_OPTIONS] = ' ';
    types[N_ARGS] = NAMEOID;
    values[N_ARGS] = role_name(recommender->owner);
    nulls[N_ARGS] = ' ';

    initStringInfo(&sql);
    appendStringInfo(&sql,
                     "INSERT INTO %s.aigc_recommender (name, items, item_id, item_text, item_tags, item_attributes, "
                     "item_time, item_embedding, events, event_user, event_item, event_weight, event_time, users, "
                     "user_id, user_attributes, options, owner) VALUES (",
                     extension_schema(fcinfo));
    for (int i = 0; i <= N_ARGS; i++)
        appendStringInfo(&sql, "%s$%d", i ? ", " : "", i + 1);
    appendStringInfoString(&sql, ") ON CONFLICT DO NOTHING");
    run_query(sql.data, N_ARGS + 1, types, values, nulls, false, 0);
    if (SPI_processed == 0)
        ereport(ERROR,
                (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("recommender \"%s\" already exists", recommender->name)));
}

SQL_FUNCTION(sql_create_recommender);

Datum sql_create_recommender(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("create_recommender()");
    SPI_connect();
    Recommender *recommender = read_arguments(fcinfo);
    check_definition(recommender);
    Rights before = take_catalogue_rights(fcinfo);
    insert_definition(fcinfo, recommender);
    delete_feedback(fcinfo, recommender->name);
    restore_rights(before);
    SPI_finish();
    PG_RETURN_VOID();
}

/* ---- find ---- */

/* Columns of the query below. */
enum {
    COLUMN_NAME = 1,
    COLUMN_OWNER,
    COLUMN_MODEL,
    COLUMN_BYTES,
    COLUMN_ITEMS,
    COLUMN_NEWS,
    COLUMN_MARKER,
    COLUMN_REFRESHED,
    COLUMN_FITTED,
    COLUMN_SUMMARY,
    COLUMN_OPTIONS,
    COLUMN_TABLES,
    COLUMN_ROLES = COLUMN_TABLES + N_TABLES
};

static const char definition_sql[] =
    "SELECT r.name, r.owner, m.id, m.bytes, m.items, m.news, m.marker, m.refreshed, m.fitted, m.summary, r.options, "
    "r.items, "
    "r.events, r.users, "
    "r.item_id, r.item_text, r.item_tags, r.item_attributes, r.item_time, r.item_embedding, r.event_user, "
    "r.event_item, r.event_weight, r.event_time, r.user_id, r.user_attributes "
    "FROM %s.aigc_recommender AS r LEFT JOIN %s.aigc_recommender_model AS m "
    "ON m.recommender OPERATOR(pg_catalog.=) r.name ";

static Datum value_at(uint64 row, int column, bool *null)
{
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, null);
}

static Recommender *recommender_of_row(uint64 row)
{
    Recommender *recommender = palloc0(sizeof *recommender);
    bool null;

    recommender->stored = true;
    recommender->name = row_text(row, COLUMN_NAME);
    recommender->owner_name = row_text(row, COLUMN_OWNER);
    recommender->owner = get_role_oid(recommender->owner_name, true);
    Datum model = value_at(row, COLUMN_MODEL, &null);
    recommender->has_model = !null;
    if (recommender->has_model) {
        recommender->model = DatumGetInt64(model);
        recommender->model_bytes = DatumGetInt64(value_at(row, COLUMN_BYTES, &null));
        recommender->n_items = (uint32)DatumGetInt64(value_at(row, COLUMN_ITEMS, &null));
        recommender->news = news_of(row_text(row, COLUMN_NEWS));
        recommender->marker = DatumGetInt64(value_at(row, COLUMN_MARKER, &null));
        recommender->refreshed = DatumGetTimestampTz(value_at(row, COLUMN_REFRESHED, &null));
        recommender->fitted = DatumGetTimestampTz(value_at(row, COLUMN_FITTED, &null));
        recommender->summary = DatumGetJsonbPCopy(value_at(row, COLUMN_SUMMARY, &null));
    }
    recommender->options = DatumGetJsonbPCopy(value_at(row, COLUMN_OPTIONS, &null));
    for (int table = 0; table < N_TABLES; table++) {
        Datum value = value_at(row, COLUMN_TABLES + table, &null);
        recommender->table[table] = null ? InvalidOid : DatumGetObjectId(value);
    }
    for (int role = 0; role < N_ROLES; role++) {
        Datum value = value_at(row, COLUMN_ROLES + role, &null);
        if (!null)
            read_columns(recommender, role, value);
    }
    return recommender;
}

/* The definitions with that name, or for NULL all of them, as a list. */
static List *read_definitions(FunctionCallInfo fcinfo, const char *name)
{
    const char *schema = extension_schema(fcinfo);
    char *sql = psprintf(definition_sql, schema, schema);
    List *list = NIL;

    Rights before = take_catalogue_rights(fcinfo);
    if (name) {
        Oid types[] = {TEXTOID};
        Datum values[] = {CStringGetTextDatum(name)};
        run_query(psprintf("%sWHERE r.name OPERATOR(pg_catalog.=) $1", sql), 1, types, values, NULL, true, 0);
    } else {
        run_query(psprintf("%sORDER BY r.name", sql), 0, NULL, NULL, NULL, true, 0);
    }
    restore_rights(before);
    for (uint64 row = 0; row < SPI_processed; row++)
        list = lappend(list, recommender_of_row(row));
    SPI_freetuptable(SPI_tuptable);
    return list;
}

static bool has_owner_rights(const Recommender *recommender)
{
    return superuser() || (OidIsValid(recommender->owner) && has_privs_of_role(GetUserId(), recommender->owner));
}

static List *only_in_reach(List *all)
{
    List *list = NIL;
    ListCell *cell;

    foreach (cell, all) {
        if (may_read_keys(lfirst(cell), GetUserId()))
            list = lappend(list, lfirst(cell));
    }
    return list;
}

static bool owns_database(Oid role)
{
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(DatabaseRelationId, MyDatabaseId, role);
#else
    return pg_database_ownercheck(MyDatabaseId, role);
#endif
}

/*
 * Whether the recommender may serve those who name none although there are others. Anybody may call theirs "default",
 * and a view of theirs runs its functions with the rights of whoever asks: where other roles have recommenders in
 * reach, too, it has to be a superuser's, the database owner's or one's own.
 */
static bool may_be_default(const Recommender *recommender, List *others)
{
    ListCell *cell;
    bool alone = true;

    foreach (cell, others)
        alone &= strcmp(((Recommender *)lfirst(cell))->owner_name, recommender->owner_name) == 0;
    return alone ||
           (OidIsValid(recommender->owner) && (has_privs_of_role(GetUserId(), recommender->owner) ||
                                               superuser_arg(recommender->owner) || owns_database(recommender->owner)));
}

/* The recommender that is meant when none is named. */
static Recommender *choose_recommender(FunctionCallInfo fcinfo)
{
    List *list = only_in_reach(read_definitions(fcinfo, NULL));
    StringInfoData names;
    ListCell *cell;

    if (list_length(list) == 1)
        return linitial(list);
    if (list == NIL)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no recommender that you could use"),
                        errhint("Make one with create_recommender(), for example SELECT create_recommender('default', "
                                "items => 'articles', item_text => '{title}').")));
    initStringInfo(&names);
    foreach (cell, list) {
        Recommender *recommender = lfirst(cell);
        if (strcmp(recommender->name, DEFAULT_NAME) == 0 && may_be_default(recommender, list))
            return recommender;
        appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", recommender->name);
    }
    ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_PARAMETER), errmsg("there is more than one recommender: name one"),
                    errdetail("There are %s.", names.data),
                    errhint("A recommender called \"" DEFAULT_NAME "\" serves when none is named.")));
}

Recommender *find_recommender(FunctionCallInfo fcinfo, const char *name)
{
    Recommender *recommender;

    if (name) {
        List *list = read_definitions(fcinfo, name);
        if (list == NIL)
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("recommender \"%s\" does not exist", name),
                            errhint("SELECT name FROM recommenders() lists those in reach.")));
        recommender = linitial(list);
    } else {
        recommender = choose_recommender(fcinfo);
    }
    if (!OidIsValid(recommender->owner))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("role \"%s\", which owns recommender \"%s\", does not exist", recommender->owner_name,
                               recommender->name),
                        errhint("Create the role, or let a superuser drop the recommender and create it again.")));
    resolve_columns(recommender);
    return recommender;
}

void check_recommender_owner(const Recommender *recommender)
{
    if (!has_owner_rights(recommender))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("must be owner of recommender \"%s\"", recommender->name)));
}

/* ---- drop ---- */

SQL_FUNCTION(sql_drop_recommender);

Datum sql_drop_recommender(PG_FUNCTION_ARGS)
{
    if (PG_ARGISNULL(0))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a recommender's name must not be null")));

    PreventCommandIfReadOnly("drop_recommender()");
    char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
    bool if_exists = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);

    SPI_connect();
    List *list = read_definitions(fcinfo, name);
    if (list != NIL) {
        Oid types[] = {TEXTOID};
        Datum values[] = {CStringGetTextDatum(name)};
        check_recommender_owner(linitial(list));
        Rights before = take_catalogue_rights(fcinfo);
        run_query(
            psprintf("DELETE FROM %s.aigc_recommender WHERE name OPERATOR(pg_catalog.=) $1", extension_schema(fcinfo)),
            1, types, values, NULL, false, 0);
        delete_feedback(fcinfo, name);
        restore_rights(before);
    } else {
        ereport(if_exists ? NOTICE : ERROR,
                (errcode(ERRCODE_UNDEFINED_OBJECT),
                 errmsg("recommender \"%s\" does not exist%s", name, if_exists ? ", skipping" : "")));
    }
    SPI_finish();
    PG_RETURN_VOID();
}

/* ---- list ---- */

/* What keeps the recommender from being used, or NULL: the message of the error that using it would raise. */
static char *fault_of(Recommender *recommender)
{
    MemoryContext context = CurrentMemoryContext;
    char *volatile message = NULL;

    if (!OidIsValid(recommender->owner))
        return psprintf("its owner, role \"%s\", does not exist", recommender->owner_name);
    PG_TRY();
    {
        resolve_columns(recommender);
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        ErrorData *error = CopyErrorData();
        int class = ERRCODE_TO_CATEGORY(error->sqlerrcode);
        if (class != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
            PG_RE_THROW();
        FlushErrorState();
        message = error->message;
    }
    PG_END_TRY();
    if (!message && !recommender->has_model)
        return "not refreshed yet";
    return message;
}

static void put_recommender(Rows *rows, Recommender *recommender)
{
    Datum values[9];
    bool nulls[9] = {false};
    char *fault = fault_of(recommender);

    values[0] = CStringGetTextDatum(recommender->name);
    values[1] = DirectFunctionCall1(namein, CStringGetDatum(recommender->owner_name));
    for (int table = 0; table < N_TABLES; table++) {
        values[2 + table] = ObjectIdGetDatum(recommender->table[table]);
        nulls[2 + table] = !OidIsValid(recommender->table[table]);
    }
    values[5] = TimestampTzGetDatum(recommender->refreshed);
    values[6] = Int64GetDatum(recommender->model_bytes);
    values[7] = PointerGetDatum(recommender->summary);
    nulls[5] = !recommender->has_model;
    /* How many rows there are is for those who may see them all. */
    nulls[6] = nulls[7] = !recommender->has_model || !has_owner_rights(recommender);
    values[8] = fault ? CStringGetTextDatum(fault) : (Datum)0;
    nulls[8] = !fault;
    tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

SQL_FUNCTION(sql_recommenders);

Datum sql_recommenders(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);
    ListCell *cell;

    SPI_connect();
    foreach (cell, read_definitions(fcinfo, NULL)) {
        Recommender *recommender = lfirst(cell);
        if (has_owner_rights(recommender) || may_read_keys(recommender, GetUserId()))
            put_recommender(&rows, recommender);
    }
    SPI_finish();
    return (Datum)0;
}
