/*
 * recommend_ranking.c: from a profile and the caller's view of the tables to ranked items.
 *
 * The model has learned from every row that its owner may read. What it says to somebody must not tell of rows that
 * this caller may not see, so everything of the question is read with the caller's rights: the person's events, their
 * row among the users, and whether each item that is named in the profile or about to be recommended is there. An item
 * that is hidden is treated like one that does not exist, before core compares it with others.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#define MORE_LOOK 8    /* items whose visibility is asked at first, besides those that are wanted: some may be gone */
#define MAX_LOOK  8192 /* at once */

double seconds_of(TimestampTz moment)
{
    return (double)moment / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double)SECS_PER_DAY;
}

char *item_key(const Ask *ask, uint32_t item)
{
    aigc_string key = {"", 0};

    aigc_recommender_key(ask->use->model, item, &key);
    return pnstrdup(key.data, key.len);
}

/* ---- visible items ---- */

/* SQL that gives the keys, among those in $1 (text[]), of items that are there. */
static char *visible_sql(const Recommender *recommender)
{
    bool has_items = OidIsValid(recommender->table[TABLE_ITEMS]);
    const Column *key = &recommender->role[has_items ? ITEM_ID : EVENT_ITEM].column[0];
    const char *name = quote_identifier(key->name), *equals = equality_of(key), *type = type_sql(key->type);

    if (has_items)
        return psprintf("SELECT %s FROM %s WHERE %s %s ANY ($1::%s[])", key->sql, recommender->table_sql[TABLE_ITEMS],
                        name, equals, type);
    return psprintf("SELECT k.key::pg_catalog.text FROM pg_catalog.unnest($1::%s[]) AS k (key) WHERE EXISTS (SELECT "
                    "FROM %s AS e WHERE e.%s %s k.key)",
                    type, recommender->table_sql[TABLE_EVENTS], name, equals);
}

static Datum text_array(char **keys, size_t n)
{
    Datum *elements = palloc_extended((n + 1) * sizeof *elements, MCXT_ALLOC_HUGE);

    for (size_t i = 0; i < n; i++)
        elements[i] = CStringGetTextDatum(keys[i]);
    return PointerGetDatum(construct_array(elements, (int)n, TEXTOID, -1, false, TYPALIGN_INT));
}

void visible_keys(const Recommender *recommender, const KeyList *keys)
{
    run_query(visible_sql(recommender), 1, (Oid[]){TEXTARRAYOID}, (Datum[]){text_array(keys->keys, keys->n)}, NULL,
              true, 0);
}

static int compare_items(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Sorted and each once, although tables without a primary key may have an item twice. */
uint32_t *visible_items(Ask *ask, const KeyList *keys, size_t *n)
{
    *n = 0;
    if (keys->n == 0)
        return palloc(sizeof(uint32_t));
    visible_keys(ask->recommender, keys);
    uint32_t *items = palloc_extended((SPI_processed + 1) * sizeof *items, MCXT_ALLOC_HUGE);
    for (uint64 row = 0; row < SPI_processed; row++) {
        char *key = row_text(row, 1);
        uint32_t item = key ? aigc_recommender_find(ask->use->model, key_string(key)) : AIGC_NO_ITEM;
        if (item != AIGC_NO_ITEM)
            items[(*n)++] = item;
    }
    SPI_freetuptable(SPI_tuptable);
    qsort(items, *n, sizeof *items, compare_items);
    size_t n_unique = 0;
    for (size_t i = 0; i < *n; i++) {
        if (i == 0 || items[i] != items[i - 1])
            items[n_unique++] = items[i];
    }
    *n = n_unique;
    return items;
}

/* Takes those of the items out of the pool that the caller may not see. */
static void hide_invisible(Ask *ask, const uint32_t *items, size_t n_items)
{
    KeyList keys = {palloc((n_items + 1) * sizeof(char *)), (int)n_items};
    size_t n_visible;

    for (size_t i = 0; i < n_items; i++)
        keys.keys[i] = item_key(ask, items[i]);
    uint32_t *visible = visible_items(ask, &keys, &n_visible);
    for (size_t i = 0; i < n_items; i++) {
        if (!bsearch(&items[i], visible, n_visible, sizeof *visible, compare_items))
            aigc_ranking_hide(ask->use->ranking, items[i]);
    }
}

/* ---- what the person did ---- */

static void add_key(KeyList *list, char *key)
{
    list->keys = list->n ? repalloc_huge(list->keys, (list->n + 1) * sizeof(char *)) : palloc(sizeof(char *));
    list->keys[list->n++] = key;
}

/* PostgreSQL sorts NaN above infinity, so that two comparisons leave only numbers. */
const char event_sums_sql[] = "pg_catalog.sum(e.weight) FILTER (WHERE e.weight OPERATOR(pg_catalog.<) 'Infinity' AND "
                              "e.weight OPERATOR(pg_catalog.>) '-Infinity') AS weight, pg_catalog.max(e.at) AS at";

char *event_rows_sql(const Recommender *recommender)
{
    const ColumnList *role = recommender->role;

    return psprintf("SELECT %s AS who, %s AS key, %s AS weight, %s AS at FROM %s",
                    quote_identifier(role[EVENT_USER].column[0].name),
                    quote_identifier(role[EVENT_ITEM].column[0].name),
                    role[EVENT_WEIGHT].n ? role[EVENT_WEIGHT].column[0].sql : "1.0::pg_catalog.float8",
                    role[EVENT_TIME].n ? role[EVENT_TIME].column[0].sql : "NULL::pg_catalog.float8",
                    recommender->table_sql[TABLE_EVENTS]);
}

/* Events of one user, of each item once, on items that the caller may see. */
static char *user_events_sql(const Recommender *recommender)
{
    const ColumnList *role = recommender->role;
    const Column *user = &role[EVENT_USER].column[0], *item = &role[EVENT_ITEM].column[0];
    StringInfoData sql;

    initStringInfo(&sql);
    appendStringInfo(&sql,
                     "SELECT g.key::pg_catalog.text, g.weight, g.at FROM (SELECT e.key, %s FROM (%s WHERE %s %s "
                     "$1::%s) AS e WHERE e.key IS NOT NULL GROUP BY e.key) AS g",
                     event_sums_sql, event_rows_sql(recommender), quote_identifier(user->name), equality_of(user),
                     type_sql(user->type));
    if (OidIsValid(recommender->table[TABLE_ITEMS]))
        appendStringInfo(&sql, " WHERE EXISTS (SELECT FROM %s AS i WHERE %s)", recommender->table_sql[TABLE_ITEMS],
                         comparison_sql("i", &role[ITEM_ID].column[0], "g", "key", item->type));
    appendStringInfoString(&sql, " ORDER BY 1");
    return sql.data;
}

/* The rows (item, weight, time) of SPI_tuptable as events. Items whose events have no usable weight have been seen. */
static void append_events(Ask *ask, aigc_event *events, size_t *n, KeyList *seen)
{
    for (uint64 row = 0; row < SPI_processed; row++) {
        char *key = row_text(row, 1);
        uint32_t item = aigc_recommender_find(ask->use->model, key_string(key));
        bool null_weight, null_time;
        if (item == AIGC_NO_ITEM)
            continue;
        Datum weight = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2, &null_weight);
        Datum time = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 3, &null_time);
        if (null_weight || DatumGetFloat8(weight) == 0) {
            add_key(seen, key);
            continue;
        }
        events[(*n)++] = (aigc_event){
            .item = item, .weight = (float)DatumGetFloat8(weight), .time = null_time ? NAN : DatumGetFloat8(time)};
        add_key(&ask->events, key);
    }
}

/* What the caller, or the owner on whoever's behalf, has recorded for this user. */
static void read_feedback(Ask *ask)
{
    const Recommender *recommender = ask->recommender;
    Oid types[] = {TEXTOID, TEXTOID, NAMEOID, BOOLOID};
    Datum values[] = {CStringGetTextDatum(recommender->name), CStringGetTextDatum(ask->profile->user),
                      role_name(GetUserId()), BoolGetDatum(has_privs_of_role(GetUserId(), recommender->owner))};

    Rights before = take_catalogue_rights(ask->fcinfo);
    run_fixed_query(
        psprintf("SELECT item, pg_catalog.sum(value), pg_catalog.date_part('epoch', pg_catalog.max(at)) FROM "
                 "%s.aigc_feedback WHERE recommender OPERATOR(pg_catalog.=) $1 AND user_key "
                 "OPERATOR(pg_catalog.=) $2 AND ($4 OR recorded_by OPERATOR(pg_catalog.=) $3) GROUP BY item ORDER "
                 "BY 1",
                 extension_schema(ask->fcinfo)),
        lengthof(types), types, values, true, 0);
    restore_rights(before);
}

static void exclude_seen(Ask *ask, const KeyList *seen)
{
    if (!ask->profile->exclude_seen)
        return;
    for (int i = 0; i < seen->n; i++)
        add_key(&ask->profile->exclude, seen->keys[i]);
}

static void read_events(Ask *ask)
{
    const Recommender *recommender = ask->recommender;
    aigc_event *events = NULL;
    KeyList seen = {NULL, 0};
    size_t n = 0;

    if (!ask->profile->user)
        return;
    if (OidIsValid(recommender->table[TABLE_EVENTS])) {
        run_fixed_query(user_events_sql(recommender), 1, (Oid[]){TEXTOID},
                        (Datum[]){CStringGetTextDatum(ask->profile->user)}, true, 0);
        events = palloc_extended((SPI_processed + 1) * sizeof *events, MCXT_ALLOC_HUGE);
        append_events(ask, events, &n, &seen);
        SPI_freetuptable(SPI_tuptable);
    }
    read_feedback(ask);
    if (SPI_processed > 0) {
        size_t bytes = (n + SPI_processed + 1) * sizeof *events;
        events = events ? repalloc_huge(events, bytes) : palloc_extended(bytes, MCXT_ALLOC_HUGE);
        append_events(ask, events, &n, &seen);
    }
    SPI_freetuptable(SPI_tuptable);
    exclude_seen(ask, &seen);
    ask->query.events = events;
    ask->query.n_events = n;
}

/* ---- who the person is ---- */

static aigc_attribute attribute_of(const Attribute *given)
{
    aigc_attribute attribute = {.kind = given->kind,
                                .name = utf8_string(given->name),
                                .number = given->number,
                                .latitude = given->latitude,
                                .longitude = given->longitude};

    if (given->text)
        attribute.text = utf8_string(given->text);
    return attribute;
}

static bool same_string(aigc_string a, aigc_string b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

void add_row_attributes(const ColumnList *columns, uint64 row, int first, aigc_attribute **attributes, size_t *n)
{
    aigc_attribute *stored = NULL;
    size_t n_stored = 0, n_given = *n;

    read_attributes(columns, row, first, &stored, &n_stored);
    *attributes = repalloc(*attributes, (n_given + n_stored + 1) * sizeof **attributes);
    for (size_t i = 0; i < n_stored; i++) {
        bool given = false;
        for (size_t j = 0; j < n_given; j++)
            given |= same_string((*attributes)[j].name, stored[i].name);
        if (!given)
            (*attributes)[(*n)++] = stored[i];
    }
}

/* Attributes of the person's row among the users. */
static void add_stored_attributes(Ask *ask, aigc_attribute **attributes, size_t *n)
{
    const Recommender *recommender = ask->recommender;
    const ColumnList *role = recommender->role;
    StringInfoData sql;

    if (!ask->profile->user || !OidIsValid(recommender->table[TABLE_USERS]) || role[USER_ATTRIBUTES].n == 0)
        return;
    const Column *key = &role[USER_ID].column[0];
    initStringInfo(&sql);
    appendStringInfo(&sql, "SELECT %s", key->sql);
    append_columns(&sql, &role[USER_ATTRIBUTES]);
    appendStringInfo(&sql, " FROM %s WHERE %s %s $1::%s", recommender->table_sql[TABLE_USERS],
                     quote_identifier(key->name), equality_of(key), type_sql(key->type));
    run_fixed_query(sql.data, 1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(ask->profile->user)}, true, 1);
    if (SPI_processed > 0)
        add_row_attributes(&role[USER_ATTRIBUTES], 0, 2, attributes, n);
}

static void add_attributes(Ask *ask)
{
    size_t n = ask->profile->n_attributes;
    aigc_attribute *attributes = palloc_extended((n + 1) * sizeof *attributes, MCXT_ALLOC_HUGE);

    for (size_t i = 0; i < n; i++)
        attributes[i] = attribute_of(&ask->profile->attributes[i]);
    add_stored_attributes(ask, &attributes, &n);
    ask->query.attributes = attributes;
    ask->query.n_attributes = n;
}

static void add_interests(Ask *ask)
{
    const Profile *profile = ask->profile;
    aigc_interest *interests = palloc_extended((profile->n_interests + 1) * sizeof *interests, MCXT_ALLOC_HUGE);

    for (int i = 0; i < profile->n_interests; i++) {
        interests[i].text = utf8_string(profile->interests[i].text);
        interests[i].weight = profile->interests[i].weight;
    }
    ask->query.interests = interests;
    ask->query.n_interests = profile->n_interests;
}

/* ---- words of hidden items ---- */

bool may_hide_items(const Recommender *recommender)
{
    Oid table = recommender->table[TABLE_ITEMS];

    if (!OidIsValid(table))
        return false;
    return !strchr("rpm", get_rel_relkind(table)) || check_enable_rls(table, InvalidOid, true) == RLS_ENABLED;
}

/* The terms of all interests and attributes, in the model's numbers. */
static uint32_t *asked_terms(const Ask *ask, size_t *n)
{
    const aigc_query *query = &ask->query;
    size_t most = (query->n_interests + query->n_attributes + 1) * AIGC_TERMS_MOST;
    uint32_t *terms = palloc_extended(most * sizeof *terms, MCXT_ALLOC_HUGE);

    *n = 0;
    for (size_t i = 0; i < query->n_interests; i++)
        *n += aigc_recommender_interest_terms(ask->use->model, query->interests[i].text, terms + *n);
    for (size_t i = 0; i < query->n_attributes; i++)
        *n += aigc_recommender_attribute_terms(ask->use->model, &query->attributes[i], terms + *n);
    return terms;
}

/*
 * What an interest adds to the scores of items that have nothing of it must not tell whether the model knows its words
 * from items that the caller may not see: terms that none of the first items of theirs shows count as unknown. Of a
 * term that very many items have it is taken for granted that some may be seen.
 */
static void forget_hidden_terms(Ask *ask)
{
    uint32_t items[FEW_ITEMS_OF_TERM];
    KeyList keys = {NULL, 0};
    size_t n_terms, n_visible, n_unknown = 0;

    if (!may_hide_items(ask->recommender))
        return;
    uint32_t *terms = asked_terms(ask, &n_terms);
    for (size_t i = 0; i < n_terms; i++) {
        size_t n = aigc_recommender_term_items(ask->use->model, terms[i], items, lengthof(items));
        CHECK_FOR_INTERRUPTS();
        for (size_t j = 0; j < n && n <= lengthof(items); j++)
            add_key(&keys, item_key(ask, items[j]));
    }
    uint32_t *visible = visible_items(ask, &keys, &n_visible);
    for (size_t i = 0; i < n_terms; i++) {
        size_t n = aigc_recommender_term_items(ask->use->model, terms[i], items, lengthof(items));
        bool seen = n > lengthof(items);
        for (size_t j = 0; j < n && !seen; j++)
            seen = bsearch(&items[j], visible, n_visible, sizeof *visible, compare_items) != NULL;
        if (!seen)
            terms[n_unknown++] = terms[i];
    }
    ask->query.unknown_terms = terms;
    ask->query.n_unknown_terms = n_unknown;
}

/* ---- the whole ---- */

/* Keys of the numbers, for naming them. */
static void name_items(const Ask *ask, KeyList *keys, const uint32_t *items, size_t n)
{
    keys->keys = palloc_extended((n + 1) * sizeof(char *), MCXT_ALLOC_HUGE);
    keys->n = (int)n;
    for (size_t i = 0; i < n; i++)
        keys->keys[i] = item_key(ask, items[i]);
}

static void add_named_items(Ask *ask)
{
    aigc_query *query = &ask->query;

    query->likes = visible_items(ask, &ask->profile->likes, &query->n_likes);
    name_items(ask, &ask->likes, query->likes, query->n_likes);
    query->dislikes = visible_items(ask, &ask->profile->dislikes, &query->n_dislikes);
    name_items(ask, &ask->dislikes, query->dislikes, query->n_dislikes);
    query->exclude = visible_items(ask, &ask->profile->exclude, &query->n_exclude);
    if (ask->profile->has_among)
        query->among = visible_items(ask, &ask->profile->among, &query->n_among);
}

Ask *begin_ask(FunctionCallInfo fcinfo, Jsonb *profile, const char *recommender)
{
    Ask *ask = palloc0(sizeof *ask);

    ask->fcinfo = fcinfo;
    ask->recommender = find_recommender(fcinfo, recommender ? recommender : profile_recommender(profile));
    ask->profile = read_profile(profile, ask->recommender);
    ask->use = use_model(fcinfo, ask->recommender);
    ask->query = aigc_query_defaults();
    ask->query.interrupt = &InterruptPending;
    ask->query.keep_seen = !ask->profile->exclude_seen;
    ask->query.diversity = ask->profile->diversity;
    ask->query.seed = ask->profile->seed;
    ask->query.at = ask->profile->at;

    Rights before = take_reader_rights(ask->recommender);
    read_events(ask);
    add_attributes(ask);
    add_interests(ask);
    add_named_items(ask);
    forget_hidden_terms(ask);
    restore_rights(before);
    return ask;
}

static void check(aigc_status status, const aigc_error *error)
{
    if (status != AIGC_OK)
        raise_core_error(error, NULL);
}

/* The next best items, at most n, for as long as there are any. */
static size_t next_items(aigc_ranking *ranking, size_t n, const uint32_t **items)
{
    aigc_status status;
    aigc_error error;
    size_t n_items = 0;

    do {
        check_interrupts();
        status = aigc_ranking_more(ranking, n, items, &n_items, &error);
    } while (status == AIGC_INTERRUPTED);
    check(status, &error);
    return n_items;
}

/* Fills the pool with items that may be shown, looking at more at a time the fewer there are of them. */
static void fill_pool(Ask *ask)
{
    aigc_ranking *ranking = ask->use->ranking;
    size_t wanted = aigc_ranking_wanted(ranking), look = Min(wanted + MORE_LOOK, MAX_LOOK);
    const uint32_t *items;

    while (aigc_ranking_pool(ranking) < wanted) {
        size_t n = next_items(ranking, look, &items);
        if (n == 0)
            return;
        hide_invisible(ask, items, n);
        look = Min(2 * look, MAX_LOOK);
    }
}

void rank_items(Ask *ask, size_t k)
{
    aigc_status status;
    aigc_error error;

    ask->query.k = k;
    if (k == 0)
        return;
    do {
        check_interrupts();
        status = aigc_ranking_open(ask->use->model, &ask->query, &ask->use->ranking, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        ask->use->ranking = NULL;
    check(status, &error);

    Rights before = take_reader_rights(ask->recommender);
    fill_pool(ask);
    restore_rights(before);
    do {
        check_interrupts();
        status = aigc_ranking_select(ask->use->ranking, &error);
    } while (status == AIGC_INTERRUPTED);
    check(status, &error);
    ask->n = aigc_ranking_results(ask->use->ranking, &ask->results);
}

void end_ask(Ask *ask)
{
    end_use(ask->use);
}
