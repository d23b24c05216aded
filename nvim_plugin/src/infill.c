/* infill.c: the middle of a text, by a model's own tokens (Bavarian et al., 2022) or by weighing continuations. */
#include "infill.h"

#include <stdlib.h>
#include <string.h>

/*
 * MAX_CUTS: places in an alternative that are tried. SUFFIX_BYTES: of the text behind the cursor, which decide;
 * WEIGHED_TOKENS: of an alternative. A suffix has at most a SUFFIX_PART-th of a model's context.
 */
enum { MAX_CUTS = 6, SUFFIX_BYTES = 48, WEIGHED_TOKENS = 12, SUFFIX_PART = 4 };

/* Needed for alternatives to differ. */
static const double WEIGHED_TEMPERATURE = 0.8;

/* ---- tokens ------------------------------------------------------------------------------------------------- */

typedef struct token_list {
    int32_t *ids;
    size_t n;
} token_list;

/* Prefix, suffix, middle: of CodeGemma and Qwen, of StarCoder, of DeepSeek. */
static const char *const families[][3] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
    {"<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"},
};

/* Whether the model has all three as control tokens. */
static aigc_status find_family(aigc_model *model, int32_t ids[3], bool *found, aigc_error *err)
{
    *found = false;
    for (size_t f = 0; f < sizeof families / sizeof *families && !*found; f++) {
        *found = true;
        for (int i = 0; i < 3; i++) {
            token_list t;
            aigc_status status = aigc_tokenize(model, families[f][i], strlen(families[f][i]), AIGC_TEXT_PARSE_SPECIAL,
                                               &t.ids, &t.n, err);
            if (status != AIGC_OK)
                return status;
            *found = *found && t.n == 1;
            ids[i] = t.n ? t.ids[0] : 0;
            aigc_free(t.ids);
        }
    }
    return AIGC_OK;
}

/* prefix's end, suffix's beginning, in the model's order, as the job's tokens. */
static aigc_status assemble(job *j, const int32_t special[3], token_list prefix, token_list suffix, int n_context)
{
    aigc_request_options *o = &j->spec.options;
    size_t room = n_context > o->max_tokens + 8 ? (size_t)(n_context - o->max_tokens - 4) : (size_t)n_context / 2;
    size_t n_suffix = suffix.n < room / SUFFIX_PART ? suffix.n : room / SUFFIX_PART;
    size_t n_prefix = prefix.n < room - n_suffix - 3 ? prefix.n : room - n_suffix - 3;
    int32_t *ids = malloc((n_prefix + n_suffix + 3) * sizeof *ids);
    if (!ids)
        return job_out_of_memory(j, "the prompt's tokens");
    size_t n = 0;
    ids[n++] = special[0];
    for (size_t i = prefix.n - n_prefix; i < prefix.n; i++)
        ids[n++] = prefix.ids[i];
    ids[n++] = special[1];
    for (size_t i = 0; i < n_suffix; i++)
        ids[n++] = suffix.ids[i];
    ids[n++] = special[2];
    j->spec.tokens = ids;
    o->tokens = ids;
    o->n_tokens = n;
    j->n_dropped = (int)(prefix.n - n_prefix);
    return AIGC_OK;
}

aigc_status infill_with_tokens(job *j, aigc_model *model, aigc_engine *engine, bool *made)
{
    int32_t special[3];
    aigc_status status = find_family(model, special, made, &j->error);
    if (status != AIGC_OK || !*made)
        return status;
    token_list prefix = {0}, suffix = {0};
    aigc_engine_info info;
    aigc_engine_describe(engine, &info);
    status = aigc_tokenize(model, j->spec.options.prompt, j->spec.options.prompt_len, AIGC_TEXT_PLAIN, &prefix.ids,
                           &prefix.n, &j->error);
    if (status == AIGC_OK)
        status = aigc_tokenize(model, j->spec.suffix, j->spec.suffix_len, AIGC_TEXT_PLAIN, &suffix.ids, &suffix.n,
                               &j->error);
    if (status == AIGC_OK)
        status = assemble(j, special, prefix, suffix, info.n_context);
    aigc_free(prefix.ids);
    aigc_free(suffix.ids);
    return status;
}

/* ---- weighing ----------------------------------------------------------------------------------------------- */

void infill_prepare_weighing(job *j)
{
    aigc_request_options *o = &j->spec.options;
    if (o->max_tokens > WEIGHED_TOKENS)
        o->max_tokens = WEIGHED_TOKENS;
    if (o->sampling.temperature == 0)
        o->sampling.temperature = WEIGHED_TEMPERATURE;
}

/* A beginning of an alternative, and how probable the suffix is behind it. */
typedef struct candidate {
    int alternative; /* -1: nothing in between */
    size_t len;
    aigc_request *request;
    double logprob;
} candidate;

/* Bytes of the suffix that are looked at: whole characters. */
static size_t head_of_suffix(const job *j)
{
    size_t n = j->spec.suffix_len < SUFFIX_BYTES ? j->spec.suffix_len : SUFFIX_BYTES;
    while (n < j->spec.suffix_len && n > 0 && ((unsigned char)j->spec.suffix[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* Asks for the log-probability of the suffix's tokens behind prompt and candidate. */
static aigc_status submit_candidate(job *j, aigc_model *model, aigc_engine *engine, candidate *c, text_buffer *text)
{
    const aigc_request_options *o = &j->spec.options;
    token_list before = {0}, all = {0};
    text->len = 0;
    bool fits = text_buffer_append(text, j->spec.prompt, o->prompt_len);
    if (fits && c->alternative >= 0)
        fits = text_buffer_append(text, j->alternatives[c->alternative].text.data, c->len);
    size_t n_before = text->len;
    if (!fits || !text_buffer_append(text, j->spec.suffix, head_of_suffix(j)))
        return job_out_of_memory(j, "a text to weigh");
    aigc_status status = aigc_tokenize(model, text->data, n_before, o->text_flags, &before.ids, &before.n, &j->error);
    if (status == AIGC_OK)
        status = aigc_tokenize(model, text->data, text->len, o->text_flags, &all.ids, &all.n, &j->error);
    if (status == AIGC_OK) {
        size_t same = 0;
        while (same < before.n && same < all.n && before.ids[same] == all.ids[same])
            same++;
        aigc_engine_info info;
        aigc_engine_describe(engine, &info);
        size_t skip = (size_t)j->n_dropped; /* what did not fit for the request, and more if the suffix is long */
        if (all.n - skip >= (size_t)info.n_context)
            skip = all.n - (size_t)info.n_context + 1;
        skip = skip < same ? skip : 0;
        aigc_request_options score = aigc_request_defaults();
        score.tokens = all.ids + skip;
        score.n_tokens = all.n - skip;
        score.max_tokens = 0;
        score.prompt_logprobs = true;
        score.prompt_logprobs_from = same - skip;
        status = aigc_submit(engine, &score, &c->request, &j->error);
    }
    aigc_free(before.ids);
    aigc_free(all.ids);
    return status;
}

/* Candidates of all alternatives: nothing, and up to MAX_CUTS words of each. Returns how many. */
static int list_candidates(const job *j, candidate *list)
{
    int n = 0;
    list[n++] = (candidate){.alternative = -1};
    for (int i = 0; i < j->n; i++) {
        const text_buffer *text = &j->alternatives[i].text;
        int cuts = 0;
        for (size_t at = 1; at <= text->len && cuts < MAX_CUTS; at++) {
            bool ends = at == text->len || strchr(" \n\t", text->data[at]) != NULL;
            if (!ends || strchr(" \n\t", text->data[at - 1]) != NULL)
                continue;
            list[n++] = (candidate){.alternative = i, .len = at};
            cuts++;
        }
    }
    return n;
}

static aigc_status run_candidates(job *j, aigc_engine *engine, const volatile sig_atomic_t *interrupt)
{
    aigc_status status = AIGC_OK;
    while (status == AIGC_OK && aigc_engine_busy(engine) && !__atomic_load_n(interrupt, __ATOMIC_RELAXED))
        status = aigc_step(engine, &j->error);
    return __atomic_load_n(interrupt, __ATOMIC_RELAXED) ? AIGC_INTERRUPTED : status;
}

/* Sets the candidates' logprob, the list's first being the one that all others must beat. */
static void read_scores(candidate *list, int n)
{
    for (int i = 0; i < n; i++) {
        const aigc_token *tokens;
        size_t n_tokens = aigc_request_prompt(list[i].request, &tokens);
        list[i].logprob = 0;
        for (size_t t = 0; t < n_tokens; t++)
            list[i].logprob += tokens[t].logprob; /* 0 where it was not asked for */
    }
}

/* Cuts each alternative at its best candidate and orders them. */
static aigc_status keep_best(job *j, const candidate *list, int n)
{
    double *best = calloc((size_t)j->n, sizeof *best);
    if (!best)
        return job_out_of_memory(j, "weights of alternatives");
    for (int i = 0; i < j->n; i++) {
        size_t len = 0;
        best[i] = list[0].logprob;
        for (int c = 1; c < n; c++)
            if (list[c].alternative == i && list[c].logprob > best[i]) {
                best[i] = list[c].logprob;
                len = list[c].len;
            }
        j->alternatives[i].text.len = len;
    }
    for (int i = 0; i < j->n; i++) { /* a handful: by insertion */
        int at = i;
        for (; at > 0 && best[j->rank[at - 1]] < best[i]; at--)
            j->rank[at] = j->rank[at - 1];
        j->rank[at] = i;
    }
    free(best);
    return AIGC_OK;
}

aigc_status infill_weigh(job *j, aigc_model *model, aigc_engine *engine, const volatile sig_atomic_t *interrupt)
{
    candidate *list = calloc((size_t)j->n * MAX_CUTS + 1, sizeof *list);
    text_buffer text = {0};
    if (!list)
        return job_out_of_memory(j, "texts to weigh");
    int n = list_candidates(j, list);
    aigc_status status = AIGC_OK;
    for (int i = 0; status == AIGC_OK && i < n; i++)
        status = submit_candidate(j, model, engine, &list[i], &text);
    if (status == AIGC_OK)
        status = run_candidates(j, engine, interrupt);
    if (status == AIGC_OK) {
        read_scores(list, n);
        status = keep_best(j, list, n);
    }
    for (int i = 0; i < n; i++)
        aigc_request_free(list[i].request);
    text_buffer_free(&text);
    free(list);
    return status;
}
