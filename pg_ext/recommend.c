/*
 * recommend.c: recommend(), explain_recommendation() and similar_items(): what SQL calls, around recommend_ranking.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#define DEFAULT_K 10

/* Opens SPI, with formats in which keys are the same for everybody. Returns what finish() takes. */
static int start(void)
{
    SPI_connect();
    int settings = NewGUCNestLevel();
    pin_formats();
    return settings;
}

static void finish(int settings)
{
    AtEOXact_GUC(true, settings);
    SPI_finish();
}

static char *text_arg(FunctionCallInfo fcinfo, int i)
{
    return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

/* The number of results: the argument's, the profile's, or the usual one. */
static size_t results_wanted(FunctionCallInfo fcinfo, int i, int of_profile)
{
    int k = !PG_ARGISNULL(i) ? PG_GETARG_INT32(i) : of_profile >= 0 ? of_profile : DEFAULT_K;

    if (k < 0 || k > MAX_RESULTS)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("k is %d, but must be between 0 and %d", k, MAX_RESULTS)));
    return (size_t)k;
}

/* ---- writing for the person ---- */

typedef struct Writer {
    char *prompt; /* with {item}, {text}, {profile}, {reasons} in it */
    char *profile;
    Datum model;
    bool has_model;
    bool has_seed;
    int64 seed;
} Writer;

/* Title and whole text of an item, as the caller may read them: columns 1 and 2 of one row, or no row. */
static void read_text(const Recommender *recommender, char *key)
{
    const ColumnList *texts = &recommender->role[ITEM_TEXT];
    const Column *id = &recommender->role[ITEM_ID].column[0];
    StringInfoData sql;

    initStringInfo(&sql);
    appendStringInfo(&sql, "SELECT %s, pg_catalog.concat_ws(E'\\n'", texts->column[0].sql);
    append_columns(&sql, texts);
    appendStringInfo(&sql, ") FROM %s WHERE %s %s $1::%s", recommender->table_sql[TABLE_ITEMS],
                     quote_identifier(id->name), equality_of(id), type_sql(id->type));
    run_query(sql.data, 1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(key)}, NULL, true, 1);
}

/* Replaces each {name} of the template by its value; other braces stay. */
static char *fill_template(const char *template, const char *const names[], char *const values[], int n)
{
    StringInfoData out;

    initStringInfo(&out);
    while (*template) {
        int i;
        for (i = 0; i < n; i++) {
            if (strncmp(template, names[i], strlen(names[i])) == 0)
                break;
        }
        if (i < n) {
            appendStringInfoString(&out, values[i] ? values[i] : "");
            template += strlen(names[i]);
        } else {
            appendStringInfoChar(&out, *template ++);
        }
    }
    return out.data;
}

/* The text that a model writes for this person about this item. */
static Datum write_content(const Ask *ask, const Writer *writer, char *key, char *sentence, bool *null)
{
    static const char *const names[] = {"{item}", "{text}", "{profile}", "{reasons}"};
    char *values[] = {key, NULL, writer->profile, sentence};

    if (OidIsValid(ask->recommender->table[TABLE_ITEMS]) && ask->recommender->role[ITEM_TEXT].n > 0) {
        Rights before = take_reader_rights(ask->recommender);
        read_text(ask->recommender, key);
        restore_rights(before);
        if (SPI_processed > 0) {
            char *title = row_text(0, 1);
            values[0] = title ? title : key;
            values[1] = row_text(0, 2);
        }
    }
    Oid types[] = {TEXTOID, TEXTOID, INT8OID};
    Datum args[] = {CStringGetTextDatum(fill_template(writer->prompt, names, values, lengthof(names))), writer->model,
                    Int64GetDatum(writer->seed)};
    char nulls[] = {' ', writer->has_model ? ' ' : 'n', writer->has_seed ? ' ' : 'n'};
    run_query(psprintf("SELECT %s.generate($1, model => $2, seed => $3)", extension_schema(ask->fcinfo)), 3, types,
              args, nulls, false, 1);
    return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, null);
}

static Writer *read_writer(FunctionCallInfo fcinfo, int prompt, int model, const Ask *ask, Jsonb *profile)
{
    if (PG_ARGISNULL(prompt))
        return NULL;

    Writer *writer = palloc0(sizeof *writer);
    writer->prompt = text_arg(fcinfo, prompt);
    writer->profile = JsonbToCString(NULL, &profile->root, VARSIZE(profile));
    writer->has_model = !PG_ARGISNULL(model);
    if (writer->has_model)
        writer->model = PG_GETARG_DATUM(model);
    writer->seed = (int64)ask->profile->seed;
    writer->has_seed = ask->profile->has_seed;
    return writer;
}

/* ---- recommend ---- */

static void put_recommendation(Rows *rows, const Ask *ask, const Titles *titles, const Writer *writer, size_t i)
{
    const aigc_recommendation *result = &ask->results[i];
    char *key = item_key(ask, result->item);
    Datum values[5] = {Int32GetDatum((int32)i + 1), CStringGetTextDatum(key), Float8GetDatum(result->score),
                       JsonbPGetDatum(reasons_jsonb(ask, titles, result))};
    bool nulls[5] = {false, false, false, false, true};

    if (writer)
        values[4] = write_content(ask, writer, key, reasons_sentence(ask, titles, result), &nulls[4]);
    tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

SQL_FUNCTION(sql_recommend);

Datum sql_recommend(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);

    if (PG_ARGISNULL(0))
        return (Datum)0;
    int settings = start();
    Jsonb *profile = PG_GETARG_JSONB_P(0);
    Ask *ask = begin_ask(fcinfo, profile, text_arg(fcinfo, 1));
    rank_items(ask, results_wanted(fcinfo, 2, ask->profile->k));
    Titles *titles = read_titles(ask);
    Writer *writer = read_writer(fcinfo, 3, 4, ask, profile);
    for (size_t i = 0; i < ask->n; i++) {
        CHECK_FOR_INTERRUPTS();
        put_recommendation(&rows, ask, titles, writer, i);
    }
    end_ask(ask);
    finish(settings);
    return (Datum)0;
}

/* ---- explain ---- */

_Noreturn static void refuse_item(const char *key, const Recommender *recommender)
{
    ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
                    errmsg("there is no item \"%s\" in the catalogue of recommender \"%s\"", key, recommender->name)));
}

/* The number of the item that a key names, if the caller may see it. */
static uint32_t named_item(Ask *ask, char *key)
{
    KeyList keys = {&key, 1};
    size_t n;

    Rights before = take_reader_rights(ask->recommender);
    uint32_t *items = visible_items(ask, &keys, &n);
    restore_rights(before);
    if (n == 0)
        refuse_item(key, ask->recommender);
    return items[0];
}

static void put_reason(Rows *rows, const Ask *ask, const Titles *titles, const aigc_recommendation *result, size_t i)
{
    const aigc_reason *reason = &result->reasons[i];
    char *about = reason_about(ask, titles, reason);
    Datum values[4] = {CStringGetTextDatum(reason_name(reason->kind)), about ? CStringGetTextDatum(about) : (Datum)0,
                       Float8GetDatum(reason->share), CStringGetTextDatum(reasons_sentence(ask, titles, result))};
    bool nulls[4] = {false, !about, false, false};

    tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

SQL_FUNCTION(sql_explain_recommendation);

Datum sql_explain_recommendation(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);

    if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
        return (Datum)0;
    int settings = start();
    Ask *ask = begin_ask(fcinfo, PG_GETARG_JSONB_P(0), text_arg(fcinfo, 2));
    uint32_t item = named_item(ask, text_arg(fcinfo, 1));
    /* Also what has been seen, excluded or left out of the candidates has its reasons. */
    ask->query.among = &item;
    ask->query.n_among = 1;
    ask->query.n_exclude = 0;
    ask->query.keep_seen = true;
    ask->query.against = true;
    rank_items(ask, 1);
    Titles *titles = read_titles(ask);
    for (size_t i = 0; ask->n > 0 && i < ask->results[0].n_reasons; i++)
        put_reason(&rows, ask, titles, &ask->results[0], i);
    end_ask(ask);
    finish(settings);
    return (Datum)0;
}

/* ---- similar ---- */

SQL_FUNCTION(sql_similar_items);

Datum sql_similar_items(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);

    if (PG_ARGISNULL(0))
        return (Datum)0;
    int settings = start();
    Jsonb *nobody = jsonb_of("{}");
    Ask *ask = begin_ask(fcinfo, nobody, text_arg(fcinfo, 1));
    uint32_t item = named_item(ask, text_arg(fcinfo, 0));
    ask->query.likes = &item;
    ask->query.n_likes = 1;
    ask->query.likeness = true;
    ask->query.keep_seen = false;
    ask->query.reasons = false;
    rank_items(ask, results_wanted(fcinfo, 2, -1));
    for (size_t i = 0; i < ask->n; i++) {
        Datum values[3] = {Int32GetDatum((int32)i + 1), CStringGetTextDatum(item_key(ask, ask->results[i].item)),
                           Float8GetDatum(ask->results[i].score)};
        bool nulls[3] = {false};
        tuplestore_putvalues(rows.store, rows.desc, values, nulls);
    }
    end_ask(ask);
    finish(settings);
    return (Datum)0;
}
