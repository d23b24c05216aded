/* mutate.c: see mutate.h. */
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_FIELDS = 20000,  /* of a seed; of a vocabulary's strings only the first matter */
    MAX_ARRAY_FIELDS = 8 /* of one array's items */
};

/* ---- finding the fields ---- */

typedef struct walker {
    seed *s;
    size_t pos;
    bool ok;
} walker;

static void note(walker *w, field_kind kind, size_t size)
{
    if (w->s->n_fields < MAX_FIELDS)
        w->s->fields[w->s->n_fields++] = (field){w->pos, (uint8_t)size, kind};
}

/* Steps over a number, of which *value gets the low 64 bits. */
static uint64_t walk_number(walker *w, field_kind kind, size_t size, bool noted)
{
    uint64_t value = 0;

    if (!w->ok || size > w->s->size - w->pos) {
        w->ok = false;
        return 0;
    }
    if (noted)
        note(w, kind, size);
    memcpy(&value, w->s->data + w->pos, size);
    w->pos += size;
    return value;
}

static void walk_string(walker *w, bool noted)
{
    uint64_t len = walk_number(w, FIELD_LENGTH, 8, noted);

    if (len > w->s->size - w->pos) {
        w->ok = false;
        return;
    }
    if (noted && len > 0)
        note(w, FIELD_TEXT, 1);
    w->pos += len;
}

static void walk_value(walker *w, uint64_t type, bool noted)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    enum { STRING = 8, ARRAY = 9 };

    if (type == STRING)
        walk_string(w, noted);
    else if (type == ARRAY) {
        uint64_t item_type = walk_number(w, FIELD_TYPE, 4, true);
        uint64_t n = walk_number(w, FIELD_COUNT, 8, true);

        for (uint64_t i = 0; w->ok && i < n && item_type != ARRAY; i++)
            walk_value(w, item_type, i < MAX_ARRAY_FIELDS || i + 4 > n);
    } else if (type < sizeof sizes)
        walk_number(w, FIELD_VALUE, sizes[type], noted);
    else
        w->ok = false;
}

static void walk_tensor(walker *w)
{
    uint64_t n_dims;

    walk_string(w, true);
    n_dims = walk_number(w, FIELD_DIMS, 4, true);
    for (uint64_t d = 0; w->ok && d < n_dims && d < 4; d++)
        walk_number(w, FIELD_DIM, 8, true);
    walk_number(w, FIELD_TYPE, 4, true);
    walk_number(w, FIELD_OFFSET, 8, true);
}

bool seed_make(seed *s, const char *name, unsigned char *data, size_t size, unsigned weight)
{
    walker w = {s, 4, true};
    uint64_t n_tensors, n_values;

    *s = (seed){.data = data, .size = size, .weight = weight};
    snprintf(s->name, sizeof s->name, "%s", name);
    s->fields = calloc(MAX_FIELDS, sizeof s->fields[0]);
    if (!s->fields || size < 24)
        return false;
    walk_number(&w, FIELD_VALUE, 4, true); /* the version */
    n_tensors = walk_number(&w, FIELD_COUNT, 8, true);
    n_values = walk_number(&w, FIELD_COUNT, 8, true);
    for (uint64_t i = 0; w.ok && i < n_values; i++) {
        walk_string(&w, true);
        walk_value(&w, walk_number(&w, FIELD_TYPE, 4, true), true);
    }
    for (uint64_t i = 0; w.ok && i < n_tensors; i++)
        walk_tensor(&w);
    s->header_size = w.pos;
    return w.ok;
}

/* ---- damage ---- */

/* A file being damaged. */
typedef struct draft {
    unsigned char *data;
    size_t size;
    const seed *from;
    random_state *r;
} draft;

static uint64_t below(random_state *r, uint64_t n)
{
    return n ? random_u64(r) % n : 0;
}

/* Nine in ten times in the header, and there often near the beginning. */
static size_t some_offset(const draft *d)
{
    size_t header = d->from->header_size < d->size ? d->from->header_size : d->size;
    uint64_t where = below(d->r, 10);

    if (where == 0)
        return below(d->r, d->size);
    return below(d->r, where < 4 && header > 2048 ? 2048 : header);
}

/* A number that is wrong in an interesting way, given the right one. */
static uint64_t wrong_number(random_state *r, uint64_t right)
{
    switch (below(r, 14)) {
    case 0:
        return 0;
    case 1:
        return right + 1;
    case 2:
        return right - 1;
    case 3:
        return right * 2;
    case 4:
        return right / 2;
    case 5:
        return UINT64_MAX - below(r, 64);
    case 6:
        return (uint64_t)1 << below(r, 64);
    case 7:
        return ((uint64_t)1 << below(r, 64)) - 1;
    case 8:
        return right ^ (uint64_t)1 << below(r, 64);
    case 9:
        return right + below(r, 1000);
    case 10:
        return right - below(r, 1000);
    case 11:
        return right << 32 | right;
    case 12:
        return below(r, 300);
    default:
        return random_u64(r);
    }
}

static uint64_t wrong_type(random_state *r)
{
    return below(r, 8) ? below(r, 44) : random_u64(r);
}

static void damage_field(draft *d)
{
    const field *f = &d->from->fields[below(d->r, d->from->n_fields)];
    uint64_t value = 0;

    if (f->offset + f->size > d->size)
        return;
    memcpy(&value, d->data + f->offset, f->size);
    value = f->kind == FIELD_TYPE ? wrong_type(d->r) : wrong_number(d->r, value);
    memcpy(d->data + f->offset, &value, f->size);
}

/* Gives a field the value of another of its kind and size: counts and types that are plausible elsewhere. */
static void swap_fields(draft *d)
{
    const seed *s = d->from;
    const field *a = &s->fields[below(d->r, s->n_fields)];

    for (int tries = 0; tries < 50; tries++) {
        const field *b = &s->fields[below(d->r, s->n_fields)];

        if (b->kind == a->kind && b->size == a->size && a->offset + a->size <= d->size &&
            b->offset + b->size <= s->size) {
            memcpy(d->data + a->offset, s->data + b->offset, a->size);
            return;
        }
    }
}

static void flip_bits(draft *d)
{
    for (uint64_t n = 1 + below(d->r, 8); n > 0 && d->size > 0; n--)
        d->data[some_offset(d)] ^= (unsigned char)(1u << below(d->r, 8));
}

static void set_bytes(draft *d)
{
    static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xc2, 0xe2, 0xff, '<', ' '};

    for (uint64_t n = 1 + below(d->r, 8); n > 0 && d->size > 0; n--)
        d->data[some_offset(d)] = values[below(d->r, sizeof values)];
}

static void random_run(draft *d)
{
    size_t at = some_offset(d), n = 1 + below(d->r, 64);

    for (size_t i = at; i < at + n && i < d->size; i++)
        d->data[i] = (unsigned char)random_u64(d->r);
}

/* Replaces a run by a run of any length of any seed. */
static void splice(draft *d, const seed *seeds, size_t n_seeds)
{
    const seed *other = &seeds[below(d->r, n_seeds)];
    size_t at = some_offset(d), removed = below(d->r, 2) ? below(d->r, 64) : 0;
    size_t from = below(d->r, other->header_size), added = below(d->r, 2) ? below(d->r, 200) : 0;
    unsigned char *data;

    if (removed > d->size - at)
        removed = d->size - at;
    if (added > other->size - from)
        added = other->size - from;
    data = malloc(d->size - removed + added + 1);
    memcpy(data, d->data, at);
    memcpy(data + at, other->data + from, added);
    memcpy(data + at + added, d->data + at + removed, d->size - at - removed);
    free(d->data);
    d->data = data;
    d->size = d->size - removed + added;
}

static void truncate_file(draft *d)
{
    d->size = some_offset(d);
}

/* Nothing of the seed but, perhaps, its first bytes. */
static void random_file(draft *d)
{
    size_t kept = below(d->r, 2) ? below(d->r, 64) : 0, size = below(d->r, 2000);

    if (size < d->size)
        d->size = size;
    for (size_t i = kept; i < d->size; i++)
        d->data[i] = below(d->r, 3) ? (unsigned char)random_u64(d->r) : 0;
}

static void damage_once(draft *d, const seed *seeds, size_t n_seeds)
{
    uint64_t how = below(d->r, 100);

    if (how < 45)
        damage_field(d);
    else if (how < 58)
        flip_bits(d);
    else if (how < 66)
        set_bytes(d);
    else if (how < 74)
        swap_fields(d);
    else if (how < 82)
        splice(d, seeds, n_seeds);
    else if (how < 88)
        random_run(d);
    else if (how < 96)
        truncate_file(d);
    else
        random_file(d);
}

unsigned char *mutate(const seed *seeds, size_t n_seeds, size_t i, random_state *r, size_t *size)
{
    draft d = {malloc(seeds[i].size + 1), seeds[i].size, &seeds[i], r};
    unsigned char *exact;

    if (!d.data)
        return NULL;
    memcpy(d.data, seeds[i].data, d.size);
    for (int n = below(r, 3) ? 1 : 1 + (int)below(r, 5); n > 0; n--)
        damage_once(&d, seeds, n_seeds);
    exact = realloc(d.data, d.size ? d.size : 1); /* no room behind its end: ASan sees the first byte read there */
    *size = d.size;
    return exact ? exact : d.data;
}
