/*
 * next_word.c: `aigc next-word`: how often a model knows the next word of a text.
 *
 * At places spread evenly over the text a model is given the words before and says how the text goes on. A word is what
 * stands between white space; words are equal if they are once punctuation at both ends is taken off. The model's first
 * answer is its greedy text. Its k-th answer begins with its k-th most probable token and goes on greedily, so that
 * every answer is a whole word. A place whose words before go back beyond the beginning of a document (a word
 * "<|endoftext|>") is not asked about.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

enum {
    ANSWERS = 5,
    ANSWER_TOKENS = 12, /* the longest words of 8192 tokens' vocabularies need about as many */
    ANSWER_BYTES = 256,
    PLACES_AT_ONCE = 16,
};

typedef struct span {
    const char *text;
    size_t len;
} span;

typedef struct answer {
    aigc_request *request; /* NULL: not asked, or over */
    char text[ANSWER_BYTES];
    size_t len;
} answer;

/* A word that the model is asked for. */
typedef struct place {
    int32_t *tokens; /* the words before; room for one more */
    size_t n_tokens;
    span word;
    answer answers[ANSWERS];
    int right; /* the first answer that is right, from 0; ANSWERS: none */
} place;

typedef struct quiz {
    settings *s;
    aigc_model *model;
    aigc_engine *engine;
    aigc_personal *personal; /* NULL: none */
    span *words;             /* of the text */
    size_t n_words;
    size_t n_places, n_first, n_any; /* asked about, right at once, right among the answers */
} quiz;

/* ---- words ---- */

/* Bytes of the punctuation mark that begins at text[i], or 0: ASCII's, and those of U+2010 to U+203F (dashes, quotation
 * marks, the ellipsis). */
static size_t mark_at(const char *text, size_t i, size_t len)
{
    const unsigned char *c = (const unsigned char *)text + i;
    if (ispunct(c[0]))
        return 1;
    return len - i >= 3 && c[0] == 0xe2 && c[1] == 0x80 && c[2] >= 0x90 ? 3 : 0;
}

/* The word without punctuation at its ends. */
static span core_of(span w)
{
    size_t from = 0, mark;
    while (from < w.len && (mark = mark_at(w.text, from, w.len)) > 0)
        from += mark;
    while (w.len > from && (mark_at(w.text, w.len - 1, w.len) == 1))
        w.len--;
    while (w.len >= from + 3 && mark_at(w.text, w.len - 3, w.len) == 3)
        w.len -= 3;
    return (span){w.text + from, w.len - from};
}

static bool equal(span a, span b)
{
    return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}

/* The next word from text[*at] on; false if there is none. */
static bool next_span(const char *text, size_t len, size_t *at, span *word)
{
    while (*at < len && isspace((unsigned char)text[*at]))
        (*at)++;
    size_t from = *at;
    while (*at < len && !isspace((unsigned char)text[*at]))
        (*at)++;
    *word = (span){text + from, *at - from};
    return word->len > 0;
}

static int find_words(quiz *q, const char *text, size_t len)
{
    span word;
    size_t capacity = 0;
    for (size_t at = 0; next_span(text, len, &at, &word);) {
        if (q->n_words == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 12;
            span *more = realloc(q->words, capacity * sizeof(*more));
            if (more == NULL)
                return complain("out of memory: %zu words", capacity);
            q->words = more;
        }
        q->words[q->n_words++] = word;
    }
    return EXIT_OK;
}

/* Whether word i can be asked for: it and those before it are in one document. */
static bool askable(const quiz *q, size_t i)
{
    for (size_t k = i - (size_t)q->s->words; k <= i; k++)
        if (equal(q->words[k], (span){"<|endoftext|>", 13}))
            return false;
    return core_of(q->words[i]).len > 0;
}

/* ---- answers ---- */

static int submit(quiz *q, place *p, int k, int32_t first, bool ask_top)
{
    aigc_error err;
    aigc_request_options o = q->s->request;
    p->tokens[p->n_tokens] = first;
    o.personal = q->personal;
    o.tokens = p->tokens;
    o.n_tokens = p->n_tokens + (k > 0);
    o.max_tokens = ANSWER_TOKENS - (k > 0);
    o.sampling = aigc_request_defaults().sampling; /* the model's own ranking, whatever its file recommends */
    o.sampling.temperature = 0;
    o.top_logprobs = ask_top ? ANSWERS : 0;
    if (aigc_submit(q->engine, &o, &p->answers[k].request, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}

/* The answer's word, and whether nothing can be added to it any more. */
static span word_of(const answer *a, bool *complete)
{
    span word;
    size_t at = 0;
    if (!next_span(a->text, a->len, &at, &word))
        word = (span){a->text, 0};
    *complete = word.len > 0 && at < a->len;
    return core_of(word);
}

static void take(answer *a)
{
    aigc_piece piece;
    while (aigc_request_take(a->request, &piece)) {
        size_t n = piece.text_len < ANSWER_BYTES - a->len ? piece.text_len : ANSWER_BYTES - a->len;
        memcpy(a->text + a->len, piece.text, n);
        a->len += n;
    }
}

/* Steps until every answer of the places is a word. Requests stay: their first tokens are asked for. */
static int run_answers(quiz *q, place *places, int n)
{
    aigc_error err;
    for (;;) {
        bool waiting = false;
        for (int i = 0; i < n; i++)
            for (int k = 0; k < ANSWERS; k++) {
                answer *a = &places[i].answers[k];
                bool complete;
                if (a->request == NULL)
                    continue;
                take(a);
                word_of(a, &complete);
                if (complete && k > 0) {
                    aigc_request_free(a->request);
                    a->request = NULL;
                } else if (!complete) {
                    waiting |= !aigc_request_done(a->request);
                }
            }
        if (!waiting)
            return EXIT_OK;
        aigc_status code = interrupted ? AIGC_INTERRUPTED : aigc_step(q->engine, &err);
        if (code == AIGC_INTERRUPTED)
            return EXIT_INTERRUPTED;
        if (code != AIGC_OK)
            return complain("%s", err.message);
    }
}

/* Whether an answer that begins with this token's text may become the word: the one is a beginning of the other. */
static bool may_become(span word, const char *text, size_t len)
{
    size_t at = 0;
    span begun;
    if (!next_span(text, len, &at, &begun))
        return true;
    begun = core_of(begun);
    size_t n = begun.len < word.len ? begun.len : word.len;
    return memcmp(begun.text, word.text, n) == 0;
}

/* Asks for those of the further answers that can be right. */
static int ask_further(quiz *q, place *p)
{
    const aigc_token *top;
    int32_t ids[ANSWERS];
    int n = (int)aigc_request_top(p->answers[0].request, 0, 0, &top);
    for (int k = 0; k < n; k++)
        ids[k] = top[k].id;
    for (int k = 1; k < n; k++) {
        answer *a = &p->answers[k];
        char *text;
        if (!token_text(q->model, ids[k], &text, &a->len))
            return complain("out of memory: the text of a token");
        a->len = a->len < ANSWER_BYTES ? a->len : ANSWER_BYTES;
        memcpy(a->text, text, a->len);
        aigc_free(text);
        int status = may_become(p->word, a->text, a->len) ? submit(q, p, k, ids[k], false) : EXIT_OK;
        if (status != EXIT_OK)
            return status;
    }
    return EXIT_OK;
}

static bool is_right(const place *p, int k)
{
    bool complete;
    return equal(word_of(&p->answers[k], &complete), p->word);
}

static void release(place *p)
{
    for (int k = 0; k < ANSWERS; k++) {
        aigc_request_free(p->answers[k].request);
        p->answers[k] = (answer){0};
    }
}

/* ---- places ---- */

/* The words before word i, as tokens that leave room for the answer. */
static int begin_place(quiz *q, place *p, size_t i, size_t room)
{
    aigc_error err;
    const char *from = q->words[i - (size_t)q->s->words].text;
    span last = q->words[i - 1];
    unsigned flags = q->s->no_special ? AIGC_TEXT_PLAIN : AIGC_TEXT_ADD_SPECIAL;
    int32_t *tokens;
    size_t n;
    if (aigc_tokenize(q->model, from, (size_t)(last.text + last.len - from), flags, &tokens, &n, &err) != AIGC_OK)
        return complain("%s", err.message);
    size_t drop = n > room ? n - room : 0;
    p->n_tokens = n - drop;
    p->tokens = malloc((p->n_tokens + 1) * sizeof(*p->tokens));
    if (p->tokens != NULL)
        memcpy(p->tokens, tokens + drop, p->n_tokens * sizeof(*tokens));
    aigc_free(tokens);
    p->word = core_of(q->words[i]);
    return p->tokens == NULL ? complain("out of memory: %zu tokens", n) : submit(q, p, 0, 0, true);
}

/* Asks about n places and counts what is right. */
static int ask(quiz *q, place *places, int n)
{
    int status = run_answers(q, places, n);
    for (int i = 0; i < n && status == EXIT_OK; i++) {
        q->n_places++;
        if (is_right(&places[i], 0)) {
            q->n_first++;
            q->n_any++;
            release(&places[i]);
        } else {
            status = ask_further(q, &places[i]);
            aigc_request_free(places[i].answers[0].request);
            places[i].answers[0] = (answer){0};
        }
    }
    if (status == EXIT_OK)
        status = run_answers(q, places, n);
    for (int i = 0; i < n; i++) {
        bool any = false;
        for (int k = 1; k < ANSWERS; k++)
            any |= is_right(&places[i], k);
        q->n_any += status == EXIT_OK && any;
        release(&places[i]);
        free(places[i].tokens);
        places[i] = (place){0};
    }
    return status;
}

static int ask_all(quiz *q, size_t room)
{
    place *places = calloc(PLACES_AT_ONCE, sizeof(*places));
    size_t first = (size_t)q->s->words, n = q->n_words > first ? q->n_words - first : 0;
    size_t wanted = (size_t)q->s->places < n ? (size_t)q->s->places : n;
    int status = places == NULL ? complain("out of memory: the places") : EXIT_OK;
    int n_begun = 0;
    for (size_t k = 0; k < wanted && status == EXIT_OK; k++) {
        size_t i = first + (size_t)((double)k * (double)n / (double)wanted);
        if (!askable(q, i))
            continue;
        status = begin_place(q, &places[n_begun++], i, room);
        if (n_begun == PLACES_AT_ONCE && status == EXIT_OK) {
            status = ask(q, places, n_begun);
            n_begun = 0;
        }
    }
    if (status == EXIT_OK)
        status = ask(q, places, n_begun);
    for (int i = 0; places != NULL && i < n_begun; i++)
        free(places[i].tokens); /* requests go with the engine */
    free(places);
    return status;
}

/* ---- the command ---- */

static void report(const quiz *q)
{
    double n = q->n_places > 0 ? (double)q->n_places : 1;
    double first = (double)q->n_first / n, any = (double)q->n_any / n;
    if (q->s->json) {
        printf("{\"places\": %zu, \"context_words\": %d, \"top1\": %.4f, \"top5\": %.4f}\n", q->n_places, q->s->words,
               first, any);
        return;
    }
    printf("places           %zu, each with %d words before\n", q->n_places, q->s->words);
    printf("first answer     %.2f %%\n", 100 * first);
    printf("five answers     %.2f %%\n", 100 * any);
}

static int run(settings *s)
{
    quiz q = {.s = s};
    aigc_engine_info info = {0};
    char *text = NULL;
    size_t len = 0;
    int status = read_text(s, &text, &len);
    if (status == EXIT_OK)
        status = open_model(s, AIGC_MODEL_ALL, &q.model);
    if (status == EXIT_OK)
        status = find_words(&q, text, len);
    if (status == EXIT_OK)
        status = open_personal(s, q.model, &q.personal);
    s->engine.n_sequences = PLACES_AT_ONCE;
    s->engine.interrupt = &interrupted;
    if (status == EXIT_OK)
        status = open_engine(s, q.model, &s->engine, &q.engine);
    if (status == EXIT_OK)
        aigc_engine_describe(q.engine, &info);
    if (status == EXIT_OK && info.n_context < 2 * ANSWER_TOKENS)
        status = complain("a context of %d tokens is too short (at least %d)", info.n_context, 2 * ANSWER_TOKENS);
    if (status == EXIT_OK)
        status = ask_all(&q, (size_t)info.n_context - ANSWER_TOKENS - 1);
    if (status == EXIT_OK)
        report(&q);
    aigc_engine_close(q.engine);
    aigc_personal_close(q.personal);
    aigc_model_close(q.model);
    free(q.words);
    free(text);
    return status;
}

const command command_next_word = {
    .name = "next-word",
    .bit = FOR_NEXT_WORD,
    .summary = "how often a model knows the next word of a text",
    .synopsis = "[-m FILE] [-p TEXT | -f FILE] [--words N] [--places N] [--json] [options]",
    .details =
        "At places spread evenly over a text the model is given the words before and says the next one. Prints in how\n"
        "many places its first answer, the greedy one, is right, and in how many one of five is: those that begin\n"
        "with the five most probable tokens. Words are what stands between white space, compared without punctuation\n"
        "at their ends. Places whose words before reach back over \"<|endoftext|>\" are left out.\n",
    .run = run,
};
