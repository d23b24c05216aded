/* examples.h: feeding a trainer from a file: plain text, or JSON lines. Called by finetune.c. */
#ifndef AIGC_TOOLS_EXAMPLES_H
#define AIGC_TOOLS_EXAMPLES_H

#include "options.h"

/*
 * A file whose name ends in .jsonl or .json holds one JSON object a line (empty lines are skipped):
 *     {"text": ...}                           a document
 *     {"prompt": ..., "response": ...}        only the response is learned
 *     {"prompt": ..., "chosen": ..., "rejected": ...}
 *     {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}, ...]}
 *                                             a pair for each message of the assistant, in the form of a chat:
 *                                             "User: ...\nAssistant:" and " ...\n", or ChatML if the base's chat
 *                                             template is that
 * Other members are not looked at. Any other file is plain text. Returns an exit status; anything but EXIT_OK has been
 * reported, with the number of the line.
 */
int feed_examples(const settings *s, aigc_trainer *t, aigc_train_text kind, const char *path);

#endif
