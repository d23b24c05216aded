#!/usr/bin/env python3
"""Writes recommend.golden: item-to-item weights (EASE), least squares (iALS) and term vectors of small made-up data, by
numpy in double precision from the formulas of the papers. tests/unit/test_recommend_math.c makes the same data.

    python3 tests/reference/make_recommend_golden.py > tests/reference/recommend.golden
"""
import numpy as np

USERS, ITEMS, D = 40, 24, 5


def show(name, values):
    print(name, " ".join(f"{x:.9g}" for x in np.ravel(values)))


def pairs():
    """User u did something with item i, with a weight."""
    w = np.zeros((USERS, ITEMS))
    for u in range(USERS):
        for i in range(ITEMS):
            if (u * 7 + i * 11 + u * i) % 5 == 0 or i == u % 7:
                w[u, i] = 1 + (u + 2 * i) % 3
    return w


def ease(w, penalty):
    x = (w > 0).astype(float)
    p = np.linalg.inv(x.T @ x + penalty * np.eye(ITEMS))
    b = -p / np.diag(p)
    b[np.diag_indices(ITEMS)] = 0
    return b


def half_step(w, fixed, penalty, unobserved):
    """Each row of the other side, by the normal equations of Rendle et al. (2021)."""
    out = np.zeros((w.shape[0], D))
    gram = unobserved * fixed.T @ fixed
    for r in range(w.shape[0]):
        n = np.count_nonzero(w[r])
        if n:
            a = gram + fixed.T @ np.diag(w[r]) @ fixed + penalty * (n + unobserved * w.shape[1]) * np.eye(D)
            out[r] = np.linalg.solve(a, fixed.T @ w[r])
    return out


def start():
    return np.array([[((i * 5 + j * 3) % 11 - 5) / 10 for j in range(D)] for i in range(ITEMS)])


DOCS = [{"apple": 2, "pear": 1}, {"apple": 1, "plum": 3, "kiwi": 1}, {"fig": 1}, {"pear": 4, "fig": 2, "plum": 1}]


def term_vectors():
    """BM25's term weight with log(1 + (n - df + .5) / (df + .5)), brought to length 1; terms in the order of DOCS."""
    words = list(dict.fromkeys(w for d in DOCS for w in d))
    df = {w: sum(w in d for d in DOCS) for w in words}
    mean = sum(sum(d.values()) for d in DOCS) / len(DOCS)
    out = np.zeros((len(DOCS), len(words)))
    for n, d in enumerate(DOCS):
        for w, c in d.items():
            idf = np.log(1 + (len(DOCS) - df[w] + 0.5) / (df[w] + 0.5))
            out[n, words.index(w)] = idf * c * 2.2 / (c + 1.2 * (0.25 + 0.75 * sum(d.values()) / mean))
        out[n] /= np.linalg.norm(out[n])
    return out


def main():
    w = pairs()
    show("ease", ease(w, 3.5))
    users = half_step(w, start(), 0.02, 0.3)
    show("users", users)
    show("items", half_step(w.T, users, 0.02, 0.3))
    show("terms", term_vectors())


if __name__ == "__main__":
    main()
