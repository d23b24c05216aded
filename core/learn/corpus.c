/* corpus.c: see corpus.h. */
#include "learn/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

static const char SEPARATOR[] = "<|endoftext|>";

enum { MOST_WEIGHT = 1000, ORDER_STREAM = 1 << 20 }; /* random streams from here on are those of epochs */

static const uint64_t FNV_START = 0xcbf29ce484222325u, FNV_PRIME = 0x100000001b3u;

aigc_status corpus_create(corpus *c, const tokenizer *tokens, aigc_error *err)
{
    int32_t bos = tokenizer_bos(tokens), eos = tokenizer_eos(tokens);
    if (!tokenizer_adds_bos(tokens) && bos != eos)
        bos = -1; /* prompts will not have it either */
    if (bos < 0 && eos < 0)
        return aigc_fail(err, AIGC_E_UNSUPPORTED, "the vocabulary has no token that could set documents apart");
    *c = (corpus){.tokens = tokens, .bos = bos, .eos = eos, .hash = FNV_START};
    return AIGC_OK;
}

void corpus_free(corpus *c)
{
    free(c->ids);
    free(c->parts);
    *c = (corpus){0};
}

static aigc_status append(corpus *c, const int32_t *ids, size_t n, aigc_error *err)
{
    if (n > c->capacity - c->n) {
        size_t capacity = c->capacity + c->capacity / 2 + n + 1024;
        int32_t *larger = aigc_realloc_array(c->ids, capacity, sizeof *larger);
        if (larger == NULL)
            return aigc_fail_memory(err, "the tokens of the text", capacity * sizeof *larger);
        c->ids = larger;
        c->capacity = capacity;
    }
    for (size_t i = 0; i < n; i++) {
        c->ids[c->n++] = ids[i];
        c->hash = (c->hash ^ (uint32_t)ids[i]) * FNV_PRIME;
    }
    return AIGC_OK;
}

static aigc_status add_document(corpus *c, const char *text, size_t len, aigc_error *err)
{
    int32_t *ids;
    size_t n;
    if (len == 0)
        return AIGC_OK;
    aigc_status status = tokenizer_encode(c->tokens, text, len, AIGC_TEXT_PLAIN, &ids, &n, err);
    if (status != AIGC_OK)
        return status;
    /* One token that is both comes between two documents once. */
    if (c->bos >= 0 && !(c->bos == c->eos && c->n > 0))
        status = append(c, &c->bos, 1, err);
    if (status == AIGC_OK)
        status = append(c, ids, n, err);
    if (status == AIGC_OK && c->eos >= 0)
        status = append(c, &c->eos, 1, err);
    free(ids);
    return status;
}

/* The next line that is the separator and nothing else, or the text's end; *after is where the text goes on. */
static const char *find_separator(const char *text, const char *end, const char **after)
{
    const size_t len = sizeof SEPARATOR - 1;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline != NULL ? newline + 1 : end;
        size_t n = (size_t)((newline != NULL ? newline : end) - line);
        if (n > 0 && line[n - 1] == '\r')
            n--;
        if (n == len && memcmp(line, SEPARATOR, len) == 0) {
            *after = next;
            return line;
        }
        line = next;
    }
    *after = end;
    return end;
}

aigc_status corpus_add(corpus *c, const char *text, size_t len, aigc_error *err)
{
    const char *end = text + len, *after;
    for (const char *at = text; at < end; at = after) {
        const char *stop = find_separator(at, end, &after);
        /* The newline before a separator is the separator's. */
        size_t n = (size_t)(stop - at);
        if (stop < end && n > 0 && at[n - 1] == '\n')
            n--;
        aigc_error inner;
        aigc_status status = add_document(c, at, n, &inner);
        if (status != AIGC_OK)
            return aigc_fail(err, status, "document at byte %zu: %s", (size_t)(at - text), inner.message);
    }
    return AIGC_OK;
}

aigc_status corpus_weigh(corpus *c, double weight, aigc_error *err)
{
    if (!(weight >= 0 && weight <= MOST_WEIGHT))
        return aigc_fail(err, AIGC_E_ARGUMENT, "the weight of a text must be from 0 to %d, not %g", MOST_WEIGHT,
                         weight);
    if (weight == (c->n_parts > 0 ? c->parts[c->n_parts - 1].weight : 1))
        return AIGC_OK;
    corpus_part *larger = aigc_realloc_array(c->parts, c->n_parts + 2, sizeof *larger);
    if (larger == NULL)
        return aigc_fail_memory(err, "the parts of the text", (c->n_parts + 2) * sizeof *larger);
    c->parts = larger;
    if (c->n_parts == 0)
        c->parts[c->n_parts++] = (corpus_part){0, 1};
    c->parts[c->n_parts++] = (corpus_part){c->n, weight};
    uint64_t bits;
    memcpy(&bits, &weight, sizeof bits);
    c->hash = (c->hash ^ bits) * FNV_PRIME;
    return AIGC_OK;
}

/* Whether a document begins with id number i. */
static bool begins(const corpus *c, size_t i)
{
    return c->bos >= 0 ? c->ids[i] == c->bos : i > 0 && c->ids[i - 1] == c->eos;
}

size_t corpus_window(const corpus *c, size_t start, size_t n_context, int32_t *ids, int32_t *targets, int32_t *first)
{
    size_t n_targets = 0;
    int32_t document = 0;
    for (size_t t = 0; t < n_context; t++) {
        size_t i = start + t;
        bool inside = i < c->n, learned = i + 1 < c->n;
        if (inside && begins(c, i))
            document = (int32_t)t;
        /* The first token of the next document follows from nothing, unless it is this one's EOS too. */
        if (learned && begins(c, i + 1) && c->bos != c->eos)
            learned = false;
        ids[t] = inside ? c->ids[i] : 0;
        targets[t] = learned ? c->ids[i + 1] : -1;
        first[t] = document;
        n_targets += learned;
    }
    return n_targets;
}

/* ---- order ---- */

static void shuffle(window_order *o, uint64_t epoch)
{
    random_state r;
    random_seed(&r, o->seed, ORDER_STREAM + epoch);
    o->epoch = epoch;
    o->shift = (size_t)(random_unit(&r) * (double)o->n_context);
    size_t n = 0;
    for (size_t i = 0; i < o->n_runs; i++) {
        const window_run *run = &o->runs[i];
        size_t at = run->n > 0 ? (size_t)(epoch * run->n_taken % run->n) : 0;
        for (size_t j = 0; j < run->n_taken; j++) {
            o->order[n++] = (uint32_t)(run->first + at);
            at = at + 1 < run->n ? at + 1 : 0;
        }
    }
    for (size_t i = o->n_windows - 1; i > 0; i--) {
        size_t j = (size_t)(random_unit(&r) * (double)(i + 1));
        uint32_t swap = o->order[i];
        o->order[i] = o->order[j];
        o->order[j] = swap;
    }
}

void window_order_free(window_order *o)
{
    free(o->order);
    free(o->runs);
    *o = (window_order){0};
}

/* Adds windows first to end, and lets an epoch take `weight` times as many. */
static void add_run(window_order *o, size_t first, size_t end, double weight)
{
    size_t n = end > first ? end - first : 0;
    window_run run = {first, n, (size_t)(weight * (double)n + 0.5)};
    o->runs[o->n_runs++] = run;
    o->n_windows += run.n_taken;
}

/* o has its runs from here on, or room for them. */
static aigc_status begin_order(window_order *o, aigc_error *err)
{
    aigc_status status = AIGC_OK;
    if (o->n_windows == 0)
        status = aigc_fail(err, AIGC_E_ARGUMENT, "no text has a weight above 0");
    else if (o->n_windows > UINT32_MAX)
        status = aigc_fail(err, AIGC_E_LIMIT, "%zu windows of text are too many", o->n_windows);
    else if ((o->order = aigc_calloc(o->n_windows, sizeof *o->order)) == NULL)
        status = aigc_fail_memory(err, "the order of the windows", o->n_windows * sizeof *o->order);
    if (status == AIGC_OK)
        shuffle(o, 0);
    else
        window_order_free(o);
    return status;
}

static aigc_status take_runs(window_order *o, size_t n, aigc_error *err)
{
    o->runs = aigc_calloc(n, sizeof *o->runs);
    return o->runs != NULL ? AIGC_OK : aigc_fail_memory(err, "the order of the windows", n * sizeof *o->runs);
}

aigc_status window_order_create(window_order *o, uint64_t seed, size_t n_ids, const corpus_part *parts, size_t n_parts,
                                size_t n_context, aigc_error *err)
{
    if (n_ids < 2 * n_context + 1)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the text has %zu tokens, less than two contexts of %zu", n_ids,
                         n_context);
    *o = (window_order){.seed = seed, .n_context = n_context};
    size_t n = (n_ids - n_context) / n_context;
    aigc_status status = take_runs(o, n_parts + 1, err);
    if (status != AIGC_OK)
        return status;
    if (n_parts == 0)
        add_run(o, 0, n, 1);
    for (size_t i = 0; i < n_parts; i++) {
        /* A window is of the part that it begins in when it is not shifted. */
        size_t first = (parts[i].begin + n_context - 1) / n_context;
        size_t end = i + 1 < n_parts ? (parts[i + 1].begin + n_context - 1) / n_context : n;
        add_run(o, first, end < n ? end : n, parts[i].weight);
    }
    return begin_order(o, err);
}

aigc_status window_order_of(window_order *o, uint64_t seed, size_t n_windows, aigc_error *err)
{
    *o = (window_order){.seed = seed, .n_context = 1};
    aigc_status status = take_runs(o, 1, err);
    if (status != AIGC_OK)
        return status;
    add_run(o, 0, n_windows, 1);
    return begin_order(o, err);
}

size_t window_start(window_order *o, uint64_t number)
{
    if (number / o->n_windows != o->epoch)
        shuffle(o, number / o->n_windows);
    return o->shift + (size_t)o->order[number % o->n_windows] * o->n_context;
}
