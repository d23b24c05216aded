#!/usr/bin/env python3
"""Makes tests/unit/types_golden.h: what other implementations make of quantised blocks.

    python3 -m venv venv && venv/bin/pip install gguf
    venv/bin/python tests/reference/make_types_golden.py LIBGGML > tests/unit/types_golden.h

Dequantised values come from gguf-py's numpy code, for blocks of random bytes. Quantised blocks come from gguf-py (Q8_0,
Q4_0) and from ggml's reference quantisers (Q4_K, Q6_K): LIBGGML is a shared library of llama.cpp's ggml-quants.c, compiled with
-ffp-contract=off so that its sums are rounded as ours, and with empty functions for what the quantisers do not call:

    echo 'void ggml_abort(void) {} void ggml_row_size(void) {} void ggml_type_size(void) {} void ggml_type_name(void) {}' > empty.c
    gcc -O2 -ffp-contract=off -shared -fPIC -Iggml/include -Iggml/src ggml/src/ggml-quants.c empty.c -o libggml.so
"""
import ctypes
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants


def array(c_type, name, values, width, per_line):
    digits = [f"0x{int(v):0{width}x}" for v in values]
    lines = [", ".join(digits[i:i + per_line]) for i in range(0, len(digits), per_line)]
    print(f"static const {c_type} {name}[] = {{\n    " + ",\n    ".join(lines) + ",\n};\n")


def bits(floats):
    return np.ascontiguousarray(floats, dtype=np.float32).view(np.uint32).ravel()


def random_blocks(rng, n, size, halves):
    """n blocks of random bytes whose 16-bit scales (at the offsets in halves) are ordinary numbers."""
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for offset in halves:
        scales = (rng.standard_normal(n) * 0.05).astype(np.float16)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(n, 2)
    return blocks


def quantise_with_ggml(library, function, x, n_bytes):
    out = np.zeros(n_bytes, dtype=np.uint8)
    f = getattr(library, function)
    f.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    f.restype = None
    f(x.ctypes.data, out.ctypes.data, x.size)
    return out


def main():
    rng = np.random.default_rng(260)
    library = ctypes.CDLL(sys.argv[1])

    print("/* types_golden.h: made by tests/reference/make_types_golden.py, which says how. Floats are given as bits. */\n")
    print("/* clang-format off */")
    for name, t, n, size, halves in (("q8_0", T.Q8_0, 2, 34, [0]), ("q4_0", T.Q4_0, 2, 18, [0]),
                                     ("q4_k", T.Q4_K, 1, 144, [0, 2]), ("q6_k", T.Q6_K, 1, 210, [208])):
        blocks = random_blocks(rng, n, size, halves)
        array("uint8_t", f"golden_{name}_blocks", blocks.ravel(), 2, 19)
        array("uint32_t", f"golden_{name}_floats", bits(quants.dequantize(blocks, t)), 8, 9)

    # Like the weights of models: normal, each run of 16 with a scale of its own, and one outlier. No scale is so small
    # beside the others that it becomes 0: what the q are then does not matter, and ours differ from ggml's.
    x = (rng.standard_normal(256) * np.repeat(np.exp2(rng.uniform(-2, 2, 16)), 16) * 0.02).astype(np.float32)
    x[100] = -0.4
    array("uint32_t", "golden_x", bits(x), 8, 9)
    array("uint8_t", "golden_x_q8_0", quants.quantize(x, T.Q8_0).ravel(), 2, 19)
    array("uint8_t", "golden_x_q4_0", quants.quantize(x, T.Q4_0).ravel(), 2, 19)
    array("uint8_t", "golden_x_q4_k", quantise_with_ggml(library, "quantize_row_q4_K_ref", x, 144), 2, 19)
    array("uint8_t", "golden_x_q6_k", quantise_with_ggml(library, "quantize_row_q6_K_ref", x, 210), 2, 19)

    # Half precision at its corners, by numpy.
    corners = np.array([0x00000000, 0x80000000, 0x3f800000, 0xc0490fdb, 0x477fe000, 0x477fefff, 0x477ff000, 0x7f7fffff,
                        0x7f800000, 0xff800000, 0x38800000, 0x387fffff, 0x387fe000, 0x33800000, 0x33000000, 0x33000001,
                        0x32ffffff, 0x00000001, 0x3f801000, 0x3f803000, 0x3f801001, 0x3f800fff], dtype=np.uint32)
    with np.errstate(over="ignore"):
        halves = corners.view(np.float32).astype(np.float16).view(np.uint16)
    array("uint32_t", "golden_corners", corners, 8, 9)
    array("uint16_t", "golden_corners_f16", halves, 4, 14)
    bf16 = quants.quantize(corners.view(np.float32), T.BF16).view(np.uint16)
    array("uint16_t", "golden_corners_bf16", bf16.ravel(), 4, 14)
    print("/* clang-format on */")


main()
