/* memory.c: orders to a personal layer, and its file. */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Another editor writes for milliseconds: who holds the lock longer is not waited for. */
enum { LOCK_TRIES = 200, LOCK_PAUSE_NS = 5000000 };

enum { SECONDS_BETWEEN_SAVES = 10, HISTORY = AIGC_PERSONAL_ORDER - 1 };

/* ---- orders ---- */

order *order_new(order_kind kind, const char *text, size_t len)
{
    order *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->kind = kind;
    o->text = malloc(len + 1);
    if (!o->text) {
        free(o);
        return NULL;
    }
    if (len)
        memcpy(o->text, text, len);
    o->text[len] = '\0';
    o->len = len;
    return o;
}

void order_free(order *o)
{
    if (!o)
        return;
    memory_view_free(o->view);
    free(o->text);
    free(o);
}

void order_free_list(order *o)
{
    while (o) {
        order *next = o->next;
        order_free(o);
        o = next;
    }
}

memory_view *memory_view_new(size_t most)
{
    memory_view *view = calloc(1, sizeof *view);
    memory_phrase *phrases = calloc(most + 1, sizeof *phrases);
    if (!view || !phrases) {
        free(view);
        free(phrases);
        return NULL;
    }
    view->phrases = phrases;
    view->most = most;
    return view;
}

void memory_view_free(memory_view *view)
{
    if (!view)
        return;
    for (size_t i = 0; i < view->n; i++)
        aigc_free(view->phrases[i].text);
    free(view->phrases);
    free(view);
}

static void clear_log(memory *m)
{
    order_free_list(m->log);
    m->log = NULL;
    m->log_end = &m->log;
}

/* ---- life ---- */

bool memory_init(memory *m, bool wanted, const char *path, size_t max_ngrams)
{
    *m = (memory){.wanted = wanted, .max_ngrams = max_ngrams};
    m->log_end = &m->log;
    m->path = path ? strdup(path) : NULL;
    return !path || m->path;
}

static void look_at_file(const memory *m, struct stat *st)
{
    if (stat(m->path, st) != 0)
        memset(st, 0, sizeof *st);
}

/* In a folder each vocabulary has a file of its own. */
static aigc_status name_file(memory *m, aigc_model *model)
{
    aigc_personal *empty;
    aigc_personal_info info;
    size_t size = strlen(m->path) + sizeof "0123456789abcdef.aigc";
    char *path = malloc(size);
    if (!path) {
        m->error.code = AIGC_E_MEMORY;
        snprintf(m->error.message, sizeof m->error.message, "out of memory: no room for a path");
        return AIGC_E_MEMORY;
    }
    if (aigc_personal_open(model, NULL, 0, &empty, &m->error) == AIGC_OK) {
        aigc_personal_describe(empty, &info);
        aigc_personal_close(empty);
        snprintf(path, size, "%s%016llx.aigc", m->path, (unsigned long long)info.vocabulary);
        free(m->path);
        m->path = path;
        return AIGC_OK;
    }
    free(path);
    return m->error.code;
}

aigc_status memory_open(memory *m, aigc_model *model)
{
    if (m->layer)
        return AIGC_OK;
    if (m->error.code != AIGC_OK)
        return m->error.code;
    m->model = model;
    if (m->path && m->path[strlen(m->path) - 1] == '/' && name_file(m, model) != AIGC_OK)
        return m->error.code;
    if (m->path)
        look_at_file(m, &m->seen);
    return aigc_personal_open(model, m->path, m->max_ngrams, &m->layer, &m->error);
}

static void forget_record(memory_record *r)
{
    free(r->text);
    free(r->tokens);
    *r = (memory_record){0};
}

void memory_close(memory *m)
{
    if (m->layer)
        memory_save(m);
    aigc_personal_close(m->layer);
    clear_log(m);
    for (int i = 0; i < MEMORY_RECORDS; i++)
        forget_record(&m->records[i]);
    free(m->path);
    *m = (memory){0};
}

/* ---- what is ordered ---- */

/* A layer is of help, not of need: what memory has no room for is not learned. */
static void teach(const memory *m, aigc_personal *layer, const order *o)
{
    aigc_error err;
    int32_t *tokens;
    size_t n;
    if (aigc_tokenize(m->model, o->text, o->len, AIGC_TEXT_PLAIN, &tokens, &n, &err) != AIGC_OK)
        return;
    if (o->kind == ORDER_LEARN)
        aigc_personal_learn(layer, tokens, n, 0, &err);
    else if (o->kind == ORDER_UNLEARN)
        aigc_personal_unlearn(layer, tokens, n, 0, &err);
    else
        aigc_personal_forget(layer, tokens, n);
    aigc_free(tokens);
}

/* A phrase is other tokens at the beginning of a text than behind a space: forgetting is for both. */
static void forget_behind_space(const memory *m, aigc_personal *layer, const order *o)
{
    order *spaced = order_new(ORDER_FORGET, o->text, o->len + 1);
    if (!spaced)
        return;
    memmove(spaced->text + 1, spaced->text, o->len);
    spaced->text[0] = ' ';
    teach(m, layer, spaced);
    order_free(spaced);
}

static void apply(const memory *m, aigc_personal *layer, const order *o)
{
    if (o->kind == ORDER_CLEAR)
        aigc_personal_clear(layer);
    else
        teach(m, layer, o);
    if (o->kind == ORDER_FORGET)
        forget_behind_space(m, layer, o);
}

/* Bytes of white space that a text begins with. */
static size_t leading_space(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && (text[n] == ' ' || text[n] == '\n' || text[n] == '\t'))
        n++;
    return n;
}

/* The newest alternative that began with what was shown, but for white space before it. *skipped: bytes of that. */
static const memory_record *find_record(const memory *m, const order *o, size_t *skipped)
{
    size_t own = leading_space(o->text, o->len);
    for (int i = 1; i <= MEMORY_RECORDS; i++) {
        const memory_record *r = &m->records[(m->next_record + MEMORY_RECORDS - i) % MEMORY_RECORDS];
        size_t theirs = leading_space(r->text, r->len);
        if (r->n > r->n_before && o->len - own <= r->len - theirs &&
            memcmp(r->text + theirs, o->text + own, o->len - own) == 0) {
            *skipped = theirs > own ? theirs - own : 0;
            return r;
        }
    }
    return NULL;
}

/* How many tokens of a record its first n bytes are, all of them counted that are there as a whole. */
static size_t tokens_of_bytes(const memory *m, const memory_record *r, size_t n_bytes)
{
    size_t n = 0, n_generated = r->n - r->n_before;
    int32_t *ids = calloc(n_generated, sizeof *ids);
    for (; ids && n < n_generated; n++) {
        char *text;
        size_t len;
        aigc_error err;
        ids[n] = r->tokens[r->n_before + n].id;
        if (aigc_detokenize(m->model, ids, n + 1, AIGC_TEXT_PLAIN, &text, &len, &err) != AIGC_OK)
            break;
        aigc_free(text);
        if (len > n_bytes)
            break;
    }
    free(ids);
    return n;
}

static void learn_from_feedback(memory *m, const order *o)
{
    size_t skipped;
    const memory_record *r = find_record(m, o, &skipped);
    if (!r)
        return;
    size_t n_taken = o->n_taken ? tokens_of_bytes(m, r, o->n_taken + skipped) : 0;
    aigc_personal_adapt(m->layer, r->tokens, r->n_before + n_taken, r->n_before, true);
    if (o->rejected && r->n_before + n_taken < r->n)
        aigc_personal_adapt(m->layer, r->tokens, r->n_before + n_taken + 1, r->n_before + n_taken, false);
}

static aigc_status look_at_phrases(const memory *m, memory_view *view)
{
    aigc_phrase *found = calloc(view->most + 1, sizeof *found);
    if (!found)
        return AIGC_E_MEMORY;
    aigc_status status = AIGC_OK;
    size_t n = aigc_personal_phrases(m->layer, found, view->most);
    for (; status == AIGC_OK && view->n < n; view->n += status == AIGC_OK) {
        memory_phrase *phrase = &view->phrases[view->n];
        phrase->count = found[view->n].count;
        status = aigc_detokenize(m->model, found[view->n].tokens, AIGC_PERSONAL_ORDER, AIGC_TEXT_RENDER_SPECIAL,
                                 &phrase->text, &phrase->len, &view->error);
    }
    free(found);
    return status;
}

void memory_look(const memory *m, memory_view *view)
{
    if (!m->layer) {
        view->error = m->error;
        return;
    }
    view->unwritten = m->error;
    aigc_personal_describe(m->layer, &view->info);
    if (look_at_phrases(m, view) == AIGC_E_MEMORY && view->error.code == AIGC_OK) {
        view->error.code = AIGC_E_MEMORY;
        snprintf(view->error.message, sizeof view->error.message, "out of memory: no room for %zu phrases", view->most);
    }
}

void memory_run(memory *m, order *o)
{
    struct timespec now;
    if (!m->layer) {
        order_free(o);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    switch (o->kind) {
    case ORDER_SAVE:
        if (now.tv_sec - m->saved.tv_sec >= SECONDS_BETWEEN_SAVES)
            memory_save(m);
        break;
    case ORDER_FEEDBACK:
        learn_from_feedback(m, o);
        m->changed = true;
        break;
    default:
        apply(m, m->layer, o);
        m->changed = true;
        if (!m->path)
            break;
        o->next = NULL;
        *m->log_end = o;
        m->log_end = &o->next;
        if (o->kind == ORDER_CLEAR || o->kind == ORDER_FORGET)
            memory_save(m); /* what is to be forgotten must not stay on the disk */
        return;
    }
    order_free(o);
}

void memory_keep(memory *m, const job *j)
{
    for (int i = j->n - 1; m->layer && j->spec.tokens && i >= 0; i--) {
        const job_alternative *a = &j->alternatives[i];
        memory_record *r = &m->records[m->next_record];
        size_t n_prompt = j->spec.options.n_tokens, n_before = n_prompt < HISTORY ? n_prompt : HISTORY;
        if (a->n_tokens == 0 || a->text.len == 0)
            continue;
        forget_record(r);
        r->text = malloc(a->text.len);
        r->tokens = calloc(n_before + a->n_tokens, sizeof *r->tokens);
        if (!r->text || !r->tokens) {
            forget_record(r);
            return;
        }
        memcpy(r->text, a->text.data, a->text.len);
        for (size_t k = 0; k < n_before; k++)
            r->tokens[k].id = j->spec.tokens[n_prompt - n_before + k];
        memcpy(r->tokens + n_before, a->tokens, a->n_tokens * sizeof *a->tokens);
        r->len = a->text.len;
        r->n_before = n_before;
        r->n = n_before + a->n_tokens;
        m->next_record = (m->next_record + 1) % MEMORY_RECORDS;
    }
}

/* ---- the file ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Takes in what another editor has written: reads it, and does what was ordered here once more. */
static aigc_status merge(memory *m, aigc_error *err)
{
    aigc_personal *theirs;
    aigc_status status = aigc_personal_open(m->model, m->path, 0, &theirs, err);
    if (status != AIGC_OK)
        return status;
    for (const order *o = m->log; o; o = o->next)
        apply(m, theirs, o);
    aigc_personal_close(m->layer);
    m->layer = theirs;
    return AIGC_OK;
}

/* Locks the folder of the file, so that between reading and writing it no other editor does. -1 where that cannot be
 * had: it is written all the same. */
static int lock_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i == LOCK_TRIES || (errno != EWOULDBLOCK && errno != EINTR)) {
            close(fd);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
    }
    return fd;
}

static aigc_status save_locked(memory *m)
{
    struct stat now;
    aigc_error err;
    aigc_status status = AIGC_OK;
    look_at_file(m, &now);
    if (!same_file(&now, &m->seen))
        status = merge(m, &err);
    if (status == AIGC_OK)
        status = aigc_personal_save(m->layer, m->path, &err);
    if (status != AIGC_OK) {
        m->error = err; /* told by model:memory(); the layer goes on in memory */
        return status;
    }
    look_at_file(m, &m->seen);
    m->error = (aigc_error){0};
    m->changed = false;
    clear_log(m);
    return AIGC_OK;
}

aigc_status memory_save(memory *m)
{
    if (!m->layer || !m->changed || !m->path)
        return AIGC_OK;
    clock_gettime(CLOCK_MONOTONIC, &m->saved);
    int lock = lock_folder(m->path);
    aigc_status status = save_locked(m);
    if (lock >= 0)
        close(lock);
    return status;
}
