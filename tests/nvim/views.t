#!/bin/sh
# Random views with and without suggestions: the same text and cursor. AIGC_FUZZ_SECONDS, AIGC_FUZZ_SEED.
cd "$(dirname "$0")/../.." || exit 1
command -v nvim >/dev/null || { echo '1..0 # SKIP nvim is not installed'; exit 0; }
exec nvim --clean --headless -c 'luafile tests/nvim/views.lua' -c cquit 2>&1
