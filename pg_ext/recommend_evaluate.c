/*
 * recommend_evaluate.c: evaluate_recommender(): a fit on a part of the events, and how well it finds the rest, beside
 * simpler rankings. Nothing is stored; the model in use is not touched.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/builtins.h"

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

static bool has_feedback(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Rights before = take_catalogue_rights(fcinfo);
    run_query(psprintf("SELECT 1 FROM %s.aigc_feedback WHERE recommender OPERATOR(pg_catalog.=) $1 AND user_key IS NOT "
                       "NULL",
                       extension_schema(fcinfo)),
              1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(recommender->name)}, NULL, true, 1);
    restore_rights(before);
    return SPI_processed > 0;
}

static void check_events(FunctionCallInfo fcinfo, const Recommender *recommender, const aigc_fit_options *options)
{
    bool has_table = OidIsValid(recommender->table[TABLE_EVENTS]);

    if (!has_table && !has_feedback(fcinfo, recommender))
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("recommender \"%s\" has no events to be evaluated on", recommender->name)));
    if (options->holdout == AIGC_HOLDOUT_TIME && has_table && recommender->role[EVENT_TIME].n == 0)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("holdout \"time\" needs times, but recommender \"%s\" has no event_time", recommender->name)));
}

SQL_FUNCTION(sql_evaluate_recommender);

Datum sql_evaluate_recommender(PG_FUNCTION_ARGS)
{
    Rows rows = begin_rows(fcinfo);
    const aigc_metrics *metrics;

    if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
        return (Datum)0;
    SPI_connect();
    Recommender *recommender = find_recommender(fcinfo, text_to_cstring(PG_GETARG_TEXT_PP(0)));
    aigc_fit_options options = fit_options(recommender);
    read_fit_options(PG_GETARG_JSONB_P(1), true, &options);
    check_recommender_owner(recommender);
    check_events(fcinfo, recommender, &options);
    FitRun *run = run_fit(fcinfo, recommender, &options, "evaluate_recommender");
    size_t n = aigc_fit_metrics(run->fit, &metrics);
    for (size_t i = 0; i < n; i++)
        put_metrics(&rows, &metrics[i]);
    SPI_finish();
    return (Datum)0;
}
