/* dense_vec_generic.h: vf, 16 floats in plain C, for dense_body.h. Only what that needs. */
#ifndef AIGC_RECOMMEND_DENSE_VEC_GENERIC_H
#define AIGC_RECOMMEND_DENSE_VEC_GENERIC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "recommend/half.h"

typedef struct vf {
    float lane[16];
} vf;

static inline vf v_set(float x)
{
    vf v;
    for (int i = 0; i < 16; i++)
        v.lane[i] = x;
    return v;
}

static inline vf v_load(const float *p)
{
    vf v;
    for (int i = 0; i < 16; i++)
        v.lane[i] = p[i];
    return v;
}

static inline void v_store(float *p, vf v)
{
    for (int i = 0; i < 16; i++)
        p[i] = v.lane[i];
}

static inline vf v_mul(vf a, vf b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] *= b.lane[i];
    return a;
}

static inline vf v_fma(vf a, vf b, vf c)
{
    for (int i = 0; i < 16; i++)
        c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

static inline vf v_load_half(const uint16_t *p)
{
    vf v;
    for (int i = 0; i < 16; i++)
        v.lane[i] = half_to_float(p[i]);
    return v;
}

static inline void v_store_half(uint16_t *p, vf v)
{
    for (int i = 0; i < 16; i++)
        p[i] = half_from_float(v.lane[i]);
}

static inline float v_tree(vf v)
{
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            v.lane[i] += v.lane[i + width];
    return v.lane[0];
}

/* Bit l: a[l] >= b[l]; never for NaN. */
static inline uint32_t v_reaches(vf a, vf b)
{
    uint32_t mask = 0;

    for (int i = 0; i < 16; i++)
        mask |= (uint32_t)(a.lane[i] >= b.lane[i]) << i;
    return mask;
}

#endif
