"""A 5-gram model of tokens with interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1999), in numpy: what a
transformer has to beat. Needs numpy (Debian: python3-numpy).

An n-gram is named by the name of its first n - 1 tokens and its last token: level n is the sorted array of
name << BITS | token, and an n-gram's name is its place there. The highest order counts occurrences, the others the
different tokens that come before. Probabilities of the lowest order are mixed with 1 / V, so that they are never 0.
"""
import numpy as np


class Level:
    """All n-grams of one length: their keys and counts, and for each name of length n - 1 where its own begin."""

    def __init__(self, keys, counts, n_parents, bits):
        self.keys, self.counts = keys, counts.astype(np.int32)
        parents = keys >> bits
        self.begin = np.searchsorted(parents, np.arange(n_parents + 1)).astype(np.int64)
        self.total = np.bincount(parents, counts, n_parents).astype(np.float64)
        few = [max(1, int((counts == c).sum())) for c in (1, 2, 3, 4)]
        y = few[0] / (few[0] + 2 * few[1])
        self.discounts = np.array([0.0] + [max(c - (c + 1) * y * few[c] / few[c - 1], 0.1) for c in (1, 2, 3)])
        taken = self.discounts[np.minimum(self.counts, 3)]
        with np.errstate(invalid="ignore", divide="ignore"):
            self.left = np.where(self.total > 0, np.bincount(parents, taken, n_parents) / self.total, 1.0)

    def find(self, keys, valid):
        """Places of keys; -1 where they are absent or not valid."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(valid & (self.keys[at] == keys), at, -1)


class KneserNey:
    def __init__(self, tokens, n_vocab, order=5):
        tokens = np.asarray(tokens, dtype=np.int64)
        self.n_vocab, self.order = n_vocab, order
        self.bits = max(1, (n_vocab - 1).bit_length())
        self.levels = [None] * (order + 1)
        names, n_names = np.zeros(len(tokens), dtype=np.int64), 1  # of the n - 1 tokens before each position
        shorter = None
        raw = []
        for n in range(1, order + 1):
            keys = names[n - 1:] << self.bits | tokens[n - 1:]
            unique, first, inverse, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
            raw.append((unique, count, n_names))
            if n > 1:  # how many tokens come before each n-gram's last n - 1 tokens
                before = np.bincount(shorter[first + 1], minlength=len(raw[-2][0]))
                keys_, _, n_ = raw[-2]
                # The first n-gram of the text has nothing before it: count that as one token of its own.
                self.levels[n - 1] = Level(keys_, np.maximum(before, 1), n_, self.bits)
            shorter = inverse.astype(np.int32)
            n_names = len(unique)
            names = np.zeros(len(tokens), dtype=np.int64)
            names[n:] = shorter[:-1]
        self.levels[order] = Level(*raw[-1], self.bits)
        self._unigrams()

    def _unigrams(self):
        base = self.levels[1]
        self.unigram = np.full(self.n_vocab, base.left[0] / self.n_vocab)
        self.unigram[base.keys] += (base.counts - base.discounts[np.minimum(base.counts, 3)]) / base.total[0]

    def save(self, path):
        with open(path, "wb") as file:
            np.savez(file, n_vocab=self.n_vocab, order=self.order,
                     **{f"keys{n}": level.keys for n, level in enumerate(self.levels) if level},
                     **{f"counts{n}": level.counts for n, level in enumerate(self.levels) if level})

    @classmethod
    def load(cls, path):
        self = cls.__new__(cls)
        with np.load(path) as data:
            self.n_vocab, self.order = int(data["n_vocab"]), int(data["order"])
            self.bits = max(1, (self.n_vocab - 1).bit_length())
            self.levels = [None]
            n_parents = 1
            for n in range(1, self.order + 1):
                self.levels.append(Level(data[f"keys{n}"], data[f"counts{n}"], n_parents, self.bits))
                n_parents = len(self.levels[n].keys)
        self._unigrams()
        return self

    def log_probabilities(self, tokens):
        """Natural logarithms of each token's probability after those before it."""
        tokens = np.asarray(tokens, dtype=np.int64)
        p = self.unigram[tokens]
        names = np.zeros(len(tokens), dtype=np.int64)  # of the n - 1 tokens before; -1: not seen
        for n in range(1, self.order + 1):
            level = self.levels[n]
            known = names >= 0
            key = np.where(known, names, 0) << self.bits | tokens
            at = level.find(key, known)
            if n > 1:
                parent = np.where(known, names, 0)
                use = known & (level.total[parent] > 0)
                count = np.where(at >= 0, level.counts[at], 0)
                direct = (count - level.discounts[np.minimum(count, 3)]) / np.where(use, level.total[parent], 1)
                p = np.where(use, direct + level.left[parent] * p, p)
            names = np.concatenate([[-1], at[:-1]])
        return np.log(p)

    def distribution(self, context):
        """Probabilities of all tokens after the last of a context."""
        p = self.unigram
        for n in range(2, min(self.order, len(context) + 1) + 1):
            name = self._name(context[len(context) - n + 1:])
            if name < 0:
                break
            level = self.levels[n]
            begin, end = level.begin[name], level.begin[name + 1]
            if begin == end:
                break
            p = p * level.left[name]
            counts = level.counts[begin:end]
            tokens = level.keys[begin:end] & ((1 << self.bits) - 1)
            p[tokens] += (counts - level.discounts[np.minimum(counts, 3)]) / level.total[name]
        return p

    def _name(self, tokens):
        name = 0
        for n, token in enumerate(tokens, 1):
            keys = self.levels[n].keys
            key = name << self.bits | int(token)
            at = int(np.searchsorted(keys, key))
            if at == len(keys) or keys[at] != key:
                return -1
            name = at
        return name
