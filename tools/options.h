/*
 * options.h: the command line of all commands: one table of options, parsed into one struct.
 *
 * main.c parses, the commands read. Values go straight into the library's own option structs where it has one.
 */
#ifndef AIGC_TOOLS_OPTIONS_H
#define AIGC_TOOLS_OPTIONS_H

#include <stdio.h>

#include "aigc.h"

enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* Commands that take an option. */
enum {
    FOR_GENERATE = 1 << 0,
    FOR_TOKENIZE = 1 << 1,
    FOR_INSPECT = 1 << 2,
    FOR_SCORE = 1 << 3,
    FOR_BENCH = 1 << 4,
    FOR_TRAIN_TOKENIZER = 1 << 5,
    FOR_TRAIN = 1 << 6,
    FOR_FINETUNE = 1 << 7,
    FOR_MERGE = 1 << 8,
    FOR_QUANTIZE = 1 << 9,
    FOR_NEXT_WORD = 1 << 16,
    FOR_MEMORY = 1 << 17,
};

enum { LIST_MAX = 64 };

typedef struct text_list {
    const char *items[LIST_MAX];
    size_t n;
} text_list;

typedef struct int_list {
    int items[LIST_MAX];
    size_t n;
} int_list;

typedef struct real_list {
    double items[LIST_MAX];
    size_t n;
} real_list;

typedef struct bias_list {
    aigc_logit_bias items[LIST_MAX];
    size_t n;
} bias_list;

typedef struct settings {
    const char *model;  /* NULL: the default model */
    const char *prompt; /* NULL: from file, or standard input if that is NULL too */
    const char *file;
    aigc_engine_options engine;
    aigc_request_options request; /* stop and bias are in the lists below */
    text_list stop;
    bias_list bias;
    int logprobs; /* -1: not asked for */
    bool stats, json, verbose, help;
    bool ids, no_special, decode, show_special; /* tokenize */
    bool tokens;                                /* score */
    int words, places;                          /* next-word */
    const char *personal;                       /* NULL: none */
    bool learn, unlearn, forget, clear;         /* memory; learn: score too */
    int phrases;
    int_list threads, sequences; /* bench */
    int prompt_tokens, decode_tokens, repeat;
    text_list files; /* train-tokenizer, train, finetune, merge, quantize */
    const char *output, *pre;
    int vocab_size, min_frequency;
    text_list special;
    aigc_train_options train;
    const char *tokenizer, *valid, *log, *checkpoint, *resume_from, *plot, *tokens_to, *type, *name;
    real_list weights; /* of the texts */
    const char *description, *license, *chat_template, *sampling_advice;
    int steps, more, save_every, valid_every; /* steps -1: not given */
    double minutes;
    bool resume;
    text_list lora; /* FILE or FILE=SCALE */
    text_list data; /* finetune */
    double epochs, scale;
    bool full, merged;
} settings;

typedef struct command {
    const char *name;
    unsigned bit;
    const char *summary;                                 /* one line for `aigc --help` */
    const char *synopsis;                                /* what follows "aigc NAME" in the usage line */
    const char *details;                                 /* paragraphs of its own --help */
    enum { PLAIN_NONE, PLAIN_MODEL, PLAIN_FILES } plain; /* what plain arguments are */
    int (*run)(settings *s);
} command;

/* Fills *s from the arguments after the command's name. On bad usage says so on stderr and returns EXIT_USAGE. */
int options_parse(const command *c, int argc, char **argv, settings *s);

/* The command's usage, details and options. */
void options_help(const command *c, FILE *out);

#endif
