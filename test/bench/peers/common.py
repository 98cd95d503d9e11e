"""What every peer shares: workloads, prompts, the timing of one round, the line that is printed.

A workload is `<requests>-<kind>`: `base` (no adapter), `one` (every request the same adapter), `distinct` (request i
uses adapter i). Every request has the same number of prompt tokens and of new tokens, all start together, decoding is
greedy, and EOS ends nothing: each engine does the same work.
"""
import argparse, json, pathlib, statistics, sys, time

PROMPT_STRIDE, PROMPT_STEP = 7919, 104729       # primes: requests share no prefix and no token pattern


def prompt_ids(request, length, vocab):
    """Token ids of a request's prompt, the same for every engine; ids below 100 (special tokens, bytes) are left out."""
    return [100 + (request * PROMPT_STRIDE + (t + 1) * PROMPT_STEP) % (vocab - 100) for t in range(length)]


def arguments(description):
    ap = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--workload", default="1-base", help="<requests>-base | <requests>-one | <requests>-distinct")
    ap.add_argument("--prompt", type=int, default=32, help="prompt tokens a request")
    ap.add_argument("--new", type=int, default=64, help="new tokens a request")
    ap.add_argument("--rounds", type=int, default=3, help="measured after one that is not; the median of each figure is printed")
    ap.add_argument("--on-demand", action="store_true", help="a round for each line of standard input, instead of --rounds")
    ap.add_argument("--threads", type=int, default=2)
    return ap


def parse_workload(text, adapters):
    """-> (requests, the adapter index of each request or None)."""
    requests, kind = text.split("-"); requests = int(requests)
    needed = {"base": 0, "one": 1, "distinct": requests}[kind]
    if needed > adapters: raise SystemExit(f"{text} needs {needed} adapters, {adapters} given")
    return requests, {"base": [None] * requests, "one": [0] * requests, "distinct": list(range(requests))}[kind]


def widest(flags):
    """The widest instruction set that matters here, of a set of flags as /proc/cpuinfo spells them."""
    return next((name for flag, name in [("amx_bf16", "amx"), ("avx512_bf16", "avx512-bf16"), ("avx512f", "avx512"), ("avx2", "avx2"),
                                         ("asimd", "neon")] if flag in flags), "portable")


def machine_isa():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    return widest(set(cpuinfo.read_text().split()) if cpuinfo.exists() else set())


class Runner:
    """One workload on one engine. `prefill(prompts)` reads all prompts and chooses each request's first token; `step()` chooses one more for each."""

    def reset(self): pass

    def round(self, prompts, new):
        """-> (seconds of prefill, of decoding)"""
        start = time.perf_counter(); self.prefill(prompts)
        middle = time.perf_counter()
        for _ in range(new - 1): self.step()
        return middle - start, time.perf_counter() - middle


def run(peer, build, isa, weights, a, runner, prompts):
    """Times rounds of `runner`, after one that is not measured, and prints JSON lines: one with the medians of `a.rounds`
    rounds, or with `--on-demand` one for each line that comes in, so that rounds of several engines can take turns.

    decode_tok_s = requests · (new − 1) / decode time, total_tok_s = requests · new / both times.
    """
    def measured():
        runner.reset()
        return runner.round(prompts, a.new)

    def say(figures):
        prefill, decode = (statistics.median(column) for column in zip(*figures))
        rate = lambda tokens, seconds: round(tokens / seconds, 2) if tokens else None
        print(json.dumps({"peer": peer, "build": build, "isa": isa, "weights": weights, "workload": a.workload, "prompt": a.prompt, "new": a.new,
                          "decode_tok_s": rate(len(prompts) * (a.new - 1), decode), "prefill_tok_s": rate(len(prompts) * a.prompt, prefill),
                          "total_tok_s": rate(len(prompts) * a.new, statistics.median(map(sum, figures)))}), flush=True)

    measured()
    if not a.on_demand: return say([measured() for _ in range(a.rounds)])
    print(json.dumps({"ready": f"{build}, {isa}, {weights}"}), flush=True)
    for _ in sys.stdin: say([measured()])
