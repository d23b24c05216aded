/*
 * corpus.h: text as one long row of token ids, and the windows of it that are trained on.
 *
 * Documents follow each other with the vocabulary's own tokens between them: BOS before each if the tokenizer adds it
 * or it is EOS too, EOS after each. A window may begin anywhere in a document; what it shows of each document is set
 * apart from the others. Called by trainer.c.
 */
#ifndef AIGC_LEARN_CORPUS_H
#define AIGC_LEARN_CORPUS_H

#include "text/tokenizer.h"

/* A stretch of the text that is read more or less often than others. */
typedef struct corpus_part {
    size_t begin;  /* its first id; it ends where the next one begins */
    double weight; /* how often an epoch reads it */
} corpus_part;

typedef struct corpus {
    const tokenizer *tokens;
    int32_t bos, eos; /* that set documents apart; -1 if not used. They may be one token. */
    int32_t *ids;
    size_t n, capacity;
    uint64_t hash;      /* of all ids, and of weights other than 1: tells one text from another */
    corpus_part *parts; /* none: all has weight 1 */
    size_t n_parts;
} corpus;

/* Errors: AIGC_E_UNSUPPORTED if the vocabulary has no token that could set documents apart. */
aigc_status corpus_create(corpus *c, const tokenizer *tokens, aigc_error *err);
void corpus_free(corpus *c);

aigc_status corpus_add(corpus *c, const char *text, size_t len, aigc_error *err);

/* What is added from now on has this weight. */
aigc_status corpus_weigh(corpus *c, double weight, aigc_error *err);

/* Window of n_context tokens from id number `start` on: ids, targets, borders of documents (learner.h, learn_batch).
 * What lies behind the end has no targets. Returns the number of targets. */
size_t corpus_window(const corpus *c, size_t start, size_t n_context, int32_t *ids, int32_t *targets, int32_t *first);

/* Windows number first to first + n - 1, of which an epoch takes n_taken, going round. */
typedef struct window_run {
    size_t first, n, n_taken;
} window_run;

/*
 * The order in which windows come: each epoch all windows once, shuffled, and cut at other places than before. Of text
 * whose weight is not 1 an epoch takes so many times its number of windows, and goes on in the next where it left off.
 */
typedef struct window_order {
    uint64_t seed;
    size_t n_context, n_windows;
    uint64_t epoch; /* that `order` and `shift` are of */
    size_t shift;
    uint32_t *order; /* [n_windows], those of an epoch */
    window_run *runs;
    size_t n_runs;
} window_order;

/* Of n_ids ids in n_parts parts (0: all has weight 1). Errors: AIGC_E_ARGUMENT if the text is shorter than two contexts
 * or nothing of it has a weight. */
aigc_status window_order_create(window_order *o, uint64_t seed, size_t n_ids, const corpus_part *parts, size_t n_parts,
                                size_t n_context, aigc_error *err);
/* The order of windows that are cut already (dataset.h): window_start() gives their numbers. */
aigc_status window_order_of(window_order *o, uint64_t seed, size_t n_windows, aigc_error *err);
void window_order_free(window_order *o);

/* Where window number `number` of the whole run (0 is the first) begins. */
size_t window_start(window_order *o, uint64_t number);

#endif
