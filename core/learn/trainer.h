/* trainer.h: inside of an aigc_trainer, shared by trainer.c, feed.c, evaluate.c, adapt.c, preference.c and
 * checkpoint.c. */
#ifndef AIGC_LEARN_TRAINER_H
#define AIGC_LEARN_TRAINER_H

#include "learn/corpus.h"
#include "learn/dataset.h"
#include "learn/learner.h"
#include "learn/schedule.h"

struct aigc_trainer {
    aigc_train_options options;
    aigc_model *init;      /* that training begins from, or the base that is adapted; NULL: random weights */
    gguf_file *vocabulary; /* init's, or our own */
    tokenizer *tokens;     /* likewise */
    uint64_t init_hash;
    model_note *notes; /* to be written into the model */
    size_t n_notes;
    learner *core;
    corpus text[2];      /* by aigc_train_text */
    dataset examples[2]; /* likewise; one of both is empty */
    window_order order;
    learn_schedule schedule;
    bool started;
    bool updating;                  /* a step's update was interrupted: the next call goes on with it */
    aigc_train_progress updated;    /* that step's, so far */
    uint64_t step;                  /* done */
    int32_t *ids, *targets, *first; /* [accumulate][sequence][context] of the step at hand */
    int32_t *owners;                /* likewise: whose example each target is */
    float *factors;                 /* [sequence][context] of preferences' losses */
};

/* What ends steps, and reading and writing of models; NULL: nothing. */
static inline const volatile sig_atomic_t *trainer_interrupt(const aigc_trainer *t)
{
    return t->options.interrupt_steps ? t->options.interrupt : NULL;
}

/* Takes the weights of the model to begin from, and their hash. */
aigc_status trainer_load_init(aigc_trainer *t, aigc_error *err);

/* The weights that a run begins with. */
aigc_status trainer_first_weights(aigc_trainer *t, aigc_error *err);

/* Batch number `number` of those in hand. */
learn_batch trainer_batch(const aigc_trainer *t, int number);

/* Cuts sequence number `sequence` of the step out of the text: the window that begins at, or has the number, `window`.
 * Returns its number of targets. */
size_t trainer_fill(aigc_trainer *t, aigc_train_text kind, size_t sequence, size_t window);

/* Sets the schedule and, the first time, the order of windows: text can't be added afterwards. warmup: steps, or -1 to
 * take those of the options. */
aigc_status trainer_prepare(aigc_trainer *t, uint64_t n_steps, int64_t warmup, aigc_error *err);

/* notes.c */
void trainer_free_notes(aigc_trainer *t);

/* adapt.c: a model file as the base of a run. */

/* Opens options.base, takes the learner's memory and settles the options. */
aigc_status trainer_open_base(aigc_trainer *t, aigc_error *err);
/* What training made of the base, as a model. */
aigc_status trainer_write_base(const aigc_trainer *t, const char *path, const char *type, const char *name,
                               aigc_error *err);

/* preference.c: direct preference optimisation. */

/* What the responses are worth to the weights at hand, those of the base: kept for the whole run. */
aigc_status preference_references(aigc_trainer *t, aigc_error *err);
/* Gradients of the mean loss over the step's preferences; fills loss and accuracy. */
aigc_status preference_backward(aigc_trainer *t, aigc_train_progress *progress, aigc_error *err);
/* Adds the losses of the held-out preferences whose batch the learner has seen last to *total, and counts them. */
void preference_score(const aigc_trainer *t, aigc_train_score *score, double *total);

#endif
