/* feed.c: what a trainer learns from and is judged on: plain text, pairs or preferences. The interface is in aigc.h. */
#include "learn/trainer.h"

enum { FEED_TEXT, FEED_PAIR, FEED_PREFERENCE };

/* Whether data of one more kind may come now. */
static aigc_status check_feed(const aigc_trainer *t, aigc_train_text kind, int what, aigc_error *err)
{
    if (t->started && (kind == AIGC_TEXT_TRAIN || what == FEED_PREFERENCE))
        return aigc_fail(err, AIGC_E_ARGUMENT, "text to train on can't be added once training has started");
    if (what == FEED_PREFERENCE && t->options.base == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "preferences need a base model to compare with");
    if (what == FEED_PREFERENCE && t->options.dropout > 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "preferences are compared without dropout");
    for (int i = 0; i < 2; i++) {
        const dataset *d = &t->examples[i];
        if ((what == FEED_TEXT ? d->n_examples : t->text[i].n) > 0 ||
            (d->n_examples > 0 && d->preferences != (what == FEED_PREFERENCE)))
            return aigc_fail(err, AIGC_E_ARGUMENT, "plain text, pairs and preferences can't be mixed");
    }
    return AIGC_OK;
}

aigc_status aigc_trainer_weigh(aigc_trainer *t, double weight, aigc_error *err)
{
    return corpus_weigh(&t->text[AIGC_TEXT_TRAIN], weight, err);
}

aigc_status aigc_trainer_feed(aigc_trainer *t, aigc_train_text kind, const char *text, size_t len, aigc_error *err)
{
    aigc_status status = check_feed(t, kind, FEED_TEXT, err);
    return status == AIGC_OK ? corpus_add(&t->text[kind], text, len, err) : status;
}

aigc_status aigc_trainer_feed_pair(aigc_trainer *t, aigc_train_text kind, const char *prompt, size_t prompt_len,
                                   const char *response, size_t response_len, aigc_error *err)
{
    const dataset_text given = {prompt, prompt_len}, learned = {response, response_len};
    aigc_status status = check_feed(t, kind, FEED_PAIR, err);
    return status == AIGC_OK ? dataset_add_pair(&t->examples[kind], given, learned, err) : status;
}

aigc_status aigc_trainer_feed_preference(aigc_trainer *t, aigc_train_text kind, const char *prompt, size_t prompt_len,
                                         const char *chosen, size_t chosen_len, const char *rejected,
                                         size_t rejected_len, aigc_error *err)
{
    const dataset_text given = {prompt, prompt_len}, good = {chosen, chosen_len}, bad = {rejected, rejected_len};
    aigc_status status = check_feed(t, kind, FEED_PREFERENCE, err);
    return status == AIGC_OK ? dataset_add_preference(&t->examples[kind], given, good, bad, err) : status;
}
