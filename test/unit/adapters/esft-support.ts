/** Bases with experts and ESFT adapters made up for tests. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, type BaseTensors, type MoeBase } from '@weft/adapters';
import { bitsTensor, llama, random, safetensors, temporaryFolder, type TensorData } from './support.js';

export interface ExpertDims { layers: number; dense?: number[]; count: number; hidden: number; inner: number }

/** A base whose layers have experts, but for the dense ones. */
export function moeBase({ layers, dense = [], count, hidden, inner }: ExpertDims): MoeBase {
  return {
    ...llama({ layers, hidden, q: hidden, kv: hidden, intermediate: inner }), architecture: 'DeepseekV2ForCausalLM',
    experts: {
      layers: Array.from({ length: layers }, (_, i) => i).filter(i => !dense.includes(i)), count, topK: 2, hidden, inner,
      module: 'mlp.experts', names: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
    },
  };
}

export const expertKey = (layer: number, expert: number, projection: string): string => `model.layers.${layer}.mlp.experts.${expert}.${projection}_proj.weight`;

/** The three matrices of an expert; finite bits of any sign. */
export function expertTensors({ experts: { hidden, inner } }: MoeBase, layer: number, expert: number, seed: number, dtype: 'BF16' | 'F16' = 'BF16'): TensorData[] {
  const next = random(seed);
  return (['gate', 'up', 'down'] as const).map(projection => bitsTensor(
    expertKey(layer, expert, projection), dtype, projection === 'down' ? [hidden, inner] : [inner, hidden], () => 0x3000 | Math.floor(next() * 0x0800) | (next() < 0.5 ? 0x8000 : 0)));
}

/** Every expert of the base, as its checkpoint would have it: in tensors of their own, or fused ones. */
export async function baseTensors(base: MoeBase, fused = false): Promise<BaseTensors> {
  const { layers, count, hidden, inner } = base.experts, tensors: TensorData[] = [];
  for (const layer of layers) {
    const all = Array.from({ length: count }, (_, expert) => expertTensors(base, layer, expert, baseSeed(layer, expert)));
    if (!fused) { tensors.push(...all.flat()); continue; }
    const join = (pick: number[]): Uint8Array => Buffer.concat(all.flatMap(matrices => pick.map(i => matrices[i]!.bytes)));
    tensors.push(
      { name: `model.layers.${layer}.mlp.experts.gate_up_proj`, dtype: 'BF16', shape: [count, 2 * inner, hidden], bytes: join([0, 1]) },
      { name: `model.layers.${layer}.mlp.experts.down_proj`, dtype: 'BF16', shape: [count, hidden, inner], bytes: join([2]) });
  }
  const file = join(temporaryFolder(), 'model.safetensors');
  writeFileSync(file, safetensors(tensors));
  return (await openSafetensors(file)).tensors;
}
export const baseSeed = (layer: number, expert: number): number => 1000 + layer * 100 + expert;

/** Writes an adapter folder of one or more shards. */
export function esftFolder(config: unknown, ...shards: readonly TensorData[][]): string {
  const folder = join(temporaryFolder(), 'adapter');
  mkdirSync(folder);
  writeFileSync(join(folder, 'expert_cfg.json'), typeof config === 'string' ? config : JSON.stringify(config));
  shards.forEach((tensors, i) => writeFileSync(join(folder, `model-${i + 1}.safetensors`), safetensors(tensors)));
  return folder;
}

export const esftConfig = (experts: Record<string, number[]>, changes: Record<string, unknown> = {}): Record<string, unknown> =>
  ({ experts, shared_experts: false, non_expert_modules: false, ...changes });
