/*
 * lua_compat.h: the few functions in which LuaJIT and Lua 5.1 differ from Lua 5.4. They have names of our own because
 * some builds of 5.1 have some of Lua's.
 */
#ifndef AIGC_LUA_COMPAT_H
#define AIGC_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

/* Sets functions in the table on top of the stack. */
static inline void compat_setfuncs(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        lua_pushcfunction(L, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

static inline size_t compat_rawlen(lua_State *L, int index)
{
#if LUA_VERSION_NUM < 502
    return lua_objlen(L, index);
#else
    return lua_rawlen(L, index);
#endif
}

static inline int compat_absindex(lua_State *L, int index)
{
    return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + index + 1;
}

#endif
