/* catalogue.c: see catalogue.h. The events become pairs in events.c. */
#include "recommend/catalogue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "recommend/words.h"

bool array_reserve(void **array, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return true;
    size_t more = n + n / 2 + 64;
    void *grown = aigc_realloc_array(*array, more, size);
    if (grown == NULL)
        return false;
    *array = grown;
    *capacity = more;
    return true;
}

void catalogue_init(catalogue *c, int n_embedding)
{
    *c = (catalogue){.n_embedding = n_embedding, .last_time = NAN};
}

void catalogue_free_events(catalogue *c)
{
    for (size_t i = 0; i < c->n_chunks; i++)
        free(c->chunks[i]);
    free(c->chunks);
    c->chunks = NULL;
    c->n_chunks = c->chunks_capacity = 0;
}

void catalogue_free(catalogue *c)
{
    key_free(&c->item_keys);
    key_free(&c->user_keys);
    key_free(&c->terms);
    key_free(&c->attributes);
    key_free(&c->values);
    free(c->items);
    free(c->docs);
    free(c->embeddings);
    free(c->attribute_entries);
    free(c->user_described);
    free(c->user_values);
    free(c->item_values);
    catalogue_free_events(c);
}

size_t catalogue_bytes(const catalogue *c)
{
    size_t keys = c->item_keys.bytes_capacity + c->user_keys.bytes_capacity + c->terms.bytes_capacity +
                  16 * ((size_t)c->item_keys.capacity + c->user_keys.capacity + c->terms.capacity);

    return keys + c->items_capacity * sizeof *c->items + c->docs_capacity * sizeof *c->docs +
           c->embeddings_capacity * sizeof *c->embeddings + c->user_values_capacity * sizeof *c->user_values +
           c->item_values_capacity * sizeof *c->item_values + c->n_chunks * EVENT_CHUNK * sizeof **c->chunks;
}

static bool new_item(catalogue *c, uint32_t number)
{
    if (!array_reserve((void **)&c->items, number, &c->items_capacity, sizeof *c->items))
        return false;
    c->items[number] = (catalogue_item){.time = NAN, .latitude = NAN, .longitude = NAN};
    if (c->n_embedding == 0)
        return true;
    size_t n = (size_t)c->n_embedding, end = (number + (size_t)1) * n;
    if (!array_reserve((void **)&c->embeddings, end, &c->embeddings_capacity, sizeof *c->embeddings))
        return false;
    memset(c->embeddings + number * n, 0, n * sizeof *c->embeddings);
    return true;
}

aigc_status catalogue_item_number(catalogue *c, aigc_string key, uint32_t *item, aigc_error *err)
{
    uint32_t before = c->item_keys.n, number = key_add(&c->item_keys, key.data, key.len);

    if (number == KEY_NONE || (number == before && !new_item(c, number)))
        return aigc_fail_memory(err, "an item", key.len + sizeof *c->items);
    *item = number;
    return AIGC_OK;
}

aigc_status catalogue_user_number(catalogue *c, aigc_string key, uint32_t *user, aigc_error *err)
{
    uint32_t before = c->user_keys.n, number = key_add(&c->user_keys, key.data, key.len);

    if (number == KEY_NONE ||
        !array_reserve((void **)&c->user_described, number, &c->users_capacity, sizeof *c->user_described))
        return aigc_fail_memory(err, "a user", key.len + sizeof *c->user_described);
    if (number == before)
        c->user_described[number] = false;
    *user = number;
    return AIGC_OK;
}

/* ---- terms --------------------------------------------------------------------------------------------------- */

typedef struct doc {
    key_table *terms;
    term_count **list;
    size_t *n, *capacity, first;
} doc;

static bool doc_add(doc *d, const char *term, size_t len, float count)
{
    uint32_t number = key_add(d->terms, term, len);

    if (number == KEY_NONE || !array_reserve((void **)d->list, *d->n, d->capacity, sizeof **d->list))
        return false;
    (*d->list)[(*d->n)++] = (term_count){number, count};
    return true;
}

static bool doc_words(doc *d, aigc_string text, float count)
{
    word_reader r = {.text = text.data, .len = text.len};

    while (word_next(&r))
        if (!doc_add(d, r.term, r.term_len, count))
            return false;
    return true;
}

static int by_term(const void *a, const void *b)
{
    uint32_t x = ((const term_count *)a)->term, y = ((const term_count *)b)->term;
    return (x > y) - (x < y);
}

void catalogue_merge_terms(term_count *docs, size_t first, size_t *n)
{
    term_count *t = docs + first;
    size_t len = *n - first, m = 0;

    if (len == 0)
        return;
    qsort(t, len, sizeof *t, by_term);
    for (size_t i = 1; i < len; i++) {
        if (t[i].term == t[m].term)
            t[m].count += t[i].count;
        else
            t[++m] = t[i];
    }
    *n = first + m + 1;
}

static aigc_status check_texts(const aigc_item *item, aigc_error *err)
{
    int shown = item->key.len < 100 ? (int)item->key.len : 100;

    for (size_t i = 0; i < item->n_texts; i++)
        if (!word_is_text(item->texts[i]))
            return aigc_fail(err, AIGC_E_TEXT, "text %zu of item \"%.*s\" is not valid UTF-8", i + 1, shown,
                             item->key.data);
    for (size_t i = 0; i < item->n_tags; i++)
        if (!word_is_text(item->tags[i]))
            return aigc_fail(err, AIGC_E_TEXT, "tag %zu of item \"%.*s\" is not valid UTF-8", i + 1, shown,
                             item->key.data);
    for (size_t i = 0; i < item->n_attributes; i++)
        if (!word_is_text(item->attributes[i].name) ||
            (item->attributes[i].kind == AIGC_VALUE_TEXT && !word_is_text(item->attributes[i].text)))
            return aigc_fail(err, AIGC_E_TEXT, "attribute %zu of item \"%.*s\" is not valid UTF-8", i + 1, shown,
                             item->key.data);
    return AIGC_OK;
}

aigc_status catalogue_item_terms(key_table *terms, const aigc_item *item, term_count **docs, size_t *n,
                                 size_t *capacity, aigc_error *err)
{
    doc d = {.terms = terms, .list = docs, .n = n, .capacity = capacity, .first = *n};
    char term[TERM_MAX_BYTES + 8];
    bool ok = true;
    aigc_status status = check_texts(item, err);

    if (status != AIGC_OK)
        return status;
    for (size_t i = 0; i < item->n_texts && ok; i++)
        ok = doc_words(&d, item->texts[i], TERM_WEIGHT_TEXT);
    for (size_t i = 0; i < item->n_tags && ok; i++) {
        size_t len = word_tag(item->tags[i], term);
        ok = doc_words(&d, item->tags[i], TERM_WEIGHT_TAG_WORD) && (!len || doc_add(&d, term, len, TERM_WEIGHT_TAG));
    }
    for (size_t i = 0; i < item->n_attributes && ok; i++) {
        const aigc_attribute *a = &item->attributes[i];
        size_t len = a->kind == AIGC_VALUE_TEXT ? word_value(a->name, a->text, term) : 0;
        ok = !len || doc_add(&d, term, len, TERM_WEIGHT_VALUE);
    }
    if (!ok) {
        *n = d.first;
        return aigc_fail_memory(err, "the words of an item", *capacity * sizeof **docs);
    }
    catalogue_merge_terms(*docs, d.first, n);
    return AIGC_OK;
}

/* ---- items and users ----------------------------------------------------------------------------------------- */

bool place_is_valid(double latitude, double longitude)
{
    return latitude >= -90 && latitude <= 90 && longitude >= -360 && longitude <= 360;
}

static aigc_status attribute_number(catalogue *c, const aigc_attribute *a, uint32_t *number, aigc_error *err)
{
    uint32_t before = c->attributes.n;

    *number = key_add(&c->attributes, a->name.data, a->name.len);
    if (*number == KEY_NONE ||
        !array_reserve((void **)&c->attribute_entries, *number, &c->attributes_capacity, sizeof *c->attribute_entries))
        return aigc_fail_memory(err, "an attribute", a->name.len);
    if (*number == before)
        c->attribute_entries[*number] = (attribute_entry){.kind = a->kind};
    return AIGC_OK;
}

static bool add_item_value(catalogue *c, uint32_t item, uint32_t attribute, double number)
{
    if (!isfinite((float)number))
        return true;
    if (!array_reserve((void **)&c->item_values, c->n_item_values, &c->item_values_capacity, sizeof *c->item_values))
        return false;
    c->item_values[c->n_item_values++] = (item_value){item, attribute, (float)number};
    return true;
}

static aigc_status item_attributes(catalogue *c, const aigc_item *item, uint32_t place, aigc_error *err)
{
    catalogue_item *entry = &c->items[place];

    for (size_t i = 0; i < item->n_attributes; i++) {
        const aigc_attribute *a = &item->attributes[i];
        uint32_t number;
        aigc_status status = attribute_number(c, a, &number, err);
        if (status != AIGC_OK)
            return status;
        c->attribute_entries[number].of_items = true;
        if (a->kind == AIGC_VALUE_NUMBER && !add_item_value(c, place, number, a->number))
            return aigc_fail_memory(err, "numbers of items", c->n_item_values * sizeof *c->item_values);
        if (a->kind == AIGC_VALUE_POINT && place_is_valid(a->latitude, a->longitude)) {
            entry->latitude = (float)a->latitude;
            entry->longitude = (float)a->longitude;
        }
    }
    return AIGC_OK;
}

static aigc_status check_embedding(const catalogue *c, const aigc_item *item, aigc_error *err)
{
    for (int i = 0; item->embedding && i < c->n_embedding; i++)
        if (!isfinite(item->embedding[i]))
            return aigc_fail(err, AIGC_E_ARGUMENT, "the embedding of item \"%.*s\" has %g at position %d",
                             item->key.len < 100 ? (int)item->key.len : 100, item->key.data, (double)item->embedding[i],
                             i + 1);
    return AIGC_OK;
}

aigc_status catalogue_add_item(catalogue *c, const aigc_item *item, aigc_error *err)
{
    uint32_t number;
    aigc_status status = check_embedding(c, item, err);

    if (status == AIGC_OK)
        status = catalogue_item_number(c, item->key, &number, err);
    if (status != AIGC_OK)
        return status;
    if (c->items[number].described)
        return aigc_fail(err, AIGC_E_ARGUMENT, "item \"%.*s\" is given twice",
                         item->key.len < 100 ? (int)item->key.len : 100, item->key.data);
    size_t first = c->n_docs;
    status = catalogue_item_terms(&c->terms, item, &c->docs, &c->n_docs, &c->docs_capacity, err);
    if (status == AIGC_OK)
        status = item_attributes(c, item, number, err);
    if (status != AIGC_OK)
        return status;
    catalogue_item *entry = &c->items[number];
    entry->described = true;
    entry->doc = first;
    entry->n_doc = (uint32_t)(c->n_docs - first);
    entry->time = isfinite(item->time) ? item->time : NAN;
    if (item->embedding && c->n_embedding)
        memcpy(c->embeddings + number * (size_t)c->n_embedding, item->embedding,
               (size_t)c->n_embedding * sizeof *c->embeddings);
    return AIGC_OK;
}

static aigc_status add_user_value(catalogue *c, uint32_t user, const aigc_attribute *a, aigc_error *err)
{
    char term[TERM_MAX_BYTES + 8];
    user_value v = {.user = user, .value = KEY_NONE, .number = (float)a->number};
    aigc_status status;

    if (!word_is_text(a->name) || (a->kind == AIGC_VALUE_TEXT && !word_is_text(a->text)))
        return aigc_fail(err, AIGC_E_TEXT, "an attribute of user %u is not valid UTF-8", user);
    if ((status = attribute_number(c, a, &v.attribute, err)) != AIGC_OK)
        return status;
    c->attribute_entries[v.attribute].of_users = true;
    if (a->kind == AIGC_VALUE_TEXT) {
        size_t len = word_value(a->name, a->text, term);
        if (len == 0)
            return AIGC_OK;
        if ((v.value = key_add(&c->values, term, len)) == KEY_NONE)
            return aigc_fail_memory(err, "a value of an attribute", len);
    } else if (a->kind == AIGC_VALUE_POINT || !isfinite(a->number)) {
        return AIGC_OK;
    }
    if (!array_reserve((void **)&c->user_values, c->n_user_values, &c->user_values_capacity, sizeof *c->user_values))
        return aigc_fail_memory(err, "attributes of users", c->user_values_capacity * sizeof *c->user_values);
    c->user_values[c->n_user_values++] = v;
    return AIGC_OK;
}

aigc_status catalogue_add_user(catalogue *c, const aigc_user *user, aigc_error *err)
{
    uint32_t number;
    aigc_status status = catalogue_user_number(c, user->key, &number, err);

    if (status != AIGC_OK)
        return status;
    if (c->user_described[number])
        return aigc_fail(err, AIGC_E_ARGUMENT, "user \"%.*s\" is given twice",
                         user->key.len < 100 ? (int)user->key.len : 100, user->key.data);
    c->user_described[number] = true;
    for (size_t i = 0; i < user->n_attributes && status == AIGC_OK; i++)
        status = add_user_value(c, number, &user->attributes[i], err);
    return status;
}
