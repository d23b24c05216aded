#!/usr/bin/env python3
"""Writes learn.golden: the losses of 50 training steps that tests/unit/test_learn_curve.c compares the trainer with.

PyTorch computes the same small models from the same first weights and batches (formula_weights() and formula_batch() of
tests/unit/learn_reference.c, written again here) with its own attention, gradients, AdamW and clipping, in float32; Muon
is written here from its description (Jordan et al., 2024), with the scale of Liu et al. (2025).
Written with torch 2.15.0:

    python3 -m venv venv && venv/bin/pip install torch && venv/bin/python tests/reference/make_learn_golden.py
"""
import math
import os

import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, SEQUENCES, ACCUMULATE, DOCUMENT, SPREAD = 50, 2, 2, 23, 0.1
RATE, LEAST, WARMUP, DECAY, CLIP, BETAS, EPS = 3e-3, 0.1, 10, 0.1, 1.0, (0.9, 0.95), 1e-8
SHAPES = {
    "llama": dict(layers=2, embd=48, heads=4, kv=2, ff=96, context=64, vocab=101, eps=1e-5, base=10000.0, tied=False),
    "qwen2": dict(layers=2, embd=48, heads=4, kv=2, ff=96, context=64, vocab=101, eps=1e-6, base=1e6, tied=True),
    "gpt2": dict(layers=2, embd=48, heads=4, kv=4, ff=192, context=64, vocab=101, eps=1e-5, base=0.0, tied=True),
}
MASK = 2**64 - 1


def unit(i):
    x = (i + 1) * 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    x ^= x >> 31
    return (x >> 40) / 2**23 - 1


def batch(vocab, context, number):
    n = SEQUENCES * context
    base = 10**12 + number * n
    ids = [int(((unit(base + t) + 1) / 2) ** 2 * vocab) for t in range(n)]
    first = []
    for t in range(n):
        position = t % context
        starts = position > 0 and (t + number * 3) % DOCUMENT == 0
        first.append(position if starts else 0 if position == 0 else first[-1])
    last = [t % context == context - 1 or first[t + 1] != first[t] for t in range(n)]
    targets = [-1 if last[t] else ids[t + 1] for t in range(n)]
    return [torch.tensor(x).view(SEQUENCES, context) for x in (ids, targets, first)]


def names(arch, s):
    """Tensors in the order of the layout: name, shape, what it begins around."""
    d, kv = s["embd"], s["embd"] // s["heads"] * s["kv"]
    yield "token", (s["vocab"], d), 0
    if arch == "gpt2":
        yield "position", (s["context"], d), 0
    for i in range(s["layers"]):
        if arch == "gpt2":
            matrices = [("qkv", 3 * d, d), ("o", d, d), ("up", s["ff"], d), ("down", d, s["ff"])]
        else:
            matrices = [("q", d, d), ("k", kv, d), ("v", kv, d), ("o", d, d)]
            matrices += [("gate", s["ff"], d), ("up", s["ff"], d), ("down", d, s["ff"])]
        for name, rows, k in matrices:
            yield f"{i}.{name}", (rows, k), 0
            if arch == "gpt2" or arch == "qwen2" and name in "qkv":
                yield f"{i}.{name}.b", (rows,), 0
        for name in ("norm1", "norm2"):
            yield f"{i}.{name}", (d,), 1
            if arch == "gpt2":
                yield f"{i}.{name}.b", (d,), 0
    yield "norm", (d,), 1
    if arch == "gpt2":
        yield "norm.b", (d,), 0
    if not s["tied"]:
        yield "output", (s["vocab"], d), 0


def first_weights(arch, s):
    weights = {}
    for i, (name, shape, start) in enumerate(names(arch, s)):
        n = math.prod(shape)
        values = [start + SPREAD * unit(i * 1000000 + j) for j in range(n)]
        weights[name] = torch.tensor(values, dtype=torch.float32).view(shape).requires_grad_()
    return weights


def rotate(x, angles, pairs):
    """x: [sequence, head, token, dimension], angles: [sequence, 1, token, dimension / 2]"""
    c, s = angles.cos(), angles.sin()
    if pairs:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)
    a, b = x.chunk(2, -1)
    return torch.cat((a * c - b * s, a * s + b * c), -1)


def forward(arch, s, w, ids, targets, first):
    d, heads, head = s["embd"], s["heads"], s["embd"] // s["heads"]
    t = torch.arange(s["context"])
    position = t - first
    visible = (t[None, None, :] <= t[None, :, None]) & (t[None, None, :] >= first[:, :, None])
    frequency = s["base"] ** (-2.0 * torch.arange(head // 2, dtype=torch.float64) / head) if s["base"] else None

    def norm(x, name):
        if arch == "gpt2":
            return F.layer_norm(x, (d,), w[name], w[name + ".b"], s["eps"])
        return F.rms_norm(x, (d,), w[name], s["eps"])

    def linear(x, name):
        return F.linear(x, w[name], w.get(name + ".b"))

    x = w["token"][ids]
    if arch == "gpt2":
        x = x + w["position"][position]
    for i in range(s["layers"]):
        y = norm(x, f"{i}.norm1")
        if arch == "gpt2":
            q, k, v = linear(y, f"{i}.qkv").chunk(3, -1)
        else:
            q, k, v = (linear(y, f"{i}.{n}") for n in "qkv")
        q, k, v = (z.view(*z.shape[:2], -1, head).transpose(1, 2) for z in (q, k, v))
        if frequency is not None:
            angles = (position[:, None, :, None].double() * frequency).float()
            q, k = (rotate(z, angles, arch == "llama") for z in (q, k))
        k, v = (z.repeat_interleave(heads // z.shape[1], 1) for z in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None])
        x = x + linear(y.transpose(1, 2).flatten(2), f"{i}.o")
        y = norm(x, f"{i}.norm2")
        if arch == "gpt2":
            y = F.gelu(linear(y, f"{i}.up"), approximate="tanh")
        else:
            y = F.silu(linear(y, f"{i}.gate")) * linear(y, f"{i}.up")
        x = x + linear(y, f"{i}.down")
    logits = F.linear(norm(x, "norm"), w["token" if s["tied"] else "output"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")


def rate_at(step):
    """step counts from 1"""
    if step <= WARMUP:
        return RATE * step / WARMUP
    part = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * part)))


def orthogonalise(x):
    """Singular values towards 1, by five steps of x <- a x + (b x x' + c x x' x x') x."""
    if x.shape[0] > x.shape[1]:
        return orthogonalise(x.T).T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


class Muon:
    """For the given matrices; of one called qkv, each third on its own."""

    def __init__(self, weights):
        self.weights = weights
        self.means = {name: torch.zeros_like(w) for name, w in weights.items()}

    @torch.no_grad()
    def step(self, rate):
        for name, w in self.weights.items():
            mean = self.means[name]
            mean.lerp_(w.grad, 0.05)
            update = w.grad.lerp(mean, 0.95)
            parts = update.chunk(3) if name.endswith("qkv") else (update,)
            parts = [0.2 * math.sqrt(max(x.shape)) * orthogonalise(x) for x in parts]
            w.mul_(1 - rate * DECAY).sub_(rate * torch.cat(parts))


def train(arch, s, use_muon):
    w = first_weights(arch, s)
    inner = {n: x for n, x in w.items() if use_muon and x.dim() > 1 and n[0].isdigit()}
    rest = [x for n, x in w.items() if n not in inner]
    muon = Muon(inner)
    groups = [
        {"params": [x for x in rest if x.dim() > 1], "weight_decay": DECAY},
        {"params": [x for x in rest if x.dim() == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPS)
    for step in range(1, STEPS + 1):
        # The same four batches come again and again, so that there is something to learn.
        batches = [batch(s["vocab"], s["context"], (step - 1) % 2 * ACCUMULATE + i) for i in range(ACCUMULATE)]
        n = sum(int((targets >= 0).sum()) for _, targets, _ in batches)
        loss = sum(forward(arch, s, w, *b) for b in batches) / n
        for x in w.values():
            x.grad = None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(w.values(), CLIP)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step)
        optimiser.step()
        muon.step(rate_at(step))
        yield step, float(loss.detach()), float(norm)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with open(os.path.join(HERE, "learn.golden"), "w") as out:
        out.write("# architecture, step, loss before the step, norm of the gradient (make_learn_golden.py)\n")
        for use_muon in (False, True):
            for arch, s in SHAPES.items():
                for step, loss, norm in train(arch, s, use_muon):
                    out.write(f"{arch}{'-muon' if use_muon else ''} {step} {loss:.7f} {norm:.6f}\n")


if __name__ == "__main__":
    main()
