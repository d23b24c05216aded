/* options.c: the table of options, their strict parsing, and --help made from the same table. See options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind {
    KIND_TRUE,      /* bool, no argument */
    KIND_FALSE,     /* bool, no argument, clears it */
    KIND_TEXT,      /* const char * */
    KIND_INT,       /* int, min to max */
    KIND_REAL,      /* double, min to max */
    KIND_U64,       /* uint64_t */
    KIND_KV,        /* aigc_kv_type */
    KIND_TEXTS,     /* text_list, given several times */
    KIND_INTS,      /* int_list, separated by commas, each min to max */
    KIND_REALS,     /* real_list, separated by commas, each min to max */
    KIND_BIAS,      /* bias_list, ID:BIAS given several times */
    KIND_MIB,       /* size_t, in MiB on the command line */
    KIND_SCHEDULE,  /* aigc_train_schedule */
    KIND_OPTIMISER, /* aigc_train_optimiser */
    KIND_PRECISION, /* aigc_train_precision */
} option_kind;

typedef struct option_spec {
    const char *name;
    char letter; /* 0: long only */
    option_kind kind;
    unsigned commands;
    size_t offset; /* in settings */
    double min, max;
    const char *argument;
    const char *help;
} option_spec;

#define AT(field)     offsetof(settings, field)
#define WITH_ENGINE   (FOR_GENERATE | FOR_SCORE | FOR_NEXT_WORD)
#define WITH_TEXT     (FOR_GENERATE | FOR_TOKENIZE | FOR_SCORE | FOR_NEXT_WORD | FOR_MEMORY)
#define WITH_MODEL    (WITH_TEXT | FOR_INSPECT | FOR_BENCH)
#define WITH_STEPS    (FOR_TRAIN | FOR_FINETUNE)
#define ALL_COMMANDS  (WITH_MODEL | FOR_TRAIN_TOKENIZER | WITH_STEPS | FOR_MERGE | FOR_QUANTIZE)
#define ANY_INT       0, 2147483647
#define SAMPLING_REAL KIND_REAL, FOR_GENERATE

static const option_spec specs[] = {
    {"model", 'm', KIND_TEXT, WITH_MODEL, AT(model), 0, 0, "FILE", "the model, a GGUF file [$AIGC_MODEL]"},
    {"prompt", 'p', KIND_TEXT, WITH_TEXT, AT(prompt), 0, 0, "TEXT", "the input text"},
    {"file", 'f', KIND_TEXT, WITH_TEXT, AT(file), 0, 0, "FILE", "read the input text from FILE (- is standard input)"},

    {"lora", 0, KIND_TEXTS, WITH_ENGINE, AT(lora), 0, 0, "FILE[=X]",
     "an adapter beside the model, X times as strong [1]; repeatable"},

    {"max-tokens", 0, KIND_INT, FOR_GENERATE, AT(request.max_tokens), ANY_INT, "N", "most tokens to generate [256]"},
    {"temperature", 0, SAMPLING_REAL, AT(request.sampling.temperature), 0, 1e6, "T", "0 is greedy [the model's, or 1]"},
    {"top-p", 0, SAMPLING_REAL, AT(request.sampling.top_p), 0, 1, "P",
     "nucleus of probability P; 1 is off, 0 keeps one token [the model's, or 1]"},
    {"top-k", 0, KIND_INT, FOR_GENERATE, AT(request.sampling.top_k), ANY_INT, "K",
     "only the K most probable tokens; 0 is off [the model's, or 0]"},
    {"min-p", 0, SAMPLING_REAL, AT(request.sampling.min_p), 0, 1, "P",
     "drop tokens below P times the best; 0 is off [the model's, or 0]"},
    {"repetition-penalty", 0, SAMPLING_REAL, AT(request.sampling.repetition_penalty), 1e-6, 1e6, "X",
     "divide the logits of tokens seen by X; 1 is off [the model's, or 1]"},
    {"frequency-penalty", 0, SAMPLING_REAL, AT(request.sampling.frequency_penalty), -2, 2, "X",
     "subtract X for each time a token was generated [0]"},
    {"presence-penalty", 0, SAMPLING_REAL, AT(request.sampling.presence_penalty), -2, 2, "X",
     "subtract X if a token was generated at all [0]"},
    {"logit-bias", 0, KIND_BIAS, FOR_GENERATE, AT(bias), 0, 0, "ID:B", "add B to the logit of token ID; repeatable"},
    {"seed", 0, KIND_U64, FOR_GENERATE, AT(request.sampling.seed), 0, 0, "N", "the same seed gives the same text [0]"},
    {"stop", 0, KIND_TEXTS, FOR_GENERATE, AT(stop), 0, 0, "TEXT", "end before TEXT; repeatable"},
    {"alternatives", 'n', KIND_INT, FOR_GENERATE, AT(request.n), 1, 256, "N", "N texts, the most probable first [1]"},
    {"logprobs", 0, KIND_INT, FOR_GENERATE, AT(logprobs), 0, 20, "N",
     "each token's log-probability and the N best, to stderr"},
    {"ignore-eos", 0, KIND_TRUE, FOR_GENERATE, AT(request.ignore_eos), 0, 0, NULL,
     "do not stop where the model ends the text"},
    {"stats", 0, KIND_TRUE, FOR_GENERATE, AT(stats), 0, 0, NULL, "speed and memory, to stderr"},

    {"ids", 0, KIND_TRUE, FOR_TOKENIZE, AT(ids), 0, 0, NULL, "the ids alone, on one line"},
    {"no-special", 0, KIND_TRUE, WITH_TEXT, AT(no_special), 0, 0, NULL,
     "add no BOS or EOS, take special tokens as plain text"},
    {"decode", 0, KIND_TRUE, FOR_TOKENIZE, AT(decode), 0, 0, NULL, "the input is ids: print their text"},
    {"show-special", 0, KIND_TRUE, FOR_TOKENIZE, AT(show_special), 0, 0, NULL,
     "with --decode: control tokens appear as their names"},

    {"tokens", 0, KIND_TRUE, FOR_SCORE, AT(tokens), 0, 0, NULL, "a line for each token"},

    {"personal", 0, KIND_TEXT, WITH_ENGINE | FOR_MEMORY, AT(personal), 0, 0, "FILE",
     "mix in what this file of a user's text has learned"},
    {"learn", 0, KIND_TRUE, FOR_SCORE | FOR_MEMORY, AT(learn), 0, 0, NULL, "learn the text, and write the file"},
    {"unlearn", 0, KIND_TRUE, FOR_MEMORY, AT(unlearn), 0, 0, NULL, "take a text back that was learned"},
    {"forget", 0, KIND_TRUE, FOR_MEMORY, AT(forget), 0, 0, NULL, "drop whatever contains the text: a word, a phrase"},
    {"clear", 0, KIND_TRUE, FOR_MEMORY, AT(clear), 0, 0, NULL, "forget everything"},
    {"phrases", 0, KIND_INT, FOR_MEMORY, AT(phrases), 0, 1000, "N", "show the N most frequent phrases [20]"},

    {"words", 0, KIND_INT, FOR_NEXT_WORD, AT(words), 1, 100000, "N", "words before each place [50]"},
    {"places", 0, KIND_INT, FOR_NEXT_WORD, AT(places), 1, 1e8, "N", "places to ask about [1000]"},

    {"threads", 0, KIND_INTS, FOR_BENCH, AT(threads), 1, 64, "LIST", "threads to try [1,2,4... up to the cores]"},
    {"sequences", 0, KIND_INTS, FOR_BENCH, AT(sequences), 1, 256, "LIST", "parallel sequences to try [1,2,4,8]"},
    {"prompt-tokens", 0, KIND_INT, FOR_BENCH, AT(prompt_tokens), 1, 1e6, "N", "length of the prompt [512]"},
    {"decode-tokens", 0, KIND_INT, FOR_BENCH, AT(decode_tokens), 2, 1e6, "N", "tokens to generate [64]"},
    {"repeat", 0, KIND_INT, FOR_BENCH, AT(repeat), 1, 1000, "N", "runs of each, interleaved; medians are shown [5]"},

    {"threads", 0, KIND_INT, WITH_ENGINE, AT(engine.n_threads), 1, 64, "N",
     "threads that compute [one a core, at most 8]"},
    {"context", 0, KIND_INT, WITH_ENGINE | FOR_INSPECT | FOR_BENCH, AT(engine.n_context), 1, 2147483647, "N",
     "longest sequence in tokens [the model's]"},
    {"kv", 0, KIND_KV, WITH_ENGINE | FOR_INSPECT | FOR_BENCH, AT(engine.kv), 0, 0, "f16|f32",
     "type of cached keys and values [f16]"},
    {"kv-memory", 0, KIND_MIB, WITH_ENGINE | FOR_BENCH, AT(engine.kv_bytes), 1, 1 << 30, "MIB",
     "bound on the memory for keys and values"},
    {"batch", 0, KIND_INT, WITH_ENGINE | FOR_BENCH, AT(engine.n_batch), 1, 2048, "N", "most tokens computed together"},
    {"sequences", 0, KIND_INT, FOR_GENERATE | FOR_INSPECT, AT(engine.n_sequences), 1, 256, "N",
     "sequences that run at once"},
    {"no-prefix-cache", 0, KIND_FALSE, FOR_GENERATE, AT(engine.prefix_cache), 0, 0, NULL,
     "do not look for known beginnings of the prompt"},

    {"output", 'o', KIND_TEXT, FOR_TRAIN_TOKENIZER | WITH_STEPS | FOR_MERGE | FOR_QUANTIZE, AT(output), 0, 0, "FILE",
     "the GGUF file to write"},
    {"vocab", 0, KIND_INT, FOR_TRAIN_TOKENIZER, AT(vocab_size), 257, 1 << 24, "N", "tokens of the vocabulary [8192]"},
    {"pre", 0, KIND_TEXT, FOR_TRAIN_TOKENIZER, AT(pre), 0, 0, "NAME",
     "how text is cut into words: gpt-2, llama-bpe or qwen2 [gpt-2]"},
    {"min-frequency", 0, KIND_INT, FOR_TRAIN_TOKENIZER, AT(min_frequency), ANY_INT, "N",
     "leave pairs seen less often apart [2]"},
    {"special", 0, KIND_TEXTS, FOR_TRAIN_TOKENIZER, AT(special), 0, 0, "TEXT",
     "a control token; repeatable, the first begins and ends documents [<|endoftext|>]"},

    {"tokenizer", 't', KIND_TEXT, FOR_TRAIN, AT(tokenizer), 0, 0, "FILE", "a GGUF file with the vocabulary"},
    {"init", 0, KIND_TEXT, FOR_TRAIN, AT(train.init), 0, 0, "FILE",
     "instead: a model to begin from; vocabulary, shape and weights are its"},
    {"valid", 0, KIND_TEXT, WITH_STEPS, AT(valid), 0, 0, "FILE", "text to evaluate on, held out"},
    {"weights", 0, KIND_REALS, FOR_TRAIN, AT(weights), 0, 1000, "LIST",
     "how often an epoch reads each TEXT, in their order, such as 1,2.5 [1 each]"},
    {"arch", 0, KIND_TEXT, FOR_TRAIN, AT(train.architecture), 0, 0, "NAME", "llama, qwen2 or gpt2 [llama]"},
    {"layers", 0, KIND_INT, FOR_TRAIN, AT(train.n_layers), 1, 1024, "N", "layers [6]"},
    {"width", 0, KIND_INT, FOR_TRAIN, AT(train.n_embd), 1, 1 << 20, "N", "width of the residual stream [256]"},
    {"heads", 0, KIND_INT, FOR_TRAIN, AT(train.n_heads), 1, 1 << 20, "N", "heads of attention [8]"},
    {"kv-heads", 0, KIND_INT, FOR_TRAIN, AT(train.n_kv_heads), 1, 1 << 20, "N", "key-value heads [as many as heads]"},
    {"ff", 0, KIND_INT, FOR_TRAIN, AT(train.n_ff), 1, 1 << 20, "N",
     "width of the feed-forward layer [4 times the width; 8/3 if gated]"},
    {"context", 0, KIND_INT, FOR_TRAIN, AT(train.n_context), 2, 1 << 20, "N", "tokens of a sequence [256]"},
    {"untied", 0, KIND_TRUE, FOR_TRAIN, AT(train.untied), 0, 0, NULL,
     "an output matrix of its own instead of the embedding"},
    {"batch", 0, KIND_INT, FOR_TRAIN, AT(train.n_sequences), 1, 1 << 20, "N", "sequences computed together [16]"},
    {"accumulate", 0, KIND_INT, WITH_STEPS, AT(train.n_accumulate), 1, 1 << 16, "N", "batches in a step [1]"},
    {"precision", 0, KIND_PRECISION, WITH_STEPS, AT(train.precision), 0, 0, "f32|bf16",
     "of what is multiplied; bf16 is faster with AVX512_BF16 [f32]"},
    {"steps", 0, KIND_INT, WITH_STEPS, AT(steps), ANY_INT, "N", "length of the run; 0 writes the first weights"},
    {"minutes", 0, KIND_REAL, WITH_STEPS, AT(minutes), 0.01, 1e6, "M",
     "instead: as many steps as fit, by the speed of the first"},
    {"lr", 0, KIND_REAL, FOR_TRAIN, AT(train.rate), 1e-9, 10, "X", "the highest learning rate [0.003; 0.001 by adamw]"},
    {"lr-end", 0, KIND_REAL, WITH_STEPS, AT(train.least_rate), 0, 1, "X", "the last one, as a part of it [0.1]"},
    {"schedule", 0, KIND_SCHEDULE, WITH_STEPS, AT(train.schedule), 0, 0, "cosine|stable",
     "how it falls: from the warm-up on, or at the end alone [cosine]"},
    {"decay", 0, KIND_REAL, WITH_STEPS, AT(train.decay), 0, 1e9, "X",
     "of a stable schedule: steps of the fall, or below 1 a part of the run; 0 is none [0.2]"},
    {"warmup", 0, KIND_INT, WITH_STEPS, AT(train.n_warmup), ANY_INT, "N",
     "steps in which it rises [a twentieth of the run, at most 1000]"},
    {"optimizer", 0, KIND_OPTIMISER, FOR_TRAIN, AT(train.optimiser), 0, 0, "adamw|muon",
     "what the matrices of the layers are updated by [muon]"},
    {"optimizer", 0, KIND_OPTIMISER, FOR_FINETUNE, AT(train.optimiser), 0, 0, "adamw|muon",
     "what matrices are updated by, with --full [adamw]"},
    {"weight-decay", 0, KIND_REAL, FOR_TRAIN, AT(train.weight_decay), 0, 10, "X", "of matrices [0.1]"},
    {"dropout", 0, KIND_REAL, WITH_STEPS, AT(train.dropout), 0, 0.999, "P",
     "part of the activations that a step leaves out; for text read several times [0]"},
    {"clip", 0, KIND_REAL, WITH_STEPS, AT(train.clip), 0, 1e9, "X", "largest norm of the gradient; 0 is off [1]"},
    {"seed", 0, KIND_U64, WITH_STEPS, AT(train.seed), 0, 0, "N", "of the first weights and the text's order [0]"},
    {"threads", 0, KIND_INT, WITH_STEPS, AT(train.n_threads), 1, 64, "N",
     "threads that compute [one a core, at most 8]"},
    {"type", 0, KIND_TEXT, FOR_TRAIN, AT(type), 0, 0, "TYPE",
     "of the matrices in the model: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K [F32]"},
    {"description", 0, KIND_TEXT, FOR_TRAIN, AT(description), 0, 0, "TEXT", "what the model is, for its metadata"},
    {"license", 0, KIND_TEXT, FOR_TRAIN, AT(license), 0, 0, "TEXT", "its license, by SPDX name"},
    {"sampling", 0, KIND_TEXT, FOR_TRAIN, AT(sampling_advice), 0, 0, "LIST",
     "how the model is best sampled when its users don't say: "
     "temp=0.8,top_k=40,top_p=0.95,min_p=0.05,penalty_repeat=1.1"},
    {"chat-template", 0, KIND_TEXT, FOR_TRAIN, AT(chat_template), 0, 0, "TEXT",
     "how a chat is put to it: Jinja, or a file with that (then TEXT has no '{')"},
    {"name", 0, KIND_TEXT, WITH_STEPS | FOR_MERGE | FOR_QUANTIZE, AT(name), 0, 0, "TEXT",
     "the model's name [that of the file]"},
    {"log", 0, KIND_TEXT, WITH_STEPS, AT(log), 0, 0, "FILE", "append a line of CSV for each step"},
    {"plot", 0, KIND_TEXT, WITH_STEPS, AT(plot), 0, 0, "FILE",
     "draw the loss as an SVG picture at each checkpoint; with --log, of all sittings"},
    {"tokens-to", 0, KIND_TEXT, FOR_TRAIN, AT(tokens_to), 0, 0, "FILE",
     "write the texts' tokens too, for tools/pretrain.py"},
    {"checkpoint", 0, KIND_TEXT, WITH_STEPS, AT(checkpoint), 0, 0, "FILE",
     "where the run's state is kept [the output's name and .checkpoint]"},
    {"save-every", 0, KIND_INT, WITH_STEPS, AT(save_every), 1, 2147483647, "N", "steps between checkpoints [200]"},
    {"valid-every", 0, KIND_INT, WITH_STEPS, AT(valid_every), 1, 2147483647, "N", "steps between evaluations [200]"},
    {"resume", 0, KIND_TRUE, WITH_STEPS, AT(resume), 0, 0, NULL, "go on from the checkpoint"},
    {"resume-from", 0, KIND_TEXT, FOR_TRAIN, AT(resume_from), 0, 0, "FILE",
     "go on from another run's checkpoint, which is left as it is"},
    {"more", 0, KIND_INT, FOR_TRAIN, AT(more), 1, 2147483647, "N",
     "with --resume-from: end N steps after that checkpoint"},

    {"data", 0, KIND_TEXTS, FOR_FINETUNE, AT(data), 0, 0, "FILE",
     "what to learn: text, or JSON lines if its name ends in .jsonl; repeatable"},
    {"lora-rank", 0, KIND_INT, FOR_FINETUNE, AT(train.lora_rank), 1, 4096, "N", "width of the adapter's matrices [8]"},
    {"lora-alpha", 0, KIND_REAL, FOR_FINETUNE, AT(train.lora_alpha), 1e-6, 1e6, "X",
     "the adapter counts X / rank times [twice the rank]"},
    {"full", 0, KIND_TRUE, FOR_FINETUNE, AT(full), 0, 0, NULL, "train all weights; no adapter"},
    {"merged", 0, KIND_TRUE, FOR_FINETUNE, AT(merged), 0, 0, NULL, "write a whole model, the adapter merged into it"},
    {"epochs", 0, KIND_REAL, FOR_FINETUNE, AT(epochs), 1e-3, 1e6, "X", "how often the data are read [3]"},
    {"context", 0, KIND_INT, FOR_FINETUNE, AT(train.n_context), 8, 1 << 20, "N",
     "tokens of a sequence [the model's, at most 512]"},
    {"batch", 0, KIND_INT, FOR_FINETUNE, AT(train.n_sequences), 1, 1 << 20, "N", "sequences computed together [4]"},
    {"lr", 0, KIND_REAL, FOR_FINETUNE, AT(train.rate), 1e-9, 10, "X",
     "the highest learning rate [0.001; 0.0001 with --full; a fifth of that for preferences]"},
    {"weight-decay", 0, KIND_REAL, FOR_FINETUNE, AT(train.weight_decay), 0, 10, "X", "of matrices [0]"},
    {"dpo-beta", 0, KIND_REAL, FOR_FINETUNE, AT(train.preference_beta), 1e-6, 1e6, "X",
     "of preferences: how dear it is to leave the base model [0.1]"},
    {"scale", 0, KIND_REAL, FOR_MERGE, AT(scale), -1000, 1000, "X", "how strongly the adapter counts [1]"},
    {"type", 0, KIND_TEXT, FOR_FINETUNE | FOR_MERGE, AT(type), 0, 0, "TYPE",
     "of a whole model's matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K [that of each in the base]"},

    {"type", 0, KIND_TEXT, FOR_QUANTIZE, AT(type), 0, 0, "TYPE",
     "of the matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K [Q8_0]"},

    {"verbose", 'v', KIND_TRUE, FOR_INSPECT, AT(verbose), 0, 0, NULL, "the metadata too"},
    {"json", 0, KIND_TRUE, FOR_INSPECT | FOR_SCORE | FOR_NEXT_WORD | FOR_MEMORY | FOR_BENCH, AT(json), 0, 0, NULL,
     "one JSON object"},
    {"help", 'h', KIND_TRUE, ALL_COMMANDS, AT(help), 0, 0, NULL, "this page"},
};

enum { N_SPECS = sizeof(specs) / sizeof(specs[0]) };

/* One line that names the value and shows the way to help. value may be NULL. */
static int bad_usage(const command *c, const char *what, const char *value, const char *why)
{
    if (value == NULL)
        fprintf(stderr, "aigc: %s (try 'aigc %s --help')\n", what, c->name);
    else
        fprintf(stderr, "aigc: %s '%s'%s (try 'aigc %s --help')\n", what, value, why, c->name);
    return EXIT_USAGE;
}

/* The whole of text as a number, or false. NaN and infinities are no numbers here. */
static bool parse_real(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*value) &&
           strcspn(text, " \t\n\v\f\rxX") == strlen(text);
}

static bool parse_long(const char *text, size_t len, long *value)
{
    char digits[24];
    char *end;
    if (len == 0 || len >= sizeof(digits) || strspn(text, "-0123456789") < len)
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    errno = 0;
    *value = strtol(digits, &end, 10);
    return *end == '\0' && errno == 0;
}

static bool parse_u64(const char *text, uint64_t *value)
{
    char *end;
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0;
}

/* "1,2,4" */
static bool parse_ints(const char *text, double min, double max, int_list *list)
{
    list->n = 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        long value;
        if (list->n == LIST_MAX || !parse_long(text, len, &value) || value < min || value > max)
            return false;
        list->items[list->n++] = (int)value;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

/* "1,0.5,3" */
static bool parse_reals(const char *text, double min, double max, real_list *list)
{
    char number[64];
    list->n = 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        double value;
        if (list->n == LIST_MAX || len >= sizeof number)
            return false;
        memcpy(number, text, len);
        number[len] = '\0';
        if (!parse_real(number, &value) || value < min || value > max)
            return false;
        list->items[list->n++] = value;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

/* "ID:BIAS" */
static bool parse_bias(const char *text, bias_list *list)
{
    size_t len = strcspn(text, ":");
    long token;
    double bias;
    if (list->n == LIST_MAX || text[len] != ':' || !parse_long(text, len, &token) || token < 0 || token > INT32_MAX ||
        !parse_real(text + len + 1, &bias))
        return false;
    list->items[list->n++] = (aigc_logit_bias){(int32_t)token, (float)bias};
    return true;
}

static bool parse_kv(const char *text, aigc_kv_type *kv)
{
    if (strcmp(text, "f16") == 0)
        *kv = AIGC_KV_F16;
    else if (strcmp(text, "f32") == 0)
        *kv = AIGC_KV_F32;
    else
        return false;
    return true;
}

static bool parse_precision(const char *text, aigc_train_precision *precision)
{
    if (strcmp(text, "f32") == 0)
        *precision = AIGC_PRECISION_F32;
    else if (strcmp(text, "bf16") == 0)
        *precision = AIGC_PRECISION_BF16;
    else
        return false;
    return true;
}

static bool parse_schedule(const char *text, aigc_train_schedule *schedule)
{
    if (strcmp(text, "cosine") == 0)
        *schedule = AIGC_SCHEDULE_COSINE;
    else if (strcmp(text, "stable") == 0)
        *schedule = AIGC_SCHEDULE_STABLE;
    else
        return false;
    return true;
}

static bool parse_optimiser(const char *text, aigc_train_optimiser *optimiser)
{
    if (strcmp(text, "adamw") == 0)
        *optimiser = AIGC_OPTIMISER_ADAMW;
    else if (strcmp(text, "muon") == 0)
        *optimiser = AIGC_OPTIMISER_MUON;
    else
        return false;
    return true;
}

static bool append_text(const char *text, text_list *list)
{
    if (list->n == LIST_MAX || *text == '\0')
        return false;
    list->items[list->n++] = text;
    return true;
}

/* Stores an option's argument. False if it is not of the option's kind or out of its range. */
static bool store(const option_spec *spec, const char *text, void *field)
{
    long whole;
    double real;
    bool ok = true;
    switch (spec->kind) {
    case KIND_TRUE:
    case KIND_FALSE:
        *(bool *)field = spec->kind == KIND_TRUE;
        return true;
    case KIND_TEXT:
        *(const char **)field = text;
        return true;
    case KIND_INT:
    case KIND_MIB:
        ok = parse_long(text, strlen(text), &whole) && whole >= spec->min && whole <= spec->max;
        if (ok && spec->kind == KIND_INT)
            *(int *)field = (int)whole;
        else if (ok)
            *(size_t *)field = (size_t)whole << 20;
        return ok;
    case KIND_REAL:
        ok = parse_real(text, &real) && real >= spec->min && real <= spec->max;
        if (ok)
            *(double *)field = real;
        return ok;
    case KIND_U64:
        return parse_u64(text, field);
    case KIND_KV:
        return parse_kv(text, field);
    case KIND_PRECISION:
        return parse_precision(text, field);
    case KIND_SCHEDULE:
        return parse_schedule(text, field);
    case KIND_OPTIMISER:
        return parse_optimiser(text, field);
    case KIND_TEXTS:
        return append_text(text, field);
    case KIND_INTS:
        return parse_ints(text, spec->min, spec->max, field);
    case KIND_REALS:
        return parse_reals(text, spec->min, spec->max, field);
    case KIND_BIAS:
        return parse_bias(text, field);
    }
    return false;
}

/* What an option's argument should have been. */
static void describe_kind(const option_spec *spec, char *out, size_t size)
{
    switch (spec->kind) {
    case KIND_INT:
    case KIND_MIB:
        snprintf(out, size, ": not a whole number from %.0f to %.0f", spec->min, spec->max);
        break;
    case KIND_REAL:
        snprintf(out, size, ": not a number from %g to %g", spec->min, spec->max);
        break;
    case KIND_U64:
        snprintf(out, size, ": not a whole number from 0 to 18446744073709551615");
        break;
    case KIND_INTS:
        snprintf(out, size, ": not a list of whole numbers from %.0f to %.0f, such as 1,2,4", spec->min, spec->max);
        break;
    case KIND_REALS:
        snprintf(out, size, ": not a list of numbers from %g to %g, such as 1,0.5", spec->min, spec->max);
        break;
    case KIND_TEXTS:
        snprintf(out, size, ": empty, or given more than %d times", LIST_MAX);
        break;
    default:
        snprintf(out, size, ": not %s", spec->argument);
        break;
    }
}

static int bad_value(const command *c, const option_spec *spec, const char *value)
{
    char what[64], why[128];
    snprintf(what, sizeof(what), "bad value for --%s:", spec->name);
    describe_kind(spec, why, sizeof(why));
    return bad_usage(c, what, value, why);
}

/* getopt's tables of the command's options; val is the index into specs plus FIRST. */
enum { FIRST = 256 };

static void getopt_tables(const command *c, struct option *longs, char *shorts)
{
    size_t n = 0;
    *shorts++ = ':'; /* tell a missing argument from an unknown option */
    for (int i = 0; i < N_SPECS; i++) {
        if (!(specs[i].commands & c->bit))
            continue;
        int has_argument = specs[i].argument ? required_argument : no_argument;
        longs[n++] = (struct option){specs[i].name, has_argument, NULL, FIRST + i};
        if (specs[i].letter) {
            *shorts++ = specs[i].letter;
            if (specs[i].argument)
                *shorts++ = ':';
        }
    }
    longs[n] = (struct option){0};
    *shorts = '\0';
}

static const option_spec *find_spec(const command *c, int val)
{
    if (val >= FIRST)
        return &specs[val - FIRST];
    for (int i = 0; i < N_SPECS; i++)
        if ((specs[i].commands & c->bit) && specs[i].letter == val)
            return &specs[i];
    return NULL;
}

static void set_defaults(const command *c, settings *s)
{
    *s = (settings){
        .engine = aigc_engine_defaults(),
        .request = aigc_request_defaults(),
        .logprobs = -1,
        .sequences = {.items = {1, 2, 4, 8}, .n = 4},
        .prompt_tokens = 512,
        .decode_tokens = 64,
        .repeat = 5,
        .words = 50,
        .places = 1000,
        .phrases = 20,
        .vocab_size = 8192,
        .pre = "gpt-2",
        .min_frequency = 2,
        .train = aigc_train_defaults(),
        .steps = -1,
        .type = "F32",
        .save_every = 200,
        .valid_every = 200,
        .epochs = 3,
        .scale = 1,
    };
    s->request.sampling = aigc_sampling_unset();
    if (c->bit & FOR_FINETUNE) {
        s->train = aigc_finetune_defaults();
        s->train.lora_alpha = 0; /* follows the rank */
    }
    if (c->bit & (FOR_FINETUNE | FOR_MERGE))
        s->type = NULL;
    if (c->bit == FOR_QUANTIZE)
        s->type = "Q8_0";
}

static int plain_argument(const command *c, const char *argument, settings *s)
{
    if (c->plain == PLAIN_FILES && append_text(argument, &s->files))
        return EXIT_OK;
    if (c->plain != PLAIN_MODEL)
        return bad_usage(c, "unexpected argument", argument, "");
    if (s->model != NULL)
        return bad_usage(c, "more than one model:", argument, "");
    s->model = argument;
    return EXIT_OK;
}

int options_parse(const command *c, int argc, char **argv, settings *s)
{
    struct option longs[N_SPECS + 1];
    char shorts[2 * N_SPECS + 2];
    int val;
    getopt_tables(c, longs, shorts);
    set_defaults(c, s);
    opterr = 0;
    while ((val = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (val == ':')
            return bad_usage(c, "no value for option", argv[optind - 1], "");
        const option_spec *spec = val == '?' ? NULL : find_spec(c, val);
        if (spec == NULL)
            return bad_usage(c, "unknown option", argv[optind - 1], "");
        if (!store(spec, optarg, (char *)s + spec->offset))
            return bad_value(c, spec, optarg);
    }
    for (int i = optind; i < argc; i++) {
        int status = plain_argument(c, argv[i], s);
        if (status != EXIT_OK)
            return status;
    }
    if (s->prompt != NULL && s->file != NULL)
        return bad_usage(c, "give either --prompt or --file, not both", NULL, "");
    return EXIT_OK;
}

void options_help(const command *c, FILE *out)
{
    fprintf(out, "Usage: aigc %s %s\n\n%s\nOptions:\n", c->name, c->synopsis, c->details);
    for (int i = 0; i < N_SPECS; i++) {
        const option_spec *spec = &specs[i];
        if (!(spec->commands & c->bit))
            continue;
        char left[64];
        snprintf(left, sizeof(left), "%c%c%s --%s%s%s", spec->letter ? '-' : ' ', spec->letter ? spec->letter : ' ',
                 spec->letter ? "," : " ", spec->name, spec->argument ? " " : "", spec->argument ? spec->argument : "");
        fprintf(out, "  %-30s %s\n", left, spec->help);
    }
}
