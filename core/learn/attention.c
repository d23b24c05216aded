/* attention.c: see attention.h. After Dao et al., 2022 (FlashAttention), section 3.1 and appendix B.4. */
#include "learn/attention.h"

#include <math.h>
#include <string.h>

#include "learn/math.h"

/* The queries of one head from `begin` to `end`, and the keys from `low` to `end` that any of them sees. */
typedef struct tile {
    int begin, rows, low, keys;
} tile;

static tile tile_at(const attention *a, int begin, const int *first)
{
    int end = begin + ATTENTION_TILE < a->n_tokens ? begin + ATTENTION_TILE : a->n_tokens;
    return (tile){begin, end - begin, first[begin], end - first[begin]}; /* first[] never falls */
}

static int row_stride(const attention *a)
{
    return (a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
}

static float scale_of(const attention *a)
{
    return 1.0f / sqrtf((float)a->head_dim);
}

size_t attention_scratch(const attention *a)
{
    return 2 * (size_t)ATTENTION_TILE * (size_t)a->n_tokens;
}

/* scores [rows][keys] = q k^T / sqrt(head_dim) */
static void make_scores(const attention *a, const tile *t, const float *q, const float *k, float *scores)
{
    int stride = row_stride(a);
    a->sgemm(false, true, t->rows, t->keys, a->head_dim, scale_of(a), q + (size_t)t->begin * (size_t)stride, stride,
             k + (size_t)t->low * (size_t)stride, stride, 0, scores, t->keys);
}

void attention_forward(const attention *a, int kv_head, const float *qkv, const int *first, float *out, float *lse,
                       float *scratch)
{
    int stride = row_stride(a), group = a->n_heads / a->n_kv_heads, width = a->n_heads * a->head_dim;
    const float *k = qkv + (size_t)(a->n_heads + kv_head) * (size_t)a->head_dim;
    const float *v = k + (size_t)a->n_kv_heads * (size_t)a->head_dim;
    for (int h = kv_head * group; h < (kv_head + 1) * group; h++)
        for (int begin = 0; begin < a->n_tokens; begin += ATTENTION_TILE) {
            tile t = tile_at(a, begin, first);
            size_t head = (size_t)h * (size_t)a->head_dim;
            make_scores(a, &t, qkv + head, k, scratch);
            for (int r = 0; r < t.rows; r++)
                lse[(begin + r) * a->n_heads + h] =
                    math_softmax(a->kernels, scratch + (size_t)r * (size_t)t.keys, (size_t)(first[begin + r] - t.low),
                                 (size_t)(begin + r + 1 - t.low), (size_t)t.keys);
            a->sgemm(false, false, t.rows, a->head_dim, t.keys, 1, scratch, t.keys, v + (size_t)t.low * (size_t)stride,
                     stride, 0, out + (size_t)begin * (size_t)width + head, width);
        }
}

/* The probabilities of a tile from its scores and the saved logarithms of sums. */
static void make_probabilities(const attention *a, const tile *t, int h, const int *first, const float *lse, float *p)
{
    for (int r = 0; r < t->rows; r++) {
        int token = t->begin + r;
        float *row = p + (size_t)r * (size_t)t->keys;
        size_t begin = (size_t)(first[token] - t->low), end = (size_t)(token + 1 - t->low);
        a->kernels->exp_shifted(row + begin, lse[token * a->n_heads + h], 1, row + begin, end - begin);
        memset(row, 0, begin * sizeof *row);
        memset(row + end, 0, ((size_t)t->keys - end) * sizeof *row);
    }
}

/* Pointers to the rows of one head, in qkv and in dqkv. */
typedef struct head_rows {
    const float *q, *k, *v;
    float *dq, *dk, *dv;
} head_rows;

static void backward_tile(const attention *a, const tile *t, int h, const head_rows *rows, const int *first,
                          const float *out, const float *lse, const float *dout, float *scratch)
{
    int stride = row_stride(a), width = a->n_heads * a->head_dim;
    size_t q_at = (size_t)t->begin * (size_t)stride, k_at = (size_t)t->low * (size_t)stride;
    size_t out_at = (size_t)t->begin * (size_t)width + (size_t)h * (size_t)a->head_dim;
    float *p = scratch, *ds = scratch + (size_t)ATTENTION_TILE * (size_t)a->n_tokens;
    make_scores(a, t, rows->q, rows->k, p);
    make_probabilities(a, t, h, first, lse, p);
    a->sgemm(true, false, t->keys, a->head_dim, t->rows, 1, p, t->keys, dout + out_at, width, 1, rows->dv + k_at,
             stride);
    a->sgemm(false, true, t->rows, t->keys, a->head_dim, 1, dout + out_at, width, rows->v + k_at, stride, 0, ds,
             t->keys);
    for (int r = 0; r < t->rows; r++) {
        /* Sum over keys of p dp is the product of the output and its gradient. */
        size_t at = out_at + (size_t)r * (size_t)width, row = (size_t)r * (size_t)t->keys;
        float mean = math_dot(out + at, dout + at, (size_t)a->head_dim);
        math_softmax_backward(p + row, ds + row, mean, scale_of(a), (size_t)t->keys);
    }
    a->sgemm(false, false, t->rows, a->head_dim, t->keys, 1, ds, t->keys, rows->k + k_at, stride, 0, rows->dq + q_at,
             stride);
    a->sgemm(true, false, t->keys, a->head_dim, t->rows, 1, ds, t->keys, rows->q + q_at, stride, 1, rows->dk + k_at,
             stride);
}

void attention_backward(const attention *a, int kv_head, const float *qkv, const int *first, const float *out,
                        const float *lse, const float *dout, float *dqkv, float *scratch)
{
    size_t stride = (size_t)row_stride(a), head_dim = (size_t)a->head_dim;
    int group = a->n_heads / a->n_kv_heads;
    size_t k_head = (size_t)(a->n_heads + kv_head) * head_dim, v_head = k_head + (size_t)a->n_kv_heads * head_dim;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        memset(dqkv + t * stride + k_head, 0, head_dim * sizeof *dqkv);
        memset(dqkv + t * stride + v_head, 0, head_dim * sizeof *dqkv);
    }
    for (int h = kv_head * group; h < (kv_head + 1) * group; h++) {
        size_t q_head = (size_t)h * head_dim;
        head_rows rows = {qkv + q_head, qkv + k_head, qkv + v_head, dqkv + q_head, dqkv + k_head, dqkv + v_head};
        for (int begin = 0; begin < a->n_tokens; begin += ATTENTION_TILE) {
            tile t = tile_at(a, begin, first);
            backward_tile(a, &t, h, &rows, first, out, lse, dout, scratch);
        }
    }
}
