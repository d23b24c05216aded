/*
 * options.h: tables of named options, read from Lua into C structures.
 *
 * What a caller can get wrong without looking at a file (a name, a type, a range) is a Lua error that names the option
 * and shows the value. Used by module.c and model.c.
 */
#ifndef AIGC_LUA_OPTIONS_H
#define AIGC_LUA_OPTIONS_H

#include "job.h"
#include "lua_compat.h"
#include "session.h"

/* Options of core.open(). index: a table, nil or nothing. */
void options_read_open(lua_State *L, int index, session_options *options);

/* Options of a request into a job. index: a table, nil or nothing. The job must be anchored: this may raise. */
void options_read_request(lua_State *L, int index, job *j);

/* Sets the prompt of a job: a string on the stack. May raise. */
void options_read_prompt(lua_State *L, int index, job *j);

/* Flags of tokenize and detokenize, starting from `flags`. index: a table, nil or nothing. */
unsigned options_read_text_flags(lua_State *L, int index, unsigned flags);

/* The function that is the option `on_piece` of the table at index is pushed, or nil. */
void options_push_on_piece(lua_State *L, int index);

/* An array of token ids on the stack, as memory of the job's prompt. May raise. */
int32_t *options_read_tokens(lua_State *L, int index, const char *what, size_t *n);

#endif
