/* learner_state.h: inside of a learner, shared by learner.c (memory, runs), learner_plan.c and learner_work.c. */
#ifndef AIGC_LEARN_LEARNER_STATE_H
#define AIGC_LEARN_LEARNER_STATE_H

#include "base/blas.h"
#include "base/threads.h"
#include "learn/attention.h"
#include "learn/dropout.h"
#include "learn/learner.h"
#include "learn/math.h"
#include "tensor/gemm.h"

typedef struct phase phase;
typedef void phase_work(learner *l, const phase *p, int chunk, int thread);

/* One product c (+)= op(a) op(b), cut into tiles. */
typedef struct product {
    bool transpose_a, transpose_b;
    int m, n, k, lda, ldb, ldc;
    const float *a, *b;
    float *c;
    int tile_m, tile_n;
    bool add;              /* to what c holds */
    const float *residual; /* c begins as this, [m][ldc], if not NULL */
    const float *bias;     /* [n], added to each row, if not NULL */
} product;

/* A phase of the step. What the pointers are is said where each kind is added, in learner_plan.c. */
struct phase {
    phase_work *work;
    int n_chunks;
    product gemm;
    const float *x, *y, *w, *b;
    float *out, *out2;
    norm_stat *stats;
    size_t stride;
    int layer;
};

typedef struct phase_list {
    phase *items;
    int n, capacity;
    bool failed; /* out of memory while growing */
} phase_list;

/* What forward leaves for backward. Tokens are those of all sequences, one after the other. */
typedef struct layer_state {
    float *x;      /* [token][embd] what comes in */
    float *qkv;    /* [token][qkv], rotated */
    float *att;    /* [token][q] attention's result */
    float *lse;    /* [token][head] */
    float *middle; /* [token][embd] after attention was added */
    float *ffn[2]; /* [token][ffn_stride]: gate (or the only one) and up, before the activation */
    norm_stat *attn_stats, *ffn_stats;
    float *u[LAYER_MATRICES]; /* [token][rank] LoRA: what A makes of the matrix's input, scaled */
} layer_state;

enum { SLICE = 1 << 15 }; /* weights that one chunk of the optimiser works on */

typedef struct slice {
    size_t offset, n; /* offset: from the first trained weight on, as in gradients and moments */
    int tensor;       /* its number */
    bool decays;
    bool muon; /* is left to Muon */
    bool done; /* in the update at hand */
} slice;

struct learner {
    learn_layout layout;
    learn_memory memory;
    blas_sgemm sgemm;
    const gemm_kernels *gemm; /* NULL: OpenBLAS makes the products */
    const aigc_kernels *kernels;
    thread_pool *pool;
    attention attention;
    int n_threads, n_sequences, n_tokens; /* n_tokens: of all sequences */

    float *weights, *gradients, *moments[2];
    float *trained;       /* the weights from the first trained one on */
    unsigned char *block; /* one piece of memory that all of the following lie in */
    size_t block_bytes;
    int32_t *ids, *targets;
    int *first;
    float *factors;                       /* [token] of the loss in the gradient */
    float *cosines, *sines, *minus_sines; /* [n_context][head_dim / 2] */
    layer_state *layers;
    float *x_end; /* [token][embd] after the last layer */
    norm_stat *end_stats;
    size_t ffn_stride;                       /* from one token to the next in ffn and dffn, side by side if gated */
    float *y, *h, *dx, *dy, *dqkv, *dffn[2]; /* of the layer at hand */
    float *du;                               /* [token][rank] LoRA: gradient of u of the matrix at hand */
    float *dkv;            /* [token][head][k, v][head_dim] gradients by query head, if heads share keys and values */
    float *logits;         /* [logit_rows][vocabulary] */
    float *losses;         /* [token] */
    uint32_t *packed;      /* the second operand of the product at hand */
    float *thread_scratch; /* [thread][thread_floats] */
    size_t thread_floats;
    int logit_rows;
    float scale;     /* of the loss, while backward runs; 0 in forward alone */
    dropout dropout; /* in backward; threshold 0: none */
    slice *slices;
    double *slice_squares;
    int n_slices;
    adamw_step adamw[2]; /* without and with weight decay */
    struct muon *muon;   /* NULL: AdamW updates all weights */

    phase_list forward, backward, squares, update;
    const phase_list *running;
    int next_phase;
    const volatile sig_atomic_t *interrupt; /* NULL: none */
    bool updating;                          /* an update was interrupted */
    double norm_found;                      /* of the gradient that it is of */
    bool stale;                             /* gradients are those of a step that was interrupted */
    _Atomic bool stopped;                   /* the interrupt was seen: no chunk has begun since */
};

/* A list being filled. */
typedef struct planner {
    learner *l;
    phase_list *list;
    size_t n_tokens, n_embd, n_ff, q, qkv;
    bool drops; /* the list is one with dropout */
} planner;

/* learner_plan.c: fills the four lists anew; false if memory ran out. */
bool plan_phases(learner *l);
phase *add_phase(planner *p, phase_work *work, int n_chunks);

/* learner.c */
/* False: interrupted. */
bool run_phases(learner *l, const phase_list *list);

/* Whether the interrupt has come, for work that is long itself. */
static inline bool must_stop(learner *l)
{
    if (l->interrupt != NULL && *l->interrupt)
        l->stopped = true;
    return l->stopped;
}

/* optimiser.c */
aigc_status optimiser_create(learner *l, aigc_error *err);
void optimiser_free(learner *l);
bool plan_update(planner *p);

/* Chunks of n items, each of size. */
static inline int chunks_of(size_t n, size_t size)
{
    return (int)((n + size - 1) / size);
}

/* learner_work.c: what phases do. */
enum { TOKEN_CHUNK = 32, COLUMN_CHUNK = 64, LOGIT_CHUNK = 8 };
phase_work learn_dropout, learn_product, learn_pack, learn_embed, learn_norm, learn_norm_again, learn_norm_backward,
    learn_norm_columns, learn_column_sums, learn_lora_scale, learn_rope, learn_rope_backward, learn_attention,
    learn_attention_backward, learn_attention_gather, learn_activate, learn_activate_backward, learn_loss,
    learn_embed_backward, learn_squares, learn_adamw;

/* A whole product on one thread, in its scratch. False: interrupted, c is of no use. */
bool whole_product(learner *l, const product *p, int thread);

/* The tiles of a product of m x n, and the chunks of the phase that packs b for them, by its sizes alone. */
void choose_tiles(const learner *l, product *p);
int pack_chunks(const product *p);

/* The most words that packing needs: of the second operand of a product, and of a thread's tile. */
size_t packed_words(const learner *l);
size_t packed_tile_words(void);

#endif
