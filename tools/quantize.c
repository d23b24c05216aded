/* quantize.c: `aigc quantize`: a model file with its weights in another type. */
#include <sys/stat.h>

#include "commands.h"
#include "output.h"

static double file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (double)st.st_size : 0;
}

static int run_quantize(settings *s)
{
    aigc_error err;
    const char *to = s->output != NULL ? s->output : s->files.n == 2 ? s->files.items[1] : NULL;
    if (to == NULL || s->files.n != (s->output != NULL ? 1 : 2)) {
        fputs("aigc: a model and a file to write are needed (try 'aigc quantize --help')\n", stderr);
        return EXIT_USAGE;
    }
    aigc_status status = aigc_quantize(s->files.items[0], s->type, s->name, to, &interrupted, &err);
    if (status == AIGC_INTERRUPTED)
        return EXIT_INTERRUPTED;
    if (status != AIGC_OK)
        return complain("%s", err.message);
    printf("%s: %s, ", to, s->type);
    printf("%s ", human_size(file_size(to)));
    printf("instead of %s\n", human_size(file_size(s->files.items[0])));
    return EXIT_OK;
}

const command command_quantize = {
    .name = "quantize",
    .bit = FOR_QUANTIZE,
    .summary = "write a model's weights in another type",
    .synopsis = "MODEL OUT [--type TYPE]",
    .details = "Writes a GGUF file with the same metadata and tensors, the matrices in the type that is asked for: "
               "Q8_0, which "
               "is\n"
               "half of F16 and as good; Q4_0 and Q4_K, about a quarter, at some loss (`aigc score` tells how much); "
               "or back to\n"
               "F16 and F32. Matrices whose rows are not whole blocks of the type (Q4_K and Q6_K: of 256 numbers) "
               "become Q8_0,\n"
               "or F16 where that does not fit either; vectors and learned positions stay as they are. Begin from F32, "
               "F16 or\n"
               "BF16: what a rounder type has lost does not come back.\n",
    .plain = PLAIN_FILES,
    .run = run_quantize,
};
