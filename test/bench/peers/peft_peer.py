#!/usr/bin/env python3
"""transformers + PEFT as a benchmark peer: one mixed batch, each row with its own adapter (`adapter_names`).

  python peft_peer.py --base DIR [--adapters DIR/bench-00 ...] --dtype f32|bf16 --workload 8-distinct --prompt 32 --new 64

The forward pass is called directly with a KV cache: what `generate` does, without its overhead for each step.
"""
import importlib.metadata, pathlib, warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from common import Runner, arguments, machine_isa, parse_workload, prompt_ids, run

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class Run(Runner):
    def __init__(self, model, names):
        self.model, self.extra = model, {"adapter_names": names} if names else {}

    def reset(self): self.past = None

    @torch.inference_mode()
    def forward(self, ids):
        out = self.model(input_ids=ids, past_key_values=self.past, use_cache=True, logits_to_keep=1, **self.extra)
        self.past, self.last = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)

    def prefill(self, prompts): self.forward(torch.tensor(prompts))

    def step(self): self.forward(self.last)


def load(base, folders, dtype):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[dtype]).eval()
    options = {"autocast_adapter_dtype": False}         # or PEFT would raise bf16 adapters to f32
    for i, folder in enumerate(folders):
        if i == 0: model = PeftModel.from_pretrained(model, folder, adapter_name="0", **options)
        else: model.load_adapter(folder, adapter_name=str(i), **options)
    return model.to(DTYPES[dtype]).eval()


def main():
    ap = arguments(__doc__)
    ap.add_argument("--base", required=True); ap.add_argument("--adapters", nargs="*", default=[], type=pathlib.Path)
    ap.add_argument("--dtype", choices=DTYPES, default="f32")
    a = ap.parse_args()
    logging.set_verbosity_error(); logging.disable_progress_bar(); warnings.simplefilter("ignore"); torch.set_num_threads(a.threads)
    requests, assigned = parse_workload(a.workload, len(a.adapters))
    used = sorted({k for k in assigned if k is not None})
    model = load(a.base, [a.adapters[k] for k in used], a.dtype)
    version = "torch {} transformers {} peft {}".format(*map(importlib.metadata.version, ("torch", "transformers", "peft")))
    run("peft" if used else "transformers", version, machine_isa(), a.dtype, a, Run(model, [str(k) for k in assigned] if used else None),
        [prompt_ids(r, a.prompt, model.config.vocab_size) for r in range(requests)])


if __name__ == "__main__": main()
