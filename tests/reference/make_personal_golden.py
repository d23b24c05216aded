#!/usr/bin/env python3
"""Makes personal.golden: the personal layer's probabilities by their definition (core/engine/personal.h), in plain
Python. Nothing is counted step by step here: counts of shorter n-grams are the numbers of different longer ones, and
everything is computed anew for each question.

    tests/reference/make_personal_golden.py > tests/reference/personal.golden

Lines: "vocab N", "learn ids", "unlearn ids", "adapt accepted ids", "ask n history ids | p(0) ... p(N - 1)".
"""
import random
from collections import Counter

ORDER, EDGE, VOCAB, WORTH = 5, -1, 24, 40.0
ONE = [None, [0.05, 0.25, 0.30], [0.12, 0.50, 0.65], [0.10, 0.53, 0.67], [0.16, 0.50, 0.80]]
FEW, MANY = [None, 0.30, 0.45, 0.40, 0.50], [None, 0.065, 0.065, 0.08, 0.12]
LIMITS = [1, 2, 3, 5, 9, 19]

model = [1 / (w + 1) for w in range(VOCAB)]
model = [p / sum(model) for p in model]
whole = Counter()  # n-grams of ORDER tokens
weights = {}       # class -> [hits, asked]


def grams(ids):
    padded = [EDGE] * (ORDER - 1) + ids
    return [tuple(padded[i:i + ORDER]) for i in range(len(ids))]


def counts(order):
    """n-grams of order + 1 tokens: whole ones as counted, others by the number of different tokens before them."""
    if order == ORDER - 1:
        return {g: c for g, c in whole.items() if c}
    return Counter(g[1:] for g in counts(order + 1))


def contexts(history):
    """(order, {token: count}) for each known context; the empty one says nothing. (200 successors are out of reach here.)"""
    found = []
    for order in range(ORDER):
        if order > len(history):
            break
        context = tuple(history[len(history) - order:])
        # A context is known as long as anything longer is: all n-grams of it and of what extends it.
        known = any(g[ORDER - 1 - order:ORDER - 1] == context for g, c in whole.items() if c)
        if order > 0 and not known:
            break
        found.append((order, {} if order == 0 else {g[-1]: c for g, c in counts(order).items() if g[:-1] == context}))
    return found


def class_of(order, successors):
    total, types = sum(successors.values()), len(successors)
    kind = 0 if types == 1 else 1 if 2 * types <= total else 2
    return order, sum(total > limit for limit in LIMITS), kind


def weight(order, successors):
    total, types = sum(successors.values()), len(successors)
    hits, asked = weights.get(class_of(order, successors), (0, 0))
    guess = ONE[order][min(total, 3) - 1] if types == 1 else FEW[order] if 2 * types <= total else MANY[order]
    return (hits + WORTH * guess) / (asked + WORTH)


def part(successors, token):
    total, types = sum(successors.values()), len(successors)
    return (successors[token] - 0.5) / (total - types / 2) if token in successors else 0


def probability(history, token, depth=ORDER):
    p = model[token]
    for order, successors in contexts(history)[:depth]:
        if successors:
            w = weight(order, successors)
            p = (1 - w) * p + w * part(successors, token)
    return p


def adapt(ids, accepted):
    # Probabilities are those of before: collect first.
    mixed = [probability(ids[max(0, i - 4):i], ids[i]) for i in range(len(ids))]
    for i, token in enumerate(ids):
        history = ids[max(0, i - 4):i]
        known = contexts(history)
        now = [(o, s, weight(o, s), class_of(o, s)) for o, s in known if s]
        p, reached = mixed[i], 1.0
        for order, successors, w, cls in reversed(now):
            share = min(1, w * part(successors, token) / p)
            hits, asked = weights.get(cls, (0, 0))
            hits, asked = hits + (reached * share if accepted else 0), asked + (reached if accepted else reached * share)
            weights[cls] = (hits, asked)
            p = (p - w * part(successors, token)) / (1 - w)
            reached *= 1 - share


def show(name, *values):
    print(name, *values)


def ask(history):
    show("ask", len(history), *history, "|", *(f"{probability(history, w):.12g}" for w in range(VOCAB)))


def main():
    chooser = random.Random(5)
    show("vocab", VOCAB)
    texts = []
    for _ in range(6):
        phrase = [chooser.randrange(VOCAB) for _ in range(6)]
        text = []
        for _ in range(4):
            text += phrase + [min(VOCAB - 1, int(chooser.expovariate(0.2))) for _ in range(3)]
        texts.append(text)
        whole.update(grams(text))
        show("learn", *text)
        ask(text[:chooser.randrange(6)])
        ask(phrase[:4])
    adapt(texts[0][:20], True)
    show("adapt", 1, *texts[0][:20])
    ask(texts[0][5:9])
    adapt(texts[1][10:16], False)
    show("adapt", 0, *texts[1][10:16])
    ask(texts[1][5:9])
    for i in (2, 0):
        whole.subtract(grams(texts[i]))
        show("unlearn", *texts[i])
        ask(texts[i][5:9])
        ask(texts[3][2:6])
    ask([])
    ask([VOCAB - 1, VOCAB - 1, VOCAB - 1, VOCAB - 1])


main()
