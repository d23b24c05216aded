/* gguf_internal.h: what the files of the GGUF reader and writer share. Included by core/format/gguf_*.c only. */
#ifndef AIGC_FORMAT_GGUF_INTERNAL_H
#define AIGC_FORMAT_GGUF_INTERNAL_H

#include <stdatomic.h>
#include <string.h>

#include "base/file.h"
#include "format/gguf.h"

#define GGUF_MAGIC "GGUF"

enum {
    GGUF_VERSION_WRITTEN = 3,
    GGUF_DEFAULT_ALIGNMENT = 32,
    GGUF_KEY_MAX = 65535,        /* bytes of a key, as the specification says */
    GGUF_TENSOR_NAME_MAX = 1023, /* the specification says 64; image models have longer ones */
};

/* Finds records by name. The records (gguf_value, gguf_tensor, ...) begin with a pointer to their name; the index
 * holds their numbers only. */
typedef struct name_index {
    uint64_t *slots; /* hash in the upper half, record number + 1 in the lower; 0: free */
    size_t n_slots;  /* a power of two, at least twice the records */
} name_index;

typedef enum name_added { NAME_ADDED, NAME_DUPLICATE, NAME_CROWDED } name_added;

/* Room for n records. False if memory is out. */
bool name_index_create(name_index *index, uint64_t n);
void name_index_free(name_index *index);
/* Adds records[i]. NAME_CROWDED: too many names share their hash, which only happens on purpose. */
name_added name_index_add(name_index *index, const void *records, size_t record_size, uint64_t i);
/* The record with this name, or NULL. */
const void *name_index_find(const name_index *index, const void *records, size_t record_size, const char *name);

struct gguf_file {
    char *path;
    file_map map;     /* of gguf_open(); empty if the memory is the caller's */
    atomic_bool lost; /* a page was gone when it was read */
    const unsigned char *data;
    size_t size;
    uint32_t version;
    uint32_t alignment;
    uint64_t n_values;
    gguf_value *values;
    name_index value_index;
    uint64_t n_tensors;
    gguf_tensor *tensors;
    name_index tensor_index;
};

/* Offset of the first byte of a key or tensor name that is not UTF-8 or begins a control character, or len. */
size_t gguf_name_check(const char *name, size_t len);

/* Bytes of a value of this type; 0 for strings, arrays and numbers that are no type. */
size_t gguf_type_size(uint32_t type);
const char *gguf_type_name(uint32_t type);

/* Bytes that the value takes in the file, without key and type (an array: without item type and count too). */
size_t gguf_value_bytes(const gguf_value *value);

/* Files hold numbers at any address. */
static inline uint32_t load_u32(const unsigned char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load_u64(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

#endif
