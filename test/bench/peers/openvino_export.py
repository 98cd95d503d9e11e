#!/usr/bin/env python3
"""Writes a Hugging Face folder as OpenVINO's own format, weights as they are stored (optimum-intel).

  python openvino_export.py --base DIR --out DIR
"""
import argparse

from optimum.intel import OVModelForCausalLM
from transformers.utils import logging

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--base", required=True); ap.add_argument("--out", required=True)
a = ap.parse_args()
logging.set_verbosity_error()
OVModelForCausalLM.from_pretrained(a.base, export=True, compile=False, load_in_8bit=False, local_files_only=True).save_pretrained(a.out)
