#!/usr/bin/env python3
"""Writes core/text/unicode_table.c: the classes of all code points as Unicode 16.0 has them.

Unicode 16.0 is what the reference tokenizers (Hugging Face tokenizers 0.23) match \\p{L}, \\p{N} and \\s with. The table
is ours, not the system's utf8proc, so that the same text gives the same tokens on every system.

    pip install unicodedata2==16.0.0 tokenizers==0.23.3
    tests/reference/make_unicode_table.py > core/text/unicode_table.c && clang-format -i core/text/unicode_table.c

Each code point is also given to the reference (GPT-2's expression), which must agree.
"""

import sys

import unicodedata2
from tokenizers import pre_tokenizers

OTHER, LETTER, NUMBER, SPACE = range(4)
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def class_of(c):
    if c in WHITE_SPACE:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata2.category(chr(c))[0], OTHER)


def reference_class(gpt2, c):
    for before, answer in (("a", LETTER), ("1", NUMBER), ("!", OTHER)):
        if len(gpt2.pre_tokenize_str(before + chr(c))) == 1:
            return answer
    return SPACE


def main():
    assert unicodedata2.unidata_version == "16.0.0", unicodedata2.unidata_version
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    starts, previous, counts = [], None, [0, 0, 0, 0]
    for c in range(0x110000):
        if 0xD800 <= c <= 0xDFFF:
            continue
        k = class_of(c)
        counts[k] += 1
        if k != reference_class(gpt2, c):
            sys.exit(f"U+{c:04X} is {k} here and {reference_class(gpt2, c)} in the reference")
        if k != previous:
            starts.append(c << 2 | k)
            previous = k
    print("/* unicode_table.c: made by tests/reference/make_unicode_table.py from Unicode 16.0; do not edit. */")
    print('#include "text/unicode.h"\n')
    print(f"const uint32_t unicode_starts[{len(starts)}] = {{")
    for i in range(0, len(starts), 12):
        print("    " + " ".join(f"0x{s:x}," for s in starts[i : i + 12]))
    print("};\n")
    print("const size_t unicode_n_starts = sizeof unicode_starts / sizeof *unicode_starts;")
    print(f"other, letters, numbers, spaces: {counts}", file=sys.stderr)


main()
