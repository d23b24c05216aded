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
    size_t bytes = act_row_bytes(ACT_F32, f->adapters[adapter].adapter->most_rank);
    return f->thin[adapter][role] + (size_t)t * bytes;
}

void adapt_input(forward *f, int t, const float *x, size_t n, const layer_role *roles, int n_roles, int thread)
{
    thread_scratch *s = &f->threads[thread];
    void *input = f->acts[ACT_F32] + (size_t)t * act_row_bytes(ACT_F32, n);
    if (f->n_adapters > 0)
        f->kernels->prepare(ACT_F32, x, input, n);
    for (int i = 0; i < f->n_adapters; i++)
        for (int r = 0; r < n_roles; r++) {
            const adapter_pair *pair = pair_of(f, i, roles[r]);
            if (pair == NULL)
                continue;
            f->kernels->matmul(pair->a.type, pair->a.data, pair->a.row_bytes, pair->a.k, 0, (int)pair->rank, input, 1,
                               s->thin, pair->rank, s->matmul);
            f->kernels->scale(s->thin, pair->scale * f->adapters[i].scale, pair->rank);
            f->kernels->prepare(ACT_F32, s->thin, thin_row(f, i, roles[r], t), pair->rank);
        }
}

void adapt_output(forward *f, layer_role role, int t, int begin, int end, float *out, int thread)
{
    thread_scratch *s = &f->threads[thread];
    size_t n = (size_t)(end - begin);
    for (int i = 0; i < f->n_adapters; i++) {
        const adapter_pair *pair = pair_of(f, i, role);
        if (pair == NULL)
            continue;
        f->kernels->matmul(pair->b.type, pair->b.data, pair->b.row_bytes, pair->rank, begin, end,
                           thin_row(f, i, role, t), 1, s->thin, n, s->matmul);
        f->kernels->add(out, s->thin, n);
    }
}
