/*
 * training_options.c: options that come as a JSON object: {"steps": 500, "type": "Q8_0"}. Each function has a table of
 * the names it knows; whatever is not in the table, or has another type or a value out of range, is an error that says
 * so: a misspelt option that is ignored would cost hours of training.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "training.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* JSON numbers are doubles to most of who writes them: integers beyond 2^53 would be rounded there. */
#define MOST_EXACT 9007199254740992.0

#define MOST_SHOWN 60

static char *list_names(const OptionSpec *specs, int n_specs)
{
    StringInfoData names;

    initStringInfo(&names);
    for (int i = 0; i < n_specs; i++)
        appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", specs[i].name);
    return names.data;
}

static const OptionSpec *find_option(const JsonbValue *key, const OptionSpec *specs, int n_specs)
{
    int len = key->val.string.len;

    for (int i = 0; i < n_specs; i++) {
        if (strlen(specs[i].name) == (size_t)len && memcmp(specs[i].name, key->val.string.val, len) == 0)
            return &specs[i];
    }
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("there is no option \"%s\"", pnstrdup(key->val.string.val, len)),
                    errhint("The options: %s.", list_names(specs, n_specs))));
}

/* The value as JSON, for a message: not all of it if it is long. */
static char *show_value(JsonbValue *value)
{
    Jsonb *json = JsonbValueToJsonb(value);
    char *shown = JsonbToCString(NULL, &json->root, VARSIZE(json));

    if (strlen(shown) > MOST_SHOWN)
        strcpy(shown + pg_mbcliplen(shown, (int)strlen(shown), MOST_SHOWN - 3), "...");
    return shown;
}

static char *list_choices(const char *const *choices)
{
    StringInfoData names;

    initStringInfo(&names);
    for (int i = 0; choices[i]; i++)
        appendStringInfo(&names, "%s\"%s\"", i == 0 ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
    return names.data;
}

static char *describe_kind(const OptionSpec *spec)
{
    switch (spec->kind) {
    case OPTION_INT:
        return psprintf("an integer from %.0f to %.0f", spec->least, spec->most);
    case OPTION_SEED:
        return "an integer from 0 to 2^53";
    case OPTION_REAL:
        return psprintf("a number from %g to %g", spec->least, spec->most);
    case OPTION_BOOL:
        return "true or false";
    case OPTION_CHOICE:
        return list_choices(spec->choices);
    case OPTION_TEXT:
        break;
    }
    return "a string";
}

static _Noreturn void raise_value(const OptionSpec *spec, JsonbValue *value)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("option \"%s\" must be %s, not %s", spec->name, describe_kind(spec), show_value(value))));
}

static double number(const OptionSpec *spec, JsonbValue *value)
{
    double least = spec->kind == OPTION_SEED ? 0 : spec->least,
           most = spec->kind == OPTION_SEED ? MOST_EXACT : spec->most;

    if (value->type != jbvNumeric)
        raise_value(spec, value);

    double n = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
    if (!(n >= least && n <= most) || (spec->kind != OPTION_REAL && n != floor(n)))
        raise_value(spec, value);
    return n;
}

static int choice(const OptionSpec *spec, JsonbValue *value)
{
    for (int i = 0; value->type == jbvString && spec->choices[i]; i++) {
        if (strlen(spec->choices[i]) == (size_t)value->val.string.len &&
            memcmp(spec->choices[i], value->val.string.val, value->val.string.len) == 0)
            return i;
    }
    raise_value(spec, value);
}

static void set_option(const OptionSpec *spec, JsonbValue *value, char *at)
{
    switch (spec->kind) {
    case OPTION_INT:
        *(int *)at = (int)number(spec, value);
        return;
    case OPTION_REAL:
        *(double *)at = number(spec, value);
        return;
    case OPTION_SEED:
        *(uint64 *)at = (uint64)number(spec, value);
        return;
    case OPTION_BOOL:
        if (value->type != jbvBool)
            raise_value(spec, value);
        *(bool *)at = value->val.boolean;
        return;
    case OPTION_CHOICE:
        *(int *)at = choice(spec, value);
        return;
    case OPTION_TEXT:
        if (value->type != jbvString)
            raise_value(spec, value);
        *(text **)at = cstring_to_text_with_len(value->val.string.val, value->val.string.len);
        return;
    }
}

void read_options(const Jsonb *options, const OptionSpec *specs, int n_specs, void *out)
{
    if (!JB_ROOT_IS_OBJECT(options))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
                        errhint("For example {\"steps\": 500}.")));

    JsonbIterator *at = JsonbIteratorInit((JsonbContainer *)&options->root);
    const OptionSpec *spec = NULL;
    JsonbIteratorToken token;
    JsonbValue value;

    while ((token = JsonbIteratorNext(&at, &value, true)) != WJB_DONE) {
        if (token == WJB_KEY)
            spec = find_option(&value, specs, n_specs);
        else if (token == WJB_VALUE && value.type != jbvNull)
            set_option(spec, &value, (char *)out + spec->offset);
    }
}
