#!/bin/sh
# Options, commands, messages, the prompt, :checkhealth, the help file.
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
AIGC_SPECS='plugin' exec nvim --clean --headless -c 'luafile tests/nvim/all.lua' -c cquit 2>&1
