/*
 * generate.c: generate(), generate_alternatives() and generate_stream(). They share their options, which stand in the
 * same order in all three signatures; a NULL option means its default. Core checks the values.
 */
#include "postgres.h"

#include "aigc_pg.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define DEFAULT_ALTERNATIVES 3

/* The options' places in the argument list, counted from the model's. */
enum {
    ARG_MODEL,
    ARG_MAX_TOKENS,
    ARG_TEMPERATURE,
    ARG_TOP_P,
    ARG_TOP_K,
    ARG_MIN_P,
    ARG_FREQUENCY_PENALTY,
    ARG_PRESENCE_PENALTY,
    ARG_REPETITION_PENALTY,
    ARG_STOP,
    ARG_SEED,
    ARG_LORA
};

static const text *text_option(FunctionCallInfo fcinfo, int i)
{
    return PG_ARGISNULL(i) ? NULL : PG_GETARG_TEXT_PP(i);
}

static double float_option(FunctionCallInfo fcinfo, int i, double default_value)
{
    return PG_ARGISNULL(i) ? default_value : PG_GETARG_FLOAT8(i);
}

static int int_option(FunctionCallInfo fcinfo, int i, int default_value)
{
    return PG_ARGISNULL(i) ? default_value : PG_GETARG_INT32(i);
}

static uint64 random_seed(void)
{
    uint64 seed;

    if (!pg_strong_random(&seed, sizeof seed))
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not obtain a random seed")));
    return seed;
}

/* The call's seed, the setting's, or a new one. A negative bigint is as good a seed as any: its bits count. */
static uint64 seed_option(FunctionCallInfo fcinfo, int i)
{
    if (!PG_ARGISNULL(i))
        return (uint64)PG_GETARG_INT64(i);
    if (setting_seed >= 0)
        return (uint64)setting_seed;

    uint64 seed = random_seed();
    ereport(DEBUG1, (errmsg_internal("generating with seed " INT64_FORMAT, (int64)seed)));
    return seed;
}

static void read_sampling(FunctionCallInfo fcinfo, int first, aigc_sampling *sampling)
{
    sampling->temperature = float_option(fcinfo, first + ARG_TEMPERATURE, sampling->temperature);
    sampling->top_p = float_option(fcinfo, first + ARG_TOP_P, sampling->top_p);
    sampling->top_k = int_option(fcinfo, first + ARG_TOP_K, sampling->top_k);
    sampling->min_p = float_option(fcinfo, first + ARG_MIN_P, sampling->min_p);
    sampling->frequency_penalty = float_option(fcinfo, first + ARG_FREQUENCY_PENALTY, sampling->frequency_penalty);
    sampling->presence_penalty = float_option(fcinfo, first + ARG_PRESENCE_PENALTY, sampling->presence_penalty);
    sampling->repetition_penalty = float_option(fcinfo, first + ARG_REPETITION_PENALTY, sampling->repetition_penalty);
    sampling->seed = seed_option(fcinfo, first + ARG_SEED);
}

static void read_stop(ArrayType *array, aigc_request_options *options)
{
    Datum *elements;
    bool *nulls;
    int n;

    if (ARR_NDIM(array) > 1)
        ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                        errmsg("stop must be a one-dimensional array, not one of %d dimensions", ARR_NDIM(array))));
    deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);

    const char **stop = palloc(Max(n, 1) * sizeof *stop);
    for (int i = 0; i < n; i++) {
        if (nulls[i])
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stop string %d is null", i + 1)));
        stop[i] = text_to_utf8_cstring(DatumGetTextPP(elements[i]));
        if (!*stop[i])
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("stop string %d is empty", i + 1)));
    }
    options->stop = stop;
    options->n_stop = n;
}

/* Submits what the arguments ask for: the prompt is argument 0, the options begin at first. */
static Request *submit(FunctionCallInfo fcinfo, int first, int n)
{
    SessionModel *model = session_engine(text_option(fcinfo, first), text_option(fcinfo, first + ARG_LORA));
    aigc_request_options options = aigc_request_defaults();

    options.sampling = aigc_sampling_unset();
    aigc_sampling_fill(&options.sampling, model->model);
    options.prompt = text_to_utf8(PG_GETARG_TEXT_PP(0), &options.prompt_len);
    options.max_tokens = int_option(fcinfo, first + ARG_MAX_TOKENS, setting_max_tokens);
    options.n = n;
    read_sampling(fcinfo, first, &options.sampling);
    if (!PG_ARGISNULL(first + ARG_STOP))
        read_stop(PG_GETARG_ARRAYTYPE_P(first + ARG_STOP), &options);
    return request_begin(model, &options);
}

SQL_FUNCTION(sql_generate);

Datum sql_generate(PG_FUNCTION_ARGS)
{
    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();

    StringInfoData out;
    aigc_piece piece;
    Request *request = submit(fcinfo, 1, 1);

    initStringInfo(&out);
    while (request_next(request, &piece))
        appendBinaryStringInfo(&out, piece.text, (int)piece.text_len);
    request_end(request);
    PG_RETURN_TEXT_P(utf8_to_text(out.data, out.len));
}

SQL_FUNCTION(sql_generate_stream);

/* One piece for each call, computed when it is asked for: a cursor reads while the model writes. */
Datum sql_generate_stream(PG_FUNCTION_ARGS)
{
    FuncCallContext *call;
    aigc_piece piece;

    if (SRF_IS_FIRSTCALL()) {
        call = SRF_FIRSTCALL_INIT();
        if (PG_ARGISNULL(0))
            SRF_RETURN_DONE(call);
        /* The request goes with this context, which the executor deletes when the query ends, early or not. */
        MemoryContext old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
        call->user_fctx = submit(fcinfo, 1, 1);
        MemoryContextSwitchTo(old);
    }
    call = SRF_PERCALL_SETUP();
    while (request_next(call->user_fctx, &piece)) {
        if (piece.text_len > 0)
            SRF_RETURN_NEXT(call, PointerGetDatum(utf8_to_text(piece.text, piece.text_len)));
    }
    request_end(call->user_fctx);
    SRF_RETURN_DONE(call);
}

typedef struct Alternatives {
    int *rank;            /* [n], most probable first */
    double *logprob;      /* [n] */
    StringInfoData *text; /* [n] */
} Alternatives;

static int alternatives_option(FunctionCallInfo fcinfo, int i)
{
    int n = int_option(fcinfo, i, DEFAULT_ALTERNATIVES);

    if (n < 1 || n > MAX_ALTERNATIVES)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("n is %d, but must be between 1 and %d", n, MAX_ALTERNATIVES)));
    return n;
}

/* Runs one request with n alternatives, which the engine decodes as one batch. */
static Alternatives *run_alternatives(FunctionCallInfo fcinfo, int n)
{
    Alternatives *result = palloc(sizeof *result);
    aigc_piece piece;
    Request *request = submit(fcinfo, 2, n);

    result->rank = palloc(n * sizeof *result->rank);
    result->logprob = palloc(n * sizeof *result->logprob);
    result->text = palloc(n * sizeof *result->text);
    for (int i = 0; i < n; i++)
        initStringInfo(&result->text[i]);
    while (request_next(request, &piece))
        appendBinaryStringInfo(&result->text[piece.alternative], piece.text, (int)piece.text_len);
    aigc_request_rank(request->request, result->rank);
    for (int i = 0; i < n; i++)
        result->logprob[i] = aigc_request_logprob(request->request, i);
    request_end(request);
    return result;
}

SQL_FUNCTION(sql_generate_alternatives);

Datum sql_generate_alternatives(PG_FUNCTION_ARGS)
{
    FuncCallContext *call;

    if (SRF_IS_FIRSTCALL()) {
        call = SRF_FIRSTCALL_INIT();
        if (PG_ARGISNULL(0))
            SRF_RETURN_DONE(call);
        MemoryContext old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
        if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
            elog(ERROR, "return type must be a row type");
        call->max_calls = alternatives_option(fcinfo, 1);
        call->user_fctx = run_alternatives(fcinfo, (int)call->max_calls);
        MemoryContextSwitchTo(old);
    }
    call = SRF_PERCALL_SETUP();
    if (call->call_cntr < call->max_calls) {
        Alternatives *result = call->user_fctx;
        int i = result->rank[call->call_cntr];
        Datum values[] = {Int32GetDatum((int32)call->call_cntr + 1),
                          PointerGetDatum(utf8_to_text(result->text[i].data, result->text[i].len)),
                          Float8GetDatum(result->logprob[i])};
        bool nulls[lengthof(values)] = {false};
        SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, values, nulls)));
    }
    SRF_RETURN_DONE(call);
}
