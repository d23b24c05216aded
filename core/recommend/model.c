/* model.c: see model.h. */
#include "recommend/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "recommend/half.h"
#include "recommend/keys.h"
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

static bool make_coarse(char *out, const model_header *h, int first, const uint16_t *rows, size_t n, size_t d)
{
    return rows == NULL || d == 0 ||
           coarse_make(rows, n, d, (int8_t *)(out + h->sections[first].offset),
                       (float *)(out + h->sections[first + 1].offset), (float *)(out + h->sections[first + 2].offset),
                       (float *)(out + h->sections[first + 3].offset));
}

aigc_status model_write(const model *m, void **image, size_t *size, aigc_error *err)
{
    model copy = *m;
    const model_numbers *n = m->n;
    part parts[SECTIONS];
    model_header h = {.version = MODEL_VERSION, .byte_order = BYTE_ORDER_MARK, .n_sections = SECTIONS};
    uint64_t at = aligned(sizeof h);

    memcpy(h.magic, MAGIC, sizeof MAGIC);
    copy.coarse_factors = copy.coarse_latent = copy.coarse_embedding = (coarse_rows){0};
    list_parts(&copy, parts);
    for (int i = 0; i < SECTIONS; i++) {
        h.sections[i].offset = at;
        h.sections[i].bytes = (uint64_t)parts[i].n * parts[i].unit;
        at = aligned(at + h.sections[i].bytes);
    }
    h.size = at;
    char *out = at <= SIZE_MAX ? aligned_alloc(MODEL_ALIGNMENT, at) : NULL;
    if (out == NULL)
        return aigc_fail_memory(err, "the recommender model", at);
    memcpy(out, &h, sizeof h);
    uint64_t end = sizeof h;
    for (int i = 0; i < SECTIONS; i++) {
        memset(out + end, 0, h.sections[i].offset - end);
        end = h.sections[i].offset + h.sections[i].bytes;
        /* Offsets of what there is none of (no events, no item weights) are zeros. */
        if (h.sections[i].bytes && !*parts[i].pointer)
            memset(out + h.sections[i].offset, 0, h.sections[i].bytes);
        else if (h.sections[i].bytes)
            memcpy(out + h.sections[i].offset, *parts[i].pointer, h.sections[i].bytes);
    }
    memset(out + end, 0, at - end);
    if (!make_coarse(out, &h, SECTION_COARSE_FACTORS, m->factors, n->n_items, n->n_factors) ||
        !make_coarse(out, &h, SECTION_COARSE_LATENT, m->latent, n->n_items, n->n_latent) ||
        !make_coarse(out, &h, SECTION_COARSE_EMBEDDING, m->embedding, n->n_items, n->n_embedding)) {
        free(out);
        return aigc_fail_memory(err, "the recommender model", at);
    }
    *image = out;
    *size = at;
    return AIGC_OK;
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
