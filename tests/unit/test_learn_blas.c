/* test_learn_blas.c: OpenBLAS opened at run time: its products, no threads of its own, and what is said without it. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/blas.h"

/* In a process of its own, because the library is opened once: whether opening `path` fails with `part` in the message.
 */
static bool refuses(const char *path, const char *part)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        aigc_error err = {0};
        blas_sgemm sgemm = NULL;

        setenv("AIGC_OPENBLAS", path, 1);
        bool right = blas_open(&sgemm, &err) == AIGC_E_UNSUPPORTED && strstr(err.message, part) != NULL &&
                     blas_open(&sgemm, NULL) == AIGC_E_UNSUPPORTED && sgemm == NULL;
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_missing(void **state)
{
    (void)state;
    assert_true(refuses("/nonexistent/libopenblas.so.0", "libopenblas0-pthread"));
    assert_true(refuses("libm.so.6", "cblas_sgemm"));
}

static int n_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;

    assert_non_null(tasks);
    for (struct dirent *e; (e = readdir(tasks)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static void test_quiet(void **state)
{
    sigset_t before, after;
    blas_sgemm sgemm;
    aigc_error err;

    (void)state;
    setenv("OPENBLAS_NUM_THREADS", "7", 1);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    if (blas_open(&sgemm, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int s = 1; s < 32; s++)
        assert_int_equal(sigismember(&before, s), sigismember(&after, s));
    assert_int_equal(n_threads(), 1);
    assert_string_equal(getenv("OPENBLAS_NUM_THREADS"), "7");
}

/* Every transposition, rows wider than the matrices, alpha and beta. */
static void test_products(void **state)
{
    enum { M = 7, N = 11, K = 13, LD = 17 };
    float a[LD * LD], b[LD * LD], c[M * LD];
    blas_sgemm sgemm;

    (void)state;
    assert_int_equal(blas_open(&sgemm, NULL), AIGC_OK);
    for (int i = 0; i < LD * LD; i++) {
        a[i] = (float)(i * 37 % 101) / 50 - 1;
        b[i] = (float)(i * 53 % 97) / 48 - 1;
    }
    for (int flags = 0; flags < 4; flags++) {
        bool ta = flags & 1, tb = flags & 2;

        for (int i = 0; i < M * LD; i++)
            c[i] = (float)i;
        sgemm(ta, tb, M, N, K, 0.5f, a, LD, b, LD, 2, c, LD);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < LD; j++) {
                double sum = 0;

                for (int k = 0; k < K; k++)
                    sum += (double)(ta ? a[k * LD + i] : a[i * LD + k]) * (double)(tb ? b[j * LD + k] : b[k * LD + j]);
                assert_true(fabs((double)c[i * LD + j] - (j < N ? 0.5 * sum + 2 * (i * LD + j) : i * LD + j)) < 1e-4);
            }
    }
    assert_int_equal(n_threads(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_products),
    };

    return cmocka_run_group_tests_name("learn_blas", tests, NULL, NULL);
}
