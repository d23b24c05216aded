#!/bin/sh
# luacheck on everything that is Lua; the rules are in .luacheckrc.
cd "$(dirname "$0")/../.." || exit 1
command -v luacheck >/dev/null || { echo '1..0 # SKIP luacheck is not installed'; exit 0; }
if output=$(luacheck -q --no-color nvim_plugin tests/nvim tests/lua tools bench); then
    echo 'ok 1 - luacheck finds nothing'
else
    echo 'not ok 1 - luacheck finds nothing'
    echo "$output" | sed 's/^/# /'
fi
echo '1..1'
