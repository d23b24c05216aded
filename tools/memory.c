/* memory.c: `aigc memory`: a personal layer: what it has learned, and teaching it. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

typedef struct memory {
    const settings *s;
    aigc_model *model;
    aigc_personal *personal;
} memory;

static int with_tokens(memory *m, const char *text, size_t len,
                       aigc_status (*use)(aigc_personal *, const int32_t *, size_t, size_t, aigc_error *))
{
    aigc_error err;
    int32_t *tokens;
    size_t n;
    if (aigc_tokenize(m->model, text, len, AIGC_TEXT_PLAIN, &tokens, &n, &err) != AIGC_OK)
        return complain("%s", err.message);
    aigc_status status = use(m->personal, tokens, n, 0, &err);
    aigc_free(tokens);
    return status == AIGC_OK ? EXIT_OK : complain("%s", err.message);
}

static aigc_status forget(aigc_personal *personal, const int32_t *tokens, size_t n, size_t n_before, aigc_error *err)
{
    (void)n_before;
    (void)err;
    aigc_personal_forget(personal, tokens, n);
    return AIGC_OK;
}

/* A phrase is other tokens at the beginning of a text than behind a space. */
static int forget_phrase(memory *m, const char *text, size_t len)
{
    char *spaced = malloc(len + 2);
    if (spaced == NULL)
        return complain("out of memory: the phrase");
    spaced[0] = ' ';
    memcpy(spaced + 1, text, len);
    int status = with_tokens(m, text, len, forget);
    if (status == EXIT_OK)
        status = with_tokens(m, spaced, len + 1, forget);
    free(spaced);
    return status;
}

/* What the options ask for is done to each text in their order here. */
static int change(memory *m)
{
    const settings *s = m->s;
    char *text = NULL;
    size_t len = 0;
    int status = EXIT_OK;
    if (s->clear)
        aigc_personal_clear(m->personal);
    if (s->learn || s->unlearn || s->forget)
        status = read_text(s, &text, &len);
    if (status == EXIT_OK && s->learn)
        status = with_tokens(m, text, len, aigc_personal_learn);
    if (status == EXIT_OK && s->unlearn)
        status = with_tokens(m, text, len, aigc_personal_unlearn);
    if (status == EXIT_OK && s->forget)
        status = forget_phrase(m, text, len);
    free(text);
    if (status == EXIT_OK && (s->clear || s->learn || s->unlearn || s->forget))
        status = save_personal(s, m->personal);
    return status;
}

static int show(const memory *m)
{
    aigc_personal_info info;
    size_t n = (size_t)m->s->phrases;
    aigc_phrase *phrases = calloc(n + 1, sizeof(*phrases));
    if (phrases == NULL)
        return complain("out of memory: %zu phrases", n);
    aigc_personal_describe(m->personal, &info);
    n = aigc_personal_phrases(m->personal, phrases, n);
    if (m->s->json)
        printf("{\"tokens\": %llu, \"ngrams\": %llu, \"most_ngrams\": %llu, \"bytes\": %zu, \"phrases\": [",
               (unsigned long long)info.n_tokens, (unsigned long long)info.n_ngrams, (unsigned long long)info.n_most,
               info.bytes);
    else
        printf("tokens           %llu\nn-grams          %llu of at most %llu\nmemory           %s\n",
               (unsigned long long)info.n_tokens, (unsigned long long)info.n_ngrams, (unsigned long long)info.n_most,
               human_size((double)info.bytes));
    for (size_t i = 0; i < n; i++) {
        if (m->s->json)
            printf("%s{\"count\": %u, \"text\": ", i > 0 ? ", " : "", phrases[i].count);
        else
            printf("%8u  ", phrases[i].count);
        char *text;
        size_t len;
        if (aigc_detokenize(m->model, phrases[i].tokens, AIGC_PERSONAL_ORDER, AIGC_TEXT_RENDER_SPECIAL, &text, &len,
                            NULL) == AIGC_OK) {
            (m->s->json ? print_json_string : print_escaped)(stdout, text, len);
            aigc_free(text);
        }
        putchar(m->s->json ? '}' : '\n');
    }
    if (m->s->json)
        puts("]}");
    free(phrases);
    return EXIT_OK;
}

static int run(settings *s)
{
    memory m = {.s = s};
    int status = s->personal == NULL ? complain("no memory: name its file with --personal FILE") : EXIT_OK;
    if (status == EXIT_OK)
        status = open_model(s, AIGC_MODEL_TOKENIZER, &m.model);
    if (status == EXIT_OK)
        status = open_personal(s, m.model, &m.personal);
    if (status == EXIT_OK)
        status = change(&m);
    if (status == EXIT_OK)
        status = show(&m);
    aigc_personal_close(m.personal);
    aigc_model_close(m.model);
    return status;
}

const command command_memory = {
    .name = "memory",
    .bit = FOR_MEMORY,
    .summary = "a personal layer: what it has learned of a user's text, and teaching it",
    .synopsis = "--personal FILE [-m FILE] [--learn | --unlearn | --forget | --clear] [-p TEXT | -f FILE] [options]",
    .details =
        "A personal layer counts the phrases of a user's own text and mixes them into what a model says (--personal "
        "of\n"
        "generate, score and next-word). The file is for models with one vocabulary and holds nothing but counts of\n"
        "phrases of five tokens. --learn teaches it the text, --unlearn takes the same text back, --forget drops\n"
        "every phrase that contains the text. Then shows how much there is, and the most frequent phrases.\n",
    .run = run,
};
