#!/usr/bin/env python3
"""Trains a model in PyTorch, on a GPU if there is one: the same architectures, recipe and order of text as `aigc train`.

Two files come from `aigc train`: the model to begin from (weights as F32), and the tokens of the texts.

    aigc train -t tok.gguf --steps 0 --layers 8 --width 384 --valid held-out.txt \
        --tokens-to tokens.gguf -o first.gguf books.txt
    tools/pretrain.py --init first.gguf --tokens tokens.gguf --steps 20000 --batch 64 -o books.gguf
    aigc train --init books.gguf --steps 0 --type Q8_0 -o books-q8.gguf books.txt

The result is first.gguf with other weights: vocabulary, name and chat template stay. Options have the names, meanings and
defaults of `aigc train`; docs/training.md says more. Needs torch, numpy and gguf (all on PyPI).
"""
import argparse
import math
import os
import shutil
import sys
import time

import gguf
import numpy as np
import torch
import torch.nn.functional as F

MASK = 2**64 - 1

# ---- the order of the text (core/base/random.c, core/learn/corpus.c) -------------------------------------------------


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


class Random:
    """xoshiro256++ seeded by splitmix64."""

    GOLDEN = 0x9E3779B97F4A7C15

    def __init__(self, seed, stream):
        x = mix(seed + self.GOLDEN & MASK) + mix(stream ^ 0xD1B54A32D192ED03) & MASK
        self.s = []
        for _ in range(4):
            x = x + self.GOLDEN & MASK
            self.s.append(mix(x))

    def unit(self):
        a, b, c, d = self.s
        x = a + d & MASK
        result = ((x << 23 | x >> 41) + a) & MASK
        t = b << 17 & MASK
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= t
        d = (d << 45 | d >> 19) & MASK
        self.s = [a, b, c, d]
        return (result >> 11) * 2.0**-53


class Text:
    """A row of tokens, and the windows of it."""

    def __init__(self, ids, bos, eos):
        self.ids, self.bos, self.eos = ids, bos, eos

    def window(self, start, n):
        """ids, targets (-1: none) and where each token's document begins, of the n tokens from start on."""
        row = np.zeros(n + 1, np.int64)
        here = self.ids[start : start + n + 1]
        row[: len(here)] = here
        at = np.arange(start, start + n + 1)
        if self.bos >= 0:
            begins = row == self.bos
        else:
            before = np.concatenate(([self.ids[start - 1] if start > 0 else -1], row[:-1]))
            begins = before == self.eos
        inside = at < len(self.ids)
        begins &= inside
        first = np.maximum.accumulate(np.where(begins[:n], np.arange(n), 0))
        learned = inside[1:] & ~(begins[1:] & (self.bos != self.eos))
        return row[:n] * inside[:n], np.where(learned, row[1:], -1), first


class Order:
    """Where window number i of the run begins: each epoch shuffled, and cut at other places."""

    STREAM = 1 << 20

    def __init__(self, n_ids, parts, n_context, seed):
        self.n_context, self.seed, self.epoch = n_context, seed, -1
        n = (n_ids - n_context) // n_context
        firsts = [min(-(-int(begin) // n_context), n) for begin, _ in parts]
        self.runs = []
        for i, (_, weight) in enumerate(parts):
            end = firsts[i + 1] if i + 1 < len(parts) else n
            size = max(end - firsts[i], 0)
            self.runs.append((firsts[i], size, int(weight * size + 0.5)))
        self.n_windows = sum(taken for _, _, taken in self.runs)
        if n < 1 or self.n_windows == 0:
            sys.exit("pretrain.py: the text is shorter than two contexts, or no part of it has a weight")

    def shuffle(self, epoch):
        r = Random(self.seed, self.STREAM + epoch)
        self.epoch = epoch
        self.shift = int(r.unit() * self.n_context)
        order = []
        for first, size, taken in self.runs:
            at = epoch * taken % size if size else 0
            order += [first + (at + j) % size for j in range(taken)]
        for i in range(len(order) - 1, 0, -1):
            j = int(r.unit() * (i + 1))
            order[i], order[j] = order[j], order[i]
        self.order = order

    def start(self, number):
        if number // self.n_windows != self.epoch:
            self.shuffle(number // self.n_windows)
        return self.shift + self.order[number % self.n_windows] * self.n_context


# ---- the model -------------------------------------------------------------------------------------------------------


class Model(torch.nn.Module):
    """The rows llama, qwen2 and gpt2 of core/model/arch.c; parameters have the names of the file's tensors."""

    def __init__(self, reader, n_context):
        super().__init__()
        value = lambda key: reader.get_field(key).contents()
        self.arch = value("general.architecture")
        if self.arch not in ("llama", "qwen2", "gpt2"):
            sys.exit(f"pretrain.py: architecture '{self.arch}' is not known (llama, qwen2, gpt2 are)")
        get = lambda key: value(f"{self.arch}.{key}")
        self.n_layers, self.n_embd, self.n_heads = get("block_count"), get("embedding_length"), get("attention.head_count")
        self.n_kv_heads, self.n_context = get("attention.head_count_kv"), n_context or get("context_length")
        self.is_gpt2 = self.arch == "gpt2"
        self.eps = get("attention.layer_norm_epsilon" if self.is_gpt2 else "attention.layer_norm_rms_epsilon")
        self.head = self.n_embd // self.n_heads
        self.names, self.offsets = {}, {}
        for t in reader.tensors:
            if t.tensor_type != gguf.GGMLQuantizationType.F32:
                sys.exit(f"pretrain.py: {t.name} is {t.tensor_type.name}: the weights to begin from must be F32")
            w = torch.nn.Parameter(torch.tensor(np.array(t.data), dtype=torch.float32))
            self.names[t.name] = t.name.replace(".", "_")
            self.offsets[t.name] = (t.data_offset, t.n_bytes)
            self.register_parameter(self.names[t.name], w)
        if not self.is_gpt2:
            base = get("rope.freq_base")
            frequency = base ** (-2.0 * torch.arange(self.head // 2, dtype=torch.float64) / self.head)
            angles = torch.arange(self.n_context, dtype=torch.float64)[:, None] * frequency
            self.register_buffer("cosines", angles.cos().float(), persistent=False)
            self.register_buffer("sines", angles.sin().float(), persistent=False)

    def weight(self, name):
        return getattr(self, self.names[name]) if name in self.names else None

    def linear(self, x, name):
        return F.linear(x, self.weight(name + ".weight"), self.weight(name + ".bias"))

    def norm(self, x, name):
        w = self.weight(name + ".weight")
        if self.is_gpt2:
            return F.layer_norm(x, (self.n_embd,), w, self.weight(name + ".bias"), self.eps)
        return F.rms_norm(x, (self.n_embd,), w, self.eps)

    def rotate(self, x, position):
        """x: [sequence, head, token, dimension]"""
        c, s = self.cosines[position][:, None].to(x.dtype), self.sines[position][:, None].to(x.dtype)
        if self.arch == "llama":
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)
        a, b = x.chunk(2, -1)
        return torch.cat((a * c - b * s, a * s + b * c), -1)

    def attention(self, y, prefix, position, mask):
        if self.is_gpt2:
            q, k, v = self.linear(y, prefix + "attn_qkv").chunk(3, -1)
        else:
            q, k, v = (self.linear(y, prefix + "attn_" + n) for n in "qkv")
        q, k, v = (z.view(*z.shape[:2], -1, self.head).transpose(1, 2) for z in (q, k, v))
        if not self.is_gpt2:
            q, k = self.rotate(q, position), self.rotate(k, position)
        if self.n_kv_heads != self.n_heads:
            k, v = (z.repeat_interleave(self.n_heads // self.n_kv_heads, 1) for z in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.linear(y.transpose(1, 2).flatten(2), prefix + "attn_output")

    def feed_forward(self, y, prefix):
        if self.is_gpt2:
            h = F.gelu(self.linear(y, prefix + "ffn_up"), approximate="tanh")
        else:
            h = F.silu(self.linear(y, prefix + "ffn_gate")) * self.linear(y, prefix + "ffn_up")
        return self.linear(h, prefix + "ffn_down")

    def forward(self, ids, targets, first):
        """The sum of the targets' losses."""
        t = torch.arange(ids.shape[1], device=ids.device)
        position, mask = t - first, None
        if first.any():
            mask = (t[None, None, :] <= t[None, :, None]) & (t[None, None, :] >= first[:, :, None])
            mask = mask[:, None]
        x = self.weight("token_embd.weight")[ids]
        if self.is_gpt2:
            x = x + self.weight("position_embd.weight")[position]
        for i in range(self.n_layers):
            prefix = f"blk.{i}."
            x = x + self.attention(self.norm(x, prefix + "attn_norm"), prefix, position, mask)
            x = x + self.feed_forward(self.norm(x, prefix + "ffn_norm"), prefix)
        output = self.weight("output.weight")
        x = self.norm(x, "output_norm")
        logits = F.linear(x, self.weight("token_embd.weight") if output is None else output)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum")

    @torch.no_grad()
    def write(self, init, path):
        """The file that training began from, with these weights."""
        aside = path + ".tmp"
        shutil.copyfile(init, aside)
        with open(aside, "r+b") as out:
            for name, (offset, size) in self.offsets.items():
                data = self.weight(name).detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()
                assert len(data) == size
                out.seek(offset)
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, path)


# ---- the recipe ------------------------------------------------------------------------------------------------------


def orthogonalise(x):
    """Singular values near 1: five Newton-Schulz iterations (Jordan et al., 2024)."""
    if x.shape[0] > x.shape[1]:
        return orthogonalise(x.T).T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


class Muon:
    """For the matrices of the layers, with the scale of Liu et al. (2025); of attn_qkv each part on its own."""

    def __init__(self, weights, parts, decay):
        self.weights, self.parts, self.decay = weights, parts, decay
        self.means = {name: torch.zeros_like(w) for name, w in weights.items()}

    @torch.no_grad()
    def step(self, rate):
        for name, w in self.weights.items():
            mean = self.means[name]
            mean.lerp_(w.grad, 0.05)
            update = w.grad.lerp(mean, 0.95)
            pieces = update.split(self.parts) if name.endswith("attn_qkv.weight") else (update,)
            pieces = [0.2 * math.sqrt(max(x.shape)) * orthogonalise(x) for x in pieces]
            w.mul_(1 - rate * self.decay).sub_(rate * torch.cat(pieces))


class Recipe:
    def __init__(self, model, o):
        weights = {name: model.weight(name) for name in model.names}
        inner = {n: w for n, w in weights.items() if o.optimizer == "muon" and w.dim() > 1 and n.startswith("blk.")}
        rest = [w for n, w in weights.items() if n not in inner]
        kv = model.n_kv_heads * model.head
        self.muon = Muon(inner, [model.n_embd, kv, kv], o.weight_decay)
        groups = [
            {"params": [w for w in rest if w.dim() > 1], "weight_decay": o.weight_decay},
            {"params": [w for w in rest if w.dim() == 1], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=o.lr, betas=(0.9, 0.95), eps=1e-8)
        self.weights, self.o = list(weights.values()), o

    def rate(self, step):
        """Of step 1 to o.steps: core/learn/schedule.c."""
        o = self.o
        if step <= o.warmup:
            return o.lr * step / o.warmup
        top = o.warmup
        if o.schedule == "stable":
            decay = int(o.decay * o.steps if o.decay < 1 else o.decay)
            top = max(top, o.steps - decay)
        if step <= top:
            return o.lr
        part = (step - top) / (o.steps - top)
        height = 1 - part if o.schedule == "stable" else 0.5 * (1 + math.cos(math.pi * part))
        return o.lr * (o.lr_end + (1 - o.lr_end) * height)

    def step(self, number):
        """Returns the gradient's norm and the learning rate."""
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.o.clip if self.o.clip > 0 else math.inf)
        rate = self.rate(number)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.muon.step(rate)
        return norm, rate

    def state(self):
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.means}

    def load(self, state):
        self.adamw.load_state_dict(state["adamw"])
        for name, mean in self.muon.means.items():
            mean.copy_(state["muon"][name])


# ---- a run -----------------------------------------------------------------------------------------------------------


def read_tokens(path):
    reader = gguf.GGUFReader(path)
    tensors = {t.name: np.array(t.data) for t in reader.tensors}
    bos, eos = (reader.get_field("tokens." + k).contents() for k in ("bos", "eos"))
    texts = {k: Text(tensors[k], bos, eos) for k in ("train", "valid") if k in tensors}
    return texts, tensors["parts"].reshape(-1, 2).tolist() if "parts" in tensors else [(0, 1.0)]


def token_bytes(reader):
    """How many bytes of text each token stands for: of a byte-level vocabulary, one a character; control tokens none."""
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    types = reader.get_field("tokenizer.ggml.token_type")
    types = types.contents() if types else [1] * len(tokens)
    return np.array([len(token) if kind == 1 else 0 for token, kind in zip(tokens, types)])


class Run:
    def __init__(self, o):
        self.o = o
        reader = gguf.GGUFReader(o.init)
        self.bytes = token_bytes(reader)
        self.model = Model(reader, o.context).to(o.device)
        self.texts, parts = read_tokens(o.tokens)
        self.n = self.model.n_context
        self.order = Order(len(self.texts["train"].ids), parts, self.n, o.seed)
        self.recipe = Recipe(self.model, o)
        self.loss = torch.compile(self.model) if o.compile else self.model
        self.done = 0

    def batch(self, windows):
        return [torch.from_numpy(np.stack(x)).to(self.o.device) for x in zip(*windows)]

    def autocast(self):
        kind = torch.device(self.o.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.o.precision == "bf16")

    def step(self):
        """One step; returns mean loss, norm and rate."""
        o, number = self.o, self.done * self.o.batch * self.o.accumulate
        starts = [self.order.start(number + i) for i in range(o.batch * o.accumulate)]
        windows = [self.texts["train"].window(start, self.n) for start in starts]
        n_targets = sum(int((targets >= 0).sum()) for _, targets, _ in windows)
        for w in self.recipe.weights:
            w.grad = None
        total = 0.0
        for i in range(0, len(windows), o.batch):
            with self.autocast():
                loss = self.loss(*self.batch(windows[i : i + o.batch])) / n_targets
            loss.backward()
            total += loss.detach()
        self.done += 1
        norm, rate = self.recipe.step(self.done)
        return float(total), float(norm), rate

    @torch.no_grad()
    def bits_per_byte(self):
        """Of windows spread evenly over the held-out text, as `aigc train` does it."""
        text, o = self.texts["valid"], self.o
        n_windows = -(-(len(text.ids) - 1) // self.n)
        n_used = min(max(o.valid_tokens // self.n, 1), n_windows)
        windows = [text.window(i * n_windows // n_used * self.n, self.n) for i in range(n_used)]
        n_bytes = sum(int(self.bytes[targets[targets >= 0]].sum()) for _, targets, _ in windows)
        total = 0.0
        for i in range(0, n_used, o.batch):
            with self.autocast():
                total += float(self.model(*self.batch(windows[i : i + o.batch])))
        return total / math.log(2) / n_bytes

    def save(self):
        state = {"step": self.done, "model": self.model.state_dict(), "recipe": self.recipe.state()}
        state["options"] = {k: v for k, v in vars(self.o).items() if k in SAME_IN_A_RUN}
        torch.save(state, self.o.checkpoint + ".tmp")
        os.replace(self.o.checkpoint + ".tmp", self.o.checkpoint)

    def load(self):
        state = torch.load(self.o.checkpoint, map_location=self.o.device, weights_only=True)
        for key, was in state["options"].items():
            if was != getattr(self.o, key):
                sys.exit(f"pretrain.py: {self.o.checkpoint} is of a run with {key} {was}, not {getattr(self.o, key)}")
        self.model.load_state_dict(state["model"])
        self.recipe.load(state["recipe"])
        self.done = state["step"]

    def go(self):
        o, log = self.o, open(self.o.log, "a") if self.o.log else None
        if log and log.tell() == 0:
            log.write("step,loss,gradient_norm,learning_rate,tokens_per_second,valid_bits_per_byte\n")
        began, first = time.time(), self.done
        while self.done < o.steps:
            loss, norm, rate = self.step()
            last, valid = self.done == o.steps, ""
            if not math.isfinite(loss) or not math.isfinite(norm):
                sys.exit(f"pretrain.py: step {self.done}: the loss is {loss}: a lower --lr may help")
            if "valid" in self.texts and (last or self.done % o.valid_every == 0):
                valid = f"{self.bits_per_byte():.6f}"
            speed = (self.done - first) * o.batch * o.accumulate * self.n / (time.time() - began)
            if log:
                log.write(f"{self.done},{loss:.6f},{norm:.6f},{rate:.6g},{speed:.0f},{valid}\n")
                log.flush()
            if last or valid or self.done % 20 == 0:
                held_out = f"  held out {valid} bits/byte" if valid else ""
                print(f"step {self.done} of {o.steps}  loss {loss:.4f}  {speed:.0f} tokens/s  lr {rate:.3g}{held_out}",
                      file=sys.stderr, flush=True)
            if last or self.done % o.save_every == 0:
                self.save()
        self.model.write(o.init, o.output)


SAME_IN_A_RUN = ("batch", "accumulate", "context", "steps", "lr", "lr_end", "schedule", "decay", "warmup", "optimizer",
                 "weight_decay", "clip", "seed", "precision")


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--init", required=True, help="the model to begin from, with F32 weights")
    p.add_argument("--tokens", required=True, help="what `aigc train --tokens-to` wrote")
    p.add_argument("-o", "--output", required=True, help="the model to write")
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--batch", type=int, default=16, help="sequences computed together [16]")
    p.add_argument("--accumulate", type=int, default=1, help="batches in a step [1]")
    p.add_argument("--context", type=int, default=0, help="tokens of a sequence [the model's]")
    p.add_argument("--lr", type=float, default=0, help="the highest learning rate [0.003; 0.001 by adamw]")
    p.add_argument("--lr-end", type=float, default=0.1, help="the last one, as a part of it [0.1]")
    p.add_argument("--schedule", choices=("cosine", "stable"), default="cosine")
    p.add_argument("--decay", type=float, default=0.2, help="of a stable schedule: steps of the fall, or below 1 a part [0.2]")
    p.add_argument("--warmup", type=int, default=-1, help="steps [a twentieth of the run, at most 1000]")
    p.add_argument("--optimizer", choices=("adamw", "muon"), default="muon", help="of the layers' matrices [muon]")
    p.add_argument("--weight-decay", type=float, default=0.1, help="of matrices [0.1]")
    p.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient; 0 is off [1]")
    p.add_argument("--seed", type=int, default=0, help="of the text's order [0]")
    p.add_argument("--precision", choices=("f32", "bf16"), default="f32", help="of products [f32]")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=0, help="on the CPU [torch's own choice]")
    p.add_argument("--compile", action="store_true", help="through torch.compile")
    p.add_argument("--log", help="append a line of CSV for each step")
    p.add_argument("--checkpoint", help="where the run's state is kept [the output's name and .torch]")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    p.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints [1000]")
    p.add_argument("--valid-every", type=int, default=200, help="steps between evaluations [200]")
    p.add_argument("--valid-tokens", type=int, default=100000, help="most tokens that an evaluation looks at [100000]")
    o = p.parse_args()
    o.checkpoint = o.checkpoint or o.output + ".torch"
    o.lr = o.lr or (3e-3 if o.optimizer == "muon" else 1e-3)
    if o.warmup < 0:
        o.warmup = min(o.steps // 20, 1000)
    return o


def main():
    o = parse()
    if o.threads:
        torch.set_num_threads(o.threads)
    run = Run(o)
    if o.resume:
        run.load()
    run.go()


if __name__ == "__main__":
    main()
