/* candidates.c: buckets of weight, and the prefix of the sorted row that the limits leave. */
#include "engine/candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/real.h"

enum {
    BUCKETS = 2048,
    BUCKETS_PER_NAT = 16, /* z up to 128; weights behind that are 0 in float, and share the last bucket */
    RADIX_BITS = 11,
    FEW = 64, /* candidates that insertion sorts faster */
};

typedef struct candidate {
    uint32_t key; /* falls as the logit rises */
    int32_t id;
} candidate;

struct candidates {
    int n_vocab, top_k;
    double top_p;
    double min_p_limit; /* greatest z that min_p keeps */
    float scale;        /* 1 / temperature */

    /* of the row at hand */
    const aigc_kernels *kernels;
    const float *logits, *block_max;
    float max;
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

/* The two arrays are virtual memory: pages are taken as far as the largest bucket reaches. */
candidates *candidates_create(int n_vocab, const aigc_sampling *options)
{
    candidates *c = aigc_calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->n_vocab = n_vocab;
    c->top_k = options->top_k;
    c->top_p = options->top_p;
    c->min_p_limit = options->min_p > 0 ? -real_log(options->min_p) : INFINITY;
    /* Within these bounds z is a number for all logits, -infinity included. */
    c->scale = options->temperature > 1e-30 ? (float)fmax(1 / options->temperature, 1e-30) : 1e30f;
    c->sorted = aigc_calloc((size_t)n_vocab, sizeof *c->sorted);
    c->spare = aigc_calloc((size_t)n_vocab, sizeof *c->spare);
    if (!c->sorted || !c->spare) {
        candidates_destroy(c);
        return NULL;
    }
    return c;
}

void candidates_destroy(candidates *c)
{
    if (!c)
        return;
    free(c->sorted);
    free(c->spare);
    free(c);
}

/* ---- buckets ----------------------------------------------------------------------------------------------------- */

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

static float z_of(const candidates *c, float logit)
{
    return (c->max - logit) * c->scale;
}

static int bucket_of(float z)
{
    return z < (float)(BUCKETS / BUCKETS_PER_NAT) ? (int)(z * BUCKETS_PER_NAT) : BUCKETS - 1;
}

static double weigh_buckets(candidates *c)
{
    float weight[CANDIDATE_BLOCK];
    double total = 0;

    memset(c->mass, 0, sizeof c->mass);
    memset(c->count, 0, sizeof c->count);
    c->sorted_bucket = -1;
    for (int begin = 0; begin < c->n_vocab; begin += CANDIDATE_BLOCK) {
        int n = c->n_vocab - begin < CANDIDATE_BLOCK ? c->n_vocab - begin : CANDIDATE_BLOCK;

        c->kernels->exp_shifted(c->logits + begin, c->max, c->scale, weight, (size_t)n);
        for (int i = 0; i < n; i++) {
            int b = bucket_of(z_of(c, c->logits[begin + i]));

            c->mass[b] += weight[i];
            c->count[b]++;
        }
    }
    for (int b = 0; b < BUCKETS; b++)
        total += c->mass[b];
    return total;
}

/* Sorts by key, keeping the order of equal ones, one digit of RADIX_BITS after the other. */
static void radix_sort(candidates *c)
{
    enum { DIGITS = 1 << RADIX_BITS };
    uint32_t start[DIGITS];

    for (int shift = 0; shift < 32; shift += RADIX_BITS) {
        candidate *from = c->sorted;
        uint32_t at = 0;

        memset(start, 0, sizeof start);
        for (size_t i = 0; i < c->n_sorted; i++)
            start[from[i].key >> shift & (DIGITS - 1)]++;
        for (int d = 0; d < DIGITS; d++) {
            uint32_t n = start[d];

            start[d] = at;
            at += n;
        }
        for (size_t i = 0; i < c->n_sorted; i++)
            c->spare[start[from[i].key >> shift & (DIGITS - 1)]++] = from[i];
        c->sorted = c->spare;
        c->spare = from;
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

/* Brings a bucket's candidates into c->sorted. They come in the order of ids, so that a stable sort by logit does. */
static void sort_bucket(candidates *c, int bucket)
{
    if (c->sorted_bucket == bucket)
        return;
    c->sorted_bucket = bucket;
    c->n_sorted = 0;
    for (int begin = 0; begin < c->n_vocab; begin += CANDIDATE_BLOCK) {
        int end = c->n_vocab - begin < CANDIDATE_BLOCK ? c->n_vocab : begin + CANDIDATE_BLOCK;

        if (bucket_of(z_of(c, c->block_max[begin / CANDIDATE_BLOCK])) > bucket)
            continue;
        for (int i = begin; i < end; i++)
            if (bucket_of(z_of(c, c->logits[i])) == bucket)
                c->sorted[c->n_sorted++] = (candidate){key_of_logit(c->logits[i]), i};
    }
    if (c->n_sorted > FEW)
        radix_sort(c);
    else
        insertion_sort(c->sorted, c->n_sorted);
}

/* Walks the first n candidates of the sorted bucket and adds their weights to *sum until it reaches `target` (passes
 * it, if `beyond`). Returns how many were walked, the one that reached it included. */
static size_t walk(const candidates *c, size_t n, double target, bool beyond, double *sum)
{
    float logit[FEW], weight[FEW];

    for (size_t begin = 0; begin < n; begin += FEW) {
        size_t m = n - begin < FEW ? n - begin : FEW;

        for (size_t i = 0; i < m; i++)
            logit[i] = logit_of_key(c->sorted[begin + i].key);
        c->kernels->exp_shifted(logit, c->max, c->scale, weight, m);
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
static double mass_before(const candidates *c, int bucket)
{
    double mass = 0;

    for (int b = 0; b < bucket; b++)
        mass += c->mass[b];
    return mass;
}

/* The prefix that ends behind the first n candidates of a bucket, which is sorted. */
static prefix cut(const candidates *c, int bucket, size_t n)
{
    prefix p = {bucket, n, mass_before(c, bucket)};

    walk(c, n, INFINITY, true, &p.mass);
    return p;
}

/* How many candidates of a bucket the prefix has. */
static size_t kept(const candidates *c, const prefix *p, int bucket)
{
    return bucket < p->bucket ? c->count[bucket] : bucket == p->bucket ? p->within : 0;
}

static prefix keep_top_k(candidates *c, prefix p)
{
    size_t left = (size_t)c->top_k;
    int b = 0;

    if (c->top_k == 0 || c->top_k >= c->n_vocab)
        return p;
    for (; c->count[b] < left; b++)
        left -= c->count[b];
    sort_bucket(c, b);
    return cut(c, b, left);
}

static prefix keep_top_p(candidates *c, prefix p)
{
    double target = c->top_p * p.mass, sum = 0;
    int b = 0;

    if (c->top_p == 1)
        return p;
    for (; b < p.bucket && sum + c->mass[b] < target; b++)
        sum += c->mass[b];
    if (b == BUCKETS)
        return p;
    sort_bucket(c, b);
    return cut(c, b, walk(c, kept(c, &p, b), target, false, &sum));
}

static prefix keep_min_p(candidates *c, prefix p)
{
    double limit = c->min_p_limit;
    int b = limit < BUCKETS / BUCKETS_PER_NAT ? (int)(limit * BUCKETS_PER_NAT) : BUCKETS - 1;
    size_t n = 0;

    if (limit == INFINITY || b > p.bucket)
        return p;
    sort_bucket(c, b);
    while (n < kept(c, &p, b) && z_of(c, logit_of_key(c->sorted[n].key)) <= limit)
        n++;
    return cut(c, b, n);
}

/* The candidate where the cumulative weight passes u * p->mass. Sums of a bucket in the order of ids and of weight may
 * differ in their last bits: at such a border the nearest candidate takes it. */
static int32_t pick(candidates *c, const prefix *p, double u)
{
    double target = u * p->mass, sum = 0;
    int bucket = 0; /* has the highest logit, whose weight is 1 */

    for (int b = 1; b < BUCKETS && b <= p->bucket && sum + c->mass[bucket] <= target; b++)
        if (kept(c, p, b) && c->mass[b] > 0) {
            sum += c->mass[bucket];
            bucket = b;
        }
    sort_bucket(c, bucket);
    return c->sorted[walk(c, kept(c, p, bucket), target, true, &sum) - 1].id;
}

int32_t candidates_draw(candidates *c, const aigc_kernels *k, const float *logits, const float *block_max, float max,
                        double u)
{
    prefix p = {BUCKETS, 0, 0};

    c->kernels = k;
    c->logits = logits;
    c->block_max = block_max;
    c->max = max;
    p.mass = weigh_buckets(c);
    p = keep_top_k(c, p);
    p = keep_top_p(c, p);
    p = keep_min_p(c, p);
    return pick(c, &p, u);
}
