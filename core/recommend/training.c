/* training.c: what is learned from one set of users, as a model to score with. Part of fit.h. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "recommend/fit.h"
#include "recommend/half.h"

enum { WEIGHTS_PER_ITEM = 1000 }; /* item-to-item weights that a model keeps, on average */
static const float MAP_RIDGE = 5;

void factors_from_latent(const dense_kernels *k, const uint16_t *latent, size_t c, const float *map, size_t d,
                         float *work, uint16_t *out)
{
    memset(work, 0, d * sizeof *work);
    for (size_t j = 0; j < c; j++)
        k->axpy(half_to_float(latent[j]), map + j * d, work, d);
    for (size_t j = 0; j < d; j++)
        out[j] = half_from_float(work[j]);
}

aigc_status training_begin(aigc_fit *fit, training *t, const uint32_t *users, uint32_t n, aigc_error *err)
{
    *t = (training){0};
    t->users = aigc_realloc_array(NULL, n, sizeof *t->users);
    if (t->users == NULL || !pairs_select(&fit->pairs, users, n, &t->by_user) ||
        !pairs_transpose(&t->by_user, &t->by_item)) {
        training_close(t);
        return aigc_fail_memory(err, "pairs of users and items", pairs_bytes(&fit->pairs) * 2);
    }
    memcpy(t->users, users, n * sizeof *users);
    return AIGC_OK;
}

aigc_status training_context(aigc_fit *fit, training *t, aigc_error *err)
{
    return context_make(&t->context, &fit->c, &fit->bands, &t->by_user, t->users, fit->half_life, err);
}

void training_close(training *t)
{
    ease_free(&t->ease);
    factors_free(&t->factors);
    context_free(&t->context);
    rows_free(&t->item_weights);
    free(t->half);
    free(t->gram);
    free(t->latent_factors);
    free(t->users);
    pairs_free(&t->by_user);
    pairs_free(&t->by_item);
    *t = (training){0};
}

size_t training_bytes(const training *t)
{
    return pairs_bytes(&t->by_user) + pairs_bytes(&t->by_item) + t->ease.bytes + t->factors.bytes +
           t->item_weights.n * 6 + (t->half ? (size_t)t->by_item.n_rows * t->factors.d * 2 : 0);
}

aigc_status training_item_weights(aigc_fit *fit, training *t, aigc_error *err)
{
    (void)fit;
    rows_free(&t->item_weights);
    if (ease_rows(&t->ease, (uint64_t)t->ease.n * WEIGHTS_PER_ITEM, &t->item_weights))
        return AIGC_OK;
    return aigc_fail_memory(err, "item-to-item weights", (size_t)t->ease.n * WEIGHTS_PER_ITEM * 6);
}

/*
 * Items that nobody did anything with get the factors that their directions let expect: V = C W, with W by ridge
 * regression over the items that have events (as in Gantner et al., "Learning attribute-to-feature mappings for
 * cold-start recommendations", 2010).
 */
static bool map_directions(const aigc_fit *fit, training *t)
{
    const factors *f = &t->factors;
    const dense_kernels *k = f->k;
    size_t c = fit->content.d, d = f->d;
    uint32_t n = f->by_item->n_rows;
    float *square = aigc_calloc(c * c + c + d, sizeof *square), *x = square + c * c, *column = x + c;

    if (t->latent_factors == NULL)
        t->latent_factors = aigc_calloc(c * d, sizeof *t->latent_factors);
    if (square == NULL || t->latent_factors == NULL) {
        free(square);
        return false;
    }
    memset(t->latent_factors, 0, c * d * sizeof *t->latent_factors);
    for (uint32_t i = 0; i < n; i++) {
        if (f->by_item->start[i + 1] == f->by_item->start[i])
            continue;
        memset(x, 0, c * sizeof *x);
        k->axpy_half(1, fit->content.latent + i * c, x, c);
        for (size_t j = 0; j < c; j++) {
            k->axpy(x[j], x, square + j * c, c);
            k->axpy(x[j], f->items + i * d, t->latent_factors + j * d, d);
        }
    }
    for (size_t j = 0; j < c; j++)
        square[j * c + j] += MAP_RIDGE;
    bool ok = dense_cholesky(k, square, c);
    for (size_t l = 0; l < d && ok; l++) {
        for (size_t j = 0; j < c; j++)
            x[j] = t->latent_factors[j * d + l];
        dense_solve(k, square, c, x);
        for (size_t j = 0; j < c; j++)
            t->latent_factors[j * d + l] = x[j];
    }
    if (!ok)
        memset(t->latent_factors, 0, c * d * sizeof *t->latent_factors);
    for (uint32_t i = 0; i < n; i++)
        if (f->by_item->start[i + 1] == f->by_item->start[i])
            factors_from_latent(k, fit->content.latent + i * c, c, t->latent_factors, d, column, t->half + i * d);
    free(square);
    return true;
}

aigc_status training_factors(aigc_fit *fit, training *t, aigc_error *err)
{
    const factors *f = &t->factors;
    size_t n = f->by_item->n_rows * f->d;

    if (t->half == NULL)
        t->half = aigc_calloc(n, sizeof *t->half);
    if (t->gram == NULL)
        t->gram = aigc_calloc(f->d * f->d, sizeof *t->gram);
    if (t->half == NULL || t->gram == NULL)
        return aigc_fail_memory(err, "factors of items", n * sizeof *t->half);
    for (size_t i = 0; i < n; i++)
        t->half[i] = half_from_float(f->items[i]);
    factors_item_gram(&t->factors, t->gram);
    if (fit->content.d && !map_directions(fit, t))
        return aigc_fail_memory(err, "directions to factors", fit->content.d * (fit->content.d + f->d) * 4);
    t->regularization = f->o.regularization;
    t->unobserved = f->o.unobserved;
    return AIGC_OK;
}

static model_keys keys_of(const key_table *t)
{
    static const uint64_t NOTHING[2];

    return (model_keys){t->bytes, t->n_bytes, t->start ? t->start : NOTHING, t->n, t->slots, t->n_slots};
}

static void set_numbers(const aigc_fit *fit, training *t)
{
    model_numbers *n = &t->numbers;
    const content *c = &fit->content;

    *n = (model_numbers){.n_items = fit->c.item_keys.n, .n_users = fit->c.user_keys.n, .n_terms = fit->c.terms.n};
    n->n_attributes = fit->c.attributes.n;
    n->n_values = fit->bands.values.n;
    n->n_bands = fit->bands.n_lower;
    n->item_slots = fit->c.item_keys.n_slots;
    n->term_slots = fit->c.terms.n_slots;
    n->value_slots = fit->bands.values.n_slots;
    n->n_factors = t->half ? (uint32_t)t->factors.d : 0;
    n->true_factors = t->half ? (uint32_t)t->factors.o.n_factors : 0;
    n->n_latent = (uint32_t)c->d;
    n->true_latent = (uint32_t)c->true_d;
    n->n_embedding = (uint32_t)dense_pad((size_t)fit->c.n_embedding);
    n->true_embedding = (uint32_t)fit->c.n_embedding;
    n->has_times = fit->c.has_times;
    n->n_events = fit->c.n_events;
    n->n_pairs = pairs_n(&t->by_user);
    n->regularization = t->regularization;
    n->unobserved = t->unobserved;
    n->last_time = fit->c.last_time;
    n->half_life = fit->half_life;
    n->mean_count = t->context.mean_count;
    n->mean_recent = t->context.mean_recent;
    n->mean_length = c->mean_length;
    n->median_weight = fit->median_weight;
    n->weights = AIGC_WEIGHTS_PLAIN; /* of pairs, which users set aside are asked for with: scaled already */
    memcpy(n->blend, fit->blend, sizeof n->blend);
    memcpy(n->interest_weight, fit->interest_weight, sizeof n->interest_weight);
    memcpy(n->beside, fit->beside, sizeof n->beside);
    memcpy(n->cold, fit->cold, sizeof n->cold);
}

void training_numbers(aigc_fit *fit, training *t)
{
    model *m = &t->m;

    set_numbers(fit, t);
    *m = (model){.n = &t->numbers};
    m->items = keys_of(&fit->c.item_keys);
    m->terms = keys_of(&fit->c.terms);
    m->attributes = keys_of(&fit->c.attributes);
    m->values = keys_of(&fit->bands.values);
    m->attribute = fit->bands.attributes;
    m->bands = fit->bands.lower;
    m->factors = t->half;
    m->gram = t->gram;
    m->ease = t->item_weights;
    m->docs = fit->content.docs;
    m->postings = fit->content.postings;
    m->idf = fit->content.idf;
    m->latent = fit->content.latent;
    m->term_latent = fit->content.term_latent;
    m->latent_factors = t->latent_factors;
    m->embedding = fit->embedding;
    m->count = t->context.count;
    m->popularity = t->context.popularity;
    m->recent = t->context.recent;
    m->fresh = t->context.fresh;
    m->time = fit->time;
    m->place = fit->place;
    m->people = t->context.people;
}

/* ---- users set aside ----------------------------------------------------------------------------------------- */

void holdout_free(holdout *h)
{
    free(h->users);
    pairs_free(&h->shown);
    pairs_free(&h->hidden);
    *h = (holdout){0};
}

typedef struct place {
    uint64_t at; /* in the pairs */
    uint64_t key;
    float time;
} place;

static int by_key(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

/* Copies pairs of a user, in the order of their items, to the end of row `row`. */
static void put(pairs *to, uint32_t row, const pairs *from, uint64_t at)
{
    uint64_t end = to->start[row + 1]++;

    to->item[end] = from->item[at];
    to->weight[end] = from->weight[at];
    if (to->time)
        to->time[end] = from->time[at];
}

/* The last fifth of the user's pairs (one at least) in a random order, or in that of time, is hidden. */
static bool split(const aigc_fit *fit, holdout *h, uint32_t row, uint64_t repeat, uint64_t stream)
{
    const pairs *p = &fit->pairs;
    uint64_t from = p->start[h->users[row]], n = p->start[h->users[row] + 1] - from, hidden = n / 5 ? n / 5 : 1;
    place *places = aigc_realloc_array(NULL, n, sizeof *places);
    bool *is_hidden = aigc_calloc(n, sizeof *is_hidden);
    random_state r;

    if (places == NULL || is_hidden == NULL) {
        free(places);
        free(is_hidden);
        return false;
    }
    random_seed(&r, fit->o.seed + stream + repeat, 1000 + h->users[row]);
    for (uint64_t i = 0; i < n; i++) {
        bool timed = fit->o.holdout == AIGC_HOLDOUT_TIME && p->time && p->time[from + i] == p->time[from + i];
        places[i] = (place){i, random_u64(&r), timed ? p->time[from + i] : 0};
    }
    qsort(places, n, sizeof *places, by_key);
    for (uint64_t i = n - hidden; i < n; i++)
        is_hidden[places[i].at] = true;
    h->shown.start[row + 1] = h->shown.start[row];
    h->hidden.start[row + 1] = h->hidden.start[row];
    for (uint64_t i = 0; i < n; i++)
        put(is_hidden[i] ? &h->hidden : &h->shown, row, p, from + i);
    free(places);
    free(is_hidden);
    return true;
}

/* n of the users who have enough, at random, moved to the front; returns how many there were. */
static uint32_t draw(const aigc_fit *fit, uint32_t *users, uint32_t n_users, uint32_t n, uint32_t least,
                     uint64_t stream)
{
    random_state r;
    uint32_t enough = 0;

    random_seed(&r, fit->o.seed + stream, 3);
    for (uint32_t i = 0; i < n_users; i++) {
        uint32_t u = users[i];
        if (fit->pairs.start[u + 1] - fit->pairs.start[u] < least)
            continue;
        users[i] = users[enough];
        users[enough++] = u;
    }
    n = n < enough ? n : enough;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t other = i + (uint32_t)(random_u64(&r) % (enough - i)), u = users[i];
        users[i] = users[other];
        users[other] = u;
    }
    return n;
}

aigc_status holdout_make(aigc_fit *fit, holdout *h, uint32_t *users, uint32_t *n_users, uint32_t n, uint32_t least,
                         uint32_t repeats, uint64_t stream, aigc_error *err)
{
    uint64_t most = 0;

    n = draw(fit, users, *n_users, n, least, stream);
    h->n = n * repeats;
    h->users = aigc_realloc_array(NULL, h->n, sizeof *h->users);
    for (uint32_t i = 0; i < n; i++)
        most += fit->pairs.start[users[i] + 1] - fit->pairs.start[users[i]];
    bool timed = fit->pairs.time != NULL, ok = h->users != NULL;
    most *= repeats;
    ok = ok && pairs_alloc(&h->shown, h->n, fit->pairs.n_columns, most, timed);
    ok = ok && pairs_alloc(&h->hidden, h->n, fit->pairs.n_columns, most, timed);
    for (uint32_t i = 0; i < h->n && ok; i++) {
        h->users[i] = users[i % n];
        ok = split(fit, h, i, i / n, stream);
    }
    if (!ok) {
        holdout_free(h);
        return aigc_fail_memory(err, "users set aside", most * 24);
    }
    memmove(users, users + n, (*n_users - n) * sizeof *users);
    *n_users -= n;
    return AIGC_OK;
}
