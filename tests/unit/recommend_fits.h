/* recommend_fits.h: to fit a recommender and to ask it, for the tests of recommendation; what goes wrong fails the
 * test. */
#ifndef AIGC_TESTS_RECOMMEND_FITS_H
#define AIGC_TESTS_RECOMMEND_FITS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aigc.h"

/* "kind i", in buffer. */
static inline aigc_string keyed(char *buffer, size_t size, const char *kind, uint32_t i)
{
    return (aigc_string){buffer, (size_t)snprintf(buffer, size, "%s %u", kind, i)};
}

static inline aigc_fit *new_fit(int n_threads)
{
    aigc_fit_options o = aigc_fit_defaults();
    aigc_fit *fit;

    o.n_threads = n_threads;
    assert_int_equal(aigc_fit_create(&o, &fit, NULL), AIGC_OK);
    return fit;
}

/* To the end; its progress never goes back. */
static inline void run(aigc_fit *fit)
{
    aigc_fit_progress p = {.done = false};
    aigc_error err = {0};
    double last = 0;

    while (!p.done) {
        if (aigc_fit_step(fit, &p, &err) != AIGC_OK)
            fail_msg("%s", err.message);
        assert_true(p.fraction >= last && p.fraction <= 1);
        last = p.fraction;
    }
    assert_true(last == 1);
}

/* The finished model, aligned; the caller frees it. */
static inline void *copy_image(const aigc_fit *fit, size_t *size)
{
    const void *from;
    void *to;

    assert_int_equal(aigc_fit_image(fit, &from, size, NULL), AIGC_OK);
    to = aligned_alloc(64, *size);
    assert_non_null(to);
    memcpy(to, from, *size);
    return to;
}

/* Results belong to the ranking, which the caller frees. */
static inline size_t ask(const aigc_recommender *model, const aigc_query *q, aigc_ranking **ranking,
                         const aigc_recommendation **results)
{
    aigc_error err = {0};

    if (aigc_recommend(model, q, ranking, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return aigc_ranking_results(*ranking, results);
}

#endif
