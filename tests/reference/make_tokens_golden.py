#!/usr/bin/env python3
"""Writes tokens.golden: texts and the tokens that three other implementations give them, for tests/unit/test_tokenizer.c.

    gpt-2, qwen2, llama-bpe, smollm    Hugging Face tokenizers: GPT-2's vocabulary, each with its own expression
    llama-spm, phi-3                   Google's sentencepiece, with a model made of the GGUF file's pieces and scores
    special                            llama.cpp: special tokens parsed in the text and added around it

Each line: vocabulary, p (tokens found in the text: parse) and a (added) or -, the text with \\xHH for all bytes but
printable ASCII, the ids. Made with tokenizers 0.23.3, sentencepiece 0.2.3, protobuf, gguf 0.19.0 and llama-cpp-python
0.3.36, from the vocabularies in ../shared/data (AIGC_SHARED):

    tests/reference/make_tokens_golden.py > tests/reference/tokens.golden
"""

import json
import os

import llama_cpp
import sentencepiece
from gguf import GGUFReader
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

DATA = os.path.join(os.environ.get("AIGC_SHARED", "../shared"), "data")
VOCABULARY = os.path.join(DATA, "tokenizers", "ggml-vocab-%s.gguf")

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_BPE = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")

TEXTS = [
    "",
    " ",
    "Hello world",
    " Hello  world ",
    "it's we'll they've I'm he'd 'tis don't you're 'S 'LL 'Ve 'M IT'S",
    "''s 're''ve '",
    "'\u017f '\u017fx k\u212a",  # long s folds to s, the Kelvin sign to k
    "3 14 159 2653 58979 1234567890 1.5e-10 0x1F",
    "\u0967\u0968\u0969 \u0661\u0662\u0663\u0664 \uff11\uff12\uff13 \u00b2\u00bd\u2167\u3007",  # digits, numbers
    "  two   three    four     \n   x",
    "end spaces    ",
    "tabs\t\tand\t newlines\n\n\n\r\n \r\n  \n x",
    "\n",
    "\n \n",
    " \t\n\r\x0b\x0c",
    "a\u00a0b\u3000c\u2003d\u2009 e\u202ff\u205f\u1680g\u0085h\u2028i\u2029j",  # white space beyond ASCII
    "a\u200bb\ufeffc\u180ed\u200d\u2060",  # not white space
    "\x1c\x1d\x1e\x1f\x00\x01\x7f",
    "Z\u00fcrich na\u00efve Stra\u00dfe \u00c5ngstr\u00f6m",
    "e\u0301 a\u0308 n\u0303\u0303 \u0915\u094d\u0937\u093f",  # combining marks
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01 \u3053\u3093\u306b\u3061\u306f \uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u041f\u0440\u0438",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f",
    "\U00020000\U0002ebf0\U00010d4d\U000e0041\U0010fffd\ue000\ufffd",  # rare planes, a letter of Unicode 16
    "\u1c89\u1c8a \ua7cb'\U000105c0t \U00016d70\U00016d71",  # letters and digits of Unicode 16
    "def f(x):\n    return x**2  # square\n\n\tif x == -1: pass",
    "{\"key\": [1, 2.5e3, null], \"\\u00e9\": \"</s>\"}",
    "!!!??? ... --- === ~~~ <<<>>> $$$ \u20ac\u00a3 \u00ab\u00bb \u2018\u2019\u201c\u201d",
    "http://example.org/a?b=c&d=%20#e user@host.net",
    "<|endoftext|> <s></s> <unk> <0x0A> <|end|>",  # plain text here
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "----------------------------------------------------------------------------------",
    "                                                                                  x",
    "\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915\u0915",
    "SHOUTING CamelCase snake_case kebab-case 123abc abc123 a1b2",
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs!",
]

SPECIAL_TEXTS = [
    "",
    "Hello",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|>  c\n<|endoftext|>",
    "<s>Hello</s> <s> world</s>",
    "<s><s>x",
    "<|user|>\nHi there<|end|>\n<|assistant|>\n",
    "<|user|>   \t\n Hi <|end|> \n<|assistant|>",
    "<|end|>\u00a0x<|end|>\u3000y",
    "<|end <|endof<|end|>oftext|> <|endoftext|",
    "<unk> <0x41> [PAD32011]",
    " <|system|> a  <s>  b",
]


def hugging_face():
    with open(os.path.join(DATA, "gpt2-vocab", "vocab.json"), encoding="utf-8") as f:
        vocabulary = json.load(f)
    with open(os.path.join(DATA, "gpt2-vocab", "merges.txt"), encoding="utf-8") as f:
        merges = [tuple(line.split(" ")) for line in f.read().split("\n")[1:] if line]
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words = {"gpt-2": gpt2}
    words["smollm"] = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    for name, expression in (("qwen2", QWEN2), ("llama-bpe", LLAMA_BPE)):
        split = pre_tokenizers.Split(Regex(expression), "isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        words[name] = pre_tokenizers.Sequence([split, bytes_only])
    for name, pre in words.items():
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=name == "llama-bpe"))
        tokenizer.pre_tokenizer = pre
        for text in TEXTS:
            yield name, "-", text, tokenizer.encode(text, add_special_tokens=False).ids


def sentence_piece():
    unknown, control = 2, 3
    for name in "llama-spm", "phi-3":
        fields = GGUFReader(VOCABULARY % name).fields
        tokens, scores, types = (
            fields["tokenizer.ggml." + key].contents() for key in ("tokens", "scores", "token_type")
        )
        model = model_pb2.ModelProto()
        for i, (token, score, kind) in enumerate(zip(tokens, scores, types)):
            piece = model.pieces.add()
            piece.piece, piece.score = token, score
            piece.type = unknown if i == 0 else kind if kind in (1, 6) else control
        model.trainer_spec.model_type = 2
        model.trainer_spec.byte_fallback = True
        model.trainer_spec.vocab_size = len(tokens)
        model.normalizer_spec.name = "identity"
        model.normalizer_spec.add_dummy_prefix = True
        model.normalizer_spec.remove_extra_whitespaces = False
        model.normalizer_spec.escape_whitespaces = True
        tokenizer = sentencepiece.SentencePieceProcessor()
        tokenizer.LoadFromSerializedProto(model.SerializeToString())
        for text in TEXTS:
            if "\0" not in text:  # where sentencepiece ends the text
                yield name, "-", text, tokenizer.EncodeAsIds(text)


def special():
    for name in "gpt-2", "llama-spm", "phi-3":
        model = llama_cpp.Llama(VOCABULARY % name, vocab_only=True, verbose=False)
        for text in SPECIAL_TEXTS:
            for flags in "-", "p", "pa":
                ids = model.tokenize(text.encode(), add_bos="a" in flags, special="p" in flags)
                yield name, flags, text, ids


def main():
    for make in hugging_face, sentence_piece, special:
        for name, flags, text, ids in make():
            escaped = "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in text.encode())
            print(name, flags, escaped, " ".join(map(str, ids)), sep="\t")


main()
