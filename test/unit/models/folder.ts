/** Writes checkpoint folders for tests. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export interface TensorSpec { dtype: 'F32' | 'F16' | 'BF16' | 'I64'; shape: number[]; data?: Uint8Array }
export type Tensors = Record<string, TensorSpec>;

const SIZES = { F32: 4, F16: 2, BF16: 2, I64: 8 } as const;

export const byteLength = ({ dtype, shape }: TensorSpec): number => shape.reduce((product, size) => product * size, SIZES[dtype]);

/** A safetensors file; tensors without data are zeros. */
export function safetensors(tensors: Tensors): Buffer {
  const header: Record<string, unknown> = {};
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const [name, spec] of Object.entries(tensors)) {
    const data = spec.data ?? new Uint8Array(byteLength(spec));
    header[name] = { dtype: spec.dtype, shape: spec.shape, data_offsets: [at, at + data.length] };
    parts.push(data);
    at += data.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...parts]);
}

/** A folder that goes when the test ends. Objects become JSON. */
export function folder(files: Record<string, unknown>): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-checkpoint-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(dir, name), content instanceof Uint8Array || typeof content === 'string' ? content : JSON.stringify(content));
  }
  return dir;
}

/** A tiny Llama with biases everywhere: each kind of tensor once. */
export const TINY = {
  architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,
  num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 40, attention_bias: true, mlp_bias: true, tie_word_embeddings: false,
};

/** Its tensors. */
export function tinyTensors(dtype: TensorSpec['dtype'] = 'BF16'): Tensors {
  const layer: Record<string, number[]> = {
    'input_layernorm.weight': [16], 'post_attention_layernorm.weight': [16],
    'self_attn.q_proj.weight': [16, 16], 'self_attn.k_proj.weight': [8, 16], 'self_attn.v_proj.weight': [8, 16], 'self_attn.o_proj.weight': [16, 16],
    'self_attn.q_proj.bias': [16], 'self_attn.k_proj.bias': [8], 'self_attn.v_proj.bias': [8], 'self_attn.o_proj.bias': [16],
    'mlp.gate_proj.weight': [24, 16], 'mlp.up_proj.weight': [24, 16], 'mlp.down_proj.weight': [16, 24],
    'mlp.gate_proj.bias': [24], 'mlp.up_proj.bias': [24], 'mlp.down_proj.bias': [16],
  };
  const shapes = {
    'model.embed_tokens.weight': [40, 16], 'lm_head.weight': [40, 16], 'model.norm.weight': [16],
    ...Object.fromEntries(Object.entries(layer).map(([name, shape]) => [`model.layers.0.${name}`, shape])),
  };
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { dtype, shape }]));
}
