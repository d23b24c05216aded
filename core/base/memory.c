/* memory.c: checked allocations and anonymous pages. */
#include "base/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

bool aigc_mul(size_t n, size_t size, size_t *out)
{
    return !__builtin_mul_overflow(n, size, out);
}

void *aigc_calloc(size_t n, size_t size)
{
    size_t bytes;

    if (!aigc_mul(n, size, &bytes))
        return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *aigc_realloc_array(void *p, size_t n, size_t size)
{
    size_t bytes;

    if (!aigc_mul(n, size, &bytes))
        return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *aigc_pages_alloc(size_t bytes)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void *aigc_large_pages_alloc(size_t bytes)
{
    void *p = aigc_pages_alloc(bytes);

#ifdef MADV_HUGEPAGE
    if (p)
        madvise(p, bytes, MADV_HUGEPAGE); /* a wish: small pages do as well, slower */
#endif
    return p;
}

void aigc_pages_free(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}
