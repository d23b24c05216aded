/* personal.c: learning and taking back text, weights, and the mixture. personal_file.c keeps it. */
#include "engine/personal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"
#include "model/model.h"
#include "text/tokenizer.h"

enum {
    CLOCK_SHIFT = 6, /* n-grams learned within 64 tokens have one age */
    MOST_TYPES = 200,
    MOST_ASKED = 4000 /* then old experience counts half: what one writes changes */
};

/* How many tokens of experience the first guess of a weight is worth. */
static const double GUESS_WORTH = 40;

/* ---- weights ---- */

/* Whether a context takes part: not the empty one, and none that nearly anything may follow. They would cost the most
 * time, and novels show that they say the least (bench/personal: a thousandth of a bit). */
static bool takes_part(int order, const ngram_context *c)
{
    return order > 0 && c->total > 0 && c->types <= MOST_TYPES;
}

static int class_of(int order, const ngram_context *c)
{
    static const uint32_t limits[PERSONAL_TOTALS - 1] = {1, 2, 3, 5, 9, 19};
    int kind = c->types == 1 ? 0 : (uint64_t)c->types * 2 <= c->total ? 1 : 2;
    int total = 0;
    while (total < PERSONAL_TOTALS - 1 && c->total > limits[total])
        total++;
    return ((order - 1) * PERSONAL_TOTALS + total) * PERSONAL_KINDS + kind;
}

/* What the weights came to on novels (bench/personal). A context with one successor is believed the more, the longer it
 * is and the oftener it was met; one whose successors vary, hardly. */
static double first_guess(int order, const ngram_context *c)
{
    static const double one[NGRAM_ORDER - 1][3] = {
        {0.05, 0.25, 0.30}, {0.12, 0.50, 0.65}, {0.10, 0.53, 0.67}, {0.16, 0.50, 0.80}};
    static const double few[NGRAM_ORDER - 1] = {0.30, 0.45, 0.40, 0.50};
    static const double many[NGRAM_ORDER - 1] = {0.065, 0.065, 0.08, 0.12};
    if (c->types == 1)
        return one[order - 1][c->total < 3 ? c->total - 1 : 2];
    return (uint64_t)c->types * 2 <= c->total ? few[order - 1] : many[order - 1];
}

static double weight_of(const aigc_personal *p, int order, const ngram_context *c)
{
    const personal_weight *w = &p->weights[class_of(order, c)];
    return (w->hits + GUESS_WORTH * first_guess(order, c)) / (w->asked + GUESS_WORTH);
}

/* q_k of a token that came `count` times in a context. */
static double part_of(const ngram_context *c, uint32_t count)
{
    return count > 0 ? (2.0 * count - 1) / (2.0 * c->total - c->types) : 0;
}

/* ---- the mixture ---- */

aigc_status personal_scratch_open(personal_scratch *s, int n_vocab, aigc_error *err)
{
    s->added = aigc_calloc((size_t)n_vocab, sizeof *s->added);
    s->touched = aigc_calloc((size_t)n_vocab, sizeof *s->touched);
    return s->added != NULL && s->touched != NULL
               ? AIGC_OK
               : aigc_fail_memory(err, "the personal layer's row", (size_t)n_vocab * sizeof *s->added);
}

void personal_scratch_close(personal_scratch *s)
{
    free(s->added);
    free(s->touched);
    *s = (personal_scratch){0};
}

/* The parts of all contexts in s->added; returns the model's own. *n_touched: tokens with a part. */
static double add_parts(const aigc_personal *p, personal_scratch *s, const int32_t *history, size_t n, int n_vocab,
                        int *n_touched)
{
    const ngram_context *contexts[NGRAM_ORDER];
    int depth = ngram_match(&p->table, history, n, contexts);
    double left = 1;
    *n_touched = 0;
    for (int k = depth - 1; k >= 0; k--) {
        if (!takes_part(k, contexts[k]))
            continue;
        double weight = weight_of(p, k, contexts[k]);
        for (uint32_t i = contexts[k]->first; i != NGRAM_NONE; i = p->table.ngrams[i].next) {
            const ngram *g = &p->table.ngrams[i];
            int32_t id = ngram_token(g);
            if (id >= n_vocab)
                continue;
            if (s->added[id] == 0)
                s->touched[(*n_touched)++] = id;
            s->added[id] += left * weight * part_of(contexts[k], g->count);
        }
        left *= 1 - weight;
    }
    return left;
}

void personal_mix(const aigc_personal *p, personal_scratch *s, const aigc_kernels *k, const int32_t *history, size_t n,
                  float *logits, int n_vocab)
{
    int n_touched;
    float max = k->max(logits, (size_t)n_vocab);
    if (!(max > -INFINITY && max < INFINITY))
        return;
    double total = max + real_log(k->sum_exp(logits, max, 1.0f, (size_t)n_vocab));
    if (!(total < INFINITY)) /* a NaN among them */
        return;
    double left = add_parts(p, s, history, n, n_vocab, &n_touched);
    for (int i = 0; i < n_touched; i++) {
        int32_t id = s->touched[i];
        double own = real_exp((double)logits[id] - total);
        logits[id] = (float)(total + real_log(own + s->added[id] / left));
        s->added[id] = 0;
    }
}

/* The parts of one token: of each known context its weight and q_k (0 where it does not take part). Returns how many.
 */
static int parts_of_token(const aigc_personal *p, const int32_t *history, size_t n, int32_t id, double *weights,
                          double *q, int *classes)
{
    const ngram_context *contexts[NGRAM_ORDER];
    int depth = ngram_match(&p->table, history, n, contexts);
    for (int k = 0; k < depth; k++) {
        bool takes = takes_part(k, contexts[k]);
        weights[k] = takes ? weight_of(p, k, contexts[k]) : 0;
        q[k] = takes ? part_of(contexts[k], ngram_count(&p->table, contexts[k], id)) : 0;
        classes[k] = takes ? class_of(k, contexts[k]) : -1;
    }
    return depth;
}

double personal_logprob(const aigc_personal *p, const int32_t *history, size_t n, int32_t id, double model_logprob)
{
    double weights[NGRAM_ORDER], q[NGRAM_ORDER];
    int classes[NGRAM_ORDER];
    int depth = parts_of_token(p, history, n, id, weights, q, classes);
    double mixed = real_exp(model_logprob);
    for (int k = 0; k < depth; k++)
        mixed = (1 - weights[k]) * mixed + weights[k] * q[k];
    return mixed > 0 ? real_log(mixed) : -INFINITY;
}

/* ---- experience ---- */

static void note(personal_weight *w, double hits, double asked)
{
    w->hits += hits;
    w->asked += asked;
    if (w->asked > MOST_ASKED) {
        w->hits /= 2;
        w->asked /= 2;
    }
}

/* One token whose mixed probability was `mixed`: which context is to be thanked, or blamed, for it? */
static void adapt_token(aigc_personal *p, const int32_t *history, size_t n, int32_t id, double mixed, bool accepted)
{
    double weights[NGRAM_ORDER], q[NGRAM_ORDER];
    int classes[NGRAM_ORDER];
    int depth = parts_of_token(p, history, n, id, weights, q, classes);
    double reached = 1; /* probability that the choice fell to this context or a shorter one */
    for (int k = depth - 1; k >= 0 && reached > 1e-6 && mixed > 1e-300; k--) {
        if (classes[k] < 0)
            continue;
        double part = weights[k] * q[k] / mixed;
        part = part < 1 ? part : 1;
        note(&p->weights[classes[k]], accepted ? reached * part : 0, accepted ? reached : reached * part);
        mixed = (mixed - weights[k] * q[k]) / (1 - weights[k]);
        reached *= 1 - part;
    }
}

void aigc_personal_adapt(aigc_personal *p, const aigc_token *tokens, size_t n, size_t n_before, bool accepted)
{
    int32_t history[NGRAM_ORDER - 1];
    for (size_t i = n_before; i < n; i++) {
        size_t n_history = i < NGRAM_ORDER - 1 ? i : NGRAM_ORDER - 1;
        double mixed = real_exp((double)tokens[i].logprob);
        for (size_t k = 0; k < n_history; k++)
            history[k] = tokens[i - n_history + k].id;
        if (mixed > 0)
            adapt_token(p, history, n_history, tokens[i].id, mixed, accepted);
    }
}

/* ---- learning ---- */

/* The n-gram that ends at tokens[i]. */
static void gather(const int32_t *tokens, size_t i, int32_t out[NGRAM_ORDER])
{
    for (size_t k = 0; k < NGRAM_ORDER; k++)
        out[NGRAM_ORDER - 1 - k] = k <= i ? tokens[i - k] : NGRAM_EDGE;
}

static aigc_status check_tokens(const aigc_personal *p, const int32_t *tokens, size_t n, aigc_error *err)
{
    int32_t n_vocab = tokenizer_n_vocab(p->model->tokens);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return aigc_fail(err, AIGC_E_TEXT, "token %d is not in the vocabulary of %d", tokens[i], n_vocab);
    return AIGC_OK;
}

aigc_status aigc_personal_learn(aigc_personal *p, const int32_t *tokens, size_t n, size_t n_before, aigc_error *err)
{
    int32_t whole[NGRAM_ORDER];
    aigc_status status = check_tokens(p, tokens, n, err);
    for (size_t i = n_before; i < n && status == AIGC_OK; i++) {
        gather(tokens, i, whole);
        status = ngram_add(&p->table, whole, 1, (uint32_t)(p->clock >> CLOCK_SHIFT), err);
        p->clock += status == AIGC_OK;
        p->n_learned += status == AIGC_OK;
    }
    return status;
}

aigc_status aigc_personal_unlearn(aigc_personal *p, const int32_t *tokens, size_t n, size_t n_before, aigc_error *err)
{
    int32_t whole[NGRAM_ORDER];
    aigc_status status = check_tokens(p, tokens, n, err);
    for (size_t i = n_before; i < n && status == AIGC_OK; i++) {
        gather(tokens, i, whole);
        if (ngram_remove(&p->table, whole) && p->n_learned > 0)
            p->n_learned--;
    }
    return status;
}

static bool contains(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    for (size_t i = 0; i + n_b <= n_a; i++)
        if (memcmp(a + i, b, n_b * sizeof *a) == 0)
            return true;
    return false;
}

/* Whether a begins or ends inside b with at least two tokens and half of b, or of a where that is shorter: "igold
 * Quillfe" and "illfeather is" still tell of "Quillfeather". */
static bool has_part_of(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    size_t half = ((n_b < n_a ? n_b : n_a) + 1) / 2, least = half > 2 ? half : 2;
    for (size_t k = least; k < n_b && k <= n_a; k++)
        if (memcmp(a + n_a - k, b, k * sizeof *a) == 0 || memcmp(a, b + n_b - k, k * sizeof *a) == 0)
            return true;
    return false;
}

static bool tells_of(const int32_t *whole, const int32_t *tokens, size_t n)
{
    bool within = n > NGRAM_ORDER && contains(tokens, n, whole, NGRAM_ORDER);
    return within || contains(whole, NGRAM_ORDER, tokens, n) || has_part_of(whole, NGRAM_ORDER, tokens, n);
}

size_t aigc_personal_forget(aigc_personal *p, const int32_t *tokens, size_t n)
{
    int32_t whole[NGRAM_ORDER];
    size_t n_dropped = 0;
    for (uint32_t i = 1; n > 0 && i < p->table.n_ngrams; i++)
        if (ngram_whole(&p->table, i, whole) && tells_of(whole, tokens, n)) {
            uint32_t count = p->table.ngrams[i].count;
            p->n_learned -= count < p->n_learned ? count : p->n_learned;
            ngram_drop(&p->table, i);
            n_dropped++;
        }
    return n_dropped;
}

void aigc_personal_clear(aigc_personal *p)
{
    ngram_clear(&p->table);
    memset(p->weights, 0, sizeof p->weights);
    p->clock = p->n_learned = 0;
}

/* ---- looking ---- */

void aigc_personal_describe(const aigc_personal *p, aigc_personal_info *info)
{
    const ngram_table *t = &p->table;
    *info = (aigc_personal_info){
        .n_tokens = p->n_learned,
        .n_ngrams = t->n_live,
        .n_most = t->n_most,
        .bytes = (size_t)t->contexts_capacity * sizeof *t->contexts + (size_t)t->ngrams_capacity * sizeof *t->ngrams +
                 ((size_t)t->context_index.mask + t->ngram_index.mask + 2) * sizeof(uint32_t),
        .vocabulary = p->vocabulary,
    };
}

/* Whether phrase a stands before b: more often, or by its tokens. */
static bool precedes(const aigc_phrase *a, const aigc_phrase *b)
{
    return a->count != b->count ? a->count > b->count : memcmp(a->tokens, b->tokens, sizeof a->tokens) < 0;
}

size_t aigc_personal_phrases(const aigc_personal *p, aigc_phrase *phrases, size_t n)
{
    size_t n_got = 0;
    for (uint32_t i = 1; n > 0 && i < p->table.n_ngrams; i++) {
        aigc_phrase phrase;
        if (!ngram_whole(&p->table, i, phrase.tokens) || phrase.tokens[0] == NGRAM_EDGE)
            continue;
        phrase.count = p->table.ngrams[i].count;
        if (n_got == n && !precedes(&phrase, &phrases[n - 1]))
            continue;
        size_t at = n_got < n ? n_got++ : n - 1;
        for (; at > 0 && precedes(&phrase, &phrases[at - 1]); at--)
            phrases[at] = phrases[at - 1];
        phrases[at] = phrase;
    }
    return n_got;
}
