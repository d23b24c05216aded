/*
 * fit.h: the inside of aigc_fit: phases that run one after the other, each in bounded steps.
 *
 * A fit learns twice. First from some users (`trial`), to choose hyperparameters and the blend on others whom it has
 * not seen; then from all of them (`whole`), with what was chosen. Each time the result is a `model` that points into
 * the arrays of a `training`, so that the same code scores it as scores a finished image.
 */
#ifndef AIGC_RECOMMEND_FIT_H
#define AIGC_RECOMMEND_FIT_H

#include "base/error.h"
#include "base/threads.h"
#include "recommend/catalogue.h"
#include "recommend/content.h"
#include "recommend/context.h"
#include "recommend/ease.h"
#include "recommend/factors.h"
#include "recommend/model.h"

/* What is learned from one set of users. */
typedef struct training {
    pairs by_user, by_item;
    uint32_t *users; /* [by_user.n_rows] their numbers */
    int stage;       /* of training_step() */
    uint32_t next;   /* row of it */
    ease ease;
    factors factors;
    item_context context;
    model_rows item_weights; /* EASE, ready */
    uint16_t *half;          /* [n_items][d] factors, ready */
    float *gram;
    float *latent_factors;                     /* [n_latent][d] */
    double lambda, regularization, unobserved; /* that they were made with */
    struct finisher *finisher;                 /* while training_factors() is at work */
    model_numbers numbers;
    model m; /* what of it is ready, for scoring */
} training;

/* Users set aside, with what is shown of them and what is hidden. */
typedef struct holdout {
    uint32_t *users; /* [n] numbers */
    uint32_t n;
    pairs shown, hidden; /* [n] rows */
} holdout;

struct aigc_fit {
    aigc_fit_options o;
    catalogue c;
    thread_pool *pool;
    pairs_maker maker;
    pairs pairs;
    event_counts counts;
    double median_weight, half_life;
    bands bands;
    size_t *user_first; /* [n_users] first of their values in c.user_values */
    content content;
    content_doc *docs;   /* [n_items] while their vectors are made */
    uint16_t *embedding; /* [n_items][padded], of length 1 */
    double *time;        /* [n_items] */
    float *place;        /* [n_items][2] */
    holdout evaluation, validation;
    training trial, whole;
    struct blender *blender;
    struct tuner *tuner;
    float blend[BLENDS][SIGNALS];
    float spread[BLENDS]; /* deviation of scores by each blend */
    float interest_weight[BLENDS], beside[BLENDS];
    float cold[BLENDS];
    double lambda, regularization, unobserved; /* chosen */
    int n_factors, n_iterations;
    uint32_t ease_items;
    uint32_t *learners; /* [n_learners] users that are not kept out for evaluation */
    uint32_t n_learners;
    bool started, done;
    int phase;
    int stage;     /* of the phase, if it has some */
    uint64_t step; /* of the phase */
    uint64_t n_steps;
    struct model_writer *writer;
    void *image;
    size_t image_size;
    aigc_metrics *metrics;
    size_t n_metrics;
    struct evaluator *evaluator;
    size_t peak_bytes;
    double fraction;
};

/* People whose scores of all items one step computes: `most`, or fewer where there are many items, but one a thread. */
static inline uint32_t fit_people(const aigc_fit *fit, uint32_t most)
{
    uint32_t n = fit->c.item_keys.n, least = (uint32_t)thread_pool_size(fit->pool);
    uint32_t people = n > 50000 ? (uint32_t)((uint64_t)most * 50000 / n) : most;

    return people < least ? least : people;
}

/* Pieces of a training; each true or AIGC_OK when done. */
aigc_status training_begin(aigc_fit *fit, training *t, const uint32_t *users, uint32_t n, aigc_error *err);
/* Then pieces until *done: pairs, and what is counted of them. */
aigc_status training_step(aigc_fit *fit, training *t, bool *done, aigc_error *err);
aigc_status training_item_weights(aigc_fit *fit, training *t, aigc_error *err); /* of ease, inverted */
/* Of factors, as they are: pieces of it, *done with the last. */
aigc_status training_factors(aigc_fit *fit, training *t, bool *done, aigc_error *err);
/* Factors that an item's directions let expect: map is [c][d], work [d]. */
void factors_from_latent(const dense_kernels *k, const uint16_t *latent, size_t c, const float *map, size_t d,
                         float *work, uint16_t *out);
void training_numbers(aigc_fit *fit, training *t); /* numbers and m from what is ready */
void training_close(training *t);
size_t training_bytes(const training *t);

/* Sets aside n of the users listed, at random, each `repeats` times with another fifth hidden; those left stay in
 * users[0 .. *n_users). Users of fewer than `least` pairs stay. */
aigc_status holdout_make(aigc_fit *fit, holdout *h, uint32_t *users, uint32_t *n_users, uint32_t n, uint32_t least,
                         uint32_t repeats, uint64_t stream, aigc_error *err);
void holdout_free(holdout *h);

#endif
