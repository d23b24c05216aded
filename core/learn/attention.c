/* attention.c: see attention.h. After Dao et al., 2022 (FlashAttention), section 3.1 and appendix B.4. */
#include "learn/attention.h"

#include <math.h>
#include <string.h>

#include "learn/math.h"

static size_t row_stride(const attention *a)
{
    return (size_t)(a->n_heads + 2 * a->n_kv_heads) * (size_t)a->head_dim;
}

static float scale_of(const attention *a)
{
    return 1.0f / sqrtf((float)a->head_dim);
}

/* ---- scratch ---- */

/* Rows of scores stand so far apart that a column of them does not fall into one set of a cache. */
static size_t score_stride(size_t n_keys)
{
    return (n_keys + 15) / 16 * 16 + 16;
}

/* Words of `lines` packed lines of k elements in the precision that takes most: whole floats. */
static size_t most_words(size_t lines, size_t k)
{
    return (lines + GEMM_LINES - 1) / GEMM_LINES * GEMM_LINES * k;
}

/* Cuts a call's scratch into pieces. */
static uint32_t *take(float **scratch, size_t words)
{
    uint32_t *piece = (uint32_t *)*scratch;
    *scratch += (words + 15) / 16 * 16;
    return piece;
}

/* What forward needs: keys and values of a whole sequence, and a tile of queries with its scores. */
typedef struct forward_scratch {
    uint32_t *k; /* lines: positions */
    uint32_t *v; /* lines: columns of the head */
    uint32_t *q, *p;
    float *scores;
} forward_scratch;

static forward_scratch cut_forward(const attention *a, float **at)
{
    size_t n = (size_t)a->n_tokens, dim = (size_t)a->head_dim;
    forward_scratch s;
    s.k = take(at, most_words(n, dim));
    s.v = take(at, most_words(dim, n));
    s.q = take(at, most_words(ATTENTION_TILE, dim));
    s.p = take(at, most_words(ATTENTION_TILE, n));
    s.scores = (float *)take(at, ATTENTION_TILE * score_stride(n));
    return s;
}

/* What backward needs; "across": lines are the columns of the head, or the keys of a tile of scores. */
typedef struct backward_scratch {
    uint32_t *k, *k_across, *v;
    uint32_t *q, *q_across, *dout, *dout_across;
    uint32_t *p_across, *ds, *ds_across;
    float *p_rows, *ds_rows; /* [ATTENTION_TILE][score_stride(ATTENTION_KEYS)] */
    float *means;            /* [ATTENTION_TILE] */
} backward_scratch;

static backward_scratch cut_backward(const attention *a, float **at)
{
    size_t n = (size_t)a->n_tokens, dim = (size_t)a->head_dim;
    backward_scratch s;
    s.k = take(at, most_words(n, dim));
    s.k_across = take(at, most_words(dim, n));
    s.v = take(at, most_words(n, dim));
    s.q = take(at, most_words(ATTENTION_TILE, dim));
    s.q_across = take(at, most_words(dim, ATTENTION_TILE));
    s.dout = take(at, most_words(ATTENTION_TILE, dim));
    s.dout_across = take(at, most_words(dim, ATTENTION_TILE));
    s.p_across = take(at, most_words(ATTENTION_KEYS, ATTENTION_TILE));
    s.ds = take(at, most_words(ATTENTION_TILE, ATTENTION_KEYS));
    s.ds_across = take(at, most_words(ATTENTION_KEYS, ATTENTION_TILE));
    s.p_rows = (float *)take(at, ATTENTION_TILE * score_stride(ATTENTION_KEYS));
    s.ds_rows = (float *)take(at, ATTENTION_TILE * score_stride(ATTENTION_KEYS));
    s.means = (float *)take(at, ATTENTION_TILE);
    return s;
}

size_t attention_scratch(const attention *a)
{
    float origin[1], *forward = origin, *backward = origin;
    cut_forward(a, &forward);
    cut_backward(a, &backward);
    return (size_t)(forward > backward ? forward - origin : backward - origin);
}

/* ---- forward ---- */

/* Queries [begin, begin + rows) of a head, and keys [low, low + keys), which hold all that they see. */
typedef struct tile {
    int begin, rows, low, keys;
} tile;

/* The tile's keys begin where a panel does. */
static tile tile_at(const attention *a, int begin, const int *first)
{
    int end = begin + ATTENTION_TILE < a->n_tokens ? begin + ATTENTION_TILE : a->n_tokens;
    int low = first[begin] / GEMM_LINES * GEMM_LINES; /* first[] never falls */
    return (tile){begin, end - begin, low, end - low};
}

/* scores [rows][stride] = q k^T, of packed lines; k: those of the tile's first key on */
static void multiply_heads(const attention *a, const uint32_t *q, const uint32_t *k, const tile *t, float *scores,
                           size_t stride)
{
    size_t dim = (size_t)a->head_dim, panel = gemm_stride(a->gemm, dim);
    gemm_multiply(a->gemm, q, panel, k, panel, (size_t)t->rows, (size_t)t->keys, dim,
                  (gemm_result){scores, NULL, stride, NULL});
}

static void forward_tile(const attention *a, const tile *t, int head, const float *q, const int *first,
                         const forward_scratch *s, float *out, float *lse)
{
    const gemm_kernels *g = a->gemm;
    size_t dim = (size_t)a->head_dim, width = (size_t)a->n_heads * dim, keys = (size_t)t->keys;
    size_t stride = score_stride(keys), low = (size_t)t->low;
    gemm_pack(g, false, q + (size_t)t->begin * row_stride(a), row_stride(a), (size_t)t->rows, dim, s->q);
    multiply_heads(a, s->q, s->k + low / GEMM_LINES * gemm_stride(g, dim), t, s->scores, stride);
    for (int r = 0; r < t->rows; r++) {
        int token = t->begin + r;
        lse[token * a->n_heads + head] =
            math_softmax(a->kernels, s->scores + (size_t)r * stride, scale_of(a), (size_t)(first[token] - t->low),
                         (size_t)(token + 1 - t->low), keys);
    }
    gemm_pack(g, false, s->scores, stride, (size_t)t->rows, keys, s->p);
    gemm_multiply(g, s->p, gemm_stride(g, keys), s->v + gemm_stride(g, low), gemm_stride(g, (size_t)a->n_tokens),
                  (size_t)t->rows, dim, keys, (gemm_result){out + (size_t)t->begin * width, NULL, width, NULL});
}

void attention_forward(const attention *a, int head, const float *qkv, const int *first, float *out, float *lse,
                       float *scratch)
{
    size_t dim = (size_t)a->head_dim, n = (size_t)a->n_tokens, stride = row_stride(a);
    size_t kv_head = (size_t)(head / (a->n_heads / a->n_kv_heads));
    const float *k = qkv + ((size_t)a->n_heads + kv_head) * dim, *v = k + (size_t)a->n_kv_heads * dim;
    forward_scratch s = cut_forward(a, &scratch);
    gemm_pack(a->gemm, false, k, stride, n, dim, s.k);
    gemm_pack(a->gemm, true, v, stride, dim, n, s.v);
    for (int begin = 0; begin < a->n_tokens; begin += ATTENTION_TILE) {
        tile t = tile_at(a, begin, first);
        forward_tile(a, &t, head, qkv + (size_t)head * dim, first, &s, out + (size_t)head * dim, lse);
    }
}

/* ---- backward ---- */

/* Pointers to the rows of one head, in qkv, in dqkv, in out and in its gradient. */
typedef struct head_rows {
    int head;
    const float *q, *out, *dout;
    float *dq, *dk, *dv;
    size_t kv_stride; /* of dk and dv */
} head_rows;

/* The probabilities of a tile, from its scores and the saved logarithms of sums. */
static void make_probabilities(const attention *a, const tile *t, int head, const int *first, const float *lse,
                               float *scores, size_t stride)
{
    for (int r = 0; r < t->rows; r++) {
        int token = t->begin + r, end = token + 1 - t->low, begin = first[token] - t->low;
        float *row = scores + (size_t)r * stride;
        begin = begin < 0 ? 0 : begin > t->keys ? t->keys : begin;
        end = end < begin ? begin : end > t->keys ? t->keys : end;
        a->kernels->exp_shifted(row + begin, lse[token * a->n_heads + head], scale_of(a), row + begin,
                                (size_t)(end - begin));
        memset(row, 0, (size_t)begin * sizeof *row);
        memset(row + end, 0, (size_t)(t->keys - end) * sizeof *row);
    }
}

/* The queries of a tile, packed; and of each the sum over keys of p dp, which is the product of the output and its
 * gradient. */
static void prepare_queries(const attention *a, const tile *t, const head_rows *h, const backward_scratch *s)
{
    size_t dim = (size_t)a->head_dim, width = (size_t)a->n_heads * dim, rows = (size_t)t->rows;
    const float *q = h->q + (size_t)t->begin * row_stride(a);
    const float *out = h->out + (size_t)t->begin * width, *dout = h->dout + (size_t)t->begin * width;
    gemm_pack(a->gemm, false, q, row_stride(a), rows, dim, s->q);
    gemm_pack(a->gemm, true, q, row_stride(a), dim, rows, s->q_across);
    gemm_pack(a->gemm, false, dout, width, rows, dim, s->dout);
    gemm_pack(a->gemm, true, dout, width, dim, rows, s->dout_across);
    for (size_t r = 0; r < rows; r++)
        s->means[r] = math_dot(out + r * width, dout + r * width, dim);
}

/* out [keys][dim] += scores^T x, of what is packed across */
static void add_to_keys(const attention *a, const tile *t, const uint32_t *scores, const uint32_t *x, float *out,
                        size_t stride)
{
    size_t rows = (size_t)t->rows, panel = gemm_stride(a->gemm, rows);
    float *at = out + (size_t)t->low * stride;
    gemm_multiply(a->gemm, scores, panel, x, panel, (size_t)t->keys, (size_t)a->head_dim, rows,
                  (gemm_result){at, at, stride, NULL});
}

/* Some of the keys that a tile of queries sees; `begins`: dq is not there yet. */
static void backward_keys(const attention *a, const tile *t, const head_rows *h, const int *first, const float *lse,
                          const backward_scratch *s, bool begins)
{
    const gemm_kernels *g = a->gemm;
    size_t dim = (size_t)a->head_dim, keys = (size_t)t->keys, rows = (size_t)t->rows, low = (size_t)t->low;
    size_t stride = score_stride(ATTENTION_KEYS), at_key = low / GEMM_LINES * gemm_stride(g, dim);
    float *dq = h->dq + (size_t)t->begin * row_stride(a);
    multiply_heads(a, s->q, s->k + at_key, t, s->p_rows, stride);
    make_probabilities(a, t, h->head, first, lse, s->p_rows, stride);
    gemm_pack(g, true, s->p_rows, stride, keys, rows, s->p_across);
    add_to_keys(a, t, s->p_across, s->dout_across, h->dv, h->kv_stride);
    multiply_heads(a, s->dout, s->v + at_key, t, s->ds_rows, stride);
    for (size_t r = 0; r < rows; r++)
        math_softmax_backward(s->p_rows + r * stride, s->ds_rows + r * stride, s->means[r], scale_of(a), keys);
    gemm_pack(g, false, s->ds_rows, stride, rows, keys, s->ds);
    gemm_pack(g, true, s->ds_rows, stride, keys, rows, s->ds_across);
    gemm_multiply(g, s->ds, gemm_stride(g, keys), s->k_across + gemm_stride(g, low),
                  gemm_stride(g, (size_t)a->n_tokens), rows, dim, keys,
                  (gemm_result){dq, begins ? NULL : dq, row_stride(a), NULL});
    add_to_keys(a, t, s->ds_across, s->q_across, h->dk, h->kv_stride);
}

static void backward_head(const attention *a, const head_rows *h, const int *first, const float *lse,
                          const backward_scratch *s)
{
    for (int begin = 0; begin < a->n_tokens; begin += ATTENTION_TILE) {
        tile all = tile_at(a, begin, first);
        prepare_queries(a, &all, h, s);
        for (int key = 0; key < all.keys; key += ATTENTION_KEYS) {
            int keys = all.keys - key < ATTENTION_KEYS ? all.keys - key : ATTENTION_KEYS;
            tile t = {begin, all.rows, all.low + key, keys};
            backward_keys(a, &t, h, first, lse, s, key == 0);
        }
    }
}

/* Where the gradients of a head go. Those of keys and values are added up from zero. */
static head_rows open_head(const attention *a, int head, float *dqkv, float *dkv)
{
    size_t dim = (size_t)a->head_dim, width = (size_t)a->n_heads * dim;
    bool shared = a->n_heads > a->n_kv_heads;
    head_rows h = {.head = head, .dq = dqkv + (size_t)head * dim, .kv_stride = shared ? 2 * width : row_stride(a)};
    h.dk = shared ? dkv + (size_t)head * 2 * dim : h.dq + width;
    h.dv = shared ? h.dk + dim : h.dk + width;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        memset(h.dk + t * h.kv_stride, 0, dim * sizeof *h.dk);
        memset(h.dv + t * h.kv_stride, 0, dim * sizeof *h.dv);
    }
    return h;
}

void attention_backward(const attention *a, int head, const float *qkv, const int *first, const float *out,
                        const float *lse, const float *dout, float *dqkv, float *dkv, float *scratch)
{
    size_t stride = row_stride(a), dim = (size_t)a->head_dim, n = (size_t)a->n_tokens;
    size_t kv_head = (size_t)(head / (a->n_heads / a->n_kv_heads));
    const float *k = qkv + ((size_t)a->n_heads + kv_head) * dim, *v = k + (size_t)a->n_kv_heads * dim;
    backward_scratch s = cut_backward(a, &scratch);
    head_rows h = open_head(a, head, dqkv, dkv);
    h.q = qkv + (size_t)head * dim;
    h.out = out + (size_t)head * dim;
    h.dout = dout + (size_t)head * dim;
    gemm_pack(a->gemm, false, k, stride, n, dim, s.k);
    gemm_pack(a->gemm, true, k, stride, dim, n, s.k_across);
    gemm_pack(a->gemm, false, v, stride, n, dim, s.v);
    backward_head(a, &h, first, lse, &s);
}

void attention_gather(const attention *a, size_t begin, size_t end, const float *dkv, float *dqkv)
{
    size_t dim = (size_t)a->head_dim, group = (size_t)(a->n_heads / a->n_kv_heads);
    size_t from_stride = 2 * (size_t)a->n_heads * dim, kv_width = (size_t)a->n_kv_heads * dim;
    for (size_t t = begin; t < end; t++)
        for (size_t kv_head = 0; kv_head < (size_t)a->n_kv_heads; kv_head++) {
            const float *from = dkv + t * from_stride + kv_head * group * 2 * dim;
            float *dk = dqkv + t * row_stride(a) + (size_t)a->n_heads * dim + kv_head * dim, *dv = dk + kv_width;
            memcpy(dk, from, dim * sizeof *dk);
            memcpy(dv, from + dim, dim * sizeof *dv);
            for (size_t h = 1; h < group; h++) {
                a->kernels->add(dk, from + h * 2 * dim, dim);
                a->kernels->add(dv, from + h * 2 * dim + dim, dim);
            }
        }
}
