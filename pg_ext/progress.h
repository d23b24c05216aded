/*
 * progress.h: long work of this session, for other sessions to see in the view aigc_progress. Called by what trains
 * (training.c, finetuning.c) and by what refreshes recommenders.
 *
 *     Progress progress;
 *     progress_start(&progress, "train_model", name);
 *     progress_phase(&progress, "training", n_steps);
 *     for each step:
 *         progress_update(&progress, step, loss, tokens_per_second);
 *     progress_end(&progress);
 *
 * An error needs no clean-up: PostgreSQL clears the report when a transaction or subtransaction aborts and when a
 * backend goes. Each call reports everything again, so nothing that runs in between (a query that rolls back to a
 * savepoint, a CREATE INDEX with a report of its own) leaves it wrong for longer than until the next one. A call costs
 * some hundred nanoseconds. Nothing is reported while track_activities is off.
 */
#ifndef AIGC_PROGRESS_H
#define AIGC_PROGRESS_H

#include "datatype/timestamp.h"

/* What is in shared memory, and all that is: 160 bytes (see progress.c). Strings end with NUL. */
typedef struct ProgressReport {
    char command[24]; /* what the user called */
    char phase[24];   /* what it is doing; "" before the first one */
    char target[64];  /* UTF-8: name of the model or recommender, cut to whole characters */
    int64 done;       /* of the phase: steps, rows, ... */
    int64 total;      /* likewise; 0: not known */
    double loss;      /* NaN: none */
    double rate;      /* tokens, rows or events per second; 0: not known */
    TimestampTz started;
    TimestampTz estimated_end; /* of the phase; 0: not known */
} ProgressReport;

typedef struct Progress {
    ProgressReport report;
    TimestampTz phase_started;
} Progress;

/* Begins to report; target is UTF-8. */
void progress_start(Progress *progress, const char *command, const char *target);

/* A new phase of so many units; 0: not known how many. Its loss and rate are not known yet. */
void progress_phase(Progress *progress, const char *phase, int64 total);

/* How far the phase is. loss may be NAN, rate 0; the estimated end follows from the time since the phase began. */
void progress_update(Progress *progress, int64 done, double loss, double rate);

/* The phase turned out to have so many units. */
void progress_total(Progress *progress, int64 total);

void progress_end(Progress *progress);

#endif
