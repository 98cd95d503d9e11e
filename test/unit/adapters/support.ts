/** Bases, adapters and safetensors files made up for tests. */
import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { placesOf, type BaseGeometry, type Dtype, type Site } from '@weft/adapters';

/** The folder with the real model and adapters, where there is one. */
export const SHARED = process.env['WEFT_SHARED'] ?? resolve(fileURLToPath(new URL('../../../../shared', import.meta.url)));

export interface Dims { layers: number; hidden: number; q: number; kv: number; intermediate: number }
export const SMOLLM2: Dims = { layers: 30, hidden: 576, q: 576, kv: 192, intermediate: 1536 };
/** pageBytes of SmolLM2's KV view: 30 layers × 2 planes × 3 heads × 16 tokens × 64 values × 2 bytes, in 4 KiB. */
export const SMOLLM2_PAGE_BYTES = 368_640;

/** A Llama-like base. */
export function llama({ layers, hidden, q, kv, intermediate }: Dims, name = 'HuggingFaceTB/SmolLM2-135M-Instruct'): BaseGeometry {
  const sites = ([
    ['q', 'self_attn.q_proj', hidden, q], ['k', 'self_attn.k_proj', hidden, kv], ['v', 'self_attn.v_proj', hidden, kv],
    ['o', 'self_attn.o_proj', q, hidden], ['gate', 'mlp.gate_proj', hidden, intermediate], ['up', 'mlp.up_proj', hidden, intermediate],
    ['down', 'mlp.down_proj', intermediate, hidden],
  ] as const).map(([siteName, module, dIn, dOut], index): Site => ({ index, name: siteName, module, dIn, dOut }));
  return {
    digest: 'b'.repeat(64), names: [name], architecture: 'LlamaForCausalLM', layers, sites,
    layersModule: 'model.layers', experts: null,
    ends: { embed: 'model.embed_tokens', head: 'lm_head', vocab: 100, hidden, embedScale: 1, tied: false },
    otherModules: ['model.norm', ...Array.from({ length: layers }, (_, i) => `model.layers.${i}.input_layernorm`)],
  };
}

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-adapters-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface TensorData { name: string; dtype: Dtype; shape: number[]; bytes: Uint8Array }

/** A safetensors file as the format's own library writes it, header padded to 8 bytes. */
export function safetensors(tensors: readonly TensorData[], metadata: Record<string, string> | null = { format: 'pt' }): Buffer {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  let at = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, at += bytes.byteLength] };
  }
  return withHeader(JSON.stringify(header), ...tensors.map(tensor => tensor.bytes));
}

/** Any header text before any data. */
export function withHeader(json: string, ...data: Uint8Array[]): Buffer {
  const header = Buffer.from(json + ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, ...data]);
}

/** mulberry32: values in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function f32Tensor(name: string, shape: number[], value: (i: number) => number): TensorData {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => value(i));
  return { name, dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) };
}

export function bitsTensor(name: string, dtype: 'F16' | 'BF16', shape: number[], bits: (i: number) => number): TensorData {
  const values = Uint16Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => bits(i));
  return { name, dtype, shape, bytes: new Uint8Array(values.buffer) };
}

/** What PEFT 0.21 writes for plain LoRA. */
export function peftConfig(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    alora_invocation_tokens: null, alpha_pattern: {}, arrow_config: null, auto_mapping: null,
    base_model_name_or_path: 'HuggingFaceTB/SmolLM2-135M-Instruct', bias: 'none', corda_config: null, ensure_weight_tying: false,
    eva_config: null, exclude_modules: null, fan_in_fan_out: false, inference_mode: true, init_lora_weights: true, kasa_config: null,
    layer_replication: null, layers_pattern: null, layers_to_transform: null, loftq_config: {}, lora_alpha: 16, lora_bias: false,
    lora_dropout: 0.0, lora_ga_config: null, megatron_config: null, megatron_core: 'megatron.core', modules_to_save: null,
    monteclora_config: null, peft_type: 'LORA', peft_version: '0.21.0', qalora_group_size: 16, r: 4, rank_pattern: {}, revision: null,
    target_modules: ['q_proj', 'v_proj'], target_parameters: null, task_type: 'CAUSAL_LM', trainable_token_indices: null,
    use_bdlora: null, use_dora: false, use_qalora: false, use_rslora: false, velora_config: null, ...changes,
  };
}

/** Random f32 tensors of every targeted module, in PEFT's order of keys. */
export function loraTensors(base: BaseGeometry, targets: readonly Site['name'][], rankOf: (path: string) => number, seed = 1): TensorData[] {
  const next = random(seed);
  return placesOf(base).filter(({ site }) => targets.includes(site.name)).flatMap(({ site, path }) => {
    const rank = rankOf(path);
    return [
      f32Tensor(`base_model.model.${path}.lora_A.weight`, [rank, site.dIn], () => next() - 0.5),
      f32Tensor(`base_model.model.${path}.lora_B.weight`, [site.dOut, rank], () => next() - 0.5),
    ];
  });
}

/** Writes an adapter folder. */
export function adapterFolder(config: unknown, tensors: readonly TensorData[] | Uint8Array, extra: Record<string, string | Uint8Array> = {}): string {
  const folder = join(temporaryFolder(), 'adapter');
  mkdirSync(folder);
  writeFileSync(join(folder, 'adapter_config.json'), typeof config === 'string' ? config : JSON.stringify(config, null, 2));
  writeFileSync(join(folder, 'adapter_model.safetensors'), tensors instanceof Uint8Array ? tensors : safetensors(tensors));
  for (const [name, content] of Object.entries(extra)) writeFileSync(join(folder, name), content);
  return folder;
}
