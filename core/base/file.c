/* file.c: files mapped for reading, and files that appear complete or not at all. */
#define _GNU_SOURCE /* O_TMPFILE */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* ---- reading ---- */

static aigc_status fail_errno(aigc_error *err, const char *path, const char *what)
{
    int e = errno;

    return aigc_fail(err, e == ENOMEM ? AIGC_E_MEMORY : AIGC_E_IO, "%s: %s: %s", path, what, strerror(e));
}

static aigc_status map_descriptor(int fd, const char *path, file_map *map, aigc_error *err)
{
    struct stat st;
    void *data;

    if (fstat(fd, &st) != 0)
        return fail_errno(err, path, "can't read its size");
    if (S_ISDIR(st.st_mode))
        return aigc_fail(err, AIGC_E_IO, "%s: is a directory, not a file", path);
    if (!S_ISREG(st.st_mode))
        return aigc_fail(err, AIGC_E_IO, "%s: is not a regular file", path);
    if ((uintmax_t)st.st_size > SIZE_MAX / 2)
        return aigc_fail(err, AIGC_E_LIMIT, "%s: %jd bytes are too many to map", path, (intmax_t)st.st_size);
    if (st.st_size == 0) {
        *map = (file_map){0};
        return AIGC_OK;
    }
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return fail_errno(err, path, "can't map it");
    *map = (file_map){data, (size_t)st.st_size, st.st_dev, st.st_ino, st.st_mtim};
    return AIGC_OK;
}

aigc_status file_map_open(const char *path, file_map *map, aigc_error *err)
{
    /* O_NONBLOCK: opening a named pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    aigc_status status;

    if (fd < 0)
        return fail_errno(err, path, "can't open it");
    status = map_descriptor(fd, path, map, err);
    close(fd); /* the mapping stays */
    return status;
}

bool file_map_is_stale(const file_map *map, const char *path)
{
    struct stat st;

    return map->data && stat(path, &st) == 0 && st.st_dev == map->device && st.st_ino == map->inode &&
           ((uintmax_t)st.st_size != map->size || st.st_mtim.tv_sec != map->modified.tv_sec ||
            st.st_mtim.tv_nsec != map->modified.tv_nsec);
}

void file_map_close(file_map *map)
{
    if (map->data)
        munmap((void *)map->data, map->size);
    *map = (file_map){0};
}

/* ---- writing ---- */

enum { WRITE_BUFFER = 1 << 16 };

static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

struct file_writer {
    int fd;       /* -1 once closed */
    bool created; /* the temporary file exists under its name */
    char *path;
    char *temporary; /* its name, where it has one */
    size_t temporary_size;
    size_t used; /* bytes of buffer that wait to be written */
    uint64_t offset;
    const volatile sig_atomic_t *interrupt; /* NULL: none */
    unsigned char buffer[WRITE_BUFFER];
};

enum { TEMPORARY_NAMES = 1000, WRITE_AT_ONCE = 4 << 20 }; /* bytes, between two looks at the interrupt */

/* Number i of the names that a temporary file for path may have. */
static void name_temporary(file_writer *w, unsigned i)
{
    snprintf(w->temporary, w->temporary_size, "%s.%lu.tmp", w->path, (unsigned long)getpid() + i);
}

static void create_temporary(file_writer *w)
{
    for (unsigned i = 0; i < TEMPORARY_NAMES; i++) {
        name_temporary(w, i);
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        w->created = w->fd >= 0;
        if (w->created || errno != EEXIST)
            return;
    }
}

/* The name by which the kernel shows an open file. */
static void show_descriptor(int fd, char out[64])
{
    snprintf(out, 64, "/proc/self/fd/%d", fd);
}

/* Opens a file without a name, so that a killed process leaves nothing behind. Not all file systems have such files,
 * and giving it a name later needs /proc: then w->fd stays -1. */
static void create_nameless(file_writer *w)
{
    char shown[64];
    char *directory = directory_of(w->path);
    struct stat st;

    if (!directory)
        return;
    w->fd = open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(directory);
    if (w->fd < 0)
        return;
    show_descriptor(w->fd, shown);
    if (stat(shown, &st) != 0) {
        close(w->fd);
        w->fd = -1;
    }
}

/* Gives a file without a name the temporary one. */
static aigc_status link_temporary(file_writer *w, aigc_error *err)
{
    char shown[64];

    show_descriptor(w->fd, shown);
    for (unsigned i = 0; i < TEMPORARY_NAMES && !w->created; i++) {
        name_temporary(w, i);
        w->created = linkat(AT_FDCWD, shown, AT_FDCWD, w->temporary, AT_SYMLINK_FOLLOW) == 0;
        if (!w->created && errno != EEXIST)
            break;
    }
    return w->created ? AIGC_OK : fail_errno(err, w->temporary, "can't create it");
}

aigc_status file_writer_open(const char *path, file_writer **writer, aigc_error *err)
{
    file_writer *w;
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return aigc_fail(err, AIGC_E_IO, "%s: is not a regular file, so it can't be replaced", path);
    w = malloc(sizeof *w);
    if (!w)
        return aigc_fail_memory(err, "a file's buffer", sizeof *w);
    w->used = 0;
    w->offset = 0;
    w->interrupt = NULL;
    w->path = strdup(path);
    w->temporary_size = strlen(path) + 32;
    w->temporary = malloc(w->temporary_size);
    w->fd = -1;
    w->created = false;
    if (!w->path || !w->temporary) {
        file_writer_abandon(w);
        return aigc_fail_memory(err, "a file's name", strlen(path));
    }
    create_nameless(w);
    if (w->fd < 0)
        create_temporary(w);
    if (w->fd < 0) {
        aigc_status status = fail_errno(err, w->temporary, "can't create it");

        file_writer_abandon(w);
        return status;
    }
    *writer = w;
    return AIGC_OK;
}

void file_writer_set_interrupt(file_writer *w, const volatile sig_atomic_t *flag)
{
    w->interrupt = flag;
}

static aigc_status check_interrupt(const file_writer *w, aigc_error *err)
{
    if (w->interrupt == NULL || !*w->interrupt)
        return AIGC_OK;
    return aigc_fail(err, AIGC_INTERRUPTED, "%s: writing it was interrupted", w->path);
}

aigc_status file_writer_make_private(file_writer *w, aigc_error *err)
{
    return fchmod(w->fd, S_IRUSR | S_IWUSR) == 0 ? AIGC_OK : fail_errno(err, w->temporary, "can't make it private");
}

static aigc_status write_all(file_writer *w, const void *data, size_t size, aigc_error *err)
{
    const char *p = data;

    while (size > 0) {
        aigc_status status = check_interrupt(w, err);
        ssize_t n = status == AIGC_OK ? write(w->fd, p, size < WRITE_AT_ONCE ? size : WRITE_AT_ONCE) : 0;

        if (status != AIGC_OK)
            return status;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, w->path, "can't write it");
        p += n;
        size -= (size_t)n;
    }
    return AIGC_OK;
}

static aigc_status flush(file_writer *w, aigc_error *err)
{
    size_t used = w->used;

    w->used = 0;
    return write_all(w, w->buffer, used, err);
}

aigc_status file_writer_write(file_writer *w, const void *data, size_t size, aigc_error *err)
{
    aigc_status status = check_interrupt(w, err);

    if (status == AIGC_OK && size > sizeof w->buffer - w->used)
        status = flush(w, err);
    if (status != AIGC_OK)
        return status;
    w->offset += size;
    if (size >= sizeof w->buffer)
        return write_all(w, data, size, err);
    if (size > 0)
        memcpy(w->buffer + w->used, data, size);
    w->used += size;
    return AIGC_OK;
}

uint64_t file_writer_offset(const file_writer *w)
{
    return w->offset;
}

/* Makes the rename last: syncs the directory that holds path. */
static aigc_status sync_directory(const char *path, aigc_error *err)
{
    char *directory = directory_of(path);
    aigc_status status = AIGC_OK;
    int fd;

    if (!directory)
        return aigc_fail_memory(err, "a directory's name", strlen(path));
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system whose directories can't be synced; there is no more to be done. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        status = fail_errno(err, path, "is written, but its directory can't be synced");
    if (fd >= 0)
        close(fd);
    free(directory);
    return status;
}

/* Has the system write what it holds of the file, a piece at a time: what fsync() does then is short. Where a piece
 * can't be written, fsync() will say so. */
static aigc_status write_back(const file_writer *w, aigc_error *err)
{
    aigc_status status = check_interrupt(w, err);
#ifdef SYNC_FILE_RANGE_WRITE
    const unsigned how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

    for (uint64_t at = 0; status == AIGC_OK && w->interrupt != NULL && at < w->offset; at += WRITE_AT_ONCE) {
        if (sync_file_range(w->fd, (off_t)at, WRITE_AT_ONCE, how) != 0)
            break;
        status = check_interrupt(w, err);
    }
#endif
    return status;
}

static aigc_status close_synced(file_writer *w, aigc_error *err)
{
    int fd = w->fd;
    aigc_status status = flush(w, err);

    if (status == AIGC_OK)
        status = write_back(w, err);
    if (status != AIGC_OK)
        return status;
    if (fsync(fd) != 0)
        return fail_errno(err, w->path, "can't sync it");
    if (!w->created && (status = link_temporary(w, err)) != AIGC_OK)
        return status;
    w->fd = -1;
    if (close(fd) != 0)
        return fail_errno(err, w->path, "can't close it");
    return AIGC_OK;
}

aigc_status file_writer_commit(file_writer *w, aigc_error *err)
{
    aigc_status status = close_synced(w, err);

    if (status == AIGC_OK && rename(w->temporary, w->path) != 0)
        status = fail_errno(err, w->path, "can't rename the finished file to it");
    if (status != AIGC_OK) {
        file_writer_abandon(w);
        return status;
    }
    status = sync_directory(w->path, err);
    free(w->path);
    free(w->temporary);
    free(w);
    return status;
}

void file_writer_abandon(file_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    if (w->created)
        unlink(w->temporary);
    free(w->path);
    free(w->temporary);
    free(w);
}
