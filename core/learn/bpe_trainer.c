/*
 * bpe_trainer.c: learns a vocabulary: counts words, then merges pairs of symbols. See aigc.h.
 *
 * A queue holds pairs by frequency, each with the words where it was found. Frequencies go stale as other merges break
 * pairs up; a stale pair that comes to the top goes back with its present frequency. New pairs are queued after each
 * merge. This is the method of Hugging Face's trainer, down to one fine point: when two different merges make the same
 * token text, pairs with that token may stand in the queue more than once, each with words of its own.
 */
#define _GNU_SOURCE /* memmem */
#include "aigc.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "format/gguf.h"
#include "learn/pairs.h"
#include "learn/strings.h"
#include "text/bpe.h"
#include "text/tokenizer.h"

enum {
    BYTES = 256,
    MAX_VOCAB = 1 << 24,
    SPLIT_AT_ONCE = 1 << 18, /* bytes of words that a call splits: some tens of milliseconds */
    /* About what merging takes for each byte of the words (its symbol, its place in a pair's list) and for each word.
     */
    MEMORY_BYTE = 16,
    MEMORY_WORD = 64,
};

typedef struct symbols {
    int32_t *ids; /* into bpe_trainer.ids */
    uint32_t n;
} symbols;

typedef struct merge {
    int32_t left, right, token;
} merge;

struct aigc_bpe_trainer {
    const pretokenizer *pre;
    int vocab_size;
    int64_t min_frequency;
    string_set special;
    string_set words; /* as bytes */
    int64_t *counts;  /* [counts_capacity] of each word */
    size_t counts_capacity;
    string_set tokens; /* as bytes; ids follow the special tokens' */
    /* from the first merge on */
    bool merging;
    symbols *split; /* [words.n] */
    int32_t *ids;   /* the symbols of all words */
    uint32_t n_split;
    int32_t byte_id[BYTES];
    pair_table pairs;
    pair_queue queue;
    merge *merges;
    size_t n_merges, merges_capacity;
};

static aigc_status fail_memory(aigc_error *err)
{
    return aigc_fail(err, AIGC_E_MEMORY, "out of memory while learning a vocabulary");
}

/* ---- words ---- */

static aigc_status check_options(const aigc_bpe_trainer_options *o, aigc_error *err)
{
    long least = BYTES + (long)o->n_special;
    if (o->vocab_size < least || o->vocab_size > MAX_VOCAB)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the vocabulary must have from %ld to %d tokens, not %d", least,
                         (int)MAX_VOCAB, o->vocab_size);
    if (o->min_frequency < 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the least frequency must not be negative, it is %lld",
                         (long long)o->min_frequency);
    if (pretokenizer_find(o->pretokenizer, strlen(o->pretokenizer)) == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "there is no pre-tokenizer '%s'", o->pretokenizer);
    for (size_t i = 0; i < o->n_special; i++)
        if (o->special[i][0] == '\0' || utf8_valid(o->special[i], strlen(o->special[i])) != strlen(o->special[i]))
            return aigc_fail(err, AIGC_E_ARGUMENT, "special token %zu is empty or not UTF-8", i + 1);
    return AIGC_OK;
}

/* Bytes get their ids in the order of the characters that stand for them: printable Latin-1 first. */
static bool add_bytes(aigc_bpe_trainer *t)
{
    for (int printable = 1; printable >= 0; printable--)
        for (int byte = 0; byte < BYTES; byte++) {
            char symbol[2], c = (char)byte;
            bool itself = bpe_symbol((unsigned char)byte, symbol) == 1 || (unsigned char)symbol[0] < 0xc4;
            if (itself == (printable == 1) && string_set_add(&t->tokens, &c, 1) == UINT32_MAX)
                return false;
        }
    return true;
}

aigc_status aigc_bpe_trainer_create(const aigc_bpe_trainer_options *o, aigc_bpe_trainer **out, aigc_error *err)
{
    aigc_status status = check_options(o, err);
    if (status != AIGC_OK)
        return status;
    aigc_bpe_trainer *t = aigc_calloc(1, sizeof *t);
    if (t == NULL)
        return fail_memory(err);
    t->pre = pretokenizer_find(o->pretokenizer, strlen(o->pretokenizer));
    t->vocab_size = o->vocab_size;
    t->min_frequency = o->min_frequency > 1 ? o->min_frequency : 1;
    bool ok = add_bytes(t);
    for (size_t i = 0; i < o->n_special && ok; i++)
        ok = string_set_add(&t->special, o->special[i], strlen(o->special[i])) != UINT32_MAX;
    if (!ok) {
        aigc_bpe_trainer_destroy(t);
        return fail_memory(err);
    }
    *out = t;
    return AIGC_OK;
}

void aigc_bpe_trainer_destroy(aigc_bpe_trainer *t)
{
    if (t == NULL)
        return;
    string_set_free(&t->special);
    string_set_free(&t->words);
    string_set_free(&t->tokens);
    pair_table_free(&t->pairs);
    pair_queue_free(&t->queue);
    free(t->counts);
    free(t->split);
    free(t->ids);
    free(t->merges);
    free(t);
}

static bool count_word(aigc_bpe_trainer *t, const char *word, size_t len)
{
    uint32_t i = string_set_add(&t->words, word, len);
    if (i == UINT32_MAX)
        return false;
    if (i >= t->counts_capacity) {
        size_t capacity = 2 * t->counts_capacity + 1024;
        int64_t *counts = aigc_realloc_array(t->counts, capacity, sizeof *counts);
        if (counts == NULL)
            return false;
        memset(counts + t->counts_capacity, 0, (capacity - t->counts_capacity) * sizeof *counts);
        t->counts = counts;
        t->counts_capacity = capacity;
    }
    t->counts[i]++;
    return true;
}

static bool count_words(aigc_bpe_trainer *t, const char *text, size_t len)
{
    for (size_t pos = 0; pos < len;) {
        size_t end = t->pre->next(t->pre, text, pos, len);
        if (!count_word(t, text + pos, end - pos))
            return false;
        pos = end;
    }
    return true;
}

/* The first special token in text[pos..len): where it begins and ends; both are len if there is none. */
static void find_special(const aigc_bpe_trainer *t, const char *text, size_t pos, size_t len, size_t *begin,
                         size_t *end)
{
    *begin = *end = len;
    for (uint32_t i = 0; i < t->special.n; i++) {
        size_t n;
        const char *s = string_set_at(&t->special, i, &n);
        const char *found = memmem(text + pos, *begin - pos, s, n);
        if (found != NULL) {
            *begin = (size_t)(found - text);
            *end = *begin + n;
        }
    }
}

aigc_status aigc_bpe_trainer_feed(aigc_bpe_trainer *t, const char *text, size_t len, aigc_error *err)
{
    if (t->merging)
        return aigc_fail(err, AIGC_E_ARGUMENT, "no text can be added once merging has begun");
    size_t valid = utf8_valid(text, len);
    if (valid != len)
        return aigc_fail(err, AIGC_E_TEXT, "the text is not valid UTF-8 at byte %zu (0x%02x)", valid,
                         (unsigned char)text[valid]);
    for (size_t pos = 0; pos < len;) {
        size_t begin, end;
        find_special(t, text, pos, len, &begin, &end);
        if (!count_words(t, text + pos, begin - pos))
            return fail_memory(err);
        pos = end < len && end > begin && text[end] == '\n' ? end + 1 : end; /* the rest of a separating line */
    }
    return AIGC_OK;
}

/* ---- pairs ---- */

/* Notes that word has the pair `change` times its count more, and queues the pair there if that is more than before. */
static bool note_pair(aigc_bpe_trainer *t, int32_t left, int32_t right, int change, uint32_t word)
{
    pair_entry *entry = pair_table_get(&t->pairs, left, right);
    if (entry == NULL)
        return false;
    entry->count += change * t->counts[word];
    return change < 0 || pair_entry_add_word(&t->pairs, entry, word);
}

/* Queues what note_pair() has found since the last time. */
static bool queue_pairs(aigc_bpe_trainer *t)
{
    pair_candidate candidate;
    while (pair_table_next_found(&t->pairs, &candidate))
        if (candidate.count <= 0)
            free(candidate.words);
        else if (!pair_queue_push(&t->queue, &candidate))
            return false;
    return true;
}

static bool begin_merging(aigc_bpe_trainer *t)
{
    t->merging = true;
    t->split = aigc_calloc((size_t)t->words.n + 1, sizeof *t->split);
    t->ids = aigc_calloc(t->words.n_bytes + 1, sizeof *t->ids);
    for (int byte = 0; byte < BYTES; byte++) {
        char c = (char)byte;
        t->byte_id[byte] = (int32_t)(t->special.n + string_set_find(&t->tokens, &c, 1));
    }
    return t->split != NULL && t->ids != NULL;
}

/* Splits the next words into bytes and counts their pairs. */
static bool split_words(aigc_bpe_trainer *t)
{
    size_t done = 0;
    for (; t->n_split < t->words.n && done < SPLIT_AT_ONCE; t->n_split++) {
        uint32_t w = t->n_split;
        size_t len;
        const char *s = string_set_at(&t->words, w, &len);
        int32_t *ids = w > 0 ? t->split[w - 1].ids + t->split[w - 1].n : t->ids;
        t->split[w] = (symbols){ids, (uint32_t)len};
        for (size_t i = 0; i < len; i++)
            ids[i] = t->byte_id[(unsigned char)s[i]];
        for (size_t i = 1; i < len; i++)
            if (!note_pair(t, ids[i - 1], ids[i], 1, w))
                return false;
        done += len;
    }
    return t->n_split < t->words.n || queue_pairs(t);
}

/* ---- merging ---- */

/* Merges the pair wherever it stands in a word, left to right. */
static bool merge_in_word(aigc_bpe_trainer *t, const merge *m, uint32_t word)
{
    symbols *s = &t->split[word];
    uint32_t to = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        int32_t id = s->ids[i];
        if (id == m->left && i + 1 < s->n && s->ids[i + 1] == m->right) {
            id = m->token;
            i++;
            if (to > 0 &&
                !(note_pair(t, s->ids[to - 1], m->left, -1, word) && note_pair(t, s->ids[to - 1], m->token, 1, word)))
                return false;
            if (i + 1 < s->n &&
                !(note_pair(t, m->right, s->ids[i + 1], -1, word) && note_pair(t, m->token, s->ids[i + 1], 1, word)))
                return false;
        }
        s->ids[to++] = id;
    }
    s->n = to;
    return true;
}

static const char *token_bytes(const aigc_bpe_trainer *t, int32_t id, size_t *len)
{
    return string_set_at(&t->tokens, (uint32_t)id - t->special.n, len);
}

/* The token of two tokens' bytes; -1 if memory is out. */
static int32_t join_tokens(aigc_bpe_trainer *t, int32_t left, int32_t right)
{
    size_t n_left, n_right;
    const char *a = token_bytes(t, left, &n_left), *b = token_bytes(t, right, &n_right);
    char *joined = malloc(n_left + n_right);
    if (joined == NULL)
        return -1;
    memcpy(joined, a, n_left);
    memcpy(joined + n_left, b, n_right);
    uint32_t i = string_set_add(&t->tokens, joined, n_left + n_right);
    free(joined);
    return i == UINT32_MAX ? -1 : (int32_t)(t->special.n + i);
}

static bool add_merge(aigc_bpe_trainer *t, const merge *m)
{
    if (t->n_merges == t->merges_capacity) {
        size_t capacity = 2 * t->merges_capacity + 1024;
        merge *merges = aigc_realloc_array(t->merges, capacity, sizeof *merges);
        if (merges == NULL)
            return false;
        t->merges = merges;
        t->merges_capacity = capacity;
    }
    t->merges[t->n_merges++] = *m;
    return true;
}

/* One merge. *done is set if there is none to make. */
static bool merge_once(aigc_bpe_trainer *t, bool *done)
{
    pair_candidate top;
    while (pair_queue_pop(&t->queue, &top)) {
        const pair_entry *entry = pair_table_get(&t->pairs, top.left, top.right);
        if (entry == NULL) {
            free(top.words);
            return false;
        }
        int64_t count = entry->count;
        if (count != top.count) { /* stale */
            top.count = count;
            if (pair_queue_push(&t->queue, &top))
                continue;
            return false;
        }
        if (count < t->min_frequency) {
            free(top.words);
            break;
        }
        merge m = {top.left, top.right, join_tokens(t, top.left, top.right)};
        bool ok = m.token >= 0 && add_merge(t, &m);
        for (uint32_t i = 0; i < top.n_words && ok; i++)
            ok = merge_in_word(t, &m, top.words[i]);
        free(top.words);
        return ok && queue_pairs(t);
    }
    *done = true;
    return true;
}

aigc_status aigc_bpe_trainer_merge(aigc_bpe_trainer *t, int n, bool *done, aigc_error *err)
{
    *done = false;
    bool ok = t->merging || begin_merging(t);
    if (ok && t->n_split < t->words.n)
        ok = split_words(t);
    if (t->n_split < t->words.n)
        n = 0;
    for (int i = 0; i < n && ok && !*done; i++) {
        *done = aigc_bpe_trainer_n_vocab(t) >= t->vocab_size;
        if (!*done)
            ok = merge_once(t, done);
    }
    return ok ? AIGC_OK : fail_memory(err);
}

int aigc_bpe_trainer_n_vocab(const aigc_bpe_trainer *t)
{
    return (int)(t->special.n + t->tokens.n);
}

uint64_t aigc_bpe_trainer_n_words(const aigc_bpe_trainer *t)
{
    return t->words.n;
}

size_t aigc_bpe_trainer_memory(const aigc_bpe_trainer *t)
{
    return t->words.n_bytes * MEMORY_BYTE + (size_t)t->words.n * MEMORY_WORD;
}

/* ---- writing ---- */

/* All texts of the file, in byte-level form, one after the other. */
typedef struct texts {
    char *bytes, *next;
    gguf_string *tokens, *merges;
    int32_t *types;
    size_t n_merges;
} texts;

static gguf_string append(texts *x, const char *s, size_t len)
{
    char *begin = x->next;
    for (size_t i = 0; i < len; i++)
        x->next += bpe_symbol((unsigned char)s[i], x->next);
    return (gguf_string){begin, (size_t)(x->next - begin)};
}

static void append_merge(const aigc_bpe_trainer *t, texts *x, const merge *m)
{
    size_t n_left, n_right;
    const char *left = token_bytes(t, m->left, &n_left), *right = token_bytes(t, m->right, &n_right);
    char *begin = x->next;
    append(x, left, n_left);
    *x->next++ = ' ';
    append(x, right, n_right);
    x->merges[x->n_merges++] = (gguf_string){begin, (size_t)(x->next - begin)};
}

/* A pair that was merged twice has the later rank. */
static bool is_superseded(const aigc_bpe_trainer *t, size_t i)
{
    for (size_t later = i + 1; later < t->n_merges && t->merges[later].token <= t->merges[i].token; later++)
        if (t->merges[later].left == t->merges[i].left && t->merges[later].right == t->merges[i].right)
            return true;
    return false;
}

static void append_all(const aigc_bpe_trainer *t, texts *x)
{
    size_t len;
    for (uint32_t i = 0; i < t->special.n; i++) {
        const char *s = string_set_at(&t->special, i, &len);
        x->tokens[i] = (gguf_string){s, len};
        x->types[i] = 3; /* control */
    }
    for (uint32_t i = 0; i < t->tokens.n; i++) {
        const char *s = string_set_at(&t->tokens, i, &len);
        x->tokens[t->special.n + i] = append(x, s, len);
        x->types[t->special.n + i] = 1; /* normal */
    }
    for (size_t i = 0; i < t->n_merges; i++)
        if (!is_superseded(t, i))
            append_merge(t, x, &t->merges[i]);
}

static bool texts_create(const aigc_bpe_trainer *t, texts *x)
{
    size_t n = (size_t)aigc_bpe_trainer_n_vocab(t), bytes = 2 * t->tokens.n_bytes + 1, len;
    for (size_t i = 0; i < t->n_merges; i++) {
        token_bytes(t, t->merges[i].token, &len);
        bytes += 2 * len + 1;
    }
    *x = (texts){
        .bytes = aigc_calloc(bytes, 1),
        .tokens = aigc_calloc(n, sizeof *x->tokens),
        .types = aigc_calloc(n, sizeof *x->types),
        .merges = aigc_calloc(t->n_merges + 1, sizeof *x->merges),
    };
    x->next = x->bytes;
    return x->bytes != NULL && x->tokens != NULL && x->types != NULL && x->merges != NULL;
}

static void texts_free(texts *x)
{
    free(x->bytes);
    free(x->tokens);
    free(x->types);
    free(x->merges);
}

static void set_values(const aigc_bpe_trainer *t, const texts *x, const char *name, gguf_writer *w)
{
    const char *pre = t->pre->names;
    gguf_writer_set_string(w, "general.name", name, strlen(name));
    gguf_writer_set_string(w, "tokenizer.ggml.model", "gpt2", 4);
    gguf_writer_set_string(w, "tokenizer.ggml.pre", pre, strcspn(pre, " "));
    gguf_writer_set_strings(w, "tokenizer.ggml.tokens", x->tokens, (size_t)aigc_bpe_trainer_n_vocab(t));
    gguf_writer_set_i32s(w, "tokenizer.ggml.token_type", x->types, (size_t)aigc_bpe_trainer_n_vocab(t));
    gguf_writer_set_strings(w, "tokenizer.ggml.merges", x->merges, x->n_merges);
    if (t->special.n > 0) {
        gguf_writer_set_u32(w, "tokenizer.ggml.bos_token_id", 0);
        gguf_writer_set_u32(w, "tokenizer.ggml.eos_token_id", 0);
    }
    gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token", t->special.n > 0);
}

aigc_status aigc_bpe_trainer_write(const aigc_bpe_trainer *t, const char *path, const char *name, aigc_error *err)
{
    texts x;
    gguf_writer *w = NULL;
    if (!texts_create(t, &x)) {
        texts_free(&x);
        return fail_memory(err);
    }
    append_all(t, &x);
    aigc_status status = gguf_writer_create(&w, err);
    if (status == AIGC_OK) {
        set_values(t, &x, name, w);
        status = gguf_writer_begin(w, path, err);
        if (status == AIGC_OK)
            status = gguf_writer_finish(w, err);
        else
            gguf_writer_abandon(w);
    }
    texts_free(&x);
    return status;
}
