/*
 * recommend_feedback.c: record_feedback(), for those who have no table of events: what somebody thinks of an item is
 * kept by the extension, counts as an event at once for that user, and in the next refresh for everybody.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

static double value_arg(FunctionCallInfo fcinfo, int i)
{
    double value = PG_ARGISNULL(i) ? 1 : PG_GETARG_FLOAT8(i);

    if (!isfinite(value) || value == 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("value is %g, but must be a number above 0 (liked) or below 0 (disliked)", value)));
    return value;
}

/* The item's key as the table writes it, if the caller may see the item. */
static char *checked_item(const Recommender *recommender, char *key)
{
    KeyList keys = {&key, 1};

    Rights before = take_reader_rights(recommender);
    visible_keys(recommender, &keys);
    restore_rights(before);
    if (SPI_processed == 0)
        ereport(ERROR,
                (errcode(ERRCODE_NO_DATA_FOUND), errmsg("there is no item \"%s\" in the catalogue of recommender "
                                                        "\"%s\"",
                                                        key, recommender->name)));
    return row_text(0, 1);
}

SQL_FUNCTION(sql_record_feedback);

Datum sql_record_feedback(PG_FUNCTION_ARGS)
{
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("%s must not be null", PG_ARGISNULL(0) ? "profile" : "item")));
    PreventCommandIfReadOnly("record_feedback()");

    SPI_connect();
    int settings = NewGUCNestLevel();
    pin_formats();
    Jsonb *json = PG_GETARG_JSONB_P(0);
    double value = value_arg(fcinfo, 2);
    char *name = PG_ARGISNULL(3) ? profile_recommender(json) : text_to_cstring(PG_GETARG_TEXT_PP(3));
    Recommender *recommender = find_recommender(fcinfo, name);
    Profile *profile = read_profile(json, recommender);
    if (!profile->user)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the profile names no user"),
                        errhint("Feedback is somebody's: {\"user\": ...}.")));
    char *item = checked_item(recommender, text_to_cstring(PG_GETARG_TEXT_PP(1)));

    Oid types[] = {TEXTOID, TEXTOID, TEXTOID, FLOAT8OID, NAMEOID};
    Datum values[] = {CStringGetTextDatum(recommender->name), CStringGetTextDatum(profile->user),
                      CStringGetTextDatum(item), Float8GetDatum(value), role_name(GetUserId())};
    Rights before = take_catalogue_rights(fcinfo);
    run_query(psprintf("INSERT INTO %s.aigc_feedback (recommender, user_key, item, value, recorded_by, at) VALUES ($1, "
                       "$2, $3, $4, $5, pg_catalog.clock_timestamp())",
                       extension_schema(fcinfo)),
              lengthof(types), types, values, NULL, false, 0);
    restore_rights(before);
    AtEOXact_GUC(true, settings);
    SPI_finish();
    PG_RETURN_VOID();
}
