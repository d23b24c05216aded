/* fit.c: the public side of a fit, and its phases (phases.c has what they do). */
#include "recommend/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "recommend/blend.h"
#include "recommend/phases.h"

aigc_fit_options aigc_fit_defaults(void)
{
    return (aigc_fit_options){.ease_items = 8000, .cutoffs = {20, 50, 100}};
}

static aigc_status check_range(const char *name, double value, double low, double high, aigc_error *err)
{
    if (value >= low && value <= high)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "%s is %g, but goes from %g to %g", name, value, low, high);
}

static aigc_status check_options(const aigc_fit_options *o, aigc_error *err)
{
    struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        {"n_factors", o->n_factors, 0, AIGC_MAX_FACTORS},
        {"n_iterations", o->n_iterations, 0, 1000},
        {"regularization", o->regularization, 0, 1e6},
        {"unobserved", o->unobserved, 0, 1e6},
        {"solver", o->solver, AIGC_SOLVER_AUTO, AIGC_SOLVER_GRADIENT},
        {"weights", o->weights, AIGC_WEIGHTS_LOG, AIGC_WEIGHTS_PLAIN},
        {"ease_items", o->ease_items, 0, 40000},
        {"ease_lambda", o->ease_lambda, 0, 1e9},
        {"n_latent", o->n_latent, 0, 1024},
        {"n_embedding", o->n_embedding, 0, 16384},
        {"half_life", o->half_life, 0, 1e12},
        {"holdout_users", o->holdout_users, -1, 1e9},
        {"holdout", o->holdout, AIGC_HOLDOUT_RANDOM, AIGC_HOLDOUT_TIME},
        {"evaluate_users", o->evaluate_users, 0, 1e9},
        {"n_threads", o->n_threads, 0, THREAD_MAX},
    };
    aigc_status status = AIGC_OK;

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && status == AIGC_OK; i++)
        status = check_range(ranges[i].name, ranges[i].value, ranges[i].low, ranges[i].high, err);
    for (int i = 0; i < AIGC_METRIC_CUTOFFS && status == AIGC_OK; i++)
        status = check_range("a cutoff", o->cutoffs[i], 0, 100000, err);
    return status;
}

aigc_status aigc_fit_create(const aigc_fit_options *options, aigc_fit **out, aigc_error *err)
{
    aigc_status status = check_options(options, err);
    int cores = cpu_count();

    if (status != AIGC_OK)
        return status;
    aigc_fit *fit = aigc_calloc(1, sizeof *fit);
    if (fit == NULL)
        return aigc_fail_memory(err, "a fit", sizeof *fit);
    fit->o = *options;
    status = thread_pool_create(options->n_threads ? options->n_threads : cores < 8 ? cores : 8, &fit->pool, err);
    if (status != AIGC_OK) {
        free(fit);
        return status;
    }
    catalogue_init(&fit->c, options->n_embedding);
    blend_defaults(fit->blend, fit->spread);
    *out = fit;
    return AIGC_OK;
}

void aigc_fit_destroy(aigc_fit *fit)
{
    if (fit == NULL)
        return;
    phases_free(fit);
    catalogue_free(&fit->c);
    thread_pool_destroy(fit->pool);
    free(fit->image);
    free(fit->metrics);
    free(fit);
}

/* ---- adding -------------------------------------------------------------------------------------------------- */

static aigc_status may_add(const aigc_fit *fit, aigc_error *err)
{
    return fit->started ? aigc_fail(err, AIGC_E_ARGUMENT, "the fit has begun: nothing more can be added") : AIGC_OK;
}

aigc_status aigc_fit_add_items(aigc_fit *fit, const aigc_item *items, size_t n, aigc_error *err)
{
    aigc_status status = may_add(fit, err);

    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        status = catalogue_add_item(&fit->c, &items[i], err);
    return status;
}

aigc_status aigc_fit_add_users(aigc_fit *fit, const aigc_user *users, size_t n, aigc_error *err)
{
    aigc_status status = may_add(fit, err);

    for (size_t i = 0; i < n && status == AIGC_OK; i++)
        status = catalogue_add_user(&fit->c, &users[i], err);
    return status;
}

aigc_status aigc_fit_item(aigc_fit *fit, aigc_string key, uint32_t *item, aigc_error *err)
{
    aigc_status status = may_add(fit, err);

    return status == AIGC_OK ? catalogue_item_number(&fit->c, key, item, err) : status;
}

aigc_status aigc_fit_user(aigc_fit *fit, aigc_string key, uint32_t *user, aigc_error *err)
{
    aigc_status status = may_add(fit, err);

    return status == AIGC_OK ? catalogue_user_number(&fit->c, key, user, err) : status;
}

uint32_t aigc_fit_find_item(const aigc_fit *fit, aigc_string key)
{
    return key_find(&fit->c.item_keys, key.data, key.len);
}

aigc_status aigc_fit_add_events(aigc_fit *fit, const aigc_event *events, size_t n, aigc_error *err)
{
    aigc_status status = may_add(fit, err);

    return status == AIGC_OK ? catalogue_add_events(&fit->c, events, n, err) : status;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

aigc_status aigc_fit_step(aigc_fit *fit, aigc_fit_progress *progress, aigc_error *err)
{
    aigc_status status = AIGC_OK;

    if (fit->o.interrupt && *fit->o.interrupt)
        return aigc_fail(err, AIGC_INTERRUPTED, "the fit was interrupted");
    fit->started = true;
    if (!fit->done)
        status = phases_step(fit, err);
    phases_progress(fit, progress);
    return status;
}

aigc_status aigc_fit_image(const aigc_fit *fit, const void **image, size_t *size, aigc_error *err)
{
    if (fit->image == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT,
                         fit->done ? "this fit only evaluates: it has no model" : "the fit is not done yet");
    *image = fit->image;
    *size = fit->image_size;
    return AIGC_OK;
}

void aigc_fit_describe(const aigc_fit *fit, aigc_fit_info *info)
{
    *info = (aigc_fit_info){.n_items = fit->c.item_keys.n,
                            .n_users = fit->c.user_keys.n,
                            .n_events = fit->c.n_events,
                            .n_pairs = pairs_n(&fit->pairs),
                            .n_zero = fit->counts.n_zero,
                            .n_not_finite = fit->counts.n_not_finite,
                            .n_negative = fit->counts.n_negative,
                            .n_words = fit->c.terms.n,
                            .n_factors = fit->n_factors,
                            .n_latent = fit->content.true_d,
                            .ease_items = fit->ease_items,
                            .regularization = fit->regularization,
                            .unobserved = fit->unobserved,
                            .ease_lambda = fit->lambda,
                            .peak_bytes = fit->peak_bytes};
}

size_t aigc_fit_metrics(const aigc_fit *fit, const aigc_metrics **metrics)
{
    *metrics = fit->metrics;
    return fit->n_metrics;
}
