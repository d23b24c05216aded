/* train_tokenizer.c: `aigc train-tokenizer`: a byte-level BPE vocabulary from text files. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "input.h"
#include "output.h"

enum { MERGES_AT_ONCE = 64 };

static int feed_file(const settings *s, const char *path, aigc_bpe_trainer *trainer)
{
    settings one = *s;
    char *text;
    size_t len;
    aigc_error err;
    one.file = path;
    int status = read_text(&one, &text, &len);
    if (status != EXIT_OK)
        return status;
    if (aigc_bpe_trainer_feed(trainer, text, len, &err) != AIGC_OK)
        status = complain("%s: %s", path, err.message);
    free(text);
    return status;
}

/* A line that is written over itself, on a terminal only. */
static void show_progress(const aigc_bpe_trainer *trainer, int vocab_size, double began)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%d of %d tokens, %.1f s ", aigc_bpe_trainer_n_vocab(trainer), vocab_size, now() - began);
}

static int learn(const settings *s, aigc_bpe_trainer *trainer)
{
    bool done = false;
    double began = now();
    aigc_error err;
    while (!done && !interrupted) {
        if (aigc_bpe_trainer_merge(trainer, MERGES_AT_ONCE, &done, &err) != AIGC_OK)
            return complain("%s", err.message);
        show_progress(trainer, s->vocab_size, began);
    }
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
    return interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

static int train(const settings *s, aigc_bpe_trainer *trainer)
{
    double began = now();
    aigc_error err;
    int status = EXIT_OK;
    for (size_t i = 0; i < s->files.n && status == EXIT_OK && !interrupted; i++)
        status = feed_file(s, s->files.items[i], trainer);
    if (status == EXIT_OK)
        status = learn(s, trainer);
    if (status != EXIT_OK)
        return status;
    const char *slash = strrchr(s->output, '/');
    if (aigc_bpe_trainer_write(trainer, s->output, slash != NULL ? slash + 1 : s->output, &err) != AIGC_OK)
        return complain("%s", err.message);
    printf("%s: %d tokens from %llu different words, %.1f s\n", s->output, aigc_bpe_trainer_n_vocab(trainer),
           (unsigned long long)aigc_bpe_trainer_n_words(trainer), now() - began);
    return EXIT_OK;
}

static int run_train_tokenizer(settings *s)
{
    static const char *const usual_special[] = {"<|endoftext|>"};
    if (s->output == NULL || s->files.n == 0) {
        fprintf(stderr, "aigc: %s (try 'aigc train-tokenizer --help')\n",
                s->output == NULL ? "no --output given" : "no text files given");
        return EXIT_USAGE;
    }
    aigc_bpe_trainer_options options = {
        .vocab_size = s->vocab_size,
        .pretokenizer = s->pre,
        .min_frequency = s->min_frequency,
        .special = s->special.n > 0 ? s->special.items : usual_special,
        .n_special = s->special.n > 0 ? s->special.n : 1,
    };
    aigc_bpe_trainer *trainer;
    aigc_error err;
    if (aigc_bpe_trainer_create(&options, &trainer, &err) != AIGC_OK)
        return complain("%s", err.message);
    int status = train(s, trainer);
    aigc_bpe_trainer_destroy(trainer);
    return status;
}

const command command_train_tokenizer = {
    .name = "train-tokenizer",
    .bit = FOR_TRAIN_TOKENIZER,
    .summary = "learn a vocabulary from text",
    .synopsis = "[--vocab N] [options] -o FILE TEXT...",
    .details =
        "Learns a byte-level BPE vocabulary from text files (UTF-8; - is standard input) and writes it as a GGUF\n"
        "file that `aigc tokenize -m` reads and `aigc train` takes. Special tokens in the text set documents\n"
        "apart and are not learned.\n",
    .plain = PLAIN_FILES,
    .run = run_train_tokenizer,
};
