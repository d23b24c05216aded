/* gguf_image.h: GGUF files made by hand, byte for byte, for the tests of the reader and the writer. */
#ifndef AIGC_TESTS_GGUF_IMAGE_H
#define AIGC_TESTS_GGUF_IMAGE_H

#include "format/gguf.h"

typedef struct image {
    unsigned char *data; /* from malloc, so that ASan and valgrind see the least over-read */
    size_t size;
} image;

/* A file made of values as a format says:
 *   r raw characters   s string with its length   B byte   I u32   Q u64 (give it as N(x))   F float   D double
 *   a zero bytes up to the next multiple of 32   z that many zero bytes (int, at most 4096) */
image pack(const char *format, ...);

#define N(x) ((uint64_t)(x))
#define HEAD "rIQQ" /* magic, version, number of tensors, number of metadata pairs */

/* Opens it as "made.gguf". */
aigc_status open_image(image f, gguf_file **file, aigc_error *err);

/* The same; the test fails if that does. */
gguf_file *open_good(image f);

/* Two tensors and three values, nothing wrong with it. */
image good_file(void);

/* The value of a key prints as expected into exactly size bytes. */
void assert_prints(const gguf_file *file, const char *key, size_t size, const char *expected);

#endif
