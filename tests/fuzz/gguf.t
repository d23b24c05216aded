#!/bin/sh
# gguf.t: a part of the damaged files that `build/asan/fuzz_gguf -n 100000` tries; `make check-fuzz` builds it.
exec build/asan/fuzz_gguf -n 20000 -s 1 -j 2 -o build
