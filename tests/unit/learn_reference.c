/* learn_reference.c: see learn_reference.h. */
#include "learn_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64's finaliser */
double formula_unit(uint64_t i)
{
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (double)(x >> 40) / (double)(1 << 23) - 1;
}

void formula_weights(const learn_layout *layout, double spread, float *weights)
{
    for (int i = 0; i < layout->n_tensors; i++) {
        const learn_tensor *t = &layout->tensors[i];

        for (size_t j = 0; j < t->k * t->rows; j++)
            weights[t->offset + j] =
                (float)((double)t->start + spread * formula_unit((uint64_t)i * 1000000 + (uint64_t)j));
    }
}

void formula_batch(int n_vocab, int n_sequences, int n_context, int document_length, int number, int32_t *ids,
                   int32_t *targets, int32_t *first)
{
    int n = n_sequences * n_context;
    uint64_t base = 1000000000000 + (uint64_t)number * (uint64_t)n;

    for (int t = 0; t < n; t++) {
        int position = t % n_context;

        /* Squared, so that some tokens are more frequent and there is something to learn. */
        ids[t] = (int32_t)(pow((formula_unit(base + (uint64_t)t) + 1) / 2, 2) * n_vocab);
        first[t] = position == 0 ? 0 : first[t - 1];
        if (position > 0 && (t + number * 3) % document_length == 0)
            first[t] = position;
    }
    for (int t = 0; t < n; t++)
        targets[t] = t % n_context == n_context - 1 || first[t + 1] != first[t] ? -1 : ids[t + 1];
}

/* ---- the transformer ---- */

typedef struct model {
    const learn_layout *layout;
    const double *weights;
    int n, n_embd, n_heads, n_kv, head_dim, n_ff; /* n: tokens of a sequence */
    const dropout *drop;                          /* NULL: none */
    int sequence;
} model;

static const double *tensor(const model *m, int i)
{
    return i == NO_TENSOR ? NULL : m->weights + m->layout->tensors[i].offset;
}

/* x[n][n_embd], some of it left out */
static void leave_out(const model *m, int site, double *x)
{
    size_t n = (size_t)(m->n * m->n_embd);

    for (size_t i = 0; m->drop && i < n; i++)
        x[i] *= (double)dropout_factor(m->drop, (uint64_t)site, (uint64_t)m->sequence * n + i);
}

static double *doubles(size_t n)
{
    double *p = calloc(n, sizeof *p);

    if (!p)
        abort();
    return p;
}

/* y[n][rows] = x[n][k] W^T + b, y and x rows apart by their own strides */
static void linear(const model *m, int w, int b, const double *x, int k, double *y, int y_stride)
{
    const double *rows_of = tensor(m, w), *bias = tensor(m, b);
    int rows = (int)m->layout->tensors[w].rows;

    for (int t = 0; t < m->n; t++)
        for (int r = 0; r < rows; r++) {
            double sum = bias ? bias[r] : 0;

            for (int i = 0; i < k; i++)
                sum += rows_of[r * k + i] * x[t * k + i];
            y[t * y_stride + r] = sum;
        }
}

static void norm(const model *m, int w, int b, const double *x, double *y)
{
    const double *weight = tensor(m, w), *bias = tensor(m, b);
    int n = m->n_embd;

    for (int t = 0; t < m->n; t++) {
        double mean = 0, square = 0;

        for (int i = 0; m->layout->recipe->norm == NORM_LAYER && i < n; i++)
            mean += x[t * n + i] / n;
        for (int i = 0; i < n; i++)
            square += (x[t * n + i] - mean) * (x[t * n + i] - mean) / n;
        for (int i = 0; i < n; i++)
            y[t * n + i] = (x[t * n + i] - mean) / sqrt(square + (double)m->layout->hp.norm_eps) * weight[i] +
                           (bias ? bias[i] : 0);
    }
}

static void rotate(const model *m, double *head, int position)
{
    int half = m->head_dim / 2;
    int pairs = m->layout->recipe->position == POSITION_ROPE_PAIRS;

    for (int i = 0; i < half; i++) {
        double angle = position * pow((double)m->layout->hp.rope_base, -2.0 * i / m->head_dim);
        double *a = head + (pairs ? 2 * i : i), *b = head + (pairs ? 2 * i + 1 : i + half), x = *a, y = *b;

        *a = x * cos(angle) - y * sin(angle);
        *b = x * sin(angle) + y * cos(angle);
    }
}

static void attend(const model *m, const double *qkv, const int32_t *first, double *out)
{
    int stride = (m->n_heads + 2 * m->n_kv) * m->head_dim, d = m->head_dim;
    double *p = doubles((size_t)m->n);

    for (int h = 0; h < m->n_heads; h++)
        for (int t = 0; t < m->n; t++) {
            const double *q = qkv + t * stride + h * d, *k = qkv + (m->n_heads + h / (m->n_heads / m->n_kv)) * d;
            const double *v = k + m->n_kv * d;
            double sum = 0;

            for (int s = first[t]; s <= t; s++) {
                p[s] = 0;
                for (int i = 0; i < d; i++)
                    p[s] += q[i] * k[s * stride + i];
                p[s] = exp(p[s] / sqrt(d));
                sum += p[s];
            }
            for (int i = 0; i < d; i++) {
                double *o = &out[(t * m->n_heads + h) * d + i];

                *o = 0;
                for (int s = first[t]; s <= t; s++)
                    *o += p[s] / sum * v[s * stride + i];
            }
        }
    free(p);
}

static void attention_block(const model *m, int number, const int32_t *first, double *x)
{
    const layer_tensors *l = &m->layout->layers[number];
    int q = m->n_heads * m->head_dim, kv = m->n_kv * m->head_dim, stride = q + 2 * kv;
    double *y = doubles((size_t)(m->n * m->n_embd)), *qkv = doubles((size_t)(m->n * stride));
    double *att = doubles((size_t)(m->n * q));

    norm(m, l->weight[ATTN_NORM], l->bias[ATTN_NORM], x, y);
    if (l->weight[ATTN_QKV] != NO_TENSOR) {
        linear(m, l->weight[ATTN_QKV], l->bias[ATTN_QKV], y, m->n_embd, qkv, stride);
    } else {
        linear(m, l->weight[ATTN_Q], l->bias[ATTN_Q], y, m->n_embd, qkv, stride);
        linear(m, l->weight[ATTN_K], l->bias[ATTN_K], y, m->n_embd, qkv + q, stride);
        linear(m, l->weight[ATTN_V], l->bias[ATTN_V], y, m->n_embd, qkv + q + kv, stride);
    }
    for (int t = 0; m->layout->recipe->position != POSITION_LEARNED && t < m->n; t++)
        for (int h = 0; h < m->n_heads + m->n_kv; h++)
            rotate(m, qkv + t * stride + h * m->head_dim, t - first[t]);
    attend(m, qkv, first, att);
    linear(m, l->weight[ATTN_OUTPUT], l->bias[ATTN_OUTPUT], att, q, y, m->n_embd);
    leave_out(m, 2 * number + 1, y);
    for (int i = 0; i < m->n * m->n_embd; i++)
        x[i] += y[i];
    free(y);
    free(qkv);
    free(att);
}

static void ffn_block(const model *m, int number, double *x)
{
    const layer_tensors *l = &m->layout->layers[number];
    size_t wide = (size_t)(m->n * m->n_ff);
    double *y = doubles((size_t)(m->n * m->n_embd)), *h = doubles(wide), *up = doubles(wide);

    norm(m, l->weight[FFN_NORM], l->bias[FFN_NORM], x, y);
    linear(m, l->weight[FFN_UP], l->bias[FFN_UP], y, m->n_embd, up, m->n_ff);
    if (l->weight[FFN_GATE] != NO_TENSOR)
        linear(m, l->weight[FFN_GATE], l->bias[FFN_GATE], y, m->n_embd, h, m->n_ff);
    for (size_t i = 0; i < wide; i++) {
        double u = up[i];

        if (m->layout->recipe->activation == ACTIVATION_SILU)
            h[i] = h[i] / (1 + exp(-h[i])) * u;
        else
            h[i] = 0.5 * u * (1 + tanh(sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
    }
    linear(m, l->weight[FFN_DOWN], l->bias[FFN_DOWN], h, m->n_ff, y, m->n_embd);
    leave_out(m, 2 * number + 2, y);
    for (int i = 0; i < m->n * m->n_embd; i++)
        x[i] += y[i];
    free(y);
    free(h);
    free(up);
}

static double sequence_loss(const model *m, const int32_t *ids, const int32_t *targets, const int32_t *first)
{
    const learn_layout *layout = m->layout;
    int n_vocab = (int)layout->hp.n_vocab, n = m->n_embd;
    double *x = doubles((size_t)(m->n * n)), *y = doubles((size_t)(m->n * n));
    double *logits = doubles((size_t)(m->n * n_vocab)), loss = 0;

    for (int t = 0; t < m->n; t++)
        for (int i = 0; i < n; i++) {
            x[t * n + i] = tensor(m, layout->token_embd)[ids[t] * n + i];
            if (layout->position_embd != NO_TENSOR)
                x[t * n + i] += tensor(m, layout->position_embd)[(t - first[t]) * n + i];
        }
    leave_out(m, 0, x);
    for (int i = 0; i < (int)layout->hp.n_layers; i++) {
        attention_block(m, i, first, x);
        ffn_block(m, i, x);
    }
    norm(m, layout->output_norm, layout->output_norm_bias, x, y);
    linear(m, layout->output, NO_TENSOR, y, n, logits, n_vocab);
    for (int t = 0; t < m->n; t++) {
        double sum = 0;

        for (int i = 0; i < n_vocab; i++)
            sum += exp(logits[t * n_vocab + i]);
        if (targets[t] >= 0)
            loss += log(sum) - logits[t * n_vocab + targets[t]];
    }
    free(x);
    free(y);
    free(logits);
    return loss;
}

double reference_loss(const learn_layout *layout, const double *weights, const learn_batch *batch, int n_sequences)
{
    return reference_loss_dropped(layout, weights, batch, n_sequences, NULL);
}

double reference_loss_dropped(const learn_layout *layout, const double *weights, const learn_batch *batch,
                              int n_sequences, const dropout *drop)
{
    const hyperparameters *hp = &layout->hp;
    model m = {layout,
               weights,
               (int)hp->n_context,
               (int)hp->n_embd,
               (int)hp->n_heads,
               (int)hp->n_kv_heads,
               (int)hp->head_dim,
               (int)hp->n_ff,
               drop,
               0};
    double loss = 0;

    for (int s = 0; s < n_sequences; s++) {
        m.sequence = s;
        loss += sequence_loss(&m, batch->ids + s * m.n, batch->targets + s * m.n, batch->first + s * m.n);
    }
    return loss;
}
