"""Tables of what bench/run measured."""
from statistics import median


class Cell:
    """All values of one engine in one case."""

    def __init__(self, samples, section, case, engine):
        mine = [s for s in samples if (s["section"], s["case"], s["engine"]) == (section, case, engine)]
        self.values = [s["values"] for s in mine if "values" in s]
        self.bandwidths = [s["bandwidth"] for s in mine]
        self.n = len(mine)
        self.failure = next((s["failure"] for s in mine if "failure" in s), None)

    def all(self, key):
        return [v[key] for v in self.values if v.get(key) is not None]

    def median(self, key):
        return median(self.all(key)) if self.all(key) else None

    def show(self, key, form="{:.1f}", best=max):
        if not self.all(key):
            return "fails" if self.failure else "-"
        return f"{form.format(self.median(key))} / {form.format(best(self.all(key)))}"


class Results:
    def __init__(self, results):
        self.machine, self.samples = results["machine"], results["samples"]
        self.engines = list(self.machine["engines"])
        self.ours, self.peers = self.engines[0], self.engines[1:]
        self.repeat = self.machine.get("repeat", 1)

    def cell(self, section, case, engine):
        return Cell(self.samples, section, case, engine)

    def cases(self, section):
        return list(dict.fromkeys(s["case"] for s in self.samples if s["section"] == section))

    def rounds(self, section):
        n = max(self.cell(section, case, e).n for case in self.cases(section) for e in self.engines)
        return f"{n} round{'s' if n > 1 else ''}"

    def ratio(self, section, case, peer, key):
        ours, theirs = self.cell(section, case, self.ours).median(key), self.cell(section, case, peer).median(key)
        return f"{ours / theirs:.2f}" if ours and theirs else "-"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def speed(r, key, title):
    head = ["model"] + r.engines + [f"ours / {p}" for p in r.peers] + ["GB/s beside"]
    rows = []
    for case in r.cases("speed"):
        cells = [r.cell("speed", case, e) for e in r.engines]
        bandwidths = [b for c in cells for b in c.bandwidths]
        rows.append([case] + [c.show(key) for c in cells] + [r.ratio("speed", case, p, key) for p in r.peers]
                    + [f"{min(bandwidths):.0f}-{max(bandwidths):.0f}"])
    runs = f"; a round is the median of {r.repeat} runs in one process" if r.repeat > 1 else ""
    return f"## {title}\n\nTokens/s, median / best of {r.rounds('speed')}{runs}.\n\n" + table(head, rows)


def contention(r):
    rows = []
    for case in r.cases("contention"):
        row = [case]
        for engine in r.engines:
            cell, alone = r.cell("contention", case, engine), r.cell("contention", "alone", engine).median("decode")
            parts = [cell.median(k) for k in ("decode", "first", "second") if cell.median(k) is not None]
            text = " + ".join(f"{p:.1f}" for p in parts) or (cell.failure or "-")
            if case != "alone" and alone and parts:
                text += " (" + " + ".join(f"{100 * p / alone:.0f} %" for p in parts) + ")"
            row.append(text)
        rows.append(row)
    about = f"Decoding qwen05 Q8_0, tokens/s (part of the speed alone), medians of {r.rounds('contention')}."
    return f"## Neighbours\n\n{about}\n\n" + table(["situation"] + r.engines, rows)


def batching(r):
    rows = []
    for case in r.cases("batching"):
        row = [case]
        for engine in r.engines:
            one, many = r.cell("batching", "1", engine).median("decode"), r.cell("batching", case, engine)
            speed_of_all = many.median("decode")
            row.append(f"{speed_of_all:.1f} ({speed_of_all / one:.2f}x)" if one and speed_of_all else many.show("decode"))
        rows.append(row)
    about = f"Decoding qwen05 Q8_0, tokens/s of all (times one), medians of {r.rounds('batching')}."
    return f"## Parallel sequences\n\n{about}\n\n" + table(["sequences"] + r.engines, rows)


def start(r):
    rows = [[case] + [r.cell("start", case, e).show("seconds", "{:.3f}", min) for e in r.engines]
            for case in r.cases("start")]
    about = f"Seconds of the whole process, median / best of {r.rounds('start')}; the file is in the page cache."
    return f"## Start\n\n{about}\n\n" + table(["what"] + r.engines, rows)


def memory(r):
    rows = []
    for case in r.cases("memory"):
        cells = [r.cell("memory", case, e) for e in r.engines]
        rows.append([case + ", private"] + [f"{c.median('private_dirty') or 0:.1f}" for c in cells])
        rows.append([case + ", resident"] + [f"{c.median('resident') or 0:.1f}" for c in cells])
    return "## Memory\n\nMiB while generating; private is what each further process costs.\n\n" + table(
        ["process"] + r.engines, rows)


def best_rate(samples):
    """Median of all steps, and the best of them."""
    rates = [rate for s in samples for rate in s.get("rates", [])]
    return (median(rates), max(rates)) if rates else (None, None)


def training(t):
    """The part that bench/train writes."""
    rows = []
    for shape in dict.fromkeys(s["shape"] for s in t["samples"]):
        mine = [s for s in t["samples"] if s["shape"] == shape]
        rates = {}
        for engine in dict.fromkeys(s["engine"] for s in mine):
            samples = [s for s in mine if s["engine"] == engine]
            rates[engine] = best_rate(samples)
        for engine, (middle, best) in rates.items():
            if middle is None:
                rows.append([shape, engine, "fails", "-", "-", "-"])
                continue
            shares = [100 * median(s["rates"]) * t["flops"][shape] / 1e9 / s["peak"] for s in mine
                      if s["engine"] == engine and "rates" in s and s["peak"] > 0]
            ratios = [f"{rates[ours][0] / middle:.2f}" if rates.get(ours, (None,))[0] and not engine.startswith("aigc")
                      else "-" for ours in ("aigc f32", "aigc bf16")]
            rows.append([shape, engine, f"{middle:.0f} / {best:.0f}", f"{median(shares):.0f} %" if shares else "-"] + ratios)
    versions = dict.fromkeys(f"{s['engine']} {s['version']}" for s in t["samples"] if "version" in s)
    about = (f"By `{t['command']}` on {t['date']}, {t['threads']} threads: tokens/s{' ' + t['clock'] if t.get('clock') else ''} in a step, median / best; the part of "
             + "the peak that build/flops reached just before, of float32 or bfloat16. " + "; ".join(versions) + ".")
    failures = dict.fromkeys(f"- {s['engine']}, {s['shape']}: {s['failure']}" for s in t["samples"] if "failure" in s)
    head = ["shape", "engine", "tokens/s", "part of the peak", "aigc f32 / it", "aigc bf16 / it"]
    return f"## Training\n\n{about}\n\n" + table(head, rows) + ("\n" + "\n".join(failures) + "\n" if failures else "")


def neovim(n):
    """The part that bench/nvim_results writes."""
    parts = [f"## In Neovim\n\nBy `bench/nvim_latency.lua` and `bench/nvim_llama_vim.lua` (their first lines tell how) on {n['date']}; "
             + "milliseconds.\n"]
    for t in n["tables"]:
        parts.append(t["title"] + "\n\n" + table(["", "n", "median", "99 %", "longest"], t["rows"])
                     + "".join(f"\n{note}\n" for note in t["notes"]))
    return "\n".join(parts)


def markdown(results):
    r = Results(results)
    m = r.machine
    parts = [f"# Speed\n\nWritten by `{m['command']}` on {m['date']}; docs/speed.md explains.\n\n"
             + f"{m['cpu']}, {m['memory_gib']} GiB, {m['system']}; {m['threads']} threads; best memory bandwidth seen "
             + f"{m['bandwidth']:.0f} GB/s. Revision {m['revision']}; "
             + "; ".join(f"{name} {version}" for name, version in m["engines"].items()) + ".\n"]
    present = {s["section"] for s in r.samples}
    if "speed" in present:
        parts += [speed(r, "decode", "Decoding 64 tokens"), speed(r, "prompt", "A prompt of 512 tokens")]
    for section, write in (("batching", batching), ("contention", contention), ("start", start), ("memory", memory)):
        if section in present:
            parts.append(write(r))
    if "training" in results:
        parts.append(training(results["training"]))
    if "neovim" in results:
        parts.append(neovim(results["neovim"]))
    failures = dict.fromkeys(f"{s['engine']}, {s['case']}: {s['failure']}" for s in r.samples if "failure" in s)
    if failures:
        parts.append("## What failed\n\n" + "\n".join(f"- {f}" for f in failures) + "\n")
    return "\n".join(parts)
