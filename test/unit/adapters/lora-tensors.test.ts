import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AdapterRefused, lora, readAdapterFolder, type LoraManifest } from '@weft/adapters';
import { adapterFolder, bitsTensor, f32Tensor, llama, loraTensors, peftConfig, safetensors, type TensorData } from './support.js';

const base = llama({ layers: 2, hidden: 64, q: 64, kv: 32, intermediate: 96 });
const good = loraTensors(base, ['q', 'v', 'down'], () => 4);
const config = peftConfig({ target_modules: ['q_proj', 'v_proj', 'down_proj'] });

const validate = async (tensors: readonly TensorData[] | Uint8Array, extra: Record<string, string> = {}, settings: unknown = config): Promise<LoraManifest> =>
  lora.validate(await readAdapterFolder(adapterFolder(settings, tensors, extra)), base);
async function refusal(tensors: readonly TensorData[] | Uint8Array, extra: Record<string, string> = {}, settings: unknown = config): Promise<AdapterRefused> {
  const error: unknown = await validate(tensors, extra, settings).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AdapterRefused);
  return error as AdapterRefused;
}
const renamed = (tensor: TensorData, name: string): TensorData => ({ ...tensor, name });
const A = good[0]!.name;

test('the adapter that the others are made from is valid', async () => {
  expect((await validate(good)).modules).toHaveLength(6);
});

describe.each(good.map(({ name }, i) => [name, i] as const))('%s', (name, i) => {
  const others = good.filter((_, j) => j !== i);
  const tensor = good[i]!;

  test('left out: missing, by name', async () => {
    expect(await refusal(others)).toMatchObject({ code: 'adapter_tensor_missing', details: { tensor: name } });
  });
  test('renamed: unclaimed by its new name, and missing', async () => {
    const { findings } = await refusal([...others, renamed(tensor, name.replace('layers.', 'blocks.'))]);
    expect(findings.map(finding => [finding.code, finding.tensor])).toEqual([
      ['adapter_tensor_unclaimed', name.replace('layers.', 'blocks.')], ['adapter_tensor_missing', name],
    ]);
  });
  test('there twice, as header key: refused by name', async () => {
    expect(await refusal(duplicated(name))).toMatchObject({ code: 'safetensors_invalid', details: { tensor: name, file: 'adapter_model.safetensors' } });
  });
  test('there twice, once with the name of the adapter in it: refused by name', async () => {
    const twin = name.replace('.weight', '.default.weight');
    expect(await refusal([...good, renamed(tensor, twin)])).toMatchObject({ code: 'adapter_tensor_duplicate', details: { tensor: twin } });
  });
  test('transposed: both shapes are told', async () => {
    const [rows, columns] = tensor.shape as [number, number];
    const error = await refusal([...others, { ...tensor, shape: [columns, rows] }]);
    expect(error).toMatchObject({ code: 'adapter_tensor_shape', details: { tensor: name } });
    expect(error.message).toContain(`[${columns}, ${rows}]`);
    expect(error.message).toContain(`[${rows}, ${columns}]`);
  });
  test('in another dtype: refused by name', async () => {
    const [rows, columns] = tensor.shape as [number, number];
    expect(await refusal([...others, { ...tensor, dtype: 'F64', shape: [rows, columns / 2], bytes: tensor.bytes }])).toMatchObject({ code: 'adapter_tensor_dtype', details: { tensor: name } });
  });
  test.each([NaN, Infinity, -Infinity])('with a value of %d: refused by name and place', async value => {
    const count = tensor.bytes.byteLength / 4;
    const error = await refusal([...others, f32Tensor(name, tensor.shape, j => (j === count - 1 ? value : 0.5))]);
    expect(error).toMatchObject({ code: 'adapter_tensor_not_finite', details: { tensor: name } });
    expect(error.message).toContain(`[${tensor.shape[0]! - 1}, ${tensor.shape[1]! - 1}]`);
  });
});

/** The good file with one key written twice in its header. */
function duplicated(name: string): Buffer {
  const file = safetensors(good);
  const headerEnd = 8 + Number(file.readBigUInt64LE());
  const header = file.subarray(8, headerEnd).toString().trimEnd();
  const tensor = (JSON.parse(header) as Record<string, unknown>)[name];
  const twice = Buffer.from(`${header.slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(tensor)}}`);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(twice.length));
  return Buffer.concat([length, twice, file.subarray(headerEnd)]);
}

test('keys that kept the name of the default adapter are the same tensors', async () => {
  expect((await validate(good.map(tensor => renamed(tensor, tensor.name.replace('.weight', '.default.weight'))))).modules).toHaveLength(6);
});

test('an adapter whose tensors match no module is refused by the first such tensor', async () => {
  const foreign = good.map(tensor => renamed(tensor, tensor.name.replace('self_attn', 'attention').replace('mlp', 'ffn')));
  expect(await refusal(foreign)).toMatchObject({ code: 'adapter_tensor_unclaimed', details: { tensor: foreign[0]!.name } });
});

test('targets and tensors that both match nothing: the tensor is told, without tensors the field', async () => {
  const settings = peftConfig({ target_modules: ['c_attn'] });
  const tensor = f32Tensor('base_model.model.transformer.h.0.attn.c_attn.lora_A.weight', [4, 64], () => 1);
  expect(await refusal([tensor], {}, settings)).toMatchObject({ code: 'adapter_tensor_unclaimed', details: { tensor: tensor.name } });
  expect(await refusal([], {}, settings)).toMatchObject({ code: 'adapter_config_invalid', details: { field: 'target_modules' } });
});

test('a tensor of a module that the config does not target is refused by name', async () => {
  const extra = loraTensors(base, ['o'], () => 4);
  const { findings } = await refusal([...good, ...extra]);
  expect(findings.map(finding => finding.tensor)).toEqual(extra.map(tensor => tensor.name));
  expect(findings[0]!.message).toContain('does not target');
});

test.each<[string, string | undefined]>([
  ['base_model.model.model.embed_tokens.lora_embedding_A', 'target_modules'], ['base_model.model.model.embed_tokens.lora_embedding_B', 'target_modules'],
  ['base_model.model.lm_head.lora_A.weight', undefined], ['base_model.model.model.norm.weight', 'modules_to_save'], ['base_model.model.lm_head.base_layer.weight', 'modules_to_save'],
  ['base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector', 'use_dora'], ['base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias', 'lora_bias'],
  ['base_model.model.model.layers.0.self_attn.q_proj.bias', 'bias'], ['base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta', 'trainable_token_indices'],
  ['base_model.model.score.modules_to_save.weight', 'modules_to_save'], ['base_model.model.model.layers.0.self_attn.q_proj.lora_A.other.weight', undefined],
  ['model.layers.0.self_attn.q_proj.lora_A.weight', undefined], ['base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight', undefined],
  ['base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight', undefined], ['base_model.model.model.layers.0.self_attn.q_proj.lora_a.weight', undefined],
])('%s is refused by name', async (name, field) => {
  const error = await refusal([...good, f32Tensor(name, [4, 64], () => 1)]);
  expect(error).toMatchObject({ code: 'adapter_tensor_unclaimed', details: { tensor: name, field } });
});

test('thousands of findings are cut, and the count is told', async () => {
  const { findings } = await refusal(Array.from({ length: 300 }, (_, i) => f32Tensor(`t${i}`, [1], () => 1)));
  expect(findings).toHaveLength(100);
  expect(findings.at(-1)!.message).toMatch(/and 212 more/);
});

test('the weights file cut short, empty, or not safetensors', async () => {
  const folder = adapterFolder(config, good);
  truncateSync(join(folder, 'adapter_model.safetensors'), 3_000);
  await expect(lora.validate(await readAdapterFolder(folder), base)).rejects.toMatchObject({ name: 'AdapterRefused', code: 'safetensors_invalid' });
  expect((await refusal(new Uint8Array(0))).code).toBe('safetensors_invalid');
  expect((await refusal(Buffer.from('PK\u0003\u0004 something else entirely'))).code).toBe('safetensors_invalid');
});

test.each(['model.safetensors', 'adapter_model-00002.safetensors', 'config.json', 'notes'])('a file that is not read is refused: %s', async name => {
  expect(await refusal(good, { [name]: 'x' })).toMatchObject({ code: 'adapter_file_unsupported', details: { file: name } });
});

describe('effect', () => {
  const zero = (tensor: TensorData): TensorData => f32Tensor(tensor.name, tensor.shape, () => 0);

  test('B zero in all modules, as before training: refused', async () => {
    expect((await refusal(good.map(tensor => (tensor.name.includes('lora_B') ? zero(tensor) : tensor)))).code).toBe('adapter_without_effect');
  });
  test('A zero in all modules: refused', async () => {
    expect((await refusal(good.map(tensor => (tensor.name.includes('lora_A') ? zero(tensor) : tensor)))).code).toBe('adapter_without_effect');
  });
  test('an alpha of zero: refused', async () => {
    expect((await refusal(good, {}, { ...config, lora_alpha: 0 })).code).toBe('adapter_without_effect');
  });
  test('B·A zero though neither is: refused', async () => {
    // Rows of A are equal in pairs, columns of B opposite in pairs.
    const cancelling = good.map(({ name, shape }) => (name.includes('lora_A')
      ? f32Tensor(name, shape, i => Math.sin(Math.floor(i / shape[1]! / 2) * shape[1]! + (i % shape[1]!)))
      : f32Tensor(name, shape, i => (i % 2 === 0 ? 1 : -1) * Math.cos(Math.floor(i / 2)))));
    expect((await refusal(cancelling)).code).toBe('adapter_without_effect');
  });
  test('one module without effect: a warning that names it', async () => {
    const b = A.replace('lora_A', 'lora_B');
    const { warnings, modules } = await validate(good.map(tensor => (tensor.name === b ? zero(tensor) : tensor)));
    expect(warnings).toEqual([expect.objectContaining({ code: 'adapter_module_without_effect', tensor: b })]);
    expect(modules).toHaveLength(6);
  });
  test('a single small value is an effect', async () => {
    const [first, second, ...rest] = good;
    const tiny = [first!, f32Tensor(second!.name, second!.shape, i => (i === 5 ? 1e-20 : 0)), ...rest.map(zero)];
    expect((await validate(tiny)).warnings).toHaveLength(5);
  });
});

describe('the format that values are stored in', () => {
  const stored = async (change: (tensor: TensorData) => TensorData): Promise<string> => {
    const { modules } = await validate(good.map(tensor => (tensor.name === A ? change(tensor) : tensor)));
    return modules[0]!.aStored;
  };
  test('16-bit uploads stay what they are', async () => {
    expect(await stored(({ name, shape }) => bitsTensor(name, 'BF16', shape, i => 0x3f80 + (i % 9)))).toBe('bf16');
    expect(await stored(({ name, shape }) => bitsTensor(name, 'F16', shape, i => 0x3c00 + (i % 9)))).toBe('f16');
  });
  test('f32 becomes f16', async () => {
    expect(await stored(tensor => tensor)).toBe('f16');
  });
  test('f32 beyond the range of f16 becomes bf16', async () => {
    expect(await stored(({ name, shape }) => f32Tensor(name, shape, i => (i === 7 ? 65_520 : 1.001)))).toBe('bf16');
    expect(await stored(({ name, shape }) => f32Tensor(name, shape, i => (i === 7 ? 65_519 : 1.001)))).toBe('f16');
  });
  test('f32 so small that f16 would lose most of it becomes bf16', async () => {
    expect(await stored(({ name, shape }) => f32Tensor(name, shape, i => 1e-7 * (1 + (i % 7))))).toBe('bf16');
  });
  test('f32 that was bf16 before stays exact', async () => {
    expect(await stored(({ name, shape }) => f32Tensor(name, shape, i => (i % 2 ? 1 : -1) * 2 ** -((i % 40) + 1)))).toBe('bf16');
  });
  test('f32 that no 16-bit format holds is refused', async () => {
    const huge = good.map(tensor => (tensor.name === A ? f32Tensor(A, tensor.shape, () => 3.4e38) : tensor));
    expect(await refusal(huge)).toMatchObject({ code: 'adapter_value_out_of_range', details: { tensor: A } });
  });
});
