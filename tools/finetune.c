/* finetune.c: `aigc finetune`: a model that goes on learning, from text, from responses or from preferences. */
#include "commands.h"
#include "examples.h"
#include "output.h"
#include "training.h"

static int check_usage(const settings *s)
{
    const char *what = NULL;
    if (s->files.n != 1)
        what = s->files.n == 0 ? "no base model given" : "more than one base model";
    else if (s->data.n == 0)
        what = "no --data given";
    else if (s->output == NULL)
        what = "no --output given";
    else if (s->steps >= 0 && s->minutes > 0)
        what = "give either --steps or --minutes";
    else if (s->full && s->merged)
        what = "--merged is for adapters: --full writes a whole model anyway";
    else if (s->type != NULL && !s->full && !s->merged)
        what = "--type is for whole models (--full, --merged); an adapter is F32";
    if (what == NULL)
        return EXIT_OK;
    fprintf(stderr, "aigc: %s (try 'aigc finetune --help')\n", what);
    return EXIT_USAGE;
}

static int feed_all(const training *tr)
{
    const settings *s = tr->s;
    int status = EXIT_OK;
    for (size_t i = 0; i < s->data.n && status == EXIT_OK; i++)
        status = feed_examples(s, tr->trainer, AIGC_TEXT_TRAIN, s->data.items[i]);
    if (status == EXIT_OK && s->valid != NULL)
        status = feed_examples(s, tr->trainer, AIGC_TEXT_VALID, s->valid);
    return status;
}

static int write_result(const training *tr)
{
    const settings *s = tr->s;
    bool whole = s->full || s->merged;
    aigc_error err;
    aigc_status code = whole ? aigc_trainer_write(tr->trainer, s->output, s->type, training_name(s), &err)
                             : aigc_trainer_write_adapter(tr->trainer, s->output, training_name(s), &err);
    if (code != AIGC_OK)
        return complain("%s", err.message);
    printf("%s: %s written\n", s->output, whole ? "model" : "adapter");
    return training_report(tr);
}

static int run_finetune(settings *s)
{
    training tr = {.s = s};
    int status = check_usage(s);
    if (status != EXIT_OK)
        return status;
    s->train.base = s->files.items[0];
    if (s->full)
        s->train.lora_rank = 0;
    if (s->train.lora_alpha == 0)
        s->train.lora_alpha = 2 * s->train.lora_rank;
    status = training_open(&tr, NULL);
    if (status == EXIT_OK)
        status = feed_all(&tr);
    if (status == EXIT_OK)
        status = training_run(&tr);
    if (status == EXIT_OK)
        status = write_result(&tr);
    training_close(&tr);
    return status;
}

const command command_finetune = {
    .name = "finetune",
    .bit = FOR_FINETUNE,
    .summary = "adapt a model to text, responses or preferences",
    .synopsis = "BASE --data FILE [--lora-rank N | --full] -o OUT [options]",
    .details =
        "Trains a model on. By default its weights stay as they are and two thin matrices beside each of them learn\n"
        "(LoRA): OUT is then an adapter, to be used with --lora beside BASE or merged by `aigc merge`. With --full "
        "all\n"
        "weights learn and OUT is a model.\n"
        "\n"
        "Data are text (documents end with a line <|endoftext|>) or JSON lines, all of one kind:\n"
        "  {\"prompt\": ..., \"response\": ...}                   only the response is learned\n"
        "  {\"prompt\": ..., \"chosen\": ..., \"rejected\": ...}    preferences: direct preference optimisation\n"
        "  {\"messages\": [{\"role\": ..., \"content\": ...}, ...]}  chats: what the assistant says is learned\n"
        "  {\"text\": ...}                                      a document\n"
        "An example longer than the context loses the beginning of its prompt.\n"
        "\n"
        "SIGINT and SIGTERM stop after the step with a checkpoint; --resume, with the same options and data, goes on\n"
        "from it to the same weights, bit for bit, on any number of threads. Without AVX-512 it needs OpenBLAS "
        "(Debian:\n"
        "libopenblas0-pthread).\n",
    .plain = PLAIN_FILES,
    .run = run_finetune,
};
