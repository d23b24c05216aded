/*
 * recommend_evaluate.c: evaluate_recommender(): a fit on a part of the events, and how well it finds the rest, beside
 * simpler rankings. Nothing is stored; the model in use is not touched.
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#define DEFAULT_USERS 1000

_Noreturn static void refuse(const char *option, const char *wanted)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" must be %s", option, wanted)));
}

static int64 whole_number(const char *option, const JsonbValue *value, int64 min, int64 max)
{
    double number = value->type == jbvNumeric
                        ? DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)))
                        : NAN;

    if (!(number >= (double)min && number <= (double)max) || number != floor(number))
        refuse(option, psprintf("a whole number from " INT64_FORMAT " to " INT64_FORMAT, min, max));
    return (int64)number;
}

static bool string_is(const JsonbValue *value, const char *word)
{
    return value->type == jbvString && value->val.string.len == (int)strlen(word) &&
           strncmp(value->val.string.val, word, value->val.string.len) == 0;
}

static void read_holdout(aigc_fit_options *options, const JsonbValue *value)
{
    if (string_is(value, "random"))
        options->holdout = AIGC_HOLDOUT_RANDOM;
    else if (string_is(value, "time"))
        options->holdout = AIGC_HOLDOUT_TIME;
    else
        refuse("holdout", "\"random\" or \"time\"");
}

/* One number, or a list of at most AIGC_METRIC_CUTOFFS. */
static void read_cutoffs(aigc_fit_options *options, JsonbValue *value)
{
    int n = 1;

    memset(options->cutoffs, 0, sizeof options->cutoffs);
    if (value->type != jbvBinary) {
        options->cutoffs[0] = (int)whole_number("k", value, 1, MAX_RESULTS);
        return;
    }
    JsonbContainer *list = value->val.binary.data;
    if (JsonContainerIsArray(list))
        n = JsonContainerSize(list);
    if (!JsonContainerIsArray(list) || n < 1 || n > AIGC_METRIC_CUTOFFS)
        refuse("k", psprintf("a number or a list of at most %d numbers", AIGC_METRIC_CUTOFFS));
    for (int i = 0; i < n; i++)
        options->cutoffs[i] = (int)whole_number("k", getIthJsonbValueFromContainer(list, i), 1, MAX_RESULTS);
}

static void read_option(aigc_fit_options *options, const char *key, JsonbValue *value)
{
    if (strcmp(key, "holdout") == 0)
        read_holdout(options, value);
    else if (strcmp(key, "users") == 0)
        options->evaluate_users = (int)whole_number(key, value, 1, INT_MAX);
    else if (strcmp(key, "k") == 0)
        read_cutoffs(options, value);
    else if (strcmp(key, "seed") == 0)
        options->seed = (uint64)whole_number(key, value, 0, PG_INT32_MAX);
    else if (strcmp(key, "factors") == 0)
        options->n_factors = (int)whole_number(key, value, 1, AIGC_MAX_FACTORS);
    else
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"%s\"", key),
                        errdetail("Known options are holdout, users, k, seed, factors.")));
}

static aigc_fit_options read_options(Jsonb *json)
{
    aigc_fit_options options = fit_options();
    JsonbValue value;
    JsonbIteratorToken token;
    char *key = NULL;

    options.evaluate_users = DEFAULT_USERS;
    if (!JB_ROOT_IS_OBJECT(json))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object")));
    JsonbIterator *iterator = JsonbIteratorInit(&json->root);
    JsonbIteratorNext(&iterator, &value, true);
    while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE) {
        if (token == WJB_KEY)
            key = pnstrdup(value.val.string.val, value.val.string.len);
        else if (token == WJB_VALUE)
            read_option(&options, key, &value);
    }
    return options;
}

static void put_metrics(Rows *rows, const aigc_metrics *metrics)
{
    for (int i = 0; i < AIGC_METRIC_CUTOFFS; i++) {
        if (metrics->cutoffs[i] == 0)
            continue;
        Datum values[] = {CStringGetTextDatum(metrics->ranker),   Int32GetDatum(metrics->cutoffs[i]),
                          Float8GetDatum(metrics->recall[i]),     Float8GetDatum(metrics->ndcg[i]),
                          Float8GetDatum(metrics->ndcg_error[i]), Float8GetDatum(metrics->coverage),
                          Int32GetDatum((int32)metrics->n_users)};
        bool nulls[lengthof(values)] = {false};
        tuplestore_putvalues(rows->store, rows->desc, values, nulls);
    }
}

SQL_FUNCTION(sql_evaluate_recommender);

Datum sql_evaluate_recommender(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);
    const aigc_metrics *metrics;

    if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
        return (Datum)0;
    SPI_connect();
    aigc_fit_options options = read_options(PG_GETARG_JSONB_P(1));
    Recommender *recommender = find_recommender(fcinfo, text_to_cstring(PG_GETARG_TEXT_PP(0)));
    check_recommender_owner(recommender);
    if (!OidIsValid(recommender->table[TABLE_EVENTS]))
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("recommender \"%s\" has no events to be evaluated on", recommender->name)));
    FitRun *run = run_fit(fcinfo, recommender, &options, "evaluate_recommender");
    size_t n = aigc_fit_metrics(run->fit, &metrics);
    for (size_t i = 0; i < n; i++)
        put_metrics(&rows, &metrics[i]);
    SPI_finish();
    return (Datum)0;
}
