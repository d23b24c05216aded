/*
 * personal_file.c: the personal layer in a file.
 *
 * Little-endian: the header below, PERSONAL_CLASSES pairs of doubles (hits, asked), then the whole n-grams (the shorter
 * ones follow from them), then a checksum of all before it. Written aside and renamed, readable by its owner alone. A
 * file is hostile input: every number in it is checked before it is used.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "engine/personal.h"
#include "model/model.h"
#include "text/tokenizer.h"

static const char MAGIC[8] = "aigcpers";

enum { FILE_VERSION = 1 };

typedef struct file_header {
    char magic[8];
    uint32_t version, order, n_vocab, n_classes;
    uint64_t vocabulary, clock, n_learned, n_ngrams;
} file_header;

typedef struct file_ngram {
    int32_t tokens[NGRAM_ORDER];
    uint32_t count, touched;
} file_ngram;

_Static_assert(sizeof(file_header) == 56 && sizeof(file_ngram) == 28, "records have no holes");

/* FNV-1a, 64 bits: finds accidents, not forgeries. */
static uint64_t checksum(uint64_t sum, const void *data, size_t n)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

static const uint64_t CHECKSUM_BEGIN = 0xcbf29ce484222325u;

/* Tells vocabularies apart: the bytes of all tokens, in order. */
static uint64_t fingerprint(const tokenizer *t)
{
    char bytes[TOKEN_MAX_BYTES];
    uint64_t sum = CHECKSUM_BEGIN;
    for (int32_t id = 0; id < tokenizer_n_vocab(t); id++) {
        int n = tokenizer_piece(t, id, false, AIGC_TEXT_RENDER_SPECIAL, bytes);
        sum = checksum(checksum(sum, &n, sizeof n), bytes, n > 0 ? (size_t)n : 0);
    }
    return sum;
}

/* ---- reading ---- */

static aigc_status refuse(const char *path, const char *why, aigc_error *err)
{
    return aigc_fail(err, AIGC_E_FORMAT, "%s: %s", path, why);
}

static aigc_status check_header(const aigc_personal *p, const char *path, const file_map *map, const file_header *h,
                                aigc_error *err)
{
    size_t rest = sizeof *h + PERSONAL_CLASSES * sizeof(personal_weight) + sizeof(uint64_t);
    uint64_t sum;
    if (h->version != FILE_VERSION)
        return aigc_fail(err, AIGC_E_UNSUPPORTED, "%s: version %u of personal files, this program reads %d", path,
                         h->version, FILE_VERSION);
    if (h->order != NGRAM_ORDER || h->n_classes != PERSONAL_CLASSES || map->size < rest ||
        h->n_ngrams != (map->size - rest) / sizeof(file_ngram) || (map->size - rest) % sizeof(file_ngram) != 0)
        return refuse(path, "the personal file is damaged: its sizes do not agree", err);
    memcpy(&sum, map->data + map->size - sizeof sum, sizeof sum);
    if (sum != checksum(CHECKSUM_BEGIN, map->data, map->size - sizeof sum))
        return refuse(path, "the personal file is damaged: its checksum is wrong", err);
    if (h->vocabulary != p->vocabulary || h->n_vocab != (uint32_t)tokenizer_n_vocab(p->model->tokens))
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s: learned with another vocabulary than the model's", path);
    return AIGC_OK;
}

static bool weight_ok(const personal_weight *w)
{
    return w->hits >= 0 && w->asked >= w->hits && w->asked < 1e9;
}

/* Edges come first, if at all; tokens are of the vocabulary. */
static bool ngram_ok(const file_ngram *g, const file_header *h)
{
    int i = 0;
    while (i < NGRAM_ORDER - 1 && g->tokens[i] == NGRAM_EDGE)
        i++;
    for (; i < NGRAM_ORDER; i++)
        if (g->tokens[i] < 0 || (uint32_t)g->tokens[i] >= h->n_vocab)
            return false;
    return g->count > 0 && g->touched <= h->clock;
}

static aigc_status read_ngrams(aigc_personal *p, const char *path, const file_map *map, const file_header *h,
                               aigc_error *err)
{
    const unsigned char *at = map->data + sizeof *h;
    for (int i = 0; i < PERSONAL_CLASSES; i++, at += sizeof(personal_weight)) {
        personal_weight w;
        memcpy(&w, at, sizeof w);
        if (!weight_ok(&w))
            return refuse(path, "the personal file is damaged: a weight is out of range", err);
        p->weights[i] = w;
    }
    for (uint64_t i = 0; i < h->n_ngrams; i++, at += sizeof(file_ngram)) {
        file_ngram g;
        memcpy(&g, at, sizeof g);
        if (!ngram_ok(&g, h) || ngram_find(&p->table, g.tokens) != NGRAM_NONE)
            return refuse(path, "the personal file is damaged: an n-gram is not valid", err);
        aigc_status status = ngram_add(&p->table, g.tokens, g.count, g.touched, err);
        if (status != AIGC_OK)
            return status;
    }
    p->clock = h->clock;
    p->n_learned = h->n_learned;
    return AIGC_OK;
}

static aigc_status read_file(aigc_personal *p, const char *path, aigc_error *err)
{
    file_map map;
    file_header h;
    aigc_status status = file_map_open(path, &map, err);
    if (status != AIGC_OK)
        return status;
    if (map.size < sizeof h || memcmp(map.data, MAGIC, sizeof MAGIC) != 0) {
        status = refuse(path, "not a personal file of aigc", err);
    } else {
        memcpy(&h, map.data, sizeof h);
        status = check_header(p, path, &map, &h, err);
        if (status == AIGC_OK)
            status = read_ngrams(p, path, &map, &h, err);
    }
    file_map_close(&map);
    return status;
}

aigc_status aigc_personal_open(aigc_model *model, const char *path, size_t max_ngrams, aigc_personal **out,
                               aigc_error *err)
{
    if (model->tokens == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the personal layer needs the model's tokenizer");
    aigc_personal *p = aigc_calloc(1, sizeof *p);
    if (p == NULL)
        return aigc_fail_memory(err, "the personal layer", sizeof *p);
    p->model = model_retain(model);
    p->vocabulary = fingerprint(model->tokens);
    aigc_status status = ngram_open(&p->table, max_ngrams != 0 ? max_ngrams : AIGC_PERSONAL_NGRAMS, err);
    if (status == AIGC_OK && path != NULL && (access(path, F_OK) == 0 || errno != ENOENT))
        status = read_file(p, path, err);
    if (status != AIGC_OK) {
        aigc_personal_close(p);
        return status;
    }
    *out = p;
    return AIGC_OK;
}

void aigc_personal_close(aigc_personal *p)
{
    if (p == NULL)
        return;
    ngram_close(&p->table);
    aigc_model_close(p->model);
    free(p);
}

/* ---- writing ---- */

typedef struct output {
    file_writer *writer;
    uint64_t sum;
} output;

static aigc_status put(output *o, const void *data, size_t n, aigc_error *err)
{
    o->sum = checksum(o->sum, data, n);
    return file_writer_write(o->writer, data, n, err);
}

static aigc_status put_ngrams(output *o, const aigc_personal *p, aigc_error *err)
{
    aigc_status status = AIGC_OK;
    for (uint32_t i = 1; i < p->table.n_ngrams && status == AIGC_OK; i++) {
        file_ngram g;
        if (!ngram_whole(&p->table, i, g.tokens))
            continue;
        g.count = p->table.ngrams[i].count;
        g.touched = p->table.ngrams[i].touched;
        status = put(o, &g, sizeof g, err);
    }
    return status;
}

static uint64_t count_whole(const aigc_personal *p)
{
    int32_t tokens[NGRAM_ORDER];
    uint64_t n = 0;
    for (uint32_t i = 1; i < p->table.n_ngrams; i++)
        n += ngram_whole(&p->table, i, tokens);
    return n;
}

aigc_status aigc_personal_save(const aigc_personal *p, const char *path, aigc_error *err)
{
    file_header h = {
        .version = FILE_VERSION,
        .order = NGRAM_ORDER,
        .n_vocab = (uint32_t)tokenizer_n_vocab(p->model->tokens),
        .n_classes = PERSONAL_CLASSES,
        .vocabulary = p->vocabulary,
        .clock = p->clock,
        .n_learned = p->n_learned,
        .n_ngrams = count_whole(p),
    };
    output o = {.sum = CHECKSUM_BEGIN};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    aigc_status status = file_writer_open(path, &o.writer, err);
    if (status != AIGC_OK)
        return status;
    status = file_writer_make_private(o.writer, err);
    if (status == AIGC_OK)
        status = put(&o, &h, sizeof h, err);
    if (status == AIGC_OK)
        status = put(&o, p->weights, sizeof p->weights, err);
    if (status == AIGC_OK)
        status = put_ngrams(&o, p, err);
    uint64_t sum = o.sum;
    if (status == AIGC_OK)
        status = put(&o, &sum, sizeof sum, err);
    if (status != AIGC_OK) {
        file_writer_abandon(o.writer);
        return status;
    }
    return file_writer_commit(o.writer, err);
}
