/* merge.c: `aigc merge`: a model and an adapter become one model. */
#include "commands.h"
#include "output.h"

static int run_merge(settings *s)
{
    aigc_error err;
    if (s->files.n != 2 || s->output == NULL) {
        fprintf(stderr, "aigc: %s (try 'aigc merge --help')\n",
                s->files.n != 2 ? "a base model and an adapter are needed" : "no --output given");
        return EXIT_USAGE;
    }
    aigc_status status =
        aigc_merge(s->files.items[0], s->files.items[1], s->scale, s->type, s->name, s->output, &interrupted, &err);
    if (status == AIGC_INTERRUPTED)
        return EXIT_INTERRUPTED;
    if (status != AIGC_OK)
        return complain("%s", err.message);
    printf("%s: model written\n", s->output);
    return EXIT_OK;
}

const command command_merge = {
    .name = "merge",
    .bit = FOR_MERGE,
    .summary = "put an adapter's changes into a model's own weights",
    .synopsis = "BASE ADAPTER -o OUT [--type TYPE] [--scale X]",
    .details =
        "Adds an adapter (LoRA, in llama.cpp's GGUF form) to the weights of the model that it was made for, and "
        "writes\n"
        "the whole model. Weights are rounded again to their type; --type chooses another. Without a merge, adapters\n"
        "are used beside a model with --lora.\n",
    .plain = PLAIN_FILES,
    .run = run_merge,
};
