#!/bin/sh
# The Lua module in Neovim (LuaJIT).
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
exec nvim --clean --headless --cmd 'set runtimepath^=nvim_plugin' -c 'luafile tests/lua/all.lua' -c cquit 2>&1
