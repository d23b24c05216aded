"""Texts for the judges: documents, words, and the bytes of a vocabulary's tokens."""
import re
import struct

END = "<|endoftext|>"


def documents(path):
    """The documents of a file, each ended by a line <|endoftext|> or the end of the file."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    parts = re.split(r"(?m)^" + re.escape(END) + r"\n?", text)
    return [part for part in parts if part.strip()]


def shortened(documents_, limit):
    """The documents, each cut to the same part of its length (at the end of a line) so that together they have about
    `limit` bytes."""
    total = sum(len(d.encode()) for d in documents_)
    if limit <= 0 or total <= limit:
        return documents_
    out = []
    for document in documents_:
        cut = document[:int(len(document) * limit / total)]
        out.append(cut[:cut.rfind("\n") + 1] or cut)
    return [d for d in out if d.strip()]


WORD = re.compile(r"\S+")
SPACED = re.compile(rb"\s+\S+")  # a word and the white space before it
MARKS = re.compile(r"^(?:[!-/:-@\[-`{-~]|[\u2010-\u203f])+|(?:[!-/:-@\[-`{-~]|[\u2010-\u203f])+$")


def core(word):
    """A word without punctuation at its ends, as `aigc next-word` compares them."""
    return MARKS.sub("", word)


def _read(data, at, form):
    return struct.unpack_from("<" + form, data, at)[0], at + struct.calcsize("<" + form)


def _value(data, at, kind):
    plain = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    if kind in plain:
        return _read(data, at, plain[kind])
    if kind == 8:
        n, at = _read(data, at, "Q")
        return data[at:at + n], at + n
    inner, at = _read(data, at, "I")
    n, at = _read(data, at, "Q")
    items = []
    for _ in range(n):
        item, at = _value(data, at, inner)
        items.append(item)
    return items, at


def vocabulary(path):
    """The bytes of each token of a GGUF file with a byte-level BPE vocabulary; b"" for control tokens."""
    with open(path, "rb") as file:
        data = file.read(64 << 20)
    if data[:4] != b"GGUF":
        raise ValueError(f"{path} is not a GGUF file")
    n, at = _read(data, 16, "Q")
    pairs = {}
    for _ in range(n):
        key, at = _value(data, at, 8)
        kind, at = _read(data, at, "I")
        pairs[key.decode()], at = _value(data, at, kind)
    if pairs.get("tokenizer.ggml.model") != b"gpt2":
        raise ValueError(f"{path} has no byte-level BPE vocabulary")
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(b): b for b in shown}
    byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in shown)})
    types = pairs.get("tokenizer.ggml.token_type") or [1] * len(pairs["tokenizer.ggml.tokens"])
    return [b"" if kind == 3 else bytes(byte_of[c] for c in token.decode())
            for token, kind in zip(pairs["tokenizer.ggml.tokens"], types)]
