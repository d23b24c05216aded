/* dropout.c: see dropout.h. */
#include "learn/dropout.h"

enum { PER_WORD = 4 }; /* elements that share one random word: 16 bits each */

static const double ONE = 65536;

/* splitmix64 (Steele et al., 2014): the finaliser makes independent bits of any counter. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

dropout dropout_of(double p)
{
    dropout d = {.threshold = (uint32_t)(p * ONE + 0.5)};
    if (d.threshold >= (uint32_t)ONE)
        d.threshold = (uint32_t)ONE - 1;
    d.scale = (float)(ONE / (ONE - d.threshold));
    return d;
}

uint64_t dropout_key(uint64_t seed, uint64_t number)
{
    return mix(mix(seed) ^ number);
}

static float factor_of(const dropout *d, uint64_t word, uint64_t element)
{
    uint32_t bits = (uint32_t)(word >> (16 * (element % PER_WORD))) & 0xffff;
    return bits < d->threshold ? 0.0f : d->scale;
}

float dropout_factor(const dropout *d, uint64_t site, uint64_t element)
{
    return factor_of(d, mix(mix(d->key ^ mix(site)) + element / PER_WORD), element);
}

void dropout_apply(const dropout *d, uint64_t site, uint64_t first, const float *x, const float *add, float *out,
                   size_t n)
{
    uint64_t stream = mix(d->key ^ mix(site)), word = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t element = first + i;
        if (i == 0 || element % PER_WORD == 0)
            word = mix(stream + element / PER_WORD);
        out[i] = (add != NULL ? add[i] : 0) + x[i] * factor_of(d, word, element);
    }
}
