"""How bench/run asks each engine for a figure: ours by build/aigc, the peers by their own measuring programs.

Every method runs one process and returns tokens per second (or seconds), so that bench/run can interleave engines.
"""
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


class Failure(Exception):
    """The program could not do it; the text says why."""


def output(command, limit=600, text=None, messages=False):
    """Standard output of a command (and standard error, if messages are asked for); Failure with what the command said
    if it fails. Peers leave log files where they run: in the temporary directory."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, input=text, cwd=tempfile.gettempdir())
    except subprocess.TimeoutExpired:
        raise Failure(f"no result within {limit} s")
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        line = next((line for line in lines if "error" in line.lower() or "ASSERT" in line), lines[-1])
        raise Failure(re.sub(r"\S*/(?=[^/\s]+:\d)", "", line))  # no folders of this machine
    return (done.stdout + (done.stderr if messages else b"")).decode(errors="replace")


class Ours:
    """build/aigc."""

    name = "aigc"

    def __init__(self, program):
        self.program = program
        self.version = output([program, "--version"]).strip().removeprefix("aigc ")

    def bench(self, model, threads, prompt, decode, sequences, limit, repeat=1):
        command = [self.program, "bench", "--json", "-m", model, "--threads", str(threads), "--repeat", str(repeat)]
        command += ["--prompt-tokens", str(prompt), "--decode-tokens", str(decode), "--sequences", str(sequences)]
        return json.loads(output(command, limit))

    def speed(self, model, threads, prompt, decode, repeat=1, limit=600):
        """(prompt tokens/s, decode tokens/s): medians of so many runs in one process"""
        result = self.bench(model, threads, prompt, decode, 1, limit, repeat)["threads"][0]
        return result["prompt_tokens_per_second"], result["decode_tokens_per_second"]

    def parallel(self, model, threads, prompt, decode, n, limit=600):
        """Decoded tokens/s of all n sequences together."""
        return self.bench(model, threads, prompt, decode, n, limit)["sequences"][0]["decode_tokens_per_second"]

    def first_token(self, model, threads):
        return [self.program, "generate", "-m", model, "-p", "Hello", "--max-tokens", "1", "--threads", str(threads)]

    def tokenize(self, model):
        return [self.program, "tokenize", "-m", model, "--ids"]

    def generate(self, model, threads):
        """A run long enough to look at the process."""
        command = [self.program, "generate", "-m", model, "-p", "Hello", "--max-tokens", "400", "--temperature", "0"]
        return command + ["--threads", str(threads), "--context", "512"]


class Peer:
    """llama.cpp or ik_llama.cpp: a build folder's bin/."""

    def __init__(self, name, folder, completion):
        self.name = name
        folder = os.path.abspath(folder)
        self.folder = next(
            (f for f in (folder, os.path.join(folder, "bin"), os.path.join(folder, "build/bin"))
             if os.access(os.path.join(f, "llama-bench"), os.X_OK)), None)
        if not self.folder:
            raise Failure(f"{name}: no llama-bench in {folder}, its bin/ or its build/bin/")
        self.completion = completion
        self.version = "unknown"

    def program(self, name):
        return os.path.join(self.folder, name)

    def speed(self, model, threads, prompt, decode, repeat=1, limit=600):
        command = [self.program("llama-bench"), "-m", model, "-t", str(threads), "-r", str(repeat), "-o", "json"]
        results = json.loads(output(command + ["-p", str(prompt), "-n", str(decode)], limit))
        self.version = f"{results[0]['build_commit']} ({results[0]['build_number']})"
        prompts = [statistics.median(r["samples_ts"]) for r in results if r["n_gen"] == 0]
        decodes = [statistics.median(r["samples_ts"]) for r in results if r["n_prompt"] == 0]
        return (prompts or [None])[0], (decodes or [None])[0]

    def parallel(self, model, threads, prompt, decode, n, limit=600):
        command = [self.program("llama-batched-bench"), "-m", model, "-t", str(threads), "-b", "2048", "-ub", "512"]
        command += ["-c", str(n * (prompt + decode) + 512), "-npp", str(prompt), "-ntg", str(decode), "-npl", str(n)]
        # A table, on either output: PP TG B N_KV T_PP S_PP T_TG S_TG ...
        for line in output(command, limit, messages=True).splitlines():
            cells = line.strip("| \n").split("|")
            if len(cells) == 10 and cells[2].strip() == str(n):
                return float(cells[7])
        raise Failure("llama-batched-bench printed no result")

    def first_token(self, model, threads):
        command = [self.program(self.completion[0]), "-m", model, "-p", "Hello", "-n", "1", "-c", "512"]
        return command + ["-t", str(threads), "--no-warmup"] + self.completion[1:]

    def tokenize(self, model):
        return [self.program("llama-tokenize"), "-m", model, "--ids", "--stdin", "--log-disable"]

    def generate(self, model, threads):
        command = [self.program(self.completion[0]), "-m", model, "-p", "Hello", "-n", "400", "-c", "512"]
        return command + ["-t", str(threads), "--temp", "0", "--ignore-eos"] + self.completion[1:]


def peers():
    """The peers that the environment gives paths of."""
    found = []
    if os.environ.get("LLAMA_CPP"):
        found.append(Peer("llama.cpp", os.environ["LLAMA_CPP"], ["llama-completion", "-no-cnv"]))
    if os.environ.get("IK_LLAMA"):
        found.append(Peer("ik_llama.cpp", os.environ["IK_LLAMA"], ["llama-cli"]))
    return found


def wall_seconds(command, text=b""):
    """Seconds from the start of the process to its end."""
    began = time.monotonic()
    output(command, 120, text)
    return time.monotonic() - began


def private_memory(command):
    """MiB of private dirty and of all resident memory, the most seen while the command runs."""
    dirty = resident = 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          cwd=tempfile.gettempdir()) as process:
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/smaps_rollup") as lines:
                    sizes = dict(line.split(":")[0:2] for line in lines if line.rstrip().endswith("kB"))
            except (OSError, ValueError):
                sizes = {}
            if "Rss" in sizes:
                dirty = max(dirty, int(sizes["Private_Dirty"].split()[0]))
                resident = max(resident, int(sizes["Rss"].split()[0]))
            time.sleep(0.02)
    return dirty / 1024, resident / 1024


def at_once(measure, n):
    """Results of n calls of measure() that run at the same time."""
    with ThreadPoolExecutor(n) as pool:
        return [future.result() for future in [pool.submit(measure) for _ in range(n)]]
