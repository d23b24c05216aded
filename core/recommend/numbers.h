/*
 * numbers.h: numbers of items (price, year, length) as terms, so that items of a like number are alike in content.
 *
 * An attribute's bands (context.h) begin at quantiles, which makes its unit and its outliers count for nothing: that is
 * its standardised scale. A number gives the terms of the two beginnings that it lies between, shared by nearness: two
 * items share the more of them the nearer their numbers, and nothing when a band lies between them. Such a term counts
 * a quarter of what the value of a text attribute does, times the weight that its frequency gives it.
 */
#ifndef AIGC_RECOMMEND_NUMBERS_H
#define AIGC_RECOMMEND_NUMBERS_H

#include "recommend/catalogue.h"
#include "recommend/context.h"

/* The beginning that is nearest to a number is band[0]; share[0] + share[1] is 1. */
typedef struct number_place {
    uint32_t band[2];
    float share[2];
} number_place;

number_place number_between(const float *lower, uint32_t n_bands, double number);

/* "attribute=band 3", as in the tables of values, into out [TERM_MAX_BYTES + 8]. Returns its length, 0: it has none. */
size_t number_term(aigc_string attribute, uint32_t band, char *out);

/* Appends the terms of a number to a row of terms that begins at docs[first]. False if memory is out. */
bool number_add_terms(key_table *terms, aigc_string attribute, const float *lower, uint32_t n_bands, double number,
                      term_count **docs, size_t *n, size_t *capacity);

/* Brings the terms of all items' numbers into the catalogue's documents. Errors: AIGC_E_MEMORY. */
aigc_status numbers_to_terms(catalogue *c, const bands *b, aigc_error *err);

#endif
