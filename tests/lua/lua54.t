#!/bin/sh
# The Lua module in lua5.4.
cd "$(dirname "$0")/../.." || exit 1
LUA_CPATH='build/lua54/?.so' exec lua5.4 tests/lua/all.lua
