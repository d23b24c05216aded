/* trainer.h: inside of an aigc_trainer, shared by trainer.c and checkpoint.c. */
#ifndef AIGC_LEARN_TRAINER_H
#define AIGC_LEARN_TRAINER_H

#include "learn/corpus.h"
#include "learn/learner.h"
#include "learn/schedule.h"

struct aigc_trainer {
    aigc_train_options options;
    aigc_model *init;      /* that training begins from; NULL: random weights */
    gguf_file *vocabulary; /* init's, or our own */
    tokenizer *tokens;     /* likewise */
    uint64_t init_hash;
    learner *core;
    corpus text[2]; /* by aigc_train_text */
    window_order order;
    learn_schedule schedule;
    bool started;
    uint64_t step;                  /* done */
    int32_t *ids, *targets, *first; /* [accumulate][sequence][context] of the step at hand */
};

/* Sets the schedule and, the first time, the order of windows: text can't be added afterwards. warmup: steps, or -1 to
 * take those of the options. */
aigc_status trainer_prepare(aigc_trainer *t, uint64_t n_steps, int64_t warmup, aigc_error *err);

#endif
