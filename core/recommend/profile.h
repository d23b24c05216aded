/*
 * profile.h: a query made ready: what the person did as items of the model, their factors, terms and directions; and
 * what each signal adds to the scores of all items. Used by ranking and by the fit, which learns the blend with it.
 */
#ifndef AIGC_RECOMMEND_PROFILE_H
#define AIGC_RECOMMEND_PROFILE_H

#include "recommend/dense.h"
#include "recommend/model.h"

enum {
    HISTORY_MOST = 4096, /* items of a person that count: the latest, or the heaviest if nothing has a time */
    CONTENT_MOST = 256   /* of those, items whose terms and directions count */
};

typedef struct past {
    uint32_t item;
    float weight; /* > 0 */
    bool liked;   /* false: disliked */
    aigc_reason_kind kind;
    int32_t index; /* in the array of the query that the kind says */
    double time;
} past;

typedef struct term_weight {
    uint32_t term;
    float weight;
} term_weight;

enum { INTEREST_WORDS = 32 };

/* The words of an interest that the model knows. */
typedef struct interest_words {
    uint32_t tag; /* UINT32_MAX: no item has it as a tag */
    uint32_t words[INTEREST_WORDS];
    int n;
    float weight;
    double idf; /* of the words together */
    bool understood;
} interest_words;

typedef struct profile {
    const model *m;
    const aigc_query *q;
    const dense_kernels *k;
    past *history; /* [n_history] by item */
    size_t n_history;
    size_t n_liked;
    int blend;
    float general;    /* what signals that are the same for everybody are multiplied by */
    float *moment;    /* [2][padded] recent and fresh as of query.at; NULL: as the model has them */
    float *user;      /* [n_factors] folded in; NULL: nothing to fold in */
    float *latent;    /* [n_latent] direction of the history; NULL: none */
    float *embedding; /* [n_embedding] */
    term_weight *terms;
    size_t n_terms;
    uint32_t *values;       /* [n_attributes] of the query in the model's tables of people, KEY_NONE if not there */
    uint32_t *matches;      /* [n_attributes] terms that items with the same value have */
    interest_words *wanted; /* [n_interests] */
    float *scratch;         /* room for three vectors of any kind */
} profile;

/* Errors: AIGC_E_MEMORY. Reading is everything but the factors, which are most of the work. */
aigc_status profile_read(const model *m, const aigc_query *q, profile *p, aigc_error *err);
aigc_status profile_fold_in(profile *p, aigc_error *err);
aigc_status profile_open(const model *m, const aigc_query *q, profile *p, aigc_error *err);
void profile_close(profile *p);

/* out[i] += weight * signal of item i, for all items. */
void profile_signal(const profile *p, score_signal s, float weight, float *out);
/* Signals that are the same for everybody, and their values. */
static inline bool signal_is_general(int s)
{
    return s == SIGNAL_POPULARITY || s == SIGNAL_RECENT || s == SIGNAL_FRESH;
}
static inline const float *signal_values(const model *m, int s)
{
    return s == SIGNAL_POPULARITY ? m->popularity
           : s == SIGNAL_RECENT   ? m->recent
           : s == SIGNAL_FRESH    ? m->fresh
                                  : NULL;
}

/* The same as of the query's moment. */
static inline const float *general_values(const profile *p, int s)
{
    size_t padded = dense_pad(p->m->n->n_items);

    if (p->moment && s != SIGNAL_POPULARITY && signal_is_general(s))
        return p->moment + (s == SIGNAL_FRESH ? padded : 0);
    return signal_values(p->m, s);
}

/* What a signal counts for this person. */
static inline float signal_weight(const profile *p, int s)
{
    float weight = p->m->n->blend[p->blend][s];

    return signal_is_general(s) ? p->general * weight : weight;
}

/* Whether the signal may be more than nothing for this person. */
bool profile_has(const profile *p, score_signal s);
/* What an interest, and the query's embedding, add to the score of one item. Interests are no signal of the blend, as
 * no data tells what people who state an interest do. */
double interest_part(const profile *p, size_t interest, uint32_t item);
double embedding_part(const profile *p, uint32_t item);
/* q: whose unknown terms count as such; NULL: there are none. */
void read_interest(const model *m, const aigc_query *q, const aigc_interest *interest, interest_words *w);
/* The number of a term, UINT32_MAX if it is not known, or shall not be. */
uint32_t known_term(const model *m, const aigc_query *q, const char *term, size_t len);
/* The term that items with the same value of an attribute have; returns its length, 0 if there is none. */
size_t match_term(const model *m, const aigc_attribute *a, char *term);
/* 1 at the place itself (latitude, longitude), falling with the distance; 0 if the place is not known. */
float nearness(double latitude, double longitude, const float place[2]);

/* The signals together, as the model blends them; without the factors' if the caller adds those. */
void profile_scores(const profile *p, bool factors, float *out);

/* For whoever adds up products and what is the same for everybody: the other signals and the interests, which are rows
 * of weights (out [n_items] += them) ... */
void profile_rows(const profile *p, float *out);
/* ... and the vectors of which the products with directions and embeddings of items count: latent [n_latent], embedding
 * [n_embedding]. */
void profile_directions(const profile *p, float *latent, float *embedding);

#endif
