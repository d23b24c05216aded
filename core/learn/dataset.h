/*
 * dataset.h: prompts with responses, and prompts with a chosen and a rejected response, packed into windows.
 *
 * Only responses are learned; each ends with the vocabulary's EOS, unless it has an
 * end of its own (a chat's <|im_end|>, say). A window is filled with whole examples, in the order
 * in which they were added, the two of a preference side by side; examples don't see each other. An example that is
 * longer than a window loses the beginning of its prompt, and the end of its response if that alone is too long.
 * Called by trainer.c.
 */
#ifndef AIGC_LEARN_DATASET_H
#define AIGC_LEARN_DATASET_H

#include "text/tokenizer.h"

typedef struct example {
    size_t start;     /* of its ids */
    int n, n_prompt;  /* ids, and how many of them are given, not learned */
    double reference; /* of a preference: log-probability of the response by the model that the run began with */
} example;

typedef struct dataset {
    const tokenizer *tokens;
    int n_context;
    bool preferences; /* examples come in twos: chosen, rejected */
    int32_t *ids;
    size_t n_ids, id_capacity;
    example *examples;
    size_t n_examples, example_capacity;
    size_t *windows; /* first example of each */
    size_t n_windows, window_capacity;
    int used; /* positions of the last window */
    size_t n_cut;
    uint64_t hash; /* of all ids and borders */
} dataset;

typedef struct dataset_text {
    const char *text;
    size_t len;
} dataset_text;

void dataset_create(dataset *d, const tokenizer *tokens, int n_context);
void dataset_free(dataset *d);

/* Errors: AIGC_E_TEXT (not UTF-8), AIGC_E_ARGUMENT for an empty response, AIGC_E_MEMORY. */
aigc_status dataset_add_pair(dataset *d, dataset_text prompt, dataset_text response, aigc_error *err);
aigc_status dataset_add_preference(dataset *d, dataset_text prompt, dataset_text chosen, dataset_text rejected,
                                   aigc_error *err);

/* Window number `window` as a sequence of a batch (learner.h, learn_batch); one behind the end is empty. owners
 * [n_context]: whose example each target is, or -1. Returns the number of targets. */
size_t dataset_window(const dataset *d, size_t window, int32_t *ids, int32_t *targets, int32_t *first, int32_t *owners);

#endif
