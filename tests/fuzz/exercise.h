/* exercise.h: everything that can be done with the bytes of a model file, for fuzz_gguf.c. */
#ifndef AIGC_TESTS_EXERCISE_H
#define AIGC_TESTS_EXERCISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How far a file got. */
typedef enum depth { DEPTH_REFUSED, DEPTH_OPENED, DEPTH_TOKENIZED, DEPTH_LOADED, DEPTH_GENERATED, DEPTHS } depth;

const char *depth_name(depth d);

typedef struct depth_counts {
    uint64_t n[DEPTHS]; /* files that got just so far */
} depth_counts;

/* The model that adapters are opened for (seeds.c writes one for it); stays open until the process ends. Without it an
 * adapter is a file that is not a model. */
bool exercise_adapters_of(const unsigned char *data, size_t size);

/* Opens, describes, tokenizes and generates as far as the file allows. Aborts if what comes back is wrong: a pointer
 * outside the file, text that is not UTF-8, a token that is not in the vocabulary. `variant` chooses among options. */
depth exercise(const unsigned char *data, size_t size, uint64_t variant);

#endif
