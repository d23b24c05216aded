/* half.h: IEEE half precision, which models keep their factors in. */
#ifndef AIGC_RECOMMEND_HALF_H
#define AIGC_RECOMMEND_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff, bits;
    float f;

    if (exponent == 31) {
        bits = sign | 0x7f800000 | fraction << 13;
    } else if (exponent == 0) {
        f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    } else {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounded to nearest even; what is too large becomes the largest half, so that a model holds finite numbers. */
static inline uint16_t half_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    float size = f < 0 ? -f : f;

    if (!(size < 65504))
        return size >= 65504 ? (uint16_t)(sign | 0x7bff) : 0; /* NaN: 0 */
    if (size < 0x1p-14f) {
        /* adding 0.5 leaves the fraction in units of 2^-24, rounded */
        float moved = size + 0.5f;
        memcpy(&bits, &moved, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    memcpy(&bits, &size, sizeof bits);
    bits += 0xfff + (bits >> 13 & 1);
    uint16_t rounded = (uint16_t)((bits >> 13) - (112 << 10));
    return (uint16_t)(sign | (rounded > 0x7bff ? 0x7bff : rounded));
}

#endif
