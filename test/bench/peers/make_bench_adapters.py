#!/usr/bin/env python3
"""Makes N random PEFT LoRA adapters on every linear module of a base, of ranks 8, 16, 32 and 64 in turn.

  python make_bench_adapters.py --base DIR --count 32 --out DIR        (writes DIR/bench-00, DIR/bench-01, …)

Seeded. B is small and not zero: answers differ from the base's, and nobody can skip the work.
"""
import argparse, json, pathlib

import torch
from safetensors import safe_open
from safetensors.torch import save_file

RANKS = [8, 16, 32, 64]
TARGETS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
ADAPTER_SHARE = 0.05        # std of scale · B·A, relative to an assumed weight std of 1 / sqrt(inputs)


def linear_shapes(base):
    """[outputs, inputs] of every target module, by module name, from the headers alone."""
    shapes = {}
    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, "pt") as f:
            for name in f.keys():
                module = name.removesuffix(".weight")
                if module.rsplit(".", 1)[-1] in TARGETS and module != name: shapes[module] = f.get_slice(name).get_shape()
    return dict(sorted(shapes.items()))


def write_adapter(folder, shapes, rank, seed):
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape, std: (torch.randn(*shape, generator=generator) * std).to(torch.bfloat16)
    tensors = {}
    for module, (outputs, inputs) in shapes.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = normal(rank, inputs, std=inputs ** -0.5)
        tensors[f"base_model.model.{module}.lora_B.weight"] = normal(outputs, rank, std=ADAPTER_SHARE * rank ** -0.5)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "bench", "r": rank, "lora_alpha": rank, "lora_dropout": 0.0,
              "bias": "none", "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "target_modules": TARGETS,
              "modules_to_save": None, "use_rslora": False, "use_dora": False, "rank_pattern": {}, "alpha_pattern": {}}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--base", type=pathlib.Path, required=True); ap.add_argument("--out", type=pathlib.Path, required=True)
    ap.add_argument("--count", type=int, default=32)
    a = ap.parse_args()
    shapes = linear_shapes(a.base)
    for i in range(a.count): write_adapter(a.out / f"bench-{i:02}", shapes, RANKS[i % len(RANKS)], seed=i)
