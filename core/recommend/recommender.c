/* recommender.c: opened models, as aigc_recommend.h shows them. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "recommend/profile.h"
#include "recommend/words.h"

aigc_status aigc_recommender_open(const void *image, size_t size, aigc_recommender **out, aigc_error *err)
{
    aigc_recommender *r = aigc_calloc(1, sizeof *r);

    if (r == NULL)
        return aigc_fail_memory(err, "a recommender", sizeof *r);
    aigc_status status = model_open(image, size, &r->m, err);
    if (status == AIGC_OK)
        *out = r;
    else
        free(r);
    return status;
}

void aigc_recommender_close(aigc_recommender *recommender)
{
    free(recommender);
}

void aigc_recommender_describe(const aigc_recommender *recommender, aigc_recommender_info *info)
{
    const model *m = &recommender->m;

    *info = (aigc_recommender_info){.version = MODEL_VERSION,
                                    .n_items = m->n->n_items,
                                    .n_users = m->n->n_users,
                                    .n_events = m->n->n_events,
                                    .n_pairs = m->n->n_pairs,
                                    .n_words = m->n->n_terms,
                                    .n_factors = m->n->true_factors,
                                    .n_latent = m->n->true_latent,
                                    .n_embedding = m->n->true_embedding,
                                    .n_attributes = m->n->n_attributes,
                                    .n_new_items = m->n->n_new_items,
                                    .ease_weights = m->ease.n,
                                    .last_event = m->n->has_times ? m->n->last_time : NAN,
                                    .bytes = m->bytes};
}

uint32_t aigc_recommender_find(const aigc_recommender *recommender, aigc_string key)
{
    return model_find(&recommender->m.items, key.data, key.len);
}

bool aigc_recommender_key(const aigc_recommender *recommender, uint32_t item, aigc_string *key)
{
    return model_key(&recommender->m.items, item, key);
}

bool aigc_recommender_attribute(const aigc_recommender *recommender, uint32_t i, aigc_attribute_info *info)
{
    const model *m = &recommender->m;

    if (i >= m->n->n_attributes)
        return false;
    *info = (aigc_attribute_info){.kind = (aigc_value_kind)m->attribute[i].kind};
    info->of_items = m->attribute[i].of_items != 0;
    info->of_users = m->attribute[i].of_users != 0;
    info->n_values = m->attribute[i].n_bands;
    return model_key(&m->attributes, i, &info->name);
}

size_t aigc_recommender_interest_terms(const aigc_recommender *recommender, aigc_string interest,
                                       uint32_t terms[AIGC_TERMS_MOST])
{
    interest_words w;
    size_t n = 0;

    read_interest(&recommender->m, NULL, &(aigc_interest){interest, 1}, &w);
    if (w.tag != UINT32_MAX)
        terms[n++] = w.tag;
    for (int i = 0; i < w.n; i++)
        terms[n++] = w.words[i];
    return n;
}

size_t aigc_recommender_attribute_terms(const aigc_recommender *recommender, const aigc_attribute *attribute,
                                        uint32_t terms[AIGC_TERMS_MOST])
{
    const model *m = &recommender->m;
    char term[TERM_MAX_BYTES + 8];
    size_t len = match_term(m, attribute, term);

    terms[0] = len ? model_find(&m->terms, term, len) : UINT32_MAX;
    return terms[0] != UINT32_MAX;
}

size_t aigc_recommender_term_items(const aigc_recommender *recommender, uint32_t term, uint32_t *items, size_t n)
{
    const model *m = &recommender->m;
    const uint32_t *index;
    const uint16_t *weight;
    size_t all = model_row(&m->postings, term, &index, &weight), some = 0;

    for (size_t i = 0; i < all && some < n; i++)
        if (index[i] < m->n->n_items)
            items[some++] = index[i];
    return all;
}
