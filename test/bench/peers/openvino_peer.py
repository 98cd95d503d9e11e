#!/usr/bin/env python3
"""OpenVINO GenAI as a benchmark peer: its continuous batching, token ids in, token ids out.

  python openvino_peer.py --model DIR [--adapters DIR/bench-00 ...] --workload 8-distinct --prompt 32 --new 64

--model: what openvino_export.py wrote. The plug-in's own choices stand: arithmetic (bf16 where the processor has it, f32
elsewhere), cache in 8 bits. A pipeline applies one adapter to everything that it runs: with two in one call of
`generate` it serves both requests with the first. So requests on different adapters go one after another; those on one
adapter go together. Adapters are applied by `generate` alone, not by `step`, which then keeps them: the switch is a call
that nobody times. OpenVINO reads no alpha: it is given as the adapter's weight.
"""
import json, pathlib

import numpy as np
import openvino, openvino_genai as genai

from common import Runner, arguments, machine_isa, parse_workload, prompt_ids, run

CACHE_GB = 2


def tensor(ids): return openvino.Tensor(np.array([ids], dtype=np.int64))


def greedy(new, adapters=None):
    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = new, True, False
    if adapters: config.adapters = adapters
    return config


class Run(Runner):
    def __init__(self, pipe, adapters, assigned, new):
        self.pipe, self.adapters, self.assigned, self.config = pipe, adapters, assigned, greedy(new)

    def select(self, k): self.pipe.generate([tensor([100])], [greedy(1, self.adapters[k])])

    def prefill(self, prompts):
        self.handles = [self.pipe.add_request(r, tensor(prompt), self.config) for r, prompt in enumerate(prompts)]
        self.step()

    def step(self): self.pipe.step()

    def round(self, prompts, new):
        members = {}
        for prompt, k in zip(prompts, self.assigned): members.setdefault(k, []).append(prompt)
        seconds = []
        for k, group in members.items():
            if k is not None: self.select(k)
            seconds.append(super().round(group, new))
            if self.pipe.has_non_finished_requests(): raise SystemExit("OpenVINO needs more steps than there are tokens")
            if any(len(handle.read_all()[0].generated_ids) != new for handle in self.handles): raise SystemExit("OpenVINO left tokens out")
        return tuple(map(sum, zip(*seconds)))


def load_adapter(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    return genai.Adapter(str(folder / "adapter_model.safetensors")), config["lora_alpha"] / config["r"]


def main():
    ap = arguments(__doc__)
    ap.add_argument("--model", required=True); ap.add_argument("--adapters", nargs="*", default=[], type=pathlib.Path)
    a = ap.parse_args()
    requests, assigned = parse_workload(a.workload, len(a.adapters))
    used = sorted({k for k in assigned if k is not None})
    loaded = {k: load_adapter(a.adapters[k]) for k in used}
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = CACHE_GB, requests, requests * a.prompt
    scheduler.dynamic_split_fuse = scheduler.enable_prefix_caching = False
    properties = {"INFERENCE_NUM_THREADS": a.threads, "PERFORMANCE_HINT": "LATENCY"}
    if used: properties["adapters"] = genai.AdapterConfig([adapter for adapter, _ in loaded.values()])
    pipe = genai.ContinuousBatchingPipeline(a.model, genai.Tokenizer(a.model), scheduler, "CPU", **properties)
    adapters = {k: genai.AdapterConfig([pair]) for k, pair in loaded.items()}
    vocab = json.loads(pathlib.Path(a.model, "config.json").read_text())["vocab_size"]
    run("openvino-genai", f"openvino-genai {genai.__version__}", machine_isa(), "bf16", a, Run(pipe, adapters, assigned, a.new),
        [prompt_ids(r, a.prompt, vocab) for r in range(requests)])


if __name__ == "__main__": main()
