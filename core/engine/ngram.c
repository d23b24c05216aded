/* ngram.c: two arrays (contexts, n-grams), an index into each by key, and lists from contexts to their n-grams. */
#include "engine/ngram.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { FIRST_CAPACITY = 1024, LEAST_BOUND = 1000 };

/* ---- keys and indexes ---- */

static uint64_t make_key(uint32_t number, int32_t token)
{
    return (uint64_t)number << 32 | (uint32_t)token;
}

/* The finaliser of MurmurHash3. */
static uint32_t hash(uint64_t key)
{
    key = (key ^ key >> 33) * 0xff51afd7ed558ccdu;
    key = (key ^ key >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(key ^ key >> 33);
}

static uint64_t key_at(const void *base, size_t size, uint32_t i)
{
    return *(const uint64_t *)((const char *)base + (size_t)i * size);
}

/* The slot of a key, or the free one where it would go. */
static uint32_t index_slot(const ngram_index *x, const void *base, size_t size, uint64_t key)
{
    uint32_t at = hash(key) & x->mask;
    while (x->slots[at] != 0 && key_at(base, size, x->slots[at] - 1) != key)
        at = (at + 1) & x->mask;
    return at;
}

/* Removes a key, and moves those behind it that would not be found any more (Knuth's algorithm R). */
static void index_remove(ngram_index *x, const void *base, size_t size, uint64_t key)
{
    uint32_t hole = index_slot(x, base, size, key);
    for (uint32_t at = (hole + 1) & x->mask; x->slots[at] != 0; at = (at + 1) & x->mask) {
        uint32_t home = hash(key_at(base, size, x->slots[at] - 1)) & x->mask;
        if (((at - home) & x->mask) >= ((at - hole) & x->mask)) {
            x->slots[hole] = x->slots[at];
            hole = at;
        }
    }
    x->slots[hole] = 0;
}

/* Makes room for n things at a load of at most 1/2. */
static bool index_grow(ngram_index *x, const void *base, size_t size, uint32_t n, uint32_t n_now)
{
    uint64_t want = FIRST_CAPACITY;
    while (want < 2 * (uint64_t)n)
        want *= 2;
    if (x->slots != NULL && want <= (uint64_t)x->mask + 1)
        return true;
    ngram_index larger = {aigc_calloc((size_t)want, sizeof *larger.slots), (uint32_t)(want - 1)};
    if (larger.slots == NULL)
        return false;
    for (uint64_t i = 0; x->slots != NULL && n_now > 0 && i <= x->mask; i++)
        if (x->slots[i] != 0)
            larger.slots[index_slot(&larger, base, size, key_at(base, size, x->slots[i] - 1))] = x->slots[i];
    free(x->slots);
    *x = larger;
    return true;
}

static bool array_grow(void **array, size_t size, uint32_t n, uint32_t *capacity)
{
    if (n <= *capacity)
        return true;
    uint64_t want = *capacity ? *capacity : FIRST_CAPACITY;
    while (want < n)
        want += want / 2;
    void *larger = want <= UINT32_MAX ? aigc_realloc_array(*array, (size_t)want, size) : NULL;
    if (larger == NULL)
        return false;
    *array = larger;
    *capacity = (uint32_t)want;
    return true;
}

/* Makes sure that one more whole n-gram, with all its contexts and shorter ones, needs no memory. */
static aigc_status reserve(ngram_table *t, aigc_error *err)
{
    if (array_grow((void **)&t->contexts, sizeof *t->contexts, t->n_contexts + NGRAM_ORDER, &t->contexts_capacity) &&
        array_grow((void **)&t->ngrams, sizeof *t->ngrams, t->n_ngrams + NGRAM_ORDER, &t->ngrams_capacity) &&
        index_grow(&t->context_index, t->contexts, sizeof *t->contexts, t->n_live_contexts + NGRAM_ORDER,
                   t->n_live_contexts) &&
        index_grow(&t->ngram_index, t->ngrams, sizeof *t->ngrams, t->n_live + NGRAM_ORDER, t->n_live))
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_MEMORY, "out of memory: no room for more than %u n-grams", t->n_live);
}

/* ---- life ---- */

aigc_status ngram_open(ngram_table *t, size_t n_most, aigc_error *err)
{
    *t = (ngram_table){.n_most = (uint32_t)n_most};
    if (n_most < LEAST_BOUND || n_most > UINT32_MAX / 4)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the bound on n-grams must be from %d to %u, not %zu", LEAST_BOUND,
                         UINT32_MAX / 4, n_most);
    aigc_status status = reserve(t, err);
    if (status == AIGC_OK)
        ngram_clear(t);
    return status;
}

void ngram_close(ngram_table *t)
{
    free(t->contexts);
    free(t->ngrams);
    free(t->context_index.slots);
    free(t->ngram_index.slots);
    *t = (ngram_table){0};
}

void ngram_clear(ngram_table *t)
{
    memset(t->context_index.slots, 0, ((size_t)t->context_index.mask + 1) * sizeof(uint32_t));
    memset(t->ngram_index.slots, 0, ((size_t)t->ngram_index.mask + 1) * sizeof(uint32_t));
    /* What was counted is overwritten, not only left unused. */
    memset(t->contexts, 0, (size_t)t->contexts_capacity * sizeof *t->contexts);
    memset(t->ngrams, 0, (size_t)t->ngrams_capacity * sizeof *t->ngrams);
    t->n_contexts = t->n_ngrams = 1; /* the root, and the n-gram that stands for none */
    t->n_live = t->n_live_contexts = 0;
    t->free_context = t->free_ngram = 0;
}

/* ---- contexts ---- */

/* The context of token before the parent's tokens, or NGRAM_ROOT if it is not known. */
static uint32_t find_context(const ngram_table *t, uint32_t parent, int32_t token)
{
    const ngram_index *x = &t->context_index;
    uint32_t slot = index_slot(x, t->contexts, sizeof *t->contexts, make_key(parent, token));
    return x->slots[slot] == 0 ? NGRAM_ROOT : x->slots[slot] - 1;
}

static uint32_t need_context(ngram_table *t, uint32_t parent, int32_t token)
{
    uint64_t key = make_key(parent, token);
    uint32_t slot = index_slot(&t->context_index, t->contexts, sizeof *t->contexts, key);
    if (t->context_index.slots[slot] != 0)
        return t->context_index.slots[slot] - 1;
    uint32_t i = t->free_context;
    if (i != 0)
        t->free_context = (uint32_t)t->contexts[i].key;
    else
        i = t->n_contexts++;
    t->contexts[i] = (ngram_context){.key = key};
    t->contexts[parent].longer++;
    t->context_index.slots[slot] = i + 1;
    t->n_live_contexts++;
    return i;
}

/* Frees a context that has become empty, and those above it that were there for it alone. */
static void release_context(ngram_table *t, uint32_t i)
{
    while (i != NGRAM_ROOT && t->contexts[i].types == 0 && t->contexts[i].longer == 0) {
        uint32_t parent = (uint32_t)(t->contexts[i].key >> 32);
        index_remove(&t->context_index, t->contexts, sizeof *t->contexts, t->contexts[i].key);
        t->contexts[i] = (ngram_context){.key = t->free_context};
        t->free_context = i;
        t->contexts[parent].longer--;
        t->n_live_contexts--;
        i = parent;
    }
}

/* The context of tokens[0..NGRAM_ORDER - 1), walking from the newest to the oldest. */
static uint32_t whole_context(ngram_table *t, const int32_t *tokens)
{
    uint32_t context = NGRAM_ROOT;
    for (int i = NGRAM_ORDER - 2; i >= 0; i--)
        context = need_context(t, context, tokens[i]);
    return context;
}

static bool known_context(const ngram_table *t, const int32_t *tokens, uint32_t *context)
{
    *context = NGRAM_ROOT;
    for (int i = NGRAM_ORDER - 2; i >= 0; i--)
        if ((*context = find_context(t, *context, tokens[i])) == NGRAM_ROOT)
            return false;
    return true;
}

/* ---- n-grams ---- */

static uint32_t find_ngram(const ngram_table *t, uint32_t context, int32_t token)
{
    const ngram_index *x = &t->ngram_index;
    uint32_t slot = index_slot(x, t->ngrams, sizeof *t->ngrams, make_key(context, token));
    return x->slots[slot] == 0 ? NGRAM_NONE : x->slots[slot] - 1;
}

static uint32_t new_ngram(ngram_table *t, uint32_t context, int32_t token)
{
    uint64_t key = make_key(context, token);
    ngram_context *c = &t->contexts[context];
    uint32_t i = t->free_ngram;
    if (i != NGRAM_NONE)
        t->free_ngram = (uint32_t)t->ngrams[i].key;
    else
        i = t->n_ngrams++;
    t->ngram_index.slots[index_slot(&t->ngram_index, t->ngrams, sizeof *t->ngrams, key)] = i + 1;
    t->ngrams[i] = (ngram){.key = key, .next = c->first};
    if (c->first != NGRAM_NONE)
        t->ngrams[c->first].previous = i;
    c->first = i;
    c->types++;
    t->n_live++;
    return i;
}

/* Adds an n-gram, and where it is new the next shorter one. */
static void add_in(ngram_table *t, uint32_t context, int32_t token, uint32_t count, uint32_t clock)
{
    for (;;) {
        uint32_t i = find_ngram(t, context, token);
        bool is_new = i == NGRAM_NONE;
        if (is_new)
            i = new_ngram(t, context, token);
        t->ngrams[i].count += count;
        t->ngrams[i].touched = clock;
        t->contexts[context].total += count;
        if (!is_new || context == NGRAM_ROOT)
            return;
        context = (uint32_t)(t->contexts[context].key >> 32);
        count = 1;
        clock = 0; /* only whole n-grams have an age */
    }
}

/* Takes `count` occurrences back, and where none is left one of the next shorter n-gram. */
static void remove_in(ngram_table *t, uint32_t i, uint32_t count)
{
    for (;;) {
        ngram *g = &t->ngrams[i];
        uint32_t context = (uint32_t)(g->key >> 32);
        int32_t token = ngram_token(g);
        ngram_context *c = &t->contexts[context];
        c->total -= count;
        g->count -= count;
        if (g->count > 0)
            return;
        if (g->previous != NGRAM_NONE)
            t->ngrams[g->previous].next = g->next;
        else
            c->first = g->next;
        if (g->next != NGRAM_NONE)
            t->ngrams[g->next].previous = g->previous;
        index_remove(&t->ngram_index, t->ngrams, sizeof *t->ngrams, g->key);
        *g = (ngram){.key = t->free_ngram};
        t->free_ngram = i;
        t->n_live--;
        c->types--;
        uint32_t shorter = (uint32_t)(c->key >> 32);
        bool at_root = context == NGRAM_ROOT;
        release_context(t, context);
        if (at_root)
            return;
        i = find_ngram(t, shorter, token);
        count = 1;
    }
}

static int compare_clocks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Drops the quarter of the whole n-grams that is oldest, and those of the same age. */
static aigc_status evict(ngram_table *t, aigc_error *err)
{
    int32_t tokens[NGRAM_ORDER];
    uint32_t n = 0;
    uint32_t *clocks = aigc_calloc(t->n_ngrams, sizeof *clocks);
    if (clocks == NULL)
        return aigc_fail_memory(err, "the ages of n-grams", t->n_ngrams * sizeof *clocks);
    for (uint32_t i = 1; i < t->n_ngrams; i++)
        if (ngram_whole(t, i, tokens))
            clocks[n++] = t->ngrams[i].touched;
    qsort(clocks, n, sizeof *clocks, compare_clocks);
    uint32_t limit = n > 0 ? clocks[n / 4] : 0;
    free(clocks);
    for (uint32_t i = 1; i < t->n_ngrams; i++)
        if (ngram_whole(t, i, tokens) && t->ngrams[i].touched <= limit)
            ngram_drop(t, i);
    return AIGC_OK;
}

aigc_status ngram_add(ngram_table *t, const int32_t *tokens, uint32_t count, uint32_t clock, aigc_error *err)
{
    aigc_status status = AIGC_OK;
    if (t->n_live + NGRAM_ORDER > t->n_most)
        status = evict(t, err);
    if (status == AIGC_OK)
        status = reserve(t, err);
    if (status != AIGC_OK)
        return status;
    uint32_t context = whole_context(t, tokens);
    /* Sums stay within 32 bits: beyond them a count stops, and what is removed later may be more than there was. */
    if (count > UINT32_MAX - t->contexts[context].total)
        count = UINT32_MAX - t->contexts[context].total;
    if (count > 0)
        add_in(t, context, tokens[NGRAM_ORDER - 1], count, clock);
    else
        release_context(t, context);
    return AIGC_OK;
}

bool ngram_remove(ngram_table *t, const int32_t *tokens)
{
    uint32_t i = ngram_find(t, tokens);
    if (i != NGRAM_NONE)
        remove_in(t, i, 1);
    return i != NGRAM_NONE;
}

void ngram_drop(ngram_table *t, uint32_t i)
{
    remove_in(t, i, t->ngrams[i].count);
}

/* ---- looking ---- */

uint32_t ngram_find(const ngram_table *t, const int32_t *tokens)
{
    uint32_t context;
    return known_context(t, tokens, &context) ? find_ngram(t, context, tokens[NGRAM_ORDER - 1]) : NGRAM_NONE;
}

bool ngram_whole(const ngram_table *t, uint32_t i, int32_t tokens[NGRAM_ORDER])
{
    const ngram *g = &t->ngrams[i];
    uint32_t context = (uint32_t)(g->key >> 32);
    int n = 0;
    if (g->count == 0)
        return false;
    for (; context != NGRAM_ROOT && n < NGRAM_ORDER - 1; context = (uint32_t)(t->contexts[context].key >> 32))
        tokens[n++] = (int32_t)(uint32_t)t->contexts[context].key;
    tokens[NGRAM_ORDER - 1] = ngram_token(g);
    return n == NGRAM_ORDER - 1;
}

int ngram_match(const ngram_table *t, const int32_t *history, size_t n, const ngram_context *contexts[NGRAM_ORDER])
{
    uint32_t context = NGRAM_ROOT;
    int depth = 0;
    contexts[depth++] = &t->contexts[NGRAM_ROOT];
    while (depth < NGRAM_ORDER && (size_t)depth <= n) {
        context = find_context(t, context, history[n - (size_t)depth]);
        if (context == NGRAM_ROOT)
            break;
        contexts[depth++] = &t->contexts[context];
    }
    return depth;
}

uint32_t ngram_count(const ngram_table *t, const ngram_context *context, int32_t token)
{
    return t->ngrams[find_ngram(t, (uint32_t)(context - t->contexts), token)].count;
}
