/* gguf_write.c: GGUF v3 files: metadata and tensor descriptions gathered in memory, then the tensors' data streamed. */
#include <stdlib.h>

#include "base/memory.h"
#include "format/gguf_internal.h"

typedef struct bytes {
    unsigned char *data;
    size_t size, capacity;
} bytes;

/* A key or a tensor that was added. The name stands first: name_index finds it there. */
typedef struct entry {
    char *name;
    uint64_t bytes; /* of a tensor's data */
} entry;

typedef struct entries {
    entry *items;
    size_t n, capacity;
    name_index index;
} entries;

struct gguf_writer {
    aigc_error error; /* the first one; code AIGC_OK while there is none */
    bytes values, tensors;
    entries keys, names;
    uint64_t data_bytes; /* of all tensors so far, with padding */
    file_writer *file;   /* from gguf_writer_begin() on */
    size_t current;      /* the tensor whose data come next */
    uint64_t written;    /* of its data */
};

static bool failed(const gguf_writer *w)
{
    return w->error.code != AIGC_OK;
}

static aigc_status report(const gguf_writer *w, aigc_error *err)
{
    return failed(w) ? aigc_fail(err, w->error.code, "%s", w->error.message) : AIGC_OK;
}

static uint64_t padding_after(uint64_t size)
{
    return (GGUF_DEFAULT_ALIGNMENT - size % GGUF_DEFAULT_ALIGNMENT) % GGUF_DEFAULT_ALIGNMENT;
}

aigc_status gguf_writer_create(gguf_writer **writer, aigc_error *err)
{
    gguf_writer *w = aigc_calloc(1, sizeof *w);

    if (!w)
        return aigc_fail_memory(err, "a GGUF writer", sizeof *w);
    *writer = w;
    return AIGC_OK;
}

static void free_entries(entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->items[i].name);
    free(e->items);
    name_index_free(&e->index);
}

void gguf_writer_abandon(gguf_writer *w)
{
    if (!w)
        return;
    file_writer_abandon(w->file);
    free_entries(&w->keys);
    free_entries(&w->names);
    free(w->values.data);
    free(w->tensors.data);
    free(w);
}

/* ---- gathering ---- */

static void put(gguf_writer *w, bytes *to, const void *data, size_t size)
{
    if (failed(w) || size == 0)
        return;
    if (size > to->capacity - to->size) {
        size_t capacity = to->capacity + to->capacity / 2 + size + 256;
        void *p = capacity > size ? realloc(to->data, capacity) : NULL;

        if (!p) {
            aigc_fail_memory(&w->error, "the header of a GGUF file", capacity);
            return;
        }
        to->data = p;
        to->capacity = capacity;
    }
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

static void put_u32(gguf_writer *w, bytes *to, uint32_t value)
{
    put(w, to, &value, sizeof value);
}

static void put_u64(gguf_writer *w, bytes *to, uint64_t value)
{
    put(w, to, &value, sizeof value);
}

static void put_string(gguf_writer *w, bytes *to, const char *s, size_t len)
{
    put_u64(w, to, len);
    put(w, to, s, len);
}

/* Makes room for one more entry, and an index that holds it. */
static bool grow_entries(entries *e)
{
    size_t capacity = e->capacity ? e->capacity * 2 : 64;
    name_index index;
    entry *items;

    if (e->n < e->capacity)
        return true;
    items = aigc_realloc_array(e->items, capacity, sizeof *items);
    if (!items)
        return false;
    e->items = items;
    if (!name_index_create(&index, capacity))
        return false;
    for (size_t i = 0; i < e->n; i++)
        name_index_add(&index, e->items, sizeof e->items[0], i);
    name_index_free(&e->index);
    e->index = index;
    e->capacity = capacity;
    return true;
}

static void add_entry(gguf_writer *w, entries *e, const char *what, const char *name, size_t max, uint64_t n_bytes)
{
    size_t len = strlen(name);

    if (failed(w))
        return;
    if (w->file)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "%s \"%s\" comes after the header was written", what, name);
    else if (len < 1 || len > max || gguf_name_check(name, len) < len)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "%s \"%s\" is not a name of 1 to %zu bytes of UTF-8", what, name, max);
    else if (!grow_entries(e) || !(e->items[e->n].name = strdup(name)))
        aigc_fail_memory(&w->error, "the names in a GGUF file", len + 1);
    else {
        name_added added = name_index_add(&e->index, e->items, sizeof e->items[0], e->n);

        e->items[e->n].bytes = n_bytes;
        e->n++;
        if (added != NAME_ADDED)
            aigc_fail(&w->error, AIGC_E_ARGUMENT, "%s \"%s\" %s", what, name,
                      added == NAME_DUPLICATE ? "is set twice" : "has the hash of too many others");
    }
}

/* ---- metadata ---- */

/* Begins a metadata pair: the caller puts its value. */
static void put_key(gguf_writer *w, const char *key, gguf_type type)
{
    if (strcmp(key, "general.alignment") == 0 && !failed(w))
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "general.alignment can't be set: it is always %d",
                  GGUF_DEFAULT_ALIGNMENT);
    add_entry(w, &w->keys, "key", key, GGUF_KEY_MAX, 0);
    put_string(w, &w->values, key, strlen(key));
    put_u32(w, &w->values, type);
}

static void set_scalar(gguf_writer *w, const char *key, gguf_type type, const void *value)
{
    put_key(w, key, type);
    put(w, &w->values, value, gguf_type_size(type));
}

void gguf_writer_set_u32(gguf_writer *w, const char *key, uint32_t value)
{
    set_scalar(w, key, GGUF_U32, &value);
}

void gguf_writer_set_i32(gguf_writer *w, const char *key, int32_t value)
{
    set_scalar(w, key, GGUF_I32, &value);
}

void gguf_writer_set_u64(gguf_writer *w, const char *key, uint64_t value)
{
    set_scalar(w, key, GGUF_U64, &value);
}

void gguf_writer_set_f32(gguf_writer *w, const char *key, float value)
{
    set_scalar(w, key, GGUF_F32, &value);
}

void gguf_writer_set_bool(gguf_writer *w, const char *key, bool value)
{
    unsigned char byte = value;

    set_scalar(w, key, GGUF_BOOL, &byte);
}

void gguf_writer_set_string(gguf_writer *w, const char *key, const char *value, size_t len)
{
    put_key(w, key, GGUF_STRING);
    put_string(w, &w->values, value, len);
}

static void put_array(gguf_writer *w, const char *key, gguf_type item_type, uint64_t n)
{
    put_key(w, key, GGUF_ARRAY);
    put_u32(w, &w->values, item_type);
    put_u64(w, &w->values, n);
}

void gguf_writer_set_strings(gguf_writer *w, const char *key, const gguf_string *items, size_t n)
{
    put_array(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_string(w, &w->values, items[i].data, items[i].len);
}

static void set_numbers(gguf_writer *w, const char *key, gguf_type type, const void *items, size_t n)
{
    size_t size;

    if (!aigc_mul(n, gguf_type_size(type), &size)) {
        if (!failed(w))
            aigc_fail(&w->error, AIGC_E_ARGUMENT, "%s: %zu items are too many", key, n);
        return;
    }
    put_array(w, key, type, n);
    put(w, &w->values, items, size);
}

void gguf_writer_set_i32s(gguf_writer *w, const char *key, const int32_t *items, size_t n)
{
    set_numbers(w, key, GGUF_I32, items, n);
}

void gguf_writer_set_f32s(gguf_writer *w, const char *key, const float *items, size_t n)
{
    set_numbers(w, key, GGUF_F32, items, n);
}

void gguf_writer_copy_values(gguf_writer *w, const gguf_file *from)
{
    gguf_writer_copy_prefix(w, from, "");
}

void gguf_writer_copy_prefix(gguf_writer *w, const gguf_file *from, const char *prefix)
{
    for (uint64_t i = 0; i < gguf_n_values(from); i++) {
        const gguf_value *v = gguf_value_at(from, i);

        /* The new file is aligned in its own way. */
        if (strcmp(v->key, "general.alignment") == 0 || strncmp(v->key, prefix, strlen(prefix)) != 0 ||
            (w->keys.n && name_index_find(&w->keys.index, w->keys.items, sizeof w->keys.items[0], v->key)))
            continue;
        if (v->type == GGUF_ARRAY)
            put_array(w, v->key, v->item_type, v->n_items);
        else
            put_key(w, v->key, v->type);
        put(w, &w->values, v->data, gguf_value_bytes(v));
    }
}

/* ---- tensors ---- */

void gguf_writer_add_tensor(gguf_writer *w, const char *name, tensor_type type, int n_dims, const uint64_t *dims)
{
    const tensor_type_info *info = tensor_type_describe(type);
    uint64_t n = 1, size = 0, end = 0;
    bool fits = info && n_dims >= 1 && n_dims <= 4;

    for (int d = 0; fits && d < n_dims; d++)
        fits = dims[d] > 0 && !__builtin_mul_overflow(n, dims[d], &n);
    fits = fits && dims[0] % (uint64_t)info->block_elements == 0 &&
           !__builtin_mul_overflow(n / (uint64_t)info->block_elements, (uint64_t)info->block_bytes, &size) &&
           !__builtin_add_overflow(w->data_bytes, size, &end) && end <= INT64_MAX;
    if (!fits) {
        if (!failed(w))
            aigc_fail(&w->error, AIGC_E_ARGUMENT, "tensor \"%s\" of type %s has dimensions that don't fit it", name,
                      info ? info->name : "unknown");
        return;
    }
    add_entry(w, &w->names, "tensor", name, GGUF_TENSOR_NAME_MAX, size);
    put_string(w, &w->tensors, name, strlen(name));
    put_u32(w, &w->tensors, (uint32_t)n_dims);
    for (int d = 0; d < n_dims; d++)
        put_u64(w, &w->tensors, dims[d]);
    put_u32(w, &w->tensors, type);
    put_u64(w, &w->tensors, w->data_bytes);
    w->data_bytes = end + padding_after(end);
}

/* ---- the file ---- */

static aigc_status write_padding(gguf_writer *w, aigc_error *err)
{
    static const unsigned char zeros[GGUF_DEFAULT_ALIGNMENT];

    return file_writer_write(w->file, zeros, padding_after(file_writer_offset(w->file)), err);
}

static aigc_status write_header(gguf_writer *w, aigc_error *err)
{
    bytes head = {0};
    aigc_status status;

    put(w, &head, GGUF_MAGIC, strlen(GGUF_MAGIC));
    put_u32(w, &head, GGUF_VERSION_WRITTEN);
    put_u64(w, &head, w->names.n);
    put_u64(w, &head, w->keys.n);
    status = report(w, err);
    if (status == AIGC_OK)
        status = file_writer_write(w->file, head.data, head.size, err);
    if (status == AIGC_OK)
        status = file_writer_write(w->file, w->values.data, w->values.size, err);
    if (status == AIGC_OK)
        status = file_writer_write(w->file, w->tensors.data, w->tensors.size, err);
    if (status == AIGC_OK)
        status = write_padding(w, err);
    free(head.data);
    return status;
}

aigc_status gguf_writer_begin(gguf_writer *w, const char *path, aigc_error *err)
{
    if (!failed(w) && w->file)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "%s: the header was written already", path);
    if (!failed(w) && file_writer_open(path, &w->file, &w->error) == AIGC_OK)
        write_header(w, &w->error);
    return report(w, err);
}

void gguf_writer_set_interrupt(gguf_writer *w, const volatile sig_atomic_t *flag)
{
    if (w->file)
        file_writer_set_interrupt(w->file, flag);
}

static void write_data(gguf_writer *w, const void *data, size_t size)
{
    const entry *tensor = w->current < w->names.n ? &w->names.items[w->current] : NULL;

    if (!w->file)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "tensor data come before gguf_writer_begin()");
    else if (!tensor)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "%zu bytes of data come after the last tensor's", size);
    else if (size > tensor->bytes - w->written)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "tensor \"%s\" has %llu bytes, but %llu come", tensor->name,
                  (unsigned long long)tensor->bytes, (unsigned long long)(w->written + size));
    else if (file_writer_write(w->file, data, size, &w->error) == AIGC_OK) {
        w->written += size;
        if (w->written < tensor->bytes)
            return;
        w->current++;
        w->written = 0;
        write_padding(w, &w->error);
    }
}

aigc_status gguf_writer_data(gguf_writer *w, const void *data, size_t size, aigc_error *err)
{
    if (!failed(w) && size > 0)
        write_data(w, data, size);
    return report(w, err);
}

aigc_status gguf_writer_finish(gguf_writer *w, aigc_error *err)
{
    aigc_status status;

    if (!failed(w) && !w->file)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "a GGUF file is finished before gguf_writer_begin()");
    if (!failed(w) && w->current < w->names.n)
        aigc_fail(&w->error, AIGC_E_ARGUMENT, "tensor \"%s\" lacks %llu bytes of data", w->names.items[w->current].name,
                  (unsigned long long)(w->names.items[w->current].bytes - w->written));
    status = report(w, err);
    if (status == AIGC_OK) {
        file_writer *file = w->file;

        w->file = NULL; /* commit frees it */
        status = file_writer_commit(file, err);
    }
    gguf_writer_abandon(w);
    return status;
}
