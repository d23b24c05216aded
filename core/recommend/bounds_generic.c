/* bounds_generic.c: the kernels of bounds_kernels.h in plain C. */
#include "recommend/coarse.h"
#include "recommend/dense_vec_generic.h"

static inline vf v_add(vf a, vf b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] += b.lane[i];
    return a;
}

static inline vf v_abs(vf a)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = fabsf(a.lane[i]);
    return a;
}

static inline vf v_max(vf a, vf b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}

static inline vf v_from_ints(const int32_t *x)
{
    vf v;
    for (int i = 0; i < 16; i++)
        v.lane[i] = (float)x[i];
    return v;
}

#include "recommend/bounds_body.h"

static void scan(const int8_t *rows, size_t n, size_t width, const int16_t *q, int32_t *out)
{
    for (size_t r = 0; r < n; r++, rows += width) {
        int32_t sum = 0;
        for (size_t i = 0; i < width; i++)
            sum += rows[i] * q[i];
        out[r] = sum;
    }
}

const bound_kernels bound_generic = {scan, add, close, largest};
