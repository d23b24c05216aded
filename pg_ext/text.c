/*
 * text.c: functions on text and tokens that generate nothing: tokenize(), detokenize(), count_tokens(), score_text(),
 * embed(), aigc_version(). Tokens are those that generate() would see for a prompt: with the model's BOS, and with
 * special tokens such as "<|endoftext|>" taken as tokens.
 */
#include "postgres.h"

#include <math.h>

#include "aigc_pg.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define TEXT_FLAGS (AIGC_TEXT_ADD_SPECIAL | AIGC_TEXT_PARSE_SPECIAL)

/* A palloc'd copy of what core allocated, which is freed: from here on an error loses nothing. */
static void *adopt(void *from_core, size_t bytes)
{
    void *copy = palloc_extended(Max(bytes, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);

    if (copy)
        memcpy(copy, from_core, bytes);
    aigc_free(from_core);
    if (!copy)
        ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for %zu bytes", bytes)));
    return copy;
}

static const text *optional_text(FunctionCallInfo fcinfo, int i)
{
    return PG_ARGISNULL(i) ? NULL : PG_GETARG_TEXT_PP(i);
}

/* The ids of a text value, palloc'd. */
static const int32_t *tokens_of(const text *value, const text *model, size_t *n_tokens)
{
    size_t len;
    const char *utf8 = text_to_utf8(value, &len);
    int32_t *tokens;
    aigc_error error;

    aigc_model *opened = session_model(model)->model;
    aigc_status status;
    do {
        check_interrupts();
        status = aigc_tokenize(opened, utf8, len, TEXT_FLAGS, &tokens, n_tokens, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK)
        raise_core_error(&error, NULL);
    return adopt(tokens, *n_tokens * sizeof *tokens);
}

static ArrayType *int_array(const int32_t *values, size_t n)
{
    if (n == 0)
        return construct_empty_array(INT4OID);

    size_t bytes = ARR_OVERHEAD_NONULLS(1) + n * sizeof *values;
    if (!AllocSizeIsValid(bytes))
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("%zu tokens do not fit an array", n)));

    ArrayType *array = palloc0(bytes);
    SET_VARSIZE(array, bytes);
    array->ndim = 1;
    array->elemtype = INT4OID;
    ARR_DIMS(array)[0] = (int)n;
    ARR_LBOUND(array)[0] = 1;
    memcpy(ARR_DATA_PTR(array), values, n * sizeof *values);
    return array;
}

SQL_FUNCTION(sql_tokenize);

Datum sql_tokenize(PG_FUNCTION_ARGS)
{
    size_t n_tokens;

    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();
    const int32_t *tokens = tokens_of(PG_GETARG_TEXT_PP(0), optional_text(fcinfo, 1), &n_tokens);
    PG_RETURN_ARRAYTYPE_P(int_array(tokens, n_tokens));
}

SQL_FUNCTION(sql_count_tokens);

Datum sql_count_tokens(PG_FUNCTION_ARGS)
{
    size_t n_tokens;

    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();
    tokens_of(PG_GETARG_TEXT_PP(0), optional_text(fcinfo, 1), &n_tokens);
    PG_RETURN_INT32((int32)n_tokens);
}

/* The ids of a one-dimensional array without NULLs; the array's own memory. */
static const int32_t *array_ids(ArrayType *array, size_t *n)
{
    if (ARR_NDIM(array) > 1)
        ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                        errmsg("tokens must be a one-dimensional array, not one of %d dimensions", ARR_NDIM(array))));
    if (array_contains_nulls(array))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("tokens must not contain nulls")));
    *n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    return (const int32_t *)ARR_DATA_PTR(array);
}

SQL_FUNCTION(sql_detokenize);

Datum sql_detokenize(PG_FUNCTION_ARGS)
{
    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();

    size_t n, len;
    const int32_t *ids = array_ids(PG_GETARG_ARRAYTYPE_P(0), &n);
    SessionModel *model = session_model(optional_text(fcinfo, 1));
    uint32_t n_vocab = aigc_model_describe(model->model)->n_vocab;
    char *utf8;
    aigc_error error;

    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                     errmsg("token %d is not in the vocabulary of model \"%s\"", ids[i], utf8_for_display(model->name)),
                     errdetail("Its tokens are 0 to %u.", n_vocab - 1)));
    }
    if (aigc_detokenize(model->model, ids, n, AIGC_TEXT_PLAIN, &utf8, &len, &error) != AIGC_OK)
        raise_core_error(&error, NULL);
    PG_RETURN_TEXT_P(utf8_to_text(adopt(utf8, len), len));
}

/* Runs a request that computes the log-probability of each token of the text; returns how many and their sum. */
static int score(SessionModel *model, const char *utf8, size_t len, double *logprob)
{
    aigc_request_options options = aigc_request_defaults();
    const aigc_token *tokens;
    aigc_piece piece;

    options.prompt = utf8;
    options.prompt_len = len;
    options.text_flags = TEXT_FLAGS;
    options.max_tokens = 0;
    options.prompt_logprobs = true;

    Request *request = request_begin(model, &options);
    while (request_next(request, &piece))
        ;
    size_t n = aigc_request_prompt(request->request, &tokens);
    *logprob = 0;
    /* The first token has nothing before it that could predict it. */
    for (size_t i = 1; i < n; i++)
        *logprob += tokens[i].logprob;
    request_end(request);
    return n > 0 ? (int)n - 1 : 0;
}

SQL_FUNCTION(sql_score_text);

Datum sql_score_text(PG_FUNCTION_ARGS)
{
    TupleDesc row;
    Datum values[4];
    bool nulls[4] = {false};
    double logprob;
    size_t len;

    if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();

    const char *utf8 = text_to_utf8(PG_GETARG_TEXT_PP(0), &len);
    int n = score(session_engine(optional_text(fcinfo, 1), optional_text(fcinfo, 2)), utf8, len, &logprob);
    values[0] = Int32GetDatum(n);
    values[1] = Float8GetDatum(logprob);
    values[2] = Float8GetDatum(n > 0 ? exp(-logprob / n) : 0);
    values[3] = Float8GetDatum(len > 0 ? -logprob / M_LN2 / (double)len : 0);
    nulls[2] = nulls[3] = n == 0;
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(row, values, nulls)));
}

/* Adds the embedding of these tokens, times how many they are, to sum [n_embd]; sum may be NULL at first. */
static float *add_embedding(SessionModel *model, const int32_t *tokens, size_t n, float *sum, size_t *n_embd)
{
    aigc_request_options options = aigc_request_defaults();
    aigc_piece piece;

    options.tokens = tokens;
    options.n_tokens = n;
    options.max_tokens = 1;
    options.sampling.temperature = 0;
    options.prompt_embedding = true;

    Request *request = request_begin(model, &options);
    while (request_next(request, &piece))
        ;
    *n_embd = aigc_request_embedding(request->request, NULL);
    float *one = palloc(*n_embd * sizeof *one);
    if (!sum)
        sum = palloc0(*n_embd * sizeof *sum);
    aigc_request_embedding(request->request, one);
    for (size_t i = 0; i < *n_embd; i++)
        sum[i] += (float)n * one[i];
    pfree(one);
    request_end(request);
    return sum;
}

static ArrayType *unit_vector(const float *sum, size_t n)
{
    Datum *values = palloc(n * sizeof *values);
    double square = 0;

    for (size_t i = 0; i < n; i++)
        square += (double)sum[i] * sum[i];
    for (size_t i = 0; i < n; i++)
        values[i] = Float4GetDatum(square > 0 ? (float)(sum[i] / sqrt(square)) : 0);
    return construct_array(values, (int)n, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT);
}

SQL_FUNCTION(sql_embed);

/* A text that is longer than the context is read in parts. */
Datum sql_embed(PG_FUNCTION_ARGS)
{
    size_t n, n_embd = 0;
    float *sum = NULL;
    aigc_engine_info info;

    if (PG_ARGISNULL(0) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == 0)
        PG_RETURN_NULL();
    const int32_t *tokens = tokens_of(PG_GETARG_TEXT_PP(0), optional_text(fcinfo, 1), &n);
    SessionModel *model = session_engine(optional_text(fcinfo, 1), NULL);
    aigc_engine_describe(model->engine, &info);
    size_t part = Max(info.n_context - 1, 1);
    for (size_t at = 0; at < n; at += part)
        sum = add_embedding(model, tokens + at, Min(part, n - at), sum, &n_embd);
    PG_RETURN_ARRAYTYPE_P(unit_vector(sum, n_embd));
}

SQL_FUNCTION(sql_version);

Datum sql_version(PG_FUNCTION_ARGS)
{
    PG_RETURN_TEXT_P(cstring_to_text(aigc_version()));
}
