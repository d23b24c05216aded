/*
 * infill.h: text between what stands before the cursor and what follows it.
 *
 * Models that have learned it are asked with their own tokens: prefix, suffix, middle. The others continue what stands
 * before, several times, and what they say is weighed by how probable it makes the text behind the cursor. Used by
 * job.c.
 */
#ifndef AIGC_LUA_INFILL_H
#define AIGC_LUA_INFILL_H

#include "job.h"

/* Makes the job's tokens of prompt and suffix if the model has tokens for that: *made. */
aigc_status infill_with_tokens(job *j, aigc_model *model, aigc_engine *engine, bool *made);

/* Options of the request that infill_weigh() will choose from. */
void infill_prepare_weighing(job *j);

/*
 * To be called when the alternatives are complete. Cuts each after the word that makes the suffix most probable, and
 * orders them by that; those that make it no more probable than it is with nothing in between become empty.
 */
aigc_status infill_weigh(job *j, aigc_model *model, aigc_engine *engine, const volatile sig_atomic_t *interrupt);

#endif
