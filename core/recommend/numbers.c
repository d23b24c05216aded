/* numbers.c: see numbers.h. */
#include "recommend/numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/words.h"

static const float LEAST_SHARE = 0.01f; /* of a term, or it is left out */

number_place number_between(const float *lower, uint32_t n_bands, double number)
{
    uint32_t band = 0;

    while (band + 1 < n_bands && number >= lower[band + 1])
        band++;
    number_place p = {{band, band}, {1, 0}};
    if (band + 1 >= n_bands || number <= lower[band])
        return p;
    float part = (float)((number - lower[band]) / ((double)lower[band + 1] - lower[band]));
    bool second = part > 0.5f;
    p.band[!second] = band + 1;
    p.band[second] = band;
    p.share[!second] = part;
    p.share[second] = 1 - part;
    return p;
}

size_t number_term(aigc_string attribute, uint32_t band, char *out)
{
    char name[32];
    aigc_string text = {name, (size_t)snprintf(name, sizeof name, "band %u", band)};

    return word_value(attribute, text, out);
}

bool number_add_terms(key_table *terms, aigc_string attribute, const float *lower, uint32_t n_bands, double number,
                      term_count **docs, size_t *n, size_t *capacity)
{
    char term[TERM_MAX_BYTES + 8];

    if (n_bands == 0 || !isfinite(number))
        return true;
    number_place p = number_between(lower, n_bands, number);
    for (int i = 0; i < 2; i++) {
        size_t len = p.share[i] > LEAST_SHARE ? number_term(attribute, p.band[i], term) : 0;
        if (len == 0)
            continue;
        uint32_t key = key_add(terms, term, len);
        if (key == KEY_NONE || !array_reserve((void **)docs, *n, capacity, sizeof **docs))
            return false;
        (*docs)[(*n)++] = (term_count){key, TERM_WEIGHT_NUMBER * p.share[i]};
    }
    return true;
}

/* The numbers of each item: rows of places in c->item_values. */
static bool by_item(const catalogue *c, size_t **start_out, size_t **rows_out)
{
    uint32_t n = c->item_keys.n;
    size_t *start = aigc_calloc((size_t)n + 2, sizeof *start);
    size_t *rows = aigc_realloc_array(NULL, c->n_item_values, sizeof *rows);

    *start_out = start;
    *rows_out = rows;
    if (start == NULL || rows == NULL)
        return false;
    for (size_t i = 0; i < c->n_item_values; i++)
        start[c->item_values[i].item + 2]++;
    for (uint32_t i = 0; i < n; i++)
        start[i + 1] += start[i];
    for (size_t i = 0; i < c->n_item_values; i++)
        rows[start[c->item_values[i].item + 1]++] = i;
    return true;
}

/* The document of an item copied to the end of the new ones, with the terms of its numbers. */
static bool extend_doc(catalogue *c, const bands *b, uint32_t item, const size_t *rows, size_t n_rows,
                       term_count **docs, size_t *n, size_t *capacity)
{
    catalogue_item *entry = &c->items[item];
    size_t first = *n;

    for (uint32_t i = 0; i < entry->n_doc; i++) {
        if (!array_reserve((void **)docs, *n, capacity, sizeof **docs))
            return false;
        (*docs)[(*n)++] = c->docs[entry->doc + i];
    }
    for (size_t i = 0; i < n_rows; i++) {
        const item_value *v = &c->item_values[rows[i]];
        const model_attribute *a = &b->attributes[v->attribute];
        if (!number_add_terms(&c->terms, key_at(&c->attributes, v->attribute), b->lower + a->first_band, a->n_bands,
                              v->number, docs, n, capacity))
            return false;
    }
    catalogue_merge_terms(*docs, first, n);
    entry->doc = first;
    entry->n_doc = (uint32_t)(*n - first);
    return true;
}

aigc_status numbers_to_terms(catalogue *c, const bands *b, aigc_error *err)
{
    term_count *docs = NULL;
    size_t n = 0, capacity = 0, *start = NULL, *rows = NULL;

    if (c->n_item_values == 0)
        return AIGC_OK;
    bool ok = by_item(c, &start, &rows);
    for (uint32_t i = 0; i < c->item_keys.n && ok; i++)
        ok = extend_doc(c, b, i, rows + start[i], start[i + 1] - start[i], &docs, &n, &capacity);
    free(start);
    free(rows);
    if (!ok) {
        free(docs);
        return aigc_fail_memory(err, "numbers of items", c->n_docs * sizeof *docs);
    }
    free(c->docs);
    c->docs = docs;
    c->n_docs = n;
    c->docs_capacity = capacity;
    return AIGC_OK;
}
