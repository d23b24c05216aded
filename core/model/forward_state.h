/* forward_state.h: what the parts of the forward pass share. Included by forward*.c only. */
#ifndef AIGC_MODEL_FORWARD_STATE_H
#define AIGC_MODEL_FORWARD_STATE_H

#include <stdatomic.h>

#include "model/adapter.h"
#include "model/forward.h"

enum {
    ATTN_CHUNK = 256,    /* positions whose blocks are merged one after the other, before chunks are merged */
    ATTN_TILE_ROWS = 32, /* queries computed together: tokens of a tile times heads of a group */
    SPLIT_TOKENS = 4,    /* batches up to this size share out a long context among threads */
    MAX_JOBS = 3,
    SERIAL_WORK = 1 << 17, /* multiply-adds below which waking other threads costs more than it saves */
};

/* One matrix of a phase of matrix products: out[t][r] = weights[r] . acts[t] (+ bias[r]), or added to out. */
typedef struct matmul_job {
    const matrix *weights;
    const float *bias; /* or NULL */
    layer_role role;   /* LAYER_ROLES for a matrix that is in no layer */
    float *out;
    size_t out_stride;
    bool accumulate; /* out += result; the result goes through `product` */
    int n_chunks, rows_per_chunk;
} matmul_job;

/* Scratch of one thread. */
typedef struct thread_scratch {
    float *row;         /* [max of n_embd, n_ff] */
    void *matmul;       /* matmul_scratch_bytes() */
    float *thin;        /* [thin_floats] results of an adapter's thin matrix */
    float *q;           /* [ATTN_TILE_ROWS or group][head_dim] */
    float *m[3], *l[3]; /* [rows]: of a block, a chunk of blocks, and all */
    float *o[3];        /* [rows][head_dim] */
    int *begin, *end;   /* [rows] */
} thread_scratch;

struct forward {
    const aigc_model *model;
    aigc_adapter_use adapters[FORWARD_MAX_ADAPTERS];
    int n_adapters;
    size_t thin_floats; /* at least the largest of all widths and ranks */
    const aigc_kernels *kernels;
    kv_cache *kv;
    thread_pool *pool;
    const volatile sig_atomic_t *interrupt;
    int n_batch, max_spans, max_chunks; /* max_chunks: ATTN_CHUNKs of the longest context */
    int n_threads;

    /* the batch */
    token_span *spans; /* [max_spans] */
    int n_spans, n_tokens, n_outputs;
    int32_t *token_id, *token_position; /* [n_batch] */
    int32_t *in_span;
    int32_t *output_token; /* [n_batch]: which token each output comes after */
    int32_t *span_start;   /* [max_spans]: first token of each span */
    int32_t *span_tile;    /* [max_spans + 1]: first attention tile of each span */

    /* where it stands */
    int layer, step; /* step counts within prologue, layer or head */
    int stage;
    int output_first, output_n; /* rows of logits that are being made */
    bool running;
    int64_t deadline;
    bool progressed; /* this run has begun a phase: only then may it pause */
    forward_result result;
    atomic_bool skipped; /* the interrupt flag was seen inside a phase */

    /* the phase that is running */
    matmul_job jobs[MAX_JOBS];
    int n_jobs;
    bool serial; /* one chunk stands for all chunks of all jobs */
    int tokens_per_chunk;
    int tile_tokens, n_tiles, n_splits;

    /* activations, [n_batch] rows each */
    size_t memory_bytes;
    unsigned char *memory;          /* one mapping that holds all below */
    float *x;                       /* [n_embd] the residual stream */
    float *qkv;                     /* [q + 2 kv] */
    float *attn;                    /* [q] */
    float *ffn[2];                  /* [n_ff]: gate (or up alone), up */
    float *product;                 /* [n_embd]: results on their way into the residual stream */
    unsigned char *acts[ACT_TYPES]; /* prepared rows of the largest width */
    unsigned char *thin[FORWARD_MAX_ADAPTERS][LAYER_MATRICES]; /* [n_batch] prepared rows of A x, scaled */
    float *cosines, *sines;                                    /* [n_rot / 2] */
    float *split;                                              /* [SPLIT_TOKENS][n_heads][max_chunks][head_dim + 2] */
    float *logits;                                             /* [FORWARD_LOGIT_ROWS][n_vocab] */
    thread_scratch *threads;
};

/* A phase: serial set-up that returns the number of chunks, and the work of one chunk. */
typedef struct forward_step {
    int (*begin)(forward *f);
    void (*work)(forward *f, int chunk, int thread);
} forward_step;

/* forward_steps.c */
int begin_tokens(forward *f);
void work_embed(forward *f, int chunk, int thread);
void work_attn_norm(forward *f, int chunk, int thread);
int begin_qkv(forward *f);
void work_matmul(forward *f, int chunk, int thread);
void work_attn_prepare(forward *f, int chunk, int thread);
int begin_attn_output(forward *f);
void work_ffn_norm(forward *f, int chunk, int thread);
int begin_ffn_in(forward *f);
void work_ffn_activate(forward *f, int chunk, int thread);
int begin_ffn_down(forward *f);
int begin_head_norm(forward *f);
void work_head_norm(forward *f, int chunk, int thread);
int begin_head(forward *f);

/* forward_adapter.c */
/* Keeps a token's x [n], the input of matrices of the layer, for adapt_input(). */
void adapt_prepare(forward *f, int t, const float *x, size_t n);
/* What adapters make of the x of tokens first to end - 1, for these matrices. */
void adapt_input(forward *f, int first, int end, const layer_role *roles, int n_roles, int thread);
/* Adds what they say to rows begin to end of the first n_tokens tokens' results; out is where the first one's row
 * `begin` is. */
void adapt_output(forward *f, layer_role role, int n_tokens, int begin, int end, float *out, size_t out_stride,
                  int thread);

/* forward_attention.c */
void prepare_angles(forward *f, int t); /* cosines and sines of one token */
void work_rope_store(forward *f, int chunk, int thread);
int begin_attend(forward *f);
void work_attend(forward *f, int chunk, int thread);
int begin_attn_prepare(forward *f);

#endif
