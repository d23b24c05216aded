/*
 * bounds_body.h: the kernels of bounds_kernels.h, written once over vf (16 floats). Included by bounds_generic.c,
 * bounds_avx2.c and bounds_avx512.c, each of which brings scan().
 */
#include "recommend/bounds_kernels.h"

static void add(size_t n, const int32_t *dots, const float *scale, const float *error, const float *weight,
                const bound_terms *terms, float *score, float *slack)
{
    vf step = v_set(terms->step), length = v_set(terms->length), lost = v_set(terms->slack);
    vf all = v_set(terms->weight);

    for (size_t i = 0; i < n; i += 16) {
        vf w = weight ? v_load(weight + i) : all, s = v_load(scale + i);
        vf part = v_mul(v_mul(w, v_mul(step, s)), v_from_ints(dots + i));
        vf off = v_mul(v_abs(w), v_fma(v_load(error + i), length, v_mul(s, lost)));
        v_store(score + i, v_add(v_load(score + i), part));
        v_store(slack + i, v_add(v_load(slack + i), off));
    }
}

static float largest(size_t n, const float *x)
{
    float lane[16], most;
    vf m = v_load(x);

    for (size_t i = 16; i < n; i += 16)
        m = v_max(m, v_load(x + i));
    v_store(lane, m);
    most = lane[0];
    for (int i = 1; i < 16; i++)
        most = lane[i] > most ? lane[i] : most;
    return most;
}

static float close(size_t n, const float *base, const float *slack, float *score)
{
    vf little = v_set(0x1p-20f);

    for (size_t i = 0; i < n; i += 16)
        v_store(score + i, v_add(v_load(score + i), v_fma(little, v_abs(v_load(base + i)), v_load(slack + i))));
    return largest(n, score);
}
