/* learner_work.c: what each kind of phase does with one chunk. */
#include <string.h>

#include "learn/learner_state.h"

enum {
    TILES = 8,                   /* of a product, at least */
    BLAS_TILE = 2048,            /* the widest tile that OpenBLAS gets */
    STRIP_ROWS = 128,            /* our own kernels get few rows, so that their part of a */
    STRIP_COLUMNS = 1024,        /* and of c stays in a second-level cache */
    LEAST_TILE = 64,             /* what is not cut further */
    BLAS_ROWS = 256,             /* of a whole product between two looks at the interrupt */
    WHOLE_COLUMNS = 384,         /* of b are packed together where one thread makes a whole product */
    PACK_LINES = 4 * GEMM_LINES, /* of a chunk of packing, */
    PACK_PART = 512,             /* or of their elements, if lines lie across: a multiple of two */
};

static float *scratch_of(const learner *l, int thread)
{
    return l->thread_scratch + (size_t)thread * l->thread_floats;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- products ---- */

/* Rounded up to the columns that the kernels take at a time. */
static int half_of(int size)
{
    return (size / 2 + 47) / 48 * 48;
}

void choose_tiles(const learner *l, product *p)
{
    int most = l->gemm != NULL ? STRIP_COLUMNS : BLAS_TILE;
    p->tile_m = l->gemm != NULL && p->m > STRIP_ROWS ? STRIP_ROWS : p->m;
    p->tile_n = p->n;
    for (;;) {
        int *larger = p->tile_m > p->tile_n ? &p->tile_m : &p->tile_n;
        int tiles = chunks_of((size_t)p->m, (size_t)p->tile_m) * chunks_of((size_t)p->n, (size_t)p->tile_n);
        if (*larger <= LEAST_TILE || (tiles >= TILES && *larger <= most))
            return;
        *larger = half_of(*larger);
    }
}

static size_t padded(size_t lines)
{
    return (lines + GEMM_LINES - 1) / GEMM_LINES * GEMM_LINES;
}

/* Words of the larger of two packed matrices, this one in the precision that takes most: whole floats. */
static size_t larger_packed(size_t words, size_t lines, size_t k)
{
    size_t these = padded(lines) * k;
    return these > words ? these : words;
}

size_t packed_words(const learner *l)
{
    const hyperparameters *hp = &l->layout.hp;
    const size_t joined[] = {hp->dims[DIM_QKV], l->ffn_stride};
    size_t words = 0, n_tokens = (size_t)l->n_tokens, rank = (size_t)l->layout.lora_rank;
    for (int i = 0; i < 2; i++)
        words = larger_packed(larger_packed(words, joined[i], hp->n_embd), hp->n_embd, joined[i]);
    for (int i = 0; i < l->layout.n_tensors; i++) {
        const learn_tensor *t = &l->layout.tensors[i];
        if (!t->is_vector)
            words = larger_packed(larger_packed(words, t->rows, t->k), t->k, t->rows);
    }
    /* The inputs of matrices, for their gradients. */
    words = larger_packed(larger_packed(words, hp->n_embd, n_tokens), hp->dims[DIM_Q], n_tokens);
    return larger_packed(larger_packed(words, hp->n_ff, n_tokens), rank, n_tokens);
}

size_t packed_tile_words(void)
{
    size_t most = 0;
    for (int precision = 0; precision < GEMM_PRECISIONS; precision++) {
        const gemm_kernels *g = gemm_kernels_best((gemm_precision)precision);
        size_t words = gemm_packed_words(g, STRIP_ROWS, g->depth) + gemm_packed_words(g, WHOLE_COLUMNS, g->depth);
        most = words > most ? words : most;
    }
    return most;
}

/* A tile's place in its product. */
typedef struct tile {
    int row, column, rows, columns;
} tile;

static tile tile_of(const product *p, int chunk)
{
    int across = chunks_of((size_t)p->n, (size_t)p->tile_n);
    tile t = {.row = chunk / across * p->tile_m, .column = chunk % across * p->tile_n};
    t.rows = p->m - t.row < p->tile_m ? p->m - t.row : p->tile_m;
    t.columns = p->n - t.column < p->tile_n ? p->n - t.column : p->tile_n;
    return t;
}

/* What a tile holds before the product is added. */
static void fill_tile(const product *p, tile t)
{
    for (int r = t.row; r < t.row + t.rows; r++) {
        float *c = p->c + (size_t)r * (size_t)p->ldc;
        const float *from = p->residual != NULL ? p->residual + (size_t)r * (size_t)p->ldc : NULL;
        for (int i = t.column; i < t.column + t.columns; i++)
            c[i] = (from != NULL ? from[i] : 0) + (p->bias != NULL ? p->bias[i] : 0);
    }
}

static void blas_tile(const learner *l, const product *p, tile t)
{
    bool begins = p->residual != NULL || p->bias != NULL;
    if (begins)
        fill_tile(p, t);
    const float *a = p->a + (size_t)t.row * (p->transpose_a ? 1 : (size_t)p->lda);
    const float *b = p->b + (size_t)t.column * (p->transpose_b ? (size_t)p->ldb : 1);
    l->sgemm(p->transpose_a, p->transpose_b, t.rows, t.columns, p->k, 1, a, p->lda, b, p->ldb, begins || p->add ? 1 : 0,
             p->c + (size_t)t.row * (size_t)p->ldc + t.column, p->ldc);
}

/* Packs elements at to at + part of some rows of a, or of some columns of b. */
static void pack_a(const learner *l, const product *p, size_t row, size_t rows, size_t at, size_t part, uint32_t *to)
{
    size_t lda = (size_t)p->lda;
    gemm_pack(l->gemm, p->transpose_a, p->a + (p->transpose_a ? at * lda + row : row * lda + at), lda, rows, part, to);
}

static void pack_b(const learner *l, const product *p, size_t column, size_t columns, size_t at, size_t part,
                   uint32_t *to)
{
    size_t ldb = (size_t)p->ldb;
    gemm_pack(l->gemm, !p->transpose_b, p->b + (p->transpose_b ? column * ldb + at : at * ldb + column), ldb, columns,
              part, to);
}

/* Where a tile goes, and what it begins with. */
static gemm_result result_of(const product *p, size_t row, size_t column)
{
    size_t at = row * (size_t)p->ldc + column;
    const float *from = p->residual != NULL ? p->residual : p->add && p->bias == NULL ? p->c : NULL;
    return (gemm_result){p->c + at, from != NULL ? from + at : NULL, (size_t)p->ldc,
                         p->bias != NULL ? p->bias + column : NULL};
}

/* What a tile reads of the block of k that begins at `at`. */
static gemm_ahead reads_of(const learner *l, const product *p, const tile *t, size_t at)
{
    size_t lda = (size_t)p->lda, k = (size_t)p->k, part = least(l->gemm->depth, k - at), row = (size_t)t->row;
    const uint32_t *b = l->packed + (size_t)t->column / GEMM_LINES * gemm_stride(l->gemm, k) + gemm_stride(l->gemm, at);
    if (p->transpose_a)
        return (gemm_ahead){p->a + at * lda + row, lda, part, (size_t)t->rows, b};
    return (gemm_ahead){p->a + row * lda + at, lda, (size_t)t->rows, part, b};
}

/* Packs the tile's part of a, a block of k at a time, and multiplies it by what learn_pack() made of b. next: the tile
 * that comes after, or NULL. */
static void packed_tile(const learner *l, const product *p, tile t, const tile *next, uint32_t *scratch)
{
    const gemm_kernels *g = l->gemm;
    size_t k = (size_t)p->k, rows = (size_t)t.rows, b_stride = gemm_stride(g, k);
    const uint32_t *b = l->packed + (size_t)t.column / GEMM_LINES * b_stride;
    gemm_result to = result_of(p, (size_t)t.row, (size_t)t.column);
    for (size_t at = 0; at < k; at += g->depth) {
        size_t part = least(g->depth, k - at);
        gemm_ahead ahead = at + part < k  ? reads_of(l, p, &t, at + part)
                           : next != NULL ? reads_of(l, p, next, 0)
                                          : (gemm_ahead){0};
        pack_a(l, p, (size_t)t.row, rows, at, part, scratch);
        g->block(scratch, gemm_stride(g, part), b + gemm_stride(g, at), b_stride, gemm_words(g, part), rows,
                 (size_t)t.columns, &to, &ahead);
        to.from = to.c;
        to.bias = NULL;
    }
}

/* Some columns of a product, by one thread. False: interrupted. */
static bool whole_columns(learner *l, const product *p, size_t column, size_t columns, uint32_t *scratch)
{
    const gemm_kernels *g = l->gemm;
    size_t m = (size_t)p->m, k = (size_t)p->k;
    for (size_t at = 0; at < k; at += g->depth) {
        size_t part = least(g->depth, k - at), stride = gemm_stride(g, part);
        uint32_t *b = scratch + gemm_packed_words(g, STRIP_ROWS, part);
        if (must_stop(l))
            return false;
        pack_b(l, p, column, columns, at, part, b);
        for (size_t row = 0; row < m; row += STRIP_ROWS) {
            size_t rows = least(STRIP_ROWS, m - row);
            gemm_result to = result_of(p, row, column);
            if (at > 0) {
                to.from = to.c;
                to.bias = NULL;
            }
            pack_a(l, p, row, rows, at, part, scratch);
            g->block(scratch, stride, b, stride, gemm_words(g, part), rows, columns, &to, &(gemm_ahead){0});
        }
    }
    return true;
}

bool whole_product(learner *l, const product *p, int thread)
{
    size_t n = (size_t)p->n;
    if (l->gemm == NULL) {
        for (int row = 0; row < p->m && !must_stop(l); row += BLAS_ROWS)
            blas_tile(l, p, (tile){row, 0, p->m - row < BLAS_ROWS ? p->m - row : BLAS_ROWS, p->n});
        return !l->stopped;
    }
    for (size_t column = 0; column < n; column += WHOLE_COLUMNS)
        if (!whole_columns(l, p, column, least(WHOLE_COLUMNS, n - column), (uint32_t *)scratch_of(l, thread)))
            return false;
    return true;
}

void learn_product(learner *l, const phase *ph, int chunk, int thread)
{
    const product *p = &ph->gemm;
    int likely = chunk + l->n_threads; /* what this thread will take next, if all are equally fast */
    tile t = tile_of(p, chunk), next = tile_of(p, likely);
    if (l->gemm == NULL)
        blas_tile(l, p, t);
    else
        packed_tile(l, p, t, likely < ph->n_chunks ? &next : NULL, (uint32_t *)scratch_of(l, thread));
}

int pack_chunks(const product *p)
{
    return p->transpose_b ? chunks_of((size_t)p->n, PACK_LINES) : chunks_of((size_t)p->k, PACK_PART);
}

/* Packs some columns of b, or some elements of each, for the product that follows. */
void learn_pack(learner *l, const phase *ph, int chunk, int thread)
{
    (void)thread;
    const product *p = &ph->gemm;
    const gemm_kernels *g = l->gemm;
    size_t n = (size_t)p->n, k = (size_t)p->k, stride = gemm_stride(g, k);
    if (p->transpose_b) {
        size_t line = (size_t)chunk * PACK_LINES;
        pack_b(l, p, line, least(PACK_LINES, n - line), 0, k, l->packed + line / GEMM_LINES * stride);
    } else {
        size_t at = (size_t)chunk * PACK_PART;
        g->pack_across(p->b + at * (size_t)p->ldb, (size_t)p->ldb, n, least(PACK_PART, k - at),
                       l->packed + gemm_stride(g, at), stride);
    }
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

/* out = dropout of x, plus y if that is not NULL; stride is the site */
void learn_dropout(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    size_t n = l->layout.hp.n_embd, begin = (size_t)chunk * TOKEN_CHUNK * n, end = token_end(l, chunk) * n;
    dropout_apply(&l->dropout, p->stride, begin, p->x + begin, p->y != NULL ? p->y + begin : NULL, p->out + begin,
                  end - begin);
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

/* A chunk is one query head of one sequence. */
void learn_attention(learner *l, const phase *p, int chunk, int thread)
{
    const hyperparameters *hp = &l->layout.hp;
    const layer_state *s = &l->layers[p->layer];
    size_t token = (size_t)chunk / hp->n_heads * hp->n_context;
    attention_forward(&l->attention, chunk % (int)hp->n_heads, s->qkv + token * hp->dims[DIM_QKV], l->first + token,
                      s->att + token * hp->dims[DIM_Q], s->lse + token * hp->n_heads, scratch_of(l, thread));
}

void learn_attention_backward(learner *l, const phase *p, int chunk, int thread)
{
    const hyperparameters *hp = &l->layout.hp;
    const layer_state *s = &l->layers[p->layer];
    size_t token = (size_t)chunk / hp->n_heads * hp->n_context;
    attention_backward(&l->attention, chunk % (int)hp->n_heads, s->qkv + token * hp->dims[DIM_QKV], l->first + token,
                       s->att + token * hp->dims[DIM_Q], s->lse + token * hp->n_heads, p->y + token * hp->dims[DIM_Q],
                       p->out + token * hp->dims[DIM_QKV], l->dkv != NULL ? l->dkv + token * 2 * hp->dims[DIM_Q] : NULL,
                       scratch_of(l, thread));
}

void learn_attention_gather(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    attention_gather(&l->attention, (size_t)chunk * TOKEN_CHUNK, token_end(l, chunk), l->dkv, p->out);
}

/* ---- feed-forward and loss ---- */

void learn_activate(learner *l, const phase *p, int chunk, int thread)
{
    (void)thread;
    const layer_state *s = &l->layers[p->layer];
    size_t n = l->layout.hp.n_ff, stride = l->ffn_stride;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++)
        math_activate(l->kernels, l->layout.recipe->activation, s->ffn[0] + t * stride,
                      s->ffn[1] != NULL ? s->ffn[1] + t * stride : NULL, l->h + t * n, n);
}

void learn_activate_backward(learner *l, const phase *p, int chunk, int thread)
{
    const layer_state *s = &l->layers[p->layer];
    size_t n = l->layout.hp.n_ff, stride = l->ffn_stride;
    bool gated = s->ffn[1] != NULL;
    for (size_t t = (size_t)chunk * TOKEN_CHUNK; t < token_end(l, chunk); t++)
        math_activate_backward(l->kernels, l->layout.recipe->activation, l->h + t * n, s->ffn[0] + t * stride,
                               gated ? s->ffn[1] + t * stride : NULL, l->dffn[0] + t * stride,
                               gated ? l->dffn[1] + t * stride : NULL, scratch_of(l, thread), n);
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
