/*
 * recommend_read.c: a user's tables, read through SPI cursors into core. Values of any type come as text, numbers and
 * arrays, as the expressions of recommend_columns.c make them. Rows without a key are passed over, and of rows with the
 * same key the first counts; both are counted.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "progress.h"
#include "recommend_pg.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Rows that a cursor fetches at once. */
#define BATCH 4000

/* Up to this many events are read in an order that does not depend on how they lie on disk. */
#define MAX_SORTED_EVENTS 2000000

aigc_string key_string(const char *key)
{
    return (aigc_string){key, strlen(key)};
}

aigc_string utf8_string(const char *value)
{
    const char *utf8 = pg_server_to_any(value, strlen(value), PG_UTF8);

    return (aigc_string){utf8, strlen(utf8)};
}

static Datum row_datum(uint64 row, int column, bool *null)
{
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, null);
}

static double row_number(uint64 row, int column)
{
    bool null;
    Datum value = row_datum(row, column, &null);

    return null ? NAN : DatumGetFloat8(value);
}

/* ---- SQL ---- */

void append_columns(StringInfo sql, const ColumnList *columns)
{
    for (int i = 0; i < columns->n; i++)
        appendStringInfo(sql, ", %s", columns->column[i].sql);
}

char *items_sql(const Recommender *recommender, const char *marker_sql, bool of_keys)
{
    const Column *key = &recommender->role[ITEM_ID].column[0];
    const char *name = quote_identifier(key->name);
    StringInfoData sql;

    initStringInfo(&sql);
    appendStringInfo(&sql, "SELECT %s, %s", key->sql, marker_sql ? marker_sql : "NULL::pg_catalog.int8");
    for (int role = ITEM_TEXT; role <= ITEM_EMBEDDING; role++)
        append_columns(&sql, &recommender->role[role]);
    appendStringInfo(&sql, " FROM %s AS t", recommender->table_sql[TABLE_ITEMS]);
    if (of_keys)
        appendStringInfo(&sql, " WHERE %s %s ANY ($1::%s[])", name, equality_of(key), type_sql(key->type));
    appendStringInfo(&sql, " ORDER BY %s", order_sql("t", key));
    return sql.data;
}

/* ---- values ---- */

/* Texts of an array value, each appended to *list. */
static void append_texts(Datum array, aigc_string **list, size_t *n)
{
    Datum *elements;
    bool *nulls;
    int n_elements;

    deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n_elements);
    *list = *list ? repalloc(*list, (*n + n_elements + 1) * sizeof **list) : palloc((n_elements + 1) * sizeof **list);
    for (int i = 0; i < n_elements; i++) {
        if (!nulls[i])
            (*list)[(*n)++] = utf8_string(TextDatumGetCString(elements[i]));
    }
}

static aigc_attribute *append_attribute(const Column *column, aigc_attribute **list, size_t *n)
{
    *list = *list ? repalloc(*list, (*n + 1) * sizeof **list) : palloc(sizeof **list);
    aigc_attribute *attribute = &(*list)[(*n)++];
    memset(attribute, 0, sizeof *attribute);
    attribute->name = utf8_string(column->name);
    return attribute;
}

/* A pair of numbers; anything else in an array of numbers is no place and left out. */
static void append_place(const Column *column, Datum value, aigc_attribute **list, size_t *n)
{
    ArrayType *array = DatumGetArrayTypeP(value);

    if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != 2 || array_contains_nulls(array))
        return;
    const double *pair = (const double *)ARR_DATA_PTR(array);
    aigc_attribute *attribute = append_attribute(column, list, n);
    attribute->kind = AIGC_VALUE_POINT;
    attribute->latitude = pair[0];
    attribute->longitude = pair[1];
}

static void append_categories(const Column *column, Datum value, aigc_attribute **list, size_t *n)
{
    aigc_string *texts = NULL;
    size_t n_texts = 0;

    append_texts(value, &texts, &n_texts);
    for (size_t i = 0; i < n_texts; i++) {
        aigc_attribute *attribute = append_attribute(column, list, n);
        attribute->kind = AIGC_VALUE_TEXT;
        attribute->text = texts[i];
    }
}

void read_attributes(const ColumnList *columns, uint64 row, int first, aigc_attribute **list, size_t *n)
{
    for (int i = 0; i < columns->n; i++) {
        const Column *column = &columns->column[i];
        aigc_attribute *attribute;
        bool null;
        Datum value = row_datum(row, first + i, &null);

        if (null)
            continue;
        switch (column->kind) {
        case ATTRIBUTE_NUMBER:
            attribute = append_attribute(column, list, n);
            attribute->kind = AIGC_VALUE_NUMBER;
            attribute->number = DatumGetFloat8(value);
            break;
        case ATTRIBUTE_PLACE:
            append_place(column, value, list, n);
            break;
        case ATTRIBUTE_CATEGORIES:
            append_categories(column, value, list, n);
            break;
        case ATTRIBUTE_CATEGORY:
            attribute = append_attribute(column, list, n);
            attribute->kind = AIGC_VALUE_TEXT;
            attribute->text = utf8_string(TextDatumGetCString(value));
            break;
        }
    }
}

/* An embedding of the catalogue's size, or NULL for any other and for one with NaN or infinity. */
static const float *embedding_of(Datum value, int n_embedding)
{
    ArrayType *array = DatumGetArrayTypeP(value);

    if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != n_embedding || array_contains_nulls(array))
        return NULL;
    const float *numbers = (const float *)ARR_DATA_PTR(array);
    for (int i = 0; i < n_embedding; i++) {
        if (!isfinite(numbers[i]))
            return NULL;
    }
    return numbers;
}

/* Texts, then tags, attributes, time and embedding, in the order of their roles. */
bool read_item(const Recommender *recommender, uint64 row, int n_embedding, ItemRow *out)
{
    const ColumnList *role = recommender->role;
    aigc_string *texts = palloc((role[ITEM_TEXT].n + 1) * sizeof *texts), *tags = NULL;
    aigc_attribute *attributes = NULL;
    aigc_item *item = &out->item;
    int column = 3;
    bool null;

    memset(out, 0, sizeof *out);
    char *key = row_text(row, 1);
    if (!key)
        return false;
    Datum marker = row_datum(row, 2, &null);
    out->marker = null ? PG_INT64_MIN : DatumGetInt64(marker);
    item->key = key_string(key);
    for (int i = 0; i < role[ITEM_TEXT].n; i++) {
        char *value = row_text(row, column++);
        if (value)
            texts[item->n_texts++] = utf8_string(value);
    }
    item->texts = texts;
    for (int i = 0; i < role[ITEM_TAGS].n; i++) {
        Datum value = row_datum(row, column++, &null);
        if (!null)
            append_texts(value, &tags, &item->n_tags);
    }
    item->tags = tags;
    read_attributes(&role[ITEM_ATTRIBUTES], row, column, &attributes, &item->n_attributes);
    item->attributes = attributes;
    column += role[ITEM_ATTRIBUTES].n;
    item->time = role[ITEM_TIME].n ? row_number(row, column++) : NAN;
    if (role[ITEM_EMBEDDING].n && n_embedding > 0) {
        Datum value = row_datum(row, column, &null);
        item->embedding = null ? NULL : embedding_of(value, n_embedding);
    }
    return true;
}

int embedding_size(const Recommender *recommender)
{
    if (recommender->role[ITEM_EMBEDDING].n == 0)
        return 0;

    const Column *column = &recommender->role[ITEM_EMBEDDING].column[0];
    bool null;
    run_query(psprintf("SELECT pg_catalog.array_length(%s, 1) FROM %s WHERE %s IS NOT NULL LIMIT 1", column->sql,
                       recommender->table_sql[TABLE_ITEMS], quote_identifier(column->name)),
              0, NULL, NULL, NULL, true, 1);
    if (SPI_processed == 0)
        return 0;
    Datum size = row_datum(0, 1, &null);
    return null ? 0 : DatumGetInt32(size);
}

/* ---- cursors ---- */

typedef struct Reader {
    aigc_fit *fit;
    const Recommender *recommender;
    Progress *progress;
    ReadCounts *counts;
    int n_embedding;
    int64 marker;
    aigc_event *events; /* [BATCH] */
} Reader;

/* Puts a batch of SPI_tuptable's rows into the fit. */
typedef void (*BatchFunction)(Reader *reader);

static void check(aigc_status status, const aigc_error *error)
{
    if (status != AIGC_OK)
        raise_core_error(error, NULL);
}

/* Rows of a table by what the planner knows of it; 0 or less if it knows nothing. */
static double row_estimate(Oid table)
{
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
    double rows = HeapTupleIsValid(tuple) ? ((Form_pg_class)GETSTRUCT(tuple))->reltuples : 0;

    if (HeapTupleIsValid(tuple))
        ReleaseSysCache(tuple);
    return rows;
}

/* Reads all rows of a query, batch by batch, each in a memory context of its own. */
static void read_all(Reader *reader, RecommendTable table, const char *sql, BatchFunction batch)
{
    static const char *const phases[] = {"reading items", "reading events", "reading users"};
    MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "aigc rows", ALLOCSET_DEFAULT_SIZES);
    SPIPlanPtr plan = SPI_prepare_cursor(sql, 0, NULL, CURSOR_OPT_NO_SCROLL);
    int64 n = 0;

    if (!plan)
        elog(ERROR, "cannot prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
    int64 estimate = (int64)Max(row_estimate(reader->recommender->table[table]), 0);
    progress_phase(reader->progress, phases[table], estimate);
    Portal portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        SPI_cursor_fetch(portal, true, BATCH);
        if (SPI_processed == 0)
            break;
        MemoryContext old = MemoryContextSwitchTo(context);
        batch(reader);
        MemoryContextSwitchTo(old);
        MemoryContextReset(context);
        n += SPI_processed;
        SPI_freetuptable(SPI_tuptable);
        if (n > estimate)
            progress_total(reader->progress, 0);
        progress_update(reader->progress, n, NAN, 0);
    }
    reader->counts->rows[table] = n;
    SPI_cursor_close(portal);
    SPI_freeplan(plan);
    MemoryContextDelete(context);
}

/* Adds one item; of several with the same key the first counts. */
static void add_item(Reader *reader, const ItemRow *row)
{
    aigc_error error;

    if (aigc_fit_find_item(reader->fit, row->item.key) != AIGC_NO_ITEM) {
        reader->counts->duplicates++;
        return;
    }
    check(aigc_fit_add_items(reader->fit, &row->item, 1, &error), &error);
    reader->marker = Max(reader->marker, row->marker);
}

static void add_item_rows(Reader *reader)
{
    ItemRow row;

    for (uint64 i = 0; i < SPI_processed; i++) {
        if (read_item(reader->recommender, i, reader->n_embedding, &row))
            add_item(reader, &row);
        else
            reader->counts->null_keys++;
    }
}

void read_items_into(aigc_fit *fit, const Recommender *recommender, const char *marker_sql, int n_embedding,
                     Progress *progress, ReadCounts *counts, int64 *marker)
{
    Reader reader = {fit, recommender, progress, counts, n_embedding, PG_INT64_MIN, NULL};

    if (OidIsValid(recommender->table[TABLE_ITEMS]))
        read_all(&reader, TABLE_ITEMS, items_sql(recommender, marker_sql, false), add_item_rows);
    *marker = reader.marker;
}

static void add_user_rows(Reader *reader)
{
    for (uint64 i = 0; i < SPI_processed; i++) {
        aigc_attribute *attributes = NULL;
        aigc_user user = {.n_attributes = 0};
        aigc_error error;
        char *key = row_text(i, 1);

        if (!key) {
            reader->counts->null_keys++;
            continue;
        }
        read_attributes(&reader->recommender->role[USER_ATTRIBUTES], i, 2, &attributes, &user.n_attributes);
        user.key = key_string(key);
        user.attributes = attributes;
        aigc_status status = aigc_fit_add_users(reader->fit, &user, 1, &error);
        if (status == AIGC_E_ARGUMENT)
            reader->counts->duplicates++;
        else
            check(status, &error);
    }
}

void read_users_into(aigc_fit *fit, const Recommender *recommender, Progress *progress, ReadCounts *counts)
{
    Reader reader = {fit, recommender, progress, counts, 0, 0, NULL};
    StringInfoData sql;

    if (!OidIsValid(recommender->table[TABLE_USERS]))
        return;
    const Column *key = &recommender->role[USER_ID].column[0];
    initStringInfo(&sql);
    appendStringInfo(&sql, "SELECT %s", key->sql);
    append_columns(&sql, &recommender->role[USER_ATTRIBUTES]);
    appendStringInfo(&sql, " FROM %s AS t ORDER BY t.%s", recommender->table_sql[TABLE_USERS],
                     quote_identifier(key->name));
    read_all(&reader, TABLE_USERS, sql.data, add_user_rows);
}

/* An event's item by number, or AIGC_NO_ITEM: with a table of items only they count. */
static uint32_t event_item(Reader *reader, const char *key)
{
    uint32_t item;
    aigc_error error;

    if (OidIsValid(reader->recommender->table[TABLE_ITEMS]))
        return aigc_fit_find_item(reader->fit, key_string(key));
    check(aigc_fit_item(reader->fit, key_string(key), &item, &error), &error);
    return item;
}

static void add_event_rows(Reader *reader)
{
    size_t n = 0;
    aigc_error error;

    for (uint64 i = 0; i < SPI_processed; i++) {
        char *user = row_text(i, 1), *item = row_text(i, 2);
        aigc_event *event = &reader->events[n];
        bool null;

        if (!user || !item) {
            reader->counts->null_keys++;
            continue;
        }
        event->item = event_item(reader, item);
        if (event->item == AIGC_NO_ITEM) {
            reader->counts->unknown_events++;
            continue;
        }
        check(aigc_fit_user(reader->fit, key_string(user), &event->user, &error), &error);
        /* An event whose weight is not known is passed over, like one that is not a number. */
        Datum weight = row_datum(i, 3, &null);
        event->weight = null ? NAN : (float)DatumGetFloat8(weight);
        event->time = row_number(i, 4);
        n++;
    }
    check(aigc_fit_add_events(reader->fit, reader->events, n, &error), &error);
}

void read_events_into(aigc_fit *fit, const Recommender *recommender, Progress *progress, ReadCounts *counts)
{
    const ColumnList *role = recommender->role;
    Reader reader = {fit, recommender, progress, counts, 0, 0, NULL};
    StringInfoData sql;

    if (!OidIsValid(recommender->table[TABLE_EVENTS]))
        return;
    const Column *user = &role[EVENT_USER].column[0], *item = &role[EVENT_ITEM].column[0];
    reader.events = palloc(BATCH * sizeof *reader.events);
    initStringInfo(&sql);
    appendStringInfo(&sql, "SELECT %s, %s, %s, %s FROM %s AS t", user->sql, item->sql,
                     role[EVENT_WEIGHT].n ? role[EVENT_WEIGHT].column[0].sql : "1.0::pg_catalog.float8",
                     role[EVENT_TIME].n ? role[EVENT_TIME].column[0].sql : "NULL::pg_catalog.float8",
                     recommender->table_sql[TABLE_EVENTS]);
    if (row_estimate(recommender->table[TABLE_EVENTS]) <= MAX_SORTED_EVENTS)
        appendStringInfo(&sql, " ORDER BY %s, %s, 4, 3", order_sql("t", user), order_sql("t", item));
    read_all(&reader, TABLE_EVENTS, sql.data, add_event_rows);
}
