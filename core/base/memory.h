/* memory.h: allocations whose size cannot overflow, and memory aligned for vectors and reserved for caches. */
#ifndef AIGC_BASE_MEMORY_H
#define AIGC_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* n * size, or false if that overflows size_t. */
bool aigc_mul(size_t n, size_t size, size_t *out);

/* calloc and realloc for n elements; NULL only if n * size overflows or memory is out (nothing is one byte). Release
 * with free(). */
void *aigc_calloc(size_t n, size_t size);
void *aigc_realloc_array(void *p, size_t n, size_t size);

/* Zeroed anonymous pages, aligned to 64 bytes at least; the system provides each page when it is first touched.
 * NULL when refused. Release with aigc_pages_free(p, bytes). */
void *aigc_pages_alloc(size_t bytes);
/* The same for memory that will be used whole and for long: in large pages where the system has them. */
void *aigc_large_pages_alloc(size_t bytes);
void aigc_pages_free(void *p, size_t bytes);

#endif
