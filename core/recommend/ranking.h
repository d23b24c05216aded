/* ranking.h: scores to a list: the best items in order, a pool, a selection from it. Behind aigc_ranking. */
#ifndef AIGC_RECOMMEND_RANKING_H
#define AIGC_RECOMMEND_RANKING_H

#include "base/threads.h"
#include "recommend/bounds.h"

struct aigc_ranking {
    profile p;
    aigc_query q;
    bounds scores;
    uint32_t *order; /* [n_order] the best items, best first */
    size_t n_order, n_given;
    bool complete; /* order holds everything that may be ranked */
    bool *hidden;  /* [n_given], by place in order */
    size_t hidden_capacity, n_hidden;
    aigc_recommendation *results;
    size_t n_results;
    aigc_reason *reasons; /* [n_results][REASONS_MOST] */
};

enum { REASONS_MOST = 12 };

/* The first n of the items whose score is above -INFINITY, best first; equal scores by number, or at random if seed is
 * not 0. Returns how many. Memory: n entries. False in *ok if memory is out. */
size_t rank_best(const float *score, uint32_t n_items, size_t n, uint64_t seed, uint32_t **order, bool *ok);

/* Takes out what the query says must not be ranked: what is not among the candidates, excluded, disliked, or seen.
 * Errors: AIGC_E_MEMORY. */
aigc_status rank_restrict(const aigc_query *q, uint32_t n_items, float *score, aigc_error *err);

/* What all ways to rank ask of k, and the threads of those that rank many: 0 is one for each processor, at most 8.
 * Errors: AIGC_E_ARGUMENT, and of thread_pool_create(). */
aigc_status rank_check_k(size_t k, aigc_error *err);
aigc_status rank_pool(int n_threads, thread_pool **pool, aigc_error *err);

/* Fills the reasons of result i. Errors: AIGC_E_MEMORY. */
aigc_status ranking_reasons(aigc_ranking *r, aigc_error *err);

/* Cosine of two items: factors, latent and embedding, whichever there are, in equal parts. */
float item_cosine(const profile *p, uint32_t a, uint32_t b);

#endif
