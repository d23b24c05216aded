/* sample.c: options, bias, penalties and log-probabilities; candidates.c draws. */
#include "engine/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/real.h"
#include "engine/candidates.h"

typedef struct seen_token {
    int32_t id;
    uint32_t n_generated; /* 0: in the prompt alone */
} seen_token;

struct sampler {
    aigc_sampling options; /* bias is our copy */
    int n_vocab, n_top;
    random_state random;
    candidates *candidates; /* NULL if greedy */

    seen_token *seen; /* [n_vocab], n_seen of them used; NULL if there are no penalties */
    size_t n_seen;
    uint32_t *seen_at; /* [n_vocab] index in seen + 1, 0: not seen */

    float *block_max; /* [n_vocab / CANDIDATE_BLOCK + 1] largest logits */
};

/* ---- options ------------------------------------------------------------------------------------------------- */

static aigc_status check_range(const char *name, double value, bool ok, const char *range, aigc_error *err)
{
    return ok ? AIGC_OK : aigc_fail(err, AIGC_E_ARGUMENT, "%s is %g, but must be %s", name, value, range);
}

static aigc_status check_bias(const aigc_sampling *s, int n_vocab, aigc_error *err)
{
    if (s->n_bias && !s->bias)
        return aigc_fail(err, AIGC_E_ARGUMENT, "n_bias is %zu, but bias is NULL", s->n_bias);
    for (size_t i = 0; i < s->n_bias; i++) {
        if (s->bias[i].token < 0 || s->bias[i].token >= n_vocab)
            return aigc_fail(err, AIGC_E_ARGUMENT, "logit bias is for token %d, but the vocabulary has %d tokens",
                             s->bias[i].token, n_vocab);
        if (isnan(s->bias[i].bias))
            return aigc_fail(err, AIGC_E_ARGUMENT, "logit bias of token %d is not a number", s->bias[i].token);
    }
    return AIGC_OK;
}

/* Comparisons are written so that NaN fails them. */
static aigc_status check_options(const aigc_sampling *s, int n_vocab, int n_top, aigc_error *err)
{
    const struct {
        const char *name;
        double value;
        bool ok;
        const char *range;
    } checks[] = {
        {"temperature", s->temperature, s->temperature >= 0 && s->temperature < INFINITY, "0 or greater, and finite"},
        {"top_p", s->top_p, s->top_p >= 0 && s->top_p <= 1, "between 0 and 1"},
        {"top_k", s->top_k, s->top_k >= 0, "0 or greater"},
        {"min_p", s->min_p, s->min_p >= 0 && s->min_p <= 1, "between 0 and 1"},
        {"repetition_penalty", s->repetition_penalty, s->repetition_penalty > 0 && s->repetition_penalty < INFINITY,
         "greater than 0, and finite"},
        {"frequency_penalty", s->frequency_penalty, fabs(s->frequency_penalty) <= 2, "between -2 and 2"},
        {"presence_penalty", s->presence_penalty, fabs(s->presence_penalty) <= 2, "between -2 and 2"},
        {"top_logprobs", n_top, n_top >= 0 && n_top <= SAMPLE_MAX_TOP, "between 0 and 20"},
    };

    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (check_range(checks[i].name, checks[i].value, checks[i].ok, checks[i].range, err) != AIGC_OK)
            return AIGC_E_ARGUMENT;
    if (n_vocab < 1)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the vocabulary has %d tokens", n_vocab);
    return check_bias(s, n_vocab, err);
}

static bool has_penalties(const aigc_sampling *s)
{
    return s->repetition_penalty != 1 || s->frequency_penalty != 0 || s->presence_penalty != 0;
}

/* The arrays for seen tokens are virtual memory: their pages are taken as tokens come. */
static bool allocate(sampler *s)
{
    size_t n = (size_t)s->n_vocab;
    aigc_logit_bias *bias = aigc_calloc(s->options.n_bias, sizeof *bias);

    if (bias && s->options.n_bias)
        memcpy(bias, s->options.bias, s->options.n_bias * sizeof *bias);
    s->options.bias = bias;
    s->block_max = aigc_calloc(n / CANDIDATE_BLOCK + 1, sizeof *s->block_max);
    if (!bias || !s->block_max)
        return false;
    if (s->options.temperature > 0 && !(s->candidates = candidates_create(s->n_vocab, &s->options)))
        return false;
    if (has_penalties(&s->options)) {
        s->seen = aigc_calloc(n, sizeof *s->seen);
        s->seen_at = aigc_calloc(n, sizeof *s->seen_at);
        if (!s->seen || !s->seen_at)
            return false;
    }
    return true;
}

aigc_status sampler_create(const aigc_sampling *options, int n_vocab, uint64_t stream, int top_logprobs, sampler **out,
                           aigc_error *err)
{
    aigc_status status = check_options(options, n_vocab, top_logprobs, err);
    sampler *s;

    if (status != AIGC_OK)
        return status;
    s = aigc_calloc(1, sizeof *s);
    if (!s)
        return aigc_fail_memory(err, "the sampler", sizeof *s);
    s->options = *options;
    s->n_vocab = n_vocab;
    s->n_top = top_logprobs;
    random_seed(&s->random, options->seed, stream);
    if (!allocate(s)) {
        sampler_destroy(s);
        return aigc_fail(err, AIGC_E_MEMORY, "out of memory: sampling from %d tokens", n_vocab);
    }
    *out = s;
    return AIGC_OK;
}

void sampler_destroy(sampler *s)
{
    if (!s)
        return;
    free((void *)s->options.bias);
    free(s->block_max);
    candidates_destroy(s->candidates);
    free(s->seen);
    free(s->seen_at);
    free(s);
}

/* ---- bias and penalties -------------------------------------------------------------------------------------- */

static seen_token *see(sampler *s, int32_t id)
{
    if (!s->seen_at[id]) {
        s->seen[s->n_seen++] = (seen_token){id, 0};
        s->seen_at[id] = (uint32_t)s->n_seen;
    }
    return &s->seen[s->seen_at[id] - 1];
}

void sampler_see_prompt(sampler *s, const int32_t *ids, size_t n)
{
    for (size_t i = 0; s->seen && i < n; i++)
        if (ids[i] >= 0 && ids[i] < s->n_vocab)
            see(s, ids[i]);
}

static void apply_bias(const sampler *s, float *x)
{
    for (size_t i = 0; i < s->options.n_bias; i++)
        x[s->options.bias[i].token] += s->options.bias[i].bias;
}

static void apply_penalties(const sampler *s, float *x)
{
    double repetition = s->options.repetition_penalty;

    for (size_t i = 0; i < s->n_seen; i++) {
        const seen_token *t = &s->seen[i];
        double logit = x[t->id];

        logit = logit > 0 ? logit / repetition : logit * repetition;
        logit -= t->n_generated * s->options.frequency_penalty;
        if (t->n_generated)
            logit -= s->options.presence_penalty;
        x[t->id] = (float)logit;
    }
}

/* Makes every logit finite or -infinity and finds the maxima of blocks. Returns the maximum of all. */
static float clean(sampler *s, const aigc_kernels *k, float *x)
{
    float max = -INFINITY;

    for (int begin = 0, b = 0; begin < s->n_vocab; begin += CANDIDATE_BLOCK, b++) {
        int n = s->n_vocab - begin < CANDIDATE_BLOCK ? s->n_vocab - begin : CANDIDATE_BLOCK;

        for (int i = begin; i < begin + n; i++) {
            x[i] = x[i] == x[i] ? x[i] : -INFINITY;
            x[i] = x[i] < 0x1.fffffep127f ? x[i] : 0x1.fffffep127f;
        }
        s->block_max[b] = k->max(x + begin, (size_t)n);
        max = s->block_max[b] > max ? s->block_max[b] : max;
    }
    return max;
}

/* ---- log-probabilities --------------------------------------------------------------------------------------- */

/* Log of the sum of exp(x), or NaN if there is nothing finite. */
static double log_sum_exp(const aigc_kernels *k, const float *x, size_t n, float max)
{
    return max > -INFINITY ? max + real_log(k->sum_exp(x, max, 1.0f, n)) : NAN;
}

static float logprob(float logit, double log_total)
{
    float p = (float)(logit - log_total);

    return p == p ? p : -INFINITY;
}

float token_logprob(const aigc_kernels *k, const float *logits, int n_vocab, int32_t id)
{
    return logprob(logits[id], log_sum_exp(k, logits, (size_t)n_vocab, k->max(logits, (size_t)n_vocab)));
}

/* The n highest logits, ties by id, in top[]. */
static int find_top(const sampler *s, const float *x, double log_total, aigc_token *top)
{
    float logits[SAMPLE_MAX_TOP + 1];
    int n = 0;

    for (int i = 0; s->n_top && i < s->n_vocab; i++) {
        int at = n;

        if (n == s->n_top && !(x[i] > logits[n - 1])) {
            if (i % CANDIDATE_BLOCK == 0 && !(s->block_max[i / CANDIDATE_BLOCK] > logits[n - 1]))
                i += CANDIDATE_BLOCK - 1;
            continue;
        }
        for (; at > 0 && x[i] > logits[at - 1]; at--) {
            logits[at] = logits[at - 1];
            if (at < s->n_top)
                top[at] = top[at - 1];
        }
        logits[at] = x[i];
        top[at] = (aigc_token){i, logprob(x[i], log_total)};
        n += n < s->n_top;
    }
    return n;
}

/* ---- choosing ------------------------------------------------------------------------------------------------- */

static int32_t first_of(const sampler *s, const float *x, float max)
{
    int32_t i = 0;

    while (s->block_max[i / CANDIDATE_BLOCK] != max)
        i += CANDIDATE_BLOCK;
    while (x[i] != max)
        i++;
    return i;
}

int sampler_choose(sampler *s, const aigc_kernels *k, float *logits, aigc_token *chosen, aigc_token *top)
{
    double log_total;
    float max;
    int32_t id = 0;

    apply_bias(s, logits);
    apply_penalties(s, logits);
    max = clean(s, k, logits);
    log_total = log_sum_exp(k, logits, (size_t)s->n_vocab, max);
    if (max > -INFINITY)
        id = s->candidates ? candidates_draw(s->candidates, k, logits, s->block_max, max, random_unit(&s->random))
                           : first_of(s, logits, max);
    *chosen = (aigc_token){id, logprob(logits[id], log_total)};
    if (s->seen)
        see(s, id)->n_generated++;
    return find_top(s, logits, log_total, top);
}
