/*
 * module.c: require 'aigc.core', for LuaJIT, Lua 5.1 and Lua 5.4.
 *
 * Not linked against a Lua library: the host has the symbols. Exports this one function; linked with -z nodelete,
 * because LuaJIT closes libraries when a state ends and code must not vanish under the worker thread.
 */
#include "aigc.h"
#include "lua_compat.h"
#include "model.h"

/* The version that Lua's side of the plugin compares with its own. */
static int l_version(lua_State *L)
{
    lua_pushstring(L, aigc_version());
    return 1;
}

static int l_cpu_level(lua_State *L)
{
    lua_pushstring(L, aigc_cpu_level_name());
    return 1;
}

static int l_cpu_count(lua_State *L)
{
    lua_pushinteger(L, aigc_cpu_count());
    return 1;
}

__attribute__((visibility("default"))) int luaopen_aigc_core(lua_State *L);

int luaopen_aigc_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"version", l_version}, {"cpu_level", l_cpu_level}, {"cpu_count", l_cpu_count},
        {"open", model_open},   {"settle", model_settle},   {NULL, NULL},
    };
    model_register(L);
    lua_createtable(L, 0, 5);
    compat_setfuncs(L, functions);
    return 1;
}
