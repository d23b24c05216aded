/* train.c: `aigc train`: a model from text files. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "input.h"
#include "output.h"
#include "training.h"

static int feed_file(const training *tr, aigc_train_text kind, const char *path)
{
    settings one = *tr->s;
    char *text;
    size_t len;
    aigc_error err;
    one.file = path;
    int status = read_text(&one, &text, &len);
    if (status != EXIT_OK)
        return status;
    aigc_status code = aigc_trainer_feed(tr->trainer, kind, text, len, &err);
    free(text);
    if (code == AIGC_INTERRUPTED)
        return EXIT_INTERRUPTED;
    return code == AIGC_OK ? EXIT_OK : complain("%s: %s", path, err.message);
}

static int feed_all(const training *tr)
{
    int status = EXIT_OK;
    aigc_error err;
    for (size_t i = 0; i < tr->s->files.n && status == EXIT_OK; i++) {
        if (tr->s->weights.n > 0 && aigc_trainer_weigh(tr->trainer, tr->s->weights.items[i], &err) != AIGC_OK)
            return complain("%s", err.message);
        status = feed_file(tr, AIGC_TEXT_TRAIN, tr->s->files.items[i]);
    }
    if (status == EXIT_OK && tr->s->valid != NULL)
        status = feed_file(tr, AIGC_TEXT_VALID, tr->s->valid);
    return status;
}

static int write_tokens(const training *tr)
{
    aigc_error err;
    if (tr->s->tokens_to == NULL || aigc_trainer_write_tokens(tr->trainer, tr->s->tokens_to, &err) == AIGC_OK)
        return EXIT_OK;
    return complain("%s", err.message);
}

static int write_model(const training *tr)
{
    const settings *s = tr->s;
    aigc_error err;
    if (aigc_trainer_write(tr->trainer, s->output, s->type, training_name(s), &err) != AIGC_OK)
        return complain("%s", err.message);
    printf("%s: written as %s\n", s->output, s->type);
    return training_report(tr);
}

static int annotate(const training *tr, const char *key, const char *value)
{
    aigc_error err;
    if (value == NULL || aigc_trainer_annotate(tr->trainer, key, value, &err) == AIGC_OK)
        return EXIT_OK;
    return complain("%s", err.message);
}

static int annotate_template(const training *tr)
{
    static const char key[] = "tokenizer.chat_template";
    settings from_file = *tr->s;
    char *text;
    size_t len;
    if (tr->s->chat_template == NULL || strchr(tr->s->chat_template, '{') != NULL)
        return annotate(tr, key, tr->s->chat_template);
    from_file.file = tr->s->chat_template;
    int status = read_text(&from_file, &text, &len);
    if (status != EXIT_OK)
        return status;
    bool whole = strlen(text) == len;
    if (whole && len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0'; /* the file's, not the template's, as Jinja has it */
    status = whole ? annotate(tr, key, text) : complain("%s: a NUL in it", tr->s->chat_template);
    free(text);
    return status;
}

/* name=value,name=value */
static int annotate_sampling(const training *tr)
{
    int status = EXIT_OK;
    for (const char *at = tr->s->sampling_advice; status == EXIT_OK && at != NULL && *at != '\0';) {
        char key[64], value[64];
        size_t len = strcspn(at, ","), name = strcspn(at, "=,");
        if (name == len || name > 32 || len - name > 32)
            return complain("--sampling: '%.*s' is not NAME=NUMBER", (int)len, at);
        snprintf(key, sizeof(key), "general.sampling.%.*s", (int)name, at);
        snprintf(value, sizeof(value), "%.*s", (int)(len - name - 1), at + name + 1);
        status = annotate(tr, key, value);
        at += at[len] == ',' ? len + 1 : len;
    }
    return status;
}

static int annotate_all(const training *tr)
{
    int status = annotate(tr, "general.description", tr->s->description);
    if (status == EXIT_OK)
        status = annotate(tr, "general.license", tr->s->license);
    if (status == EXIT_OK)
        status = annotate_sampling(tr);
    return status == EXIT_OK ? annotate_template(tr) : status;
}

static int check_usage(const settings *s)
{
    const char *what = NULL;
    bool resumes = s->resume || s->resume_from != NULL;
    if (s->output == NULL)
        what = "no --output given";
    else if (s->tokenizer == NULL && s->train.init == NULL)
        what = "no --tokenizer given";
    else if (s->tokenizer != NULL && s->train.init != NULL)
        what = "give either --tokenizer or --init, whose vocabulary is taken";
    else if (s->files.n == 0)
        what = "no text files given";
    else if (s->weights.n > 0 && s->weights.n != s->files.n)
        what = "--weights must be as many as the text files";
    else if (s->resume && s->resume_from != NULL)
        what = "give either --resume or --resume-from";
    else if (s->more > 0 && (s->resume_from == NULL || s->steps >= 0 || s->minutes > 0))
        what = "--more says how long a run with --resume-from is, and no other option does";
    else if ((s->steps >= 0 && s->minutes > 0) || (s->steps < 0 && !(s->minutes > 0) && !resumes))
        what = "give either --steps or --minutes";
    else if (s->resume_from != NULL && s->minutes > 0)
        what = "with --resume-from, --more or --steps says how long the run is, not --minutes";
    if (what == NULL)
        return EXIT_OK;
    fprintf(stderr, "aigc: %s (try 'aigc train --help')\n", what);
    return EXIT_USAGE;
}

/* A branch must leave the checkpoint that it begins from as it is. */
static int check_branch(const training *tr)
{
    struct stat from, to;
    if (tr->s->resume_from == NULL || stat(tr->s->resume_from, &from) != 0 || stat(tr->checkpoint, &to) != 0 ||
        from.st_dev != to.st_dev || from.st_ino != to.st_ino)
        return EXIT_OK; /* a missing file is named when it is opened */
    return complain("%s would be overwritten: give another --checkpoint, or --resume to go on with it", tr->checkpoint);
}

static int run_train(settings *s)
{
    training tr = {.s = s};
    int status = check_usage(s);
    if (status == EXIT_OK)
        status = training_open(&tr, s->tokenizer);
    if (status == EXIT_OK)
        status = check_branch(&tr);
    if (status == EXIT_OK)
        status = annotate_all(&tr);
    if (status == EXIT_OK)
        status = feed_all(&tr);
    if (status == EXIT_OK)
        status = write_tokens(&tr);
    if (status == EXIT_OK)
        status = training_run(&tr);
    if (status == EXIT_OK)
        status = write_model(&tr);
    training_close(&tr);
    return status;
}

const command command_train = {
    .name = "train",
    .bit = FOR_TRAIN,
    .summary = "train a model on text",
    .synopsis = "(-t TOKENIZER | --init MODEL) -o MODEL (--steps N | --minutes M) [options] TEXT...",
    .details =
        "Trains a model on text files (UTF-8; documents end with a line <|endoftext|>; --weights mixes them)\n"
        "and writes it as a GGUF file.\n"
        "The vocabulary is that of TOKENIZER, a file that `aigc train-tokenizer` wrote or any model with one; with\n"
        "--init, vocabulary, shape and first weights are those of a model (of any type that aigc runs).\n"
        "\n"
        "SIGINT and SIGTERM stop after the step with a checkpoint; --resume, with the same options and text, goes on\n"
        "from it to the same weights, bit for bit. The same holds for any number of threads. Under --schedule stable\n"
        "a run can be given another end while its learning rate has not begun to fall: another --steps with --resume,\n"
        "or, with --resume-from, a run of its own that leaves the first one's checkpoint as it is. Without AVX-512 it\n"
        "needs OpenBLAS (Debian: libopenblas0-pthread).\n",
    .plain = PLAIN_FILES,
    .run = run_train,
};
