#!/usr/bin/env python3
"""Writes the golden logits that tests/unit/test_golden.c compares the engine with.

An independent implementation, Hugging Face transformers on PyTorch in double precision, runs the weights of files that
build/make-model wrote, over a fixed sequence of tokens. Written with torch 2.15.0, transformers 5.23.0, gguf 0.19.0:

    python3 -m venv venv && venv/bin/pip install torch transformers gguf
    make && venv/bin/python tests/reference/make_goldens.py [SHAPE...]

Each golden file is text: the shape and seed, a checksum of the weights (so that a change of make-model is told from a
fault of the engine), the tokens, the most probable next token at each position (-1 where the second is within 0.01),
and at some positions the logarithm of the sum of exponentials of all logits and the logits of some tokens: the 8 most
probable and others spread over the vocabulary.
"""
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = ["gpt2-124m", "gpt2-tiny", "llama-tiny", "qwen2-tiny"]
SEED = 1
N_TOKENS = 64
POSITIONS = [0, 1, 2, 15, 31, 32, 33, 63]  # around the border of the engine's cache blocks, among others
TOP, SPREAD = 8, 24


class File:
    """Tensors as arrays with rows first, and numbers of the metadata."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.reader.fields["general.architecture"].contents()
        self.tensors = {t.name: np.array(t.data) for t in self.reader.tensors}

    def number(self, key):
        return self.reader.fields[f"{self.arch}.{key}"].contents()

    def checksum(self):
        words = (t.data.view(np.uint32).sum(dtype=np.uint64) for t in self.reader.tensors)
        return sum(int(w) for w in words) % 2**64

    def __getitem__(self, name):
        return torch.from_numpy(self.tensors[name]).double()


def gpt2(f):
    config = GPT2Config(
        vocab_size=f["token_embd.weight"].shape[0],
        n_positions=f.number("context_length"),
        n_embd=f.number("embedding_length"),
        n_layer=f.number("block_count"),
        n_head=f.number("attention.head_count"),
        n_inner=f.number("feed_forward_length"),
        layer_norm_epsilon=f.number("attention.layer_norm_epsilon"),
        activation_function="gelu_new",
        tie_word_embeddings=False,
    )
    state = {
        "transformer.wte.weight": f["token_embd.weight"],
        "transformer.wpe.weight": f["position_embd.weight"],
        "transformer.ln_f.weight": f["output_norm.weight"],
        "transformer.ln_f.bias": f["output_norm.bias"],
        "lm_head.weight": f["output.weight"],
    }
    names = {
        "ln_1": "attn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "ln_2": "ffn_norm",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }
    for i in range(config.n_layer):
        for theirs, ours in names.items():
            weight = f[f"blk.{i}.{ours}.weight"]
            # Their Conv1D keeps its matrix transposed.
            state[f"transformer.h.{i}.{theirs}.weight"] = weight.T if weight.dim() == 2 else weight
            state[f"transformer.h.{i}.{theirs}.bias"] = f[f"blk.{i}.{ours}.bias"]
    return GPT2LMHeadModel(config), state


def halves(weight, n_heads):
    """Rows of a llama file rotate in pairs (2i, 2i + 1); transformers rotates (i, i + head_dim / 2)."""
    rows, cols = weight.shape
    return weight.reshape(n_heads, rows // n_heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def llama(f):
    qwen2 = f.arch == "qwen2"
    tied = "output.weight" not in f.tensors
    config = (Qwen2Config if qwen2 else LlamaConfig)(
        vocab_size=f["token_embd.weight"].shape[0],
        max_position_embeddings=f.number("context_length"),
        hidden_size=f.number("embedding_length"),
        num_hidden_layers=f.number("block_count"),
        num_attention_heads=f.number("attention.head_count"),
        num_key_value_heads=f.number("attention.head_count_kv"),
        intermediate_size=f.number("feed_forward_length"),
        rms_norm_eps=f.number("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": f.number("rope.freq_base")},
        tie_word_embeddings=tied,
    )
    state = {
        "model.embed_tokens.weight": f["token_embd.weight"],
        "model.norm.weight": f["output_norm.weight"],
        "lm_head.weight": f["token_embd.weight" if tied else "output.weight"],
    }
    names = {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for i in range(config.num_hidden_layers):
        for theirs, ours in names.items():
            weight = f[f"blk.{i}.{ours}.weight"]
            if not qwen2 and ours == "attn_q":
                weight = halves(weight, config.num_attention_heads)
            if not qwen2 and ours == "attn_k":
                weight = halves(weight, config.num_key_value_heads)
            state[f"model.layers.{i}.{theirs}.weight"] = weight
            if f"blk.{i}.{ours}.bias" in f.tensors:
                state[f"model.layers.{i}.{theirs}.bias"] = f[f"blk.{i}.{ours}.bias"]
    return (Qwen2ForCausalLM if qwen2 else LlamaForCausalLM)(config), state


def run(f, tokens):
    """Logits [position][vocabulary] in double precision."""
    model, state = (gpt2 if f.arch == "gpt2" else llama)(f)
    model = model.double().eval()
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def fixed_tokens(n_vocab):
    """Any fixed sequence will do: a linear congruential one, with one repetition so that prefixes recur."""
    tokens, x = [], 12345
    for _ in range(N_TOKENS):
        x = (x * 1103515245 + 12345) % 2**31
        tokens.append(x // 65536 % n_vocab)
    tokens[40:48] = tokens[8:16]
    return tokens


def write(shape, f, tokens, logits):
    n_vocab = logits.shape[1]
    best = logits.argmax(axis=1)
    top2 = np.sort(logits, axis=1)[:, -2:]
    best[top2[:, 1] - top2[:, 0] < 0.01] = -1
    out = [
        f"# {shape}: made by tests/reference/make_goldens.py; see there for the format",
        f"shape {shape}",
        f"seed {SEED}",
        f"checksum {f.checksum()}",
        f"n_vocab {n_vocab}",
        f"tokens {len(tokens)} " + " ".join(map(str, tokens)),
        f"best {len(best)} " + " ".join(map(str, best)),
    ]
    spread = [i * n_vocab // SPREAD + i % 7 for i in range(SPREAD)]
    for p in POSITIONS:
        ids = sorted(set(spread) | set(np.argsort(logits[p])[-TOP:].tolist()))
        lse = np.logaddexp.reduce(logits[p])
        pairs = " ".join(f"{i} {logits[p][i]:.7f}" for i in ids)
        out.append(f"logits {p} {lse:.7f} {len(ids)} {pairs}")
    with open(os.path.join(HERE, shape + ".golden"), "w") as golden:
        golden.write("\n".join(out) + "\n")


def main():
    root = os.path.dirname(os.path.dirname(HERE))
    for shape in sys.argv[1:] or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.gguf")
            subprocess.run(
                [os.path.join(root, "build/make-model"), "--shape", shape, "--type", "F32", "--seed", str(SEED)]
                + ["--data", "", "--out", path],
                check=True,
            )
            f = File(path)
            tokens = fixed_tokens(f["token_embd.weight"].shape[0])
            logits = run(f, tokens)
            write(shape, f, tokens, logits)
            follows = sum(int(b) == (t + 97) % logits.shape[1] for b, t in zip(logits.argmax(axis=1), tokens))
            print(f"{shape}: logits deviate by {logits.std():.3f}, the following token leads at {follows} of {len(tokens)}")


if __name__ == "__main__":
    main()
