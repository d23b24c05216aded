/*
 * recommend_refresh.c: refresh_recommender(): a model from the user's tables, as they are in the statement's snapshot.
 *
 * All of it is one transaction: others recommend by the old model until it commits, and an error, a cancel or a crash
 * leaves the old one. What makes it take long runs in steps between which interrupts are looked for.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "progress.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* Up to so many rows everything is learned anew without asking whether it is worth while. */
#define FEW_ROWS 200000
/* Part of the rows that must be new for that to be worth while. */
#define WORTH 0.05

/* ---- fitting ---- */

static void destroy_fit(void *fit)
{
    aigc_fit_destroy(fit);
}

aigc_fit_options fit_options(const Recommender *recommender)
{
    aigc_fit_options options = aigc_fit_defaults();

    options.n_threads = setting_threads;
    options.interrupt = &InterruptPending;
    read_fit_options(recommender->options, false, &options);
    return options;
}

static aigc_fit *create_fit(const aigc_fit_options *options)
{
    MemoryContextCallback *callback = palloc0(sizeof *callback);
    aigc_fit *fit;
    aigc_error error;

    if (aigc_fit_create(options, &fit, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    callback->func = destroy_fit;
    callback->arg = fit;
    MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
    return fit;
}

static void run_steps(aigc_fit *fit, Progress *progress)
{
    aigc_fit_progress state = {.done = false};
    const char *phase = NULL;
    aigc_error error;

    while (!state.done) {
        check_interrupts();
        aigc_status status = aigc_fit_step(fit, &state, &error);
        if (status == AIGC_INTERRUPTED)
            continue;
        if (status != AIGC_OK)
            raise_core_error(&error, NULL);
        if (!phase || strcmp(phase, state.phase) != 0) {
            phase = state.phase;
            progress_phase(progress, phase, (int64)state.n_steps);
        } else if (progress->report.total != (int64)state.n_steps) {
            progress_total(progress, (int64)state.n_steps);
        }
        progress_update(progress, (int64)state.step, NAN, 0);
    }
}

/* What was said through record_feedback(): events like those of the table. */
static void read_feedback_into(FunctionCallInfo fcinfo, aigc_fit *fit, const Recommender *recommender,
                               ReadCounts *counts)
{
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(recommender->name)};
    bool null;

    Rights before = take_catalogue_rights(fcinfo);
    run_query(psprintf("SELECT user_key, item, value, pg_catalog.date_part('epoch', at) FROM %s.aigc_feedback WHERE "
                       "recommender OPERATOR(pg_catalog.=) $1 AND user_key IS NOT NULL ORDER BY 1, 2, 4, 3",
                       extension_schema(fcinfo)),
              1, types, values, NULL, true, 0);
    restore_rights(before);
    for (uint64 i = 0; i < SPI_processed; i++) {
        aigc_event event;
        aigc_error error;
        if (i % ROWS_PER_LOOK == 0)
            check_interrupts();
        event.item = aigc_fit_find_item(fit, key_string(row_text(i, 2)));
        if (event.item == AIGC_NO_ITEM) {
            counts->unknown_events++;
            continue;
        }
        event.weight = (float)DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &null));
        event.time = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4, &null));
        if (aigc_fit_user(fit, key_string(row_text(i, 1)), &event.user, &error) != AIGC_OK ||
            aigc_fit_add_events(fit, &event, 1, &error) != AIGC_OK)
            raise_core_error(&error, NULL);
    }
    SPI_freetuptable(SPI_tuptable);
}

/* Values as text must not depend on the session, nor the order of a scan on other sessions' scans. */
static void pin_settings(void)
{
    pin_formats();
    set_config_option("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

FitRun *run_fit(FunctionCallInfo fcinfo, const Recommender *recommender, aigc_fit_options *options, const char *command)
{
    FitRun *run = palloc0(sizeof *run);
    Progress progress;

    int settings = NewGUCNestLevel();
    pin_settings();
    progress_start(&progress, command, utf8_string(recommender->name).data);
    Rights before = take_owner_rights(recommender);
    options->n_embedding = embedding_size(recommender);
    run->fit = create_fit(options);
    char *marker =
        OidIsValid(recommender->table[TABLE_ITEMS]) ? marker_sql(recommender, news_of_table(recommender)) : NULL;
    read_items_into(run->fit, recommender, marker, options->n_embedding, &progress, &run->counts, &run->marker);
    read_users_into(run->fit, recommender, &progress, &run->counts);
    read_events_into(run->fit, recommender, &progress, &run->counts);
    restore_rights(before);
    read_feedback_into(fcinfo, run->fit, recommender, &run->counts);
    AtEOXact_GUC(true, settings);

    run_steps(run->fit, &progress);
    aigc_fit_describe(run->fit, &run->info);
    progress_end(&progress);
    return run;
}

/* ---- the summary ---- */

static Jsonb *summary_of_fit(const FitRun *run, size_t bytes)
{
    const aigc_fit_info *info = &run->info;

    return jsonb_of(psprintf(
        "{\"full\": true, \"items\": %u, \"users\": %u, \"events\": " UINT64_FORMAT ", \"pairs\": " UINT64_FORMAT
        ", \"words\": " UINT64_FORMAT ", \"factors\": %d, \"bytes\": %zu, \"rows\": {\"items\": " INT64_FORMAT
        ", \"events\": " INT64_FORMAT "}, \"passed_over\": {\"null_keys\": " INT64_FORMAT
        ", \"duplicates\": " INT64_FORMAT ", \"unknown_items\": " INT64_FORMAT ", \"weight_zero\": " UINT64_FORMAT
        ", \"weight_not_finite\": " UINT64_FORMAT ", \"weight_negative\": " UINT64_FORMAT "}}",
        info->n_items, info->n_users, (uint64)info->n_events, (uint64)info->n_pairs, (uint64)info->n_words,
        info->n_factors, bytes, run->counts.rows[TABLE_ITEMS], run->counts.rows[TABLE_EVENTS], run->counts.null_keys,
        run->counts.duplicates, run->counts.unknown_events, (uint64)info->n_zero, (uint64)info->n_not_finite,
        (uint64)info->n_negative));
}

/* Rows of a table when everything was learned: a model that is extended keeps the number. */
static int64 rows_learned(const Recommender *recommender, const char *table)
{
    Jsonb *summary = recommender->summary;
    Datum rows = DirectFunctionCall2(jsonb_object_field, JsonbPGetDatum(summary), CStringGetTextDatum("rows"));
    Datum n = DirectFunctionCall2(jsonb_object_field_text, rows, CStringGetTextDatum(table));

    return DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(TextDatumGetCString(n))));
}

static Jsonb *summary_of_extension(const Recommender *recommender, const aigc_recommender_info *info, uint64 new_items,
                                   uint64 new_events)
{
    return jsonb_of(psprintf(
        "{\"full\": false, \"items\": %u, \"users\": %u, \"events\": " UINT64_FORMAT ", \"pairs\": " UINT64_FORMAT
        ", \"words\": " UINT64_FORMAT ", \"factors\": %u, \"bytes\": %zu, \"rows\": {\"items\": " INT64_FORMAT
        ", \"events\": " INT64_FORMAT "}, \"new_items\": " UINT64_FORMAT ", \"new_events\": " UINT64_FORMAT "}",
        info->n_items, info->n_users, (uint64)info->n_events, (uint64)info->n_pairs, (uint64)info->n_words,
        info->n_factors, info->bytes, rows_learned(recommender, "items"), rows_learned(recommender, "events"),
        new_items, new_events));
}

/* ---- full ---- */

static Jsonb *refresh_full(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    aigc_fit_options options = fit_options(recommender);
    const void *image;
    size_t size;
    aigc_error error;

    FitRun *run = run_fit(fcinfo, recommender, &options, "refresh_recommender");
    if (aigc_fit_image(run->fit, &image, &size, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    Jsonb *summary = summary_of_fit(run, size);
    store_model(fcinfo, recommender, image, size, run->info.n_items, choose_news(recommender, run->info.n_items),
                run->marker, true, summary);
    return summary;
}

/* ---- only what is new ---- */

typedef struct Extension {
    const aigc_recommender *model; /* the stored one, or the extended one */
    aigc_recommender *opened;      /* NULL: nothing has been added yet */
    void *image;
    size_t size;
    uint64 new_items, new_events;
    MemoryContextCallback on_reset;
} Extension;

static void close_extension(void *arg)
{
    Extension *extension = arg;

    aigc_recommender_close(extension->opened);
    aigc_free(extension->image);
}

/* Goes over to a new image. */
static void advance(Extension *extension, void *image, size_t size)
{
    aigc_error error;

    close_extension(extension);
    extension->opened = NULL;
    extension->image = image;
    extension->size = size;
    if (aigc_recommender_open(image, size, &extension->opened, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    extension->model = extension->opened;
}

static void extend_by_items(const Recommender *recommender, Extension *extension, ArrayType *keys)
{
    void *image;
    size_t size;

    extend_model(recommender, extension->model, keys, &image, &size);
    extension->new_items += ArrayGetNItems(ARR_NDIM(keys), ARR_DIMS(keys));
    advance(extension, image, size);
}

/* Items whose time says that they have changed since the last refresh are described anew. */
static ArrayType *changed_items(const Recommender *recommender)
{
    const ColumnList *role = recommender->role;
    bool null;

    if (role[ITEM_TIME].n == 0 || !column_is_moment(&role[ITEM_TIME].column[0]))
        return NULL;
    run_query(psprintf("SELECT pg_catalog.array_agg(%s) FROM %s WHERE %s OPERATOR(pg_catalog.>) $1::%s AND %s IS NOT "
                       "NULL",
                       role[ITEM_ID].column[0].sql, recommender->table_sql[TABLE_ITEMS],
                       quote_identifier(role[ITEM_TIME].column[0].name), type_sql(role[ITEM_TIME].column[0].type),
                       quote_identifier(role[ITEM_ID].column[0].name)),
              1, (Oid[]){TIMESTAMPTZOID}, (Datum[]){TimestampTzGetDatum(recommender->refreshed)}, NULL, true, 0);
    Datum keys = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
    return null ? NULL : DatumGetArrayTypePCopy(keys);
}

/* Events after the last one that the model knows. Without a time column there is no telling which they are. */
static void extend_by_events(const Recommender *recommender, Extension *extension)
{
    const ColumnList *role = recommender->role;
    aigc_recommender_info info;
    size_t n = 0, size;
    void *image;
    bool null;

    aigc_recommender_describe(extension->model, &info);
    if (!OidIsValid(recommender->table[TABLE_EVENTS]) || role[EVENT_TIME].n == 0 || isnan(info.last_event))
        return;
    run_query(psprintf("SELECT item, weight, at FROM (SELECT %s AS item, %s AS weight, %s AS at FROM %s) AS e WHERE at "
                       "OPERATOR(pg_catalog.>) $1 AND item IS NOT NULL AND weight IS NOT NULL ORDER BY 3, 1, 2",
                       role[EVENT_ITEM].column[0].sql,
                       role[EVENT_WEIGHT].n ? role[EVENT_WEIGHT].column[0].sql : "1.0::pg_catalog.float8",
                       role[EVENT_TIME].column[0].sql, recommender->table_sql[TABLE_EVENTS]),
              1, (Oid[]){FLOAT8OID}, (Datum[]){Float8GetDatum(info.last_event)}, NULL, true, 0);
    aigc_event *events = palloc_extended((SPI_processed + 1) * sizeof *events, MCXT_ALLOC_HUGE);
    for (uint64 i = 0; i < SPI_processed; i++) {
        if (i % ROWS_PER_LOOK == 0)
            check_interrupts();
        aigc_event event = {.item = aigc_recommender_find(extension->model, key_string(row_text(i, 1)))};
        if (event.item == AIGC_NO_ITEM)
            continue;
        event.weight = (float)DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &null));
        event.time = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &null));
        events[n++] = event;
    }
    if (n == 0)
        return;
    extend_recommender(extension->model, NULL, 0, events, n, &image, &size);
    extension->new_events = n;
    advance(extension, image, size);
}

static Jsonb *refresh_news(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Extension *extension = palloc0(sizeof *extension);
    Use *use = use_stored_model(fcinfo, recommender);
    aigc_recommender_info info;
    int64 marker = use_marker(use);
    Progress progress;

    extension->on_reset.func = close_extension;
    extension->on_reset.arg = extension;
    MemoryContextRegisterResetCallback(CurrentMemoryContext, &extension->on_reset);
    extension->model = use->model;

    int settings = NewGUCNestLevel();
    pin_settings();
    progress_start(&progress, "refresh_recommender", utf8_string(recommender->name).data);
    Rights before = take_owner_rights(recommender);
    if (OidIsValid(recommender->table[TABLE_ITEMS])) {
        int64 ignored = 0;
        progress_phase(&progress, "new items", 0);
        ArrayType *keys = find_news(recommender, NEWS_ALL, use->model, INT_MAX, &ignored);
        if (keys)
            extend_by_items(recommender, extension, keys);
        keys = changed_items(recommender);
        if (keys)
            extend_by_items(recommender, extension, keys);
    }
    progress_phase(&progress, "new events", 0);
    extend_by_events(recommender, extension);
    restore_rights(before);
    AtEOXact_GUC(true, settings);

    aigc_recommender_describe(extension->model, &info);
    Jsonb *summary = summary_of_extension(recommender, &info, extension->new_items, extension->new_events);
    if (extension->opened)
        store_model(fcinfo, recommender, extension->image, extension->size, info.n_items, recommender->news, marker,
                    false, summary);
    progress_end(&progress);
    return summary;
}

/* ---- which of them ---- */

static int64 count_rows(const char *table)
{
    bool null;

    run_query(psprintf("SELECT pg_catalog.count(*) FROM %s", table), 0, NULL, NULL, NULL, true, 0);
    return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

/* Whether so much has changed since everything was learned that it is worth while again. */
static bool full_is_worth(const Recommender *recommender)
{
    static const char *const counted[] = {[TABLE_ITEMS] = "items", [TABLE_EVENTS] = "events"};
    int64 total = 0;
    bool much = false;

    Rights before = take_owner_rights(recommender);
    for (int table = TABLE_ITEMS; table <= TABLE_EVENTS; table++) {
        if (!OidIsValid(recommender->table[table]))
            continue;
        int64 now = count_rows(recommender->table_sql[table]);
        int64 then = rows_learned(recommender, counted[table]);
        total += now;
        much |= llabs(now - then) > WORTH * then;
    }
    restore_rights(before);
    return total <= FEW_ROWS || much;
}

/* One at a time: the row of the recommender is locked until the transaction ends. */
static void lock_recommender(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Rights before = take_catalogue_rights(fcinfo);
    run_query(psprintf("SELECT 1 FROM %s.aigc_recommender WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP "
                       "LOCKED",
                       extension_schema(fcinfo)),
              1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(recommender->name)}, NULL, false, 0);
    restore_rights(before);
    if (SPI_processed == 0)
        ereport(ERROR,
                (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                 errmsg("recommender \"%s\" is being refreshed or dropped by another session", recommender->name)));
}

SQL_FUNCTION(sql_refresh_recommender);

Datum sql_refresh_recommender(PG_FUNCTION_ARGS)
{
    if (PG_ARGISNULL(0))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a recommender's name must not be null")));
    PreventCommandIfReadOnly("refresh_recommender()");

    MemoryContext result = CurrentMemoryContext;
    SPI_connect();
    Recommender *recommender = find_recommender(fcinfo, text_to_cstring(PG_GETARG_TEXT_PP(0)));
    check_recommender_owner(recommender);
    lock_recommender(fcinfo, recommender);
    bool full = !recommender->has_model || (PG_ARGISNULL(1) ? full_is_worth(recommender) : PG_GETARG_BOOL(1));
    Jsonb *summary = full ? refresh_full(fcinfo, recommender) : refresh_news(fcinfo, recommender);
    MemoryContext old = MemoryContextSwitchTo(result);
    summary = DatumGetJsonbPCopy(JsonbPGetDatum(summary));
    MemoryContextSwitchTo(old);
    SPI_finish();
    PG_RETURN_JSONB_P(summary);
}
