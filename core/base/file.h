/* file.h: files mapped for reading, and files written aside and renamed when complete. */
#ifndef AIGC_BASE_FILE_H
#define AIGC_BASE_FILE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"

typedef struct file_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
    dev_t device; /* this and what follows: as the file was when it was mapped */
    ino_t inode;
    struct timespec modified;
} file_map;

/* Maps a regular file read-only and shared. Errors name the path. The file must not be cut short while it is mapped:
 * reading past the new end raises SIGBUS (but see guard.h). Replace files by rename, as file_writer does. */
aigc_status file_map_open(const char *path, file_map *map, aigc_error *err);
/* Whether the mapped file, if path still leads to it, has been written to since. */
bool file_map_is_stale(const file_map *map, const char *path);
void file_map_close(file_map *map);

/* A file that appears under its name only when it is complete: written without a name, or where the file system has no
 * such files under a temporary one in the same directory; synced, renamed, the directory synced. */
typedef struct file_writer file_writer;

aigc_status file_writer_open(const char *path, file_writer **writer, aigc_error *err);
/* Makes writing and committing give up with AIGC_INTERRUPTED soon after *flag becomes non-zero, also in the middle of a
 * large piece; nothing is left but to abandon it (a commit has done so). */
void file_writer_set_interrupt(file_writer *writer, const volatile sig_atomic_t *flag);
/* Makes the file readable and writable by its owner alone. */
aigc_status file_writer_make_private(file_writer *writer, aigc_error *err);
aigc_status file_writer_write(file_writer *writer, const void *data, size_t size, aigc_error *err);
uint64_t file_writer_offset(const file_writer *writer);
/* Syncs and renames; frees the writer in any case. On error the temporary file is removed, an old file left alone. */
aigc_status file_writer_commit(file_writer *writer, aigc_error *err);
/* Removes the temporary file and frees the writer. NULL is allowed. */
void file_writer_abandon(file_writer *writer);

#endif
