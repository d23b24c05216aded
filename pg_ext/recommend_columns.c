/*
 * recommend_columns.c: the tables and columns that a recommender names, as they are today.
 *
 * A table is kept by its oid, so that it may be renamed or moved; a column by its name, so that a dump can be restored.
 * Both are looked up again at each use: what is gone gives an error that says so, and what a column's type cannot mean
 * is refused. Names reach SQL only by way of quote_identifier().
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "recommend_pg.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

const char *const table_argument[N_TABLES] = {"items", "events", "users"};

const RoleInfo role_info[N_ROLES] = {
    [ITEM_ID] = {"item_id", TABLE_ITEMS, false},
    [ITEM_TEXT] = {"item_text", TABLE_ITEMS, true},
    [ITEM_TAGS] = {"item_tags", TABLE_ITEMS, true},
    [ITEM_ATTRIBUTES] = {"item_attributes", TABLE_ITEMS, true},
    [ITEM_TIME] = {"item_time", TABLE_ITEMS, false},
    [ITEM_EMBEDDING] = {"item_embedding", TABLE_ITEMS, false},
    [EVENT_USER] = {"event_user", TABLE_EVENTS, false},
    [EVENT_ITEM] = {"event_item", TABLE_EVENTS, false},
    [EVENT_WEIGHT] = {"event_weight", TABLE_EVENTS, false},
    [EVENT_TIME] = {"event_time", TABLE_EVENTS, false},
    [USER_ID] = {"user_id", TABLE_USERS, false},
    [USER_ATTRIBUTES] = {"user_attributes", TABLE_USERS, true},
};

char *type_sql(Oid type)
{
    /* "bpchar", not "character", which would be of length 1. */
    return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

char *equality_of(const Column *column)
{
    TypeCacheEntry *entry = lookup_type_cache(column->type, TYPECACHE_EQ_OPR);

    if (!OidIsValid(entry->eq_opr))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("type %s of column \"%s\" has no equality operator",
                                                                    format_type_be(column->type), column->name)));
    HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for operator %u", entry->eq_opr);
    Form_pg_operator operator=(Form_pg_operator) GETSTRUCT(tuple);
    char *sql = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(operator->oprnamespace)),
                         NameStr(operator->oprname));
    ReleaseSysCache(tuple);
    return sql;
}

static bool is_number(Oid type)
{
    switch (getBaseType(type)) {
    case INT2OID:
    case INT4OID:
    case INT8OID:
    case FLOAT4OID:
    case FLOAT8OID:
    case NUMERICOID:
        return true;
    }
    return false;
}

static bool is_moment(Oid type)
{
    switch (getBaseType(type)) {
    case DATEOID:
    case TIMESTAMPOID:
    case TIMESTAMPTZOID:
        return true;
    }
    return false;
}

char *comparison_sql(const char *alias, const Column *column, const char *other_alias, const char *other_name,
                     Oid other_type)
{
    const char *name = quote_identifier(column->name);
    TYPCATEGORY category = TypeCategory(column->type);

    if (column->type == other_type)
        return psprintf("%s.%s %s %s.%s", alias, name, equality_of(column), other_alias, other_name);
    /* PostgreSQL compares whole numbers of different sizes, and kinds of text, so that an index serves. */
    if (category == TypeCategory(other_type) && (category == TYPCATEGORY_STRING || is_number(column->type)))
        return psprintf("%s.%s OPERATOR(pg_catalog.=) %s.%s", alias, name, other_alias, other_name);
    return psprintf("%s.%s::pg_catalog.text OPERATOR(pg_catalog.=) %s.%s::pg_catalog.text", alias, name, other_alias,
                    other_name);
}

bool column_is_moment(const Column *column)
{
    return is_moment(column->type);
}

/* Element type of an array, InvalidOid for anything else. */
static Oid element_of(Oid type)
{
    return get_element_type(getBaseType(type));
}

_Noreturn static void refuse_type(const Column *column, ColumnRole role, const char *wanted)
{
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("column \"%s\" has type %s, but %s must be %s", column->name, format_type_be(column->type),
                           role_info[role].argument, wanted)));
}

char *order_sql(const char *alias, const Column *column)
{
    const char *name = quote_identifier(column->name);

    if (!OidIsValid(lookup_type_cache(column->type, TYPECACHE_LT_OPR)->lt_opr))
        return psprintf("%s.%s::pg_catalog.text COLLATE pg_catalog.\"C\"", alias, name);
    if (OidIsValid(get_typcollation(column->type)))
        return psprintf("%s.%s COLLATE pg_catalog.\"C\"", alias, name);
    return psprintf("%s.%s", alias, name);
}

/* Seconds since 1970; a number is taken as that. */
static char *moment_sql(const Column *column, ColumnRole role, const char *name)
{
    if (is_moment(column->type))
        return psprintf("pg_catalog.date_part('epoch', %s::pg_catalog.timestamptz)", name);
    if (is_number(column->type))
        return psprintf("%s::pg_catalog.float8", name);
    refuse_type(column, role, "a timestamp, a date or a number of seconds");
}

static char *weight_sql(const Column *column, const char *name)
{
    if (is_number(column->type))
        return psprintf("%s::pg_catalog.float8", name);
    if (getBaseType(column->type) == BOOLOID)
        return psprintf("%s::pg_catalog.int4::pg_catalog.float8", name);
    if (getBaseType(column->type) == INTERVALOID)
        return psprintf("pg_catalog.date_part('epoch', %s)", name);
    refuse_type(column, EVENT_WEIGHT, "a number, a boolean or an interval");
}

/* Tags as text[]: an array, the elements of a JSON array, or a text cut at commas, semicolons and bars. */
static char *tags_sql(const Column *column, const char *name)
{
    Oid base = getBaseType(column->type);

    if (OidIsValid(element_of(base)))
        return psprintf("%s::pg_catalog.text[]", name);
    if (base == JSONBOID || base == JSONOID)
        return psprintf("CASE pg_catalog.jsonb_typeof(%s::pg_catalog.jsonb) WHEN 'array' THEN "
                        "ARRAY(SELECT pg_catalog.jsonb_array_elements_text(%s::pg_catalog.jsonb)) END",
                        name, name);
    return psprintf("pg_catalog.regexp_split_to_array(%s::pg_catalog.text, '\\s*[,;|]\\s*')", name);
}

/* An array of numbers, or a type with a cast of its own to one: pgvector's vector. Anything has a cast by way of text.
 */
static char *embedding_sql(const Column *column, const char *name)
{
    Oid base = getBaseType(column->type), element = element_of(base), function;
    bool is_array = OidIsValid(element) && is_number(element);

    if (!is_array && find_coercion_pathway(FLOAT4ARRAYOID, base, COERCION_EXPLICIT, &function) != COERCION_PATH_FUNC)
        refuse_type(column, ITEM_EMBEDDING, "an array of numbers or a vector");
    return psprintf("%s::pg_catalog.float4[]", name);
}

/* A point is (longitude, latitude), as in the extension earthdistance; a pair of numbers is latitude, longitude. */
static char *attribute_sql(Column *column, const char *name)
{
    Oid base = getBaseType(column->type);
    Oid element = element_of(base);

    if (base == POINTOID) {
        column->kind = ATTRIBUTE_PLACE;
        return psprintf("ARRAY[%s[1], %s[0]]::pg_catalog.float8[]", name, name);
    }
    if (OidIsValid(element) && is_number(element)) {
        column->kind = ATTRIBUTE_PLACE;
        return psprintf("%s::pg_catalog.float8[]", name);
    }
    if (OidIsValid(element)) {
        column->kind = ATTRIBUTE_CATEGORIES;
        return psprintf("%s::pg_catalog.text[]", name);
    }
    if (is_number(base)) {
        column->kind = ATTRIBUTE_NUMBER;
        return psprintf("%s::pg_catalog.float8", name);
    }
    if (is_moment(base)) {
        column->kind = ATTRIBUTE_NUMBER;
        return moment_sql(column, ITEM_ATTRIBUTES, name);
    }
    column->kind = ATTRIBUTE_CATEGORY;
    return psprintf("%s::pg_catalog.text", name);
}

static void build_sql(Column *column, ColumnRole role)
{
    const char *name = quote_identifier(column->name);

    switch (role) {
    case ITEM_TAGS:
        column->sql = tags_sql(column, name);
        break;
    case ITEM_ATTRIBUTES:
    case USER_ATTRIBUTES:
        column->sql = attribute_sql(column, name);
        break;
    case ITEM_TIME:
    case EVENT_TIME:
        column->sql = moment_sql(column, role, name);
        break;
    case EVENT_WEIGHT:
        column->sql = weight_sql(column, name);
        break;
    case ITEM_EMBEDDING:
        column->sql = embedding_sql(column, name);
        break;
    default:
        column->sql = psprintf("%s::pg_catalog.text", name);
    }
}

static void resolve_column(const Recommender *recommender, ColumnRole role, Column *column)
{
    Oid table = recommender->table[role_info[role].table];
    HeapTuple tuple = SearchSysCacheAttName(table, column->name);

    /* System columns are not the user's. */
    if (!HeapTupleIsValid(tuple) || ((Form_pg_attribute)GETSTRUCT(tuple))->attnum <= 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("table \"%s\" has no column \"%s\"", get_rel_name(table), column->name),
                        errdetail("Recommender \"%s\" uses it as %s.", recommender->name, role_info[role].argument),
                        recommender->stored
                            ? errhint("If the column was renamed or dropped, drop the recommender and create it again.")
                            : 0));
    Form_pg_attribute attribute = (Form_pg_attribute)GETSTRUCT(tuple);
    column->number = attribute->attnum;
    column->type = attribute->atttypid;
    ReleaseSysCache(tuple);
    build_sql(column, role);
    if (role == ITEM_ID || role == EVENT_USER || role == EVENT_ITEM || role == USER_ID)
        equality_of(column);
}

static void resolve_table(Recommender *recommender, RecommendTable which)
{
    Oid table = recommender->table[which];
    char *name = get_rel_name(table);

    if (!name)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("the table that recommender \"%s\" uses as %s no longer exists", recommender->name,
                               table_argument[which]),
                        errhint("Drop the recommender, or drop it and create it again with another table.")));
    recommender->table_sql[which] = quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), name);
}

void resolve_columns(Recommender *recommender)
{
    for (int which = 0; which < N_TABLES; which++) {
        if (OidIsValid(recommender->table[which]))
            resolve_table(recommender, which);
    }
    for (int role = 0; role < N_ROLES; role++) {
        for (int i = 0; i < recommender->role[role].n; i++)
            resolve_column(recommender, role, &recommender->role[role].column[i]);
    }
}

static bool may_read(Oid table, AttrNumber column, Oid role)
{
    return pg_class_aclcheck(table, role, ACL_SELECT) == ACLCHECK_OK ||
           pg_attribute_aclcheck(table, column, role, ACL_SELECT) == ACLCHECK_OK;
}

void check_column_rights(const Recommender *recommender)
{
    for (int role = 0; role < N_ROLES; role++) {
        Oid table = recommender->table[role_info[role].table];
        for (int i = 0; i < recommender->role[role].n; i++) {
            if (!may_read(table, recommender->role[role].column[i].number, GetUserId()))
                aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(table)), get_rel_name(table));
        }
    }
}

bool may_read_keys(const Recommender *recommender, Oid role)
{
    ColumnRole keys = OidIsValid(recommender->table[TABLE_ITEMS]) ? ITEM_ID : EVENT_ITEM;
    Oid table = recommender->table[role_info[keys].table];
    const char *name = recommender->role[keys].column[0].name;

    if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
        return false;
    AttrNumber number = get_attnum(table, name);
    return number != InvalidAttrNumber && may_read(table, number, role);
}
