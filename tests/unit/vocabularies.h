/* vocabularies.h: vocabulary files for tests: those of ../shared/data and some made on the spot. */
#ifndef AIGC_TESTS_VOCABULARIES_H
#define AIGC_TESTS_VOCABULARIES_H

#include "text/tokenizer.h"

/* A file made of these values; those that are NULL are left out. */
typedef struct made_vocabulary {
    const char *model, *pre, *name;
    const gguf_string *tokens;
    size_t n_tokens;
    const gguf_string *merges;
    size_t n_merges;
    const float *scores;
    size_t n_scores;
    const int32_t *types;
    size_t n_types;
    /* Sets what else the file has; may be NULL. Keys set here win over `from`. */
    void (*more)(gguf_writer *w);
    const gguf_file *from; /* copies all other values of this file; may be NULL */
} made_vocabulary;

/* Writes the file, opens it and removes its name. The test fails if that does.
 */
gguf_file *make_vocabulary(const made_vocabulary *v);

/* ../shared/data/PATH (AIGC_SHARED), in a buffer that the next call overwrites. */
const char *shared_path(const char *path);

/* Opens ../shared/data/PATH; NULL, with a message, if it is not there. */
gguf_file *open_shared(const char *path);

/* Opens a file's tokenizer; the test fails if that does. */
tokenizer *open_tokenizer(const gguf_file *file);

/* The whole file, NUL-terminated, from malloc; NULL if there is none. */
char *read_whole(const char *path, size_t *len);

#endif
