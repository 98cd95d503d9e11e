/** A base with experts and ESFT adapters of random values on disk: only their sizes matter to a bench. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../sim/clock.js';

export const SIZES = { hidden: 1024, inner: 256, experts: 32, topK: 4, layers: 8, heads: 16, kvHeads: 4, headDim: 64, vocab: 4096 };
/** Replaced experts of a layer. */
const TUNED = { least: 2, most: 8 };

/** Values of ±0.008 to ±0.03 in bf16, two at a time. */
function randomBf16(values: number, seed: number): Uint8Array {
  const words = new Uint32Array(values / 2);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
    words[i] = (state & 0x80ff80ff) | 0x3c003c00;
  }
  return new Uint8Array(words.buffer);
}

function writeTensors(file: string, tensors: readonly [name: string, shape: readonly number[]][], seed: number): void {
  const header: Record<string, unknown> = {}, data: Uint8Array[] = [];
  let at = 0;
  for (const [i, [name, shape]] of tensors.entries()) {
    const values = shape.reduce((a, b) => a * b, 1), bytes = name.includes('norm') ? new Uint8Array(new Uint16Array(values).fill(0x3f80).buffer) : randomBf16(values, seed + i);
    header[name] = { dtype: 'BF16', shape, data_offsets: [at, at += bytes.length] };
    data.push(bytes);
  }
  const json = JSON.stringify(header), text = Buffer.from(json + ' '.repeat((8 - json.length % 8) % 8)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([length, text, ...data]));
}

/** A Qwen3-MoE. Answers with its folder. */
export function writeBase(folder: string): string {
  const { hidden, inner, experts, topK, layers, heads, kvHeads, headDim, vocab } = SIZES;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify({
    architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe', hidden_size: hidden, intermediate_size: inner, moe_intermediate_size: inner, num_experts: experts, num_experts_per_tok: topK,
    num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim, vocab_size: vocab, norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [],
    max_position_embeddings: 1024, rms_norm_eps: 1e-6, hidden_act: 'silu', rope_theta: 10000, rope_scaling: null, tie_word_embeddings: false, attention_bias: false, use_sliding_window: false,
    bos_token_id: 1, eos_token_id: 2, torch_dtype: 'bfloat16',
  }));
  const perLayer = Array.from({ length: layers }, (_, l): [string, number[]][] => [
    ['input_layernorm', [hidden]], ['post_attention_layernorm', [hidden]], ['self_attn.q_norm', [headDim]], ['self_attn.k_norm', [headDim]],
    ['self_attn.q_proj', [heads * headDim, hidden]], ['self_attn.k_proj', [kvHeads * headDim, hidden]], ['self_attn.v_proj', [kvHeads * headDim, hidden]], ['self_attn.o_proj', [hidden, heads * headDim]],
    ['mlp.gate', [experts, hidden]],
    ...Array.from({ length: experts }, (_, e): [string, number[]][] => expertShapes(e)).flat(),
  ].map(([name, shape]) => [`model.layers.${l}.${name as string}.weight`, shape as number[]] as [string, number[]]));
  writeTensors(join(folder, 'model.safetensors'), [['model.embed_tokens.weight', [vocab, hidden]], ['model.norm.weight', [hidden]], ['lm_head.weight', [vocab, hidden]], ...perLayer.flat()], 1);
  return folder;
}

const expertShapes = (expert: number): [string, number[]][] => (['gate', 'up', 'down'] as const).map(part =>
  [`mlp.experts.${expert}.${part}_proj`, part === 'down' ? [SIZES.hidden, SIZES.inner] : [SIZES.inner, SIZES.hidden]]);

/** An ESFT adapter with other experts in each layer. Answers with its folder. */
export function writeEsft(folder: string, random: Random, index: number): string {
  mkdirSync(folder, { recursive: true });
  const tensors: [string, number[]][] = [], experts: Record<string, number[]> = {};
  for (let layer = 0; layer < SIZES.layers; layer++) {
    const ids = new Set<number>(), count = random.int(TUNED.least, TUNED.most);
    while (ids.size < count) ids.add(random.int(0, SIZES.experts - 1));
    experts[layer] = [...ids];
    for (const id of ids) tensors.push(...expertShapes(id).map(([name, shape]) => [`model.layers.${layer}.${name}.weight`, shape] as [string, number[]]));
  }
  writeFileSync(join(folder, 'expert_cfg.json'), JSON.stringify({ experts, shared_experts: false, non_expert_modules: false }));
  writeTensors(join(folder, 'model.safetensors'), tensors, 1000 * (index + 1));
  return folder;
}
