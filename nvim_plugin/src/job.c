/* job.c: running one request and keeping what came out of it. */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infill.h"

enum { TEXT_BUFFER_FIRST = 256, MARK_BUFFER_FIRST = 64 };

bool text_buffer_append(text_buffer *b, const char *text, size_t len)
{
    if (len > b->size - b->len) {
        size_t size = b->size ? b->size : TEXT_BUFFER_FIRST;
        while (size - b->len < len) {
            if (size > SIZE_MAX / 2)
                return false;
            size *= 2;
        }
        char *data = realloc(b->data, size);
        if (!data)
            return false;
        b->data = data;
        b->size = size;
    }
    if (len)
        memcpy(b->data + b->len, text, len);
    b->len += len;
    return true;
}

void text_buffer_free(text_buffer *b)
{
    free(b->data);
    *b = (text_buffer){0};
}

static bool mark_buffer_append(mark_buffer *b, piece_mark mark)
{
    if (b->len == b->size) {
        size_t size = b->size ? 2 * b->size : MARK_BUFFER_FIRST;
        piece_mark *data = size > SIZE_MAX / sizeof *data ? NULL : realloc(b->data, size * sizeof *data);
        if (!data)
            return false;
        b->data = data;
        b->size = size;
    }
    b->data[b->len++] = mark;
    return true;
}

bool job_add_fresh(job *j, const aigc_piece *piece)
{
    job_alternative *a = &j->alternatives[piece->alternative];
    const aigc_token *tokens;
    size_t n = aigc_request_tokens(j->request, piece->alternative, &tokens);
    double logprob = 0;
    for (size_t t = a->n_marked; t < n; t++)
        logprob += tokens[t].logprob;
    piece_mark mark = {.n_tokens = (int)(n - a->n_marked), .logprob = logprob};
    if (!text_buffer_append(&a->fresh, piece->text, piece->text_len))
        return false;
    mark.end = a->fresh.len;
    a->n_marked = n;
    j->has_fresh = true;
    return mark_buffer_append(&a->fresh_marks, mark);
}

job *job_new(void)
{
    job *j = calloc(1, sizeof *j);
    if (j) {
        j->spec.options = aigc_request_defaults();
        j->spec.options.sampling = aigc_sampling_unset();
    }
    return j;
}

bool job_prepare(job *j)
{
    if (j->spec.suffix && j->spec.weigh > 0)
        j->spec.options.n = j->spec.weigh;
    j->n = j->spec.options.n;
    j->alternatives = calloc((size_t)j->n, sizeof *j->alternatives);
    j->rank = calloc((size_t)j->n, sizeof *j->rank);
    for (int i = 0; j->rank && i < j->n; i++)
        j->rank[i] = i;
    return j->alternatives && j->rank;
}

void job_free(job *j)
{
    if (!j)
        return;
    aigc_request_free(j->request);
    for (int i = 0; j->alternatives && i < j->n; i++) {
        job_alternative *a = &j->alternatives[i];
        text_buffer_free(&a->text);
        text_buffer_free(&a->fresh);
        text_buffer_free(&a->out);
        free(a->fresh_marks.data);
        free(a->out_marks.data);
        free(a->tokens);
        free(a->top);
    }
    for (size_t i = 0; j->spec.stop && i < j->spec.options.n_stop; i++)
        free(j->spec.stop[i]);
    free(j->spec.stop);
    free(j->spec.prompt);
    free(j->spec.suffix);
    free(j->spec.tokens);
    free(j->spec.bias);
    free(j->alternatives);
    free(j->rank);
    free(j->prompt);
    free(j);
}

aigc_status job_out_of_memory(job *j, const char *what)
{
    j->error.code = AIGC_E_MEMORY;
    snprintf(j->error.message, sizeof j->error.message, "out of memory: no room for %s", what);
    return AIGC_E_MEMORY;
}

/*
 * Leaves out the oldest tokens of a prompt that is too long for max_tokens to follow (at least half of the context
 * stays the prompt's). They go in steps of a quarter of the room, so that while a text grows token by token most
 * requests begin with the same tokens as the one before and find them in the prefix cache. BOS stays.
 */
static void drop_oldest(job *j, int n_context, int32_t bos)
{
    aigc_request_options *o = &j->spec.options;
    int room = n_context - o->max_tokens - 1;
    if (room < n_context / 2)
        room = n_context / 2;
    if (room < 1 || o->n_tokens <= (size_t)room)
        return;
    size_t keep_bos = bos >= 0 && j->spec.tokens[0] == bos ? 1 : 0;
    size_t step = room >= 4 ? (size_t)room / 4 : 1;
    size_t excess = o->n_tokens - (size_t)room;
    size_t drop = (excess + step - 1) / step * step;
    if (drop > o->n_tokens - keep_bos - 1)
        drop = o->n_tokens - keep_bos - 1;
    memmove(j->spec.tokens + keep_bos, j->spec.tokens + keep_bos + drop,
            (o->n_tokens - keep_bos - drop) * sizeof *j->spec.tokens);
    o->n_tokens -= drop;
    j->n_dropped = (int)drop;
}

/* Turns the prompt into tokens of our own and makes it fit. */
static aigc_status fit_prompt(job *j, aigc_model *model, aigc_engine *engine)
{
    aigc_request_options *o = &j->spec.options;
    if (!o->tokens) {
        int32_t *tokens;
        size_t n;
        aigc_status status = aigc_tokenize(model, o->prompt, o->prompt_len, o->text_flags, &tokens, &n, &j->error);
        if (status != AIGC_OK)
            return status;
        if (n) {
            j->spec.tokens = malloc(n * sizeof *tokens);
            if (j->spec.tokens)
                memcpy(j->spec.tokens, tokens, n * sizeof *tokens);
        }
        aigc_free(tokens);
        if (n && !j->spec.tokens)
            return job_out_of_memory(j, "the prompt's tokens");
        o->tokens = j->spec.tokens; /* NULL for an empty prompt, which the engine begins with BOS */
        o->n_tokens = n;
    }
    aigc_engine_info info;
    aigc_engine_describe(engine, &info);
    if (o->n_tokens)
        drop_oldest(j, info.n_context, aigc_model_describe(model)->bos);
    return AIGC_OK;
}

/* Hands on the text that is ready. *stopped: the sink wants no more. */
static aigc_status take_pieces(job *j, job_sink sink, void *context, bool *stopped)
{
    aigc_piece piece;
    while (!*stopped && aigc_request_take(j->request, &piece)) {
        job_alternative *a = &j->alternatives[piece.alternative];
        if (!text_buffer_append(&a->text, piece.text, piece.text_len))
            return job_out_of_memory(j, "the generated text");
        if (piece.finish != AIGC_RUNNING)
            a->finish = piece.finish;
        if (piece.text_len && !sink(context, &piece))
            *stopped = true;
    }
    return AIGC_OK;
}

/* Copies the tokens of alternative i with their log-probabilities, and the most probable ones beside each. */
static bool keep_tokens(job *j, int i)
{
    job_alternative *a = &j->alternatives[i];
    size_t n_top = (size_t)j->spec.options.top_logprobs;
    const aigc_token *tokens;
    size_t n = aigc_request_tokens(j->request, i, &tokens);
    a->tokens = calloc(n + 1, sizeof *a->tokens);
    a->top = calloc(n * n_top + 1, sizeof *a->top);
    if (!a->tokens || !a->top)
        return false;
    if (n)
        memcpy(a->tokens, tokens, n * sizeof *tokens);
    a->n_tokens = n;
    for (size_t t = 0; n_top && t < n; t++) {
        const aigc_token *top;
        size_t got = aigc_request_top(j->request, i, t, &top);
        for (size_t k = 0; k < n_top; k++)
            a->top[t * n_top + k] = k < got ? top[k] : (aigc_token){.id = -1};
    }
    return true;
}

/* Keeps what the request knows and the job's reader will ask for. */
static aigc_status keep_outcome(job *j)
{
    aigc_request_describe(j->request, &j->info);
    aigc_request_rank(j->request, j->rank);
    for (int i = 0; i < j->spec.options.n; i++) {
        j->alternatives[i].logprob = aigc_request_logprob(j->request, i);
        if ((j->spec.logprobs || j->spec.personal) && !keep_tokens(j, i))
            return job_out_of_memory(j, "the tokens' log-probabilities");
    }
    if (j->spec.options.prompt_logprobs) {
        const aigc_token *tokens;
        size_t n = aigc_request_prompt(j->request, &tokens);
        j->prompt = calloc(n + 1, sizeof *j->prompt);
        if (!j->prompt)
            return job_out_of_memory(j, "the prompt's log-probabilities");
        if (n)
            memcpy(j->prompt, tokens, n * sizeof *tokens);
        j->n_prompt = n;
    }
    return AIGC_OK;
}

static aigc_status run_steps(job *j, aigc_engine *engine, const volatile sig_atomic_t *interrupt, job_sink sink,
                             void *context)
{
    bool stopped = false;
    aigc_status status = AIGC_OK;
    while (status == AIGC_OK && !stopped && !__atomic_load_n(interrupt, __ATOMIC_RELAXED) &&
           !aigc_request_done(j->request)) {
        status = aigc_step(engine, &j->error);
        if (status == AIGC_OK || status == AIGC_INTERRUPTED)
            status = take_pieces(j, sink, context, &stopped);
    }
    return status == AIGC_OK ? take_pieces(j, sink, context, &stopped) : status;
}

/* Text that is only weighed later is nobody's yet. */
static bool keep_quiet(void *context, const aigc_piece *piece)
{
    (void)context;
    (void)piece;
    return true;
}

/* Chooses how a job with a suffix is run. */
static aigc_status prepare_infill(job *j, aigc_model *model, aigc_engine *engine)
{
    bool made = false;
    aigc_status status = j->spec.tokens ? AIGC_OK : infill_with_tokens(j, model, engine, &made);
    if (made) {
        j->infill = INFILL_TOKENS;
        j->spec.options.n = j->spec.weigh > 0 ? 1 : j->n; /* j->n stays: others look at it meanwhile */
    } else if (status == AIGC_OK && j->spec.weigh > 0 && j->spec.prompt) {
        j->infill = INFILL_WEIGHED;
        infill_prepare_weighing(j);
    }
    return status;
}

aigc_status job_run(job *j, aigc_model *model, aigc_engine *engine, const volatile sig_atomic_t *interrupt,
                    job_sink sink, void *context)
{
    aigc_sampling_fill(&j->spec.options.sampling, model);
    aigc_status status = j->spec.suffix ? prepare_infill(j, model, engine) : AIGC_OK;
    if (status == AIGC_OK && j->spec.fit)
        status = fit_prompt(j, model, engine);
    if (status == AIGC_OK)
        status = aigc_submit(engine, &j->spec.options, &j->request, &j->error);
    if (status == AIGC_OK)
        status = run_steps(j, engine, interrupt, j->infill == INFILL_WEIGHED ? keep_quiet : sink, context);
    if (status == AIGC_OK)
        status = keep_outcome(j);
    else if (j->request)
        aigc_request_describe(j->request, &j->info); /* what was computed of a request that was cut short */
    aigc_request_free(j->request);
    j->request = NULL;
    if (status == AIGC_OK && j->infill == INFILL_WEIGHED)
        status = infill_weigh(j, model, engine, interrupt);
    j->status = status;
    return status;
}
