#!/usr/bin/env python3
"""Writes adapt.golden: what tests/unit/test_learn_adapt.c compares fine-tuning with: the loss and the gradient's norm of
20 steps of direct preference optimisation (Rafailov et al., 2023), and of 20 steps that learn responses alone.

PyTorch computes the models of make_learn_golden.py over the texts of example() below, each example by itself, so that
nothing of our packing into windows has a part in it. A byte b is token b + 1, the end of a text token 0.
Written with torch 2.15.0:

    python3 -m venv venv && venv/bin/pip install torch && venv/bin/python tests/reference/make_adapt_golden.py
"""
import math
import os

import torch
import torch.nn.functional as F

from make_learn_golden import BETAS, EPS, first_weights, forward

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, EXAMPLES, BETA, RATE, CLIP = 20, 8, 0.3, 2e-3, 1.0
COMMON = dict(layers=2, embd=48, heads=4, context=64, vocab=261)
SHAPES = {
    "llama": dict(COMMON, kv=2, ff=96, eps=1e-5, base=10000.0, tied=False),
    "qwen2": dict(COMMON, kv=2, ff=96, eps=1e-6, base=1e6, tied=True),
    "gpt2": dict(COMMON, kv=4, ff=192, eps=1e-5, base=0.0, tied=True),
}


def example(i):
    """Prompt, chosen, rejected; no "th", which would be one token."""
    c = chr(ord("a") + i)
    return f"{c}{c} is", f" good {i}.", f" bad {c}!"


def ids_of(text):
    return [b + 1 for b in text.encode()]


def log_probability(arch, s, w, prompt, response):
    known, learned = ids_of(prompt), ids_of(response) + [0]
    ids = known + learned
    n, pad = len(ids) - 1, s["context"] - len(ids) + 1
    targets = [ids[t + 1] if t + 1 >= len(known) else -1 for t in range(n)]
    row = lambda x: torch.tensor([x])
    return -forward(arch, s, w, row(ids[:n] + [0] * pad), row(targets + [-1] * pad), row([0] * n + [n] * pad))


def preference_loss(arch, s, w, references):
    total = 0
    for i in range(EXAMPLES):
        prompt, *responses = example(i)
        gains = [log_probability(arch, s, w, prompt, r) - ref for r, ref in zip(responses, references[i])]
        total = total - F.logsigmoid(BETA * (gains[0] - gains[1]))
    return total / EXAMPLES


def response_loss(arch, s, w):
    pairs = [example(i)[:2] for i in range(EXAMPLES)]
    return -sum(log_probability(arch, s, w, *p) for p in pairs) / sum(len(ids_of(r)) + 1 for _, r in pairs)


def train(arch, s, preferences):
    w = first_weights(arch, s)
    with torch.no_grad():
        references = [[log_probability(arch, s, w, p, r) for r in rs] for p, *rs in map(example, range(EXAMPLES))]
    optimiser = torch.optim.AdamW(w.values(), lr=RATE, betas=BETAS, eps=EPS, weight_decay=0)
    for step in range(1, STEPS + 1):
        optimiser.zero_grad()
        loss = preference_loss(arch, s, w, references) if preferences else response_loss(arch, s, w)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(w.values(), CLIP)
        optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        optimiser.step()
        yield step, float(loss.detach()), float(norm)


def main():
    torch.set_num_threads(1)
    with open(os.path.join(HERE, "adapt.golden"), "w") as out:
        out.write("# what, step, loss before the step, norm of the gradient (make_adapt_golden.py)\n")
        for arch, s in SHAPES.items():
            for what in ("preferences", "responses"):
                for step, loss, norm in train(arch, s, what == "preferences"):
                    out.write(f"{arch}-{what} {step} {loss:.7f} {norm:.6f}\n")


main()
