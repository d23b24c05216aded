#!/bin/sh
# Suggestions as one types: when they come, what is taken of them.
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
AIGC_SPECS='typing' exec nvim --clean --headless -c 'luafile tests/nvim/all.lua' -c cquit 2>&1
