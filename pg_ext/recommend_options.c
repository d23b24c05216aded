/*
 * recommend_options.c: options (jsonb) of create_recommender(), which rule how it learns, and of
 * evaluate_recommender(), which may try others before they are chosen.
 */
#include "postgres.h"

#include <math.h>

#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define DEFAULT_USERS  1000
#define SECONDS_OF_DAY 86400.0

_Noreturn static void refuse(const char *option, const char *wanted)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" must be %s", option, wanted)));
}

static double number(const char *option, const JsonbValue *value)
{
    if (value->type != jbvNumeric)
        refuse(option, "a number");
    return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
}

static int whole_number(const char *option, const JsonbValue *value, int min, int max)
{
    double n = value->type == jbvNumeric ? number(option, value) : NAN;

    if (!(n >= min && n <= max) || n != floor(n))
        refuse(option, psprintf("a whole number from %d to %d", min, max));
    return (int)n;
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

static void read_weights(aigc_fit_options *options, const JsonbValue *value)
{
    if (string_is(value, "log"))
        options->weights = AIGC_WEIGHTS_LOG;
    else if (string_is(value, "binary"))
        options->weights = AIGC_WEIGHTS_BINARY;
    else if (string_is(value, "plain"))
        options->weights = AIGC_WEIGHTS_PLAIN;
    else
        refuse("weights", "\"log\", \"binary\" or \"plain\"");
}

/* One number, or a list of at most AIGC_METRIC_CUTOFFS. */
static void read_cutoffs(aigc_fit_options *options, const JsonbValue *value)
{
    memset(options->cutoffs, 0, sizeof options->cutoffs);
    if (value->type != jbvBinary) {
        options->cutoffs[0] = whole_number("k", value, 1, MAX_RESULTS);
        return;
    }
    JsonbContainer *list = value->val.binary.data;
    int n = JsonContainerIsArray(list) ? (int)JsonContainerSize(list) : 0;
    if (n < 1 || n > AIGC_METRIC_CUTOFFS)
        refuse("k", psprintf("a number or a list of at most %d numbers", AIGC_METRIC_CUTOFFS));
    for (int i = 0; i < n; i++)
        options->cutoffs[i] = whole_number("k", getIthJsonbValueFromContainer(list, i), 1, MAX_RESULTS);
}

/* Options of learning. False: there is none of that name. */
static bool read_learning(aigc_fit_options *options, const char *key, const JsonbValue *value)
{
    if (strcmp(key, "factors") == 0)
        options->n_factors = whole_number(key, value, 1, AIGC_MAX_FACTORS);
    else if (strcmp(key, "iterations") == 0)
        options->n_iterations = whole_number(key, value, 1, 1000);
    else if (strcmp(key, "item_weights") == 0)
        options->ease_items = whole_number(key, value, 0, 100000);
    else if (strcmp(key, "weights") == 0)
        read_weights(options, value);
    else if (strcmp(key, "holdout") == 0)
        read_holdout(options, value);
    else if (strcmp(key, "half_life") == 0) {
        options->half_life = number(key, value) * SECONDS_OF_DAY;
        if (!(options->half_life > 0))
            refuse(key, "a number of days above 0");
    } else if (strcmp(key, "seed") == 0)
        options->seed = (uint64)whole_number(key, value, 0, PG_INT32_MAX);
    else
        return false;
    return true;
}

static bool read_evaluation(aigc_fit_options *options, const char *key, const JsonbValue *value)
{
    if (strcmp(key, "users") == 0)
        options->evaluate_users = whole_number(key, value, 1, PG_INT32_MAX);
    else if (strcmp(key, "k") == 0)
        read_cutoffs(options, value);
    else
        return false;
    return true;
}

void read_fit_options(const Jsonb *json, bool evaluation, aigc_fit_options *options)
{
    JsonbValue value;
    JsonbIteratorToken token;
    char *key = NULL;

    if (evaluation)
        options->evaluate_users = DEFAULT_USERS;
    if (!JB_ROOT_IS_OBJECT(json))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object")));
    JsonbIterator *iterator = JsonbIteratorInit((JsonbContainer *)&json->root);
    JsonbIteratorNext(&iterator, &value, true);
    while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE) {
        if (token == WJB_KEY)
            key = pnstrdup(value.val.string.val, value.val.string.len);
        else if (token == WJB_VALUE && value.type != jbvNull && !read_learning(options, key, &value) &&
                 !(evaluation && read_evaluation(options, key, &value)))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"%s\"", key),
                            errdetail("Known options are factors, iterations, item_weights, weights, holdout, "
                                      "half_life, seed%s.",
                                      evaluation ? ", users, k" : "")));
    }
}
