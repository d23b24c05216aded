/* learner_work.c: what each kind of phase does with one chunk. */
#include <string.h>

#include "learn/learner_state.h"

enum { TILES = 16, LEAST_TILE = 64, MOST_TILE = 2048 };

static float *scratch_of(const learner *l, int thread)
{
    return l->thread_scratch + (size_t)thread * l->thread_floats;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- products ---- */

static int half_of(int size)
{
    return (size / 2 + 15) / 16 * 16;
}

void choose_tiles(product *p)
{
    p->tile_m = p->m;
    p->tile_n = p->n;
    for (;;) {
        int *larger = p->tile_m > p->tile_n ? &p->tile_m : &p->tile_n;
        int tiles = chunks_of((size_t)p->m, (size_t)p->tile_m) * chunks_of((size_t)p->n, (size_t)p->tile_n);
        if (*larger <= LEAST_TILE || (tiles >= TILES && *larger <= MOST_TILE))
            return;
        *larger = half_of(*larger);
    }
}

/* What a tile holds before the product is added. */
static void fill_tile(const product *p, int row, int column, int rows, int columns)
{
    for (int r = row; r < row + rows; r++) {
        float *c = p->c + (size_t)r * (size_t)p->ldc;
        const float *from = p->residual != NULL ? p->residual + (size_t)r * (size_t)p->ldc : NULL;
        for (int i = column; i < column + columns; i++)
            c[i] = (from != NULL ? from[i] : 0) + (p->bias != NULL ? p->bias[i] : 0);
    }
}

void learn_product(learner *l, const phase *ph, int chunk, int thread)
{
    (void)thread;
    const product *p = &ph->gemm;
    int across = chunks_of((size_t)p->n, (size_t)p->tile_n);
    int row = chunk / across * p->tile_m, column = chunk % across * p->tile_n;
    int rows = p->m - row < p->tile_m ? p->m - row : p->tile_m;
    int columns = p->n - column < p->tile_n ? p->n - column : p->tile_n;
    bool begins = p->residual != NULL || p->bias != NULL;
    if (begins)
        fill_tile(p, row, column, rows, columns);
    const float *a = p->a + (size_t)row * (p->transpose_a ? 1 : (size_t)p->lda);
    const float *b = p->b + (size_t)column * (p->transpose_b ? (size_t)p->ldb : 1);
    l->sgemm(p->transpose_a, p->transpose_b, rows, columns, p->k, 1, a, p->lda, b, p->ldb, begins || p->add ? 1 : 0,
             p->c + (size_t)row * (size_t)p->ldc + column, p->ldc);
}

/* ---- rows of tokens ---- */

static size_t token_end(const learner *l, int chunk)
{
    return least((size_t)(chunk + 1) * TOKEN_CHUNK, (size_t)l->n_tokens);
}

/* Position of a token in its document: that is what learned positions and angles go by. */
static size_t position_of(const learner *l, size_t token)
{
    return token % l->layout.hp.n_context - (size_t)l->first[token];
}

/* out = token's embedding w, plus the position's b if that is not NULL */
void learn_embed(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_embd;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++) {
        float *x = p->out + t * n;
        memcpy(x, p->w + (size_t)l->ids[t] * n, n * sizeof *x);
        if (p->b != NULL)
            l->kernels->add(x, p->b + position_of(l, t) * n, n);
    }
}

/* The gradients of both embeddings for some columns: tokens in order, so that sums are. out, out2 as w, b above. */
void learn_embed_backward(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_embd, begin = (size_t)chunk * COLUMN_CHUNK, end = least(begin + COLUMN_CHUNK, n);
    for (size_t t = 0; t < (size_t)l->n_tokens; t++) {
        const float *dx = p->x + t * n;
        float *token = p->out + (size_t)l->ids[t] * n;
        for (size_t c = begin; c < end; c++)
            token[c] += dx[c];
        if (p->out2 == NULL)
            continue;
        float *position = p->out2 + position_of(l, t) * n;
        for (size_t c = begin; c < end; c++)
            position[c] += dx[c];
    }
}

/* out = norm of x, whose statistics are kept */
void learn_norm(learner *l, const phase *p, int chunk, int thread)
{
    size_t n = l->layout.hp.n_embd;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++)
        p->stats[t] = math_norm_stat(l->layout.recipe->norm, p->x + t * n, l->layout.hp.norm_eps, n);
    learn_norm_again(l, p, chunk, thread);
}

/* out = norm of x, from the statistics that were kept */
void learn_norm_again(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_embd;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++)
        math_norm(p->x + t * n, p->stats[t], p->w, p->b, p->out + t * n, n);
}

/* out (the gradient of x) += norm backward of y */
void learn_norm_backward(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_embd;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++)
        math_norm_backward(l->layout.recipe->norm, p->x + t * n, p->stats[t], p->w, p->y + t * n, p->out + t * n, n);
}

/* out and out2 += gradients of the norm's weight and bias, from y */
void learn_norm_columns(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_embd, begin = (size_t)chunk * COLUMN_CHUNK;
    math_norm_columns(p->y, p->x, p->stats, (size_t)l->n_tokens, n, begin, least(begin + COLUMN_CHUNK, n), p->out,
                      p->out2);
}

/* out [gemm.n] += sums of the columns of x, rows stride apart */
void learn_column_sums(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t begin = (size_t)chunk * COLUMN_CHUNK;
    math_column_sums(p->x, (size_t)l->n_tokens, p->stride, begin, least(begin + COLUMN_CHUNK, (size_t)p->gemm.n),
                     p->out);
}

/* out [token][gemm.n] of LoRA is scaled */
void learn_lora_scale(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t rank = (size_t)p->gemm.n, begin = (size_t)chunk * TOKEN_CHUNK;
    l->kernels->scale(p->out + begin * rank, l->layout.lora_scale, (token_end(l, chunk) - begin) * rank);
}

/* ---- attention ---- */

static void rotate_tokens(learner *l, float *qkv, const float *sines, int chunk)
{
    const hyperparameters *hp = &l->layout.hp;
    size_t half = hp->n_rot / 2;
    bool pairs = l->layout.recipe->position == POSITION_ROPE_PAIRS;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++) {
        size_t at = position_of(l, t) * half;
        l->kernels->rope(qkv + t * hp->dims[DIM_QKV], (int)(hp->n_heads + hp->n_kv_heads), (int)hp->head_dim,
                         (int)hp->n_rot, l->cosines + at, sines + at, pairs);
    }
}

void learn_rope(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    rotate_tokens(l, p->out, l->sines, chunk);
}

/* The transpose of a rotation is the rotation back. */
void learn_rope_backward(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    rotate_tokens(l, p->out, l->minus_sines, chunk);
}

/* A chunk is one key-value head of one sequence. */
void learn_attention(learner *l, const phase *p, int chunk, int thread)
{
    const hyperparameters *hp = &l->layout.hp;
    const layer_state *s = &l->layers[p->layer];
    size_t token = (size_t)chunk / hp->n_kv_heads * hp->n_context;
    attention_forward(&l->attention, chunk % (int)hp->n_kv_heads, s->qkv + token * hp->dims[DIM_QKV], l->first + token,
                      s->att + token * hp->dims[DIM_Q], s->lse + token * hp->n_heads, scratch_of(l, thread));
}

void learn_attention_backward(learner *l, const phase *p, int chunk, int thread)
{
    const hyperparameters *hp = &l->layout.hp;
    const layer_state *s = &l->layers[p->layer];
    size_t token = (size_t)chunk / hp->n_kv_heads * hp->n_context;
    attention_backward(&l->attention, chunk % (int)hp->n_kv_heads, s->qkv + token * hp->dims[DIM_QKV], l->first + token,
                       s->att + token * hp->dims[DIM_Q], s->lse + token * hp->n_heads, p->y + token * hp->dims[DIM_Q],
                       p->out + token * hp->dims[DIM_QKV], scratch_of(l, thread));
}

/* ---- feed-forward and loss ---- */

void learn_activate(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    const layer_state *s = &l->layers[p->layer];
    size_t n = l->layout.hp.n_ff;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++)
        math_activate(l->kernels, l->layout.recipe->activation, s->ffn[0] + t * n,
                      s->ffn[1] != NULL ? s->ffn[1] + t * n : NULL, l->h + t * n, n);
}

void learn_activate_backward(learner *l, const phase *p, int chunk, int thread)
{
    const layer_state *s = &l->layers[p->layer];
    size_t n = l->layout.hp.n_ff;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++) {
        bool gated = s->ffn[1] != NULL;
        math_activate_backward(l->kernels, l->layout.recipe->activation, l->h + t * n, s->ffn[0] + t * n,
                               gated ? s->ffn[1] + t * n : NULL, l->dffn[0] + t * n, gated ? l->dffn[1] + t * n : NULL,
                               scratch_of(l, thread), n);
    }
}

/* Losses of gemm.m rows of logits, whose first is token number `stride`; the logits become their gradient. */
void learn_loss(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_vocab, end = least((size_t)(chunk + 1) * LOGIT_CHUNK, (size_t)p->gemm.m);
    for (size_t r = (size_t)chunk * LOGIT_CHUNK; r < end; r++) {
        size_t t = p->stride + r;
        float *row = l->logits + r * n;
        float scale = l->scale * l->factors[t];
        l->losses[t] = l->targets[t] >= 0 ? math_cross_entropy(l->kernels, row, l->targets[t], scale, n) : 0;
        if (l->targets[t] < 0 || scale == 0) /* then there is no gradient, and the logits must not stand for one */
            memset(row, 0, n * sizeof *row);
    }
}
