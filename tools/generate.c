/* generate.c: `aigc generate`: text as it comes, or several alternatives, most probable first. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

/* Text of one alternative, gathered when there are several. */
typedef struct gathered {
    char *text;
    size_t len, size;
    aigc_finish finish;
} gathered;

typedef struct generation {
    const settings *s;
    double started, loaded, first; /* now(); first: when the first text came, 0 before */
    char *prompt;
    aigc_model *model;
    aigc_engine *engine;
    aigc_request *request;
    aigc_personal *personal; /* NULL: none */
    gathered *texts;         /* [request.n], NULL when there is one alternative */
} generation;

static bool gather(gathered *g, const aigc_piece *piece)
{
    if (g->size - g->len < piece->text_len) {
        size_t size = 2 * (g->len + piece->text_len) + 64;
        char *text = realloc(g->text, size);
        if (text == NULL)
            return false;
        g->text = text;
        g->size = size;
    }
    if (piece->text_len > 0)
        memcpy(g->text + g->len, piece->text, piece->text_len);
    g->len += piece->text_len;
    g->finish = piece->finish;
    return true;
}

/* Hands on the pieces that are ready. */
static int take_pieces(generation *g)
{
    aigc_piece piece;
    while (aigc_request_take(g->request, &piece)) {
        if (g->first == 0)
            g->first = now();
        if (g->texts != NULL) {
            if (!gather(&g->texts[piece.alternative], &piece))
                return complain("out of memory: the text of alternative %d", piece.alternative + 1);
            continue;
        }
        fwrite(piece.text, 1, piece.text_len, stdout);
        if (!output_arrived())
            return EXIT_ERROR;
    }
    return EXIT_OK;
}

static int run_steps(generation *g)
{
    aigc_error err;
    while (!aigc_request_done(g->request)) {
        aigc_status code = interrupted ? AIGC_INTERRUPTED : aigc_step(g->engine, &err);
        if (code == AIGC_INTERRUPTED)
            return EXIT_INTERRUPTED;
        if (code != AIGC_OK)
            return complain("%s", err.message);
        int status = take_pieces(g);
        if (status != EXIT_OK)
            return status;
    }
    return take_pieces(g);
}

static const char *finish_name(aigc_finish finish)
{
    switch (finish) {
    case AIGC_RUNNING:
        return "unfinished";
    case AIGC_FINISH_EOS:
        return "end of text";
    case AIGC_FINISH_STOP:
        return "stop string";
    case AIGC_FINISH_LENGTH:
        return "token limit";
    case AIGC_FINISH_CONTEXT:
        return "context full";
    case AIGC_FINISH_ERROR:
        return "error";
    }
    return "?";
}

/* All alternatives, each under a line that says how probable it is. */
static void print_ranked(const generation *g)
{
    int n = g->s->request.n;
    int rank[256];
    aigc_request_rank(g->request, rank);
    for (int i = 0; i < n; i++) {
        const gathered *t = &g->texts[rank[i]];
        const aigc_token *tokens;
        size_t n_tokens = aigc_request_tokens(g->request, rank[i], &tokens);
        double logprob = aigc_request_logprob(g->request, rank[i]);
        printf("--- %d of %d: log-probability %.4f, %.4f a token, %zu tokens, %s\n", i + 1, n, logprob,
               n_tokens ? logprob / (double)n_tokens : 0.0, n_tokens, finish_name(t->finish));
        fwrite(t->text, 1, t->len, stdout);
        putchar('\n');
    }
}

/* A line for each token: id, log-probability, text, then the most probable ones as text and log-probability. */
static void print_logprobs(const generation *g, int alternative)
{
    const aigc_token *tokens, *top;
    size_t n = aigc_request_tokens(g->request, alternative, &tokens);
    for (size_t t = 0; t < n; t++) {
        fprintf(stderr, "%6d %9.4f  ", tokens[t].id, (double)tokens[t].logprob);
        print_token(stderr, g->model, tokens[t].id, print_escaped);
        size_t n_top = aigc_request_top(g->request, alternative, t, &top);
        for (size_t k = 0; k < n_top; k++) {
            fputs(k == 0 ? "  |  " : ", ", stderr);
            print_token(stderr, g->model, top[k].id, print_escaped);
            fprintf(stderr, " %.4f", (double)top[k].logprob);
        }
        fputc('\n', stderr);
    }
}

static void print_all_logprobs(const generation *g)
{
    int rank[256] = {0};
    if (g->s->request.n > 1)
        aigc_request_rank(g->request, rank);
    for (int i = 0; i < g->s->request.n; i++) {
        if (g->s->request.n > 1)
            fprintf(stderr, "--- %d of %d\n", i + 1, g->s->request.n);
        print_logprobs(g, rank[i]);
    }
}

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

static void print_stats(const generation *g)
{
    aigc_request_info r;
    aigc_engine_info e;
    const aigc_model_info *m = aigc_model_describe(g->model);
    aigc_request_describe(g->request, &r);
    aigc_engine_describe(g->engine, &e);
    fprintf(stderr, "model:   %s%s%s, %s, %.1f million parameters, %s\n", m->name, *m->name ? ", " : "",
            m->architecture, m->quantisation, (double)m->n_params / 1e6, human_size((double)m->file_bytes));
    fprintf(stderr, "load:    %.1f ms; first text %.1f ms after start\n", 1e3 * (g->loaded - g->started),
            g->first > 0 ? 1e3 * (g->first - g->started) : 0.0);
    fprintf(stderr, "prompt:  %d tokens (%d from the prefix cache), %.1f ms, %.1f tokens/s\n", r.n_prompt,
            r.n_prompt_hit, 1e3 * r.prompt_seconds, rate(r.n_prompt - r.n_prompt_hit, r.prompt_seconds));
    fprintf(stderr, "decode:  %d tokens, %.1f ms, %.1f tokens/s\n", r.n_generated, 1e3 * r.decode_seconds,
            rate(r.n_generated, r.decode_seconds));
    fprintf(stderr, "memory:  %s of keys and values (%s, context %d, %d sequences), %s of scratch\n",
            human_size((double)e.kv_bytes), g->s->engine.kv == AIGC_KV_F32 ? "f32" : "f16", e.n_context, e.n_sequences,
            human_size((double)e.scratch_bytes));
    fprintf(stderr, "threads: %d, %s\n", e.n_threads, aigc_cpu_level_name());
}

/* Opens model and engine and puts the request in. */
static int begin(generation *g)
{
    aigc_error err;
    aigc_engine_options engine = g->s->engine;
    aigc_request_options request = g->s->request;
    int status = read_text(g->s, &g->prompt, &request.prompt_len);
    if (status != EXIT_OK)
        return status;
    g->started = now();
    status = open_model(g->s, AIGC_MODEL_ALL, &g->model);
    if (status != EXIT_OK)
        return status;
    if (engine.n_sequences < request.n)
        engine.n_sequences = request.n;
    engine.interrupt = &interrupted;
    status = open_engine(g->s, g->model, &engine, &g->engine);
    if (status != EXIT_OK)
        return status;
    g->loaded = now();
    status = open_personal(g->s, g->model, &g->personal);
    if (status != EXIT_OK)
        return status;
    request.personal = g->personal;
    request.prompt = g->prompt;
    request.stop = g->s->stop.items;
    request.n_stop = g->s->stop.n;
    request.sampling.bias = g->s->bias.items;
    request.sampling.n_bias = g->s->bias.n;
    aigc_sampling_fill(&request.sampling, g->model);
    request.top_logprobs = g->s->logprobs > 0 ? g->s->logprobs : 0;
    if (g->s->no_special)
        request.text_flags = AIGC_TEXT_PLAIN;
    if (request.n > 1) {
        g->texts = calloc((size_t)request.n, sizeof(*g->texts));
        if (g->texts == NULL)
            return complain("out of memory: %d alternatives", request.n);
    }
    if (aigc_submit(g->engine, &request, &g->request, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}

static void end(generation *g)
{
    aigc_request_free(g->request);
    aigc_engine_close(g->engine);
    aigc_personal_close(g->personal);
    aigc_model_close(g->model);
    for (int i = 0; g->texts != NULL && i < g->s->request.n; i++)
        free(g->texts[i].text);
    free(g->texts);
    free(g->prompt);
}

static int run(settings *s)
{
    generation g = {.s = s};
    int status = begin(&g);
    if (status == EXIT_OK) {
        status = run_steps(&g);
        if (g.texts != NULL && status == EXIT_OK)
            print_ranked(&g);
        if (!output_arrived() && status == EXIT_OK)
            status = EXIT_ERROR;
        if (s->logprobs >= 0 && (status == EXIT_OK || status == EXIT_INTERRUPTED))
            print_all_logprobs(&g);
        if (s->stats && (status == EXIT_OK || status == EXIT_INTERRUPTED))
            print_stats(&g);
    }
    end(&g);
    return status;
}

const command command_generate = {
    .name = "generate",
    .bit = FOR_GENERATE,
    .summary = "text that goes on from a prompt",
    .synopsis = "[-m FILE] [-p TEXT | -f FILE] [options]",
    .details =
        "Prints the new text, and nothing else, as it comes. The prompt is standard input when neither -p nor -f is\n"
        "given, and is taken byte for byte: a newline at its end is part of it. An empty prompt is the model's own\n"
        "beginning of a text. With -n the alternatives come at the end, each under a line that says how probable\n"
        "it is. The same model, prompt, options and seed print the same bytes on any number of threads and any\n"
        "processor.\n",
    .run = run,
};
