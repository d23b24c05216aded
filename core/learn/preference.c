/*
 * preference.c: direct preference optimisation (Rafailov et al., 2023, equation 7). See trainer.h.
 *
 * With lp the log-probability of a response after its prompt by the weights at hand, and ref that by the base,
 *     margin = beta * ((lp(chosen) - ref(chosen)) - (lp(rejected) - ref(rejected))),  loss = -log sigmoid(margin),
 * so the gradient is that of the tokens' losses, those of chosen times beta * sigmoid(-margin), those of rejected times
 * the negative of it. A batch goes through the model twice: for the margins, and for the gradient.
 */
#include <string.h>

#include "base/real.h"
#include "learn/trainer.h"

static size_t batch_tokens(const aigc_trainer *t)
{
    return (size_t)t->options.n_sequences * (size_t)t->options.n_context;
}

/* The preference (its chosen response's number) that begins at or after token *at of a batch, or -1. *at moves behind
 * it; lp gets both responses' log-probabilities. */
static int32_t next_preference(const aigc_trainer *t, int batch, size_t *at, double lp[2])
{
    const int32_t *owners = t->owners + (size_t)batch * batch_tokens(t);
    const float *losses = learner_losses(t->core);
    size_t n = batch_tokens(t), n_context = (size_t)t->options.n_context, i = *at;
    while (i < n && owners[i] < 0)
        i++;
    int32_t chosen = i < n ? owners[i] / 2 * 2 : -1;
    size_t end = i < n ? (i / n_context + 1) * n_context : n; /* the next sequence may be the same window again */
    lp[0] = lp[1] = 0;
    for (; i < end && (owners[i] < 0 || owners[i] / 2 * 2 == chosen); i++)
        if (owners[i] >= 0)
            lp[owners[i] % 2] -= (double)losses[i];
    *at = i;
    return chosen;
}

static double margin_of(const aigc_trainer *t, const dataset *d, int32_t chosen, const double lp[2])
{
    const example *e = &d->examples[chosen];
    return t->options.preference_beta * ((lp[0] - e[0].reference) - (lp[1] - e[1].reference));
}

/* -log sigmoid(x), and sigmoid(-x) */
static double loss_of(double x, double *weight)
{
    double e = real_exp(x > 0 ? -x : x);
    *weight = x > 0 ? e / (1 + e) : 1 / (1 + e);
    return (x > 0 ? 0 : -x) + real_log(1 + e);
}

static aigc_status references_of(aigc_trainer *t, aigc_train_text kind, aigc_error *err)
{
    dataset *d = &t->examples[kind];
    size_t n_sequences = (size_t)t->options.n_sequences;
    for (size_t done = 0; done < d->n_windows; done += n_sequences) {
        double loss, lp[2];
        size_t at = 0;
        int32_t chosen;
        for (size_t s = 0; s < n_sequences; s++)
            trainer_fill(t, kind, s, done + s);
        learn_batch batch = trainer_batch(t, 0);
        aigc_status status = learner_loss(t->core, &batch, &loss, err);
        if (status != AIGC_OK)
            return status;
        while ((chosen = next_preference(t, 0, &at, lp)) >= 0) {
            d->examples[chosen].reference = lp[0];
            d->examples[chosen + 1].reference = lp[1];
        }
    }
    return AIGC_OK;
}

aigc_status preference_references(aigc_trainer *t, aigc_error *err)
{
    aigc_status status = AIGC_OK;
    for (int kind = 0; kind < 2 && status == AIGC_OK; kind++)
        if (t->examples[kind].preferences)
            status = references_of(t, kind, err);
    return status;
}

/* Preferences of the step. */
static size_t count(const aigc_trainer *t)
{
    size_t n = 0, n_tokens = batch_tokens(t) * (size_t)t->options.n_accumulate;
    int32_t last = -1;
    for (size_t i = 0; i < n_tokens; i++) {
        if (i % (size_t)t->options.n_context == 0)
            last = -1;
        if (t->owners[i] >= 0 && t->owners[i] / 2 != last) {
            last = t->owners[i] / 2;
            n++;
        }
    }
    return n;
}

/* What each target's loss counts in the gradient of the mean over n preferences; adds up loss and accuracy. */
static void set_factors(aigc_trainer *t, int batch, size_t n, aigc_train_progress *progress)
{
    const dataset *d = &t->examples[AIGC_TEXT_TRAIN];
    const int32_t *owners = t->owners + (size_t)batch * batch_tokens(t);
    size_t at = 0, begin = 0;
    double lp[2], weight;
    int32_t chosen;
    memset(t->factors, 0, batch_tokens(t) * sizeof *t->factors);
    while ((chosen = next_preference(t, batch, &at, lp)) >= 0) {
        double margin = margin_of(t, d, chosen, lp);
        progress->loss += loss_of(margin, &weight) / (double)n;
        progress->accuracy += (margin > 0 ? 1.0 : 0.0) / (double)n;
        float factor = (float)(t->options.preference_beta * weight / (double)n);
        for (; begin < at; begin++)
            if (owners[begin] >= 0)
                t->factors[begin] = owners[begin] % 2 == 0 ? factor : -factor;
    }
}

aigc_status preference_backward(aigc_trainer *t, aigc_train_progress *progress, aigc_error *err)
{
    size_t n = count(t);
    double loss;
    for (int i = 0; i < t->options.n_accumulate; i++) {
        learn_batch batch = trainer_batch(t, i);
        aigc_status status = learner_loss(t->core, &batch, &loss, err);
        if (status != AIGC_OK)
            return status;
        set_factors(t, i, n, progress);
        status = learner_backward_weighted(t->core, &batch, t->factors, 1, &loss, err);
        if (status != AIGC_OK)
            return status;
    }
    return AIGC_OK;
}

void preference_score(const aigc_trainer *t, aigc_train_score *score, double *total)
{
    const dataset *d = &t->examples[AIGC_TEXT_VALID];
    double lp[2], weight;
    size_t at = 0;
    int32_t chosen;
    while ((chosen = next_preference(t, 0, &at, lp)) >= 0) {
        double margin = margin_of(t, d, chosen, lp);
        *total += loss_of(margin, &weight);
        score->accuracy += margin > 0;
        score->n_preferences++;
    }
}
