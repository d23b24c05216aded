/* gguf_values.c: metadata of an open GGUF file as C values and as text. The file was checked when it was opened. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "format/gguf_internal.h"

static const struct {
    const char *name;
    size_t size;
} type_table[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", 1},         [GGUF_I8] = {"i8", 1},       [GGUF_U16] = {"u16", 2}, [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},       [GGUF_I32] = {"i32", 4},     [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

size_t gguf_type_size(uint32_t type)
{
    return type < GGUF_TYPES ? type_table[type].size : 0;
}

const char *gguf_type_name(uint32_t type)
{
    return type < GGUF_TYPES ? type_table[type].name : "unknown";
}

size_t gguf_value_bytes(const gguf_value *value)
{
    const unsigned char *end = value->data;

    if (value->item_type != GGUF_STRING)
        return value->n_items * gguf_type_size(value->item_type);
    for (uint64_t i = 0; i < value->n_items; i++)
        gguf_next_string(&end);
    return (size_t)(end - value->data);
}

gguf_string gguf_next_string(const unsigned char **cursor)
{
    gguf_string s = {(const char *)*cursor + 8, (size_t)load_u64(*cursor)};

    *cursor += 8 + s.len;
    return s;
}

/* ---- numbers ---- */

/* A number of any type, without loss. */
typedef struct number {
    enum { NOT_A_NUMBER, UNSIGNED, SIGNED, REAL } kind;
    uint64_t u; /* UNSIGNED */
    int64_t i;  /* SIGNED: negative */
    double f;   /* REAL */
} number;

static number from_signed(int64_t i)
{
    return i < 0 ? (number){.kind = SIGNED, .i = i} : (number){.kind = UNSIGNED, .u = (uint64_t)i};
}

static number load_number(gguf_type type, const unsigned char *p)
{
    union {
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v;

    if (gguf_type_size(type) == 0)
        return (number){.kind = NOT_A_NUMBER};
    memcpy(&v, p, gguf_type_size(type));
    switch (type) {
    case GGUF_U8:
    case GGUF_BOOL:
        return (number){.kind = UNSIGNED, .u = *p};
    case GGUF_I8:
        return from_signed(v.i8);
    case GGUF_U16:
        return (number){.kind = UNSIGNED, .u = v.u16};
    case GGUF_I16:
        return from_signed(v.i16);
    case GGUF_U32:
        return (number){.kind = UNSIGNED, .u = v.u32};
    case GGUF_I32:
        return from_signed(v.i32);
    case GGUF_U64:
        return (number){.kind = UNSIGNED, .u = v.u64};
    case GGUF_I64:
        return from_signed(v.i64);
    case GGUF_F32:
        return (number){.kind = REAL, .f = v.f32};
    default:
        return (number){.kind = REAL, .f = v.f64};
    }
}

static double number_as_double(number n)
{
    return n.kind == UNSIGNED ? (double)n.u : n.kind == SIGNED ? (double)n.i : n.kind == REAL ? n.f : 0;
}

/* What does not fit becomes the nearest int64 that does, NaN becomes 0. */
static int64_t number_as_i64(number n)
{
    switch (n.kind) {
    case UNSIGNED:
        return n.u > INT64_MAX ? INT64_MAX : (int64_t)n.u;
    case SIGNED:
        return n.i;
    case REAL:
        return n.f >= 0x1p63 ? INT64_MAX : n.f < -0x1p63 ? INT64_MIN : n.f == n.f ? (int64_t)n.f : 0;
    default:
        return 0;
    }
}

static number array_number(const gguf_value *value, uint64_t i)
{
    if (i >= value->n_items)
        return (number){.kind = NOT_A_NUMBER};
    return load_number(value->item_type, value->data + i * gguf_type_size(value->item_type));
}

double gguf_array_f64(const gguf_value *value, uint64_t i)
{
    return number_as_double(array_number(value, i));
}

int64_t gguf_array_i64(const gguf_value *value, uint64_t i)
{
    return number_as_i64(array_number(value, i));
}

/* ---- scalars by key ---- */

/* Finds a key; *value is NULL if it is absent and need not be there. */
static aigc_status find_value(const gguf_file *f, const char *key, bool required, const gguf_value **value,
                              aigc_error *err)
{
    *value = gguf_find(f, key);
    if (!*value && required)
        return aigc_fail(err, AIGC_E_FORMAT, "%s: the metadata lack %s", f->path, key);
    return AIGC_OK;
}

static aigc_status fail_value(const gguf_file *f, const gguf_value *value, const char *wanted, aigc_error *err)
{
    char text[80];

    gguf_value_print(value, text, sizeof text);
    return aigc_fail(err, AIGC_E_FORMAT, "%s: %s is %s (type %s), not %s", f->path, value->key, text,
                     gguf_type_name(value->type), wanted);
}

/* An integer within [min, max]; booleans are none. */
static aigc_status get_integer(const gguf_file *f, const char *key, bool required, int64_t min, uint64_t max,
                               const char *wanted, number *out, aigc_error *err)
{
    const gguf_value *value;
    aigc_status status = find_value(f, key, required, &value, err);
    number n;

    if (status != AIGC_OK || !value)
        return status;
    n = value->type == GGUF_BOOL ? (number){.kind = NOT_A_NUMBER} : load_number(value->type, value->data);
    if ((n.kind == UNSIGNED && n.u <= max) || (n.kind == SIGNED && n.i >= min)) {
        *out = n;
        return AIGC_OK;
    }
    return fail_value(f, value, wanted, err);
}

aigc_status gguf_get_u32(const gguf_file *f, const char *key, bool required, uint32_t *out, aigc_error *err)
{
    number n = {.kind = NOT_A_NUMBER};
    aigc_status status = get_integer(f, key, required, 0, UINT32_MAX, "an integer from 0 to 4294967295", &n, err);

    if (n.kind == UNSIGNED)
        *out = (uint32_t)n.u;
    return status;
}

aigc_status gguf_get_i64(const gguf_file *f, const char *key, bool required, int64_t *out, aigc_error *err)
{
    number n = {.kind = NOT_A_NUMBER};
    aigc_status status =
        get_integer(f, key, required, INT64_MIN, INT64_MAX, "an integer from -2^63 to 2^63 - 1", &n, err);

    if (n.kind != NOT_A_NUMBER)
        *out = number_as_i64(n);
    return status;
}

aigc_status gguf_get_f32(const gguf_file *f, const char *key, bool required, float *out, aigc_error *err)
{
    const gguf_value *value;
    aigc_status status = find_value(f, key, required, &value, err);
    number n;
    float narrow;

    if (status != AIGC_OK || !value)
        return status;
    n = value->type == GGUF_BOOL ? (number){.kind = NOT_A_NUMBER} : load_number(value->type, value->data);
    narrow = (float)number_as_double(n);
    /* A double may lose digits, but not become infinite; an integer must be exact. */
    if (n.kind == NOT_A_NUMBER || (n.kind == REAL && isinf(narrow) && !isinf(n.f)) ||
        (n.kind == UNSIGNED && n.u > 1 << 24) || (n.kind == SIGNED && n.i < -(1 << 24)))
        return fail_value(f, value, "a number that single precision holds", err);
    *out = narrow;
    return AIGC_OK;
}

aigc_status gguf_get_bool(const gguf_file *f, const char *key, bool required, bool *out, aigc_error *err)
{
    const gguf_value *value;
    aigc_status status = find_value(f, key, required, &value, err);

    if (status != AIGC_OK || !value)
        return status;
    if (value->type != GGUF_BOOL)
        return fail_value(f, value, "a boolean", err);
    *out = value->data[0] != 0;
    return AIGC_OK;
}

aigc_status gguf_get_string(const gguf_file *f, const char *key, bool required, gguf_string *out, aigc_error *err)
{
    const gguf_value *value;
    const unsigned char *cursor;
    aigc_status status = find_value(f, key, required, &value, err);

    if (status != AIGC_OK || !value)
        return status;
    if (value->type != GGUF_STRING)
        return fail_value(f, value, "a string", err);
    cursor = value->data;
    *out = gguf_next_string(&cursor);
    return AIGC_OK;
}

/* ---- as text ---- */

/* Text that is cut, between pieces, where the room ends. */
typedef struct line {
    char *out;
    size_t size, len;
    size_t keep; /* length of the pieces that leave room for CUT_MARK */
    bool full;
} line;

#define CUT_MARK "..."

/* Adds the n bytes of one piece (a character, an escape, a number), or nothing if they do not fit. */
static void add(line *l, const char *s, size_t n)
{
    if (l->full || n >= l->size - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->out + l->len, s, n);
    l->len += n;
    l->out[l->len] = '\0';
    if (l->len + sizeof CUT_MARK <= l->size)
        l->keep = l->len;
}

static void add_text(line *l, const char *s)
{
    for (; *s && !l->full; s++)
        add(l, s, 1);
}

/* A string with line ends, control characters, backslashes and bytes that are not UTF-8 escaped as in C; in quotes
 * also the quotes. */
static void add_string(line *l, gguf_string s, bool quoted)
{
    if (quoted)
        add(l, "\"", 1);
    for (size_t i = 0, n; i < s.len && !l->full; i += n) {
        unsigned char c = (unsigned char)s.data[i];
        char escape[5];

        n = utf8_character(s.data + i, s.len - i);
        if (n > 0 && !utf8_is_control(s.data + i, n) && c != '\\' && !(quoted && c == '"')) {
            add(l, s.data + i, n);
            continue;
        }
        n = 1;
        if (c == '\n' || c == '\t' || c == '\\' || c == '"')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : c);
        else
            snprintf(escape, sizeof escape, "\\x%02x", c);
        add(l, escape, strlen(escape));
    }
    if (quoted)
        add(l, "\"", 1);
}

/* The shortest decimal that reads back as the same number. */
static void print_real(double f, bool single, char *out, size_t size)
{
    for (int digits = 6; digits <= 17; digits++) {
        double back;

        snprintf(out, size, "%.*g", digits, f);
        back = strtod(out, NULL);
        if (single ? (float)back == (float)f : back == f)
            return;
    }
}

static void add_number(line *l, gguf_type type, const unsigned char *p)
{
    number n = load_number(type, p);
    char text[32];

    if (type == GGUF_BOOL)
        snprintf(text, sizeof text, "%s", n.u ? "true" : "false");
    else if (n.kind == UNSIGNED)
        snprintf(text, sizeof text, "%llu", (unsigned long long)n.u);
    else if (n.kind == SIGNED)
        snprintf(text, sizeof text, "%lld", (long long)n.i);
    else
        print_real(n.f, type == GGUF_F32, text, sizeof text);
    add(l, text, strlen(text));
}

static void add_array(line *l, const gguf_value *value)
{
    enum { SHOWN = 8 };
    const unsigned char *p = value->data;
    char count[32];

    snprintf(count, sizeof count, "[%llu]", (unsigned long long)value->n_items);
    add_text(l, gguf_type_name(value->item_type));
    add_text(l, count);
    for (uint64_t i = 0; i < value->n_items && i < SHOWN && !l->full; i++) {
        add_text(l, i ? ", " : ": ");
        if (value->item_type == GGUF_STRING)
            add_string(l, gguf_next_string(&p), true);
        else {
            add_number(l, value->item_type, p);
            p += gguf_type_size(value->item_type);
        }
    }
    if (value->n_items > SHOWN)
        add_text(l, ", ...");
}

void gguf_value_print(const gguf_value *value, char *out, size_t size)
{
    line l = {out, size, 0, 0, false};
    const unsigned char *p = value->data;

    if (size == 0)
        return;
    out[0] = '\0';
    if (value->type == GGUF_ARRAY)
        add_array(&l, value);
    else if (value->type == GGUF_STRING)
        add_string(&l, gguf_next_string(&p), false);
    else
        add_number(&l, value->type, p);
    if (l.full && size >= sizeof CUT_MARK)
        memcpy(out + l.keep, CUT_MARK, sizeof CUT_MARK);
}
