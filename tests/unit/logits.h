/*
 * logits.h: what the transformer computes for a model file and some tokens, for tests that compare logits with another
 * implementation's. Goes below aigc.h, whose results are tokens and log-probabilities.
 */
#ifndef AIGC_TESTS_LOGITS_H
#define AIGC_TESTS_LOGITS_H

#include "aigc.h"

typedef struct logits_options {
    int n_threads;
    int n_batch; /* tokens computed together: the sequence is cut into batches of this many */
    aigc_kv_type kv;
} logits_options;

/* logits: [n][*n_vocab], after each of the n tokens; malloc'd. Fails the running test, with the reason, if it can't. */
float *logits_of_file(const char *path, const logits_options *options, const int32_t *tokens, int n, int *n_vocab);

/* The number of the largest of n, the first of equal ones. */
int best_of(const float *x, int n);

/* A new directory for a test's files, and its removal with the files in it. */
const char *temporary_directory(void);
void remove_temporary_directory(const char *path);

#endif
