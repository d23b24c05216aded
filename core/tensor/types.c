/* types.c: ggml's table of element types, half precision, and rows of weights to float. */
#include "tensor/types.h"

#include <assert.h>
#include <string.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static_assert(sizeof(block_q8_0) == 34, "block layouts are those of files");
static_assert(sizeof(block_q4_0) == 18, "block layouts are those of files");
static_assert(sizeof(block_q4_k) == 144, "block layouts are those of files");
static_assert(sizeof(block_q6_k) == 210, "block layouts are those of files");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are used in place, and files are little-endian"
#endif

/* Source: ggml.h (numbers), ggml-common.h (block layouts). */
static const tensor_type_info types[] = {
    [TYPE_F32] = {"F32", 1, 4, true},
    [TYPE_F16] = {"F16", 1, 2, true},
    [TYPE_Q4_0] = {"Q4_0", 32, 18, true},
    [TYPE_Q4_1] = {"Q4_1", 32, 20, false},
    [TYPE_Q5_0] = {"Q5_0", 32, 22, false},
    [TYPE_Q5_1] = {"Q5_1", 32, 24, false},
    [TYPE_Q8_0] = {"Q8_0", 32, 34, true},
    [TYPE_Q8_1] = {"Q8_1", 32, 36, false},
    [TYPE_Q2_K] = {"Q2_K", 256, 84, false},
    [TYPE_Q3_K] = {"Q3_K", 256, 110, false},
    [TYPE_Q4_K] = {"Q4_K", 256, 144, true},
    [TYPE_Q5_K] = {"Q5_K", 256, 176, false},
    [TYPE_Q6_K] = {"Q6_K", 256, 210, true},
    [TYPE_Q8_K] = {"Q8_K", 256, 292, false},
    [TYPE_IQ2_XXS] = {"IQ2_XXS", 256, 66, false},
    [TYPE_IQ2_XS] = {"IQ2_XS", 256, 74, false},
    [TYPE_IQ3_XXS] = {"IQ3_XXS", 256, 98, false},
    [TYPE_IQ1_S] = {"IQ1_S", 256, 50, false},
    [TYPE_IQ4_NL] = {"IQ4_NL", 32, 18, false},
    [TYPE_IQ3_S] = {"IQ3_S", 256, 110, false},
    [TYPE_IQ2_S] = {"IQ2_S", 256, 82, false},
    [TYPE_IQ4_XS] = {"IQ4_XS", 256, 136, false},
    [TYPE_I8] = {"I8", 1, 1, false},
    [TYPE_I16] = {"I16", 1, 2, false},
    [TYPE_I32] = {"I32", 1, 4, false},
    [TYPE_I64] = {"I64", 1, 8, false},
    [TYPE_F64] = {"F64", 1, 8, false},
    [TYPE_IQ1_M] = {"IQ1_M", 256, 56, false},
    [TYPE_BF16] = {"BF16", 1, 2, true},
    [TYPE_TQ1_0] = {"TQ1_0", 256, 54, false},
    [TYPE_TQ2_0] = {"TQ2_0", 256, 66, false},
    [TYPE_MXFP4] = {"MXFP4", 32, 17, false},
    [TYPE_NVFP4] = {"NVFP4", 64, 36, false},
    [TYPE_Q1_0] = {"Q1_0", 128, 18, false},
    [TYPE_Q2_0] = {"Q2_0", 64, 18, false},
};

const tensor_type_info *tensor_type_describe(uint32_t type)
{
    return type < LENGTH(types) && types[type].name ? &types[type] : NULL;
}

size_t tensor_row_bytes(tensor_type type, size_t n)
{
    return n / (size_t)types[type].block_elements * (size_t)types[type].block_bytes;
}

/* ---- half precision ---- */

static float float_of_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 0x1f;
    uint32_t fraction = h & 0x3ff;

    if (exponent == 0x1f) /* infinity and NaN, which becomes quiet as in hardware */
        return float_of_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent == 0) { /* fraction * 2^-24 is exact in float */
        uint32_t magnitude = bits_of_float((float)fraction * 0x1p-24f);

        return float_of_bits(sign | magnitude);
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

/* x / 2^shift, rounded to nearest even; 1 <= shift <= 31. */
static uint32_t shift_rounded(uint32_t x, unsigned shift)
{
    uint32_t half = (uint32_t)1 << (shift - 1);
    uint32_t rest = x & (((uint32_t)1 << shift) - 1);
    uint32_t result = x >> shift;

    return result + (rest > half || (rest == half && (result & 1)));
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits = bits_of_float(f);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t exponent = magnitude >> 23;

    if (magnitude > 0x7f800000) /* NaN: quiet, the leading bits of its payload kept */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) /* 65536 and above; what rounds up to it is found below */
        return (uint16_t)(sign | 0x7c00);
    if (exponent < 127 - 25) /* below 2^-25, half of the smallest subnormal */
        return (uint16_t)sign;
    if (exponent < 127 - 14) /* subnormal: a multiple of 2^-24 */
        return (uint16_t)(sign | shift_rounded((magnitude & 0x7fffff) | 0x800000, 126 - exponent));
    /* A carry out of the fraction goes into the exponent, and from the largest number to infinity. */
    return (uint16_t)(sign | shift_rounded(magnitude - ((uint32_t)(127 - 15) << 23), 13));
}

float bf16_to_f32(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t bits = bits_of_float(f);

    if ((bits & 0x7fffffff) > 0x7f800000) /* NaN: quiet, so that no payload rounds to infinity */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)shift_rounded(bits, 16);
}

/* ---- rows to float ---- */

void q4_k_scale_min(const uint8_t s[12], int j, uint8_t *scale, uint8_t *minimum)
{
    /* Sub-blocks 0-3: low 6 bits of bytes 0-3 and 4-7. Sub-blocks 4-7: low and high nibbles of bytes 8-11, with their
     * top 2 bits in those that bytes 0-7 have free. */
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
        *minimum = (uint8_t)(s[j + 4] >> 4 | (s[j] >> 6) << 4);
    }
}

static void q8_0_to_float(const block_q8_0 *b, float *out)
{
    float d = f16_to_f32(b->d);

    for (int i = 0; i < 32; i++)
        out[i] = d * b->q[i];
}

static void q4_0_to_float(const block_q4_0 *b, float *out)
{
    float d = f16_to_f32(b->d);

    for (int i = 0; i < 16; i++) {
        out[i] = d * ((b->q[i] & 15) - 8);
        out[i + 16] = d * ((b->q[i] >> 4) - 8);
    }
}

static void q4_k_to_float(const block_q4_k *b, float *out)
{
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);

    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b->q + j / 2 * 32;
        int shift = j % 2 * 4;
        uint8_t scale, minimum;

        q4_k_scale_min(b->scales, j, &scale, &minimum);
        for (int i = 0; i < 32; i++)
            out[j * 32 + i] = d * scale * (q[i] >> shift & 15) - dmin * minimum;
    }
}

/* Each half of a block (128 elements) has 64 bytes of low nibbles and 32 of high bits; run r of 32 elements takes the
 * nibble r / 2 of bytes (r % 2) * 32 and the bits 2 r of the high bytes. */
static void q6_k_to_float(const block_q6_k *b, float *out)
{
    float d = f16_to_f32(b->d);

    for (int e = 0; e < K_ELEMENTS; e++) {
        int half = e / 128, run = e / 32 % 4, i = e % 32;
        int low = b->ql[half * 64 + run % 2 * 32 + i] >> run / 2 * 4 & 15;
        int high = b->qh[half * 32 + i] >> run * 2 & 3;

        out[e] = d * b->scales[e / 16] * ((low | high << 4) - 32);
    }
}

void tensor_row_to_float(tensor_type type, const void *row, float *out, size_t n)
{
    const uint8_t *p = row;
    size_t size = (size_t)types[type].block_bytes, elements = (size_t)types[type].block_elements;

    /* Rows may stand at odd addresses in a file: a block is copied out before its 16-bit fields are read. */
    for (size_t i = 0; i < n; i += elements, p += size) {
        union {
            float f32;
            uint16_t u16;
            block_q8_0 q8_0;
            block_q4_0 q4_0;
            block_q4_k q4_k;
            block_q6_k q6_k;
        } block;

        memcpy(&block, p, size < sizeof block ? size : sizeof block);
        switch (type) {
        case TYPE_F32:
            out[i] = block.f32;
            break;
        case TYPE_F16:
            out[i] = f16_to_f32(block.u16);
            break;
        case TYPE_BF16:
            out[i] = bf16_to_f32(block.u16);
            break;
        case TYPE_Q8_0:
            q8_0_to_float(&block.q8_0, out + i);
            break;
        case TYPE_Q4_0:
            q4_0_to_float(&block.q4_0, out + i);
            break;
        case TYPE_Q4_K:
            q4_k_to_float(&block.q4_k, out + i);
            break;
        case TYPE_Q6_K:
            q6_k_to_float(&block.q6_k, out + i);
            break;
        default: /* not runnable: callers ask tensor_type_describe() first */
            return;
        }
    }
}
