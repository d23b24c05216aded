/*
 * recommend_people.c: groups of people on their way through recommend_all(): their events, feedback and rows among the
 * users become queries of core, as recommend_ranking.c makes them of one person; threads rank them while the next group
 * is read; then they are put into the result.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "recommend_people.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define EVENTS_AT_FIRST 4000 /* there is room for */

uint32_t item_at(const Everybody *all, const SPITupleTable *table, uint64 row, int column, bool *null)
{
    Datum value = SPI_getbinval(table->vals[row], table->tupdesc, column, null);

    if (*null)
        return AIGC_NO_ITEM;
    text *key = DatumGetTextPP(value);
    uint32_t item =
        aigc_recommender_find(all->ask->use->model, (aigc_string){VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)});
    if ((Pointer)key != DatumGetPointer(value))
        pfree(key);
    return item;
}

/* ---- a group ---- */

void open_group(const Everybody *all, People *group)
{
    size_t entries = all->most * all->k;

    group->context = AllocSetContextCreate(CurrentMemoryContext, "aigc people", ALLOCSET_DEFAULT_SIZES);
    group->people = palloc(all->most * sizeof *group->people);
    group->capacity = EVENTS_AT_FIRST;
    group->events = palloc(group->capacity * sizeof *group->events);
    group->items = palloc_extended(entries * sizeof *group->items, MCXT_ALLOC_HUGE);
    group->scores = palloc_extended(entries * sizeof *group->scores, MCXT_ALLOC_HUGE);
}

void begin_person(People *group, const char *key)
{
    group->people[group->n++] = (Person){.key = MemoryContextStrdup(group->context, key), .first = group->n_events};
}

void add_event(People *group, uint32_t item, float weight, double time)
{
    if (group->n_events == group->capacity) {
        group->capacity *= 2;
        group->events = repalloc_huge(group->events, group->capacity * sizeof *group->events);
    }
    group->events[group->n_events++] = (aigc_event){.item = item, .weight = weight, .time = time};
    group->people[group->n - 1].n_events++;
}

static void leave_passed_over(People *group)
{
    size_t n = 0;

    for (size_t i = 0; i < group->n; i++) {
        Person *person = &group->people[i];
        person->events = group->events + person->first;
        if (!person->passed_over)
            group->people[n++] = *person;
    }
    group->n = n;
}

/* Their keys (text[]). */
static Datum keys_of_people(const People *group)
{
    Datum *keys = palloc(group->n * sizeof *keys);

    for (size_t i = 0; i < group->n; i++)
        keys[i] = CStringGetTextDatum(group->people[i].key);
    return PointerGetDatum(construct_array(keys, (int)group->n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The person that a row of SPI_tuptable is about, by its first column: their place in keys_of_people(), from 1. */
static size_t person_of_row(uint64 row)
{
    bool null;

    return (size_t)DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &null)) - 1;
}

/* ---- what they recorded ---- */

const char feedback_of[] = "f.recommender OPERATOR(pg_catalog.=) $1 AND ($3 OR f.recorded_by "
                           "OPERATOR(pg_catalog.=) $2)";

void query_feedback(const Everybody *all, const char *sql, Oid type, const Datum *value)
{
    const Recommender *recommender = all->ask->recommender;
    Oid types[] = {TEXTOID, NAMEOID, BOOLOID, type};
    Datum values[] = {CStringGetTextDatum(recommender->name), role_name(GetUserId()),
                      BoolGetDatum(has_privs_of_role(GetUserId(), recommender->owner)), value ? *value : (Datum)0};

    Rights before = take_catalogue_rights(all->ask->fcinfo);
    run_query(sql, lengthof(types), types, values, value ? NULL : "   n", true, 0);
    restore_rights(before);
}

/* Makes room for more events of a person, where they are not in the way of others'. */
static void take_apart(Person *person, size_t more)
{
    aigc_event *events = palloc_extended((person->n_events + more) * sizeof *events, MCXT_ALLOC_HUGE);

    memcpy(events, person->events, person->n_events * sizeof *events);
    person->events = events;
}

static void add_feedback(const Everybody *all, People *group)
{
    bool null;

    if (!all->has_feedback)
        return;
    Datum keys = keys_of_people(group);
    query_feedback(all,
                   psprintf("SELECT k.number, f.item, pg_catalog.sum(f.value), pg_catalog.date_part('epoch', "
                            "pg_catalog.max(f.at)) FROM pg_catalog.unnest($4) WITH ORDINALITY AS k (key, number) JOIN "
                            "%s.aigc_feedback AS f ON f.user_key OPERATOR(pg_catalog.=) k.key WHERE %s GROUP BY "
                            "k.number, f.item ORDER BY 1, 2",
                            extension_schema(all->ask->fcinfo), feedback_of),
                   TEXTARRAYOID, &keys);
    for (uint64 row = 0, end; row < SPI_processed; row = end) {
        Person *person = &group->people[person_of_row(row)];
        for (end = row + 1; end < SPI_processed && person_of_row(end) == person_of_row(row);)
            end++;
        take_apart(person, end - row);
        for (uint64 i = row; i < end; i++) {
            uint32_t item = item_at(all, SPI_tuptable, i, 2, &null);
            if (item != AIGC_NO_ITEM)
                person->events[person->n_events++] = (aigc_event){
                    .item = item,
                    .weight =
                        (float)DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &null)),
                    .time = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4, &null))};
        }
    }
    SPI_freetuptable(SPI_tuptable);
}

/* ---- who they are ---- */

/* Columns of a table under names that cannot be taken for others: key, a1, a2 ... */
static char *attributes_sql(const Everybody *all)
{
    const Recommender *recommender = all->ask->recommender;
    const ColumnList *attributes = &recommender->role[USER_ATTRIBUTES];
    Column key = recommender->role[USER_ID].column[0];
    StringInfoData sql;

    initStringInfo(&sql);
    appendStringInfoString(&sql, "SELECT k.number");
    for (int i = 0; i < attributes->n; i++)
        appendStringInfo(&sql, ", u.a%d", i + 1);
    appendStringInfo(&sql, " FROM pg_catalog.unnest($1) WITH ORDINALITY AS k (key, number) JOIN (SELECT %s AS key",
                     quote_identifier(key.name));
    for (int i = 0; i < attributes->n; i++)
        appendStringInfo(&sql, ", %s AS a%d", attributes->column[i].sql, i + 1);
    key.name = "key";
    appendStringInfo(&sql, " FROM %s) AS u ON %s ORDER BY 1", recommender->table_sql[TABLE_USERS],
                     comparison_sql("u", &key, "k", psprintf("key::%s", type_sql(all->key_type)), all->key_type));
    return sql.data;
}

static bool term_is_shown(const Everybody *all, uint32_t term)
{
    uint32_t items[FEW_ITEMS_OF_TERM];
    size_t n = aigc_recommender_term_items(all->ask->use->model, term, items, lengthof(items));

    for (size_t i = 0; i < n && n <= lengthof(items); i++)
        if (!all->hidden[items[i]])
            return true;
    return n > lengthof(items);
}

/* Takes care that values of a person's own attributes which only hidden items have tell nothing: as begin_ask() does
 * for what is in the profile. */
static void forget_hidden_values(const Everybody *all, aigc_query *query)
{
    const aigc_query *given = &all->ask->query;
    size_t most = given->n_unknown_terms + query->n_attributes * AIGC_TERMS_MOST;

    if (!all->may_hide)
        return;
    uint32_t *unknown = palloc((most + 1) * sizeof *unknown);
    if (given->n_unknown_terms > 0)
        memcpy(unknown, given->unknown_terms, given->n_unknown_terms * sizeof *unknown);
    for (size_t i = given->n_attributes; i < query->n_attributes; i++) {
        uint32_t terms[AIGC_TERMS_MOST];
        size_t n = aigc_recommender_attribute_terms(all->ask->use->model, &query->attributes[i], terms);
        for (size_t j = 0; j < n; j++)
            if (!term_is_shown(all, terms[j]))
                unknown[query->n_unknown_terms++] = terms[j];
    }
    query->unknown_terms = unknown;
}

/* Attributes of their rows among the users, beside those of the profile. */
static void add_users(const Everybody *all, People *group)
{
    const Recommender *recommender = all->ask->recommender;
    const ColumnList *columns = &recommender->role[USER_ATTRIBUTES];
    const aigc_query *given = &all->ask->query;

    if (!OidIsValid(recommender->table[TABLE_USERS]) || columns->n == 0)
        return;
    run_query(attributes_sql(all), 1, (Oid[]){TEXTARRAYOID}, (Datum[]){keys_of_people(group)}, NULL, true, 0);
    for (uint64 row = 0; row < SPI_processed; row++) {
        /* A key that is there twice counts once, as for one person. */
        if (row > 0 && person_of_row(row) == person_of_row(row - 1))
            continue;
        aigc_query *query = &group->queries[person_of_row(row)];
        aigc_attribute *attributes = palloc((given->n_attributes + 1) * sizeof *attributes);
        if (given->n_attributes > 0)
            memcpy(attributes, given->attributes, given->n_attributes * sizeof *attributes);
        add_row_attributes(columns, row, 2, &attributes, &query->n_attributes);
        query->attributes = attributes;
        forget_hidden_values(all, query);
    }
    SPI_freetuptable(SPI_tuptable);
}

/* ---- ranking ---- */

static void abandon_ranking(void *arg)
{
    People *group = arg;

    aigc_each_free(group->ranking);
    group->ranking = NULL;
}

static void begin_ranking(const Everybody *all, People *group)
{
    aigc_error error;

    if (aigc_each_start(all->ask->use->model, group->queries, group->n, all->k, setting_threads, &InterruptPending,
                        group->done, group->items, group->scores, &group->ranking, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
}

/* An error, wherever it comes from, ends the threads before the memory goes that they work on. */
static void watch_group(People *group)
{
    MemoryContextCallback *callback = palloc0(sizeof *callback);

    callback->func = abandon_ranking;
    callback->arg = group;
    MemoryContextRegisterResetCallback(group->context, callback);
}

/* Whatever interrupts and is not to end the statement, such as a look whether the client is still there, costs the
 * queries in work and no more. */
static void finish_ranking(const Everybody *all, People *group)
{
    aigc_status status;
    aigc_error error;

    while ((status = aigc_each_finish(group->ranking, &error)) == AIGC_INTERRUPTED) {
        abandon_ranking(group);
        check_interrupts();
        begin_ranking(all, group);
    }
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
    abandon_ranking(group);
}

static void put_person(const Everybody *all, const People *group, size_t i)
{
    Datum user = CStringGetTextDatum(group->people[i].key);
    bool nulls[4] = {false};
    aigc_string key;

    for (size_t r = 0; r < all->k; r++) {
        uint32_t item = group->items[i * all->k + r];
        if (item == AIGC_NO_ITEM || !aigc_recommender_key(all->ask->use->model, item, &key))
            return;
        text *name = cstring_to_text_with_len(key.data, (int)key.len);
        Datum values[4] = {user, Int32GetDatum((int32)r + 1), PointerGetDatum(name),
                           Float8GetDatum(group->scores[i * all->k + r])};
        tuplestore_putvalues(all->rows.store, all->rows.desc, values, nulls);
        pfree(name);
    }
}

void finish_group(Everybody *all, People *group)
{
    if (group->ranking) {
        finish_ranking(all, group);
        MemoryContext old = MemoryContextSwitchTo(group->context);
        for (size_t i = 0; i < group->n; i++) {
            CHECK_FOR_INTERRUPTS();
            put_person(all, group, i);
        }
        MemoryContextSwitchTo(old);
        all->n_ranked += (int64)group->n;
        if (all->progress.report.total > 0 && all->n_ranked > all->progress.report.total)
            progress_total(&all->progress, 0);
        progress_update(&all->progress, all->n_ranked, NAN, 0);
    }
    MemoryContextReset(group->context);
    group->n = group->n_events = 0;
}

/* What the people of the group are asked with. */
static void make_queries(const Everybody *all, People *group)
{
    MemoryContext old = MemoryContextSwitchTo(group->context);

    group->queries = palloc(group->n * sizeof *group->queries);
    group->done = palloc0(group->n * sizeof *group->done);
    add_feedback(all, group);
    for (size_t i = 0; i < group->n; i++) {
        group->queries[i] = all->ask->query;
        group->queries[i].events = group->people[i].events;
        group->queries[i].n_events = group->people[i].n_events;
    }
    add_users(all, group);
    watch_group(group);
    MemoryContextSwitchTo(old);
}

void rank_group(Everybody *all)
{
    People *group = all->group;

    leave_passed_over(group);
    if (group->n > 0)
        make_queries(all, group);
    finish_group(all, all->other);
    if (group->n > 0)
        begin_ranking(all, group);
    all->group = all->other;
    all->other = group;
}
