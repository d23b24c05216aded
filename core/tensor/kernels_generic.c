/*
 * kernels_generic.c: the kernels in plain C. They are the specification of the canonical orders (kernels.h) and what a
 * processor without AVX2 runs; the other levels are tested bit by bit against them.
 */
#include <math.h>
#include <string.h>

#include "tensor/kernel_acts.h"
#include "tensor/kernel_tables.h"
#include "tensor/kernels.h"

typedef float vf;

static inline uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float v_set(float x)
{
    return x;
}

static inline float v_add(float a, float b)
{
    return a + b;
}

static inline float v_sub(float a, float b)
{
    return a - b;
}

static inline float v_mul(float a, float b)
{
    return a * b;
}

static inline float v_div(float a, float b)
{
    return a / b;
}

static inline float v_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}

static inline float v_min(float a, float b)
{
    return a < b ? a : b;
}

static inline float v_max(float a, float b)
{
    return a > b ? a : b;
}

static inline float v_abs(float a)
{
    return fabsf(a);
}

static inline float v_if_positive(float x, float a, float b)
{
    return x > 0 ? a : b;
}

/* Two steps, as 2^n itself may be out of range; the first is exact. */
static inline float v_scale2(float p, float t, float n)
{
    (void)n;
    int32_t e = (int32_t)(float_bits(t) - float_bits(0x1.8p23f));
    int32_t half = e >> 1;
    return p * bits_float((uint32_t)(half + 127) << 23) * bits_float((uint32_t)(e - half + 127) << 23);
}

#include "tensor/kernel_math.h"

/* ---- sums in lanes ------------------------------------------------------------------------------------------- */

static float tree(float *lanes, int n_lanes)
{
    for (int half = n_lanes / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* The lanes of a sum over n elements see zeros after the last one, up to a multiple of 16. */
static size_t pad16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* ---- activations --------------------------------------------------------------------------------------------- */

/* Rounds to the nearest even integer; NaN and what is below -127 becomes -127, what is above 127 becomes 127. */
static int8_t quantise(float x)
{
    float v = v_min(v_max(x, -127.0f), 127.0f);
    return (int8_t)(int)(v + 0x1.8p23f - 0x1.8p23f);
}

static float quantise_block(const float *x, int8_t *q, int n)
{
    float max = 0;
    for (int i = 0; i < n; i++)
        max = v_max(fabsf(x[i]), max);
    float d = max >= ACT_TINY ? max / 127.0f : 0;
    float inverse = max >= ACT_TINY ? 127.0f / max : 0;
    for (int i = 0; i < n; i++)
        q[i] = quantise(x[i] * inverse);
    return d;
}

static int sum_of(const int8_t *q, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

static void prepare_q8(const float *x, act_q8_block *out, size_t n)
{
    for (size_t b = 0; b < n / 32; b++) {
        out[b].d = quantise_block(x + b * 32, out[b].q, 32);
        out[b].bias = -128 * sum_of(out[b].q, 32);
    }
}

static void prepare_q8_k(const float *x, act_q8_k_block *out, size_t n)
{
    for (size_t b = 0; b < n / K_ELEMENTS; b++) {
        out[b].d = quantise_block(x + b * K_ELEMENTS, out[b].q, K_ELEMENTS);
        for (int i = 0; i < 16; i++)
            out[b].bias[i] = -32 * sum_of(out[b].q + i * 16, 16);
        for (int i = 0; i < 8; i++)
            out[b].sums[i] = (int16_t)sum_of(out[b].q + i * 32, 32);
    }
}

static void prepare(act_type type, const float *x, void *out, size_t n)
{
    if (type == ACT_F32)
        memcpy(out, x, n * sizeof(float));
    else if (type == ACT_Q8)
        prepare_q8(x, out, n);
    else
        prepare_q8_k(x, out, n);
}

/* ---- dot products -------------------------------------------------------------------------------------------- */

static uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static float dot_float(tensor_type type, const uint8_t *w, const float *x, size_t k)
{
    float acc[16] = {0};
    for (size_t i = 0; i < pad16(k); i++) {
        float wi = 0;
        if (i < k && type == TYPE_F32)
            memcpy(&wi, w + i * 4, sizeof wi);
        else if (i < k)
            wi = type == TYPE_F16 ? f16_to_f32(load16(w + i * 2)) : bf16_to_f32(load16(w + i * 2));
        acc[i % 16] = fmaf(wi, i < k ? x[i] : 0, acc[i % 16]);
    }
    return tree(acc, 16);
}

static int sum_q8_0(const uint8_t *w, const int8_t *q)
{
    int sum = 0;
    for (int i = 0; i < 32; i++)
        sum += (int8_t)w[offsetof(block_q8_0, q) + i] * q[i];
    return sum;
}

static int sum_q4_0(const uint8_t *w, const int8_t *q)
{
    const uint8_t *nibbles = w + offsetof(block_q4_0, q);
    int sum = 0;
    for (int i = 0; i < 16; i++)
        sum += ((nibbles[i] & 15) - 8) * q[i] + ((nibbles[i] >> 4) - 8) * q[i + 16];
    return sum;
}

static int sum_q4_k(const uint8_t *w, const int8_t *q, const int16_t *sums, int *minima)
{
    const uint8_t *nibbles = w + offsetof(block_q4_k, q);
    int total = 0;
    *minima = 0;
    for (int j = 0; j < 8; j++) {
        uint8_t scale, minimum;
        q4_k_scale_min(w + offsetof(block_q4_k, scales), j, &scale, &minimum);
        int sum = 0;
        for (int i = 0; i < 32; i++)
            sum += (nibbles[j / 2 * 32 + i] >> (j % 2 * 4) & 15) * q[j * 32 + i];
        total += scale * sum;
        *minima += minimum * sums[j];
    }
    return total;
}

/* Element i of a half of 128 has its low 4 bits in ql[i % 64] (the high nibble for i >= 64) and its high 2 bits in
 * qh[i % 32], at bit i / 32 * 2. */
static int sum_q6_k(const uint8_t *w, const int8_t *q)
{
    int total = 0;
    for (int j = 0; j < 16; j++) {
        int sum = 0;
        for (int e = j * 16; e < j * 16 + 16; e++) {
            int half = e / 128, i = e % 128;
            int low = w[half * 64 + i % 64] >> (i / 64 * 4) & 15;
            int high = w[offsetof(block_q6_k, qh) + half * 32 + i % 32] >> (i / 32 * 2) & 3;
            sum += ((low | high << 4) - 32) * q[e];
        }
        total += (int8_t)w[offsetof(block_q6_k, scales) + j] * sum;
    }
    return total;
}

static float scaled(const uint8_t *half, float d_x)
{
    return f16_to_f32(load16(half)) * d_x;
}

static float dot_q8(tensor_type type, const uint8_t *w, const act_q8_block *x, size_t k)
{
    float acc[8] = {0};
    size_t bytes = type == TYPE_Q8_0 ? sizeof(block_q8_0) : sizeof(block_q4_0);
    for (size_t b = 0; b < k / 32; b++, w += bytes) {
        int sum = type == TYPE_Q8_0 ? sum_q8_0(w, x[b].q) : sum_q4_0(w, x[b].q);
        acc[b % 8] = fmaf(scaled(w, x[b].d), (float)sum, acc[b % 8]);
    }
    return tree(acc, 8);
}

static float dot_q8_k(tensor_type type, const uint8_t *w, const act_q8_k_block *x, size_t k)
{
    float acc[8] = {0};
    for (size_t b = 0; b < k / K_ELEMENTS; b++) {
        float *lane = &acc[b % 8];
        if (type == TYPE_Q4_K) {
            int minima, sum = sum_q4_k(w, x[b].q, x[b].sums, &minima);
            *lane = fmaf(scaled(w, x[b].d), (float)sum, *lane);
            *lane = fmaf(-scaled(w + offsetof(block_q4_k, dmin), x[b].d), (float)minima, *lane);
            w += sizeof(block_q4_k);
        } else {
            *lane = fmaf(scaled(w + offsetof(block_q6_k, d), x[b].d), (float)sum_q6_k(w, x[b].q), *lane);
            w += sizeof(block_q6_k);
        }
    }
    return tree(acc, 8);
}

static float dot(tensor_type type, const uint8_t *w, const void *x, size_t k)
{
    switch (act_type_for(type)) {
    case ACT_Q8:
        return dot_q8(type, w, x, k);
    case ACT_Q8_K:
        return dot_q8_k(type, w, x, k);
    default:
        return dot_float(type, w, x, k);
    }
}

static void matmul(tensor_type type, const void *weights, size_t row_bytes, size_t k, int row_begin, int row_end,
                   const void *acts, int n_tokens, float *out, size_t out_stride, void *scratch)
{
    (void)scratch;
    size_t act_bytes = act_row_bytes(act_type_for(type), k);
    for (int r = row_begin; r < row_end; r++) {
        const uint8_t *w = (const uint8_t *)weights + (size_t)r * row_bytes;
        for (int t = 0; t < n_tokens; t++)
            out[t * out_stride + (r - row_begin)] = dot(type, w, (const uint8_t *)acts + t * act_bytes, k);
    }
}

/* ---- norms and elementwise functions ------------------------------------------------------------------------- */

static float sum_squares(const float *x, float mean, size_t n)
{
    float acc[16] = {0};
    for (size_t i = 0; i < pad16(n); i++) {
        float d = i < n ? x[i] - mean : 0;
        acc[i % 16] = fmaf(d, d, acc[i % 16]);
    }
    return tree(acc, 16);
}

static void rms_norm(const float *x, const float *w, float eps, float *y, size_t n)
{
    float r = 1.0f / sqrtf(sum_squares(x, 0, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * r * w[i];
}

static void layer_norm(const float *x, const float *w, const float *b, float eps, float *y, size_t n)
{
    float acc[16] = {0};
    for (size_t i = 0; i < pad16(n); i++)
        acc[i % 16] += i < n ? x[i] : 0;
    float mean = tree(acc, 16) / (float)n;
    float r = 1.0f / sqrtf(sum_squares(x, mean, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = b ? fmaf((x[i] - mean) * r, w[i], b[i]) : (x[i] - mean) * r * w[i];
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = v_silu(gate[i]) * up[i];
}

static void gelu_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = v_gelu_tanh(x[i]);
}

static void gelu_erf(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = v_gelu_erf(x[i]);
}

static void rope(float *x, int n_heads, int head_dim, int n_dims, const float *cos, const float *sin, bool interleaved)
{
    for (int h = 0; h < n_heads; h++) {
        float *head = x + (size_t)h * head_dim;
        for (int i = 0; i < n_dims / 2; i++) {
            float *p0 = interleaved ? &head[2 * i] : &head[i];
            float *p1 = interleaved ? &head[2 * i + 1] : &head[i + n_dims / 2];
            float x0 = *p0, x1 = *p1;
            *p0 = fmaf(x0, cos[i], -(x1 * sin[i]));
            *p1 = fmaf(x0, sin[i], x1 * cos[i]);
        }
    }
}

static void scale(float *x, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= s;
}

/* Adding zero makes one zero of the two. */
static float max(const float *x, size_t n)
{
    float m = -INFINITY;
    for (size_t i = 0; i < n; i++)
        m = v_max(x[i], m);
    return m + 0.0f;
}

static double sum_exp(const float *x, float shift, float s, size_t n)
{
    double total = 0;
    for (size_t begin = 0; begin < n; begin += SUM_EXP_RUN) {
        size_t end = n - begin < SUM_EXP_RUN ? n : begin + SUM_EXP_RUN;
        float acc[16] = {0};
        for (size_t i = begin; i < end; i++)
            acc[i % 16] += v_exp((x[i] - shift) * s);
        total += tree(acc, 16);
    }
    return total;
}

static void exp_shifted(const float *x, float shift, float s, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = v_exp((x[i] - shift) * s);
}

static void to_f16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = f32_to_f16(x[i]);
}

static void from_f16(const uint16_t *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = f16_to_f32(x[i]);
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

static float cached(const attn_block *block, const void *kv, size_t i)
{
    return block->f16 ? f16_to_f32(((const uint16_t *)kv)[i]) : ((const float *)kv)[i];
}

static void attend_one(const attn_block *block, int head_dim, const float *q, int begin, int end, float *m, float *l,
                       float *o)
{
    float e[KV_BLOCK];
    *m = -INFINITY;
    for (int p = begin; p < end; p++) {
        e[p] = 0;
        for (int d = 0; d < head_dim; d++)
            e[p] = fmaf(q[d], cached(block, block->k, (size_t)d * KV_BLOCK + p), e[p]);
        *m = v_max(e[p], *m);
    }
    *m += 0.0f;
    float acc[16] = {0};
    for (int p = begin; p < end; p++) {
        e[p] = v_exp(e[p] - *m);
        acc[p % 16] += e[p];
    }
    *l = tree(acc, 16);
    for (int d = 0; d < head_dim; d++) {
        o[d] = 0;
        for (int p = begin; p < end; p++)
            o[d] = fmaf(e[p], cached(block, block->v, (size_t)p * head_dim + d), o[d]);
    }
}

static void attend(const attn_block *block, int head_dim, const float *q, int n_q, const int *begin, const int *end,
                   float *m, float *l, float *o)
{
    for (int i = 0; i < n_q; i++)
        attend_one(block, head_dim, q + (size_t)i * head_dim, begin[i], end[i], &m[i], &l[i], o + (size_t)i * head_dim);
}

static void attend_merge(float *m, float *l, float *o, const float *m2, const float *l2, const float *o2, int n_q,
                         int head_dim)
{
    for (int i = 0; i < n_q; i++, o += head_dim, o2 += head_dim) {
        float top = v_max(m[i], m2[i]);
        if (top == -INFINITY)
            continue;
        float a = v_exp(m[i] - top), c = v_exp(m2[i] - top);
        m[i] = top;
        l[i] = fmaf(l2[i], c, l[i] * a);
        for (int d = 0; d < head_dim; d++)
            o[d] = fmaf(o2[d], c, o[d] * a);
    }
}

const aigc_kernels kernels_generic = {
    .name = "generic",
    .prepare = prepare,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .silu_mul = silu_mul,
    .gelu_tanh = gelu_tanh,
    .gelu_erf = gelu_erf,
    .rope = rope,
    .attend = attend,
    .attend_merge = attend_merge,
    .scale = scale,
    .max = max,
    .sum_exp = sum_exp,
    .exp_shifted = exp_shifted,
    .f32_to_f16 = to_f16,
    .f16_to_f32 = from_f16,
};
