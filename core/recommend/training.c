/* training.c: what is learned from one set of users, as a model to score with. Part of fit.h. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "recommend/fit.h"
#include "recommend/half.h"
#include "recommend/ranges.h"

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
    if (t->users == NULL || !pairs_select_begin(&fit->pairs, users, n, &t->by_user)) {
        training_close(t);
        return aigc_fail_memory(err, "pairs of users and items", pairs_bytes(&fit->pairs));
    }
    memcpy(t->users, users, n * sizeof *users);
    return AIGC_OK;
}

enum { SELECT, OPEN_EXCHANGE, EXCHANGE, OPEN_COUNTS, COUNT, PAIRS_PER_STEP = 250000 };

static aigc_status open_exchange(training *t, aigc_error *err)
{
    return pairs_transpose_begin(&t->by_user, &t->by_item)
               ? AIGC_OK
               : aigc_fail_memory(err, "pairs of items and users", pairs_bytes(&t->by_user));
}

static aigc_status open_counts(aigc_fit *fit, training *t, aigc_error *err)
{
    pairs_transpose_end(&t->by_item);
    return context_begin(&t->context, &fit->c, &fit->bands, &t->by_user, t->users, fit->half_life, fit->pool)
               ? AIGC_OK
               : aigc_fail_memory(err, "counts of items", (size_t)fit->c.item_keys.n * 6 * sizeof(float));
}

aigc_status training_step(aigc_fit *fit, training *t, bool *done, aigc_error *err)
{
    uint32_t end = pairs_rows(&t->by_user, t->next, PAIRS_PER_STEP), n = t->by_user.n_rows;

    *done = false;
    switch (t->stage) {
    case SELECT:
        pairs_select_rows(&fit->pairs, t->users, t->next, end, &t->by_user);
        break;
    case OPEN_EXCHANGE:
        t->stage++;
        return open_exchange(t, err);
    case EXCHANGE:
        pairs_transpose_rows(&t->by_user, t->next, end, &t->by_item);
        break;
    case OPEN_COUNTS:
        t->stage++;
        return open_counts(fit, t, err);
    default:
        return context_step(&t->context, done, err);
    }
    t->next = end < n ? end : 0;
    t->stage += end == n;
    return AIGC_OK;
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
struct finisher {
    const aigc_fit *fit;
    training *t;
    int stage;
    uint32_t next; /* item of the stage */
    uint32_t end;  /* of the step, when threads share the directions */
    float *square; /* [c][c] C'C, above the [c][d] of C'V, which are t->latent_factors */
    float *work;   /* [threads][c + d] */
};

enum { HALVES, PRODUCTS, MAP, REST, DONE, ITEMS_PER_STEP = 200000, ITEMS_TOGETHER = 1024, DIRECTIONS_TOGETHER = 4 };

static bool has_events(const struct finisher *x, uint32_t i)
{
    return x->t->by_item.start[i + 1] > x->t->by_item.start[i];
}

static float *work_of(const struct finisher *x, int thread)
{
    return x->work + (size_t)thread * (x->fit->content.d + x->t->factors.d);
}

static void halves_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const training *t = ((const struct finisher *)context)->t;

    (void)thread;
    for (size_t i = begin * t->factors.d; i < end * t->factors.d; i++)
        t->half[i] = half_from_float(t->factors.items[i]);
}

/* Rows [begin, end) of C'C and C'V, over some items. */
static void products_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const struct finisher *x = context;
    const factors *f = &x->t->factors;
    size_t c = x->fit->content.d, d = f->d;
    float *directions = work_of(x, thread);

    for (uint32_t i = x->next; i < x->end; i++) {
        if (!has_events(x, i))
            continue;
        memset(directions, 0, c * sizeof *directions);
        f->k->axpy_half(1, x->fit->content.latent + i * c, directions, c);
        for (size_t j = begin; j < end; j++) {
            f->k->axpy(directions[j], directions, x->square + j * c, c);
            f->k->axpy(directions[j], f->items + i * d, x->t->latent_factors + j * d, d);
        }
    }
}

/* W into t->latent_factors; zeros if there is none. */
static void solve_map(const struct finisher *x)
{
    const dense_kernels *k = x->t->factors.k;
    size_t c = x->fit->content.d, d = x->t->factors.d;
    float *map = x->t->latent_factors, *column = work_of(x, 0);

    for (size_t j = 0; j < c; j++)
        x->square[j * c + j] += MAP_RIDGE;
    if (!dense_cholesky(k, x->square, c)) {
        memset(map, 0, c * d * sizeof *map);
        return;
    }
    for (size_t l = 0; l < d; l++) {
        for (size_t j = 0; j < c; j++)
            column[j] = map[j * d + l];
        dense_solve(k, x->square, c, column);
        for (size_t j = 0; j < c; j++)
            map[j * d + l] = column[j];
    }
}

static void rest_work(void *context, uint32_t begin, uint32_t end, int thread)
{
    const struct finisher *x = context;
    size_t c = x->fit->content.d, d = x->t->factors.d;

    for (uint32_t i = begin; i < end; i++)
        if (!has_events(x, i))
            factors_from_latent(x->t->factors.k, x->fit->content.latent + i * c, c, x->t->latent_factors, d,
                                work_of(x, thread), x->t->half + i * d);
}

static void finish_some(struct finisher *x)
{
    thread_pool *pool = x->fit->pool;
    uint32_t n = x->t->by_item.n_rows;

    x->end = range_end(x->next, n, ITEMS_PER_STEP);
    if (x->stage == HALVES)
        ranges_run(pool, x->next, x->end, ITEMS_TOGETHER, halves_work, x);
    else if (x->stage == PRODUCTS)
        ranges_run(pool, 0, (uint32_t)x->fit->content.d, DIRECTIONS_TOGETHER, products_work, x);
    else if (x->stage == REST)
        ranges_run(pool, x->next, x->end, ITEMS_TOGETHER, rest_work, x);
    else
        solve_map(x);
    x->next = x->stage == MAP ? n : x->end;
    if (x->next < n)
        return;
    x->next = 0;
    x->stage = x->fit->content.d ? x->stage + 1 : DONE;
}

static bool open_finisher(aigc_fit *fit, training *t)
{
    size_t c = fit->content.d, d = t->factors.d, n = t->by_item.n_rows * d;
    struct finisher *x = t->finisher = aigc_calloc(1, sizeof *x);

    if (x == NULL)
        return false;
    *x = (struct finisher){.fit = fit, .t = t};
    x->square = aigc_calloc(c * c, sizeof *x->square);
    x->work = aigc_calloc((size_t)thread_pool_size(fit->pool), (c + d) * sizeof *x->work);
    if (t->half == NULL)
        t->half = aigc_calloc(n, sizeof *t->half);
    if (t->gram == NULL)
        t->gram = aigc_calloc(d * d, sizeof *t->gram);
    free(t->latent_factors);
    t->latent_factors = c ? aigc_calloc(c * d, sizeof *t->latent_factors) : NULL;
    return x->square && x->work && t->half && t->gram && (t->latent_factors || c == 0);
}

static void close_finisher(training *t)
{
    if (t->finisher) {
        free(t->finisher->square);
        free(t->finisher->work);
    }
    free(t->finisher);
    t->finisher = NULL;
}

aigc_status training_factors(aigc_fit *fit, training *t, bool *done, aigc_error *err)
{
    size_t c = fit->content.d, d = t->factors.d;

    *done = false;
    if (t->finisher == NULL && !open_finisher(fit, t))
        return aigc_fail_memory(err, "factors of items", t->by_item.n_rows * d * 2 + c * (c + d) * 4);
    if (t->finisher->stage != DONE) {
        finish_some(t->finisher);
        return AIGC_OK;
    }
    *done = factors_item_gram(&t->factors, t->gram);
    if (!*done)
        return AIGC_OK;
    close_finisher(t);
    t->regularization = t->factors.o.regularization;
    t->unobserved = t->factors.o.unobserved;
    return AIGC_OK;
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
    close_finisher(t);
    free(t->users);
    pairs_free(&t->by_user);
    pairs_free(&t->by_item);
    *t = (training){0};
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
