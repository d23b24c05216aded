/*
 * score.c: `aigc score`: how probable a model finds a text.
 *
 * A text longer than the context is scored in windows: the first gives the log-probabilities of all its tokens, each
 * later one starts half a window further on and gives only those of its second half, so every token but the first
 * ones is seen with at least half a window before it. Each window begins with the model's BOS if the model adds one.
 * The first token of a text without BOS has nothing before it and is not scored.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

typedef struct scoring {
    const settings *s;
    aigc_model *model;
    aigc_engine *engine;
    int32_t *ids;  /* [n_ids] the whole text, BOS first if the model adds it */
    float *scores; /* [n_ids] log-probabilities; not used before first */
    size_t n_ids;
    size_t first;            /* the first token that is scored: 1, or 0 if there are none */
    size_t n_bytes;          /* of the tokens that are scored */
    bool bos;                /* ids[0] is the model's BOS */
    aigc_personal *personal; /* NULL: none */
} scoring;

/* Lets the personal layer see how it did on tokens[from..n), and learn them. BOS is no text of the user's. */
static int learn(scoring *sc, const aigc_token *tokens, const int32_t *ids, size_t n, size_t from)
{
    aigc_error err;
    size_t head = sc->bos ? 1 : 0;
    from = from > head ? from : head;
    aigc_personal_adapt(sc->personal, tokens + head, n - head, from - head, true);
    if (aigc_personal_learn(sc->personal, ids + head, n - head, from - head, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}

/* Log-probabilities of window[1..n), into scores[1..n). Those from `from` on are new. */
static int score_window(scoring *sc, const int32_t *window, size_t n, size_t from, float *scores)
{
    aigc_error err;
    aigc_request *request;
    aigc_request_options options = aigc_request_defaults();
    const aigc_token *tokens;
    int status = EXIT_OK;
    options.tokens = window;
    options.n_tokens = n;
    options.max_tokens = 0;
    options.prompt_logprobs = true;
    options.personal = sc->personal;
    if (aigc_submit(sc->engine, &options, &request, &err) != AIGC_OK)
        return complain("%s", err.message);
    while (status == EXIT_OK && !aigc_request_done(request)) {
        aigc_status code = interrupted ? AIGC_INTERRUPTED : aigc_step(sc->engine, &err);
        if (code == AIGC_INTERRUPTED)
            status = EXIT_INTERRUPTED;
        else if (code != AIGC_OK)
            status = complain("%s", err.message);
    }
    if (status == EXIT_OK) {
        size_t n_got = aigc_request_prompt(request, &tokens);
        for (size_t i = 1; i < n && i < n_got; i++)
            scores[i] = tokens[i].logprob;
        if (sc->s->learn && n_got == n)
            status = learn(sc, tokens, window, n, from);
    }
    aigc_request_free(request);
    return status;
}

/* Windows of `size` tokens, BOS included, over the whole text. */
static int score_text(scoring *sc, size_t size)
{
    size_t head = sc->bos ? 1 : 0;
    size_t body = size - head; /* of the text, in one window */
    int32_t *window = malloc(size * sizeof(*window));
    float *scores = malloc(size * sizeof(*scores));
    size_t done = sc->first;
    int status = EXIT_OK;
    if (window == NULL || scores == NULL)
        status = complain("out of memory: a window of %zu tokens", size);
    else if (sc->bos)
        window[0] = sc->ids[0];
    while (status == EXIT_OK && done < sc->n_ids) {
        size_t start = done == sc->first ? head : done - body / 2;
        size_t n = sc->n_ids - start < body ? sc->n_ids - start : body;
        memcpy(window + head, sc->ids + start, n * sizeof(*window));
        status = score_window(sc, window, n + head, done - start + head, scores);
        for (size_t i = done; status == EXIT_OK && i < start + n; i++)
            sc->scores[i] = scores[i - start + head];
        done = start + n;
    }
    free(window);
    free(scores);
    return status;
}

static void print_lines(const scoring *sc)
{
    for (size_t i = sc->first; i < sc->n_ids; i++) {
        printf("%6d %9.4f  ", sc->ids[i], (double)sc->scores[i]);
        print_token(stdout, sc->model, sc->ids[i], print_escaped);
        putchar('\n');
    }
}

static void print_totals(const scoring *sc, double sum)
{
    double n = (double)(sc->n_ids - sc->first), bytes = (double)sc->n_bytes;
    printf("tokens           %.0f\n", n);
    printf("bytes            %.0f\n", bytes);
    printf("log-probability  %.4f\n", sum);
    if (n > 0)
        printf("perplexity       %.4f\n", exp(-sum / n));
    if (bytes > 0)
        printf("bits per byte    %.4f\n", (0.0 - sum) / M_LN2 / bytes);
}

static void print_json(const scoring *sc, double sum)
{
    double n = (double)(sc->n_ids - sc->first), bytes = (double)sc->n_bytes;
    printf("{\"tokens\": %.0f, \"bytes\": %.0f, \"logprob\": ", n, bytes);
    print_json_number(stdout, sum);
    printf(", \"perplexity\": ");
    print_json_number(stdout, exp(-sum / n));
    printf(", \"bits_per_byte\": ");
    print_json_number(stdout, (0.0 - sum) / M_LN2 / bytes);
    if (sc->s->tokens) {
        printf(", \"detail\": [");
        for (size_t i = sc->first; i < sc->n_ids; i++) {
            printf("%s{\"id\": %d, \"logprob\": ", i > sc->first ? ", " : "", sc->ids[i]);
            print_json_number(stdout, (double)sc->scores[i]);
            printf(", \"text\": ");
            print_token(stdout, sc->model, sc->ids[i], print_json_string);
            putchar('}');
        }
        putchar(']');
    }
    puts("}");
}

/* Text to ids. Without a BOS the first token's bytes are not counted, as it is not scored. */
static int tokenize(scoring *sc, const char *text, size_t len)
{
    unsigned flags = sc->s->no_special ? AIGC_TEXT_PLAIN : AIGC_TEXT_ADD_SPECIAL | AIGC_TEXT_PARSE_SPECIAL;
    aigc_error err;
    int32_t bos = aigc_model_describe(sc->model)->bos;
    char *head;
    size_t head_len = 0;
    if (aigc_tokenize(sc->model, text, len, flags, &sc->ids, &sc->n_ids, &err) != AIGC_OK)
        return complain("%s", err.message);
    sc->bos = !sc->s->no_special && sc->n_ids > 0 && bos >= 0 && sc->ids[0] == bos;
    sc->first = sc->n_ids > 0 ? 1 : 0;
    if (!sc->bos && sc->n_ids > 0) {
        if (aigc_detokenize(sc->model, sc->ids, 1, AIGC_TEXT_RENDER_SPECIAL, &head, &head_len, &err) != AIGC_OK)
            return complain("%s", err.message);
        aigc_free(head);
    }
    sc->n_bytes = len > head_len ? len - head_len : 0;
    sc->scores = calloc(sc->n_ids + 1, sizeof(*sc->scores));
    return sc->scores == NULL ? complain("out of memory: %zu log-probabilities", sc->n_ids) : EXIT_OK;
}

static int begin_engine(scoring *sc, size_t *window)
{
    aigc_engine_info info;
    aigc_engine_options options = sc->s->engine;
    options.n_sequences = 1;
    options.prefix_cache = false;
    options.interrupt = &interrupted;
    int status = open_engine(sc->s, sc->model, &options, &sc->engine);
    if (status != EXIT_OK)
        return status;
    aigc_engine_describe(sc->engine, &info);
    if (info.n_context < 8)
        return complain("a context of %d tokens is too short to score with (at least 8)", info.n_context);
    *window = (size_t)info.n_context - 1; /* a prompt is shorter than the context */
    return EXIT_OK;
}

static int run(settings *s)
{
    scoring sc = {.s = s};
    char *text = NULL;
    size_t len = 0, window = 0;
    int status = read_text(s, &text, &len);
    if (status == EXIT_OK)
        status = open_model(s, AIGC_MODEL_ALL, &sc.model);
    if (status == EXIT_OK)
        status = tokenize(&sc, text, len);
    if (status == EXIT_OK)
        status = begin_engine(&sc, &window);
    if (status == EXIT_OK)
        status = open_personal(s, sc.model, &sc.personal);
    if (status == EXIT_OK)
        status = score_text(&sc, window);
    if (status == EXIT_OK && s->learn)
        status = save_personal(s, sc.personal);
    if (status == EXIT_OK) {
        double sum = 0;
        for (size_t i = sc.first; i < sc.n_ids; i++)
            sum += (double)sc.scores[i];
        if (s->tokens && !s->json)
            print_lines(&sc);
        (s->json ? print_json : print_totals)(&sc, sum);
    }
    aigc_engine_close(sc.engine);
    aigc_personal_close(sc.personal);
    aigc_free(sc.ids);
    aigc_model_close(sc.model);
    free(sc.scores);
    free(text);
    return status;
}

const command command_score = {
    .name = "score",
    .bit = FOR_SCORE,
    .summary = "how probable a text is: log-probability, perplexity, bits per byte",
    .synopsis = "[-m FILE] [-p TEXT | -f FILE] [--tokens] [--json] [options]",
    .details =
        "Prints the number of tokens scored, the log-probability of the text (natural logarithm), its perplexity and\n"
        "bits per byte; with --tokens first a line for each token: id, log-probability, text. The text is standard\n"
        "input when neither -p nor -f is given, and is taken byte for byte.\n"
        "\n"
        "A text longer than the context is scored in windows that overlap by half, so each token is seen with at\n"
        "least half a context before it. The first token of a text is scored only if the model starts texts with\n"
        "a token of their own (BOS).\n"
        "\n"
        "--personal mixes in what a file of `aigc memory` has learned; with --learn it learns each window after it is\n"
        "scored, and how far it can be trusted, and the file is written at the end.\n",
    .run = run,
};
