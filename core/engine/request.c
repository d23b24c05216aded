/* request.c: putting requests in, taking text out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/engine.h"

aigc_request_options aigc_request_defaults(void)
{
    return (aigc_request_options){
        .text_flags = AIGC_TEXT_ADD_SPECIAL | AIGC_TEXT_PARSE_SPECIAL,
        .max_tokens = 256,
        .n = 1,
        .sampling = {.temperature = 1.0, .top_p = 1.0, .repetition_penalty = 1.0},
    };
}

static aigc_status check_options(const aigc_engine *e, const aigc_request_options *o, aigc_error *err)
{
    if (o->max_tokens < 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "max_tokens must not be negative, it is %d", o->max_tokens);
    if (o->n < 1 || o->n > e->options.n_sequences)
        return aigc_fail(err, AIGC_E_ARGUMENT, "n must be from 1 to %d, not %d", e->options.n_sequences, o->n);
    if (o->top_logprobs < 0 || o->top_logprobs > SAMPLE_MAX_TOP)
        return aigc_fail(err, AIGC_E_ARGUMENT, "top_logprobs must be from 0 to %d, not %d", SAMPLE_MAX_TOP,
                         o->top_logprobs);
    if (o->prompt_embedding && (o->max_tokens < 1 || o->prompt_logprobs_from > 0))
        return aigc_fail(err, AIGC_E_ARGUMENT, "an embedding needs max_tokens of at least 1, and the whole prompt");
    if (o->tokens == NULL && o->prompt == NULL && o->prompt_len > 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the prompt is NULL but %zu bytes long", o->prompt_len);
    if ((o->personal != NULL && o->personal->model != e->model) ||
        (o->documents != NULL && o->documents->model != e->model))
        return aigc_fail(err, AIGC_E_ARGUMENT, "the personal layer was opened for another model");
    return AIGC_OK;
}

/* The prompt's tokens, malloc'd: those given, or of the text, or BOS alone. */
static aigc_status prompt_tokens(const aigc_engine *e, const aigc_request_options *o, int32_t **out, size_t *n,
                                 aigc_error *err)
{
    const aigc_model *model = e->model;
    int32_t *tokens = NULL;
    size_t n_tokens = 0;
    if (o->tokens != NULL) {
        n_tokens = o->n_tokens;
        tokens = aigc_calloc(n_tokens + 1, sizeof *tokens);
        if (tokens == NULL)
            return aigc_fail_memory(err, "the prompt", n_tokens * sizeof *tokens);
        memcpy(tokens, o->tokens, n_tokens * sizeof *tokens);
    } else {
        aigc_status status = tokenizer_encode(model->tokens, o->prompt != NULL ? o->prompt : "", o->prompt_len,
                                              o->text_flags, &tokens, &n_tokens, err);
        if (status != AIGC_OK)
            return status;
    }
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= model->hp.n_vocab) {
            aigc_fail(err, AIGC_E_TEXT, "token %d is not in the vocabulary of %u", tokens[i], model->hp.n_vocab);
            free(tokens);
            return AIGC_E_TEXT;
        }
    if (n_tokens == 0) {
        free(tokens);
        int32_t bos = tokenizer_bos(model->tokens);
        if (bos < 0)
            return aigc_fail(err, AIGC_E_ARGUMENT, "the prompt is empty and the model has no token to begin with");
        if ((tokens = aigc_calloc(1, sizeof *tokens)) == NULL)
            return aigc_fail_memory(err, "the prompt", sizeof *tokens);
        tokens[0] = bos;
        n_tokens = 1;
    }
    *out = tokens;
    *n = n_tokens;
    return AIGC_OK;
}

/* ---- creation ---- */

static aigc_status create_alternative(const aigc_engine *e, aigc_request *r, int i, const int32_t *tokens,
                                      const aigc_request_options *o, aigc_error *err)
{
    alternative *a = &r->alternatives[i];
    sequence *s = &a->seq;
    int n_new = e->options.n_context - r->n_prompt;
    n_new = r->max_tokens < n_new ? r->max_tokens : n_new;
    s->n_tokens = r->n_prompt;
    s->n_capacity = r->n_prompt + n_new;
    size_t top = (size_t)n_new * (size_t)r->top_logprobs;
    s->tokens = aigc_calloc((size_t)s->n_capacity, sizeof *s->tokens);
    s->blocks = aigc_calloc((size_t)s->n_capacity / KV_BLOCK + 1, sizeof *s->blocks);
    a->generated = aigc_calloc((size_t)n_new + 1, sizeof *a->generated);
    a->top = aigc_calloc(top + 1, sizeof *a->top);
    a->n_top = aigc_calloc((size_t)n_new + 1, sizeof *a->n_top);
    if (s->tokens == NULL || s->blocks == NULL || a->generated == NULL || a->top == NULL || a->n_top == NULL)
        return aigc_fail_memory(err, "a request", (size_t)s->n_capacity * sizeof *s->tokens);
    memcpy(s->tokens, tokens, (size_t)r->n_prompt * sizeof *tokens);
    aigc_status status = text_stream_create(&a->text, &r->stops, err);
    if (status == AIGC_OK)
        status =
            sampler_create(&o->sampling, (int)e->model->hp.n_vocab, (uint64_t)i, r->top_logprobs, &a->sampler, err);
    if (status == AIGC_OK && (r->layers[0] != NULL || r->layers[1] != NULL))
        status = personal_scratch_open(&a->scratch, (int)e->model->hp.n_vocab, err);
    if (status == AIGC_OK)
        sampler_see_prompt(a->sampler, tokens, (size_t)r->n_prompt);
    return status;
}

static aigc_status check_length(const aigc_engine *e, const aigc_request_options *o, size_t n_tokens, aigc_error *err)
{
    size_t most = (size_t)e->options.n_context - (o->max_tokens > 0 ? 1 : 0);
    if (n_tokens > most)
        return aigc_fail(err, AIGC_E_LIMIT, "the prompt has %zu tokens, but the context holds %d", n_tokens,
                         e->options.n_context);
    return AIGC_OK;
}

/* Blocks that the request needs at once, if it had the engine to itself. */
static aigc_status check_memory(const aigc_engine *e, const aigc_request *r, aigc_error *err)
{
    size_t each = ((size_t)r->alternatives[0].seq.n_capacity + KV_BLOCK - 1) / KV_BLOCK;
    size_t need = each + (size_t)(r->n_alternatives - 1) * (each - (size_t)r->n_prompt / KV_BLOCK);
    if (need > e->kv.n_blocks)
        return aigc_fail(err, AIGC_E_LIMIT,
                         "the request needs %zu bytes of KV memory (%d tokens, n = %d), but the bound is %zu",
                         need * (e->kv.bytes / e->kv.n_blocks), r->alternatives[0].seq.n_capacity, r->n_alternatives,
                         e->options.kv_bytes);
    return AIGC_OK;
}

static aigc_status create_request(aigc_engine *e, const aigc_request_options *o, const int32_t *tokens, aigc_request *r,
                                  aigc_error *err)
{
    r->prompt = aigc_calloc((size_t)r->n_prompt, sizeof *r->prompt);
    r->alternatives = aigc_calloc((size_t)r->n_alternatives, sizeof *r->alternatives);
    if (r->prompt == NULL || r->alternatives == NULL)
        return aigc_fail_memory(err, "a request", (size_t)r->n_prompt * sizeof *r->prompt);
    if (o->prompt_embedding && (r->embedding = aigc_calloc(2 * (size_t)e->model->hp.n_embd, sizeof(float))) == NULL)
        return aigc_fail_memory(err, "an embedding", 2 * (size_t)e->model->hp.n_embd * sizeof(float));
    for (int i = 0; i < r->n_prompt; i++)
        r->prompt[i].id = tokens[i];
    aigc_status status = stop_strings_copy(o->stop, o->n_stop, &r->stops, err);
    for (int i = 0; i < r->n_alternatives && status == AIGC_OK; i++)
        status = create_alternative(e, r, i, tokens, o, err);
    if (status == AIGC_OK)
        status = check_memory(e, r, err);
    return status;
}

/* A request that has nothing to compute is done at once. */
static void finish_if_empty(aigc_request *r)
{
    if (r->max_tokens > 0 || (r->score_prompt && r->n_prompt > 1))
        return;
    for (int i = 0; i < r->n_alternatives; i++)
        r->alternatives[i].finish = AIGC_FINISH_LENGTH;
}

static void append_request(aigc_engine *e, aigc_request *r)
{
    aigc_request **at = &e->requests;
    while (*at != NULL)
        at = &(*at)->next;
    *at = r;
}

aigc_status aigc_submit(aigc_engine *e, const aigc_request_options *o, aigc_request **out, aigc_error *err)
{
    aigc_status status = check_options(e, o, err);
    int32_t *tokens = NULL;
    size_t n_tokens = 0;
    if (status == AIGC_OK)
        status = engine_look_at_files(e, err);
    if (status == AIGC_OK)
        status = prompt_tokens(e, o, &tokens, &n_tokens, err);
    if (status == AIGC_OK)
        status = check_length(e, o, n_tokens, err);
    aigc_request *r = NULL;
    if (status == AIGC_OK && (r = aigc_calloc(1, sizeof *r)) == NULL)
        status = aigc_fail_memory(err, "a request", sizeof *r);
    if (status != AIGC_OK) {
        free(tokens);
        return status;
    }
    *r = (aigc_request){
        .engine = e,
        .n_prompt = (int)n_tokens,
        .n_alternatives = o->n,
        .max_tokens = o->max_tokens,
        .top_logprobs = o->top_logprobs,
        .score_prompt = o->prompt_logprobs || o->prompt_embedding,
        .score_from = o->prompt_logprobs_from < n_tokens ? (int)o->prompt_logprobs_from : (int)n_tokens,
        .ignore_eos = o->ignore_eos,
        .layers = {o->documents, o->personal},
    };
    status = create_request(e, o, tokens, r, err);
    free(tokens);
    append_request(e, r); /* so that free finds it in the list in either case */
    if (status != AIGC_OK) {
        aigc_request_free(r);
        return status;
    }
    finish_if_empty(r);
    *out = r;
    return AIGC_OK;
}

void aigc_request_free(aigc_request *r)
{
    if (r == NULL)
        return;
    aigc_engine *e = r->engine;
    for (int i = 0; e->in_batch && i < e->n_spans; i++)
        if (e->members[i].request == r)
            e->in_batch = false; /* the batch writes into its blocks: begin another one */
    if (r->admitted && !r->forked)
        e->n_live -= r->n_alternatives - 1; /* alternatives that wait for their prompt are not live yet */
    for (int i = 0; r->alternatives != NULL && i < r->n_alternatives; i++) {
        alternative *a = &r->alternatives[i];
        sequence_release(e, &a->seq);
        sampler_destroy(a->sampler);
        text_stream_free(&a->text);
        personal_scratch_close(&a->scratch);
        free(a->seq.tokens);
        free(a->seq.blocks);
        free(a->generated);
        free(a->top);
        free(a->n_top);
    }
    aigc_request **at = &e->requests;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    stop_strings_free(&r->stops);
    free(r->alternatives);
    free(r->embedding);
    free(r->prompt);
    free(r);
}

/* ---- results ---- */

static bool take_from(alternative *a, int i, aigc_piece *piece)
{
    bool last = a->finish != AIGC_RUNNING;
    if (a->end_taken || (a->text.n_ready == 0 && !last))
        return false;
    *piece = (aigc_piece){
        .alternative = i,
        .text = a->text.ready,
        .text_len = a->text.n_ready,
        .finish = a->finish,
    };
    a->text.n_ready = 0; /* the bytes stay until more text is pushed */
    a->end_taken = last;
    return true;
}

bool aigc_request_take(aigc_request *r, aigc_piece *piece)
{
    for (int k = 0; k < r->n_alternatives; k++) {
        int i = (r->next_taken + k) % r->n_alternatives;
        if (take_from(&r->alternatives[i], i, piece)) {
            r->next_taken = (i + 1) % r->n_alternatives;
            return true;
        }
    }
    return false;
}

bool aigc_request_done(const aigc_request *r)
{
    for (int i = 0; i < r->n_alternatives; i++)
        if (r->alternatives[i].finish == AIGC_RUNNING)
            return false;
    return true;
}

static const alternative *find_alternative(const aigc_request *r, int i)
{
    return i >= 0 && i < r->n_alternatives ? &r->alternatives[i] : NULL;
}

size_t aigc_request_tokens(const aigc_request *r, int i, const aigc_token **tokens)
{
    const alternative *a = find_alternative(r, i);
    *tokens = a != NULL ? a->generated : NULL;
    return a != NULL ? (size_t)a->n_generated : 0;
}

size_t aigc_request_top(const aigc_request *r, int i, size_t t, const aigc_token **top)
{
    const alternative *a = find_alternative(r, i);
    *top = NULL;
    if (a == NULL || t >= (size_t)a->n_generated || r->top_logprobs == 0)
        return 0;
    *top = a->top + t * (size_t)r->top_logprobs;
    return a->n_top[t];
}

size_t aigc_request_prompt(const aigc_request *r, const aigc_token **tokens)
{
    *tokens = r->prompt;
    return (size_t)r->n_prompt;
}

size_t aigc_request_embedding(const aigc_request *r, float *embedding)
{
    size_t n_embd = r->engine->model->hp.n_embd;
    double square = 0;
    if (r->embedding == NULL || r->n_embedded < r->n_prompt)
        return 0;
    for (size_t i = 0; i < n_embd; i++)
        square += (double)r->embedding[i] * (double)r->embedding[i];
    for (size_t i = 0; embedding != NULL && i < n_embd; i++)
        embedding[i] = square > 0 ? (float)((double)r->embedding[i] / sqrt(square)) : 0;
    return n_embd;
}

void aigc_request_describe(const aigc_request *r, aigc_request_info *info)
{
    int64_t now = r->ended != 0 ? r->ended : engine_now();
    *info = (aigc_request_info){.n_prompt = r->n_prompt, .n_prompt_hit = r->n_prompt_hit};
    for (int i = 0; i < r->n_alternatives; i++)
        info->n_generated += r->alternatives[i].n_generated;
    if (r->began == 0)
        return;
    int64_t prompt_end = r->first_token != 0 ? r->first_token : now;
    info->prompt_seconds = (double)(prompt_end - r->began) * 1e-9;
    info->decode_seconds = (double)(now - prompt_end) * 1e-9;
}

double aigc_request_logprob(const aigc_request *r, int i)
{
    const alternative *a = find_alternative(r, i);
    return a != NULL ? a->logprob : (double)NAN;
}

static double mean_logprob(const aigc_request *r, int i)
{
    const alternative *a = &r->alternatives[i];
    return a->n_generated > 0 ? a->logprob / a->n_generated : 0.0;
}

void aigc_request_rank(const aigc_request *r, int *rank)
{
    for (int i = 0; i < r->n_alternatives; i++) {
        int at = i; /* insertion: there are few, and equal ones keep their order */
        for (; at > 0 && mean_logprob(r, rank[at - 1]) < mean_logprob(r, i); at--)
            rank[at] = rank[at - 1];
        rank[at] = i;
    }
}
