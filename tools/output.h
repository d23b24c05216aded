/* output.h: what all commands share about writing: errors, standard output, JSON, sizes, interrupts, time. */
#ifndef AIGC_TOOLS_OUTPUT_H
#define AIGC_TOOLS_OUTPUT_H

#include <signal.h>
#include <stdio.h>

#include "aigc.h"

/* Set by SIGINT and SIGTERM; the engine looks at it too. */
extern volatile sig_atomic_t interrupted;

/* From now on SIGINT and SIGTERM set the flag (a second one kills), and a closed pipe is an error of write(). */
void catch_signals(void);

/* Prints "aigc: <message>" to stderr and returns EXIT_ERROR. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Flushes standard output. False, with a message, if anything written so far did not arrive. */
bool output_arrived(void);

/* Seconds of a clock that only goes forward. */
double now(void);

/* text as a JSON string, with its quotes. */
void print_json_string(FILE *out, const char *text, size_t len);

/* x as JSON: null if it is not finite. */
void print_json_number(FILE *out, double x);

/* text on one line: control characters and backslashes as in C. */
void print_escaped(FILE *out, const char *text, size_t len);

/* The text of token id as it stands inside a text (its leading space is there), control tokens by name. *text is
 * malloc'd (aigc_free). False if memory is out. */
bool token_text(const aigc_model *model, int32_t id, char **text, size_t *len);

/* The text of token id as it stands inside a text (its leading space is there), control tokens by name. */
void print_token(FILE *out, const aigc_model *model, int32_t id, void (*print)(FILE *, const char *, size_t));

/* "1.5 MiB" in one of four buffers that take turns. */
const char *human_size(double bytes);

#endif
