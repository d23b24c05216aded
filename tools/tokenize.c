/* tokenize.c: `aigc tokenize`: text to token ids, and with --decode ids to text. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

static int print_tokens(const settings *s, const aigc_model *model, const char *text, size_t len)
{
    unsigned flags = s->no_special ? AIGC_TEXT_PLAIN : AIGC_TEXT_ADD_SPECIAL | AIGC_TEXT_PARSE_SPECIAL;
    int32_t *ids;
    size_t n;
    aigc_error err;
    if (aigc_tokenize(model, text, len, flags, &ids, &n, &err) != AIGC_OK)
        return complain("%s", err.message);
    for (size_t i = 0; i < n && !interrupted; i++) {
        if (s->ids) {
            printf(i ? " %d" : "%d", ids[i]);
            continue;
        }
        printf("%6d  ", ids[i]);
        print_token(stdout, model, ids[i], print_escaped);
        putchar('\n');
    }
    if (s->ids)
        putchar('\n');
    aigc_free(ids);
    return interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

/* Ids separated by white space or commas. *ids is malloc'd and has room for one id in two bytes of text. */
static int parse_ids(const char *text, size_t len, int32_t **ids, size_t *n)
{
    const char *p = text, *end = text + len;
    *n = 0;
    *ids = malloc((len / 2 + 1) * sizeof(**ids));
    if (*ids == NULL)
        return complain("out of memory: %zu bytes of ids", len);
    for (;;) {
        p += strspn(p, " \t\r\n,");
        if (p == end)
            return EXIT_OK;
        char *stop;
        errno = 0;
        long id = strtol(p, &stop, 10);
        size_t word = strcspn(p, " \t\r\n,");
        if (stop != p + word || word == 0 || errno != 0 || id < INT32_MIN || id > INT32_MAX) {
            complain("not a token id: '%.*s'", (int)(word < 40 ? word : 40), p);
            free(*ids);
            return EXIT_ERROR;
        }
        (*ids)[(*n)++] = (int32_t)id;
        p = stop;
    }
}

static int print_text(const settings *s, const aigc_model *model, const char *input, size_t input_len)
{
    unsigned flags = s->show_special ? AIGC_TEXT_RENDER_SPECIAL : AIGC_TEXT_PLAIN;
    int32_t *ids;
    size_t n, len;
    char *text;
    aigc_error err;
    int status = parse_ids(input, input_len, &ids, &n);
    if (status != EXIT_OK)
        return status;
    if (aigc_detokenize(model, ids, n, flags, &text, &len, &err) != AIGC_OK) {
        status = complain("%s", err.message);
    } else {
        fwrite(text, 1, len, stdout);
        aigc_free(text);
    }
    free(ids);
    return status;
}

static int run(settings *s)
{
    aigc_model *model;
    char *text;
    size_t len;
    int status = open_model(s, AIGC_MODEL_TOKENIZER, &model);
    if (status != EXIT_OK)
        return status;
    status = read_text(s, &text, &len);
    if (status == EXIT_OK) {
        status = s->decode ? print_text(s, model, text, len) : print_tokens(s, model, text, len);
        free(text);
    }
    aigc_model_close(model);
    return status;
}

const command command_tokenize = {
    .name = "tokenize",
    .bit = FOR_TOKENIZE,
    .summary = "text to token ids and back",
    .synopsis = "[-m FILE] [-p TEXT | -f FILE] [--ids] [--no-special] [--decode]",
    .details =
        "Prints a line for each token, its id and its text; with --ids only the ids, on one line; with --decode the\n"
        "text of the ids that it reads. The input is standard input when neither -p nor -f is given, and is taken\n"
        "byte for byte: a newline at its end is part of it.\n",
    .run = run,
};
