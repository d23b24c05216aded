/*
 * test_kernels.c: the generic kernels against naive computations in double, and every other level against the generic
 * one bit by bit. Weights end at a page that may not be read, so that a kernel that reads past a file is caught.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tensor/kernels.h"

enum { GUARD = 64 }; /* bytes after each output that must stay as they are */

/* ---- random inputs ------------------------------------------------------------------------------------------- */

static uint64_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static float random_float(float low, float high)
{
    return low + (high - low) * ((float)(random_u32() >> 8) * 0x1p-24f);
}

static void fill_random(float *x, size_t n, float range)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(-range, range);
}

/* Any bits at all: denormals, huge values, NaN and infinity among them. */
static void fill_wild(void *p, size_t bytes)
{
    uint8_t *bytes_of = p;
    for (size_t i = 0; i < bytes; i++)
        bytes_of[i] = (uint8_t)(random_u32() >> 13);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* n floats aligned to 64 bytes, followed by a guard. */
static float *new_floats(size_t n)
{
    char *p = aligned_alloc(64, (n * sizeof(float) + GUARD + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xA5, n * sizeof(float) + GUARD);
    return (float *)p;
}

static void check_guard(const float *x, size_t n)
{
    const uint8_t *guard = (const uint8_t *)(x + n);
    for (int i = 0; i < GUARD; i++)
        assert_int_equal(guard[i], 0xA5);
}

/* Memory whose last byte lies before a page that faults. */
typedef struct fenced {
    uint8_t *data;
    void *map;
    size_t map_bytes;
} fenced;

static fenced fenced_new(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    fenced f;
    f.map_bytes = (bytes + page - 1) / page * page + page;
    f.map = mmap(NULL, f.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect((char *)f.map + f.map_bytes - page, page, PROT_NONE), 0);
    f.data = (uint8_t *)f.map + f.map_bytes - page - bytes;
    return f;
}

static void fenced_free(fenced *f)
{
    munmap(f->map, f->map_bytes);
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void check_same(const float *got, const float *want, size_t n, const char *level, const char *what, size_t size)
{
    for (size_t i = 0; i < n; i++)
        if (!same_bits(got[i], want[i]))
            fail_msg("%s %s, size %zu: element %zu is %a, generic has %a", level, what, size, i, got[i], want[i]);
}

static void check_near(double got, double want, double tolerance, const char *what, size_t i)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: element %zu is %.9g, should be %.9g within %.3g", what, i, got, want, tolerance);
}

static const aigc_kernels *generic(void)
{
    return kernels_for(CPU_GENERIC);
}

/* The levels to compare with generic; skips the test if there is none. */
static int other_levels(const aigc_kernels *levels[CPU_LEVELS])
{
    int n = 0;
    for (int level = CPU_GENERIC + 1; level < CPU_LEVELS; level++)
        if (kernels_for((cpu_level)level))
            levels[n++] = kernels_for((cpu_level)level);
    if (n == 0) {
        print_message("this processor runs generic kernels only\n");
        skip();
    }
    return n;
}

/* ---- matrices ------------------------------------------------------------------------------------------------ */

static const tensor_type types[] = {TYPE_F32, TYPE_F16, TYPE_BF16, TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_K, TYPE_Q6_K};
enum { N_TYPES = sizeof types / sizeof types[0] };

static void naive_dot(tensor_type type, const uint8_t *w, const float *x, size_t k, double *dot, double *tolerance)
{
    float *row = new_floats(k);
    tensor_row_to_float(type, w, row, k);
    size_t block = act_type_for(type) == ACT_F32 ? 0 : act_type_for(type) == ACT_Q8 ? 32 : 256;
    double size = 0, rounding = 0;
    *dot = 0;
    for (size_t i = 0; i < k; i++) {
        double max = 0;
        for (size_t j = 0; block && j < block; j++)
            max = fmax(max, fabs((double)x[i / block * block + j]));
        *dot += (double)row[i] * x[i];
        size += fabs((double)row[i] * x[i]);
        rounding += fabs((double)row[i]) * max / 127 * 0.501;
    }
    /* K types sum products with scales of up to 63 and minima that cancel, so they need more room than 1e-6. */
    *tolerance = rounding + size * 2e-6 + 1e-30;
    free(row);
}

static void test_generic_matmul(void **state)
{
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        tensor_type type = types[i];
        enum { ROWS = 19, TOKENS = 3 };
        size_t k = 768, row_bytes = tensor_row_bytes(type, k), act_bytes = act_row_bytes(act_type_for(type), k);
        float *x = new_floats(k * TOKENS), *row = new_floats(k), *out = new_floats(ROWS * TOKENS);
        uint8_t *w = malloc(row_bytes * ROWS), *acts = aligned_alloc(64, act_bytes * TOKENS);
        void *scratch = aligned_alloc(64, matmul_scratch_bytes(type, k));
        fill_random(x, k * TOKENS, 3);
        for (int r = 0; r < ROWS; r++) {
            fill_random(row, k, 0.1f);
            assert_true(tensor_row_from_float(type, row, w + r * row_bytes, k));
        }
        for (int t = 0; t < TOKENS; t++)
            generic()->prepare(act_type_for(type), x + t * k, acts + t * act_bytes, k);
        generic()->matmul(type, w, row_bytes, k, 2, ROWS, acts, TOKENS, out, ROWS, scratch);
        for (int t = 0; t < TOKENS; t++)
            for (int r = 2; r < ROWS; r++) {
                double dot, tolerance;
                naive_dot(type, w + r * row_bytes, x + t * k, k, &dot, &tolerance);
                check_near(out[t * ROWS + r - 2], dot, tolerance, tensor_type_describe(type)->name, (size_t)r);
            }
        free(x), free(row), free(out), free(w), free(acts), free(scratch);
    }
}

/* What a test does to weights and activations. */
typedef enum flavour { USUAL, EXTREME, WILD, FLAVOURS } flavour;

/* Blocks as a quantiser writes them; blocks with all integers at their ends and large scales; random bytes. */
static void fill_weights(tensor_type type, flavour f, uint8_t *w, size_t k, size_t rows)
{
    size_t row_bytes = tensor_row_bytes(type, k);
    if (f == WILD) {
        fill_wild(w, rows * row_bytes);
        return;
    }
    float *row = new_floats(k);
    for (size_t r = 0; r < rows; r++) {
        fill_random(row, k, f == USUAL ? 0.1f : 1e4f);
        assert_true(tensor_row_from_float(type, row, w + r * row_bytes, k));
        if (f != EXTREME || act_type_for(type) == ACT_F32)
            continue;
        const tensor_type_info *info = tensor_type_describe(type);
        for (size_t b = 0; b < k / info->block_elements; b++) {
            uint8_t *block = w + r * row_bytes + b * info->block_bytes;
            int first = type == TYPE_Q4_K ? 4 : type == TYPE_Q6_K ? 0 : 2;
            int last = type == TYPE_Q6_K ? 208 : info->block_bytes;
            memset(block + first, r % 3 == 0 ? 0xFF : r % 3 == 1 ? 0x80 : 0x7F, last - first);
        }
    }
    free(row);
}

static void fill_activations(flavour f, float *x, size_t n)
{
    fill_random(x, n, 4);
    if (f == EXTREME)
        for (size_t i = 0; i < n; i++)
            x[i] = i / 64 % 3 == 0 ? (random_u32() & 1 ? 5.0f : -5.0f) : i / 64 % 3 == 1 ? x[i] * 1e-40f : x[i] * 1e30f;
    if (f == WILD)
        fill_wild(x, n * sizeof(float));
}

static void compare_matmul(tensor_type type, flavour f, size_t k, int rows, int row_begin, int n_tokens)
{
    size_t row_bytes = tensor_row_bytes(type, k), act_bytes = act_row_bytes(act_type_for(type), k);
    size_t stride = (size_t)rows + 3, n_out = stride * n_tokens;
    float *x = new_floats(k * n_tokens), *got = new_floats(n_out), *want = new_floats(n_out);
    uint8_t *acts = aligned_alloc(64, act_bytes * n_tokens);
    void *scratch = aligned_alloc(64, matmul_scratch_bytes(type, k));
    fenced w = fenced_new(row_bytes * rows);
    fill_weights(type, f, w.data, k, rows);
    fill_activations(f, x, k * n_tokens);
    const aigc_kernels *levels[CPU_LEVELS + 1] = {generic()};
    int n_levels = 1 + other_levels(levels + 1);
    for (int v = 0; v < n_levels; v++) {
        memset(acts, 0x11, act_bytes * n_tokens);
        memset(scratch, 0xFF, matmul_scratch_bytes(type, k));
        memset(got, 0xA5, n_out * sizeof(float));
        for (int t = 0; t < n_tokens; t++)
            levels[v]->prepare(act_type_for(type), x + t * k, acts + t * act_bytes, k);
        levels[v]->matmul(type, w.data, row_bytes, k, row_begin, rows, acts, n_tokens, got, stride, scratch);
        if (v == 0)
            memcpy(want, got, n_out * sizeof(float));
        char what[64];
        snprintf(what, sizeof what, "matmul %s flavour %d rows %d tokens %d", tensor_type_describe(type)->name, f, rows,
                 n_tokens);
        check_same(got, want, n_out, levels[v]->name, what, k);
        check_guard(got, n_out);
    }
    fenced_free(&w);
    free(x), free(got), free(want), free(acts), free(scratch);
}

static void test_matmul_levels(void **state)
{
    (void)state;
    const aigc_kernels *levels[CPU_LEVELS];
    other_levels(levels);
    static const size_t float_sizes[] = {1, 7, 16, 17, 31, 64, 200, 515};
    static const size_t block_sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 24, 28, 33};
    static const int tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 24, 25, 31, 40, 64};
    for (int i = 0; i < N_TYPES; i++) {
        bool floats = act_type_for(types[i]) == ACT_F32;
        size_t n_sizes = floats ? 8 : 11, elements = (size_t)tensor_type_describe(types[i])->block_elements;
        for (size_t s = 0; s < n_sizes; s++)
            for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
                size_t k = floats ? float_sizes[s] : block_sizes[s] * elements;
                int rows = (int[]){1, 5, 16, 17, 33, 47, 48, 64}[random_u32() % 8];
                int begin = rows > 16 && random_u32() % 2 ? 16 : 0;
                compare_matmul(types[i], (flavour)(random_u32() % FLAVOURS), k, rows, begin, tokens[t]);
            }
    }
}

/* The shapes that models have: long rows, many tokens, a number of rows that is odd, as GPT-2's vocabulary is. */
static void test_matmul_large(void **state)
{
    (void)state;
    const aigc_kernels *levels[CPU_LEVELS];
    other_levels(levels);
    for (int i = 0; i < N_TYPES; i++) {
        compare_matmul(types[i], USUAL, 768, 50257 % 2048, 1024, 1);
        compare_matmul(types[i], USUAL, 768, 35, 0, 257);
        compare_matmul(types[i], USUAL, 8192, 17, 0, 19);
        compare_matmul(types[i], EXTREME, 8192, 18, 0, 14);
        compare_matmul(types[i], EXTREME, 16384, 3, 0, 1);
        if (act_type_for(types[i]) != ACT_Q8_K)
            compare_matmul(types[i], USUAL, 4864, 40, 16, 13);
    }
}

/* Few rows, so that what a kernel reads beyond a row lies beyond the matrix. */
static void test_matmul_few_rows(void **state)
{
    (void)state;
    const aigc_kernels *levels[CPU_LEVELS];
    other_levels(levels);
    for (int i = 0; i < N_TYPES; i++)
        for (int rows = 1; rows <= 4; rows++)
            compare_matmul(types[i], USUAL, 512, rows, 0, 2 * rows);
}

/* ---- elementwise --------------------------------------------------------------------------------------------- */

static double naive_silu(double x)
{
    return x / (1 + exp(-x));
}

static double naive_gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double naive_gelu_erf(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2));
}

static void test_generic_activations(void **state)
{
    (void)state;
    for (double x = -20; x <= 20; x += 0.00071) {
        float silu = (float)x, tanh_form = (float)x, erf_form = (float)x, one = 1;
        double exact = (float)x;
        generic()->silu_mul(&silu, &one, 1);
        generic()->gelu_tanh(&tanh_form, 1);
        generic()->gelu_erf(&erf_form, 1);
        check_near(silu, naive_silu(exact), fabs(naive_silu(exact)) * 3e-7, "silu", 0);
        /* Below -5 the naive forms themselves cancel; what matters there is the absolute size. */
        check_near(tanh_form, naive_gelu_tanh(exact), fabs(naive_gelu_tanh(exact)) * 2e-6 + 1e-14, "gelu_tanh", 0);
        check_near(erf_form, naive_gelu_erf(exact), fabs(naive_gelu_erf(exact)) * 2e-6 + 1e-14, "gelu_erf", 0);
    }
}

static void test_generic_exp(void **state)
{
    (void)state;
    for (double x = -87; x <= 88; x += 0.00037) {
        float in = (float)x, out;
        generic()->exp_shifted(&in, 0, 1, &out, 1);
        check_near(out / exp(in), 1, 2e-7, "exp", 0);
    }
    float special[] = {-INFINITY, -1e30f, -104, -103.5f, -90, 0, 88.7f, 89, 1e30f, INFINITY, NAN}, out[11];
    generic()->exp_shifted(special, 0, 1, out, 11);
    for (int i = 0; i < 3; i++)
        assert_true(out[i] == 0);
    assert_true(out[3] == 0x1p-149f);
    check_near(out[4], exp(-90), 1e-45, "denormal exp", 4);
    assert_true(out[5] == 1);
    check_near(out[6] / exp(88.7f), 1, 2e-7, "exp", 6);
    for (int i = 7; i < 10; i++)
        assert_true(isinf(out[i]) && out[i] > 0);
    assert_true(isnan(out[10]));
}

static void test_generic_norms(void **state)
{
    (void)state;
    enum { N = 300 };
    float x[N], w[N], b[N], rms[N], layer[N];
    fill_random(x, N, 2);
    fill_random(w, N, 1);
    fill_random(b, N, 1);
    generic()->rms_norm(x, w, 1e-5f, rms, N);
    generic()->layer_norm(x, w, b, 1e-5f, layer, N);
    double squares = 0, sum = 0, variance = 0;
    for (int i = 0; i < N; i++) {
        squares += (double)x[i] * x[i];
        sum += x[i];
    }
    for (int i = 0; i < N; i++)
        variance += (x[i] - sum / N) * (x[i] - sum / N) / N;
    for (size_t i = 0; i < N; i++) {
        check_near(rms[i], x[i] / sqrt(squares / N + 1e-5) * w[i], 1e-6, "rms_norm", i);
        check_near(layer[i], (x[i] - sum / N) / sqrt(variance + 1e-5) * w[i] + b[i], 2e-6, "layer_norm", i);
    }
}

static void test_generic_rope(void **state)
{
    (void)state;
    enum { HEAD = 12, DIMS = 8 };
    float x[2 * HEAD], cosines[DIMS / 2], sines[DIMS / 2];
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        fill_random(x, 2 * HEAD, 1);
        float before[2 * HEAD];
        memcpy(before, x, sizeof x);
        for (int i = 0; i < DIMS / 2; i++) {
            cosines[i] = cosf(0.3f * (float)i + 1);
            sines[i] = sinf(0.3f * (float)i + 1);
        }
        generic()->rope(x, 2, HEAD, DIMS, cosines, sines, interleaved);
        for (int h = 0; h < 2; h++)
            for (int i = 0; i < DIMS / 2; i++) {
                int a = h * HEAD + (interleaved ? 2 * i : i), c = interleaved ? a + 1 : a + DIMS / 2;
                check_near(x[a], (double)before[a] * cosines[i] - (double)before[c] * sines[i], 1e-6, "rope", a);
                check_near(x[c], (double)before[a] * sines[i] + (double)before[c] * cosines[i], 1e-6, "rope", c);
            }
        for (int i = DIMS; i < HEAD; i++)
            assert_true(x[i] == before[i] && x[HEAD + i] == before[HEAD + i]);
    }
}

static void test_generic_sums(void **state)
{
    (void)state;
    enum { N = 10007 };
    float *x = new_floats(N);
    fill_random(x, N, 5);
    double sum = 0;
    float top = -INFINITY;
    for (int i = 0; i < N; i++) {
        sum += exp(((double)x[i] - 4) * 0.5f);
        top = fmaxf(top, x[i]);
    }
    check_near(generic()->sum_exp(x, 4, 0.5f, N) / sum, 1, 1e-6, "sum_exp", 0);
    x[3] = NAN;
    assert_true(generic()->max(x, N) == top);
    assert_true(generic()->max(x, 0) == -INFINITY);
    assert_true(generic()->max(&x[3], 1) == -INFINITY);
    free(x);
}

typedef void unary(const aigc_kernels *k, float *x, const float *y, size_t n);

static void run_add(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->add(x, y, n);
}

static void run_silu_mul(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->silu_mul(x, y, n);
}

static void run_gelu_tanh(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    (void)y;
    k->gelu_tanh(x, n);
}

static void run_gelu_erf(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    (void)y;
    k->gelu_erf(x, n);
}

static void run_scale(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->scale(x, n ? y[0] : 0, n);
}

static void run_exp_shifted(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->exp_shifted(x, n ? y[0] : 0, 0.7f, x, n);
}

static void run_rms_norm(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->rms_norm(x, y, 1e-6f, x, n);
}

static void run_layer_norm(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->layer_norm(x, y, y, 1e-6f, x, n);
}

static void run_layer_norm_no_bias(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    k->layer_norm(x, y, NULL, 1e-6f, x, n);
}

static void run_max(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    (void)y;
    float m = k->max(x, n);
    if (n)
        x[0] = m;
}

static void run_sum_exp(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    double sum = k->sum_exp(x, n ? y[0] : 0, 0.9f, n);
    if (n)
        x[0] = (float)sum;
    if (n > 1)
        x[1] = (float)(sum - x[0]);
}

static void run_f32_to_f16(const aigc_kernels *k, float *x, const float *y, size_t n)
{
    (void)y;
    uint16_t *half = malloc(n * 2 + 2);
    k->f32_to_f16(x, half, n);
    k->f16_to_f32(half, x, n);
    free(half);
}

static void test_elementwise_levels(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unary *run;
    } cases[] = {
        {"add", run_add},           {"silu_mul", run_silu_mul},     {"gelu_tanh", run_gelu_tanh},
        {"gelu_erf", run_gelu_erf}, {"scale", run_scale},           {"exp_shifted", run_exp_shifted},
        {"rms_norm", run_rms_norm}, {"layer_norm", run_layer_norm}, {"layer_norm without b", run_layer_norm_no_bias},
        {"max", run_max},           {"sum_exp", run_sum_exp},       {"f32_to_f16 and back", run_f32_to_f16}};
    static const size_t sizes[] = {0,  1,  2,  7,   8,   9,   15,   16,   17,   24,   31,   32,   33,
                                   48, 63, 64, 100, 129, 768, 1000, 4095, 4096, 4097, 4112, 8192, 12345};
    const aigc_kernels *levels[CPU_LEVELS];
    int n_levels = other_levels(levels);
    for (int v = 0; v < n_levels; v++)
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
                for (int range = 0; range < 5; range++) {
                    size_t n = sizes[s];
                    float *got = new_floats(n), *want = new_floats(n), *y = new_floats(n);
                    fill_random(want, n, (float[]){1, 10, 110, 1e-38f, 0}[range]);
                    if (range == 4)
                        fill_wild(want, n * sizeof(float));
                    fill_random(y, n, range == 3 ? 1e-3f : 3);
                    memcpy(got, want, n * sizeof(float));
                    cases[c].run(generic(), want, y, n);
                    cases[c].run(levels[v], got, y, n);
                    check_same(got, want, n, levels[v]->name, cases[c].name, n);
                    check_guard(got, n);
                    free(got), free(want), free(y);
                }
}

/* All halves, and floats on both sides of each border between two halves. */
static void test_half_levels(void **state)
{
    (void)state;
    const aigc_kernels *levels[CPU_LEVELS];
    int n_levels = other_levels(levels);
    enum { N = 65536 };
    uint16_t *half = malloc(N * 2), *got = malloc(N * 2), *want = malloc(N * 2);
    float *x = new_floats(N), *y = new_floats(N);
    for (int i = 0; i < N; i++)
        half[i] = (uint16_t)i;
    for (int v = 0; v < n_levels; v++) {
        generic()->f16_to_f32(half, x, N);
        levels[v]->f16_to_f32(half, y, N);
        check_same(y, x, N, levels[v]->name, "f16_to_f32", N);
        for (int step = -1; step <= 1; step++) {
            for (int i = 0; i + 1 < N; i++) {
                float middle = (x[i] + x[i + 1]) / 2;
                uint32_t bits;
                memcpy(&bits, &middle, 4);
                bits += (uint32_t)step;
                memcpy(&y[i], &bits, 4);
            }
            generic()->f32_to_f16(y, want, N);
            levels[v]->f32_to_f16(y, got, N);
            for (int i = 0; i < N; i++)
                if (got[i] != want[i] && !(isnan(f16_to_f32(got[i])) && isnan(f16_to_f32(want[i]))))
                    fail_msg("%s f32_to_f16(%a) is %04x, generic has %04x", levels[v]->name, y[i], got[i], want[i]);
        }
    }
    free(half), free(got), free(want), free(x), free(y);
}

static void test_rope_levels(void **state)
{
    (void)state;
    const aigc_kernels *levels[CPU_LEVELS];
    int n_levels = other_levels(levels);
    static const int shapes[][3] = {{1, 8, 8},     {3, 8, 4},   {7, 64, 64},  {2, 80, 80}, {5, 128, 128},
                                    {4, 100, 100}, {3, 96, 48}, {2, 256, 64}, {3, 10, 6}};
    for (int v = 0; v < n_levels; v++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (int interleaved = 0; interleaved < 2; interleaved++) {
                int heads = shapes[s][0], dim = shapes[s][1], n_dims = shapes[s][2];
                size_t n = (size_t)heads * dim;
                float *got = new_floats(n), *want = new_floats(n);
                float *cosines = new_floats(n_dims / 2), *sines = new_floats(n_dims / 2);
                fill_random(want, n, 3);
                fill_random(cosines, n_dims / 2, 1);
                fill_random(sines, n_dims / 2, 1);
                memcpy(got, want, n * sizeof(float));
                generic()->rope(want, heads, dim, n_dims, cosines, sines, interleaved);
                levels[v]->rope(got, heads, dim, n_dims, cosines, sines, interleaved);
                check_same(got, want, n, levels[v]->name, interleaved ? "rope interleaved" : "rope", dim);
                check_guard(got, n);
                free(got), free(want), free(cosines), free(sines);
            }
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

enum { MAX_QUERIES = 33 };

typedef struct attention {
    attn_block block;
    fenced k, v;
    int head_dim, n_q;
    float *q;
    int begin[MAX_QUERIES], end[MAX_QUERIES];
} attention;

/* Ranges: all see everything; a causal triangle; anything. What nobody sees is NaN. */
static attention attention_new(int head_dim, int n_q, bool f16, int ranges)
{
    attention a = {.head_dim = head_dim, .n_q = n_q};
    size_t n = (size_t)head_dim * KV_BLOCK;
    a.k = fenced_new(n * (f16 ? 2 : 4));
    a.v = fenced_new(n * (f16 ? 2 : 4));
    a.block = (attn_block){.f16 = f16, .k = a.k.data, .v = a.v.data};
    a.q = new_floats((size_t)head_dim * n_q);
    fill_random(a.q, (size_t)head_dim * n_q, 1);
    bool seen[KV_BLOCK] = {false};
    for (int i = 0; i < n_q; i++) {
        a.begin[i] = ranges == 2 ? (int)(random_u32() % (KV_BLOCK + 1)) : 0;
        a.end[i] = ranges == 0 ? KV_BLOCK : ranges == 1 ? (i < KV_BLOCK ? i + 1 : KV_BLOCK) : a.begin[i];
        if (ranges == 2)
            a.end[i] += (int)(random_u32() % (KV_BLOCK + 1 - a.begin[i]));
        for (int p = a.begin[i]; p < a.end[i]; p++)
            seen[p] = true;
    }
    for (size_t i = 0; i < n; i++) {
        float k = seen[i % KV_BLOCK] ? random_float(-1, 1) : NAN;
        float v = seen[i / head_dim] ? random_float(-1, 1) : NAN;
        if (f16) {
            ((uint16_t *)a.k.data)[i] = f32_to_f16(k);
            ((uint16_t *)a.v.data)[i] = f32_to_f16(v);
        } else {
            memcpy(a.k.data + i * 4, &k, 4);
            memcpy(a.v.data + i * 4, &v, 4);
        }
    }
    return a;
}

static void attention_free(attention *a)
{
    fenced_free(&a->k);
    fenced_free(&a->v);
    free(a->q);
}

static float cache_at(const attention *a, const fenced *f, size_t i)
{
    return a->block.f16 ? f16_to_f32(((const uint16_t *)f->data)[i]) : ((const float *)f->data)[i];
}

static void test_generic_attend(void **state)
{
    (void)state;
    for (int ranges = 0; ranges < 3; ranges++) {
        enum { DIM = 24, QUERIES = 5 };
        attention a = attention_new(DIM, QUERIES, ranges == 1, ranges);
        float m[QUERIES], l[QUERIES], o[QUERIES * DIM];
        generic()->attend(&a.block, DIM, a.q, QUERIES, a.begin, a.end, m, l, o);
        for (int i = 0; i < QUERIES; i++) {
            double top = -INFINITY, sum = 0, score[KV_BLOCK], mix[DIM] = {0};
            for (int p = a.begin[i]; p < a.end[i]; p++) {
                score[p] = 0;
                for (int d = 0; d < DIM; d++)
                    score[p] += (double)a.q[i * DIM + d] * cache_at(&a, &a.k, (size_t)d * KV_BLOCK + p);
                top = fmax(top, score[p]);
            }
            for (int p = a.begin[i]; p < a.end[i]; p++) {
                sum += exp(score[p] - top);
                for (int d = 0; d < DIM; d++)
                    mix[d] += exp(score[p] - top) * cache_at(&a, &a.v, (size_t)p * DIM + d);
            }
            if (a.begin[i] == a.end[i])
                assert_true(m[i] == -INFINITY);
            else
                check_near(m[i], top, 1e-5, "attend m", i);
            check_near(l[i], sum, 1e-5, "attend l", i);
            for (int d = 0; d < DIM; d++)
                check_near(o[i * DIM + d], mix[d], 2e-5, "attend o", d);
        }
        attention_free(&a);
    }
}

/* Two blocks merged are one softmax over both; merging an empty block changes nothing. */
static void test_generic_merge(void **state)
{
    (void)state;
    float m[3] = {1, -INFINITY, 2}, l[3] = {3, 0, 1.5f}, o[6] = {1, 2, 0, 0, 4, 5};
    const float m2[3] = {2, 0.5f, -INFINITY}, l2[3] = {1, 2, 0}, o2[6] = {-1, 1, 7, 8, 0, 0};
    generic()->attend_merge(m, l, o, m2, l2, o2, 3, 2);
    assert_true(m[0] == 2 && m[1] == 0.5f && m[2] == 2);
    check_near(l[0], 3 * exp(-1) + 1, 1e-6, "merge l", 0);
    check_near(o[0], exp(-1) - 1, 1e-6, "merge o", 0);
    check_near(o[1], 2 * exp(-1) + 1, 1e-6, "merge o", 1);
    assert_true(l[1] == 2 && o[2] == 7 && o[3] == 8);
    assert_true(l[2] == 1.5f && o[4] == 4 && o[5] == 5);
}

static void compare_attend(const aigc_kernels *level, int head_dim, int n_q, bool f16, int ranges)
{
    attention a = attention_new(head_dim, n_q, f16, ranges), b = attention_new(head_dim, n_q, f16, ranges);
    size_t n = (size_t)head_dim * n_q;
    float *m[4], *l[4], *o[4]; /* generic and level, of both blocks */
    for (int i = 0; i < 4; i++) {
        const aigc_kernels *kernels = i < 2 ? generic() : level;
        const attention *from = i % 2 ? &b : &a;
        m[i] = new_floats(n_q), l[i] = new_floats(n_q), o[i] = new_floats(n);
        kernels->attend(&from->block, head_dim, from->q, n_q, from->begin, from->end, m[i], l[i], o[i]);
        check_guard(m[i], n_q), check_guard(l[i], n_q), check_guard(o[i], n);
    }
    for (int i = 0; i < 2; i++) {
        check_same(m[i + 2], m[i], n_q, level->name, "attend m", head_dim);
        check_same(l[i + 2], l[i], n_q, level->name, "attend l", head_dim);
        check_same(o[i + 2], o[i], n, level->name, "attend o", head_dim);
    }
    generic()->attend_merge(m[0], l[0], o[0], m[1], l[1], o[1], n_q, head_dim);
    level->attend_merge(m[2], l[2], o[2], m[3], l[3], o[3], n_q, head_dim);
    check_same(m[2], m[0], n_q, level->name, "attend_merge m", head_dim);
    check_same(l[2], l[0], n_q, level->name, "attend_merge l", head_dim);
    check_same(o[2], o[0], n, level->name, "attend_merge o", head_dim);
    check_guard(o[2], n);
    for (int i = 0; i < 4; i++)
        free(m[i]), free(l[i]), free(o[i]);
    attention_free(&a);
    attention_free(&b);
}

static void test_attend_levels(void **state)
{
    (void)state;
    const aigc_kernels *levels[CPU_LEVELS];
    int n_levels = other_levels(levels);
    static const int dims[] = {1, 4, 8, 10, 16, 24, 40, 48, 56, 64, 72, 80, 96, 120, 128, 200, 256};
    static const int queries[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, MAX_QUERIES};
    for (int v = 0; v < n_levels; v++)
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            for (size_t n = 0; n < sizeof queries / sizeof queries[0]; n++)
                for (int i = 0; i < 6; i++)
                    compare_attend(levels[v], dims[d], queries[n], i % 2, i / 2);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

static void test_tables(void **state)
{
    (void)state;
    assert_non_null(kernels_for(CPU_GENERIC));
    assert_null(kernels_for(CPU_NEON));
    assert_non_null(kernels_best());
    for (int level = 0; level < CPU_LEVELS; level++)
        if (kernels_for((cpu_level)level))
            assert_string_equal(kernels_for((cpu_level)level)->name, cpu_level_name((cpu_level)level));
    for (int type = ACT_F32; type < ACT_TYPES; type++)
        for (size_t n = 256; n <= 8192; n += 256)
            assert_int_equal(act_row_bytes((act_type)type, n) % 128, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_generic_matmul),
        cmocka_unit_test(test_generic_activations),
        cmocka_unit_test(test_generic_exp),
        cmocka_unit_test(test_generic_norms),
        cmocka_unit_test(test_generic_rope),
        cmocka_unit_test(test_generic_sums),
        cmocka_unit_test(test_generic_attend),
        cmocka_unit_test(test_generic_merge),
        cmocka_unit_test(test_matmul_levels),
        cmocka_unit_test(test_matmul_large),
        cmocka_unit_test(test_matmul_few_rows),
        cmocka_unit_test(test_elementwise_levels),
        cmocka_unit_test(test_half_levels),
        cmocka_unit_test(test_rope_levels),
        cmocka_unit_test(test_attend_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
