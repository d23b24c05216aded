/* signals.c: what each signal adds to the scores of all items. Part of profile.h. */
#include <math.h>
#include <string.h>

#include "base/real.h"
#include "recommend/catalogue.h"
#include "recommend/half.h"
#include "recommend/profile.h"
#include "recommend/words.h"

enum {
    POSTINGS_MOST = 400000, /* postings that the terms of a history go through: the heaviest terms first */
    TERMS_MOST = 128
};

/* How much a whole tag, the words of an interest, their weight in the item and their direction count. A tag's item
 * comes before every item that only mentions the words: 1 + words against words. */
static const float TAG_MATCH = 1, WORDS_MATCH = 0.5f, DEGREE = 0.25f, DIRECTION = 0.3f;
static const double NEAR_KILOMETRES = 50; /* a distance that halves what nearness counts */
static const float DISLIKED = -0.5f;

/* out[index] += scale * weight over one row of an image, whatever that holds. */
static void add_row(const dense_kernels *k, const model *m, const model_rows *rows, uint32_t row, float scale,
                    float base, float *out)
{
    const uint32_t *index;
    const uint16_t *weight;
    uint64_t n = model_row(rows, row, &index, &weight);

    k->scatter(index, weight, n, m->n->n_items, scale, base, out);
}

static void add_scan(const profile *p, const uint16_t *rows, const float *x, size_t d, float weight, float *out)
{
    if (x == NULL || d == 0)
        return;
    memcpy(p->scratch, x, d * sizeof *x);
    p->k->scale(weight, p->scratch, d);
    p->k->scan_half(rows, p->m->n->n_items, d, p->scratch, out);
}

static void add_array(const profile *p, const float *x, float weight, float *out)
{
    for (uint32_t i = 0; i < p->m->n->n_items; i++)
        out[i] += weight * x[i];
}

static void add_item_weights(const profile *p, float weight, float *out)
{
    for (size_t i = 0; i < p->n_history; i++)
        add_row(p->k, p->m, &p->m->ease, p->history[i].item, p->history[i].liked ? weight : DISLIKED * weight, 0, out);
}

static void add_words(const profile *p, float weight, float *out)
{
    const uint32_t *index;
    const uint16_t *half;
    uint64_t left = POSTINGS_MOST;

    for (size_t i = 0; i < p->n_terms && i < TERMS_MOST; i++) {
        uint64_t n = model_row(&p->m->postings, p->terms[i].term, &index, &half);
        if (n > left)
            continue;
        left -= n;
        add_row(p->k, p->m, &p->m->postings, p->terms[i].term, weight * p->terms[i].weight, 0, out);
    }
}

static void add_people(const profile *p, float weight, float *out)
{
    for (size_t i = 0; i < p->q->n_attributes; i++)
        if (p->values[i] != UINT32_MAX)
            add_row(p->k, p->m, &p->m->people, p->values[i], weight, 0, out);
}

static void add_matches(const profile *p, float weight, float *out)
{
    for (size_t i = 0; i < p->q->n_attributes; i++)
        if (p->matches[i] != UINT32_MAX)
            add_row(p->k, p->m, &p->m->postings, p->matches[i], 0, weight, out);
}

/* 1 at the place itself, half of it NEAR_KILOMETRES away: 1 / (1 + distance / that). Distance on a sphere, from the
 * chord between the two points: exact enough for nearness, and no arc tangent needed. */
float nearness(double latitude, double longitude, const float place[2])
{
    static const double RADIAN = 0x1.1df46a2529d39p-6, DIAMETER = 2 * 6371.0;
    double sa, ca, sb, cb, sl, cl;

    if (!place_is_valid(place[0], place[1]))
        return 0;
    real_sincos(RADIAN * latitude, &sa, &ca);
    real_sincos(RADIAN * place[0], &sb, &cb);
    real_sincos(RADIAN * (longitude - place[1]), &sl, &cl);
    double chord2 = (2 - 2 * (sa * sb + ca * cb * cl)) / 4; /* of the unit sphere's diameter, squared */
    double kilometres = DIAMETER * sqrt(chord2 > 0 ? chord2 : 0);
    return (float)(1 / (1 + kilometres / NEAR_KILOMETRES));
}

static void add_near(const profile *p, float weight, float *out)
{
    for (size_t i = 0; i < p->q->n_attributes; i++) {
        const aigc_attribute *a = &p->q->attributes[i];
        if (a->kind != AIGC_VALUE_POINT || !place_is_valid(a->latitude, a->longitude))
            continue;
        for (uint32_t j = 0; j < p->m->n->n_items; j++)
            out[j] += weight * nearness(a->latitude, a->longitude, p->m->place + 2 * (size_t)j);
    }
}

bool profile_has(const profile *p, score_signal s)
{
    const model *m = p->m;
    bool values = false, matches = false, places = false;

    for (size_t i = 0; i < p->q->n_attributes; i++) {
        values |= p->values[i] != UINT32_MAX;
        matches |= p->matches[i] != UINT32_MAX;
        places |= p->q->attributes[i].kind == AIGC_VALUE_POINT;
    }
    switch (s) {
    case SIGNAL_FACTORS:
        return p->user && m->n->n_factors;
    case SIGNAL_ITEMS:
        return p->n_history && m->ease.n;
    case SIGNAL_WORDS:
        return p->n_terms;
    case SIGNAL_LATENT:
        return p->latent && m->n->n_latent;
    case SIGNAL_EMBEDDING:
        return p->embedding && m->n->n_embedding;
    case SIGNAL_PEOPLE:
        return values;
    case SIGNAL_MATCH:
        return matches;
    case SIGNAL_NEAR:
        return places;
    case SIGNALS:
        return false;
    default:
        return true;
    }
}

void profile_signal(const profile *p, score_signal s, float weight, float *out)
{
    const model *m = p->m;

    switch (s) {
    case SIGNAL_FACTORS:
        add_scan(p, m->factors, p->user, m->n->n_factors, weight, out);
        break;
    case SIGNAL_ITEMS:
        add_item_weights(p, weight, out);
        break;
    case SIGNAL_WORDS:
        add_words(p, weight, out);
        break;
    case SIGNAL_LATENT:
        add_scan(p, m->latent, p->latent, m->n->n_latent, weight, out);
        break;
    case SIGNAL_EMBEDDING:
        add_scan(p, m->embedding, p->embedding, m->n->n_embedding, weight, out);
        break;
    case SIGNAL_POPULARITY:
        add_array(p, general_values(p, s), weight, out);
        break;
    case SIGNAL_RECENT:
        add_array(p, general_values(p, s), weight, out);
        break;
    case SIGNAL_FRESH:
        add_array(p, general_values(p, s), weight, out);
        break;
    case SIGNAL_PEOPLE:
        add_people(p, weight, out);
        break;
    case SIGNAL_MATCH:
        add_matches(p, weight, out);
        break;
    case SIGNAL_NEAR:
        add_near(p, weight, out);
        break;
    case SIGNALS:
        break;
    }
}

/* ---- interests ----------------------------------------------------------------------------------------------- */

uint32_t known_term(const model *m, const aigc_query *q, const char *term, size_t len)
{
    uint32_t number = model_find(&m->terms, term, len);

    for (size_t i = 0; q && i < q->n_unknown_terms; i++)
        if (q->unknown_terms[i] == number)
            return UINT32_MAX;
    return number;
}

void read_interest(const model *m, const aigc_query *q, const aigc_interest *interest, interest_words *w)
{
    char term[TERM_MAX_BYTES + 8];
    aigc_string text = interest->text;
    word_reader r = {.text = text.data, .len = text.len};
    size_t len = word_is_text(text) ? word_tag(text, term) : 0;

    *w = (interest_words){.tag = len ? known_term(m, q, term, len) : KEY_NONE};
    if (len == 0 || !isfinite(interest->weight))
        return;
    w->weight = (float)fmax(-10, fmin(10, interest->weight));
    while (w->n < INTEREST_WORDS && word_next(&r)) {
        uint32_t word = known_term(m, q, r.term, r.term_len);
        if (word == KEY_NONE || !(m->idf[word] > 0))
            continue;
        w->words[w->n++] = word;
        w->idf += m->idf[word];
    }
    w->understood = w->n > 0 || w->tag != KEY_NONE;
}

/* The direction of an interest, of length `weight`, added to out [n_latent]. */
static void add_direction(const profile *p, const interest_words *w, float weight, float *out)
{
    size_t d = p->m->n->n_latent;
    float *x = p->scratch;

    if (d == 0 || !w->understood)
        return;
    memset(x, 0, d * sizeof *x);
    for (int i = 0; i < w->n; i++)
        p->k->axpy_half(p->m->idf[w->words[i]], p->m->term_latent + w->words[i] * d, x, d);
    if (w->tag != KEY_NONE)
        p->k->axpy_half(p->m->idf[w->tag], p->m->term_latent + w->tag * d, x, d);
    float length = sqrtf(p->k->dot(x, x, d));
    if (length > 1e-12f && isfinite(length))
        p->k->axpy(weight * DIRECTION / length, x, out, d);
}

/* The query's own embedding, of length `weight`, added to out [n_embedding]. */
static void add_embedding(const profile *p, float weight, float *out)
{
    size_t d = p->m->n->n_embedding;
    float *x = p->scratch;

    if (d == 0 || p->q->embedding == NULL)
        return;
    memset(x, 0, d * sizeof *x);
    memcpy(x, p->q->embedding, p->m->n->true_embedding * sizeof *x);
    float length = sqrtf(p->k->dot(x, x, d));
    if (length > 0 && isfinite(length))
        p->k->axpy(weight / length, x, out, d);
}

/* Items that have the words of the interests. */
static void add_interests(const profile *p, float weight, float *out)
{
    for (size_t i = 0; i < p->q->n_interests; i++) {
        const interest_words *w = &p->wanted[i];
        float scale = weight * w->weight;
        if (w->tag != KEY_NONE && scale != 0)
            add_row(p->k, p->m, &p->m->postings, w->tag, scale * DEGREE, scale * TAG_MATCH, out);
        for (int j = 0; j < w->n; j++)
            add_row(p->k, p->m, &p->m->postings, w->words[j], scale * DEGREE,
                    (float)(scale * WORDS_MATCH * p->m->idf[w->words[j]] / w->idf), out);
    }
}

double interest_part(const profile *p, size_t interest, uint32_t item)
{
    const interest_words *w = &p->wanted[interest];
    const model *m = p->m;
    size_t d = m->n->n_latent;
    float scale = m->n->interest_weight[p->blend] * w->weight, *x = p->scratch + d;
    double sum = 0, degree = w->tag != KEY_NONE ? model_weight(&m->docs, item, w->tag) : 0;

    if (degree > 0)
        sum += scale * (TAG_MATCH + DEGREE * degree);
    for (int j = 0; j < w->n; j++)
        if ((degree = model_weight(&m->docs, item, w->words[j])) > 0)
            sum += scale * (WORDS_MATCH * m->idf[w->words[j]] / w->idf + DEGREE * degree);
    memset(x, 0, d * sizeof *x);
    add_direction(p, w, scale, x);
    return sum + (d ? p->k->dot_half(m->latent + item * d, x, d) : 0);
}

double embedding_part(const profile *p, uint32_t item)
{
    size_t d = p->m->n->n_embedding;
    float *x = p->scratch + d;

    if (d == 0 || p->q->embedding == NULL)
        return 0;
    memset(x, 0, d * sizeof *x);
    add_embedding(p, p->m->n->interest_weight[p->blend], x);
    return p->k->dot_half(p->m->embedding + item * d, x, d);
}

/* ---- all together -------------------------------------------------------------------------------------------- */

/* Items without events have no item-to-item weights: their factors, made from their content, count for both. */
static void add_cold(const profile *p, float weight, float *out)
{
    size_t d = p->m->n->n_factors;

    for (uint32_t i = 0; i < p->m->n->n_items && p->user && weight != 0; i++)
        if (model_is_cold(p->m, i))
            out[i] += weight * p->k->dot_half(p->m->factors + i * d, p->user, d);
}

/* Directions of history and interests are added up first, so that the items' are read once. */
void profile_directions(const profile *p, float *latent, float *embedding)
{
    const model_numbers *n = p->m->n;
    const float *blend = n->blend[p->blend];

    memset(latent, 0, n->n_latent * sizeof *latent);
    if (p->latent)
        p->k->axpy(blend[SIGNAL_LATENT], p->latent, latent, n->n_latent);
    for (size_t i = 0; i < p->q->n_interests; i++)
        add_direction(p, &p->wanted[i], n->interest_weight[p->blend] * p->wanted[i].weight, latent);
    memset(embedding, 0, n->n_embedding * sizeof *embedding);
    if (p->embedding)
        p->k->axpy(blend[SIGNAL_EMBEDDING], p->embedding, embedding, n->n_embedding);
    add_embedding(p, n->interest_weight[p->blend], embedding);
}

static void add_directions(const profile *p, float *out)
{
    size_t d = p->m->n->n_latent, e = p->m->n->n_embedding;
    float *latent = p->scratch + (d > e ? d : e), *embedding = latent + d;

    profile_directions(p, latent, embedding);
    if (d && p->k->dot(latent, latent, d) > 0)
        p->k->scan_half(p->m->latent, p->m->n->n_items, d, latent, out);
    if (e && p->k->dot(embedding, embedding, e) > 0)
        p->k->scan_half(p->m->embedding, p->m->n->n_items, e, embedding, out);
}

void profile_scores(const profile *p, bool factors, float *out)
{
    memset(out, 0, p->m->n->n_items * sizeof *out);
    for (int s = 0; s < SIGNALS; s++)
        if (signal_weight(p, s) != 0 && s != SIGNAL_LATENT && s != SIGNAL_EMBEDDING &&
            (factors || s != SIGNAL_FACTORS) && !(p->q->likeness && signal_is_general(s)))
            profile_signal(p, (score_signal)s, signal_weight(p, s), out);
    add_cold(p, p->m->n->cold[p->blend], out);
    add_directions(p, out);
    add_interests(p, p->m->n->interest_weight[p->blend], out);
}

void profile_rows(const profile *p, float *out)
{
    static const score_signal signals[] = {SIGNAL_ITEMS, SIGNAL_WORDS, SIGNAL_PEOPLE, SIGNAL_MATCH, SIGNAL_NEAR};
    const float *blend = p->m->n->blend[p->blend];

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (blend[signals[i]] != 0)
            profile_signal(p, signals[i], blend[signals[i]], out);
    add_interests(p, p->m->n->interest_weight[p->blend], out);
}
