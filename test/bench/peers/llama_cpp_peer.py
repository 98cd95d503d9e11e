#!/usr/bin/env python3
"""llama.cpp as a benchmark peer, through its C API (the `llama_cpp` binding).

  python llama_cpp_peer.py --model base-bf16.gguf [--lora ADAPTER.gguf ...] --workload 8-distinct --prompt 32 --new 64

llama.cpp sets adapters for a whole context, so requests of different adapters can't share a batch. Its best is one
context per adapter, decoded in turn: switching adapters on one context rebuilds its graph at every step.
"""
import ctypes, pathlib

import llama_cpp as llama
import numpy as np

from common import Runner, arguments, parse_workload, prompt_ids, run, widest

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
quiet = llama.llama_log_callback(lambda level, text, data: None)        # kept alive: llama.cpp holds the pointer


class Model:
    def __init__(self, path):
        llama.llama_log_set(quiet, None)
        llama.llama_backend_init()
        self.handle = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        if not self.handle: raise SystemExit(f"{path}: llama.cpp can't load it")
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.handle))

    def adapter(self, path):
        handle = llama.llama_adapter_lora_init(self.handle, path.encode())
        if not handle: raise SystemExit(f"{path}: llama.cpp can't load it")
        return handle


class Context:
    """Sequences that share their adapter (or none), and so every batch."""

    def __init__(self, model, adapter, sequences, length, threads, flash="auto"):
        params = llama.llama_context_default_params()
        params.n_seq_max, params.n_ctx = sequences, sequences * (length + 256 - length % 256)
        params.n_batch = params.n_ctx; params.n_ubatch = min(512, params.n_ctx)
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type, params.kv_unified, params.no_perf = FLASH_ATTENTION[flash], False, True
        self.handle = llama.llama_init_from_model(model.handle, params)
        if not self.handle: raise SystemExit("llama.cpp can't make a context")
        self.model, self.batch = model, llama.llama_batch_init(params.n_batch, 0, 1)
        if adapter:
            if llama.llama_set_adapters_lora(self.handle, (llama.llama_adapter_lora_p_ctypes * 1)(adapter), 1, (ctypes.c_float * 1)(1.0)):
                raise SystemExit("llama.cpp can't set the adapter")

    def reset(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.handle), False)
        self.positions = []

    def decode(self, rows):
        """One llama_decode over rows of (token, position, sequence, wants logits) -> f32 [rows that want them, vocab]."""
        b = self.batch; b.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, position, 1, sequence, wanted
        if llama.llama_decode(self.handle, b): raise SystemExit("llama_decode failed")
        wanted = [i for i, row in enumerate(rows) if row[3]]
        return [np.ctypeslib.as_array(llama.llama_get_logits_ith(self.handle, i), (self.model.vocab,)) for i in wanted]

    def prefill(self, prompts):
        """Reads all prompts in one batch; `last` is then the first greedy token of each."""
        logits = self.decode([(token, t, s, t == len(p) - 1) for s, p in enumerate(prompts) for t, token in enumerate(p)])
        self.last, self.positions = [int(row.argmax()) for row in logits], [len(p) for p in prompts]

    def step(self):
        logits = self.decode([(token, at, s, True) for s, (token, at) in enumerate(zip(self.last, self.positions))])
        self.last, self.positions = [int(row.argmax()) for row in logits], [at + 1 for at in self.positions]


class Run(Runner):
    """One context per distinct adapter; requests of one adapter are batched."""

    def __init__(self, model, adapters, assigned, a):
        self.members = {}
        for request, adapter in enumerate(assigned): self.members.setdefault(adapter, []).append(request)
        self.contexts = {k: Context(model, None if k is None else adapters[k], len(requests), a.prompt + a.new, a.threads, a.flash_attention)
                         for k, requests in self.members.items()}

    def reset(self):
        for context in self.contexts.values(): context.reset()

    def prefill(self, prompts):
        for k, context in self.contexts.items(): context.prefill([prompts[r] for r in self.members[k]])

    def step(self):
        for context in self.contexts.values(): context.step()


def build_isa():
    """What this build of llama.cpp was compiled for, which may be less than the machine has."""
    info = llama.llama_print_system_info().decode()         # "CPU : AVX2 = 1 | AVX512 = 1 | AVX512_BF16 = 1 | …"
    flags = {part.split("=")[0].split(":")[-1].strip().lower() for part in info.split("|") if part.strip().endswith("= 1")}
    return widest({{"avx512": "avx512f", "neon": "asimd", "amx_int8": "amx_bf16"}.get(flag, flag) for flag in flags})


def main():
    ap = arguments(__doc__)
    ap.add_argument("--model", required=True); ap.add_argument("--lora", nargs="*", default=[])
    ap.add_argument("--flash-attention", choices=FLASH_ATTENTION, default="auto")
    a = ap.parse_args()
    requests, assigned = parse_workload(a.workload, len(a.lora))
    model = Model(a.model)
    adapters = [model.adapter(path) for path in a.lora[:len({k for k in assigned if k is not None})]]
    kind = pathlib.Path(a.model).stem.rsplit("-", 1)[-1]
    run("llama.cpp", f"llama-cpp-python {llama.__version__}", build_isa(), kind, a, Run(model, adapters, assigned, a),
        [prompt_ids(r, a.prompt, model.vocab) for r in range(requests)])


if __name__ == "__main__": main()
