/*
 * make-model: writes a synthetic model file (synthetic.h) for bench/run, the golden values and other engines.
 *
 *     build/make-model --shape gpt2-124m --type Q8_0 --out build/models/gpt2-124m.Q8_0.gguf
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "synthetic.h"

#include "base/cpu.h"

static void usage(FILE *out)
{
    fprintf(out, "usage: make-model --shape SHAPE --type TYPE --out FILE [option]...\n"
                 "Writes a GGUF file with random weights, the same on every machine.\n\n"
                 "  --shape SHAPE   one of:");
    for (int i = 0; synthetic_shape_at(i); i++)
        fprintf(out, " %s", synthetic_shape_at(i)->name);
    fprintf(out, "\n"
                 "  --type TYPE     of the matrices: F32 F16 BF16 Q8_0 Q4_0 Q4_K Q6_K\n"
                 "  --out FILE\n"
                 "  --seed N        default 1\n"
                 "  --data DIR      holds tokenizers/ggml-vocab-*.gguf; default $AIGC_SHARED/data or ../shared/data;\n"
                 "                  an empty DIR: byte tokens in place of a real vocabulary\n"
                 "  --threads N     default: one per core\n");
}

/* The data directory: from the option, the environment, or beside the repository. NULL if it is given as empty. */
static const char *data_directory(const char *option, char *buffer, size_t size)
{
    const char *shared = getenv("AIGC_SHARED");

    if (option)
        return *option ? option : NULL;
    if ((size_t)snprintf(buffer, size, "%s/data", shared && *shared ? shared : "../shared") >= size)
        return NULL;
    return buffer;
}

static int bad_usage(const char *what, const char *value)
{
    fprintf(stderr, "make-model: %s%s%s\n", what, value ? ": " : "", value ? value : "");
    usage(stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"shape", required_argument, NULL, 's'}, {"type", required_argument, NULL, 't'},
        {"out", required_argument, NULL, 'o'},   {"seed", required_argument, NULL, 'r'},
        {"data", required_argument, NULL, 'd'},  {"threads", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    synthetic_options o = {.type = TYPE_F32, .seed = 1, .n_threads = cpu_count()};
    const char *out = NULL, *data = NULL;
    char buffer[4096];
    aigc_error err;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            o.shape = synthetic_find(optarg);
            if (!o.shape)
                return bad_usage("no such shape", optarg);
            break;
        case 't':
            if (!synthetic_type(optarg, &o.type))
                return bad_usage("no such type", optarg);
            break;
        case 'o':
            out = optarg;
            break;
        case 'r':
            o.seed = strtoull(optarg, NULL, 10);
            break;
        case 'd':
            data = optarg;
            break;
        case 'n':
            o.n_threads = atoi(optarg);
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            return bad_usage("see the options", NULL);
        }
    }
    if (!o.shape || !out || o.n_threads < 1 || optind < argc)
        return bad_usage("--shape and --out are needed, --threads is 1 or more", NULL);
    o.data_dir = data_directory(data, buffer, sizeof buffer);
    if (synthetic_write(&o, out, &err) != AIGC_OK) {
        fprintf(stderr, "make-model: %s\n", err.message);
        return 1;
    }
    return 0;
}
