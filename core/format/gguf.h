/*
 * gguf.h: reading GGUF v2 and v3 files, mapped and in place, and writing v3.
 *
 * Source: the GGUF specification (ggml's docs/gguf.md). A file is hostile input: every count, length, offset, type and
 * string is checked against the mapping before use, little-endian only. Nothing is copied but the indices; strings are
 * not NUL-terminated in the file, so they are handed out as (pointer, length).
 */
#ifndef AIGC_FORMAT_GGUF_H
#define AIGC_FORMAT_GGUF_H

#include "base/error.h"
#include "tensor/types.h"

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
} gguf_type;

typedef struct gguf_string {
    const char *data;
    size_t len;
} gguf_string;

typedef struct gguf_tensor {
    char *name; /* NUL-terminated copy, valid UTF-8 without control characters */
    tensor_type type;
    int n_dims;       /* 1 to 4 */
    uint64_t dims[4]; /* dims[0] runs fastest; unused ones are 1 */
    uint64_t n_elements;
    uint64_t bytes;
    const void *data; /* in the mapping, aligned as the file says; inside the file, checked */
} gguf_tensor;

typedef struct gguf_file gguf_file;

aigc_status gguf_open(const char *path, gguf_file **file, aigc_error *err);
/* The same over memory that the caller keeps (fuzzing, embedded models). `name` is used in messages. */
aigc_status gguf_open_memory(const void *data, size_t size, const char *name, gguf_file **file, aigc_error *err);
void gguf_close(gguf_file *file);

/* Between these two whoever reads what is no longer in the file is not killed (base/guard.h) but reads zeros, and must
 * ask gguf_check_whole() before the outcome is believed: AIGC_E_IO from then on. Others may guard the file too. */
int gguf_guard(gguf_file *file);
void gguf_unguard(int guard);
aigc_status gguf_check_whole(const gguf_file *file, aigc_error *err);
/* The same, and also when the file was written to where nobody has read yet: a look at its date. */
aigc_status gguf_look_again(gguf_file *file, aigc_error *err);

const char *gguf_path(const gguf_file *file);
uint32_t gguf_version(const gguf_file *file);
uint64_t gguf_size(const gguf_file *file); /* bytes of the file */

uint64_t gguf_n_tensors(const gguf_file *file);
const gguf_tensor *gguf_tensor_at(const gguf_file *file, uint64_t i);
const gguf_tensor *gguf_find_tensor(const gguf_file *file, const char *name); /* NULL if absent; constant time */

/* Metadata. Values are found by key in constant time. */
typedef struct gguf_value {
    const char *key; /* NUL-terminated copy */
    gguf_type type;
    gguf_type item_type;       /* of an array */
    uint64_t n_items;          /* of an array; 1 otherwise */
    const unsigned char *data; /* the scalar, the string (length first), or the array's first item */
} gguf_value;

uint64_t gguf_n_values(const gguf_file *file);
const gguf_value *gguf_value_at(const gguf_file *file, uint64_t i);
const gguf_value *gguf_find(const gguf_file *file, const char *key);

/* Scalars, converted where nothing is lost (any integer type to a wider one, f32/f64 to double). They return
 * AIGC_E_FORMAT naming key, type and value when the key has another type or is out of range, and leave *out alone and
 * return AIGC_OK if the key is absent (so set *out to the default first). `required` makes absence an error. */
aigc_status gguf_get_u32(const gguf_file *file, const char *key, bool required, uint32_t *out, aigc_error *err);
aigc_status gguf_get_i64(const gguf_file *file, const char *key, bool required, int64_t *out, aigc_error *err);
aigc_status gguf_get_f32(const gguf_file *file, const char *key, bool required, float *out, aigc_error *err);
aigc_status gguf_get_bool(const gguf_file *file, const char *key, bool required, bool *out, aigc_error *err);
aigc_status gguf_get_string(const gguf_file *file, const char *key, bool required, gguf_string *out, aigc_error *err);

/* Walks an array of strings without copying: start with *cursor = value->data and call n_items times. The whole array
 * was checked when the file was opened. */
gguf_string gguf_next_string(const unsigned char **cursor);

/* Reads item i of an array of numbers as a double or an integer (types are checked by the caller via item_type). */
double gguf_array_f64(const gguf_value *value, uint64_t i);
int64_t gguf_array_i64(const gguf_value *value, uint64_t i);

/* The value as one line of text, cut to size bytes: for inspect. */
void gguf_value_print(const gguf_value *value, char *out, size_t size);

/* ---- writing ---- */

typedef struct gguf_writer gguf_writer;

/* Builds a v3 file: first all metadata and tensor descriptions, then the data of each tensor in the order described.
 * Errors are sticky: the first one is reported by gguf_writer_finish(). */
aigc_status gguf_writer_create(gguf_writer **writer, aigc_error *err);
void gguf_writer_set_u32(gguf_writer *w, const char *key, uint32_t value);
void gguf_writer_set_i32(gguf_writer *w, const char *key, int32_t value);
void gguf_writer_set_u64(gguf_writer *w, const char *key, uint64_t value);
void gguf_writer_set_f32(gguf_writer *w, const char *key, float value);
void gguf_writer_set_bool(gguf_writer *w, const char *key, bool value);
void gguf_writer_set_string(gguf_writer *w, const char *key, const char *value, size_t len);
void gguf_writer_set_strings(gguf_writer *w, const char *key, const gguf_string *items, size_t n);
void gguf_writer_set_i32s(gguf_writer *w, const char *key, const int32_t *items, size_t n);
void gguf_writer_set_f32s(gguf_writer *w, const char *key, const float *items, size_t n);
/* Copies every value of another file except keys already set. */
void gguf_writer_copy_values(gguf_writer *w, const gguf_file *from);
/* The same for the keys that begin with prefix. */
void gguf_writer_copy_prefix(gguf_writer *w, const gguf_file *from, const char *prefix);
void gguf_writer_add_tensor(gguf_writer *w, const char *name, tensor_type type, int n_dims, const uint64_t *dims);
/* Writes header and padding to a temporary file, then takes the tensors' data in order, each whole or in parts. */
aigc_status gguf_writer_begin(gguf_writer *w, const char *path, aigc_error *err);
/* After gguf_writer_begin(): data and finish then end with AIGC_INTERRUPTED soon after *flag becomes non-zero. */
void gguf_writer_set_interrupt(gguf_writer *w, const volatile sig_atomic_t *flag);
aigc_status gguf_writer_data(gguf_writer *w, const void *data, size_t size, aigc_error *err);
/* Checks that all data came, syncs, renames, frees w (in any case). */
aigc_status gguf_writer_finish(gguf_writer *w, aigc_error *err);
void gguf_writer_abandon(gguf_writer *w);

#endif
