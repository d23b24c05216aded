#!/usr/bin/env python3
"""Writes bpe_corpus.txt and bpe_merges.golden, which tests/unit/test_bpe_trainer.c compares with.

The corpus is made up: words of random syllables with Zipf's frequencies, so that many pairs are equally frequent and the
rule for ties matters, in scripts of one to four bytes a character. The merges are those of Hugging Face's BpeTrainer.

    pip install tokenizers==0.23.3
    python3 tests/reference/make_bpe_golden.py
"""
import json
import os
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIAL = "<|endoftext|>"
SYLLABLES = ["ba", "be", "an", "on", "the", "re", "st", "i", "o", "é", "ß", "да", "не", "日", "本", "語", "😀", "aa", "a", "12", "'s"]


def make_corpus():
    r = random.Random(7)
    words = ["".join(r.choice(SYLLABLES) for _ in range(r.randint(1, 4))) for _ in range(600)]
    weights = [1 / (i + 1) for i in range(len(words))]
    documents = []
    for _ in range(12):
        text = ""
        for word in r.choices(words, weights, k=250):
            text += word + r.choice([" ", " ", " ", " ", ", ", ". ", "\n", "  "])
        documents.append(text)
    return documents


def main():
    documents = make_corpus()
    with open(os.path.join(HERE, "bpe_corpus.txt"), "w", encoding="utf-8", newline="") as f:
        f.write("".join(d + SPECIAL + "\n" for d in documents))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(vocab_size=900, min_frequency=2, special_tokens=[SPECIAL], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(documents, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    with open(os.path.join(HERE, "bpe_merges.golden"), "w", encoding="utf-8", newline="") as f:
        for merge in model["merges"]:
            f.write((merge if isinstance(merge, str) else " ".join(merge)) + "\n")
    print(len(model["vocab"]), "tokens,", len(model["merges"]), "merges")


if __name__ == "__main__":
    main()
