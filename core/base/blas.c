/* blas.c: see blas.h. */
#include "base/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* cblas.h's values. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
/* openblas_get_parallel() */
enum { FLAVOUR_PTHREAD = 1 };

#define THREADS_VARIABLE "OPENBLAS_NUM_THREADS"

typedef void cblas_sgemm_function(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                                  const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static cblas_sgemm_function *cblas_sgemm;
static aigc_error failure; /* of the only attempt; code AIGC_OK if it succeeded */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void product(bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
                    const float *b, int ldb, float beta, float *c, int ldc)
{
    cblas_sgemm(ROW_MAJOR, transpose_a ? TRANSPOSE : NO_TRANSPOSE, transpose_b ? TRANSPOSE : NO_TRANSPOSE, m, n, k,
                alpha, a, lda, b, ldb, beta, c, ldc);
}

/* dlopen with one thread asked for; the variable is put back as it was. */
static void *load(const char *path)
{
    const char *set = getenv(THREADS_VARIABLE);
    char *before = set != NULL ? strdup(set) : NULL;
    if (set != NULL && before == NULL) {
        aigc_fail_memory(&failure, "a copy of " THREADS_VARIABLE, strlen(set) + 1);
        return NULL;
    }
    if (setenv(THREADS_VARIABLE, "1", 1) != 0) {
        free(before);
        aigc_fail_memory(&failure, THREADS_VARIABLE, sizeof THREADS_VARIABLE);
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        aigc_fail(&failure, AIGC_E_UNSUPPORTED, "OpenBLAS can't be loaded: %s (Debian: libopenblas0-pthread)",
                  dlerror());
    if (before != NULL)
        setenv(THREADS_VARIABLE, before, 1);
    else
        unsetenv(THREADS_VARIABLE);
    free(before);
    return library;
}

static void find_functions(void *library, const char *path)
{
    int (*get_parallel)(void);
    *(void **)&get_parallel = dlsym(library, "openblas_get_parallel");
    *(void **)&cblas_sgemm = dlsym(library, "cblas_sgemm");
    if (get_parallel == NULL || cblas_sgemm == NULL)
        aigc_fail(&failure, AIGC_E_UNSUPPORTED, "%s is not OpenBLAS: it has no %s", path,
                  cblas_sgemm == NULL ? "cblas_sgemm" : "openblas_get_parallel");
    else if (get_parallel() != FLAVOUR_PTHREAD)
        aigc_fail(&failure, AIGC_E_UNSUPPORTED,
                  "%s is OpenBLAS without POSIX threads, which can't be called from several threads at once "
                  "(Debian: libopenblas0-pthread)",
                  path);
}

static void open_once(void)
{
    const char *named = getenv("AIGC_OPENBLAS");
    const char *path = named != NULL && named[0] != '\0' ? named : "libopenblas.so.0";
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    void *library = load(path);
    if (library != NULL)
        find_functions(library, path);
    if (library != NULL && failure.code != AIGC_OK)
        dlclose(library);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

aigc_status blas_open(blas_sgemm *sgemm, aigc_error *err)
{
    pthread_once(&once, open_once);
    if (failure.code != AIGC_OK)
        return aigc_fail(err, failure.code, "%s", failure.message);
    *sgemm = product;
    return AIGC_OK;
}
