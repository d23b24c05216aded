/* push.h: what comes out of the core, as Lua values. Used by model.c. All may raise (memory). */
#ifndef AIGC_LUA_PUSH_H
#define AIGC_LUA_PUSH_H

#include "job.h"
#include "lua_compat.h"
#include "session.h"

/* nil, the message and the name of the error's code. Returns 3. */
int push_error(lua_State *L, const aigc_error *err);

/* A table that describes the model, with what the engine says of itself unless engine is NULL. */
void push_model_info(lua_State *L, const char *path, const aigc_model_info *info, aigc_engine *engine);

/* The table of a finished request: finish, alternatives, counts and times. */
void push_outcome(lua_State *L, const job *j);

/* The text of the best alternative. */
void push_best_text(lua_State *L, const job *j);

/* Token ids as an array. */
void push_ids(lua_State *L, const int32_t *ids, size_t n);

/* The log-probabilities of a job's prompt: the table that score() returns. */
void push_score(lua_State *L, const job *j, size_t n_bytes);

/* Appends the events of a job to the array on top of the stack, which has n of them. Returns how many it has then. */
int push_events(lua_State *L, const job *j, bool finished, int n);

/* What a personal layer knows, as a table. */
void push_view(lua_State *L, const memory_view *view);

#endif
