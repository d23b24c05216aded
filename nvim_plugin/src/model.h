/* model.h: the Lua object that core.open() returns. Used by module.c. */
#ifndef AIGC_LUA_MODEL_H
#define AIGC_LUA_MODEL_H

#include "lua_compat.h"

/* core.open(path, options) -> model | nil, message, code */
int model_open(lua_State *L);

/* core.settle([milliseconds]) -> whether the models that were discarded are gone; waits for it */
int model_settle(lua_State *L);

/* Makes the metatables. A state that ends settles. */
void model_register(lua_State *L);

#endif
