/*
 * guard.h: mapped files that are cut short, overwritten or on a disk that fails while they are read.
 *
 * Reading a page of a mapping that the file no longer has raises SIGBUS, which ends the process: an editor with
 * unsaved text, or all sessions of a server. While a mapping is guarded its pages read as zeros from then on instead,
 * and a flag tells whoever reads that all of it is void. Faults elsewhere are the business of whoever handled them
 * before. Threads that read guarded memory must not block SIGBUS. Used by gguf_read.c.
 */
#ifndef AIGC_BASE_GUARD_H
#define AIGC_BASE_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Guards size bytes at data, a mapping that stays until guard_remove(); *struck becomes true when a page is gone.
 * Returns a number for guard_remove(), or -1 where there is nothing to guard or no room for one more. Several guards
 * may have the same mapping. */
int guard_add(const void *data, size_t size, atomic_bool *struck);
void guard_remove(int guard); /* -1 is allowed */

#endif
