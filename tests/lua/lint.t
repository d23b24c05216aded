#!/bin/sh
# luacheck on everything that is Lua, whose rules are in .luacheckrc; and those of .stylua.toml on the plugin: what
# can be looked for of them without StyLua; and the types in its comments.
cd "$(dirname "$0")/../.." || exit 1
command -v luacheck >/dev/null || { echo '1..0 # SKIP luacheck is not installed'; exit 0; }
if output=$(luacheck -q --no-color nvim_plugin tests/nvim tests/lua tools bench); then
    echo 'ok 1 - luacheck finds nothing'
else
    echo 'not ok 1 - luacheck finds nothing'
    echo "$output" | sed 's/^/# /'
fi
set -- nvim_plugin/plugin/*.lua nvim_plugin/lsp/*.lua nvim_plugin/lua/aigc/*.lua
lua5.4 tests/lua/style.lua "$@"
lua5.4 tests/lua/types.lua "$@"
echo '1..3'
