#!/usr/bin/env python3
"""Recommendation against implicit (ALS) and EASE in numpy, on the same splits, in one run.

    bench/recommend.py quality FOLDER [--seeds 3]     strong generalisation on FOLDER/events.tsv
    bench/recommend.py cold FOLDER [--seeds 5]        users of whom only attributes are known; items without events
    bench/recommend.py speed [EVENTS] [--factors 64 128 256]   seconds per iteration, interleaved; EVENTS or made up
    bench/recommend.py batch FOLDER                   ranking all users
    bench/recommend.py serve ITEMS                    a query at so many made-up items

A FOLDER holds events.tsv (user, item; apart by tabs), items.tsv (key, title, tags apart by "|") and users.tsv (key,
name=value ...). MovieLens may not be handed on: docs/recommend.md says how its files become these. Both sides use
THREADS threads (2); run with a Python that has numpy, scipy and implicit, and OPENBLAS_CORETYPE unset: an older type than
the processor's halves the peers' products.
"""
import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOL = os.path.join(ROOT, "build", "bench-recommend")
THREADS = int(os.environ.get("THREADS", "2"))


def read_events(path):
    with open(path) as f:
        return [tuple(line.rstrip("\n").split("\t")[:2]) for line in f]


def tool(*arguments):
    result = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    return result.stdout


def metrics(ranked, hidden, k):
    """NDCG@k and recall@k normalised by min(k, hidden), of one user."""
    gain = sum(1 / np.log2(p + 2) for p, item in enumerate(ranked[:k]) if item in hidden)
    best = min(k, len(hidden))
    hits = sum(item in hidden for item in ranked[:k])
    return gain / sum(1 / np.log2(p + 2) for p in range(best)), hits / best


def summary(lists, hidden):
    ndcg100 = np.mean([metrics(r, h, 100)[0] for r, h in zip(lists, hidden)])
    recall20 = np.mean([metrics(r, h, 20)[1] for r, h in zip(lists, hidden)])
    recall50 = np.mean([metrics(r, h, 50)[1] for r, h in zip(lists, hidden)])
    return recall20, recall50, ndcg100


class Split:
    """Held-out users (80/20 fold-in), validation users for the peers' hyperparameters, and the rest to learn from."""

    def __init__(self, events, seed, n_test):
        rng = random.Random(seed)
        self.rows = {}
        for user, item in events:
            self.rows.setdefault(user, []).append(item)
        users = sorted(u for u, items in self.rows.items() if len(items) >= 5)
        rng.shuffle(users)
        self.test, self.valid = users[:n_test], users[n_test:2 * n_test]
        out = set(self.test)
        self.train = [u for u in self.rows if u not in out]
        self.items = sorted({i for u in self.train for i in self.rows[u]})
        self.number = {item: n for n, item in enumerate(self.items)}
        self.parts = {}
        for u in self.test + self.valid:
            known = [i for i in self.rows[u] if i in self.number]
            rng.shuffle(known)
            cut = max(1, len(known) // 5)
            self.parts[u] = (known[cut:], set(known[:cut]))
        self.test = [u for u in self.test if self.parts[u][0]]
        self.valid = [u for u in self.valid if self.parts[u][0]]

    def matrix(self, rows):
        index = [self.number[i] for row in rows for i in row]
        starts = np.cumsum([0] + [len(row) for row in rows])
        return sp.csr_matrix((np.ones(len(index), np.float32), index, starts), (len(rows), len(self.items)))

    def hidden(self, users):
        return [self.parts[u][1] for u in users]

    def shown(self, users):
        return self.matrix([self.parts[u][0] for u in users])


def best_lists(scores, seen, items):
    """First 100 of each row of a dense matrix, without what was seen."""
    scores = np.array(scores)
    scores[seen.nonzero()] = -np.inf
    n = min(100, scores.shape[1])
    top = np.argpartition(-scores, n - 1, axis=1)[:, :n]
    order = np.take_along_axis(-scores, top, 1).argsort(axis=1, kind="stable")
    return [[items[j] for j in row] for row in np.take_along_axis(top, order, 1)]


def ease_weights(matrix, penalty):
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0
    return weights


def tuned(score, grid):
    """The best point of a grid of numbers by score(*point). Where the best lies on an edge, the grid grows there by half
    or twice the number, next to the best in the other directions, until the best lies inside."""
    found = {point: score(*point) for point in itertools.product(*grid)}
    while True:
        best = max(found, key=found.get)
        sides = [sorted({point[i] for point in found}) for i in range(len(grid))]
        near = [side[max(0, side.index(x) - 1):side.index(x) + 2] for side, x in zip(sides, best)]
        new = set()
        for i, (side, x) in enumerate(zip(sides, best)):
            beyond = [x * 2] * (x == side[-1]) + [x / 2] * (x == side[0])
            new.update(itertools.product(*near[:i], beyond, *near[i + 1:]))
        if not new - set(found):
            return best, sum(value >= 0 for value in found.values())
        found.update((point, score(*point)) for point in sorted(new - set(found)))


def tuned_ease(split):
    learn = split.matrix([split.rows[u] for u in split.train if u not in set(split.valid)])
    everything = split.matrix([split.rows[u] for u in split.train])
    shown = split.shown(split.valid)

    def score(penalty):
        lists = best_lists(shown @ ease_weights(learn, penalty), shown, split.items)
        return summary(lists, split.hidden(split.valid))[2]

    (penalty,), n = tuned(score, [(50, 100, 200, 350, 500, 750, 1000)])
    shown = split.shown(split.test)
    return best_lists(shown @ ease_weights(everything, penalty), shown, split.items), f"lambda {penalty}, best of {n}"


def als(learn, shown, items, factors, penalty, alpha, iterations=15, seed=0):
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=factors, regularization=penalty, alpha=alpha, iterations=iterations,
                                    num_threads=THREADS, random_state=seed, calculate_training_loss=False)
    model.fit(learn, show_progress=False)
    n = min(100, len(items))
    ids, _ = model.recommend(np.arange(shown.shape[0]), shown, N=n, filter_already_liked_items=True,
                             recalculate_user=True)
    return [[items[j] for j in row if 0 <= j] for row in ids]


def tuned_als(split):
    valid = set(split.valid)
    learn = split.matrix([split.rows[u] for u in split.train if u not in valid])
    everything = split.matrix([split.rows[u] for u in split.train])
    shown = split.shown(split.valid)

    def score(factors, penalty, alpha):
        if not 8 <= factors <= 512:
            return -1
        lists = als(learn, shown, split.items, int(factors), penalty, alpha)
        return summary(lists, split.hidden(split.valid))[2]

    (factors, penalty, alpha), n = tuned(score, [(32, 64, 128, 256), (1, 5, 15, 40), (1, 2, 5, 10)])
    lists = als(everything, split.shown(split.test), split.items, int(factors), penalty, alpha)
    return lists, f"factors {factors} regularization {penalty} alpha {alpha}, best of {n}"


def ours(split, folder, options=()):
    with tempfile.TemporaryDirectory() as scratch:
        events, queries, model = (os.path.join(scratch, n) for n in ("events", "queries", "model"))
        with open(events, "w") as f:
            for u in split.train:
                f.writelines(f"{u}\t{i}\n" for i in split.rows[u])
        with open(queries, "w") as f:
            for u in split.test:
                f.write("\t".join("e:" + i for i in split.parts[u][0]) + "\n")
        files = [os.path.join(folder, n) for n in ("items.tsv", "users.tsv")] if folder else ["-", "-"]
        chosen = tool("fit", events, *files, model, f"threads={THREADS}", *options)
        lists = [line.split("\t") for line in tool("rank", model, queries, "100").splitlines()]
    return lists, " ".join(chosen.split())


def show(name, figures, note=""):
    print(f"  {name:24} recall@20 {figures[0]:.4f}  recall@50 {figures[1]:.4f}  ndcg@100 {figures[2]:.4f}  {note}",
          flush=True)


def quality(arguments):
    events = read_events(os.path.join(arguments.folder, "events.tsv"))
    n_users = len({u for u, _ in events})
    n_test = min(1000, n_users // 6)
    totals = {}
    for seed in range(arguments.seeds):
        split = Split(events, seed, n_test)
        counts = np.asarray(split.matrix([split.rows[u] for u in split.train]).sum(axis=0))
        shown, hidden = split.shown(split.test), split.hidden(split.test)
        rows = {"popularity": (best_lists(np.repeat(counts, len(split.test), 0), shown, split.items), "")}
        rows["ours"] = ours(split, arguments.folder if arguments.content else None)
        rows["EASE (numpy)"] = tuned_ease(split)
        if not arguments.no_als:
            rows["implicit ALS, tuned"] = tuned_als(split)
        print(f"{arguments.folder}: seed {seed}, {len(split.test)} users held out, {len(split.items)} items")
        for name, (lists, note) in rows.items():
            figures = summary(lists, hidden)
            totals.setdefault(name, []).append(figures)
            show(name, figures, note)
    print(f"{arguments.folder}: mean over {arguments.seeds} seeds")
    for name, figures in totals.items():
        show(name, np.mean(figures, 0))


def cold(arguments):
    events = read_events(os.path.join(arguments.folder, "events.tsv"))
    items_file, users_file = (os.path.join(arguments.folder, n) for n in ("items.tsv", "users.tsv"))
    people = {line.split("\t")[0]: line.rstrip("\n").split("\t")[1:] for line in open(users_file)}
    wins = 0
    for seed in range(arguments.seeds):
        figures = cold_users(events, items_file, users_file, people, seed)
        wins += figures[1][2] > figures[0][2]
        print(f"cold users, seed {seed}")
        show("popularity", figures[0])
        show("ours, from attributes", figures[1], f"ndcg@100 x{figures[1][2] / figures[0][2]:.3f}")
    print(f"cold users: better than popularity on {wins} of {arguments.seeds} seeds")
    for seed in range(arguments.seeds):
        chance, recall = cold_items(events, items_file, seed)
        print(f"cold items, seed {seed}: recall@20 {recall:.4f}, random {chance:.4f}, x{recall / chance:.2f}")


def cold_users(events, items_file, users_file, people, seed):
    split = Split(events, seed, len({u for u, _ in events}) // 6)
    hidden = [set(split.rows[u]) & set(split.number) for u in split.test]
    counts = np.asarray(split.matrix([split.rows[u] for u in split.train]).sum(axis=0))[0]
    popular = [split.items[j] for j in np.argsort(-counts, kind="stable")[:100]]
    with tempfile.TemporaryDirectory() as scratch:
        train, queries, model = (os.path.join(scratch, n) for n in ("events", "queries", "model"))
        with open(train, "w") as f:
            for u in split.train:
                f.writelines(f"{u}\t{i}\n" for i in split.rows[u])
        with open(queries, "w") as f:
            for u in split.test:
                f.write("\t".join("a:" + a for a in people.get(u, [])) + "\n")
        tool("fit", train, items_file, users_file, model, f"threads={THREADS}")
        lists = [line.split("\t") for line in tool("rank", model, queries, "100").splitlines()]
    return summary([popular] * len(hidden), hidden), summary(lists, hidden)


def cold_items(events, items_file, seed):
    """A fifth of the items has no events at all; they are ranked among themselves for everybody."""
    rng = random.Random(seed)
    items = sorted({i for _, i in events})
    new = set(rng.sample(items, len(items) // 5))
    rows, hidden = {}, {}
    for user, item in events:
        (hidden if item in new else rows).setdefault(user, []).append(item)
    users = sorted(u for u in hidden if u in rows)
    rng.shuffle(users)
    users = users[:1000]
    with tempfile.TemporaryDirectory() as scratch:
        train, queries, model = (os.path.join(scratch, n) for n in ("events", "queries", "model"))
        with open(train, "w") as f:
            f.writelines(f"{u}\t{i}\n" for u, i in events if i not in new)
        with open(queries, "w") as f:
            for u in users:
                f.write("\t".join(["e:" + i for i in rows[u]] + ["m:" + i for i in sorted(new)]) + "\n")
        tool("fit", train, items_file, "-", model, f"threads={THREADS}")
        lists = [line.split("\t") for line in tool("rank", model, queries, "20").splitlines()]
    hidden = [set(hidden[u]) for u in users]
    recall = np.mean([metrics(r, h, 20)[1] for r, h in zip(lists, hidden)])
    order = sorted(new)
    chance = np.mean([metrics(rng.sample(order, 20), h, 20)[1] for h in hidden for _ in range(20)])
    return chance, recall


def made_up(path, n_users=138493, n_items=26744, n_events=24500000, seed=0):
    """Events with the marginals of ML-20M: both sides log-normal, nobody below 20 events."""
    rng = np.random.default_rng(seed)
    users = rng.lognormal(0, 1.05, n_users)
    users = np.maximum(20, users / users.sum() * n_events).astype(np.int64)
    weight = rng.lognormal(0, 2.2, n_items)
    cumulative = np.cumsum(weight / weight.sum())
    item = np.searchsorted(cumulative, rng.random(users.sum())).clip(0, n_items - 1)
    user = np.repeat(np.arange(n_users), users)
    pairs = np.unique(user * n_items + item)
    np.stack([pairs // n_items, pairs % n_items], 1).astype(np.uint32).tofile(path)


def read_matrix(path):
    if path.endswith(".u32"):
        rows, columns = np.fromfile(path, np.uint32).reshape(-1, 2).T
        return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)))
    data = np.loadtxt(path, dtype=str, delimiter="\t", usecols=(0, 1))
    users, rows = np.unique(data[:, 0], return_inverse=True)
    items, columns = np.unique(data[:, 1], return_inverse=True)
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(users), len(items)))


def speed(arguments):
    from implicit.als import AlternatingLeastSquares

    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.events or os.path.join(scratch, "made-up.u32")
        if not arguments.events:
            made_up(path)
        matrix = read_matrix(path)
        print(f"{matrix.shape[0]} users, {matrix.shape[1]} items, {matrix.nnz} pairs, {THREADS} threads")
        for factors in arguments.factors:
            theirs, mine = [], []
            for _ in range(arguments.rounds):
                times, cpu = [], []
                model = AlternatingLeastSquares(factors=factors, iterations=arguments.iterations, num_threads=THREADS)
                last = [0, 0]

                def note(*_):
                    times.append(time.perf_counter() - last[0])
                    cpu.append(time.process_time() - last[1])
                    last[:] = time.perf_counter(), time.process_time()

                last[:] = time.perf_counter(), time.process_time()
                model.fit(matrix, show_progress=False, callback=note)
                theirs.append((np.median(times[1:]), np.median(cpu[1:])))
                out = tool("iterate", path, f"factors={factors}", f"iterations={arguments.iterations}",
                           f"threads={THREADS}")
                mine.append(np.median([[float(x) for x in line.split()] for line in out.splitlines()][1:], axis=0))
            for n, what in enumerate(("wall", "CPU")):
                ratios = [t[n] / m[n] for t, m in zip(theirs, mine)]
                print(f"  {factors:4} factors, {what:4} seconds of an iteration: implicit {min(t[n] for t in theirs):.3f}, "
                      f"ours {min(m[n] for m in mine):.3f}, x{np.median(ratios):.2f} "
                      f"(rounds {' '.join(f'{r:.2f}' for r in ratios)})", flush=True)


def catalogue(scratch, n_items, n_events, rng):
    """Made-up articles of 200 topics and 2000 tags, and events of people who like a few topics."""
    topics, words = 200, [f"word{n}" for n in range(20000)]
    own = [rng.sample(words, 40) for _ in range(topics)]
    topic = [rng.randrange(topics) for _ in range(n_items)]
    tags = [(f"tag{topic[i]}x{rng.randrange(10)}", f"topic{topic[i]}") for i in range(n_items)]
    with open(os.path.join(scratch, "items"), "w") as f:
        for i in range(n_items):
            text = rng.choices(own[topic[i]], k=8) + rng.choices(words, k=6)
            f.write(f"i{i}\t{' '.join(text)}\t{'|'.join(tags[i])}\n")
    members = [[] for _ in range(topics)]
    for i in range(n_items):
        members[topic[i]].append(i)
    with open(os.path.join(scratch, "events"), "w") as f:
        for user in range(n_events // 20):
            for t in rng.sample(range(topics), 3):
                for _ in range(7):
                    if members[t]:
                        f.write(f"u{user}\ti{members[t][int(rng.random() ** 2 * len(members[t]))]}\n")
    return tags, topic, members


def serve(arguments):
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch:
        tags, topic, members = catalogue(scratch, arguments.items, arguments.events, rng)
        items, events, queries, model = (os.path.join(scratch, n) for n in ("items", "events", "queries", "model"))
        chosen = tool("fit", events, items, "-", model, f"threads={THREADS}", "ease=4000")
        print(" ".join(chosen.split()))
        with open(queries, "w") as f:
            for _ in range(100):
                liked = members[rng.randrange(200)]
                history = ["e:i" + str(rng.choice(liked)) for _ in range(30) if liked]
                f.write("\t".join(history + [f"i:topic{rng.randrange(200)}"]) + "\n")
        times = sorted(1000 * float(x) for x in tool("serve", model, queries, "10", "5").split())
        print(f"{arguments.items} items, 30 events and an interest, reasons: p50 {times[len(times) // 2]:.2f} ms, "
              f"p99 {times[len(times) * 99 // 100]:.2f} ms, best {times[0]:.2f} ms")
        counts = {}
        for pair in tags:
            for tag in pair:
                counts[tag] = counts.get(tag, 0) + 1
        asked = sorted(t for t, n in counts.items() if n >= 10)[:2000]
        with open(queries, "w") as f:
            f.writelines(f"i:{tag}\n" for tag in asked)
        found = 0
        for tag, row in zip(asked, tool("rank", model, queries, "10").splitlines()):
            found += all(tag in tags[int(key[1:])] for key in row.split("\t"))
        print(f"interest only: all of the first ten have the tag for {found} of {len(asked)} tags of ten items or more")


def batch(arguments):
    """The first ten for every user, from finished factors and folded in from events, on both sides."""
    from implicit.als import AlternatingLeastSquares

    events = sorted(read_events(os.path.join(arguments.folder, "events.tsv")))
    matrix = read_matrix(os.path.join(arguments.folder, "events.tsv"))
    everybody = np.arange(matrix.shape[0])
    theirs = AlternatingLeastSquares(factors=128, iterations=2, num_threads=THREADS)
    theirs.fit(matrix, show_progress=False)
    times = {"finished factors": [], "folded in": []}
    with tempfile.TemporaryDirectory() as scratch:
        path, *models = [os.path.join(scratch, n) for n in ("events", "factors", "blend")]
        with open(path, "w") as f:
            f.writelines(f"{u}\t{i}\n" for u, i in events)
        tool("fit", path, "-", "-", models[0], "factors=128", "iterations=2", "ease=0", "holdout=-1")
        tool("fit", path, "-", "-", models[1], "factors=128", f"threads={THREADS}")
        for _ in range(3):
            for name, again in (("finished factors", False), ("folded in", True)):
                begin = time.perf_counter(), time.process_time()
                theirs.recommend(everybody, matrix, N=10, recalculate_user=again)
                times[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
            for name, model in zip(("factors", "whole blend"), models):
                lines = tool("all", model, path, "10", str(THREADS)).splitlines()
                for kind, line in zip(("folded in", "finished"), lines):
                    times.setdefault(f"ours, {name}, {kind}", []).append(tuple(float(x) for x in line.split()))
    print(f"{matrix.shape[0]} users of {matrix.shape[1]} items, 128 factors, the first ten of each")
    for name, values in times.items():
        print(f"  {name:30} wall {min(v[0] for v in values):.3f} s, CPU {min(v[1] for v in values):.3f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in (("quality", quality), ("cold", cold)):
        command = commands.add_parser(name)
        command.add_argument("folder")
        command.add_argument("--seeds", type=int, default=3 if name == "quality" else 5)
        command.add_argument("--content", action="store_true", help="give ours titles, tags and attributes too")
        command.add_argument("--no-als", action="store_true")
        command.set_defaults(function=function)
    command = commands.add_parser("speed")
    command.add_argument("events", nargs="?")
    command.add_argument("--factors", type=int, nargs="+", default=[64, 128, 256])
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--iterations", type=int, default=4)
    command.set_defaults(function=speed)
    command = commands.add_parser("serve")
    command.add_argument("items", type=int)
    command.add_argument("--events", type=int, default=500000)
    command.set_defaults(function=serve)
    command = commands.add_parser("batch")
    command.add_argument("folder")
    command.set_defaults(function=batch)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
