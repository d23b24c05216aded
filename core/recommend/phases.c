/* phases.c: what a fit does, phase after phase. */
#include "recommend/phases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/blend.h"
#include "recommend/evaluate.h"
#include "recommend/half.h"
#include "recommend/numbers.h"
#include "recommend/trial.h"
#include "recommend/tune.h"

enum {
    TRIAL_ITEMS = 4000,      /* with item-to-item weights while lambda is sought */
    TRIAL_USERS = 20000,     /* that hyperparameters and blend are learned from, at most */
    VALIDATION_USERS = 1000, /* on whom they are tried, at most; one in six if there are few */
    BLEND_USERS = 400,
    REPEATS_MOST = 4,     /* of few users set aside, with other events hidden each time */
    LEAST_PAIRS = 5,      /* of a user set aside */
    LEAST_USERS = 30,     /* with so many pairs, or nothing is chosen on them */
    FIRST_ITERATIONS = 8, /* of the factorisation before hyperparameters are compared */
    NEXT_ITERATIONS = 3,  /* with each that is tried */
    CLIMBS = 3            /* of the factorisation's hyperparameters */
};

/* Where nothing is chosen. */
static const double LAMBDA = 200, REGULARIZATION = 0.008, UNOBSERVED = 0.4;

/* The search for hyperparameters. */
struct tuner {
    evaluator evaluator;
    factor_trial factors;
    model_rows weights; /* item-to-item weights of the best lambda so far */
    bool evaluating;
    climb climb;
    int which; /* climbs of the factorisation that are over: regularization, unobserved, regularization again */
    int left;  /* iterations before the next evaluation */
    bool begun;
};

/* ---- data ---------------------------------------------------------------------------------------------------- */

static void choose_sizes(aigc_fit *fit)
{
    uint64_t n = pairs_n(&fit->pairs);

    fit->n_factors = fit->o.n_factors ? fit->o.n_factors : n < 20000 ? 32 : fit->c.item_keys.n > 300000 ? 64 : 128;
    fit->n_iterations = fit->o.n_iterations ? fit->o.n_iterations : 12;
    fit->lambda = fit->o.ease_lambda > 0 ? fit->o.ease_lambda : LAMBDA;
    fit->regularization = fit->o.regularization > 0 ? fit->o.regularization : REGULARIZATION;
    fit->unobserved = fit->o.unobserved > 0 ? fit->o.unobserved : UNOBSERVED;
}

static double time_of_item(const aigc_fit *fit, uint32_t i)
{
    double time = fit->c.items[i].time;

    return isfinite(time) ? time : NAN;
}

/* A tenth of the time that the events span, or the items if no event has a time, or 30 days if nobody knows. */
static double choose_half_life(const aigc_fit *fit)
{
    double first = INFINITY, last = -INFINITY;

    if (fit->o.half_life > 0)
        return fit->o.half_life;
    for (uint64_t i = 0; fit->pairs.time && i < pairs_n(&fit->pairs); i++) {
        first = fmin(first, fit->pairs.time[i]);
        last = fmax(last, fit->pairs.time[i]);
    }
    for (uint32_t i = 0; !fit->c.has_times && i < fit->c.item_keys.n; i++) {
        first = fmin(first, time_of_item(fit, i));
        last = fmax(last, time_of_item(fit, i));
    }
    return last > first ? (last - first) / 10 : 30 * 86400.0;
}

/* If no event has a time, things are as new as the latest item. */
static void choose_last_time(aigc_fit *fit)
{
    for (uint32_t i = 0; !fit->c.has_times && i < fit->c.item_keys.n; i++)
        fit->c.last_time = fmax(fit->c.last_time, time_of_item(fit, i));
}

static aigc_status read_users(aigc_fit *fit, aigc_error *err)
{
    uint32_t n = fit->c.user_keys.n;

    fit->user_first = aigc_calloc((size_t)n + 1, sizeof *fit->user_first);
    if (fit->user_first == NULL)
        return aigc_fail_memory(err, "users", n * sizeof *fit->user_first);
    for (uint32_t u = 0; u < n; u++)
        fit->user_first[u] = fit->c.n_user_values;
    for (size_t i = fit->c.n_user_values; i-- > 0;)
        fit->user_first[fit->c.user_values[i].user] = i;
    return bands_make(&fit->bands, &fit->c, err);
}

static aigc_status events_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    bool made = false;
    aigc_status status = pairs_maker_step(&fit->c, &fit->maker, fit->o.weights, &made, err);

    fit->n_steps = 4;
    fit->step = (uint64_t)fit->maker.stage;
    if (status != AIGC_OK || !made)
        return status;
    fit->pairs = fit->maker.p;
    fit->counts = fit->maker.counts;
    fit->median_weight = fit->maker.median;
    fit->maker.p = (pairs){0};
    pairs_maker_free(&fit->maker);
    status = read_users(fit, err);
    fit->half_life = choose_half_life(fit);
    choose_last_time(fit);
    choose_sizes(fit);
    *done = true;
    return status;
}

static void copy_items(aigc_fit *fit)
{
    size_t d = (size_t)fit->c.n_embedding, padded = dense_pad(d);

    for (uint32_t i = 0; i < fit->c.item_keys.n; i++) {
        const catalogue_item *item = &fit->c.items[i];
        double square = 0;
        fit->time[i] = item->time;
        fit->place[2 * (size_t)i] = item->latitude;
        fit->place[2 * (size_t)i + 1] = item->longitude;
        for (size_t j = 0; j < d; j++)
            square += (double)fit->c.embeddings[i * d + j] * fit->c.embeddings[i * d + j];
        for (size_t j = 0; j < d && square > 0; j++)
            fit->embedding[i * padded + j] = half_from_float((float)(fit->c.embeddings[i * d + j] / sqrt(square)));
    }
}

static aigc_status open_words(aigc_fit *fit, aigc_error *err)
{
    uint32_t n = fit->c.item_keys.n;

    fit->docs = aigc_calloc(n, sizeof *fit->docs);
    fit->time = aigc_calloc(n, sizeof *fit->time);
    fit->place = aigc_calloc(n, 2 * sizeof *fit->place);
    fit->embedding = aigc_calloc(n * dense_pad((size_t)fit->c.n_embedding), sizeof *fit->embedding);
    if (!fit->docs || !fit->time || !fit->place || !fit->embedding)
        return aigc_fail_memory(err, "items", n * sizeof *fit->docs);
    for (uint32_t i = 0; i < n; i++)
        fit->docs[i] = (content_doc){fit->c.docs + fit->c.items[i].doc, fit->c.items[i].n_doc};
    copy_items(fit);
    return content_open(&fit->content, fit->docs, n, fit->c.terms.n, &fit->c.terms, NULL, 0, 0, err);
}

/* The vectors have taken the documents' place. */
static aigc_status close_words(aigc_fit *fit, aigc_error *err)
{
    int d = fit->o.n_latent ? fit->o.n_latent : fit->c.item_keys.n > 300000 ? 32 : 64;

    free(fit->docs);
    fit->docs = NULL;
    free(fit->c.docs);
    fit->c.docs = NULL;
    fit->c.n_docs = fit->c.docs_capacity = 0;
    return content_begin(&fit->content, d, fit->o.seed, fit->pool, err);
}

static aigc_status words_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    bool made;
    aigc_status status;

    switch (fit->stage) {
    case 0:
        fit->stage = 1;
        return numbers_to_terms(&fit->c, &fit->bands, err);
    case 1:
        fit->stage = 2;
        return open_words(fit, err);
    case 2:
        status = content_vectors_step(&fit->content, fit->docs, &made, err);
        fit->stage += made;
        return status;
    default:
        *done = true;
        return close_words(fit, err);
    }
}

static aigc_status directions_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    (void)err;
    *done = content_step(&fit->content);
    fit->n_steps = (uint64_t)content_steps(&fit->content);
    fit->step = (uint64_t)fit->content.pass;
    return AIGC_OK;
}

/* ---- trial --------------------------------------------------------------------------------------------------- */

static aigc_status listed_users(const aigc_fit *fit, uint32_t **users, uint32_t *n, aigc_error *err)
{
    *users = aigc_realloc_array(NULL, fit->pairs.n_rows, sizeof **users);
    if (*users == NULL)
        return aigc_fail_memory(err, "users", fit->pairs.n_rows * sizeof **users);
    *n = 0;
    for (uint32_t u = 0; u < fit->pairs.n_rows; u++)
        if (fit->pairs.start[u + 1] > fit->pairs.start[u])
            (*users)[(*n)++] = u;
    return AIGC_OK;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Users kept out of everything, users to try on, and users to learn from. */
static aigc_status split_users(aigc_fit *fit, aigc_error *err)
{
    uint32_t *users, n;
    aigc_status status = listed_users(fit, &users, &n, err);

    if (status != AIGC_OK)
        return status;
    if (fit->o.evaluate_users > 0) {
        uint32_t most = (uint32_t)fit->o.evaluate_users < n / 2 ? (uint32_t)fit->o.evaluate_users : n / 2;
        status = holdout_make(fit, &fit->evaluation, users, &n, most, LEAST_PAIRS, 1, 100, err);
        qsort(users, n, sizeof *users, by_number);
    }
    fit->learners = users;
    fit->n_learners = n;
    uint32_t *rest = aigc_realloc_array(NULL, n, sizeof *rest), n_rest = n;
    if (status == AIGC_OK && rest == NULL)
        status = aigc_fail_memory(err, "users", n * sizeof *rest);
    if (status == AIGC_OK)
        memcpy(rest, users, n * sizeof *rest);
    uint32_t aside = fit->o.holdout_users > 0 ? (uint32_t)fit->o.holdout_users : n / 6;
    aside = fit->o.holdout_users < 0 ? 0 : aside < VALIDATION_USERS ? aside : VALIDATION_USERS;
    uint32_t repeats = aside && fit->o.holdout == AIGC_HOLDOUT_RANDOM ? BLEND_USERS / aside : 1;
    repeats = repeats < 1 ? 1 : repeats < REPEATS_MOST ? repeats : REPEATS_MOST;
    if (status == AIGC_OK)
        status = holdout_make(fit, &fit->validation, rest, &n_rest, aside, LEAST_PAIRS, repeats, 200, err);
    if (status == AIGC_OK && fit->validation.n >= LEAST_USERS * repeats) {
        uint32_t m = n_rest < TRIAL_USERS ? n_rest : TRIAL_USERS;
        for (uint32_t i = 0; i < m; i++)
            rest[i] = rest[(uint64_t)i * n_rest / m];
        qsort(rest, m, sizeof *rest, by_number);
        status = training_begin(fit, &fit->trial, rest, m, err);
    }
    free(rest);
    return status;
}

static aigc_status split_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    if (fit->stage++ == 0)
        return split_users(fit, err);
    *done = fit->trial.users == NULL;
    return *done ? AIGC_OK : training_step(fit, &fit->trial, done, err);
}

static bool has_trial(const aigc_fit *fit)
{
    return fit->trial.by_user.start != NULL && pairs_n(&fit->trial.by_user) > 0;
}

/* One signal of the trial, on the users set aside; *done with its NDCG. */
static aigc_status try_signal(aigc_fit *fit, score_signal s, double *ndcg, bool *done, aigc_error *err)
{
    evaluator *e = &fit->tuner->evaluator;
    aigc_status status = AIGC_OK;

    *done = false;
    if (!fit->tuner->evaluating) {
        training_numbers(fit, &fit->trial);
        status = evaluator_open(e, fit, &fit->trial.m, &fit->validation, err);
        e->n_rankers = 1;
        for (int b = 0; b < BLENDS; b++)
            e->rankers[0].blend[b][s] = 1;
        fit->tuner->evaluating = status == AIGC_OK;
        return status;
    }
    status = evaluator_step(e, done, err);
    if (status == AIGC_OK && *done)
        *ndcg = evaluator_ndcg(e, 0);
    if (status != AIGC_OK || *done) {
        evaluator_close(e);
        fit->tuner->evaluating = false;
    }
    return status;
}

static int last_cutoff(const aigc_fit *fit)
{
    int c = AIGC_METRIC_CUTOFFS - 1;

    while (c > 0 && fit->o.cutoffs[c] == 0)
        c--;
    return fit->o.cutoffs[c] ? fit->o.cutoffs[c] : 1;
}

/* The trial's factors, on the users set aside; *done with their NDCG. */
static aigc_status try_factors(aigc_fit *fit, double *ndcg, bool *done, aigc_error *err)
{
    struct tuner *t = fit->tuner;
    aigc_status status = AIGC_OK;

    *done = false;
    if (!t->evaluating) {
        status = factor_trial_open(&t->factors, &fit->trial.factors, &fit->validation, last_cutoff(fit), err);
        t->evaluating = status == AIGC_OK;
        return status;
    }
    status = factor_trial_step(&t->factors, done, ndcg, err);
    if (status != AIGC_OK || *done) {
        factor_trial_close(&t->factors);
        t->evaluating = false;
    }
    return status;
}

static aigc_status need_tuner(aigc_fit *fit, aigc_error *err)
{
    if (fit->tuner == NULL && (fit->tuner = aigc_calloc(1, sizeof *fit->tuner)) == NULL)
        return aigc_fail_memory(err, "a search", sizeof *fit->tuner);
    return AIGC_OK;
}

/* ---- item weights -------------------------------------------------------------------------------------------- */

static aigc_status open_ease(aigc_fit *fit, training *t, bool keep, aigc_error *err)
{
    if (t->ease.items)
        return AIGC_OK;
    uint32_t most = (uint32_t)fit->o.ease_items;
    if (t == &fit->trial && most > TRIAL_ITEMS)
        most = TRIAL_ITEMS;
    if (ease_create(&t->ease, &t->by_user, &t->by_item, most, keep, fit->pool))
        return AIGC_OK;
    return aigc_fail_memory(err, "item-to-item weights", (size_t)most * most * 4);
}

/* The weights of the best lambda are kept for the blend. */
static void score_lambda(struct tuner *tuner, training *t, double ndcg)
{
    climb_score(&tuner->climb, ndcg);
    if (tuner->climb.best != tuner->climb.tried)
        return;
    rows_free(&tuner->weights);
    tuner->weights = t->item_weights;
    t->item_weights = (model_rows){0};
}

/* The trial: for each lambda that is tried, invert and evaluate. A failed inverse counts as a bad lambda. */
static aigc_status trial_ease_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    training *t = &fit->trial;
    aigc_status status = AIGC_OK;
    bool evaluated;
    double ndcg = 0;

    *done = !has_trial(fit) || fit->o.ease_items == 0;
    if (*done || (status = need_tuner(fit, err)) != AIGC_OK || (status = open_ease(fit, t, true, err)) != AIGC_OK)
        return status;
    struct tuner *tuner = fit->tuner;
    fit->n_steps = CLIMB_MOST;
    fit->step = (uint64_t)tuner->climb.n_tried;
    if (!t->ease.gram_done) {
        if (ease_gram_step(&t->ease))
            climb_begin(&tuner->climb, fit->lambda, 2, fit->o.ease_lambda > 0 ? fit->lambda : 1,
                        fit->o.ease_lambda > 0 ? fit->lambda : 20000);
        return AIGC_OK;
    }
    if (tuner->evaluating || tuner->begun) {
        if (tuner->begun && !tuner->evaluating && !ease_step(&t->ease))
            return AIGC_OK;
        if (tuner->begun && t->ease.failed) {
            tuner->begun = false;
            climb_score(&tuner->climb, -2);
            return AIGC_OK;
        }
        if (tuner->begun)
            status = training_item_weights(fit, t, err);
        tuner->begun = false;
        if (status == AIGC_OK)
            status = try_signal(fit, SIGNAL_ITEMS, &ndcg, &evaluated, err);
        if (status == AIGC_OK && evaluated)
            score_lambda(tuner, t, ndcg);
        return status;
    }
    if (!climb_next(&tuner->climb)) {
        fit->lambda = t->lambda = tuner->climb.best;
        rows_free(&t->item_weights);
        t->item_weights = tuner->weights;
        tuner->weights = (model_rows){0};
        ease_free(&t->ease);
        *done = true;
        return AIGC_OK;
    }
    ease_begin(&t->ease, tuner->climb.tried);
    tuner->begun = true;
    return AIGC_OK;
}

/* Inverts with the lambda that was chosen. */
static aigc_status final_ease(aigc_fit *fit, training *t, bool *done, aigc_error *err)
{
    aigc_status status = AIGC_OK;

    if ((status = open_ease(fit, t, false, err)) != AIGC_OK)
        return status;
    fit->n_steps = t->ease.n;
    fit->step = t->ease.next;
    if (!t->ease.gram_done) {
        if (ease_gram_step(&t->ease))
            ease_begin(&t->ease, fit->lambda);
        return AIGC_OK;
    }
    if (fit->stage == 0) {
        fit->stage = ease_step(&t->ease);
        return AIGC_OK;
    }
    if (fit->stage++ == 1)
        return t->ease.failed ? AIGC_OK : training_item_weights(fit, t, err);
    fit->ease_items = t->ease.n;
    ease_free(&t->ease);
    *done = true;
    return AIGC_OK;
}

/* ---- factors ------------------------------------------------------------------------------------------------- */

static aigc_status open_factors(aigc_fit *fit, training *t, aigc_error *err)
{
    factor_options o = {fit->n_factors, fit->regularization, fit->unobserved, fit->o.solver, fit->o.seed};

    if (t->factors.k || factors_create(&t->factors, &o, &t->by_user, &t->by_item, fit->pool))
        return AIGC_OK;
    return aigc_fail_memory(err, "factors",
                            ((size_t)t->by_user.n_rows + t->by_item.n_rows) * (size_t)fit->n_factors * 4);
}

static void begin_climb(aigc_fit *fit)
{
    struct tuner *t = fit->tuner;
    bool unobserved = t->which == 1, fixed = unobserved ? fit->o.unobserved > 0 : fit->o.regularization > 0;
    double start = unobserved ? fit->unobserved : fit->regularization;

    climb_begin(&t->climb, start, unobserved ? 2 : t->which == 0 ? 1.6 : 1.3, fixed ? start : 1e-4, fixed ? start : 10);
}

/* The trial: hyperparameters one after the other, each value from where the last one left the factors. */
static aigc_status trial_factors_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    training *t = &fit->trial;
    aigc_status status = AIGC_OK;
    bool evaluated;
    double ndcg = 0;

    *done = !has_trial(fit);
    if (*done || (status = need_tuner(fit, err)) != AIGC_OK)
        return status;
    struct tuner *tuner = fit->tuner;
    if (t->factors.k == NULL) {
        if ((status = open_factors(fit, t, err)) != AIGC_OK)
            return status;
        tuner->which = 0;
        tuner->left = FIRST_ITERATIONS;
        begin_climb(fit);
        return AIGC_OK;
    }
    fit->n_steps = CLIMBS * CLIMB_MOST;
    fit->step = (uint64_t)(tuner->which * CLIMB_MOST + tuner->climb.n_tried);
    if (tuner->left > 0) {
        tuner->left -= factors_step(&t->factors);
        return AIGC_OK;
    }
    if (tuner->evaluating || !tuner->climb.begun || tuner->begun) {
        tuner->begun = true;
        status = try_factors(fit, &ndcg, &evaluated, err);
        if (status != AIGC_OK || !evaluated)
            return status;
        climb_score(&tuner->climb, ndcg);
        tuner->begun = false;
    }
    bool more = climb_next(&tuner->climb);
    *(tuner->which == 1 ? &t->factors.o.unobserved : &t->factors.o.regularization) =
        more ? tuner->climb.tried : tuner->climb.best;
    if (more) {
        tuner->left = NEXT_ITERATIONS;
        tuner->begun = true;
        return AIGC_OK;
    }
    *(tuner->which == 1 ? &fit->unobserved : &fit->regularization) = tuner->climb.best;
    tuner->left = NEXT_ITERATIONS;
    *done = ++tuner->which == CLIMBS;
    if (!*done)
        begin_climb(fit);
    return AIGC_OK;
}

static aigc_status final_factors(aigc_fit *fit, training *t, int n_iterations, bool *done, aigc_error *err)
{
    if (t->factors.k == NULL)
        return open_factors(fit, t, err);
    fit->n_steps = (uint64_t)n_iterations;
    fit->step = (uint64_t)t->factors.n_done;
    if (t->factors.n_done == n_iterations)
        return training_factors(fit, t, done, err);
    factors_step(&t->factors);
    return AIGC_OK;
}

/* ---- blend --------------------------------------------------------------------------------------------------- */

/* The trial's factors with what was chosen, then weights for all signals. */
static aigc_status blend_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    aigc_status status = AIGC_OK;
    training *t = &fit->trial;

    *done = !has_trial(fit);
    if (*done)
        return AIGC_OK;
    if (fit->tuner->left > 0) {
        fit->tuner->left -= factors_step(&t->factors);
        return AIGC_OK;
    }
    if (fit->stage == 0) {
        bool finished;
        status = training_factors(fit, t, &finished, err);
        fit->stage += finished;
        return status;
    }
    if (fit->blender == NULL) {
        training_numbers(fit, t);
        if ((fit->blender = aigc_calloc(1, sizeof *fit->blender)) == NULL)
            return aigc_fail_memory(err, "a blend", sizeof *fit->blender);
        return blender_open(fit->blender, fit, &t->m, &fit->validation, BLEND_USERS, err);
    }
    status = blender_step(fit->blender, done, err);
    fit->step = blender_progress(fit->blender, &fit->n_steps);
    return status;
}

/* ---- whole --------------------------------------------------------------------------------------------------- */

static aigc_status open_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    if (fit->blender)
        blender_close(fit->blender);
    training_close(&fit->trial);
    holdout_free(&fit->validation);
    *done = true;
    return training_begin(fit, &fit->whole, fit->learners, fit->n_learners, err);
}

static aigc_status people_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    return training_step(fit, &fit->whole, done, err);
}

static aigc_status ease_final_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    *done = fit->o.ease_items == 0 || pairs_n(&fit->whole.by_user) == 0;
    return *done ? AIGC_OK : final_ease(fit, &fit->whole, done, err);
}

static aigc_status factors_final_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    *done = pairs_n(&fit->whole.by_user) == 0;
    return *done ? AIGC_OK : final_factors(fit, &fit->whole, fit->n_iterations, done, err);
}

/* Deviations of the score of a blend that an interest adds. */
static const float INTEREST_SPREADS = 2;
/* What it adds at least to an item that has its words, as a part of that. */
static const float WORD_MATCH = 0.5f;

/* What the signals that are the same for everybody can differ by in a blend. */
static float general_span(const aigc_fit *fit, int b)
{
    const item_context *x = &fit->whole.context;
    const float *arrays[] = {x->popularity, x->recent, x->fresh};
    const score_signal signals[] = {SIGNAL_POPULARITY, SIGNAL_RECENT, SIGNAL_FRESH};
    float span = 0;

    for (int a = 0; a < 3; a++) {
        float low = INFINITY, high = -INFINITY;
        for (uint32_t i = 0; i < fit->c.item_keys.n; i++) {
            low = arrays[a][i] < low ? arrays[a][i] : low;
            high = arrays[a][i] > high ? arrays[a][i] : high;
        }
        span += high > low ? fabsf(fit->blend[b][signals[a]]) * (high - low) : 0;
    }
    return span;
}

/*
 * An interest outweighs most of what else is known of a person. Beside interests, what is the same for everybody is
 * drawn together until it differs by no more than a word of one adds: what was asked for comes first, also if nobody
 * has chosen it yet, and yet a person's place and age are not drowned in it.
 */
static void weigh_interests(aigc_fit *fit)
{
    for (int b = 0; b < BLENDS; b++) {
        float span = general_span(fit, b), weight = INTEREST_SPREADS * fit->spread[b];
        fit->interest_weight[b] = weight;
        fit->beside[b] = span > WORD_MATCH * weight ? WORD_MATCH * weight / span : 1;
    }
}

static aigc_status open_writer(aigc_fit *fit, bool *done, aigc_error *err)
{
    weigh_interests(fit);
    training_numbers(fit, &fit->whole);
    *done = fit->o.evaluate_users > 0;
    if (*done)
        return AIGC_OK;
    fit->whole.numbers.weights = fit->o.weights;
    return model_writer_open(&fit->whole.m, &fit->writer, err);
}

static aigc_status image_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    if (fit->writer == NULL)
        return open_writer(fit, done, err);
    aigc_status status = model_writer_step(fit->writer, fit->pool, done, err);
    if (status != AIGC_OK || !*done)
        return status;
    model_writer_close(fit->writer, &fit->image, &fit->image_size);
    fit->writer = NULL;
    training_close(&fit->whole);
    return AIGC_OK;
}

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

static void list_rankers(const aigc_fit *fit, evaluator *e)
{
    static const struct {
        const char *name;
        score_signal first, second;
    } SINGLE[] = {
        {"popularity", SIGNAL_POPULARITY, SIGNAL_POPULARITY}, {"factors", SIGNAL_FACTORS, SIGNAL_FACTORS},
        {"item weights", SIGNAL_ITEMS, SIGNAL_ITEMS},         {"words", SIGNAL_WORDS, SIGNAL_LATENT},
        {"attributes", SIGNAL_PEOPLE, SIGNAL_MATCH},
    };

    e->rankers[0].name = "blend";
    memcpy(e->rankers[0].blend, fit->blend, sizeof fit->blend);
    e->n_rankers = 1;
    for (size_t i = 0; i < sizeof SINGLE / sizeof *SINGLE; i++) {
        ranker *r = &e->rankers[e->n_rankers++];
        r->name = SINGLE[i].name;
        for (int b = 0; b < BLENDS; b++)
            r->blend[b][SINGLE[i].first] = r->blend[b][SINGLE[i].second] = 1;
    }
}

static aigc_status evaluate_step(aigc_fit *fit, bool *done, aigc_error *err)
{
    aigc_status status = AIGC_OK;

    *done = fit->o.evaluate_users == 0;
    if (*done)
        return AIGC_OK;
    if (fit->evaluator == NULL) {
        if ((fit->evaluator = aigc_calloc(1, sizeof *fit->evaluator)) == NULL)
            return aigc_fail_memory(err, "an evaluation", sizeof *fit->evaluator);
        status = evaluator_open(fit->evaluator, fit, &fit->whole.m, &fit->evaluation, err);
        if (status == AIGC_OK)
            list_rankers(fit, fit->evaluator);
        return status;
    }
    status = evaluator_step(fit->evaluator, done, err);
    fit->n_steps = fit->evaluation.n;
    fit->step = fit->evaluator->next;
    if (status != AIGC_OK || !*done)
        return status;
    fit->metrics = aigc_calloc((size_t)fit->evaluator->n_rankers, sizeof *fit->metrics);
    if (fit->metrics == NULL)
        return aigc_fail_memory(err, "figures", RANKERS_MOST * sizeof *fit->metrics);
    for (int r = 0; r < fit->evaluator->n_rankers; r++)
        evaluator_result(fit->evaluator, r, &fit->metrics[fit->n_metrics++]);
    return AIGC_OK;
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

typedef struct phase {
    const char *name;
    aigc_status (*step)(aigc_fit *fit, bool *done, aigc_error *err);
    double share; /* of the whole fit, about */
} phase;

static const phase PHASES[] = {
    {"events", events_step, 0.04},
    {"words", words_step, 0.03},
    {"directions", directions_step, 0.05},
    {"trial", split_step, 0.02},
    {"trial of item weights", trial_ease_step, 0.18},
    {"trial of factors", trial_factors_step, 0.22},
    {"blend", blend_step, 0.12},
    {"pairs", open_step, 0.02},
    {"people", people_step, 0.02},
    {"item weights", ease_final_step, 0.1},
    {"factors", factors_final_step, 0.14},
    {"image", image_step, 0.01},
    {"evaluation", evaluate_step, 0.02},
};
enum { N_PHASES = sizeof PHASES / sizeof *PHASES };

static void note_memory(aigc_fit *fit)
{
    size_t now = catalogue_bytes(&fit->c) + pairs_bytes(&fit->pairs) + fit->content.bytes +
                 training_bytes(&fit->trial) + training_bytes(&fit->whole) + fit->image_size;

    fit->peak_bytes = now > fit->peak_bytes ? now : fit->peak_bytes;
}

aigc_status phases_step(aigc_fit *fit, aigc_error *err)
{
    bool done = false;
    aigc_status status = PHASES[fit->phase].step(fit, &done, err);

    note_memory(fit);
    if (status != AIGC_OK || !done)
        return status;
    fit->step = fit->n_steps = 0;
    fit->stage = 0;
    if (++fit->phase == N_PHASES) {
        fit->phase = N_PHASES - 1;
        fit->done = true;
    }
    return AIGC_OK;
}

void phases_progress(const aigc_fit *fit, aigc_fit_progress *p)
{
    double before = 0, all = 0;

    *p = (aigc_fit_progress){.phase = PHASES[fit->phase].name, .step = fit->step, .n_steps = fit->n_steps};
    p->done = fit->done;
    for (int i = 0; i < N_PHASES; i++) {
        before += i < fit->phase ? PHASES[i].share : 0;
        all += PHASES[i].share;
    }
    double part = fit->n_steps ? (double)fit->step / (double)fit->n_steps : 0;
    p->fraction = fit->done ? 1 : (before + PHASES[fit->phase].share * (part < 1 ? part : 1)) / all;
}

void phases_free(aigc_fit *fit)
{
    pairs_maker_free(&fit->maker);
    pairs_free(&fit->pairs);
    bands_free(&fit->bands);
    content_free(&fit->content);
    holdout_free(&fit->evaluation);
    holdout_free(&fit->validation);
    training_close(&fit->trial);
    training_close(&fit->whole);
    if (fit->blender)
        blender_close(fit->blender);
    if (fit->tuner) {
        evaluator_close(&fit->tuner->evaluator);
        factor_trial_close(&fit->tuner->factors);
        rows_free(&fit->tuner->weights);
    }
    if (fit->evaluator)
        evaluator_close(fit->evaluator);
    free(fit->blender);
    free(fit->tuner);
    free(fit->evaluator);
    free(fit->learners);
    free(fit->docs);
    model_writer_close(fit->writer, NULL, NULL);
    free(fit->user_first);
    free(fit->time);
    free(fit->place);
    free(fit->embedding);
}
