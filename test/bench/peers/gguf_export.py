#!/usr/bin/env python3
"""Writes a Hugging Face Llama folder, or a PEFT LoRA adapter on one, as GGUF for llama.cpp.

  python gguf_export.py --base DIR --type f16|bf16 --out FILE
  python gguf_export.py --base DIR --adapter DIR --type f16|bf16 --out FILE

Dense Llama with default RoPE and a byte-level BPE tokenizer, LoRA on linear modules: what the benchmark needs.
"""
import argparse, json, pathlib, re

import gguf
import numpy as np
import torch
from safetensors import safe_open

TYPES = {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16, "f32": gguf.GGMLQuantizationType.F32}
FILE_TYPES = {"f16": gguf.LlamaFileType.MOSTLY_F16, "bf16": gguf.LlamaFileType.MOSTLY_BF16, "f32": gguf.LlamaFileType.ALL_F32}
MODULES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
           "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
           "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def read(folder):
    """Every tensor of a folder's safetensors files as f32, by name."""
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as f:
            for name in f.keys(): tensors[name] = f.get_tensor(name).to(torch.float32).numpy()
    return tensors


def gguf_name(module):
    """model.layers.3.mlp.up_proj -> blk.3.ffn_up"""
    layer, part = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module).groups()
    return f"blk.{layer}.{MODULES[part]}"


def interleave_rotary(rows, heads):
    """llama.cpp rotates neighbours (2i, 2i + 1), Hugging Face halves (i, i + d/2): reorders output rows [heads · d, …]."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def rotary_heads(module, config):
    """How many heads a module's output rows hold if they are rotated, else 0."""
    return {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(module.rsplit(".", 1)[-1], 0)


def add(writer, name, values, type_):
    writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(values), TYPES[type_]), raw_dtype=TYPES[type_])


def add_tokenizer(writer, folder, vocab):
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf8"))
    config = json.loads((folder / "config.json").read_text())
    tokens = [f"[PAD{i}]" for i in range(vocab)]
    kinds = [gguf.TokenType.UNUSED] * vocab
    for token, i in tokenizer["model"]["vocab"].items(): tokens[i], kinds[i] = token, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]], kinds[token["id"]] = token["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2"); writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens); writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"]); writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def export_base(folder, type_, out):
    config = json.loads((folder / "config.json").read_text())
    rope = config.get("rope_parameters") or {"rope_theta": config["rope_theta"], **(config.get("rope_scaling") or {})}
    if config["model_type"] != "llama" or rope.get("rope_type", rope.get("type", "default")) != "default":
        raise SystemExit("only Llama with default RoPE is written")
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    w = gguf.GGUFWriter(out, "llama")
    w.add_name(folder.name); w.add_file_type(FILE_TYPES[type_])
    w.add_block_count(config["num_hidden_layers"]); w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"]); w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"]); w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(head_dim); w.add_value_length(head_dim); w.add_rope_dimension_count(head_dim)
    w.add_rope_freq_base(rope["rope_theta"]); w.add_layer_norm_rms_eps(config["rms_norm_eps"]); w.add_vocab_size(config["vocab_size"])
    add_tokenizer(w, folder, config["vocab_size"])
    for name, values in read(folder).items():
        module, kind = name.rsplit(".", 1)
        heads = rotary_heads(module, config)
        target = OUTER.get(name) or f"{gguf_name(module)}.{kind}"
        add(w, target, interleave_rotary(values, heads) if heads else values, type_ if values.ndim > 1 else "f32")
    finish(w)


def export_adapter(base, folder, type_, out):
    """GGUF has one alpha and each pair's own rank: what else a PEFT scale holds (rsLoRA, patterns) is folded into B."""
    config = json.loads((base / "config.json").read_text())
    adapter = json.loads((folder / "adapter_config.json").read_text())
    tensors = read(folder)
    w = gguf.GGUFWriter(out, "llama")
    w.add_type(gguf.GGUFType.ADAPTER); w.add_string(gguf.Keys.Adapter.TYPE, "lora"); w.add_float32(gguf.Keys.Adapter.LORA_ALPHA, adapter["lora_alpha"])
    suffix = ".lora_A.weight"
    modules = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    if 2 * len(modules) != len(tensors): raise SystemExit("tensors that are no LoRA pair")
    for module in modules:
        a, b = tensors[module + suffix], tensors[module + ".lora_B.weight"]
        plain = module.removeprefix("base_model.model.")
        b = b * (peft_scale(adapter, plain, len(a)) * len(a) / adapter["lora_alpha"])
        heads = rotary_heads(plain, config)
        add(w, f"{gguf_name(plain)}.weight.lora_a", a, type_)
        add(w, f"{gguf_name(plain)}.weight.lora_b", interleave_rotary(b, heads) if heads else b, type_)
    finish(w)


def peft_scale(adapter, module, rank):
    """alpha / r, or alpha / sqrt(r) with rsLoRA; the first alpha pattern that matches the module's name wins."""
    alpha = next((v for k, v in adapter["alpha_pattern"].items() if re.match(rf"(.*\.)?({k})$", module)), adapter["lora_alpha"])
    return alpha / (rank ** 0.5 if adapter["use_rslora"] else rank)


def finish(writer):
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--base", type=pathlib.Path, required=True)
    ap.add_argument("--adapters", type=pathlib.Path, nargs="+", help="export these instead of the base, as OUT/<folder's name>.gguf")
    ap.add_argument("--type", choices=TYPES, required=True); ap.add_argument("--out", required=True)
    a = ap.parse_args()
    if not a.adapters: export_base(a.base, a.type, a.out)
    for adapter in a.adapters or []: export_adapter(a.base, adapter, a.type, f"{a.out}/{adapter.name}.gguf")
