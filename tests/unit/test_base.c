/* test_base.c: errors, memory, files, CPU features and random numbers. */
#define _GNU_SOURCE /* sched_setaffinity */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "base/guard.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/utf8.h"

/* ---- errors ---- */

static void error_is_formatted(void **state)
{
    aigc_error err;

    (void)state;
    assert_int_equal(aigc_fail(&err, AIGC_E_LIMIT, "%d tokens of %s", 7, "x"), AIGC_E_LIMIT);
    assert_int_equal(err.code, AIGC_E_LIMIT);
    assert_string_equal(err.message, "7 tokens of x");
    assert_int_equal(aigc_fail(NULL, AIGC_E_IO, "nobody listens"), AIGC_E_IO);
    assert_int_equal(aigc_fail_memory(&err, "the cache", 12), AIGC_E_MEMORY);
    assert_string_equal(err.message, "out of memory: the cache needs 12 bytes");
}

static void error_may_quote_itself(void **state)
{
    aigc_error err;

    (void)state;
    aigc_fail(&err, AIGC_E_IO, "inner");
    aigc_fail(&err, AIGC_E_FORMAT, "outer: %s", err.message);
    assert_string_equal(err.message, "outer: inner");
}

static void error_is_printable(void **state)
{
    aigc_error err;

    (void)state;
    aigc_fail(&err, AIGC_E_FORMAT, "a\x1b[31m\n\xff\xc3\xa9\xc3\xc2\x9b z");
    assert_string_equal(err.message, "a?[31m??\xc3\xa9??? z");
}

static void long_error_loses_its_middle(void **state)
{
    aigc_error err;
    char path[3000];
    size_t len;

    (void)state;
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    aigc_fail(&err, AIGC_E_IO, "%s: no such file", path);
    len = strlen(err.message);
    assert_int_equal(len, sizeof err.message - 1);
    assert_string_equal(err.message + len - 14, ": no such file");
    assert_memory_equal(err.message, "ppp", 3);
    assert_non_null(strstr(err.message, " ... "));
    /* three-byte characters: both cuts fall between them, wherever they start */
    for (size_t shift = 0; shift < 3; shift++) {
        memset(path, 'p', shift);
        for (size_t i = shift; i + 3 < sizeof path; i += 3)
            memcpy(path + i, "\xe4\xb8\xad", 3);
        path[1500 + shift] = '\0';
        aigc_fail(&err, AIGC_E_IO, "%s: no such file", path);
        assert_null(strchr(err.message, '?'));
        for (size_t i = 0, n; err.message[i]; i += n) {
            n = utf8_character(err.message + i, strlen(err.message + i));
            assert_int_not_equal(n, 0);
        }
    }
}

static void utf8_characters(void **state)
{
    static const struct {
        const char *s;
        size_t n;
    } cases[] = {
        {"a", 1},
        {"\xc3\xa9", 2},
        {"\xe4\xb8\xad", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\x80", 0},             /* a continuation alone */
        {"\xc3", 0},             /* cut */
        {"\xe4\xb8", 0},         /* cut */
        {"\xc3\x28", 0},         /* second byte is none */
        {"\xc0\xaf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
        {"\xed\xa0\x80", 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(utf8_character(cases[i].s, strlen(cases[i].s)), cases[i].n);
    assert_int_equal(utf8_character("", 0), 0);
    assert_true(utf8_is_control("\x1f", 1) && utf8_is_control("\x7f", 1) && utf8_is_control("\xc2\x9f", 2));
    assert_false(utf8_is_control(" ", 1) || utf8_is_control("\xc2\xa0", 2));
}

/* ---- memory ---- */

static void sizes_that_overflow_are_refused(void **state)
{
    size_t out;

    (void)state;
    assert_true(aigc_mul(1 << 20, 1 << 20, &out));
    assert_int_equal(out, (size_t)1 << 40);
    assert_false(aigc_mul(SIZE_MAX, 2, &out));
    assert_null(aigc_calloc(SIZE_MAX / 4, 8));
    assert_null(aigc_realloc_array(NULL, SIZE_MAX / 4, 8));
}

static void allocations(void **state)
{
    unsigned char *p = aigc_calloc(0, 8);
    size_t bytes = (size_t)1 << 30; /* far more than is touched */

    (void)state;
    assert_non_null(p);
    p = aigc_realloc_array(p, 10, 4);
    assert_non_null(p);
    free(p);
    p = aigc_pages_alloc(bytes);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_int_equal(p[0] | p[bytes / 2] | p[bytes - 1], 0);
    p[bytes - 1] = 1;
    aigc_pages_free(p, bytes);
    aigc_pages_free(NULL, 5);
}

/* ---- files ---- */

typedef struct folder {
    char path[64];
} folder;

static int make_folder(void **state)
{
    folder *f = malloc(sizeof *f);

    strcpy(f->path, "/tmp/aigc-test-XXXXXX");
    if (!mkdtemp(f->path))
        return -1;
    *state = f;
    return 0;
}

static char *in_folder(const folder *f, const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static int count_files(const folder *f)
{
    DIR *d = opendir(f->path);
    struct dirent *e;
    int n = 0;

    assert_non_null(d);
    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_folder(void **state)
{
    folder *f = *state;
    DIR *d = opendir(f->path);
    struct dirent *e;

    while (d && (e = readdir(d)))
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(f->path);
    free(f);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void files_are_mapped(void **state)
{
    const char *path = in_folder(*state, "file");
    aigc_error err;
    file_map map;

    write_file(path, "hello");
    assert_int_equal(file_map_open(path, &map, &err), AIGC_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    file_map_close(&map);
    assert_null(map.data);
    write_file(path, "");
    assert_int_equal(file_map_open(path, &map, &err), AIGC_OK);
    assert_int_equal(map.size, 0);
    file_map_close(&map);
}

static void what_cannot_be_mapped(void **state)
{
    const char *path = in_folder(*state, "pipe");
    aigc_error err;
    file_map map;

    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_map_open(path, &map, &err), AIGC_E_IO); /* and does not wait for a writer */
    assert_non_null(strstr(err.message, "pipe: is not a regular file"));
    assert_int_equal(file_map_open(in_folder(*state, "none"), &map, &err), AIGC_E_IO);
    assert_non_null(strstr(err.message, "none: can't open it: No such file or directory"));
    assert_int_equal(file_map_open("/tmp", &map, &err), AIGC_E_IO);
    assert_non_null(strstr(err.message, "is a directory"));
}

/* How a child ends that reads the byte at p: its exit status, or minus the signal that killed it. */
static int read_in_child(const volatile unsigned char *p, const atomic_bool *struck)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(*p == 0 && atomic_load(struck) ? 42 : 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void guarded_files_may_lose_pages(void **state)
{
    const char *path = in_folder(*state, "file");
    atomic_bool struck = false, other = false;
    aigc_error err;
    file_map map;

    signal(SIGBUS, SIG_DFL); /* cmocka handles it, which is not what is looked at here */
    assert_int_equal(guard_add(NULL, 0, &struck), -1);
    guard_remove(-1);
    write_file(path, "hello");
    assert_int_equal(truncate(path, 3 << 12), 0);
    assert_int_equal(file_map_open(path, &map, &err), AIGC_OK);
    const volatile unsigned char *page = map.data;
    assert_int_equal(page[0], 'h');
    int guard = guard_add(map.data, map.size, &struck), second = guard_add(map.data, map.size, &other);
    assert_true(guard >= 0 && second >= 0 && guard != second);
    assert_int_equal(truncate(path, 1 << 12), 0);
    assert_int_equal(page[0], 'h');
    assert_false(struck);
    assert_int_equal(read_in_child(page + (1 << 12), &struck), 42);
    guard_remove(guard);
    assert_int_equal(read_in_child(page + (1 << 12), &other), 42);
    guard_remove(second);
    assert_int_equal(read_in_child(page + (1 << 12), &struck), -SIGBUS); /* as without any guard */
    assert_int_equal(page[0], 'h');
    assert_false(struck);
    file_map_close(&map);
}

static void mapped_files_know_their_date(void **state)
{
    char path[128];
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    aigc_error err;
    file_map map;

    strcpy(path, in_folder(*state, "file"));
    write_file(path, "hello");
    assert_int_equal(file_map_open(path, &map, &err), AIGC_OK);
    assert_false(file_map_is_stale(&map, path));
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_true(file_map_is_stale(&map, path));
    file_map_close(&map);
    assert_false(file_map_is_stale(&map, path));
    assert_int_equal(file_map_open(path, &map, &err), AIGC_OK);
    assert_int_equal(truncate(path, 4), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_true(file_map_is_stale(&map, path)); /* by its size */
    assert_int_equal(truncate(path, 5), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    write_file(in_folder(*state, "other"), "hallo");
    assert_int_equal(rename(in_folder(*state, "other"), path), 0);
    assert_false(file_map_is_stale(&map, path)); /* another file is none of its business */
    assert_int_equal(unlink(path), 0);
    assert_false(file_map_is_stale(&map, path));
    file_map_close(&map);
}

static void assert_file_is(const char *path, const char *data, size_t size)
{
    aigc_error err;
    file_map map;

    assert_int_equal(file_map_open(path, &map, &err), AIGC_OK);
    assert_int_equal(map.size, size);
    assert_memory_equal(map.data, data, size);
    file_map_close(&map);
}

static void written_files_appear_complete(void **state)
{
    enum { SIZE = 300000 };
    const char *path = in_folder(*state, "out");
    char *data = malloc(SIZE);
    file_writer *w;
    aigc_error err;
    struct stat st;

    for (int i = 0; i < SIZE; i++)
        data[i] = (char)(i * 7 + i / 251);
    write_file(path, "old");
    assert_int_equal(file_writer_open(path, &w, &err), AIGC_OK);
    /* pieces below, at and above the buffer's size, and none */
    for (size_t done = 0, piece = 1; done < SIZE; done += piece, piece = piece * 5 + 1) {
        if (piece > SIZE - done)
            piece = SIZE - done;
        assert_int_equal(file_writer_write(w, data + done, piece, &err), AIGC_OK);
        assert_int_equal(file_writer_write(w, NULL, 0, &err), AIGC_OK);
        assert_int_equal(file_writer_offset(w), done + piece);
    }
    assert_file_is(path, "old", 3);
    assert_int_equal(file_writer_commit(w, &err), AIGC_OK);
    assert_file_is(path, data, SIZE);
    assert_int_equal(count_files(*state), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0400, 0400);
    free(data);
}

static void abandoned_files_leave_nothing(void **state)
{
    const char *path = in_folder(*state, "out");
    file_writer *w;
    aigc_error err;

    write_file(path, "old");
    assert_int_equal(file_writer_open(path, &w, &err), AIGC_OK);
    assert_int_equal(file_writer_write(w, "new", 3, &err), AIGC_OK);
    assert_in_range(count_files(*state), 1, 2); /* the new one has a name only where it must */
    assert_file_is(path, "old", 3);
    file_writer_abandon(w);
    file_writer_abandon(NULL);
    assert_int_equal(count_files(*state), 1);
    assert_file_is(path, "old", 3);
}

static void writers_that_cannot_finish(void **state)
{
    char path[128];
    file_writer *w;
    aigc_error err;

    assert_int_equal(file_writer_open(in_folder(*state, "no/such/folder"), &w, &err), AIGC_E_IO);
    assert_non_null(strstr(err.message, "can't create it: No such file or directory"));
    strcpy(path, in_folder(*state, "out"));
    assert_int_equal(file_writer_open(((folder *)*state)->path, &w, &err), AIGC_E_IO);
    assert_non_null(strstr(err.message, "not a regular file"));
    /* a directory takes the name while the file is being written */
    assert_int_equal(file_writer_open(path, &w, &err), AIGC_OK);
    assert_int_equal(file_writer_write(w, "new", 3, &err), AIGC_OK);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(file_writer_commit(w, &err), AIGC_E_IO);
    assert_non_null(strstr(err.message, "can't rename"));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(count_files(*state), 0);
}

/* Two writers of one file: the later commit wins, neither disturbs the other. */
static void two_writers_of_one_file(void **state)
{
    const char *path = in_folder(*state, "out");
    file_writer *a, *b;
    aigc_error err;

    assert_int_equal(file_writer_open(path, &a, &err), AIGC_OK);
    assert_int_equal(file_writer_open(path, &b, &err), AIGC_OK);
    assert_int_equal(file_writer_write(a, "aa", 2, &err), AIGC_OK);
    assert_int_equal(file_writer_write(b, "b", 1, &err), AIGC_OK);
    assert_int_equal(file_writer_commit(b, &err), AIGC_OK);
    assert_file_is(path, "b", 1);
    assert_int_equal(file_writer_commit(a, &err), AIGC_OK);
    assert_file_is(path, "aa", 2);
    assert_int_equal(count_files(*state), 1);
}

/* ---- the processor ---- */

/* The level that a process with this AIGC_CPU finds. */
static cpu_level level_with(const char *wish)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        setenv("AIGC_CPU", wish, 1);
        _exit((int)cpu_best_level());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return (cpu_level)WEXITSTATUS(status);
}

static void cpu_levels(void **state)
{
    cpu_level best = level_with("no such level");

    (void)state;
    assert_true(cpu_supports(CPU_GENERIC));
    assert_true(cpu_supports(best));
    assert_int_equal(level_with("generic"), CPU_GENERIC);
    assert_int_equal(level_with(""), best);
    for (cpu_level level = CPU_GENERIC; level < CPU_LEVELS; level++)
        assert_int_equal(level_with(cpu_level_name(level)), cpu_supports(level) ? level : best);
    assert_string_equal(cpu_level_name(CPU_AVX512), "avx512");
    assert_string_equal(cpu_level_name(CPU_LEVELS), "unknown");
    if (cpu_supports(CPU_AVX512))
        assert_true(cpu_supports(CPU_AVX2));
}

#if defined(__x86_64__)
static void cpu_levels_are_those_the_compiler_finds(void **state)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512vnni");

    (void)state;
    assert_int_equal(cpu_supports(CPU_AVX2), avx2);
    assert_int_equal(cpu_supports(CPU_AVX512), avx512);
}
#endif

static void cpu_count_heeds_affinity(void **state)
{
    int count = cpu_count(), status, current = sched_getcpu();
    pid_t child;

    (void)state;
    assert_true(count >= 1);
    assert_true(count <= sysconf(_SC_NPROCESSORS_CONF));
    child = fork();
    if (child == 0) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(current, &set);
        _exit(sched_setaffinity(0, sizeof set, &set) == 0 ? cpu_count() : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 1);
}

/* ---- random numbers ---- */

static void random_follows_the_published_generators(void **state)
{
    /* xoshiro256plusplus.c by Blackman and Vigna, from the state 1, 2, 3, 4 */
    static const uint64_t expected[] = {41943041u,
                                        58720359u,
                                        3588806011781223u,
                                        3591011842654386u,
                                        9228616714210784205u,
                                        9973669472204895162u,
                                        14011001112246962877u,
                                        12406186145184390807u,
                                        15849039046786891736u,
                                        10450023813501588000u};
    random_state r = {{1, 2, 3, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_true(random_u64(&r) == expected[i]);
    random_seed(&r, 0, 0); /* splitmix64.c from 0 */
    assert_true(r.s[0] == 0xe220a8397b1dcdafu);
    assert_true(r.s[1] == 0x6e789e6aa1b965f4u);
}

static void random_streams_differ(void **state)
{
    random_state a, b;

    (void)state;
    random_seed(&a, 42, 7);
    random_seed(&b, 42, 7);
    for (int i = 0; i < 10; i++)
        assert_true(random_u64(&a) == random_u64(&b));
    for (uint64_t seed = 0; seed < 20; seed++)
        for (uint64_t stream = 0; stream < 20; stream++) {
            random_seed(&a, seed, stream);
            random_seed(&b, stream + 1, seed);
            assert_true(memcmp(&a, &b, sizeof a) != 0);
            random_seed(&b, seed, stream + 1);
            assert_true(memcmp(&a, &b, sizeof a) != 0);
        }
}

static void random_is_uniform(void **state)
{
    enum { N = 200000, BINS = 50 };
    int bins[BINS] = {0};
    double chi2 = 0;
    random_state r;

    (void)state;
    random_seed(&r, 1, 0);
    for (int i = 0; i < N; i++) {
        double u = random_unit(&r);

        assert_true(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
    }
    for (int i = 0; i < BINS; i++)
        chi2 += (bins[i] - N / (double)BINS) * (bins[i] - N / (double)BINS) / (N / (double)BINS);
    assert_true(chi2 > 20 && chi2 < 95); /* 49 degrees of freedom: beyond either with probability 1e-4 */
}

/* The polar method with libm's logarithm: ours may differ in the last digits only. */
static double reference_normal(random_state *r)
{
    double u, v, q;

    do {
        u = 2 * random_unit(r) - 1;
        v = 2 * random_unit(r) - 1;
        q = u * u + v * v;
    } while (q >= 1 || q == 0);
    return u * sqrt(-2 * log(q) / q);
}

static void random_is_normal(void **state)
{
    enum { N = 200000 };
    double sum = 0, sum2 = 0, sum4 = 0;
    random_state r, copy;

    (void)state;
    random_seed(&r, 3, 0);
    for (int i = 0; i < N; i++) {
        double x, expected;

        copy = r;
        x = random_normal(&r);
        expected = reference_normal(&copy);
        assert_true(fabs(x - expected) <= 1e-14 * fabs(expected));
        sum += x;
        sum2 += x * x;
        sum4 += x * x * x * x;
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(sum2 / N - 1) < 0.015);
    assert_true(fabs(sum4 / N - 3) < 0.12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_formatted),
        cmocka_unit_test(error_may_quote_itself),
        cmocka_unit_test(error_is_printable),
        cmocka_unit_test(long_error_loses_its_middle),
        cmocka_unit_test(utf8_characters),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(allocations),
        cmocka_unit_test_setup_teardown(files_are_mapped, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(mapped_files_know_their_date, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(guarded_files_may_lose_pages, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_cannot_be_mapped, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(written_files_appear_complete, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(abandoned_files_leave_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(writers_that_cannot_finish, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(two_writers_of_one_file, make_folder, remove_folder),
        cmocka_unit_test(cpu_levels),
#if defined(__x86_64__)
        cmocka_unit_test(cpu_levels_are_those_the_compiler_finds),
#endif
        cmocka_unit_test(cpu_count_heeds_affinity),
        cmocka_unit_test(random_follows_the_published_generators),
        cmocka_unit_test(random_streams_differ),
        cmocka_unit_test(random_is_uniform),
        cmocka_unit_test(random_is_normal),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
