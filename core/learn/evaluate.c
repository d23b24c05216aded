/* evaluate.c: how well a trainer's model does on what was held out. The interface is in aigc.h. */
#include <math.h>

#include "learn/trainer.h"

/* Bytes that the targets of the batch in hand stand for. */
static uint64_t count_bytes(const aigc_trainer *t)
{
    char piece[TOKEN_MAX_BYTES];
    uint64_t bytes = 0;
    size_t n = (size_t)t->options.n_sequences * (size_t)t->options.n_context;
    for (size_t i = 0; i < n; i++)
        if (t->targets[i] >= 0) {
            int len = tokenizer_piece(t->tokens, t->targets[i], false, AIGC_TEXT_PLAIN, piece);
            bytes += len > 0 ? (uint64_t)len : 0;
        }
    return bytes;
}

/* Windows of the text to evaluate on. */
static size_t valid_windows(const aigc_trainer *t)
{
    size_t n = t->text[AIGC_TEXT_VALID].n, n_context = (size_t)t->options.n_context;
    return n > 0 ? (n - 1 + n_context - 1) / n_context : t->examples[AIGC_TEXT_VALID].n_windows;
}

/* Adds the losses of the batch in hand to *total. */
static aigc_status score_batch(aigc_trainer *t, aigc_train_score *score, double *total, aigc_error *err)
{
    learn_batch batch = trainer_batch(t, 0);
    double part;
    aigc_status status = learner_loss(t->core, &batch, &part, err);
    if (status != AIGC_OK)
        return status;
    if (t->examples[AIGC_TEXT_VALID].preferences) {
        preference_score(t, score, total);
        return AIGC_OK;
    }
    *total += part;
    score->n_bytes += count_bytes(t);
    return AIGC_OK;
}

aigc_status aigc_trainer_evaluate(aigc_trainer *t, aigc_train_score *score, aigc_error *err)
{
    bool plain = t->examples[AIGC_TEXT_VALID].n_windows == 0;
    size_t n_context = (size_t)t->options.n_context, n_sequences = (size_t)t->options.n_sequences;
    if (plain && t->text[AIGC_TEXT_VALID].n < 2)
        return aigc_fail(err, AIGC_E_ARGUMENT, "there is no text to evaluate on");
    size_t n_windows = valid_windows(t), n_used = t->options.valid_tokens / n_context;
    n_used = n_used < 1 ? 1 : n_used < n_windows ? n_used : n_windows;
    double total = 0;
    *score = (aigc_train_score){0};
    for (size_t done = 0; done < n_used; done += n_sequences) {
        for (size_t s = 0; s < n_sequences; s++) {
            size_t window = done + s < n_used ? (done + s) * n_windows / n_used : n_windows; /* behind the end: empty */
            score->n_tokens += trainer_fill(t, AIGC_TEXT_VALID, s, plain ? window * n_context : window);
        }
        aigc_status status = score_batch(t, score, &total, err);
        if (status != AIGC_OK)
            return status;
    }
    uint64_t n = score->n_preferences > 0 ? score->n_preferences : score->n_tokens;
    score->loss = n > 0 ? total / (double)n : 0;
    score->accuracy = score->n_preferences > 0 ? score->accuracy / (double)score->n_preferences : 0;
    score->bits_per_byte = score->n_bytes > 0 ? total / M_LN2 / (double)score->n_bytes : 0;
    return AIGC_OK;
}
