/*
 * forward.h: tokens in, logits out: one batch through the transformer, for any mixture of sequences.
 *
 * A batch is a set of spans, each some new tokens of one sequence. Work can be left in the middle and taken up again:
 * forward_run() returns when its time is over. Results do not depend on how sequences are batched, how prompts are cut,
 * or how many threads there are.
 */
#ifndef AIGC_MODEL_FORWARD_H
#define AIGC_MODEL_FORWARD_H

#include <signal.h>

#include "base/threads.h"
#include "model/kv.h"
#include "model/model.h"

typedef struct token_span {
    const int32_t *tokens; /* [n]; must stay until the batch is done, as must blocks */
    const int32_t *blocks; /* block numbers of the sequence's positions 0 .. position + n - 1 */
    int n, position;       /* position: of the first token */
    int n_outputs;         /* logits are wanted after each of the last n_outputs tokens */
} token_span;

typedef enum forward_result {
    FORWARD_DONE,
    FORWARD_LOGITS,     /* some rows of logits are ready; run again for what follows */
    FORWARD_PAUSED,     /* the deadline has passed */
    FORWARD_INTERRUPTED /* the flag was seen: the batch is lost and must begin again; sequences are unharmed */
} forward_result;

enum { FORWARD_LOGIT_ROWS = 32 }; /* most rows that are ready together */

typedef struct forward forward;

enum { FORWARD_MAX_ADAPTERS = 8 };

/* Takes all memory that batches of up to n_batch tokens in up to n_spans spans of at most n_context positions need. The
 * model, adapters, cache and pool must outlive it. interrupt may be NULL. */
aigc_status forward_create(const aigc_model *model, const aigc_adapter_use *adapters, int n_adapters, kv_cache *kv,
                           thread_pool *pool, int n_batch, int n_spans, int n_context,
                           const volatile sig_atomic_t *interrupt, forward **out, aigc_error *err);
void forward_destroy(forward *f); /* NULL is allowed */
size_t forward_bytes(const forward *f);

/* Begins a batch, forgetting any unfinished one. Ids must be below n_vocab, positions below n_context. */
void forward_begin(forward *f, const token_span *spans, int n_spans);

/* Works until the batch is done or CLOCK_MONOTONIC passes `deadline` nanoseconds. */
forward_result forward_run(forward *f, int64_t deadline);

/* After FORWARD_LOGITS: rows first .. first + n - 1 of the batch's outputs (counted over all spans in order) are ready;
 * *logits is [n][n_vocab] and may be changed. */
void forward_logits(forward *f, int *first, int *n, float **logits);

/* The same of one of these rows, counted likewise, before the output matrix: the last layer's state behind the output
 * norm. out: [n_embd]. */
void forward_hidden(const forward *f, int row, float *out);

#endif
