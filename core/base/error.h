/* error.h: filling an aigc_error. Used by all of core. */
#ifndef AIGC_BASE_ERROR_H
#define AIGC_BASE_ERROR_H

#include "aigc.h"

/* Writes the formatted sentence into *err (which may be NULL) and returns code, so that callers can return it. A
 * message that does not fit loses its middle (" ... ", at UTF-8 borders); control characters and bytes that are not
 * UTF-8 (a file's strings) are replaced by '?'. Arguments may point into *err. */
aigc_status aigc_fail(aigc_error *err, aigc_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The usual sentence for a failed allocation: "out of memory: <what> needs <bytes> bytes". */
aigc_status aigc_fail_memory(aigc_error *err, const char *what, size_t bytes);

#endif
