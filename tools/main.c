/* main.c: the shell tool `aigc`: finds the command, parses its options and runs it. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"

static const command *const commands[] = {
    &command_generate,  &command_tokenize, &command_inspect, &command_score,
    &command_next_word, &command_memory,   &command_bench,   &command_train_tokenizer,
    &command_train,     &command_finetune, &command_merge,   &command_quantize,
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *out)
{
    fputs("Usage: aigc COMMAND [options]\n"
          "\n"
          "Text from a transformer that runs inside this process: no server, no network.\n"
          "\n"
          "Commands:\n",
          out);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-15s  %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n"
          "'aigc COMMAND --help' lists a command's options; 'aigc --version' prints the version.\n"
          "\n"
          "Environment: AIGC_MODEL is the model used when --model is not given; AIGC_CPU (generic, avx2 or avx512)\n"
          "forces a level of the processor's instructions: the text stays the same, the speed does not.\n"
          "\n"
          "Exit status: 0, 1 after an error, 2 for bad usage, 130 when interrupted.\n",
          out);
}

static const command *find_command(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* A level that this processor lacks is no mistake: the best one below it computes the same. */
static bool cpu_level_is_known(const char *name)
{
    static const char *const names[] = {"", "generic", "avx2", "avx512"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int run_command(const command *c, int argc, char **argv)
{
    const char *level = getenv("AIGC_CPU");
    if (level != NULL && !cpu_level_is_known(level)) {
        fprintf(stderr, "aigc: AIGC_CPU is '%s', not generic, avx2 or avx512\n", level);
        return EXIT_USAGE;
    }
    settings s;
    int status = options_parse(c, argc, argv, &s);
    if (status != EXIT_OK)
        return status;
    if (s.help) {
        options_help(c, stdout);
        return EXIT_OK;
    }
    catch_signals();
    return c->run(&s);
}

int main(int argc, char **argv)
{
    int status = EXIT_OK;
    const char *name = argc > 1 ? argv[1] : "";
    const command *c = find_command(name);
    if (c != NULL) {
        status = run_command(c, argc - 1, argv + 1);
    } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
    } else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("aigc %s (%s)\n", aigc_version(), aigc_cpu_level_name());
    } else {
        if (*name == '\0')
            fputs("aigc: no command given (try 'aigc --help')\n", stderr);
        else
            fprintf(stderr, "aigc: unknown command '%s' (try 'aigc --help')\n", name);
        return EXIT_USAGE;
    }
    return output_arrived() || status != EXIT_OK ? status : EXIT_ERROR;
}
