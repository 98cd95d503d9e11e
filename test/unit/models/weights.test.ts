import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { ARCHITECTURES, parseConfig } from '../../../libs/engine/src/models/index.js';
import { planWeights, type WeightPlan } from '../../../libs/engine/src/models/weights.js';
import { byteLength, folder, safetensors, TINY, tinyTensors, type Tensors } from './folder.js';

type Json = Record<string, unknown>;

const plan = async (tensors: Tensors, config: Json = TINY): Promise<WeightPlan> => {
  const checkpoint = await openCheckpoint(folder({ 'config.json': config, 'model.safetensors': safetensors(tensors) }));
  return planWeights(parseConfig(checkpoint.config, null, ARCHITECTURES).config, checkpoint.tensors);
};
const refused = (code: string, tensor: string, message = tensor): unknown =>
  expect.objectContaining({ code, details: expect.objectContaining({ tensor }), message: expect.stringContaining(message) });
/** A layer's MLP, if it is dense. */
const gqa = <L extends { attention: { kind: string } }>({ attention }: L): Extract<L['attention'], { kind: 'gqa' }> => {
  expect(attention.kind).toBe('gqa');
  return attention as Extract<L['attention'], { kind: 'gqa' }>;
};
const dense = <L extends { mlp: { kind: string } }>({ mlp }: L): Extract<L['mlp'], { kind: 'dense' }> => {
  expect(mlp.kind).toBe('dense');
  return mlp as Extract<L['mlp'], { kind: 'dense' }>;
};
const namesOf = (part: { stack: readonly { name: string }[] } | null): string[] | null => part && part.stack.map(({ name }) => name);

describe('a checkpoint', () => {
  test('becomes stacks of rows in the order of the sites', async () => {
    const { weights, tied } = await plan(tinyTensors());
    const [layer] = weights.layers;
    const inLayer = (...modules: string[]): string[] => modules.map(module => `model.layers.0.${module}`);
    expect(tied).toBe(false);
    expect(namesOf(weights.embed)).toEqual(['model.embed_tokens.weight']);
    expect(namesOf(weights.head)).toEqual(['lm_head.weight']);
    expect(namesOf(gqa(layer!).qkv)).toEqual(inLayer('self_attn.q_proj.weight', 'self_attn.k_proj.weight', 'self_attn.v_proj.weight'));
    expect(namesOf(gqa(layer!).qkvBias)).toEqual(inLayer('self_attn.q_proj.bias', 'self_attn.k_proj.bias', 'self_attn.v_proj.bias'));
    expect(namesOf(dense(layer!).gateUp)).toEqual(inLayer('mlp.gate_proj.weight', 'mlp.up_proj.weight'));
    expect(namesOf(dense(layer!).downBias)).toEqual(inLayer('mlp.down_proj.bias'));
    expect(gqa(layer!).qNorm).toBeNull();
  });

  const shaped = (shapes: Record<string, number[]>): Tensors => Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { dtype: 'BF16', shape }]));
  const { attention_bias: _a, mlp_bias: _b, ...PLAIN } = TINY;

  test('of Phi has one tensor for q, k and v, and one for gate and up', async () => {
    const tensors = shaped({
      'model.embed_tokens.weight': [40, 16], 'lm_head.weight': [40, 16], 'model.norm.weight': [16],
      'model.layers.0.input_layernorm.weight': [16], 'model.layers.0.post_attention_layernorm.weight': [16],
      'model.layers.0.self_attn.qkv_proj.weight': [32, 16], 'model.layers.0.self_attn.o_proj.weight': [16, 16],
      'model.layers.0.mlp.gate_up_proj.weight': [48, 16], 'model.layers.0.mlp.down_proj.weight': [16, 24],
    });
    const config = { ...PLAIN, architectures: ['Phi3ForCausalLM'], model_type: 'phi3' };
    const { weights: { layers: [layer] } } = await plan(tensors, config);
    expect(namesOf(gqa(layer!).qkv)).toEqual(['model.layers.0.self_attn.qkv_proj.weight']);
    expect(namesOf(dense(layer!).gateUp)).toEqual(['model.layers.0.mlp.gate_up_proj.weight']);
    expect([gqa(layer!).qkvBias, layer!.attentionOutNorm, layer!.mlpOutNorm]).toEqual([null, null, null]);
    await expect(plan(tinyTensors(), config)).rejects.toThrow(refused('checkpoint_tensor_missing', 'model.layers.0.self_attn.qkv_proj.weight'));
  });

  test.each([['Gemma2ForCausalLM', 'gemma2', []], ['Gemma3ForCausalLM', 'gemma3_text', ['q_norm', 'k_norm']]] as const)('of %s has four norms a layer', async (architecture, type, headNorms) => {
    const inLayer = (name: string): string => `model.layers.0.${name}.weight`;
    const norms = ['input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm'];
    const rest = Object.fromEntries(Object.entries(tinyTensors()).filter(([name]) => !name.endsWith('.bias') && name !== 'lm_head.weight'));
    const tensors = { ...rest, ...shaped(Object.fromEntries([...norms.map(name => [inLayer(name), [16]]), ...headNorms.map(name => [inLayer(`self_attn.${name}`), [8]])])) };
    const { weights: { layers: [layer] }, tied } = await plan(tensors, { ...PLAIN, architectures: [architecture], model_type: type, head_dim: 8, tie_word_embeddings: undefined });
    expect(tied).toBe(true);
    expect([layer!.inputNorm, layer!.attentionOutNorm, layer!.postNorm, layer!.mlpOutNorm].map(namesOf)).toEqual(norms.map(name => [inLayer(name)]));
    expect([gqa(layer!).qNorm, gqa(layer!).kNorm].filter(norm => norm !== null).flatMap(namesOf)).toEqual(headNorms.map(name => inLayer(`self_attn.${name}`)));
  });

  /** Three experts [24, 16] in one layer. */
  const mixtral = { ...PLAIN, architectures: ['MixtralForCausalLM'], model_type: 'mixtral', num_local_experts: 3, num_experts_per_tok: 2 };
  const around = (): Tensors => Object.fromEntries(Object.entries(tinyTensors()).filter(([name]) => !/\.bias$|\.mlp\./.test(name)));
  const split = (): Tensors => shaped(Object.fromEntries([0, 1, 2].flatMap(e => [['w1', [24, 16]], ['w3', [24, 16]], ['w2', [16, 24]]].map(([name, shape]) =>
    [`model.layers.0.block_sparse_moe.experts.${e}.${name as string}.weight`, shape as number[]]))));

  test('with experts has a tensor for each of their matrices, or one for all of them', async () => {
    const router = 'model.layers.0.block_sparse_moe.gate.weight';
    const apart = await plan({ ...around(), ...split(), ...shaped({ [router]: [3, 16] }) }, mixtral);
    const of = ({ weights: { layers: [layer] } }: WeightPlan): Extract<(typeof layer & {})['mlp'], { kind: 'moe' }> => layer!.mlp as never;
    expect(of(apart).gateUp.experts.map(stack => stack.map(({ name }) => name.slice(15)))).toEqual([0, 1, 2].map(e => ['w1', 'w3'].map(name => `block_sparse_moe.experts.${e}.${name}.weight`)));
    expect(of(apart).down.experts.map(([tensor]) => tensor!.name.slice(15))).toEqual([0, 1, 2].map(e => `block_sparse_moe.experts.${e}.w2.weight`));
    const fused = { 'model.layers.0.mlp.gate.weight': [3, 16], 'model.layers.0.mlp.experts.gate_up_proj': [3, 48, 16], 'model.layers.0.mlp.experts.down_proj': [3, 16, 24] };
    const { gateUp, down } = of(await plan({ ...around(), ...shaped(fused) }, mixtral));
    expect(gateUp.experts.map(([tensor]) => [tensor!.shape, tensor!.offset - gateUp.experts[0]![0]!.offset])).toEqual([0, 1, 2].map(e => [[48, 16], e * 48 * 16 * 2]));
    expect(down.experts.map(([tensor]) => [tensor!.shape, tensor!.bytes])).toEqual(Array.from({ length: 3 }, () => [[16, 24], 16 * 24 * 2]));
  });

  test.each([...Object.keys(split()), 'model.layers.0.block_sparse_moe.gate.weight'])('with experts, but without %s, is refused', async name => {
    const { [name]: _, ...rest } = { ...around(), ...split(), ...shaped({ 'model.layers.0.block_sparse_moe.gate.weight': [3, 16] }) };
    await expect(plan(rest, mixtral)).rejects.toThrow(refused('checkpoint_tensor_missing', name));
  });

  const names = Object.keys(tinyTensors());
  test.each(names)('without %s is refused', async name => {
    const { [name]: _, ...rest } = tinyTensors();
    await expect(plan(rest)).rejects.toThrow(refused('checkpoint_tensor_missing', name));
  });

  test.each(names)('that calls %s otherwise is refused', async name => {
    const { [name]: renamed, ...rest } = tinyTensors();
    await expect(plan({ ...rest, [`${name}s`]: renamed! })).rejects.toThrow(refused('checkpoint_tensor_missing', name));
  });

  test.each(names)('whose %s has another shape is refused, both shapes named', async name => {
    const tensors = tinyTensors();
    const { shape, dtype } = tensors[name]!;
    for (const wrong of [shape.map((size, i) => (i === 0 ? size + 1 : size)), [...shape, 1], [shape.reduce((a, b) => a * b), 1, 1]]) {
      await expect(plan({ ...tensors, [name]: { dtype, shape: wrong } })).rejects.toThrow(refused('checkpoint_tensor_shape', name, `[${wrong.join(', ')}]; config.json wants [${shape.join(', ')}]`));
    }
  });

  test.each(names)('whose %s holds whole numbers is refused', async name => {
    const tensors = tinyTensors();
    await expect(plan({ ...tensors, [name]: { ...tensors[name]!, dtype: 'I64' } })).rejects.toThrow(refused('checkpoint_tensor_dtype', name, 'I64'));
  });

  test.each(['model.layers.1.mlp.up_proj.weight', 'model.layers.0.self_attn.q_norm.weight', 'lm_head.bias', 'v_head.weight'])('with %s beside it is refused', async name => {
    await expect(plan({ ...tinyTensors(), [name]: { dtype: 'BF16', shape: [4] } })).rejects.toThrow(refused('checkpoint_tensor_extra', name));
  });

  test('with biases that config.json denies is refused', async () => {
    await expect(plan(tinyTensors(), { ...TINY, mlp_bias: false })).rejects.toThrow(refused('checkpoint_tensor_extra', 'model.layers.0.mlp.gate_proj.bias', 'and 2 more'));
  });

  test.each(['model.rotary_emb.inv_freq', 'model.layers.0.self_attn.rotary_emb.inv_freq'])('with %s, which is computed, is fine', async name => {
    await expect(plan({ ...tinyTensors(), [name]: { dtype: 'F32', shape: [4] } })).resolves.toBeDefined();
  });
});

describe('a tied head', () => {
  const TIED = { ...TINY, tie_word_embeddings: true };
  const { 'lm_head.weight': head, 'model.embed_tokens.weight': embed, ...others } = tinyTensors();
  const filled = (value: number): Tensors[string] => ({ ...head!, data: new Uint8Array(byteLength(head!)).fill(value) });

  test.each<[string, Tensors, string]>([
    ['the embedding alone', { ...others, 'model.embed_tokens.weight': embed! }, 'model.embed_tokens.weight'],
    ['the head alone', { ...others, 'lm_head.weight': head! }, 'lm_head.weight'],
    ['both, with equal bytes', { ...others, 'lm_head.weight': filled(7), 'model.embed_tokens.weight': filled(7) }, 'lm_head.weight'],
  ])('%s: one matrix', async (_, tensors, name) => {
    const { weights, tied } = await plan(tensors, TIED);
    expect([tied, weights.embed, namesOf(weights.head)]).toEqual([true, null, [name]]);
  });

  test('both, and they differ: two matrices, as transformers keeps them', async () => {
    const last = filled(7);
    last.data![last.data!.length - 1] = 8;
    const { weights, tied } = await plan({ ...others, 'lm_head.weight': filled(7), 'model.embed_tokens.weight': last }, TIED);
    expect([tied, namesOf(weights.embed), namesOf(weights.head)]).toEqual([false, ['model.embed_tokens.weight'], ['lm_head.weight']]);
  });

  test('neither: refused', async () => {
    await expect(plan(others, TIED)).rejects.toThrow(refused('checkpoint_tensor_missing', 'model.embed_tokens.weight'));
  });
});
