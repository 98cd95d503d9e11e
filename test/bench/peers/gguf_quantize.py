#!/usr/bin/env python3
"""Quantizes a GGUF file to Q8_0 by llama.cpp itself.

  python gguf_quantize.py --model base-bf16.gguf --out base-q8_0.gguf
"""
import argparse

import llama_cpp as llama

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--model", required=True); ap.add_argument("--out", required=True)
a = ap.parse_args()
params = llama.llama_model_quantize_default_params()
params.ftype = llama.LLAMA_FTYPE_MOSTLY_Q8_0
if llama.llama_model_quantize(a.model.encode(), a.out.encode(), params): raise SystemExit(f"{a.model}: llama.cpp can't quantize it")
