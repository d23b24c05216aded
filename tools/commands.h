/* commands.h: the commands of the shell tool; each is a file of its name. main.c calls them. */
#ifndef AIGC_TOOLS_COMMANDS_H
#define AIGC_TOOLS_COMMANDS_H

#include "options.h"

extern const command command_generate;
extern const command command_tokenize;
extern const command command_inspect;
extern const command command_score;
extern const command command_next_word;
extern const command command_memory;
extern const command command_bench;
extern const command command_train_tokenizer;
extern const command command_train;
extern const command command_finetune;
extern const command command_merge;
extern const command command_quantize;

#endif
