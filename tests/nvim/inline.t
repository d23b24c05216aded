#!/bin/sh
# Neovim's own inline completion (0.12): what it shows of ours, and how that is accepted.
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
AIGC_SPECS='inline' exec nvim --clean --headless -c 'luafile tests/nvim/all.lua' -c cquit 2>&1
