/* model.c: see model.h. */
#include "recommend/model.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "recommend/half.h"
#include "recommend/keys.h"
#include "recommend/ranges.h"
#include "recommend/words.h"

static const char MAGIC[8] = "AIGCREC";
enum { BYTE_ORDER_MARK = 0x01020304 };

/* The sections, in the order in which they stand in an image. */
typedef enum section {
    SECTION_NUMBERS,
    SECTION_ITEM_BYTES,
    SECTION_ITEM_START,
    SECTION_ITEM_SLOTS,
    SECTION_TERM_BYTES,
    SECTION_TERM_START,
    SECTION_TERM_SLOTS,
    SECTION_ATTRIBUTE_BYTES,
    SECTION_ATTRIBUTE_START,
    SECTION_ATTRIBUTES,
    SECTION_BANDS,
    SECTION_VALUE_BYTES,
    SECTION_VALUE_START,
    SECTION_VALUE_SLOTS,
    SECTION_FACTORS,
    SECTION_GRAM,
    SECTION_EASE_START,
    SECTION_EASE_INDEX,
    SECTION_EASE_WEIGHT,
    SECTION_DOC_START,
    SECTION_DOC_INDEX,
    SECTION_DOC_WEIGHT,
    SECTION_POSTING_START,
    SECTION_POSTING_INDEX,
    SECTION_POSTING_WEIGHT,
    SECTION_IDF,
    SECTION_LATENT,
    SECTION_TERM_LATENT,
    SECTION_LATENT_FACTORS,
    SECTION_EMBEDDING,
    SECTION_COUNT,
    SECTION_POPULARITY,
    SECTION_RECENT,
    SECTION_FRESH,
    SECTION_TIME,
    SECTION_PLACE,
    SECTION_PEOPLE_START,
    SECTION_PEOPLE_INDEX,
    SECTION_PEOPLE_WEIGHT,
    SECTION_COARSE_FACTORS, /* each followed by its scales, errors and lengths */
    SECTION_COARSE_LATENT = SECTION_COARSE_FACTORS + 4,
    SECTION_COARSE_EMBEDDING = SECTION_COARSE_LATENT + 4,
    SECTIONS = SECTION_COARSE_EMBEDDING + 4
} section;

typedef struct model_header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t size;
    uint32_t n_sections, reserved;
    struct {
        uint64_t offset, bytes;
    } sections[SECTIONS];
} model_header;

/* One section: where the model points at it, and how many bytes the counts ask for; `open` marks those whose size is
 * their own affair, as long as it is a multiple of `unit`. */
typedef struct part {
    const void **pointer;
    size_t n, unit;
    bool open;
    uint64_t *n_open;
} part;

int blend_of(size_t n_events)
{
    return n_events == 0 ? 0 : n_events < 3 ? 1 : n_events < 10 ? 2 : n_events < 30 ? 3 : 4;
}

static void rows_parts(part *p, model_rows *rows, uint32_t n_rows)
{
    rows->n_rows = n_rows;
    p[0] = (part){(const void **)&rows->start, (size_t)n_rows + 1, sizeof *rows->start, false, NULL};
    p[1] = (part){(const void **)&rows->index, rows->n, sizeof *rows->index, true, &rows->n};
    p[2] = (part){(const void **)&rows->weight, rows->n, sizeof *rows->weight, false, &rows->n};
}

static void keys_parts(part *p, model_keys *keys, uint32_t n, uint32_t n_slots)
{
    keys->n = n;
    keys->n_slots = n_slots;
    p[0] = (part){(const void **)&keys->bytes, keys->n_bytes, 1, true, &keys->n_bytes};
    p[1] = (part){(const void **)&keys->start, (size_t)n + 1, sizeof *keys->start, false, NULL};
    p[2] = (part){(const void **)&keys->slots, n_slots, sizeof *keys->slots, false, NULL};
}

static void coarse_parts(part *p, coarse_rows *coarse, size_t n, size_t d)
{
    n = d ? n : 0;
    p[0] = (part){(const void **)&coarse->rows, n * coarse_width(d), sizeof *coarse->rows, false, NULL};
    p[1] = (part){(const void **)&coarse->scale, n, sizeof *coarse->scale, false, NULL};
    p[2] = (part){(const void **)&coarse->error, n, sizeof *coarse->error, false, NULL};
    p[3] = (part){(const void **)&coarse->length, n, sizeof *coarse->length, false, NULL};
}

/* All sections of a model whose numbers are known. */
static void list_parts(model *m, part p[SECTIONS])
{
    const model_numbers *n = m->n;
    size_t items = n->n_items, terms = n->n_terms;
    part attributes[3];

    p[SECTION_NUMBERS] = (part){(const void **)&m->n, 1, sizeof *m->n, false, NULL};
    keys_parts(p + SECTION_ITEM_BYTES, &m->items, n->n_items, n->item_slots);
    keys_parts(p + SECTION_TERM_BYTES, &m->terms, n->n_terms, n->term_slots);
    keys_parts(attributes, &m->attributes, n->n_attributes, 0);
    memcpy(p + SECTION_ATTRIBUTE_BYTES, attributes, 2 * sizeof *attributes); /* few: looked for one after the other */
    p[SECTION_ATTRIBUTES] = (part){(const void **)&m->attribute, n->n_attributes, sizeof *m->attribute, false, NULL};
    p[SECTION_BANDS] = (part){(const void **)&m->bands, n->n_bands, sizeof *m->bands, false, NULL};
    keys_parts(p + SECTION_VALUE_BYTES, &m->values, n->n_values, n->value_slots);
    p[SECTION_FACTORS] = (part){(const void **)&m->factors, items * n->n_factors, sizeof *m->factors, false, NULL};
    p[SECTION_GRAM] =
        (part){(const void **)&m->gram, (size_t)n->n_factors * n->n_factors, sizeof *m->gram, false, NULL};
    rows_parts(p + SECTION_EASE_START, &m->ease, n->n_items);
    rows_parts(p + SECTION_DOC_START, &m->docs, n->n_items);
    rows_parts(p + SECTION_POSTING_START, &m->postings, n->n_terms);
    p[SECTION_IDF] = (part){(const void **)&m->idf, terms, sizeof *m->idf, false, NULL};
    p[SECTION_LATENT] = (part){(const void **)&m->latent, items * n->n_latent, sizeof *m->latent, false, NULL};
    p[SECTION_TERM_LATENT] =
        (part){(const void **)&m->term_latent, terms * n->n_latent, sizeof *m->term_latent, false, NULL};
    p[SECTION_LATENT_FACTORS] = (part){(const void **)&m->latent_factors, (size_t)n->n_latent * n->n_factors,
                                       sizeof *m->latent_factors, false, NULL};
    p[SECTION_EMBEDDING] =
        (part){(const void **)&m->embedding, items * n->n_embedding, sizeof *m->embedding, false, NULL};
    p[SECTION_COUNT] = (part){(const void **)&m->count, items, sizeof *m->count, false, NULL};
    p[SECTION_POPULARITY] = (part){(const void **)&m->popularity, items, sizeof *m->popularity, false, NULL};
    p[SECTION_RECENT] = (part){(const void **)&m->recent, items, sizeof *m->recent, false, NULL};
    p[SECTION_FRESH] = (part){(const void **)&m->fresh, items, sizeof *m->fresh, false, NULL};
    p[SECTION_TIME] = (part){(const void **)&m->time, items, sizeof *m->time, false, NULL};
    p[SECTION_PLACE] = (part){(const void **)&m->place, 2 * items, sizeof *m->place, false, NULL};
    rows_parts(p + SECTION_PEOPLE_START, &m->people, n->n_values);
    coarse_parts(p + SECTION_COARSE_FACTORS, &m->coarse_factors, items, n->n_factors);
    coarse_parts(p + SECTION_COARSE_LATENT, &m->coarse_latent, items, n->n_latent);
    coarse_parts(p + SECTION_COARSE_EMBEDDING, &m->coarse_embedding, items, n->n_embedding);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static aigc_status check_header(const model_header *h, size_t size, aigc_error *err)
{
    if (size < sizeof *h || memcmp(h->magic, MAGIC, sizeof MAGIC) != 0)
        return aigc_fail(err, AIGC_E_FORMAT, "these %zu bytes are no recommender model", size);
    if (h->version != MODEL_VERSION || h->byte_order != BYTE_ORDER_MARK)
        return aigc_fail(err, AIGC_E_UNSUPPORTED,
                         "the recommender model has version %u and byte order %08x, this library reads %d and %08x",
                         h->version, h->byte_order, MODEL_VERSION, BYTE_ORDER_MARK);
    if (h->size != size || h->n_sections != SECTIONS || size % MODEL_ALIGNMENT)
        return aigc_fail(err, AIGC_E_FORMAT,
                         "the recommender model should have %llu bytes in %u sections, but there are %zu in %d",
                         (unsigned long long)h->size, h->n_sections, size, SECTIONS);
    for (int i = 0; i < SECTIONS; i++)
        if (h->sections[i].offset % MODEL_ALIGNMENT || h->sections[i].offset > size ||
            h->sections[i].bytes > size - h->sections[i].offset)
            return aigc_fail(err, AIGC_E_FORMAT, "section %d of the recommender model lies outside it", i);
    return AIGC_OK;
}

static bool is_slots(uint32_t n, uint32_t keys)
{
    return (n & (n - 1)) == 0 && (keys == 0 || n > keys);
}

/* Numbers that sizes are computed from, or that rule loops. */
static aigc_status check_numbers(const model_numbers *n, aigc_error *err)
{
    if (n->n_items >= AIGC_NO_ITEM || n->n_terms >= AIGC_NO_ITEM || n->n_values >= AIGC_NO_ITEM ||
        n->n_attributes > 100000 || n->n_factors > 2 * AIGC_MAX_FACTORS || n->n_latent > 2 * AIGC_MAX_FACTORS ||
        n->n_embedding > 1 << 20 || n->n_factors % 16 || n->n_latent % 16 || n->n_embedding % 16 ||
        n->true_factors > n->n_factors || n->true_latent > n->n_latent || n->true_embedding > n->n_embedding ||
        n->n_new_items > n->n_items)
        return aigc_fail(err, AIGC_E_FORMAT, "the recommender model has numbers out of range");
    if (!is_slots(n->item_slots, n->n_items) || !is_slots(n->term_slots, n->n_terms) ||
        !is_slots(n->value_slots, n->n_values))
        return aigc_fail(err, AIGC_E_FORMAT, "a key table of the recommender model has no power of two of slots");
    return AIGC_OK;
}

aigc_status model_open(const void *image, size_t size, model *m, aigc_error *err)
{
    const model_header *h = image;
    part parts[SECTIONS];

    if ((uintptr_t)image % MODEL_ALIGNMENT)
        return aigc_fail(err, AIGC_E_ARGUMENT, "the recommender model does not begin at a multiple of %d bytes",
                         MODEL_ALIGNMENT);
    aigc_status status = check_header(h, size, err);
    if (status != AIGC_OK)
        return status;
    if (h->sections[SECTION_NUMBERS].bytes != sizeof(model_numbers))
        return aigc_fail(err, AIGC_E_FORMAT, "the recommender model's numbers have %llu bytes, not %zu",
                         (unsigned long long)h->sections[SECTION_NUMBERS].bytes, sizeof(model_numbers));
    *m = (model){.n = (const void *)((const char *)image + h->sections[SECTION_NUMBERS].offset), .bytes = size};
    if ((status = check_numbers(m->n, err)) != AIGC_OK)
        return status;
    list_parts(m, parts);
    for (int i = 0; i < SECTIONS; i++) {
        part *p = &parts[i];
        uint64_t bytes = h->sections[i].bytes, want;
        *p->pointer = (const char *)image + h->sections[i].offset;
        if (p->open)
            *p->n_open = bytes / p->unit;
        want = (p->n_open ? *p->n_open : p->n) * p->unit;
        if (bytes != want)
            return aigc_fail(err, AIGC_E_FORMAT, "section %d of the recommender model has %llu bytes, not %llu", i,
                             (unsigned long long)bytes, (unsigned long long)want);
    }
    return AIGC_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t n)
{
    return (n + MODEL_ALIGNMENT - 1) / MODEL_ALIGNMENT * MODEL_ALIGNMENT;
}

enum { COPY_BYTES = 1 << 20, COPIES_PER_STEP = 32, COARSE_TOGETHER = 4096, COARSE_PER_STEP = 200000 };

/* An image being written: sections one after the other, then what is computed of them. */
struct model_writer {
    model_header h;
    part parts[SECTIONS];
    const void *source[SECTIONS];
    uint32_t n_items;
    coarse_rows coarse[3];   /* in the image */
    const uint16_t *rows[3]; /* of what, [n_items][d] */
    size_t d[3];
    char *out;
    int section;   /* SECTIONS and more: the coarse rows */
    uint32_t next; /* piece of the section, or row */
    _Atomic bool failed;
};

static aigc_status open_image(struct model_writer *w, aigc_error *err)
{
    uint64_t at = aligned(sizeof w->h);

    memcpy(w->h.magic, MAGIC, sizeof MAGIC);
    for (int i = 0; i < SECTIONS; i++) {
        w->h.sections[i].offset = at;
        w->h.sections[i].bytes = (uint64_t)w->parts[i].n * w->parts[i].unit;
        at = aligned(at + w->h.sections[i].bytes);
    }
    w->h.size = at;
    w->out = at <= SIZE_MAX ? aligned_alloc(MODEL_ALIGNMENT, at) : NULL;
    if (w->out == NULL)
        return aigc_fail_memory(err, "the recommender model", at);
    memcpy(w->out, &w->h, sizeof w->h);
    memset(w->out + sizeof w->h, 0, w->h.sections[0].offset - sizeof w->h);
    return AIGC_OK;
}

/* The arrays of a coarse copy, where they stand in the image. */
static void place_coarse(struct model_writer *w, int i, section first, const uint16_t *rows, size_t d)
{
    char *at[4];

    for (int j = 0; j < 4; j++)
        at[j] = w->out + w->h.sections[(int)first + j].offset;
    w->coarse[i] = (coarse_rows){(int8_t *)at[0], (float *)at[1], (float *)at[2], (float *)at[3]};
    w->rows[i] = rows;
    w->d[i] = rows ? d : 0;
}

aigc_status model_writer_open(const model *m, struct model_writer **writer, aigc_error *err)
{
    struct model_writer *w = aigc_calloc(1, sizeof *w);
    model copy = *m;

    if (w == NULL)
        return aigc_fail_memory(err, "the recommender model", sizeof *w);
    w->h = (model_header){.version = MODEL_VERSION, .byte_order = BYTE_ORDER_MARK, .n_sections = SECTIONS};
    copy.coarse_factors = copy.coarse_latent = copy.coarse_embedding = (coarse_rows){0};
    list_parts(&copy, w->parts);
    for (int i = 0; i < SECTIONS; i++)
        w->source[i] = *w->parts[i].pointer;
    aigc_status status = open_image(w, err);
    if (status != AIGC_OK) {
        free(w);
        return status;
    }
    place_coarse(w, 0, SECTION_COARSE_FACTORS, m->factors, m->n->n_factors);
    place_coarse(w, 1, SECTION_COARSE_LATENT, m->latent, m->n->n_latent);
    place_coarse(w, 2, SECTION_COARSE_EMBEDDING, m->embedding, m->n->n_embedding);
    w->n_items = m->n->n_items;
    *writer = w;
    return AIGC_OK;
}

/* Pieces of a section; offsets of what there is none of (no events, no item weights) are zeros. */
static void copy_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const struct model_writer *w = context;
    uint64_t from = (uint64_t)begin * COPY_BYTES, to = (uint64_t)end * COPY_BYTES;
    uint64_t bytes = w->h.sections[w->section].bytes;
    char *out = w->out + w->h.sections[w->section].offset;

    (void)thread;
    to = to < bytes ? to : bytes;
    if (w->source[w->section])
        memcpy(out + from, (const char *)w->source[w->section] + from, to - from);
    else
        memset(out + from, 0, to - from);
}

static void coarse_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    struct model_writer *w = context;
    int i = w->section - SECTIONS;
    const coarse_rows *c = &w->coarse[i];
    size_t d = w->d[i];

    (void)thread;
    if (!coarse_make(w->rows[i] + begin * d, end - begin, d, (int8_t *)(uintptr_t)c->rows + begin * coarse_width(d),
                     (float *)(uintptr_t)c->scale + begin, (float *)(uintptr_t)c->error + begin,
                     (float *)(uintptr_t)c->length + begin))
        w->failed = true;
}

static void end_section(struct model_writer *w)
{
    uint64_t end = w->h.sections[w->section].offset + w->h.sections[w->section].bytes;
    uint64_t next = w->section + 1 < SECTIONS ? w->h.sections[w->section + 1].offset : w->h.size;

    memset(w->out + end, 0, next - end);
}

/* Some of a section, or whole ones if they are short. */
static void copy_some(struct model_writer *w, thread_pool *pool)
{
    for (uint32_t left = COPIES_PER_STEP; left > 0 && w->section < SECTIONS;) {
        uint32_t n = (uint32_t)((w->h.sections[w->section].bytes + COPY_BYTES - 1) / COPY_BYTES);
        uint32_t end = range_end(w->next, n, left);
        ranges_run(pool, w->next, end, 1, copy_work, w);
        left -= end - w->next;
        w->next = end;
        if (end < n)
            return;
        end_section(w);
        w->next = 0;
        w->section++;
    }
}

aigc_status model_writer_step(struct model_writer *w, thread_pool *pool, bool *done, aigc_error *err)
{
    if (w->section < SECTIONS) {
        copy_some(w, pool);
    } else if (w->section < SECTIONS + 3) {
        uint32_t n = w->d[w->section - SECTIONS] ? w->n_items : 0, end = range_end(w->next, n, COARSE_PER_STEP);
        ranges_run(pool, w->next, end, COARSE_TOGETHER, coarse_work, w);
        w->next = end == n ? 0 : end;
        w->section += end == n;
    }
    *done = w->section == SECTIONS + 3;
    return w->failed ? aigc_fail_memory(err, "the recommender model", w->h.size) : AIGC_OK;
}

void model_writer_close(struct model_writer *w, void **image, size_t *size)
{
    if (w == NULL)
        return;
    if (image) {
        *image = w->out;
        *size = w->h.size;
    } else {
        free(w->out);
    }
    free(w);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

uint32_t model_find(const model_keys *keys, const char *data, size_t len)
{
    return key_find_in(keys->bytes, keys->n_bytes, keys->start, keys->n, keys->slots, keys->n_slots, data, len);
}

bool model_key(const model_keys *keys, uint32_t i, aigc_string *key)
{
    if (i >= keys->n)
        return false;
    uint64_t begin = keys->start[i], end = keys->start[i + 1];
    if (begin > end || end > keys->n_bytes)
        return false;
    *key = (aigc_string){keys->bytes + begin, end - begin};
    return true;
}

float model_weight(const model_rows *rows, uint32_t row, uint32_t wanted)
{
    const uint32_t *index;
    const uint16_t *weight;
    uint64_t n = model_row(rows, row, &index, &weight), low = 0, high = n;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (index[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && index[low] == wanted ? half_to_float(weight[low]) : 0;
}

static const model_attribute *find_attribute(const model *m, aigc_string name)
{
    aigc_string key;

    for (uint32_t i = 0; i < m->n->n_attributes; i++)
        if (model_key(&m->attributes, i, &key) && key.len == name.len && memcmp(key.data, name.data, key.len) == 0)
            return &m->attribute[i];
    return NULL;
}

uint32_t model_bands(const model *m, aigc_string attribute, const float **lower)
{
    const model_attribute *entry = find_attribute(m, attribute);

    if (entry == NULL || entry->n_bands > m->n->n_bands || entry->first_band > m->n->n_bands - entry->n_bands)
        return 0;
    *lower = m->bands + entry->first_band;
    return entry->n_bands;
}

uint32_t model_value(const model *m, const aigc_attribute *a)
{
    char term[TERM_MAX_BYTES + 8], number[32];
    aigc_attribute banded = *a;

    if (a->kind == AIGC_VALUE_POINT || !word_is_text(a->name))
        return KEY_NONE;
    if (a->kind == AIGC_VALUE_NUMBER) {
        const float *lower;
        uint32_t band = 0, n = model_bands(m, a->name, &lower);
        if (n == 0 || !isfinite(a->number))
            return KEY_NONE;
        while (band + 1 < n && a->number >= lower[band + 1])
            band++;
        banded.text.data = number;
        banded.text.len = (size_t)snprintf(number, sizeof number, "band %u", band);
    } else if (!word_is_text(a->text)) {
        return KEY_NONE;
    }
    size_t len = word_value(a->name, banded.text, term);
    return len ? model_find(&m->values, term, len) : KEY_NONE;
}
