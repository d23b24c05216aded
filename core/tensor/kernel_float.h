/*
 * kernel_float.h: matrix products with float weights (F32, F16, BF16), written once for the levels whose vf holds 16
 * floats. Tiles of rows and tokens keep their sums in registers; for many tokens a panel of rows is made float first.
 */
#ifndef AIGC_TENSOR_KERNEL_FLOAT_H
#define AIGC_TENSOR_KERNEL_FLOAT_H

#include <string.h>

#include "tensor/kernel_acts.h"

/* Tokens from which converting a panel to float costs less than converting in every tile. */
enum { FLOAT_CONVERT_TOKENS = 8 };

/* Most tokens that go with one row at a time; FLOAT_TOKENS is not more. */
enum { FLOAT_STREAM_TOKENS = 4 };

typedef struct float_job {
    const char *w; /* first row */
    size_t row_bytes, k;
    const char *acts; /* first token */
    size_t act_bytes;
    float *out; /* of the first row and token */
    size_t out_stride;
} float_job;

static inline __attribute__((always_inline)) vf weights16(tensor_type type, const char *w, size_t i)
{
    switch (type) {
    case TYPE_F32:
        return v_load((const float *)w + i);
    case TYPE_F16:
        return v_load_half((const uint16_t *)w + i);
    default:
        return v_load_bf16((const uint16_t *)w + i);
    }
}

static inline __attribute__((always_inline)) vf weights_n(tensor_type type, const char *w, size_t i, size_t n)
{
    switch (type) {
    case TYPE_F32:
        return v_load_n((const float *)w + i, n);
    case TYPE_F16:
        return v_load_half_n((const uint16_t *)w + i, n);
    default:
        return v_load_bf16_n((const uint16_t *)w + i, n);
    }
}

/* rows by tokens outputs; all three of type, rows and tokens are constants where this is inlined. */
static inline __attribute__((always_inline)) void float_tile(tensor_type type, int rows, int tokens,
                                                             const float_job *job, int r, int t)
{
    const char *w = job->w + r * job->row_bytes, *acts = job->acts + t * job->act_bytes;
    vf acc[FLOAT_ROWS][FLOAT_STREAM_TOKENS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < tokens; j++)
            acc[i][j] = v_set(0);
    for (size_t p = 0; p < job->k; p += 16) {
        vf x[FLOAT_STREAM_TOKENS];
        for (int j = 0; j < tokens; j++)
            x[j] = v_load((const float *)(acts + j * job->act_bytes) + p);
        for (int i = 0; i < rows; i++) {
            const char *wi = w + i * job->row_bytes;
            vf weight = p + 16 <= job->k ? weights16(type, wi, p) : weights_n(type, wi, p, job->k - p);
            for (int j = 0; j < tokens; j++)
                acc[i][j] = v_fma(weight, x[j], acc[i][j]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < tokens; j++)
            job->out[(t + j) * job->out_stride + r + i] = v_tree(acc[i][j]);
}

/* Few tokens, a constant: one row at a time, which reads it as one stream. */
static inline __attribute__((always_inline)) void float_rows(tensor_type type, const float_job *job, int rows,
                                                             int tokens)
{
    for (int r = 0; r < rows; r++)
        float_tile(type, 1, tokens, job, r, 0);
}

static inline __attribute__((always_inline)) void float_panel(tensor_type type, const float_job *job, int rows,
                                                              int n_tokens)
{
    switch (n_tokens) {
    case 1:
        float_rows(type, job, rows, 1);
        return;
    case 2:
        float_rows(type, job, rows, 2);
        return;
    case 3:
        float_rows(type, job, rows, 3);
        return;
    case 4:
        float_rows(type, job, rows, 4);
        return;
    }
    for (int t = 0; t < n_tokens;) {
        int tokens = t + FLOAT_TOKENS <= n_tokens ? FLOAT_TOKENS : 1, r = 0;
        for (; r + FLOAT_ROWS <= rows; r += FLOAT_ROWS) {
            if (tokens == 1)
                float_tile(type, FLOAT_ROWS, 1, job, r, t);
            else
                float_tile(type, FLOAT_ROWS, FLOAT_TOKENS, job, r, t);
        }
        for (; r < rows; r++) {
            if (tokens == 1)
                float_tile(type, 1, 1, job, r, t);
            else
                float_tile(type, 1, FLOAT_TOKENS, job, r, t);
        }
        t += tokens;
    }
}

static void float_panel_typed(tensor_type type, const float_job *job, int rows, int n_tokens)
{
    if (type == TYPE_F32)
        float_panel(TYPE_F32, job, rows, n_tokens);
    else if (type == TYPE_F16)
        float_panel(TYPE_F16, job, rows, n_tokens);
    else
        float_panel(TYPE_BF16, job, rows, n_tokens);
}

static void to_float_row(tensor_type type, const char *w, float *out, size_t k)
{
    size_t i = 0;
    for (; i + 16 <= k; i += 16)
        v_store(out + i, weights16(type, w, i));
    if (i < k)
        v_store(out + i, weights_n(type, w, i, k - i));
}

static void matmul_float(tensor_type type, float_job job, int rows, int n_tokens, float *scratch)
{
    bool convert = type != TYPE_F32 && n_tokens >= FLOAT_CONVERT_TOKENS;
    size_t padded = act_pad(job.k, 16);
    for (int r = 0; r < rows; r += KERNEL_PANEL_ROWS) {
        int n = rows - r < KERNEL_PANEL_ROWS ? rows - r : KERNEL_PANEL_ROWS;
        float_job panel = job;
        panel.w += r * job.row_bytes;
        panel.out += r;
        if (convert) {
            for (int i = 0; i < n; i++)
                to_float_row(type, panel.w + i * job.row_bytes, scratch + i * padded, job.k);
            panel.w = (const char *)scratch;
            panel.row_bytes = padded * sizeof(float);
        }
        float_panel_typed(convert ? TYPE_F32 : type, &panel, n, n_tokens);
    }
}

#endif
