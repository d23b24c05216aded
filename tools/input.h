/* input.h: where a command's text and model come from. */
#ifndef AIGC_TOOLS_INPUT_H
#define AIGC_TOOLS_INPUT_H

#include "options.h"

/* The text given by --prompt, --file or standard input, byte for byte. *text is malloc'd and NUL-terminated.
 * Returns an exit status; anything but EXIT_OK has been reported. */
int read_text(const settings *s, char **text, size_t *len);

/* The path of the model named on the command line, by AIGC_MODEL in the environment, or the default one that is
 * installed beside this program: *path points into static memory or the arguments. Returns an exit status; anything but
 * EXIT_OK has been reported. */
int find_model(const settings *s, const char **path);

/* Opens that model. Returns an exit status; anything but EXIT_OK has been reported. */
int open_model(const settings *s, unsigned parts, aigc_model **model);

/* Opens an engine for it with the adapters that --lora names. Returns an exit status; anything but EXIT_OK has been
 * reported. */
int open_engine(const settings *s, aigc_model *model, const aigc_engine_options *options, aigc_engine **engine);

/* The personal layer named by --personal, or NULL if none is. Returns an exit status; anything but EXIT_OK has been
 * reported. */
int open_personal(const settings *s, aigc_model *model, aigc_personal **personal);

/* Writes it back. Returns an exit status; anything but EXIT_OK has been reported. */
int save_personal(const settings *s, const aigc_personal *personal);

#endif
