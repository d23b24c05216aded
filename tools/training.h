/* training.h: a run of a trainer as train.c and finetune.c show it: plan, steps, progress, log, checkpoints. */
#ifndef AIGC_TOOLS_TRAINING_H
#define AIGC_TOOLS_TRAINING_H

#include "options.h"
#include "plot.h"

typedef struct training {
    settings *s;
    aigc_trainer *trainer;
    char *checkpoint; /* path */
    FILE *log;        /* NULL: none */
    plot curve;       /* of the run, if it is to be drawn */
    double began;     /* when the steps of this process began */
    uint64_t first;   /* the step before them */
    uint64_t step_tokens;
    aigc_train_score valid; /* the last evaluation's */
    bool evaluated;
} training;

/* All functions that return an int return an exit status; anything but EXIT_OK has been reported. */

/* Makes the trainer, and the checkpoint's name. */
int training_open(training *tr, const char *tokenizer_path);

/* Prints the plan, then goes from the beginning or the checkpoint to the run's end. Text was fed before. */
int training_run(training *tr);

/* The name that the model gets. */
const char *training_name(const settings *s);

/* Prints how well the model does on what was held out, if anything was. */
int training_report(const training *tr);

void training_close(training *tr);

#endif
