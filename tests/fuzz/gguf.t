#!/bin/sh
# gguf.t: a part of the damaged files that `build/asan/fuzz_gguf -n 100000` tries; `make check-fuzz` builds it.
ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=2048:detect_leaks=1
UBSAN_OPTIONS=print_stacktrace=1
export ASAN_OPTIONS UBSAN_OPTIONS
exec build/asan/fuzz_gguf -n 20000 -s 1 -j 2 -o build
