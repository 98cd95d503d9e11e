#!/usr/bin/env python3
"""Is a GGUF export the model it came from? Runs a case file (test/fixtures/README.md) through llama.cpp.

  python check_export.py --model base-f16.gguf [--lora ADAPTER.gguf] --cases DIR/base.json

Compares greedy ids up to the first margin below 0.1 and log-probabilities within 0.1: llama.cpp rounds activations to
the weights' type, and a wrong permutation or scale is off by whole nats.
"""
import argparse, json, sys

import numpy as np

from llama_cpp_peer import Context, Model

TOLERANCE = 0.1        # nats

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--model", required=True); ap.add_argument("--lora"); ap.add_argument("--cases", required=True)
a = ap.parse_args()
cases = json.load(open(a.cases, encoding="utf8"))
model = Model(a.model)
context = Context(model, a.lora and model.adapter(a.lora), 1, max(len(c["prompt"] + c["ids"]) for c in cases), threads=2)
worst, wrong = 0.0, 0
for case in cases:
    prompt, ids = case["prompt"], case["ids"]
    context.reset()
    rows = context.decode([(token, t, 0, t >= len(prompt) - 1) for t, token in enumerate((prompt + ids)[:-1])])
    for row, token, want in zip(rows, ids, case["logprobs"]):
        row = row.astype(np.float64) - row.max()
        worst = max(worst, abs(row[token] - np.log(np.exp(row).sum()) - want))
    context.reset(); context.prefill([prompt])
    for token, margin in zip(ids, case["margins"]):
        if margin < TOLERANCE: break
        if context.last[0] != token: wrong += 1; break
        context.step()
print(f"max |Δlogprob| {worst:.4f}, {wrong} of {len(cases)} cases with a wrong token")
sys.exit(worst > TOLERANCE or wrong > 0)
