/* dataset.c: see dataset.h. */
#include "learn/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const uint64_t FNV_START = 0xcbf29ce484222325u, FNV_PRIME = 0x100000001b3u;

void dataset_create(dataset *d, const tokenizer *tokens, int n_context)
{
    *d = (dataset){.tokens = tokens, .n_context = n_context, .hash = FNV_START};
}

void dataset_free(dataset *d)
{
    free(d->ids);
    free(d->examples);
    free(d->windows);
    *d = (dataset){0};
}

/* Room for n more items of an array. */
static bool reserve(void *array, size_t used, size_t *capacity, size_t n, size_t size)
{
    void **items = array;
    if (n <= *capacity - used)
        return true;
    size_t larger = *capacity + *capacity / 2 + n + 64;
    void *moved = aigc_realloc_array(*items, larger, size);
    if (moved == NULL)
        return false;
    *items = moved;
    *capacity = larger;
    return true;
}

/* ---- text to ids ---- */

/* Ids that end up in one example. */
typedef struct id_list {
    int32_t *ids;
    size_t n;
} id_list;

/* The ids of `text` where it follows `before`: those of both together, less those of `before`, if the cut between
 * tokens falls there. False if it does not. */
static aigc_status encode_behind(const dataset *d, dataset_text before, const id_list *known, dataset_text text,
                                 id_list *out, bool *clean, aigc_error *err)
{
    int32_t *ids;
    size_t n;
    char *joined = aigc_calloc(before.len + text.len + 1, 1);
    if (joined == NULL)
        return aigc_fail_memory(err, "a prompt with its response", before.len + text.len);
    if (before.len > 0)
        memcpy(joined, before.text, before.len);
    memcpy(joined + before.len, text.text, text.len);
    aigc_status status =
        tokenizer_encode(d->tokens, joined, before.len + text.len, AIGC_TEXT_PARSE_SPECIAL, &ids, &n, err);
    free(joined);
    if (status != AIGC_OK)
        return status;
    *clean = n >= known->n && (known->n == 0 || memcmp(ids, known->ids, known->n * sizeof *ids) == 0);
    if (*clean) {
        memmove(ids, ids + known->n, (n - known->n) * sizeof *ids);
        *out = (id_list){ids, n - known->n};
    } else {
        free(ids);
    }
    return AIGC_OK;
}

/* The ids of a response. A prompt ends where generation begins, so its own ids stay as they are: where a token of the
 * whole would reach across the border, the response is cut into tokens by itself, behind a newline so that vocabularies
 * which begin a text with a space add none. */
static aigc_status encode_response(const dataset *d, dataset_text prompt, const id_list *known, dataset_text response,
                                   id_list *out, aigc_error *err)
{
    static const dataset_text newline = {"\n", 1}, nothing = {"", 0};
    const id_list none = {NULL, 0};
    id_list line;
    bool clean = false;
    aigc_status status = encode_behind(d, prompt, known, response, out, &clean, err);
    if (status != AIGC_OK || clean)
        return status;
    status = tokenizer_encode(d->tokens, newline.text, newline.len, AIGC_TEXT_PARSE_SPECIAL, &line.ids, &line.n, err);
    if (status != AIGC_OK)
        return status;
    status = encode_behind(d, newline, &line, response, out, &clean, err);
    free(line.ids);
    if (status != AIGC_OK || clean)
        return status;
    return encode_behind(d, nothing, &none, response, out, &clean, err);
}

/* ---- examples ---- */

static int32_t beginning(const dataset *d, bool prompt_is_empty)
{
    return tokenizer_adds_bos(d->tokens) || prompt_is_empty ? tokenizer_bos(d->tokens) : -1;
}

static void append(dataset *d, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        d->ids[d->n_ids++] = ids[i];
        d->hash = (d->hash ^ (uint32_t)ids[i]) * FNV_PRIME;
    }
}

/* How much of a prompt and a response fits into `most` positions; ids are one more, the last is only a target. */
typedef struct cut {
    size_t begin;    /* of the prompt's ids */
    size_t response; /* ids */
} cut;

static cut fit(size_t prompt, size_t response, size_t most, bool bos)
{
    cut c = {0, response < most ? response : most};
    size_t room = most + 1 - c.response - bos; /* at least 0: something is given if it is there */
    c.begin = prompt > room ? prompt - room : 0;
    return c;
}

/* Puts an example behind the others; room is reserved. Its positions are taken from the window by add_window(). */
static void add_example(dataset *d, int32_t bos, const id_list *prompt, const id_list *response, cut c)
{
    example *e = &d->examples[d->n_examples++];
    *e = (example){.start = d->n_ids};
    if (bos >= 0)
        append(d, &bos, 1);
    append(d, prompt->ids + c.begin, prompt->n - c.begin);
    e->n_prompt = (int)(d->n_ids - e->start);
    append(d, response->ids, c.response < response->n ? c.response : response->n);
    e->n = (int)(d->n_ids - e->start);
    d->hash = (d->hash ^ (uint32_t)e->n_prompt ^ (uint64_t)(uint32_t)e->n << 32) * FNV_PRIME;
}

static int positions(const example *e)
{
    return e->n > 1 ? e->n - 1 : 1;
}

/* The last n examples go into the window that is being filled, or begin the next. */
static void place(dataset *d, size_t n)
{
    int size = 0;
    for (size_t i = d->n_examples - n; i < d->n_examples; i++)
        size += positions(&d->examples[i]);
    if (d->n_windows == 0 || size > d->n_context - d->used) {
        d->windows[d->n_windows++] = d->n_examples - n;
        d->used = 0;
    }
    d->used += size;
}

/* Whether a response says itself that the text ends: chats have a token of their own for that, perhaps with a newline
 * behind it. */
static bool ends(const dataset *d, const id_list *response)
{
    for (size_t i = response->n; i > 0 && response->n - i < 2; i--)
        if (tokenizer_is_end(d->tokens, response->ids[i - 1]))
            return true;
    return false;
}

/* Puts the vocabulary's EOS behind a response, unless it has an end. */
static aigc_status end_response(const dataset *d, id_list *response, aigc_error *err)
{
    int32_t eos = tokenizer_eos(d->tokens);
    if (eos < 0 || ends(d, response))
        return AIGC_OK;
    int32_t *larger = aigc_realloc_array(response->ids, response->n + 1, sizeof *larger);
    if (larger == NULL)
        return aigc_fail_memory(err, "a response", (response->n + 1) * sizeof *larger);
    response->ids = larger;
    response->ids[response->n++] = eos;
    return AIGC_OK;
}

/* One or two responses to a prompt, all of them cut to `most` positions. */
static aigc_status add_responses(dataset *d, dataset_text prompt, const id_list *known, const id_list *responses,
                                 size_t n, aigc_error *err)
{
    size_t most = (size_t)d->n_context / n, longest = 0;
    int32_t bos = beginning(d, prompt.len == 0);
    for (size_t i = 0; i < n; i++)
        longest = responses[i].n > longest ? responses[i].n : longest;
    cut c = fit(known->n, longest, most, bos >= 0);
    size_t room = n * (known->n + longest + 1);
    if (!reserve(&d->ids, d->n_ids, &d->id_capacity, room, sizeof *d->ids) ||
        !reserve(&d->examples, d->n_examples, &d->example_capacity, n, sizeof *d->examples) ||
        !reserve(&d->windows, d->n_windows, &d->window_capacity, 1, sizeof *d->windows))
        return aigc_fail_memory(err, "the examples", d->n_ids * sizeof *d->ids);
    d->n_cut += c.begin > 0 || c.response < longest;
    for (size_t i = 0; i < n; i++)
        add_example(d, bos, known, &responses[i], c);
    place(d, n);
    return AIGC_OK;
}

static aigc_status add(dataset *d, dataset_text prompt, const dataset_text *responses, size_t n, aigc_error *err)
{
    id_list known = {NULL, 0}, ids[2] = {{NULL, 0}, {NULL, 0}};
    aigc_status status = AIGC_OK;
    for (size_t i = 0; i < n; i++)
        if (responses[i].len == 0)
            return aigc_fail(err, AIGC_E_ARGUMENT, "the %s is empty",
                             n == 1   ? "response"
                             : i == 0 ? "chosen response"
                                      : "rejected response");
    if (prompt.len > 0)
        status =
            tokenizer_encode(d->tokens, prompt.text, prompt.len, AIGC_TEXT_PARSE_SPECIAL, &known.ids, &known.n, err);
    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        if ((status = encode_response(d, prompt, &known, responses[i], &ids[i], err)) == AIGC_OK)
            status = end_response(d, &ids[i], err);
    if (status == AIGC_OK)
        status = add_responses(d, prompt, &known, ids, n, err);
    free(known.ids);
    free(ids[0].ids);
    free(ids[1].ids);
    return status;
}

aigc_status dataset_add_pair(dataset *d, dataset_text prompt, dataset_text response, aigc_error *err)
{
    return add(d, prompt, &response, 1, err);
}

aigc_status dataset_add_preference(dataset *d, dataset_text prompt, dataset_text chosen, dataset_text rejected,
                                   aigc_error *err)
{
    const dataset_text responses[] = {chosen, rejected};
    d->preferences = true;
    return add(d, prompt, responses, 2, err);
}

/* ---- windows ---- */

static size_t fill_example(const dataset *d, size_t number, int begin, int32_t *ids, int32_t *targets, int32_t *first,
                           int32_t *owners)
{
    const example *e = &d->examples[number];
    const int32_t *from = d->ids + e->start;
    size_t n_targets = 0;
    for (int i = 0; i < positions(e); i++) {
        bool learned = i + 1 < e->n && i + 1 >= e->n_prompt;
        ids[begin + i] = from[i];
        targets[begin + i] = learned ? from[i + 1] : -1;
        first[begin + i] = begin;
        owners[begin + i] = learned ? (int32_t)number : -1;
        n_targets += learned;
    }
    return n_targets;
}

size_t dataset_window(const dataset *d, size_t window, int32_t *ids, int32_t *targets, int32_t *first, int32_t *owners)
{
    size_t n_targets = 0, begin = d->n_examples, end = d->n_examples;
    int at = 0;
    if (window < d->n_windows) {
        begin = d->windows[window];
        end = window + 1 < d->n_windows ? d->windows[window + 1] : d->n_examples;
    }
    for (size_t i = begin; i < end; i++) {
        n_targets += fill_example(d, i, at, ids, targets, first, owners);
        at += positions(&d->examples[i]);
    }
    for (int t = at; t < d->n_context; t++) {
        ids[t] = 0;
        targets[t] = owners[t] = -1;
        first[t] = at;
    }
    return n_targets;
}
