/*
 * forward_adapter.c: what adapters add to the matrix products of the layers: y += scale * B (A x), for each adapter in
 * turn, in float, after the model's own product and before its bias.
 *
 * A x is made of each token by itself, in the phase that prepares x, and B times it of each token and row by itself, so
 * neither batches nor threads change a bit.
 */
#include <string.h>

#include "model/forward_state.h"

static const adapter_pair *pair_of(const forward *f, int adapter, layer_role role)
{
    const adapter_pair *pair = &f->adapters[adapter].adapter->layers[f->layer].pairs[role];
    return pair->a.data != NULL ? pair : NULL;
}

static unsigned char *thin_row(const forward *f, int adapter, layer_role role, int t)
{
    return f->thin[adapter][role] + (size_t)t * act_row_bytes(ACT_F32, pair_of(f, adapter, role)->rank);
}

void adapt_prepare(forward *f, int t, const float *x, size_t n)
{
    if (f->n_adapters > 0)
        f->kernels->prepare(ACT_F32, x, f->acts[ACT_F32] + (size_t)t * act_row_bytes(ACT_F32, n), n);
}

/* A x, scaled, of some tokens whose results fit into the thread's scratch together. */
static void make_thin(forward *f, int adapter, layer_role role, int first, int n_tokens, thread_scratch *s)
{
    const adapter_pair *pair = pair_of(f, adapter, role);
    const unsigned char *x = f->acts[ACT_F32] + (size_t)first * act_row_bytes(ACT_F32, pair->a.k);
    f->kernels->matmul(pair->a.type, pair->a.data, pair->a.row_bytes, pair->a.k, 0, (int)pair->rank, x, n_tokens,
                       s->thin, pair->rank, s->matmul);
    f->kernels->scale(s->thin, pair->scale * f->adapters[adapter].scale, pair->rank * (size_t)n_tokens);
    for (int t = 0; t < n_tokens; t++)
        f->kernels->prepare(ACT_F32, s->thin + (size_t)t * pair->rank, thin_row(f, adapter, role, first + t),
                            pair->rank);
}

void adapt_input(forward *f, int first, int end, const layer_role *roles, int n_roles, int thread)
{
    for (int i = 0; i < f->n_adapters; i++)
        for (int r = 0; r < n_roles; r++) {
            const adapter_pair *pair = pair_of(f, i, roles[r]);
            int together = pair != NULL ? (int)(f->thin_floats / pair->rank) : 1;
            for (int t = first; pair != NULL && t < end; t += together)
                make_thin(f, i, roles[r], t, end - t < together ? end - t : together, &f->threads[thread]);
        }
}

/* For some tokens, whose results fit into the thread's scratch together. */
static void add_pair(forward *f, const adapter_pair *pair, const unsigned char *rows, int n_tokens, int begin, int end,
                     float *out, size_t out_stride, thread_scratch *s)
{
    size_t n = (size_t)(end - begin);
    f->kernels->matmul(pair->b.type, pair->b.data, pair->b.row_bytes, pair->rank, begin, end, rows, n_tokens, s->thin,
                       n, s->matmul);
    for (int t = 0; t < n_tokens; t++)
        f->kernels->add(out + (size_t)t * out_stride, s->thin + (size_t)t * n, n);
}

void adapt_output(forward *f, layer_role role, int n_tokens, int begin, int end, float *out, size_t out_stride,
                  int thread)
{
    int together = (int)(f->thin_floats / (size_t)(end - begin));
    for (int i = 0; i < f->n_adapters; i++) {
        const adapter_pair *pair = pair_of(f, i, role);
        for (int t = 0; pair != NULL && t < n_tokens; t += together)
            add_pair(f, pair, thin_row(f, i, role, t), n_tokens - t < together ? n_tokens - t : together, begin, end,
                     out + (size_t)t * out_stride, out_stride, &f->threads[thread]);
    }
}
