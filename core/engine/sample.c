/*
 * sample.c: bias, penalties, log-probabilities, and drawing without sorting the vocabulary.
 *
 * Drawing. With z = (highest logit - logit) / temperature, a token's weight is exp(-z), and top_k, top_p and min_p each
 * keep a beginning of the row of candidates sorted by rising z. So tokens are counted and weighed in buckets of z, a
 * sixteenth wide: a bucket holds little of the vocabulary, and only the bucket where a limit falls, or the drawn
 * number, has to be sorted. Weights are summed in double, in the order of ids within a bucket, on every CPU level.
 */
#include "engine/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/real.h"

enum {
    BLOCK = 512, /* logits whose maximum is kept, so that most of them are looked at once */
    BUCKETS = 2048,
    BUCKETS_PER_NAT = 16, /* z up to 128; weights behind that are 0 in float, and share the last bucket */
    RADIX_BITS = 11,
};

typedef struct seen_token {
    int32_t id;
    uint32_t n_generated; /* 0: in the prompt alone */
} seen_token;

typedef struct candidate {
    uint32_t key; /* falls as the logit rises */
    int32_t id;
} candidate;

struct sampler {
    aigc_sampling options; /* bias is our copy */
    int n_vocab, n_top;
    random_state random;
    float scale;        /* 1 / temperature */
    double min_p_limit; /* greatest z that min_p keeps */

    seen_token *seen; /* [n_vocab], n_seen of them used; NULL if there are no penalties */
    size_t n_seen;
    uint32_t *seen_at; /* [n_vocab] index in seen + 1, 0: not seen */

    float *block_max; /* [n_vocab / BLOCK + 1] */
    double mass[BUCKETS];
    uint32_t count[BUCKETS];
    candidate *sorted, *spare; /* [n_vocab] the bucket that was sorted last */
    int sorted_bucket;         /* -1: none */
    size_t n_sorted;
};

/* The kept beginning of the sorted row: whole buckets before `bucket` and `within` candidates of it. */
typedef struct prefix {
    int bucket;
    size_t within;
    double mass;
} prefix;

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
        {"top_p", s->top_p, s->top_p > 0 && s->top_p <= 1, "greater than 0 and at most 1"},
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

/* The large arrays are virtual memory: their pages are taken as candidates and seen tokens come. */
static bool allocate(sampler *s)
{
    size_t n = (size_t)s->n_vocab;
    aigc_logit_bias *bias = aigc_calloc(s->options.n_bias, sizeof *bias);

    if (bias && s->options.n_bias)
        memcpy(bias, s->options.bias, s->options.n_bias * sizeof *bias);
    s->options.bias = bias;
    s->block_max = aigc_calloc(n / BLOCK + 1, sizeof *s->block_max);
    if (!bias || !s->block_max)
        return false;
    if (s->options.temperature > 0) {
        s->sorted = aigc_calloc(n, sizeof *s->sorted);
        s->spare = aigc_calloc(n, sizeof *s->spare);
        if (!s->sorted || !s->spare)
            return false;
    }
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
    s->sorted_bucket = -1;
    /* Within these bounds z is a number for all logits, -infinity included. */
    s->scale = options->temperature > 1e-30 ? (float)fmax(1 / options->temperature, 1e-30) : 1e30f;
    s->min_p_limit = options->min_p > 0 ? -real_log(options->min_p) : INFINITY;
    random_seed(&s->random, options->seed, stream);
    if (!allocate(s)) {
        sampler_destroy(s);
        return aigc_fail_memory(err, "the sampler", (size_t)n_vocab * (2 * sizeof(candidate) + sizeof(seen_token)));
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
    free(s->sorted);
    free(s->spare);
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

    for (int begin = 0, b = 0; begin < s->n_vocab; begin += BLOCK, b++) {
        int n = s->n_vocab - begin < BLOCK ? s->n_vocab - begin : BLOCK;

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
            if (i % BLOCK == 0 && !(s->block_max[i / BLOCK] > logits[n - 1]))
                i += BLOCK - 1;
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

/* ---- candidates in the order of their weight ------------------------------------------------------------------ */

static uint32_t key_of_logit(float x)
{
    uint32_t bits;

    x += 0.0f; /* -0 and 0 are a tie */
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

static float logit_of_key(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key : 0x7fffffffu - key;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static float z_of(const sampler *s, float max, float logit)
{
    return (max - logit) * s->scale;
}

static int bucket_of(float z)
{
    return z < (float)(BUCKETS / BUCKETS_PER_NAT) ? (int)(z * BUCKETS_PER_NAT) : BUCKETS - 1;
}

static double weigh_buckets(sampler *s, const aigc_kernels *k, const float *x, float max)
{
    float weight[BLOCK];
    double total = 0;

    memset(s->mass, 0, sizeof s->mass);
    memset(s->count, 0, sizeof s->count);
    s->sorted_bucket = -1;
    for (int begin = 0; begin < s->n_vocab; begin += BLOCK) {
        int n = s->n_vocab - begin < BLOCK ? s->n_vocab - begin : BLOCK;

        k->exp_shifted(x + begin, max, s->scale, weight, (size_t)n);
        for (int i = 0; i < n; i++) {
            int b = bucket_of(z_of(s, max, x[begin + i]));

            s->mass[b] += weight[i];
            s->count[b]++;
        }
    }
    for (int b = 0; b < BUCKETS; b++)
        total += s->mass[b];
    return total;
}

/* Sorts by key, keeping the order of equal ones, one digit of RADIX_BITS after the other. */
static void radix_sort(sampler *s)
{
    enum { DIGITS = 1 << RADIX_BITS };
    uint32_t start[DIGITS];

    for (int shift = 0; shift < 32; shift += RADIX_BITS) {
        candidate *from = s->sorted;
        uint32_t at = 0;

        memset(start, 0, sizeof start);
        for (size_t i = 0; i < s->n_sorted; i++)
            start[from[i].key >> shift & (DIGITS - 1)]++;
        for (int d = 0; d < DIGITS; d++) {
            uint32_t n = start[d];

            start[d] = at;
            at += n;
        }
        for (size_t i = 0; i < s->n_sorted; i++)
            s->spare[start[from[i].key >> shift & (DIGITS - 1)]++] = from[i];
        s->sorted = s->spare;
        s->spare = from;
    }
}

static void insertion_sort(candidate *c, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        candidate x = c[i];
        size_t at = i;

        for (; at > 0 && x.key < c[at - 1].key; at--)
            c[at] = c[at - 1];
        c[at] = x;
    }
}

/* Brings a bucket's candidates into s->sorted. They come in the order of ids, so that a stable sort by logit does. */
static void sort_bucket(sampler *s, const float *x, float max, int bucket)
{
    if (s->sorted_bucket == bucket)
        return;
    s->sorted_bucket = bucket;
    s->n_sorted = 0;
    for (int begin = 0; begin < s->n_vocab; begin += BLOCK) {
        int end = s->n_vocab - begin < BLOCK ? s->n_vocab : begin + BLOCK;

        if (bucket_of(z_of(s, max, s->block_max[begin / BLOCK])) > bucket)
            continue;
        for (int i = begin; i < end; i++)
            if (bucket_of(z_of(s, max, x[i])) == bucket)
                s->sorted[s->n_sorted++] = (candidate){key_of_logit(x[i]), i};
    }
    if (s->n_sorted > 64)
        radix_sort(s);
    else
        insertion_sort(s->sorted, s->n_sorted);
}

/* Walks the first n candidates of the sorted bucket and adds their weights to *sum until it reaches `target` (passes
 * it, if `beyond`). Returns how many were walked, the one that reached it included. */
static size_t walk(const sampler *s, const aigc_kernels *k, float max, size_t n, double target, bool beyond,
                   double *sum)
{
    float logit[64], weight[64];

    for (size_t begin = 0; begin < n; begin += 64) {
        size_t m = n - begin < 64 ? n - begin : 64;

        for (size_t i = 0; i < m; i++)
            logit[i] = logit_of_key(s->sorted[begin + i].key);
        k->exp_shifted(logit, max, s->scale, weight, m);
        for (size_t i = 0; i < m; i++) {
            *sum += weight[i];
            if (beyond ? *sum > target : *sum >= target)
                return begin + i + 1;
        }
    }
    return n;
}

/* ---- limits and the draw -------------------------------------------------------------------------------------- */

/* Mass of the buckets before `bucket`. */
static double mass_before(const sampler *s, int bucket)
{
    double mass = 0;

    for (int b = 0; b < bucket; b++)
        mass += s->mass[b];
    return mass;
}

/* The prefix that ends behind the first n candidates of a bucket, which is sorted. */
static prefix cut(const sampler *s, const aigc_kernels *k, float max, int bucket, size_t n)
{
    prefix p = {bucket, n, mass_before(s, bucket)};

    walk(s, k, max, n, INFINITY, true, &p.mass);
    return p;
}

/* How many candidates of a bucket the prefix has. */
static size_t kept(const sampler *s, const prefix *p, int bucket)
{
    return bucket < p->bucket ? s->count[bucket] : bucket == p->bucket ? p->within : 0;
}

static prefix keep_top_k(sampler *s, const aigc_kernels *k, const float *x, float max, prefix p)
{
    size_t left = (size_t)s->options.top_k;
    int b = 0;

    if (s->options.top_k == 0 || s->options.top_k >= s->n_vocab)
        return p;
    for (; s->count[b] < left; b++)
        left -= s->count[b];
    sort_bucket(s, x, max, b);
    return cut(s, k, max, b, left);
}

static prefix keep_top_p(sampler *s, const aigc_kernels *k, const float *x, float max, prefix p)
{
    double target = s->options.top_p * p.mass, sum = 0;
    int b = 0;

    if (s->options.top_p == 1)
        return p;
    for (; b < p.bucket && sum + s->mass[b] < target; b++)
        sum += s->mass[b];
    if (b == BUCKETS)
        return p;
    sort_bucket(s, x, max, b);
    return cut(s, k, max, b, walk(s, k, max, kept(s, &p, b), target, false, &sum));
}

static prefix keep_min_p(sampler *s, const aigc_kernels *k, const float *x, float max, prefix p)
{
    double limit = s->min_p_limit;
    int b = limit < BUCKETS / BUCKETS_PER_NAT ? (int)(limit * BUCKETS_PER_NAT) : BUCKETS - 1;
    size_t n = 0;

    if (limit == INFINITY || b > p.bucket)
        return p;
    sort_bucket(s, x, max, b);
    while (n < kept(s, &p, b) && z_of(s, max, logit_of_key(s->sorted[n].key)) <= limit)
        n++;
    return cut(s, k, max, b, n);
}

/* The candidate where the cumulative weight passes u * p->mass. Sums of a bucket in the order of ids and of weight may
 * differ in their last bits: at such a border the nearest candidate takes it. */
static int32_t pick(sampler *s, const aigc_kernels *k, const float *x, float max, const prefix *p, double u)
{
    double target = u * p->mass, sum = 0;
    int bucket = 0; /* has the highest logit, whose weight is 1 */

    for (int b = 1; b < BUCKETS && b <= p->bucket && sum + s->mass[bucket] <= target; b++)
        if (kept(s, p, b) && s->mass[b] > 0) {
            sum += s->mass[bucket];
            bucket = b;
        }
    sort_bucket(s, x, max, bucket);
    return s->sorted[walk(s, k, max, kept(s, p, bucket), target, true, &sum) - 1].id;
}

static int32_t draw(sampler *s, const aigc_kernels *k, const float *x, float max)
{
    prefix p = {BUCKETS, 0, weigh_buckets(s, k, x, max)};

    p = keep_top_k(s, k, x, max, p);
    p = keep_top_p(s, k, x, max, p);
    p = keep_min_p(s, k, x, max, p);
    return pick(s, k, x, max, &p, random_unit(&s->random));
}

static int32_t first_of(const sampler *s, const float *x, float max)
{
    int32_t i = 0;

    while (s->block_max[i / BLOCK] != max)
        i += BLOCK;
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
        id = s->options.temperature == 0 ? first_of(s, logits, max) : draw(s, k, logits, max);
    *chosen = (aigc_token){id, logprob(logits[id], log_total)};
    if (s->seen)
        see(s, id)->n_generated++;
    return find_top(s, logits, log_total, top);
}
