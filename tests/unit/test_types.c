/* test_types.c: ggml's table of types, half precision, rows from and to float, against other implementations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tensor/types.h"
#include "types_golden.h"

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

/* ---- the table ---- */

/* Elements and bytes of a block as ggml-common.h and gguf-py's GGML_QUANT_SIZES give them (which says 40 for Q8_1, a
 * layout that ggml gave up; the type does not occur in files). */
static void table_equals_ggmls(void **state)
{
    static const struct {
        uint32_t type;
        const char *name;
        int elements, bytes;
    } table[] = {
        {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
        {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
        {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
        {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
        {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
        {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
        {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
        {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
        {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
    };
    size_t found = 0;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const tensor_type_info *info = tensor_type_describe(table[i].type);

        assert_non_null(info);
        assert_string_equal(info->name, table[i].name);
        assert_int_equal(info->block_elements, table[i].elements);
        assert_int_equal(info->block_bytes, table[i].bytes);
    }
    for (uint32_t type = 0; type < 1000; type++)
        found += tensor_type_describe(type) != NULL;
    assert_int_equal(found, sizeof table / sizeof table[0]);
    assert_null(tensor_type_describe(UINT32_MAX));
}

static void runnable_types(void **state)
{
    static const tensor_type runnable[] = {TYPE_F32, TYPE_F16, TYPE_BF16, TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_K, TYPE_Q6_K};
    int n = 0;

    (void)state;
    for (size_t i = 0; i < sizeof runnable / sizeof runnable[0]; i++)
        assert_true(tensor_type_describe(runnable[i])->runnable);
    for (uint32_t type = 0; type < 100; type++)
        n += tensor_type_describe(type) && tensor_type_describe(type)->runnable;
    assert_int_equal(n, sizeof runnable / sizeof runnable[0]);
}

static void row_bytes(void **state)
{
    (void)state;
    assert_int_equal(tensor_row_bytes(TYPE_F32, 64), 256);
    assert_int_equal(tensor_row_bytes(TYPE_Q8_0, 64), 68);
    assert_int_equal(tensor_row_bytes(TYPE_Q6_K, 1024), 840);
    assert_int_equal(tensor_row_bytes(TYPE_F16, (size_t)1 << 40), (size_t)1 << 41);
}

/* ---- half precision ---- */

static void half_corners_equal_numpys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden_corners / sizeof golden_corners[0]; i++) {
        assert_int_equal(f32_to_f16(float_of_bits(golden_corners[i])), golden_corners_f16[i]);
        assert_int_equal(f32_to_bf16(float_of_bits(golden_corners[i])), golden_corners_bf16[i]);
    }
}

/* Every finite half has the value that its fields say, and comes back from it. */
static void halves_have_their_values(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        int exponent = h >> 10 & 31, fraction = h & 1023;
        double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        float f = f16_to_f32((uint16_t)h);

        if (exponent == 31 && fraction) {
            assert_true(isnan(f));
            assert_int_equal(f32_to_f16(f), h | 0x200);
            continue;
        }
        if (exponent == 31)
            assert_true(isinf(f));
        else
            assert_true(fabs((double)f) == value);
        assert_int_equal(!!signbit(f), h >> 15);
        assert_int_equal(f32_to_f16(f), h);
    }
}

/* Between neighbours the midpoint goes to the even one, and what lies a bit above or below it to the nearer one. */
static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = f16_to_f32((uint16_t)h), high = h == 0x7bff ? 65536.0 : f16_to_f32((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2);

        assert_true((double)middle == (low + high) / 2);
        assert_int_equal(f32_to_f16(middle), h + (h & 1));
        assert_int_equal(f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(f32_to_f16(nextafterf(middle, 1e9f)), h + 1);
        assert_int_equal(f32_to_f16(-middle), 0x8000 | (h + (h & 1)));
    }
    assert_int_equal(f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(f32_to_f16(1e-40f), 0);
    assert_int_equal(f32_to_f16(float_of_bits(0x7f800001)), 0x7e00);
}

static void brain_halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7f80; h++) {
        assert_int_equal(bits_of_float(bf16_to_f32((uint16_t)h)), h << 16);
        assert_int_equal(f32_to_bf16(float_of_bits(h << 16)), h);
        assert_int_equal(f32_to_bf16(float_of_bits(h << 16 | 0x7fff)), h);
        assert_int_equal(f32_to_bf16(float_of_bits(h << 16 | 0x8000)), h + (h & 1));
        assert_int_equal(f32_to_bf16(float_of_bits(h << 16 | 0x8001)), h + 1);
    }
    assert_int_equal(f32_to_bf16(float_of_bits(0x7f800001)), 0x7fc0);
    assert_int_equal(f32_to_bf16(float_of_bits(0xffffffff)), 0xffff);
}

/* ---- rows to float ---- */

/* The row stands at an odd address, as it may in a file, and nothing beyond it is read or written. */
static void check_to_float(tensor_type type, const uint8_t *blocks, size_t size, const uint32_t *floats, size_t n)
{
    uint8_t *odd = malloc(size + 1);
    float *out = malloc(n * sizeof *out);

    assert_int_equal(tensor_row_bytes(type, n), size);
    memcpy(odd + 1, blocks, size);
    tensor_row_to_float(type, odd + 1, out, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bits_of_float(out[i]), floats[i]);
    free(odd);
    free(out);
}

#define CHECK_TO_FLOAT(type, name)                                                                                     \
    check_to_float(type, golden_##name##_blocks, sizeof golden_##name##_blocks, golden_##name##_floats,                \
                   sizeof golden_##name##_floats / 4)

static void quantised_rows_equal_gguf_pys(void **state)
{
    (void)state;
    CHECK_TO_FLOAT(TYPE_Q8_0, q8_0);
    CHECK_TO_FLOAT(TYPE_Q4_0, q4_0);
    CHECK_TO_FLOAT(TYPE_Q4_K, q4_k);
    CHECK_TO_FLOAT(TYPE_Q6_K, q6_k);
}

static void float_rows(void **state)
{
    static const float x[3] = {1.5f, -0.25f, 65504};
    static const uint16_t f16[3] = {0x3e00, 0xb400, 0x7bff}, bf16[3] = {0x3fc0, 0xbe80, 0x4780};
    uint16_t half[3];
    float back[3];

    (void)state;
    tensor_row_to_float(TYPE_F32, x, back, 3);
    assert_memory_equal(back, x, sizeof x);
    assert_true(tensor_row_from_float(TYPE_F16, x, half, 3));
    assert_memory_equal(half, f16, sizeof f16);
    tensor_row_to_float(TYPE_F16, half, back, 3);
    assert_memory_equal(back, x, sizeof x);
    assert_true(tensor_row_from_float(TYPE_BF16, x, half, 3));
    assert_memory_equal(half, bf16, sizeof bf16);
    tensor_row_to_float(TYPE_BF16, half, back, 3);
    assert_true(back[0] == 1.5f && back[1] == -0.25f && back[2] == 65536);
}

/* ---- rows from float ---- */

static void check_from_float(tensor_type type, const uint8_t *expected, size_t size)
{
    float x[256];
    uint8_t out[1024];

    for (int i = 0; i < 256; i++)
        x[i] = float_of_bits(golden_x[i]);
    assert_int_equal(tensor_row_bytes(type, 256), size);
    assert_true(tensor_row_from_float(type, x, out, 256));
    assert_memory_equal(out, expected, size);
}

static void quantised_blocks_equal_ggmls(void **state)
{
    (void)state;
    check_from_float(TYPE_Q8_0, golden_x_q8_0, sizeof golden_x_q8_0);
    check_from_float(TYPE_Q4_0, golden_x_q4_0, sizeof golden_x_q4_0);
    check_from_float(TYPE_Q4_K, golden_x_q4_k, sizeof golden_x_q4_k);
    check_from_float(TYPE_Q6_K, golden_x_q6_k, sizeof golden_x_q6_k);
}

/* Root mean square error of normal numbers, relative to their deviation. */
static double quantisation_error(tensor_type type)
{
    enum { N = 256 * 64 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    uint8_t *row = malloc(tensor_row_bytes(type, N));
    double sum = 0;
    random_state r;

    random_seed(&r, 9, 0);
    for (int i = 0; i < N; i++)
        x[i] = (float)(0.02 * random_normal(&r));
    assert_true(tensor_row_from_float(type, x, row, N));
    tensor_row_to_float(type, row, y, N);
    for (int i = 0; i < N; i++)
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    free(x);
    free(y);
    free(row);
    return sqrt(sum / N) / 0.02;
}

static void quantisation_loses_little(void **state)
{
    (void)state;
    assert_true(quantisation_error(TYPE_F32) == 0);
    assert_true(quantisation_error(TYPE_F16) < 0.0003);
    assert_true(quantisation_error(TYPE_BF16) < 0.002);
    assert_true(quantisation_error(TYPE_Q8_0) < 0.006);
    assert_true(quantisation_error(TYPE_Q6_K) < 0.019);
    assert_true(quantisation_error(TYPE_Q4_K) < 0.075);
    assert_true(quantisation_error(TYPE_Q4_0) < 0.09);
}

/* Zeros, one value, huge, tiny, infinite and missing numbers give blocks, without undefined behaviour. */
static void odd_rows_are_quantised(void **state)
{
    static const float values[] = {0, 1, -1, 1e30f, -1e-30f, 1e-40f, INFINITY, -INFINITY, NAN, 3e38f};
    static const tensor_type types[] = {TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_K, TYPE_Q6_K};

    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            float x[256], y[256];
            uint8_t row[512];

            for (int i = 0; i < 256; i++)
                x[i] = values[v];
            assert_true(tensor_row_from_float(types[t], x, row, 256));
            tensor_row_to_float(types[t], row, y, 256);
            for (int i = 0; i < 256 && fabsf(values[v]) <= 1; i++)
                assert_true(fabsf(y[i] - x[i]) <= 0.001f);
            for (int i = 0; i < 256; i++)
                x[i] = i % 3 ? 0.5f : values[v];
            assert_true(tensor_row_from_float(types[t], x, row, 256));
        }
}

static void other_types_are_refused(void **state)
{
    float x[256] = {0};
    uint8_t row[512];

    (void)state;
    assert_false(tensor_row_from_float(TYPE_Q5_K, x, row, 256));
    assert_false(tensor_row_from_float((tensor_type)31, x, row, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_equals_ggmls),
        cmocka_unit_test(runnable_types),
        cmocka_unit_test(row_bytes),
        cmocka_unit_test(half_corners_equal_numpys),
        cmocka_unit_test(halves_have_their_values),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(brain_halves_round_to_nearest_even),
        cmocka_unit_test(quantised_rows_equal_gguf_pys),
        cmocka_unit_test(float_rows),
        cmocka_unit_test(quantised_blocks_equal_ggmls),
        cmocka_unit_test(quantisation_loses_little),
        cmocka_unit_test(odd_rows_are_quantised),
        cmocka_unit_test(other_types_are_refused),
    };

    return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
