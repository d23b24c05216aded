#!/bin/sh
# Drawing: the screen of a Neovim that is driven over RPC.
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
AIGC_SPECS='wrap ghost outgrow' exec nvim --clean --headless -c 'luafile tests/nvim/all.lua' -c cquit 2>&1
