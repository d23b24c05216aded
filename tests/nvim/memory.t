#!/bin/sh
# The ring and the personal layer: what they keep, what they never look at, what reaches the model, :Aigc memory.
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
AIGC_SPECS='memory' exec nvim --clean --headless -c 'luafile tests/nvim/all.lua' -c cquit 2>&1
