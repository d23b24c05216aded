/* coarse.c: see coarse.h. */
#include "recommend/coarse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/dense.h"

enum { LANES = DENSE_LANES };

/* Loops over lanes are for the compiler to turn into vectors; their order is fixed. */
static float largest(const float *x, size_t d)
{
    float lane[LANES] = {0}, most = 0;

    for (size_t i = 0; i < d; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float size = fabsf(x[i + l]);
            lane[l] = size > lane[l] ? size : lane[l];
        }
    for (int l = 0; l < LANES; l++)
        most = lane[l] > most ? lane[l] : most;
    return most;
}

/* Rounds x / scale to bytes; returns the square of the length of what is lost. */
static float round_row(const float *x, size_t d, float scale, int8_t *out)
{
    static const float SHIFT = 0x1.8p23f; /* adding it leaves whole numbers, rounded to the nearest */
    float lane[LANES] = {0}, sum = 0, inverse = 1 / scale;

    for (size_t i = 0; i < d; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float whole = (x[i + l] * inverse + SHIFT) - SHIFT, lost = x[i + l] - scale * whole;
            lane[l] += lost * lost;
            out[i + l] = (int8_t)(int)whole;
        }
    for (int l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

bool coarse_make(const uint16_t *half, size_t n, size_t d, int8_t *rows, float *scale, float *error, float *length)
{
    const dense_kernels *k = dense_best();
    size_t width = coarse_width(d);
    float *x = aigc_calloc(width, sizeof *x);

    for (size_t i = 0; i < n && d && x; i++) {
        memset(x, 0, d * sizeof *x);
        k->axpy_half(1, half + i * d, x, d);
        float most = largest(x, d);
        memset(rows + i * width, 0, width);
        scale[i] = most / 127;
        error[i] = 0;
        length[i] = 1.0001f * sqrtf(k->dot(x, x, d)); /* a little more than it is, for the rounding of this sum */
        if (!(scale[i] <= 65536) || !isfinite(length[i]))
            scale[i] = 0, error[i] = length[i] = INFINITY; /* no numbers: looked at one by one */
        else if (scale[i] > 0)                             /* likewise */
            error[i] = 1.0001f * sqrtf(round_row(x, d, scale[i], rows + i * width));
    }
    free(x);
    return x != NULL;
}
