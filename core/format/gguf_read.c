/*
 * gguf_read.c: opening a GGUF file: the one pass that checks all of it and builds the indices.
 *
 * Every count is checked against what the rest of the file can hold before memory is taken for it, so that memory
 * stays within a small multiple of the header's size.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/guard.h"
#include "base/memory.h"
#include "format/gguf_internal.h"

enum {
    HEADER_BYTES = 4 + 4 + 8 + 8, /* magic, version, number of tensors, number of metadata pairs */
    /* Smallest records: name length and one byte, type, and one byte of value, */
    VALUE_RECORD_MIN = 8 + 1 + 4 + 1,
    /* or no dimensions, type and offset. */
    TENSOR_RECORD_MIN = 8 + 1 + 4 + 4 + 8,
    ALIGNMENT_MIN = 8, /* the specification: a multiple of 8 */
    ALIGNMENT_MAX = 1 << 20,
};

typedef struct reader {
    gguf_file *file;
    size_t pos;
    const char *part; /* what is being read, for messages: "header", "metadata pair" or "tensor" */
    uint64_t number;  /* which metadata pair or tensor, from 0 */
    aigc_error *err;
} reader;

__attribute__((format(printf, 3, 4))) static aigc_status fail(const reader *r, aigc_status code, const char *format,
                                                              ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return aigc_fail(r->err, code, "%s: %s", r->file->path, text);
}

/* ---- pieces ---- */

static size_t remaining(const reader *r)
{
    return r->file->size - r->pos;
}

static aigc_status fail_truncated(const reader *r, const char *what, uint64_t bytes)
{
    char which[32] = "";

    if (r->pos >= HEADER_BYTES)
        snprintf(which, sizeof which, " %llu", (unsigned long long)r->number);
    return fail(r, AIGC_E_FORMAT, "truncated: %s of %s%s needs %llu bytes at offset %zu, but the file has %zu", what,
                r->part, which, (unsigned long long)bytes, r->pos, r->file->size);
}

/* The next `bytes` bytes of the file. */
static aigc_status take(reader *r, const char *what, uint64_t bytes, const unsigned char **out)
{
    if (bytes > remaining(r))
        return fail_truncated(r, what, bytes);
    *out = r->file->data + r->pos;
    r->pos += (size_t)bytes;
    return AIGC_OK;
}

static aigc_status take_u32(reader *r, const char *what, uint32_t *out)
{
    if (remaining(r) < 4)
        return fail_truncated(r, what, 4);
    *out = load_u32(r->file->data + r->pos);
    r->pos += 4;
    return AIGC_OK;
}

static aigc_status take_u64(reader *r, const char *what, uint64_t *out)
{
    if (remaining(r) < 8)
        return fail_truncated(r, what, 8);
    *out = load_u64(r->file->data + r->pos);
    r->pos += 8;
    return AIGC_OK;
}

/* A key or a tensor's name: 1 to max bytes of UTF-8 without control characters, copied. */
static aigc_status take_name(reader *r, const char *what, size_t max, char **out)
{
    const unsigned char *p = NULL;
    uint64_t len = 0;
    size_t bad;
    aigc_status status = take_u64(r, what, &len);

    if (status != AIGC_OK)
        return status;
    if (len < 1 || len > max)
        return fail(r, AIGC_E_FORMAT, "the %s of %s %llu has %llu bytes, not 1 to %zu", what, r->part,
                    (unsigned long long)r->number, (unsigned long long)len, max);
    status = take(r, what, len, &p);
    if (status != AIGC_OK)
        return status;
    bad = gguf_name_check((const char *)p, len);
    if (bad < len)
        return fail(r, AIGC_E_FORMAT, "the %s of %s %llu has a byte 0x%02x, a control character or not UTF-8", what,
                    r->part, (unsigned long long)r->number, p[bad]);
    *out = strndup((const char *)p, len);
    if (!*out)
        return aigc_fail_memory(r->err, "a name in a GGUF file", len + 1);
    return AIGC_OK;
}

/* ---- metadata ---- */

static aigc_status check_bools(const reader *r, const gguf_value *value)
{
    for (uint64_t i = 0; i < value->n_items; i++)
        if (value->data[i] > 1)
            return fail(r, AIGC_E_FORMAT, "the boolean \"%.100s\" has the value %d", value->key, value->data[i]);
    return AIGC_OK;
}

/* Steps over `n` strings, each a length and its bytes. */
static aigc_status take_strings(reader *r, uint64_t n)
{
    const unsigned char *p = NULL;
    uint64_t len = 0;

    for (uint64_t i = 0; i < n; i++) {
        if (remaining(r) < 8)
            return take(r, "a string's length", 8, &p);
        len = load_u64(r->file->data + r->pos);
        r->pos += 8;
        if (len > remaining(r))
            return take(r, "a string", len, &p);
        r->pos += (size_t)len;
    }
    return AIGC_OK;
}

static aigc_status take_array(reader *r, gguf_value *value)
{
    const unsigned char *p = NULL;
    uint32_t type = 0;
    uint64_t n = 0;
    size_t size;
    aigc_status status;

    if ((status = take_u32(r, "the item type", &type)) != AIGC_OK ||
        (status = take_u64(r, "the item count", &n)) != AIGC_OK)
        return status;
    if (type == GGUF_ARRAY)
        return fail(r, AIGC_E_UNSUPPORTED, "\"%.100s\" is an array of arrays, which is not supported", value->key);
    if (type >= GGUF_TYPES)
        return fail(r, AIGC_E_FORMAT, "\"%.100s\" is an array of type %u, which GGUF does not have", value->key, type);
    size = type == GGUF_STRING ? 8 : gguf_type_size(type);
    if (n > remaining(r) / size)
        return fail(r, AIGC_E_FORMAT, "truncated: \"%.100s\" has %llu items of type %s, but %zu bytes remain",
                    value->key, (unsigned long long)n, gguf_type_name(type), remaining(r));
    value->item_type = type;
    value->n_items = n;
    value->data = r->file->data + r->pos;
    if (type == GGUF_STRING)
        return take_strings(r, n);
    status = take(r, "an array", n * size, &p);
    return status == AIGC_OK && type == GGUF_BOOL ? check_bools(r, value) : status;
}

static aigc_status take_value(reader *r, gguf_value *value)
{
    uint32_t type = 0;
    char *key = NULL;
    aigc_status status = take_name(r, "key", GGUF_KEY_MAX, &key);

    value->key = key;
    if (status != AIGC_OK || (status = take_u32(r, "the type", &type)) != AIGC_OK)
        return status;
    if (type >= GGUF_TYPES)
        return fail(r, AIGC_E_FORMAT, "\"%.100s\" has type %u, which GGUF does not have", value->key, type);
    value->type = type;
    value->item_type = type;
    value->n_items = 1;
    value->data = r->file->data + r->pos;
    if (type == GGUF_ARRAY)
        return take_array(r, value);
    if (type == GGUF_STRING)
        return take_strings(r, 1);
    status = take(r, "the value", gguf_type_size(type), &value->data);
    return status == AIGC_OK && type == GGUF_BOOL ? check_bools(r, value) : status;
}

/* Records the result of indexing a name as an error, if it is one. */
static aigc_status check_added(const reader *r, name_added added, const char *name)
{
    if (added == NAME_DUPLICATE)
        return fail(r, AIGC_E_FORMAT, "%s \"%.100s\" appears twice", r->part, name);
    if (added == NAME_CROWDED)
        return fail(r, AIGC_E_FORMAT, "the names of %ss are made to collide, as \"%.100s\"", r->part, name);
    return AIGC_OK;
}

static aigc_status take_values(reader *r, uint64_t n)
{
    gguf_file *f = r->file;

    r->part = "metadata pair";
    if (n > remaining(r) / VALUE_RECORD_MIN || n >= UINT32_MAX)
        return fail(r, AIGC_E_FORMAT, "truncated: says it has %llu metadata pairs, but is %zu bytes long",
                    (unsigned long long)n, f->size);
    f->values = aigc_calloc(n, sizeof f->values[0]);
    if (!f->values || !name_index_create(&f->value_index, n))
        return aigc_fail_memory(r->err, "the metadata of a GGUF file", n * sizeof f->values[0]);
    for (r->number = 0; r->number < n; r->number++) {
        gguf_value *value = &f->values[r->number];
        aigc_status status;

        f->n_values++; /* first, so that gguf_close() frees the key */
        status = take_value(r, value);
        if (status == AIGC_OK)
            status = check_added(r, name_index_add(&f->value_index, f->values, sizeof *value, r->number), value->key);
        if (status != AIGC_OK)
            return status;
    }
    return AIGC_OK;
}

static aigc_status find_alignment(reader *r)
{
    gguf_file *f = r->file;
    uint32_t alignment = GGUF_DEFAULT_ALIGNMENT;
    aigc_status status = gguf_get_u32(f, "general.alignment", false, &alignment, r->err);

    if (status != AIGC_OK)
        return status;
    if (alignment < ALIGNMENT_MIN || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
        return fail(r, AIGC_E_FORMAT, "general.alignment is %u, not a power of two from %d to %d", alignment,
                    ALIGNMENT_MIN, ALIGNMENT_MAX);
    f->alignment = alignment;
    return AIGC_OK;
}

/* ---- tensors ---- */

static aigc_status take_dims(reader *r, gguf_tensor *t)
{
    uint32_t n_dims = 0;
    aigc_status status = take_u32(r, "the number of dimensions", &n_dims);

    if (status != AIGC_OK)
        return status;
    if (n_dims > 4)
        return fail(r, AIGC_E_FORMAT, "tensor \"%s\" has %u dimensions, more than 4", t->name, n_dims);
    t->n_dims = n_dims ? (int)n_dims : 1; /* a scalar is a row of one element */
    t->n_elements = 1;
    for (uint32_t d = 0; d < 4; d++) {
        t->dims[d] = 1;
        if (d < n_dims && (status = take_u64(r, "a dimension", &t->dims[d])) != AIGC_OK)
            return status;
        if (t->dims[d] == 0)
            return fail(r, AIGC_E_FORMAT, "dimension %u of tensor \"%s\" is 0", d, t->name);
        if (t->dims[d] > INT64_MAX / t->n_elements)
            return fail(r, AIGC_E_FORMAT, "tensor \"%s\" has more than 2^63 elements", t->name);
        t->n_elements *= t->dims[d];
    }
    return AIGC_OK;
}

static aigc_status take_type(reader *r, gguf_tensor *t)
{
    const tensor_type_info *info;
    uint32_t type = 0;
    aigc_status status = take_u32(r, "the type", &type);

    if (status != AIGC_OK)
        return status;
    info = tensor_type_describe(type);
    if (!info)
        return fail(r, AIGC_E_UNSUPPORTED, "tensor \"%s\" has type %u, which is not known", t->name, type);
    if (t->dims[0] % (uint64_t)info->block_elements != 0)
        return fail(r, AIGC_E_FORMAT, "rows of tensor \"%s\" have %llu elements, not a multiple of %d as %s needs",
                    t->name, (unsigned long long)t->dims[0], info->block_elements, info->name);
    if (__builtin_mul_overflow(t->n_elements / (uint64_t)info->block_elements, (uint64_t)info->block_bytes, &t->bytes))
        return fail(r, AIGC_E_FORMAT, "tensor \"%s\" has more than 2^64 bytes", t->name);
    t->type = type;
    return AIGC_OK;
}

/* Reads one description. The offset, which counts from where the data begin, is kept in *offset until that is known. */
static aigc_status take_tensor(reader *r, gguf_tensor *t, uint64_t *offset)
{
    aigc_status status;

    if ((status = take_name(r, "name", GGUF_TENSOR_NAME_MAX, &t->name)) != AIGC_OK ||
        (status = take_dims(r, t)) != AIGC_OK || (status = take_type(r, t)) != AIGC_OK ||
        (status = take_u64(r, "the offset", offset)) != AIGC_OK)
        return status;
    if (*offset % r->file->alignment != 0)
        return fail(r, AIGC_E_FORMAT, "tensor \"%s\" begins at offset %llu, not a multiple of %u", t->name,
                    (unsigned long long)*offset, r->file->alignment);
    return check_added(r, name_index_add(&r->file->tensor_index, r->file->tensors, sizeof *t, r->number), t->name);
}

/* Places each tensor in the data, which begin at the first aligned byte after the descriptions. */
static aigc_status place_tensors(reader *r, const uint64_t *offsets)
{
    gguf_file *f = r->file;
    uint64_t begin = ((uint64_t)r->pos + f->alignment - 1) / f->alignment * f->alignment;
    uint64_t available = f->size > begin ? f->size - begin : 0;

    for (uint64_t i = 0; i < f->n_tensors; i++) {
        gguf_tensor *t = &f->tensors[i];

        if (offsets[i] > available || t->bytes > available - offsets[i])
            return fail(r, AIGC_E_FORMAT,
                        "truncated: tensor \"%s\" has %llu bytes at offset %llu of the data, which have %llu", t->name,
                        (unsigned long long)t->bytes, (unsigned long long)offsets[i], (unsigned long long)available);
        t->data = f->data + begin + offsets[i];
    }
    return AIGC_OK;
}

static aigc_status take_tensors(reader *r, uint64_t n)
{
    gguf_file *f = r->file;
    uint64_t *offsets;
    aigc_status status = AIGC_OK;

    r->part = "tensor";
    if (n > remaining(r) / TENSOR_RECORD_MIN || n >= UINT32_MAX)
        return fail(r, AIGC_E_FORMAT, "truncated: says it has %llu tensors, but %zu bytes remain after the metadata",
                    (unsigned long long)n, remaining(r));
    f->tensors = aigc_calloc(n, sizeof f->tensors[0]);
    offsets = aigc_calloc(n, sizeof offsets[0]);
    if (!f->tensors || !offsets || !name_index_create(&f->tensor_index, n)) {
        free(offsets);
        return aigc_fail_memory(r->err, "the tensors of a GGUF file", n * sizeof f->tensors[0]);
    }
    for (r->number = 0; r->number < n && status == AIGC_OK; r->number++) {
        f->n_tensors++; /* first, so that gguf_close() frees the name */
        status = take_tensor(r, &f->tensors[r->number], &offsets[r->number]);
    }
    if (status == AIGC_OK)
        status = place_tensors(r, offsets);
    free(offsets);
    return status;
}

/* ---- the file ---- */

/* What a file that is not GGUF begins with, for the message. */
static const char *describe_beginning(const unsigned char *p, size_t size)
{
    static const struct {
        const char *bytes, *what;
    } known[] = {
        {"version https://git-lfs", "a Git LFS pointer, not the file it stands for"},
        {"lmgg", "an old ggml file from before GGUF"},
        {"fmgg", "an old ggml file from before GGUF"},
        {"tjgg", "an old ggml file from before GGUF"},
        {"algg", "an old ggml adapter from before GGUF"},
        {"PK\x03\x04", "a zip archive (a PyTorch checkpoint?)"},
        {"\x80\x02", "a Python pickle (an old PyTorch checkpoint?)"},
        {"\x89HDF", "an HDF5 file"},
        {"\x1f\x8b", "compressed with gzip"},
        {"\xfd"
         "7zXZ",
         "compressed with xz"},
        {"\x28\xb5\x2f\xfd", "compressed with zstd"},
        {"\x7f"
         "ELF",
         "an ELF program or library"},
        {"<!", "an HTML page"},
        {"<h", "an HTML page"},
        {"FUGG", "a GGUF file with its bytes swapped"},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t len = strlen(known[i].bytes);

        if (size >= len && memcmp(p, known[i].bytes, len) == 0)
            return known[i].what;
    }
    /* safetensors: the length of a JSON header, then the header */
    if (size > 8 && p[8] == '{' && load_u64(p) < size)
        return "a safetensors file";
    return NULL;
}

static aigc_status check_magic(const reader *r)
{
    const gguf_file *f = r->file;
    const unsigned char *p = f->data;
    const char *what;

    if (f->size == 0)
        return fail(r, AIGC_E_FORMAT, "not a GGUF file: it is empty");
    if (f->size >= 4 && memcmp(p, GGUF_MAGIC, 4) == 0)
        return AIGC_OK;
    if (f->size < 4)
        return fail(r, AIGC_E_FORMAT, "not a GGUF file: it has %zu bytes", f->size);
    what = describe_beginning(p, f->size);
    if (what)
        return fail(r, AIGC_E_FORMAT, "not a GGUF file: it is %s", what);
    return fail(r, AIGC_E_FORMAT, "not a GGUF file: it begins with the bytes %02x %02x %02x %02x", p[0], p[1], p[2],
                p[3]);
}

static aigc_status take_version(reader *r)
{
    uint32_t *version = &r->file->version;
    aigc_status status = take_u32(r, "the version", version);

    if (status != AIGC_OK)
        return status;
    if ((*version & 0xffff) == 0 && *version != 0)
        return fail(r, AIGC_E_UNSUPPORTED, "a big-endian GGUF file, which is not supported");
    if (*version == 1)
        return fail(r, AIGC_E_UNSUPPORTED, "GGUF version 1 is not supported: convert the model again");
    if (*version < 2 || *version > GGUF_VERSION_WRITTEN)
        return fail(r, AIGC_E_UNSUPPORTED, "GGUF version %u is not supported (2 and 3 are)", *version);
    return AIGC_OK;
}

static aigc_status parse(gguf_file *f, aigc_error *err)
{
    reader r = {f, 0, "header", 0, err};
    uint64_t n_tensors = 0, n_values = 0;
    aigc_status status = check_magic(&r);

    if (status != AIGC_OK)
        return status;
    r.pos = strlen(GGUF_MAGIC);
    if ((status = take_version(&r)) != AIGC_OK ||
        (status = take_u64(&r, "the number of tensors", &n_tensors)) != AIGC_OK ||
        (status = take_u64(&r, "the number of metadata pairs", &n_values)) != AIGC_OK ||
        (status = take_values(&r, n_values)) != AIGC_OK || (status = find_alignment(&r)) != AIGC_OK)
        return status;
    return take_tensors(&r, n_tensors);
}

int gguf_guard(gguf_file *f)
{
    return guard_add(f->map.data, f->map.size, &f->lost);
}

void gguf_unguard(int guard)
{
    guard_remove(guard);
}

aigc_status gguf_check_whole(const gguf_file *f, aigc_error *err)
{
    if (!atomic_load(&f->lost))
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_IO, "%s: was overwritten, cut short or lost its disk while it was used; load it again",
                     f->path);
}

static aigc_status open_mapped(const void *data, size_t size, const char *name, file_map map, gguf_file **file,
                               aigc_error *err)
{
    gguf_file *f = aigc_calloc(1, sizeof *f);
    aigc_status status;
    int guard;

    if (!f || !(f->path = strdup(name))) {
        free(f);
        file_map_close(&map);
        return aigc_fail_memory(err, "a GGUF file's description", sizeof *f);
    }
    f->map = map;
    f->data = data;
    f->size = size;
    guard = gguf_guard(f);
    status = parse(f, err);
    if (gguf_check_whole(f, NULL) != AIGC_OK)
        status = gguf_check_whole(f, err); /* the reason for whatever else was found */
    gguf_unguard(guard);
    if (status != AIGC_OK) {
        gguf_close(f);
        return status;
    }
    *file = f;
    return AIGC_OK;
}

aigc_status gguf_open(const char *path, gguf_file **file, aigc_error *err)
{
    file_map map;
    aigc_status status = file_map_open(path, &map, err);

    if (status != AIGC_OK)
        return status;
    return open_mapped(map.data, map.size, path, map, file, err);
}

aigc_status gguf_open_memory(const void *data, size_t size, const char *name, gguf_file **file, aigc_error *err)
{
    if ((uintptr_t)data % ALIGNMENT_MIN != 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s: the memory of a GGUF file must be aligned to %d bytes", name,
                         ALIGNMENT_MIN);
    return open_mapped(data, size, name, (file_map){0}, file, err);
}

void gguf_close(gguf_file *f)
{
    if (!f)
        return;
    for (uint64_t i = 0; i < f->n_values; i++)
        free((char *)f->values[i].key);
    for (uint64_t i = 0; i < f->n_tensors; i++)
        free(f->tensors[i].name);
    free(f->values);
    free(f->tensors);
    name_index_free(&f->value_index);
    name_index_free(&f->tensor_index);
    file_map_close(&f->map);
    free(f->path);
    free(f);
}

const char *gguf_path(const gguf_file *f)
{
    return f->path;
}

uint32_t gguf_version(const gguf_file *f)
{
    return f->version;
}

uint64_t gguf_size(const gguf_file *f)
{
    return f->size;
}

uint64_t gguf_n_tensors(const gguf_file *f)
{
    return f->n_tensors;
}

const gguf_tensor *gguf_tensor_at(const gguf_file *f, uint64_t i)
{
    return i < f->n_tensors ? &f->tensors[i] : NULL;
}

const gguf_tensor *gguf_find_tensor(const gguf_file *f, const char *name)
{
    return name_index_find(&f->tensor_index, f->tensors, sizeof f->tensors[0], name);
}

uint64_t gguf_n_values(const gguf_file *f)
{
    return f->n_values;
}

const gguf_value *gguf_value_at(const gguf_file *f, uint64_t i)
{
    return i < f->n_values ? &f->values[i] : NULL;
}

const gguf_value *gguf_find(const gguf_file *f, const char *key)
{
    return name_index_find(&f->value_index, f->values, sizeof f->values[0], key);
}

aigc_status gguf_look_again(gguf_file *f, aigc_error *err)
{
    if (file_map_is_stale(&f->map, f->path))
        atomic_store(&f->lost, true);
    return gguf_check_whole(f, err);
}
