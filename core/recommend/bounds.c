/* bounds.c: see bounds.h. */
#include "recommend/bounds.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "recommend/heap.h"

enum {
    GROUP = 32, /* items that are looked at together */
    BLOCK = 512 /* items whose numbers stay in the first cache while all parts of them are added up */
};

static const bound_kernels *table_of(cpu_level level)
{
#ifdef __x86_64__
    if (level == CPU_AVX512)
        return &bound_avx512;
    if (level == CPU_AVX2)
        return &bound_avx2;
#endif
    return level == CPU_GENERIC ? &bound_generic : NULL;
}

const bound_kernels *bound_for(cpu_level level)
{
    return cpu_supports(level) ? table_of(level) : NULL;
}

/* Asks the processor once: in a virtual machine that takes microseconds. */
const bound_kernels *bound_best(void)
{
    return table_of(cpu_best_level());
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

/*
 * Rounds the query, so finely that sums of its products with bytes just fit 32 bits. An item's product differs from
 * what the whole numbers say by no more than
 *     error * |q|                               the rows' rounding, by Cauchy and Schwarz
 *     scale * 127 * sum |q - rounded q|         the query's
 *     scale * 127 sqrt(d) |q| * a few 2^-24     that of the sums, the exact one's included: d / 16 additions in a lane
 */
static void round_query(bound_part *part)
{
    size_t d = part->d;
    double most = 0, square = 0, lost = 0, whole = fmin(32767, 0x1p31 / (128.0 * (double)coarse_width(d)));

    for (size_t i = 0; i < d; i++) {
        most = fmax(most, fabs((double)part->vector[i]));
        square += (double)part->vector[i] * part->vector[i];
    }
    float step = (float)(most / floor(whole));
    for (size_t i = 0; i < d && step > 0; i++) {
        part->query[i] = (int16_t)fmax(-floor(whole), fmin(floor(whole), rint((double)part->vector[i] / step)));
        lost += fabs(part->vector[i] - (double)step * part->query[i]);
    }
    double length = sqrt(square), rounding = ((double)d / 16 + 16) * 0x1p-23;
    part->terms.weight = part->weight;
    part->terms.step = step;
    part->terms.length = (float)(1.0001 * length);
    part->terms.slack = (float)(127.0001 * (lost + sqrt((double)d) * length * rounding));
}

/* A product of all rows with a vector, unless that is nothing. False if memory is out. A vector that is not finite
 * gives no finite score: then there is no product, and every score is NaN, so that nothing is ranked. */
static bool add_part(bounds *b, const uint16_t *rows, const coarse_rows *coarse, size_t d, const float *vector,
                     float weight, float cold)
{
    float square = vector && d ? b->p->k->dot(vector, vector, d) : 0;

    if (square == 0 || (weight == 0 && cold == 0))
        return true;
    bound_part *part = &b->parts[b->n_parts++];
    *part = (bound_part){.rows = rows, .coarse = coarse, .d = d, .vector = vector, .weight = weight, .cold = cold};
    part->query = aigc_calloc(coarse_width(d), sizeof *part->query);
    if (part->query == NULL)
        return false;
    if (isfinite(square))
        round_query(part);
    else
        part->terms.weight = part->terms.length = NAN;
    return true;
}

static bool open_parts(bounds *b)
{
    const profile *p = b->p;
    const model *m = p->m;
    size_t d = m->n->n_latent, e = m->n->n_embedding;
    float factors = m->n->blend[p->blend][SIGNAL_FACTORS];

    b->vectors = aigc_calloc(d + e, sizeof *b->vectors);
    if (b->vectors == NULL)
        return false;
    profile_directions(p, b->vectors, b->vectors + d);
    return add_part(b, m->factors, &m->coarse_factors, m->n->n_factors, p->user, factors,
                    factors + m->n->cold[p->blend]) &&
           add_part(b, m->latent, &m->coarse_latent, d, b->vectors, 1, 1) &&
           add_part(b, m->embedding, &m->coarse_embedding, e, b->vectors + d, 1, 1);
}

static float weight_of(const bounds *b, const bound_part *part, uint32_t item)
{
    return part->weight == part->cold || !model_is_cold(b->p->m, item) ? part->weight : part->cold;
}

float bounds_exact(const bounds *b, uint32_t item)
{
    float score = b->base[item];

    for (int i = 0; i < b->n_parts; i++) {
        const bound_part *part = &b->parts[i];
        score += weight_of(b, part, item) * b->p->k->dot_half(part->rows + item * part->d, part->vector, part->d);
    }
    return score;
}

/* ---- all items ----------------------------------------------------------------------------------------------- */

/* A block's numbers on the stack. */
typedef struct block {
    uint32_t first, n, padded;
    int32_t dots[BLOCK];
    float weight[BLOCK], slack[BLOCK];
} block;

/* Weights of the block's items, or NULL if they have the same. */
static const float *weigh(const bounds *b, const bound_part *part, block *x)
{
    const model *m = b->p->m;
    const float *count = m->count + x->first;
    uint32_t fitted = m->n->n_items - m->n->n_new_items;

    if (part->weight == part->cold)
        return NULL;
    memset(x->weight + x->n, 0, (x->padded - x->n) * sizeof *x->weight);
    for (uint32_t i = 0; i < x->n; i++)
        x->weight[i] = count[i] > 0 ? part->weight : part->cold;
    for (uint32_t i = x->n; i-- > 0 && x->first + i >= fitted;)
        x->weight[i] = part->cold;
    return x->weight;
}

/* A block of n items from `first` on, a multiple of 16. */
static void begin_block(block *x, uint32_t first, uint32_t n)
{
    x->first = first;
    x->n = n;
    x->padded = (uint32_t)dense_pad(n);
    memset(x->slack, 0, x->padded * sizeof *x->slack);
}

/* What is the same for everybody, and then the lengths of the rows: by Cauchy and Schwarz no product is larger. */
static void score_roughly(bounds *b, block *x)
{
    float *base = b->base + x->first, *score = b->score + x->first;

    for (int s = SIGNAL_POPULARITY; s <= SIGNAL_FRESH && !b->p->q->likeness; s++)
        if (signal_weight(b->p, s) != 0)
            b->p->k->axpy(signal_weight(b->p, s), general_values(b->p, s) + x->first, base, x->padded);
    for (uint32_t j = x->n; j < x->padded; j++)
        base[j] = -FLT_MAX; /* no item, and never the largest */
    if (b->n_parts == 0)
        return;
    memcpy(score, base, x->padded * sizeof *base);
    memset(x->dots, 0, x->padded * sizeof *x->dots);
    for (int i = 0; i < b->n_parts; i++) {
        const bound_part *part = &b->parts[i];
        bound_terms terms = {.weight = part->weight, .length = part->terms.length};
        b->k->add(x->padded, x->dots, part->coarse->scale + x->first, part->coarse->length + x->first,
                  weigh(b, part, x), &terms, score, x->slack);
    }
    b->k->close(x->padded, base, x->slack, score);
}

/* The products, nearly. Items that are not to be ranked stay so. */
static void score_nearly(bounds *b, block *x)
{
    float *base = b->base + x->first, *score = b->score + x->first;
    bool out[GROUP];

    for (uint32_t j = 0; j < x->n; j++)
        out[j] = !(score[j] > -INFINITY);
    memcpy(score, base, x->padded * sizeof *base);
    memset(x->dots + x->n, 0, (x->padded - x->n) * sizeof *x->dots);
    for (int i = 0; i < b->n_parts; i++) {
        const bound_part *part = &b->parts[i];
        size_t width = coarse_width(part->d);
        b->k->scan(part->coarse->rows + x->first * width, x->n, width, part->query, x->dots);
        b->k->add(x->padded, x->dots, part->coarse->scale + x->first, part->coarse->error + x->first, weigh(b, part, x),
                  &part->terms, score, x->slack);
    }
    b->k->close(x->padded, base, x->slack, score);
    for (uint32_t j = 0; j < x->n; j++)
        if (out[j])
            score[j] = -INFINITY;
}

static void score_blocks(bounds *b)
{
    block x;

    for (uint32_t first = 0; first < b->n; first += BLOCK) {
        begin_block(&x, first, b->n - first < BLOCK ? b->n - first : BLOCK);
        score_roughly(b, &x);
        b->most[first / BLOCK] = b->k->largest(x.padded, b->score + first);
    }
}

/* Nearer bounds for groups of items that reach `least`. */
static void sharpen(bounds *b, float least)
{
    block x;

    for (uint32_t first = 0; first < b->n; first += BLOCK) {
        uint32_t n = b->n - first < BLOCK ? b->n - first : BLOCK;
        if (!(b->most[first / BLOCK] >= least))
            continue;
        for (uint32_t i = 0; i < n; i += GROUP) {
            begin_block(&x, first + i, n - i < GROUP ? n - i : GROUP);
            if (b->k->largest(x.padded, b->score + x.first) >= least)
                score_nearly(b, &x);
        }
        b->most[first / BLOCK] = b->k->largest(dense_pad(n), b->score + first);
    }
    b->sharp = true;
}

/*
 * Memory of a query that is over, for the next: pages that were given back would have to be fetched and cleared again,
 * at each query, which takes longer than much of what is computed in them. One block at most is kept, by whoever ends
 * first.
 */
struct spare {
    size_t bytes;
    _Alignas(64) float data[];
};

static _Atomic(struct spare *) spare;

static struct spare *take_memory(size_t floats)
{
    struct spare *s = atomic_exchange(&spare, NULL);
    size_t bytes = sizeof *s + floats * sizeof *s->data;

    if (s && s->bytes >= bytes && s->bytes / 4 <= bytes)
        return s;
    free(s);
    if ((s = aligned_alloc(64, (bytes + 63) / 64 * 64)) != NULL)
        s->bytes = bytes;
    return s;
}

static void give_memory(struct spare *s)
{
    struct spare *none = NULL;

    if (s && !atomic_compare_exchange_strong(&spare, &none, s))
        free(s);
}

aigc_status bounds_open(bounds *b, const profile *p, aigc_error *err)
{
    *b = (bounds){.p = p, .k = bound_best(), .n = p->m->n->n_items};
    size_t padded = dense_pad(b->n), floats = 2 * padded + (padded + BLOCK - 1) / BLOCK;

    if (!open_parts(b) || (b->memory = take_memory(floats)) == NULL) {
        bounds_close(b);
        return aigc_fail_memory(err, "scores", floats * sizeof *b->score);
    }
    b->base = b->memory->data;
    b->score = b->n_parts ? b->base + padded : b->base;
    b->most = b->base + 2 * padded;
    memset(b->base, 0, padded * sizeof *b->base);
    profile_rows(p, b->base);
    score_blocks(b);
    return AIGC_OK;
}

void bounds_close(bounds *b)
{
    for (int i = 0; i < b->n_parts; i++)
        free(b->parts[i].query);
    give_memory(b->memory);
    free(b->vectors);
    *b = (bounds){0};
}

/* ---- the best ------------------------------------------------------------------------------------------------ */

static int by_item(const void *a, const void *b)
{
    uint32_t x = ((const candidate *)a)->item, y = ((const candidate *)b)->item;
    return (x > y) - (x < y);
}

/* The first n by what is in b->score. */
static size_t first_candidates(const bounds *b, size_t n, uint64_t seed, candidate *heap)
{
    size_t m = 0;

    for (uint32_t i = 0; i < b->n; i++) {
        if (i % BLOCK == 0 && m == n && !(b->most[i / BLOCK] >= heap[0].score)) {
            i += BLOCK - 1;
            continue;
        }
        if (b->score[i] > -INFINITY && !(m == n && b->score[i] < heap[0].score))
            heap_offer(heap, &m, n, (candidate){b->score[i], i, tie_of(seed, i)});
    }
    return m;
}

/* Whatever may still belong into the heap of n exact scores, but those that have been tried: m of them, by item. */
static void try_others(bounds *b, size_t n, uint64_t seed, candidate *heap, const candidate *tried, size_t m)
{
    size_t next = 0, full = n;

    for (uint32_t i = 0; i < b->n; i++) {
        if (i % BLOCK == 0 && !(b->most[i / BLOCK] >= heap[0].score)) {
            i += BLOCK - 1;
            continue;
        }
        if (!(b->score[i] >= heap[0].score) || !(b->score[i] > -INFINITY))
            continue;
        while (next < m && tried[next].item < i)
            next++;
        candidate c = {b->score[i], i, tie_of(seed, i)};
        if ((next < m && tried[next].item == i) || !before(&c, &heap[0]))
            continue;
        b->score[i] = c.score = bounds_exact(b, i);
        heap_offer(heap, &full, n, c);
    }
}

/* Exact scores instead of bounds; those that are no numbers are not to be ranked. Returns how many there are. */
static size_t settle(bounds *b, candidate *list, size_t m)
{
    size_t some = 0;

    for (size_t i = 0; i < m; i++) {
        b->score[list[i].item] = list[i].score = bounds_exact(b, list[i].item);
        if (list[i].score > -INFINITY)
            list[some++] = list[i];
    }
    return some;
}

/* A score that n items reach: the n-th of some that might be the best. list has room for 2 n. */
static float reached_surely(bounds *b, size_t n, candidate *list)
{
    size_t m = settle(b, list, first_candidates(b, 2 * n < b->n ? 2 * n : b->n, 0, list));

    if (m < n)
        return -INFINITY;
    qsort(list, m, sizeof *list, in_order);
    return list[n - 1].score;
}

size_t bounds_best(bounds *b, size_t n, uint64_t seed, uint32_t **order, bool *ok)
{
    n = n < b->n ? n : b->n;
    candidate *heap = aigc_realloc_array(NULL, n, 2 * sizeof *heap);
    *order = aigc_realloc_array(NULL, n, sizeof **order);
    *ok = heap && *order;
    if (!*ok) {
        free(heap);
        free(*order);
        *order = NULL;
        return 0;
    }
    if (b->n_parts && !b->sharp && n)
        sharpen(b, reached_surely(b, n, heap));
    size_t m = n ? first_candidates(b, n, seed, heap) : 0;
    if (b->n_parts) {
        size_t some = settle(b, heap, m);
        candidate *tried = heap + n;
        memcpy(tried, heap, some * sizeof *tried);
        qsort(tried, some, sizeof *tried, by_item);
        for (size_t i = some / 2 + 1; i-- > 0 && some;)
            sift_down(heap, some, i);
        if (some == n && n)
            try_others(b, n, seed, heap, tried, some);
        m = some;
    }
    qsort(heap, m, sizeof *heap, in_order);
    for (size_t i = 0; i < m; i++)
        (*order)[i] = heap[i].item;
    free(heap);
    return m;
}
