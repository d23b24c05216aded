/*
 * recommend_news.c: rows of the items' table that a model has not seen. recommend() looks for them at each call, so
 * that an item can be recommended as soon as it is there; the look must cost microseconds. How depends on the table:
 *
 *     all     few items: all keys are compared
 *     key     whole-number keys with an index: those above the highest that the model has seen
 *     time    an indexed item_time: those after the latest
 *     place   otherwise, in plain tables: those stored behind the last (PostgreSQL 14 and later)
 *     none    views and the like: only refresh_recommender() finds new rows
 *
 * What these miss (a row that takes a free place in the middle, a time in the past) the next refresh finds: it compares
 * all keys. Rows that are not visible yet may come to light behind others that were committed earlier, so the look
 * begins a little before the marker.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define FEW_ITEMS   2000     /* at most, for all keys to be compared */
#define KEY_MARGIN  64       /* keys before the marker that are looked at again */
#define TIME_MARGIN 10000000 /* microseconds, likewise */

static const char *const news_names[N_NEWS] = {"none", "all", "key", "time", "place"};

const char *news_name(News news)
{
    return news_names[news];
}

News news_of(const char *name)
{
    for (int news = 0; news < N_NEWS; news++) {
        if (strcmp(name, news_names[news]) == 0)
            return news;
    }
    return NEWS_NONE;
}

static bool is_btree(Oid index)
{
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
    bool found = HeapTupleIsValid(tuple) && ((Form_pg_class)GETSTRUCT(tuple))->relam == BTREE_AM_OID;

    if (HeapTupleIsValid(tuple))
        ReleaseSysCache(tuple);
    return found;
}

/* Whether a complete B-tree begins with the column. */
static bool has_index(Oid table, AttrNumber column)
{
    Relation relation = table_open(table, AccessShareLock);
    List *indexes = RelationGetIndexList(relation);
    ListCell *cell;
    bool found = false;

    foreach (cell, indexes) {
        HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
        if (!HeapTupleIsValid(tuple))
            continue;
        Form_pg_index index = (Form_pg_index)GETSTRUCT(tuple);
        bool partial = !heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
        if (index->indisvalid && !partial && index->indkey.values[0] == column && is_btree(lfirst_oid(cell)))
            found = true;
        ReleaseSysCache(tuple);
    }
    table_close(relation, AccessShareLock);
    return found;
}

static bool is_whole(Oid type)
{
    return type == INT2OID || type == INT4OID || type == INT8OID;
}

News news_of_table(const Recommender *recommender)
{
    Oid table = recommender->table[TABLE_ITEMS];
    const ColumnList *time = &recommender->role[ITEM_TIME];

    if (!OidIsValid(table) || !strchr("rp", get_rel_relkind(table)))
        return NEWS_NONE;
    const Column *key = &recommender->role[ITEM_ID].column[0];
    if (is_whole(key->type) && has_index(table, key->number))
        return NEWS_KEY;
    if (time->n && column_is_moment(&time->column[0]) && has_index(table, time->column[0].number))
        return NEWS_TIME;
#if PG_VERSION_NUM >= 140000
    if (get_rel_relkind(table) == RELKIND_RELATION)
        return NEWS_PLACE;
#endif
    return NEWS_NONE;
}

News choose_news(const Recommender *recommender, uint32 n_items)
{
    return n_items <= FEW_ITEMS && OidIsValid(recommender->table[TABLE_ITEMS]) ? NEWS_ALL : news_of_table(recommender);
}

char *marker_sql(const Recommender *recommender, News news)
{
    const ColumnList *role = recommender->role;

    switch (news) {
    case NEWS_KEY:
        return psprintf("%s::pg_catalog.int8", quote_identifier(role[ITEM_ID].column[0].name));
    case NEWS_TIME: {
        /* An infinite time is no marker. */
        const char *time = role[ITEM_TIME].column[0].sql;
        return psprintf("CASE WHEN pg_catalog.abs(%s) OPERATOR(pg_catalog.<) 1e12 THEN (%s OPERATOR(pg_catalog.*) "
                        "1e6)::pg_catalog.int8 END",
                        time, time);
    }
    case NEWS_PLACE:
        return "((ctid::pg_catalog.text::pg_catalog.point)[0]::pg_catalog.int8 OPERATOR(pg_catalog.<<) 16) "
               "OPERATOR(pg_catalog.|) (ctid::pg_catalog.text::pg_catalog.point)[1]::pg_catalog.int8";
    default:
        return NULL;
    }
}

/* The condition on rows that are behind the marker, with its value as $1. */
static char *condition(const Recommender *recommender, News news, int64 marker, Oid *type, Datum *value)
{
    const ColumnList *role = recommender->role;

    switch (news) {
    case NEWS_KEY:
        *type = INT8OID;
        *value = Int64GetDatum(marker > PG_INT64_MIN + KEY_MARGIN ? marker - KEY_MARGIN : marker);
        return psprintf("%s OPERATOR(pg_catalog.>) $1", quote_identifier(role[ITEM_ID].column[0].name));
    case NEWS_TIME:
        *type = FLOAT8OID;
        *value = Float8GetDatum(marker == PG_INT64_MIN ? 0 : (double)(marker - TIME_MARGIN) / 1e6);
        return psprintf("%s OPERATOR(pg_catalog.>) pg_catalog.to_timestamp($1)::%s",
                        quote_identifier(role[ITEM_TIME].column[0].name), type_sql(role[ITEM_TIME].column[0].type));
    case NEWS_PLACE:
        *type = TEXTOID;
        *value = CStringGetTextDatum(
            marker == PG_INT64_MIN ? "(0,0)" : psprintf("(%u,%u)", (uint32)(marker >> 16), (uint32)(marker & 0xffff)));
        return "ctid OPERATOR(pg_catalog.>) $1::pg_catalog.tid";
    default:
        *type = INT8OID;
        *value = Int64GetDatum(0);
        return "$1 IS NOT NULL";
    }
}

ArrayType *find_news(const Recommender *recommender, News news, const aigc_recommender *model, int limit, int64 *marker)
{
    const Column *key = &recommender->role[ITEM_ID].column[0];
    char *of_row = marker_sql(recommender, news);
    Oid type;
    Datum value, *keys;
    int n = 0;

    char *where = condition(recommender, news, *marker, &type, &value);
    run_query(psprintf("SELECT %s, %s FROM %s WHERE %s", key->sql, of_row ? of_row : "NULL::pg_catalog.int8",
                       recommender->table_sql[TABLE_ITEMS], where),
              1, &type, &value, NULL, true, 0);
    if (SPI_processed == 0)
        return NULL;
    keys = palloc(Min(SPI_processed, (uint64)limit) * sizeof *keys);
    for (uint64 row = 0; row < SPI_processed && n < limit; row++) {
        if (row % ROWS_PER_LOOK == 0)
            check_interrupts();
        char *found = row_text(row, 1);
        bool null;
        if (!found || aigc_recommender_find(model, key_string(found)) != AIGC_NO_ITEM)
            continue;
        keys[n++] = CStringGetTextDatum(found);
        Datum at = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2, &null);
        if (!null && DatumGetInt64(at) > *marker)
            *marker = DatumGetInt64(at);
    }
    SPI_freetuptable(SPI_tuptable);
    return n ? construct_array(keys, n, TEXTOID, -1, false, TYPALIGN_INT) : NULL;
}

static bool read_before(const aigc_item *items, size_t n, aigc_string key)
{
    /* Rows come ordered by key. */
    return n > 0 && items[n - 1].key.len == key.len && memcmp(items[n - 1].key.data, key.data, key.len) == 0;
}

/* Looks for a cancel while it works. An interrupt that ends nothing makes it begin again, but once: others could come
 * at short intervals for ever. */
void extend_recommender(const aigc_recommender *model, const aigc_item *items, size_t n_items, const aigc_event *events,
                        size_t n_events, void **image, size_t *size)
{
    aigc_error error;
    aigc_status status =
        aigc_recommender_extend(model, items, n_items, events, n_events, &InterruptPending, image, size, &error);

    if (status == AIGC_INTERRUPTED) {
        check_interrupts();
        status = aigc_recommender_extend(model, items, n_items, events, n_events, NULL, image, size, &error);
    }
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
}

void extend_model(const Recommender *recommender, const aigc_recommender *model, ArrayType *keys, void **image,
                  size_t *size)
{
    aigc_recommender_info info;
    size_t n = 0;

    aigc_recommender_describe(model, &info);
    run_query(items_sql(recommender, NULL, true), 1, (Oid[]){TEXTARRAYOID}, (Datum[]){PointerGetDatum(keys)}, NULL,
              true, 0);
    aigc_item *items = palloc_extended((SPI_processed + 1) * sizeof *items, MCXT_ALLOC_HUGE);
    for (uint64 row = 0; row < SPI_processed; row++) {
        ItemRow item;
        if (row % ROWS_PER_LOOK == 0)
            check_interrupts();
        if (read_item(recommender, row, (int)info.n_embedding, &item) && !read_before(items, n, item.item.key))
            items[n++] = item.item;
    }
    extend_recommender(model, items, n, NULL, 0, image, size);
    SPI_freetuptable(SPI_tuptable);
}
