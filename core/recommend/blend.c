/* blend.c: see blend.h. */
#include "recommend/blend.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "recommend/profile.h"
#include "recommend/ranges.h"
#include "recommend/ranking.h"

enum { BEST_OF_SIGNAL = 150, HIDDEN_MOST = 1000, RANDOM_ITEMS = 150, ROUNDS = 3, USERS_PER_STEP = 32 };

/* Events that users are asked for with, for each blend. */
static const size_t EVENTS[BLENDS] = {0, 2, 6, 20, SIZE_MAX, 0};
/* An improvement of the NDCG that counts, for a few hundred users: less is noise. */
static const double IMPROVEMENT = 0.0008;

/* Weights to begin with. Signals that the users set aside can't tell about (distance, if no user has a place) keep
 * them, in units of the deviation of what has been learned. */
static const float START[SIGNALS] = {
    [SIGNAL_FACTORS] = 1,   [SIGNAL_ITEMS] = 1,         [SIGNAL_WORDS] = 0.5f,  [SIGNAL_LATENT] = 0.5f,
    [SIGNAL_EMBEDDING] = 1, [SIGNAL_POPULARITY] = 0.3f, [SIGNAL_RECENT] = 0.3f, [SIGNAL_FRESH] = 0.1f,
    [SIGNAL_PEOPLE] = 0.3f, [SIGNAL_MATCH] = 1.5f,      [SIGNAL_NEAR] = 2};

/* Likeness to what somebody did is a small number if nothing but words tell of it, and should come first. */
static const float BESIDE_HISTORY = 0.1f;

void blend_defaults(float blend[BLENDS][SIGNALS], float spread[BLENDS])
{
    for (int b = 0; b < BLENDS; b++) {
        memcpy(blend[b], START, sizeof START);
        if (b > 0 && b != BLEND_NOBODY)
            blend[b][SIGNAL_FRESH] *= BESIDE_HISTORY;
        spread[b] = 1;
    }
}

/* ---- cases --------------------------------------------------------------------------------------------------- */

static bool differs(const float *x, uint32_t n)
{
    uint32_t i = 0;

    while (i < n && x[i] == x[0])
        i++;
    return i < n;
}

/* Their best items, once for all users. */
static bool list_general(blender *b)
{
    uint32_t n = b->m->n->n_items;
    bool ok = true;

    for (int s = 0; s < SIGNALS && ok; s++) {
        const float *values = signal_values(b->m, s);
        if (values && differs(values, n))
            b->n_general[s] = rank_best(values, n, BEST_OF_SIGNAL, 0, &b->general[s], &ok);
    }
    return ok;
}

aigc_status blender_open(blender *b, aigc_fit *fit, const model *m, const holdout *h, uint32_t most_users,
                         aigc_error *err)
{
    *b = (blender){.fit = fit, .m = m, .h = h, .n_users = h->n < most_users ? h->n : most_users};
    for (int c = 0; c < AIGC_METRIC_CUTOFFS; c++)
        b->cutoff = fit->o.cutoffs[c] > b->cutoff ? fit->o.cutoffs[c] : b->cutoff;
    b->cutoff = b->cutoff ? b->cutoff : 100;
    b->cases = aigc_calloc((size_t)b->n_users * BLENDS, sizeof *b->cases);
    if (b->cases && list_general(b))
        return AIGC_OK;
    blender_close(b);
    return aigc_fail_memory(err, "users to learn from", h->n * BLENDS * sizeof *b->cases);
}

void blender_close(blender *b)
{
    for (size_t i = 0; b->cases && i < (size_t)b->n_users * BLENDS; i++)
        free(b->cases[i].value);
    free(b->cases);
    for (int i = 0; i < SIGNALS; i++)
        free(b->general[i]);
    *b = (blender){0};
}

typedef struct scratch {
    float *memory;
    const float *signals[SIGNALS]; /* [n_items], NULL: zeros, or the same for all items */
    bool *marks;
    uint32_t *list;
    aigc_event *events;
} scratch;

/* Items that are not marked onto the list, marked. Returns its new length. */
static uint32_t list_items(scratch *x, uint32_t n, const uint32_t *items, size_t n_more)
{
    for (size_t i = 0; i < n_more; i++)
        if (!x->marks[items[i]]) {
            x->marks[items[i]] = true;
            x->list[n++] = items[i];
        }
    return n;
}

/* The best of each signal and some items at random, after the first n of the list. */
static uint32_t list_candidates(const blender *b, uint32_t row, scratch *x, uint32_t n, bool *ok)
{
    uint32_t n_items = b->m->n->n_items, *order;
    random_state random;

    for (int s = 0; s < SIGNALS && *ok; s++) {
        if (b->general[s]) {
            n = list_items(x, n, b->general[s], b->n_general[s]);
        } else if (x->signals[s] && !signal_values(b->m, s)) {
            size_t len = rank_best(x->signals[s], n_items, BEST_OF_SIGNAL, 0, &order, ok);
            n = list_items(x, n, order, len);
            free(order);
        }
    }
    random_seed(&random, b->fit->o.seed, 5000 + row);
    for (int i = 0; i < RANDOM_ITEMS && n_items; i++) {
        uint32_t item = (uint32_t)(random_u64(&random) % n_items);
        n = list_items(x, n, &item, 1);
    }
    return n;
}

/* The candidates of one case: hidden items first, then the best of each signal, then some of the others, each once.
 * The marks are all false before and after. */
static bool candidates(const blender *b, uint32_t row, const aigc_query *q, scratch *x, blend_case *out)
{
    const holdout *h = b->h;
    uint64_t n_hidden = h->hidden.start[row + 1] - h->hidden.start[row];
    const uint32_t *hidden = h->hidden.item + h->hidden.start[row];
    bool ok = true;

    out->n_hidden = list_items(x, 0, hidden, n_hidden < HIDDEN_MOST ? n_hidden : HIDDEN_MOST);
    for (uint64_t i = out->n_hidden; i < n_hidden; i++)
        x->marks[hidden[i]] = true;
    for (size_t i = 0; i < q->n_events; i++)
        x->marks[q->events[i].item] = true;
    uint32_t n = list_candidates(b, row, x, out->n_hidden, &ok);
    out->value = ok ? aigc_calloc((size_t)n * SIGNALS, sizeof *out->value) : NULL;
    out->n = n;
    for (uint32_t i = 0; i < n; i++) {
        for (int s = 0; s < SIGNALS && out->value; s++)
            out->value[i * SIGNALS + s] = x->signals[s] ? x->signals[s][x->list[i]] : 0;
        x->marks[x->list[i]] = false;
    }
    for (size_t i = 0; i < q->n_events; i++)
        x->marks[q->events[i].item] = false;
    for (uint64_t i = 0; i < n_hidden; i++)
        x->marks[hidden[i]] = false;
    for (size_t i = 0; i < out->n_hidden && i < (size_t)b->cutoff; i++)
        out->ideal += discount(i);
    return out->value != NULL;
}

/* All signals of a person, where they say something. */
static void read_signals(const blender *b, const profile *p, scratch *x)
{
    uint32_t n = b->m->n->n_items;

    for (int s = 0; s < SIGNALS; s++) {
        float *out = x->memory + (size_t)s * n;
        x->signals[s] = signal_values(b->m, s);
        if (x->signals[s])
            continue;
        if (!profile_has(p, (score_signal)s))
            continue;
        memset(out, 0, n * sizeof *out);
        profile_signal(p, (score_signal)s, 1, out);
        x->signals[s] = differs(out, n) ? out : NULL;
    }
}

static bool make_case(const blender *b, uint32_t row, int blend, scratch *x)
{
    aigc_attribute attributes[ATTRIBUTES_MOST];
    uint64_t shown = b->h->shown.start[row + 1] - b->h->shown.start[row];
    profile p;

    if (blend != BLEND_NOBODY && blend_of(EVENTS[blend] < shown ? EVENTS[blend] : shown) != blend)
        return true;
    aigc_query q = user_query(b->fit, b->h, row, EVENTS[blend], x->events, attributes);
    /* Without attributes, nobody is somebody with 0 events. */
    if (blend == BLEND_NOBODY && q.n_attributes == 0)
        return true;
    if (blend == BLEND_NOBODY)
        q.n_attributes = 0;
    if (profile_open(b->m, &q, &p, NULL) != AIGC_OK)
        return false;
    read_signals(b, &p, x);
    bool ok = candidates(b, row, &q, x, &b->cases[(size_t)blend * b->n_users + row]);
    profile_close(&p);
    return ok;
}

typedef struct cases_job {
    blender *b;
    _Atomic bool failed;
} cases_job;

/* Case number n is that of user n / BLENDS with blend n % BLENDS. */
static void cases_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    cases_job *job = context;
    const blender *b = job->b;
    uint32_t row = begin / BLENDS, n = b->m->n->n_items;
    uint64_t shown = b->h->shown.start[row + 1] - b->h->shown.start[row];
    scratch x = {.memory = aigc_calloc((size_t)n * SIGNALS, sizeof(float)), .marks = aigc_calloc(n, sizeof(bool))};
    bool ok = true;

    (void)thread;
    x.list = aigc_calloc(n, sizeof *x.list);
    x.events = aigc_calloc(shown, sizeof *x.events);
    if (!x.memory || !x.marks || !x.list || !x.events)
        ok = false;
    for (uint32_t i = begin; i < end && ok; i++)
        ok = make_case(b, row, (int)(i % BLENDS), &x);
    if (!ok)
        job->failed = true;
    free(x.memory);
    free(x.marks);
    free(x.list);
    free(x.events);
}

/* ---- weights ------------------------------------------------------------------------------------------------- */

static double case_ndcg(const blend_case *c, const float *weights, int cutoff)
{
    float score[c->n];
    double gain = 0;

    for (uint32_t i = 0; i < c->n; i++) {
        score[i] = 0;
        for (int s = 0; s < SIGNALS; s++)
            score[i] += weights[s] * c->value[i * SIGNALS + s];
    }
    for (uint32_t h = 0; h < c->n_hidden; h++) {
        size_t place = 0;
        for (uint32_t i = 0; i < c->n; i++)
            place += score[i] > score[h] || (score[i] == score[h] && i >= c->n_hidden);
        if (place < (size_t)cutoff)
            gain += discount(place);
    }
    return gain / c->ideal;
}

/* Several weightings at once, users shared among threads. */
enum { TRIALS_MOST = 8 };

typedef struct trial_job {
    const blender *b;
    float weights[TRIALS_MOST][SIGNALS];
    int n_trials;
    double *ndcg; /* [n_users][TRIALS_MOST] */
} trial_job;

static void trial_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    trial_job *job = context;

    (void)thread;
    for (uint32_t u = begin; u < end; u++) {
        const blend_case *c = &job->b->cases[(size_t)job->b->blend * job->b->n_users + u];
        for (int t = 0; t < job->n_trials && c->n_hidden; t++)
            job->ndcg[(size_t)u * TRIALS_MOST + (size_t)t] = case_ndcg(c, job->weights[t], job->b->cutoff);
    }
}

/* Mean NDCG of each trial; false if memory is out. */
static bool run_trials(trial_job *job, double *mean)
{
    uint32_t n = job->b->n_users, m = 0;

    job->ndcg = aigc_calloc((size_t)n * TRIALS_MOST, sizeof *job->ndcg);
    if (job->ndcg == NULL)
        return false;
    ranges_run(job->b->fit->pool, 0, n, 1, trial_work, job);
    for (int t = 0; t < job->n_trials; t++)
        mean[t] = 0;
    for (uint32_t u = 0; u < n; u++) {
        m += job->b->cases[(size_t)job->b->blend * n + u].n_hidden > 0;
        for (int t = 0; t < job->n_trials; t++)
            mean[t] += job->ndcg[(size_t)u * TRIALS_MOST + t];
    }
    for (int t = 0; t < job->n_trials && m; t++)
        mean[t] /= m;
    free(job->ndcg);
    return true;
}

/* The deviation of a signal among the candidates of the current blend. */
static float deviation(const blender *b, int s)
{
    double sum = 0, square = 0, n = 0;

    for (uint32_t u = 0; u < b->n_users; u++) {
        const blend_case *c = &b->cases[(size_t)b->blend * b->n_users + u];
        for (uint32_t i = 0; i < c->n; i++, n++) {
            double x = c->value[i * SIGNALS + s];
            sum += x;
            square += x * x;
        }
    }
    double variance = n > 0 ? square / n - sum / n * (sum / n) : 0;
    return variance > 1e-12 ? (float)sqrt(variance) : 0;
}

/* What item-to-item weights add for each unit of the factors' score: items that have only factors get that too. */
static float items_for_factors(const blender *b)
{
    double both = 0, square = 0;

    for (uint32_t u = 0; u < b->n_users; u++) {
        const blend_case *c = &b->cases[(size_t)b->blend * b->n_users + u];
        for (uint32_t i = 0; i < c->n; i++) {
            const float *x = c->value + (size_t)i * SIGNALS;
            both += (double)x[SIGNAL_FACTORS] * x[SIGNAL_ITEMS];
            square += (double)x[SIGNAL_FACTORS] * x[SIGNAL_FACTORS];
        }
    }
    return square > 0 && both > 0 ? (float)(both / square) : 0;
}

/* The two ways to look at what people did, in equal parts, are nearly always better than either. */
static bool try_both(blender *b, const float *weights, float *best)
{
    const float *scale = b->scale[b->blend];
    trial_job job = {.b = b, .n_trials = 1};
    double ndcg;

    if (scale[SIGNAL_FACTORS] == 0 || scale[SIGNAL_ITEMS] == 0)
        return true;
    memcpy(job.weights[0], weights, sizeof job.weights[0]);
    job.weights[0][SIGNAL_FACTORS] = 1 / scale[SIGNAL_FACTORS];
    job.weights[0][SIGNAL_ITEMS] = 1 / scale[SIGNAL_ITEMS];
    if (!run_trials(&job, &ndcg))
        return false;
    if (ndcg > b->best - 4 * IMPROVEMENT) {
        b->best = ndcg;
        memcpy(best, job.weights[0], sizeof job.weights[0]);
    }
    return true;
}

/* Begins a blend with the one signal that ranks best alone, or the two of what people did; those that do not occur keep
 * what they had. */
static bool begin_blend(blender *b)
{
    float *weights = b->fit->blend[b->blend], best[SIGNALS];

    b->best = -1;
    for (int s = 0; s < SIGNALS; s++) {
        b->scale[b->blend][s] = deviation(b, s);
        if (b->scale[b->blend][s] > 0)
            weights[s] = 0;
    }
    memcpy(best, weights, sizeof best);
    for (int s = 0; s < SIGNALS; s++) {
        trial_job job = {.b = b, .n_trials = 1};
        double ndcg;
        if (b->scale[b->blend][s] == 0)
            continue;
        memcpy(job.weights[0], weights, sizeof job.weights[0]);
        job.weights[0][s] = 1 / b->scale[b->blend][s];
        if (!run_trials(&job, &ndcg))
            return false;
        if (ndcg > b->best + IMPROVEMENT) {
            b->best = ndcg;
            memcpy(best, job.weights[0], sizeof best);
        }
    }
    if (!try_both(b, weights, best))
        return false;
    memcpy(weights, best, sizeof best);
    return true;
}

/* Tries other weights for one signal. */
static bool improve(blender *b, int s)
{
    static const float FACTORS[] = {0, 0.4f, 0.65f, 0.85f, 1.18f, 1.55f, 2.5f};
    static const float STARTS[] = {0.05f, 0.15f, 0.35f, 0.7f, 1.5f, 3, 0.02f};
    float *weights = b->fit->blend[b->blend], scale = b->scale[b->blend][s];
    trial_job job = {.b = b, .n_trials = 7};
    double ndcg[TRIALS_MOST];
    int best = -1;

    if (scale == 0)
        return true;
    for (int t = 0; t < job.n_trials; t++) {
        memcpy(job.weights[t], weights, sizeof job.weights[t]);
        job.weights[t][s] = weights[s] == 0 ? STARTS[t] / scale : weights[s] * FACTORS[t];
    }
    if (!run_trials(&job, ndcg))
        return false;
    for (int t = 0; t < job.n_trials; t++)
        if (ndcg[t] > b->best + IMPROVEMENT && (best < 0 || ndcg[t] > ndcg[best]))
            best = t;
    if (best >= 0) {
        b->best = ndcg[best];
        memcpy(weights, job.weights[best], sizeof job.weights[best]);
    }
    return true;
}

/* Weights of signals that do not occur, so that they count beside those that were learned. */
static void weigh_others(const blender *b)
{
    float *weights = b->fit->blend[b->blend];
    double sum = 0, square = 0, n = 0;

    for (uint32_t u = 0; u < b->n_users; u++) {
        const blend_case *c = &b->cases[(size_t)b->blend * b->n_users + u];
        for (uint32_t i = 0; i < c->n; i++, n++) {
            double score = 0;
            for (int s = 0; s < SIGNALS; s++)
                score += b->scale[b->blend][s] > 0 ? weights[s] * c->value[(size_t)i * SIGNALS + s] : 0;
            sum += score;
            square += score * score;
        }
    }
    double variance = n > 0 ? square / n - sum / n * (sum / n) : 0;
    float spread = variance > 0 ? (float)sqrt(variance) : 1;
    b->fit->spread[b->blend] = spread;
    for (int s = 0; s < SIGNALS; s++)
        if (b->scale[b->blend][s] == 0)
            weights[s] = START[s] * spread;
}

/* All cases of a user on one thread, or each on its own where there are many items. */
static aigc_status cases_step(blender *b, aigc_error *err)
{
    cases_job job = {.b = b};
    uint32_t users = fit_people(b->fit, USERS_PER_STEP);
    bool many = users < USERS_PER_STEP;
    uint32_t end = range_end(b->next, b->n_users * BLENDS, many ? users : USERS_PER_STEP * BLENDS);

    ranges_run(b->fit->pool, b->next, end, many ? 1 : BLENDS, cases_work, &job);
    b->next = end;
    return job.failed ? aigc_fail_memory(err, "users to learn from", b->m->n->n_items * SIGNALS * sizeof(float))
                      : AIGC_OK;
}

/* A blend that too few users could be asked for takes the weights of the one before it; that of nobody, those for no
 * events. */
static bool has_cases(const blender *b, int blend)
{
    uint32_t n = 0;

    for (uint32_t u = 0; u < b->n_users; u++)
        n += b->cases[(size_t)blend * b->n_users + u].n_hidden > 0;
    return n >= 10;
}

aigc_status blender_step(blender *b, bool *done, aigc_error *err)
{
    bool ok = true;

    *done = false;
    if (b->next < b->n_users * BLENDS)
        return cases_step(b, err);
    if (b->blend < BLENDS && !has_cases(b, b->blend)) {
        if (b->blend > 1) {
            int other = b->blend == BLEND_NOBODY ? 0 : b->blend - 1;
            memcpy(b->fit->blend[b->blend], b->fit->blend[other], sizeof b->fit->blend[0]);
            b->fit->cold[b->blend] = b->fit->cold[other];
            b->fit->spread[b->blend] = b->fit->spread[other];
        }
        b->blend++;
    } else if (b->blend < BLENDS && b->round == 0) {
        ok = begin_blend(b);
        b->round = 1;
    } else if (b->blend < BLENDS) {
        ok = improve(b, b->signal++);
        if (b->signal == SIGNALS) {
            b->signal = 0;
            if (++b->round > ROUNDS) {
                b->round = 0;
                weigh_others(b);
                b->fit->cold[b->blend] = b->fit->blend[b->blend][SIGNAL_ITEMS] * items_for_factors(b);
                b->blend++;
            }
        }
    }
    *done = b->blend == BLENDS;
    return ok ? AIGC_OK : aigc_fail_memory(err, "a blend", b->n_users * sizeof(double));
}

uint64_t blender_progress(const blender *b, uint64_t *n_steps)
{
    uint64_t per_blend = 1 + ROUNDS * SIGNALS, cases = b->n_users / USERS_PER_STEP;

    *n_steps = cases + BLENDS * per_blend;
    if (b->next < b->n_users * BLENDS)
        return b->next / (USERS_PER_STEP * BLENDS);
    return cases + (uint64_t)b->blend * per_blend +
           (b->round ? 1 + (uint64_t)(b->round - 1) * SIGNALS + (uint64_t)b->signal : 0);
}
