/*
 * generate.c: from rows of logits to scores, tokens and text. Choosing tokens is spread over the threads, a row each;
 * what follows from a token (text, stop strings, the end) is done in order on the caller's thread.
 */
#include <string.h>

#include "engine/engine.h"

/* What a row of logits is for: the token after number `index` of a sequence. */
typedef struct logit_row {
    aigc_request *request;
    alternative *alternative;
    int index;
    float *logits;
} logit_row;

typedef struct sampling_phase {
    aigc_engine *engine;
    logit_row rows[FORWARD_LOGIT_ROWS];
    int first, n_rows; /* first: of the batch's outputs */
    bool begun;
} sampling_phase;

static void find_rows(aigc_engine *e, sampling_phase *phase)
{
    int first, n, row = 0;
    float *logits;
    forward_logits(e->forward, &first, &n, &logits);
    phase->first = first;
    phase->n_rows = n;
    for (int i = 0; i < e->n_spans; i++) {
        const token_span *span = &e->spans[i];
        aigc_request *r = e->members[i].request;
        for (int k = span->n - span->n_outputs; k < span->n; k++, row++)
            if (row >= first && row < first + n)
                phase->rows[row - first] = (logit_row){
                    .request = r,
                    .alternative = &r->alternatives[e->members[i].alternative],
                    .index = span->position + k,
                    .logits = logits + (size_t)(row - first) * e->model->hp.n_vocab,
                };
    }
}

static void choose(const aigc_engine *e, const aigc_request *r, alternative *a, float *logits)
{
    int t = a->n_generated, top = r->top_logprobs;
    aigc_token *best = top > 0 ? a->top + (size_t)t * (size_t)top : NULL;
    for (int i = 0; i < 2; i++)
        if (r->layers[i] != NULL)
            personal_mix(r->layers[i], &a->scratch, e->kernels, a->seq.tokens, (size_t)a->seq.n_tokens, logits,
                         (int)e->model->hp.n_vocab);
    int n_top = sampler_choose(a->sampler, e->kernels, logits, &a->generated[t], best);
    if (top > 0)
        a->n_top[t] = (uint8_t)n_top;
}

static bool is_prompt_end(const logit_row *row)
{
    return row->index == row->request->n_prompt - 1 && row->request->max_tokens > 0;
}

/* The first token of all alternatives comes from the same row; a sampler changes the row it works on. */
static void choose_first_tokens(const aigc_engine *e, const logit_row *row, int thread)
{
    const aigc_request *r = row->request;
    size_t n_vocab = e->model->hp.n_vocab;
    float *copy = e->row_copies + (size_t)thread * n_vocab;
    for (int i = r->n_alternatives - 1; i >= 0; i--) {
        alternative *a = &r->alternatives[i];
        if (a->n_generated > 0)
            continue; /* chosen before an interruption */
        if (i > 0)
            memcpy(copy, row->logits, n_vocab * sizeof *copy);
        choose(e, r, a, i > 0 ? copy : row->logits);
    }
}

/* The log-probability of the prompt's next token. */
static void score_token(const aigc_engine *e, const logit_row *row)
{
    aigc_request *r = row->request;
    const int32_t *tokens = row->alternative->seq.tokens;
    aigc_token *next = &r->prompt[row->index + 1];
    next->logprob = token_logprob(e->kernels, row->logits, (int)e->model->hp.n_vocab, next->id);
    for (int i = 0; i < 2; i++)
        if (r->layers[i] != NULL)
            next->logprob =
                (float)personal_logprob(r->layers[i], tokens, (size_t)row->index + 1, next->id, (double)next->logprob);
}

static void work_row(void *context, int chunk, int thread)
{
    sampling_phase *phase = context;
    const aigc_engine *e = phase->engine;
    logit_row *row = &phase->rows[chunk];
    aigc_request *r = row->request;
    if (r->score_prompt && row->index + 1 < r->n_prompt) {
        if (row->index + 1 >= r->score_from)
            score_token(e, row);
    } else if (is_prompt_end(row)) {
        choose_first_tokens(e, row, thread);
    } else if (row->index == row->alternative->seq.n_tokens - 1) {
        choose(e, r, row->alternative, row->logits);
    }
}

static int begin_rows(void *context)
{
    sampling_phase *phase = context;
    if (phase->begun)
        return 0;
    phase->begun = true;
    return phase->n_rows;
}

/* ---- what follows from a token ---- */

static void finish(alternative *a, aigc_finish why)
{
    if (why != AIGC_FINISH_STOP && text_stream_finish(&a->text, NULL) != AIGC_OK)
        why = AIGC_FINISH_ERROR;
    a->finish = why;
}

static bool prompt_is_empty(const aigc_engine *e, const aigc_request *r)
{
    return r->n_prompt == 1 && r->prompt[0].id == tokenizer_bos(e->model->tokens);
}

static void push_text(aigc_engine *e, aigc_request *r, alternative *a, int32_t id)
{
    char bytes[TOKEN_MAX_BYTES];
    bool stopped = false, first = a->n_generated == 1 && prompt_is_empty(e, r);
    int n = tokenizer_piece(e->model->tokens, id, first, AIGC_TEXT_PLAIN, bytes);
    /* Embeddings may be padded beyond the vocabulary: such ids have no text. */
    if (n > 0 && text_stream_push(&a->text, bytes, (size_t)n, &stopped, NULL) != AIGC_OK)
        finish(a, AIGC_FINISH_ERROR);
    else if (stopped)
        finish(a, AIGC_FINISH_STOP);
}

/* Takes in the token that was just chosen for an alternative. */
static void accept_token(aigc_engine *e, aigc_request *r, alternative *a)
{
    aigc_token token = a->generated[a->n_generated++];
    sequence *s = &a->seq;
    s->tokens[s->n_tokens++] = token.id;
    a->logprob += (double)token.logprob;
    if (r->first_token == 0)
        r->first_token = engine_now();
    if (tokenizer_is_end(e->model->tokens, token.id) && !r->ignore_eos)
        finish(a, AIGC_FINISH_EOS);
    else
        push_text(e, r, a, token.id);
    if (a->finish == AIGC_RUNNING && a->n_generated == r->max_tokens)
        finish(a, AIGC_FINISH_LENGTH);
    else if (a->finish == AIGC_RUNNING && s->n_tokens == e->options.n_context)
        finish(a, AIGC_FINISH_CONTEXT);
    if (a->finish != AIGC_RUNNING && aigc_request_done(r))
        r->ended = engine_now();
}

/* Adds up the prompt's states in their order; a batch that was interrupted brings some of them again. */
static void embed_row(aigc_engine *e, const logit_row *row, int output)
{
    aigc_request *r = row->request;
    size_t n_embd = e->model->hp.n_embd;
    float *state = r->embedding + n_embd;
    if (row->index != r->n_embedded || row->index >= r->n_prompt)
        return;
    forward_hidden(e->forward, output, state);
    for (size_t i = 0; i < n_embd; i++)
        r->embedding[i] += state[i];
    r->n_embedded++;
}

static void accept_row(aigc_engine *e, const logit_row *row)
{
    aigc_request *r = row->request;
    if (is_prompt_end(row)) {
        for (int i = 0; i < r->n_alternatives; i++)
            if (r->alternatives[i].n_generated == 0)
                accept_token(e, r, &r->alternatives[i]);
    } else if (row->index >= r->n_prompt && row->index == row->alternative->seq.n_tokens - 1) {
        accept_token(e, r, row->alternative);
    } else if (r->max_tokens == 0 && row->index == r->n_prompt - 2) {
        for (int i = 0; i < r->n_alternatives; i++)
            finish(&r->alternatives[i], AIGC_FINISH_LENGTH);
        r->ended = engine_now();
    }
}

void generate_from_logits(aigc_engine *e)
{
    sampling_phase phase = {.engine = e};
    find_rows(e, &phase);
    thread_pool_run(e->pool, &(thread_program){begin_rows, work_row, &phase});
    for (int i = 0; i < phase.n_rows; i++) {
        if (phase.rows[i].request->embedding != NULL)
            embed_row(e, &phase.rows[i], phase.first + i);
        accept_row(e, &phase.rows[i]);
    }
}

void generate_no_more(aigc_engine *e)
{
    for (aigc_request *r = e->requests; r != NULL; r = r->next) {
        if (aigc_request_done(r))
            continue;
        for (int i = 0; i < r->n_alternatives; i++)
            if (r->alternatives[i].finish == AIGC_RUNNING)
                finish(&r->alternatives[i], AIGC_FINISH_ERROR);
        r->ended = engine_now();
    }
}
