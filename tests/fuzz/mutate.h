/*
 * mutate.h: damaged copies of model files, for fuzz_gguf.c.
 *
 * A seed is a good file and a list of where its fields are (counts, lengths, types, ...), found by a walker that knows
 * the format but not the reader under test. Blind damage to a file of a megabyte mostly hits weights, which are only
 * numbers; so most of it goes to the header, and much of it to fields, with values that are off by little or by much.
 */
#ifndef AIGC_TESTS_MUTATE_H
#define AIGC_TESTS_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"

typedef enum field_kind {
    FIELD_COUNT,  /* of tensors, metadata pairs, array items */
    FIELD_LENGTH, /* of a string */
    FIELD_TYPE,   /* of a value, an array's items or a tensor */
    FIELD_DIMS,   /* the number of dimensions */
    FIELD_DIM,
    FIELD_OFFSET, /* of a tensor's data */
    FIELD_VALUE,  /* a number of the metadata */
    FIELD_TEXT,   /* a string's first byte */
} field_kind;

typedef struct field {
    size_t offset;
    uint8_t size; /* bytes */
    uint8_t kind;
} field;

typedef struct seed {
    char name[64];
    unsigned char *data; /* [size] */
    size_t size;
    size_t header_size; /* up to where the tensors' data begin */
    field *fields;      /* [n_fields] */
    size_t n_fields;
    unsigned weight; /* how often it is taken, relative to the others */
} seed;

/* Takes data (from malloc) and finds the fields. False if it is not a GGUF file that the walker understands. */
bool seed_make(seed *s, const char *name, unsigned char *data, size_t size, unsigned weight);

/* A damaged copy of seeds[i], from malloc, of exactly *size bytes. */
unsigned char *mutate(const seed *seeds, size_t n_seeds, size_t i, random_state *r, size_t *size);

#endif
