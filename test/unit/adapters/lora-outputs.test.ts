import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSafetensors, prepareAdapter, type BaseTensors, type ImageIndex } from '@weft/adapters';
import { adapterFolder, f32Tensor, llama, loraTensors, peftConfig, safetensors, temporaryFolder, type TensorData } from './support.js';

const base = llama({ layers: 1, hidden: 64, q: 100, kv: 32, intermediate: 96 });
const MODULE = 'model.layers.0.self_attn.q_proj', KEY = `base_model.model.${MODULE}`, DIN = 64, DOUT = 100, RANK = 4;
const wave = (count: number, step: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i * step));
const vector = (name: string, values: Float32Array): TensorData => f32Tensor(name, [values.length], i => values[i]!);

const w = wave(DOUT * DIN, 0.37), b0 = wave(DOUT, 0.11), magnitude = wave(DOUT, 0.05).map(value => 2 + value), bias = wave(DOUT, 0.9), biasOfB = wave(DOUT, 1.7);
const pair = loraTensors(base, ['q'], () => RANK);
const values = ({ bytes }: TensorData): Float32Array => new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const settings = (changes: object): unknown => peftConfig({ r: RANK, lora_alpha: 2 * RANK, target_modules: ['q_proj'], ...changes });

async function baseTensors(...tensors: TensorData[]): Promise<BaseTensors> {
  const file = join(temporaryFolder(), 'model.safetensors');
  writeFileSync(file, safetensors(tensors));
  return (await openSafetensors(file)).tensors;
}
const weights = f32Tensor(`${MODULE}.weight`, [DOUT, DIN], i => w[i]!), ownBias = vector(`${MODULE}.bias`, b0);

async function tails(config: unknown, tensors: TensorData[], ofBase: BaseTensors): Promise<{ h: number[]; c: number[]; index: ImageIndex }> {
  const pages = { pageBytes: 8192, partition: { rank: 0, size: 1 } };
  const { index, imageFile } = await prepareAdapter(adapterFolder(config, tensors), base, pages, temporaryFolder(), { baseTensors: ofBase });
  const image = await readFile(imageFile), run = index.runs.find(({ half }) => half === 1)!, h: number[] = [], c: number[] = [];
  for (const { page, offset, units } of run.segs) {
    for (let unit = 0; unit < units; unit++) {
      const at = page * index.pageBytes + offset + unit * run.unitBytes + run.unitBytes - run.tail;
      for (let o = 0; o < 64; o++) { h.push(image.readFloatLE(at + 4 * o)); c.push(image.readFloatLE(at + 256 + 4 * o)); }
    }
  }
  return { h, c, index };
}

/** g of each output. */
function gains(): number[] {
  const [a, b] = pair.map(values) as [Float32Array, Float32Array];
  return Array.from({ length: DOUT }, (_, o) => {
    let sum = 0;
    for (let i = 0; i < DIN; i++) {
      let value = w[o * DIN + i]!;
      for (let j = 0; j < RANK; j++) value += 2 * b[o * RANK + j]! * a[j * DIN + i]!;
      sum += value * value;
    }
    return magnitude[o]! / Math.sqrt(sum);
  });
}
const padded = (list: number[]): number[] => [...list, ...new Array<number>(128 - DOUT).fill(0)];
const expectNear = (actual: number[], expected: number[]): void => actual.forEach((value, i) => expect(value).toBeCloseTo(padded(expected)[i]!, 5));

test('DoRA: h = g - 1, and the bias of the base is not scaled', async () => {
  const { h, c, index } = await tails(settings({ use_dora: true }), [...pair, vector(`${KEY}.lora_magnitude_vector`, magnitude)], await baseTensors(weights, ownBias));
  expectNear(h, gains().map(g => g - 1));
  expectNear(c, gains().map((g, o) => (1 - g) * b0[o]!));
  expect(index.scalesBase).toBe(true);
});

test('DoRA with a trained bias, under the names that raw state dicts have', async () => {
  const tensors = [...pair, vector(`${KEY}.lora_magnitude_vector.default.weight`, magnitude), vector(`${KEY}.base_layer.bias`, bias)];
  const { c } = await tails(settings({ use_dora: true, bias: 'all' }), tensors, await baseTensors(weights, ownBias));
  expectNear(c, gains().map((g, o) => bias[o]! - g * b0[o]!));
});

test('biases, of B and trained: added, nothing is scaled', async () => {
  const { h, c, index } = await tails(settings({ lora_bias: true, bias: 'all' }), [...pair, vector(`${KEY}.lora_B.bias`, biasOfB), vector(`${KEY}.base_layer.bias`, bias)], await baseTensors(weights, ownBias));
  expectNear(h, new Array<number>(DOUT).fill(0));
  expectNear(c, Array.from(bias, (value, o) => value - b0[o]! + 2 * biasOfB[o]!));
  expect(index.scalesBase).toBe(false);
});

describe('refused by name', () => {
  const prepare = (config: unknown, tensors: TensorData[], ofBase: BaseTensors): Promise<unknown> => tails(config, tensors, ofBase);
  const m = vector(`${KEY}.lora_magnitude_vector`, magnitude);
  test('what the config announces and the file lacks', async () => {
    await expect(prepare(settings({ use_dora: true }), pair, await baseTensors(weights))).rejects.toMatchObject({ code: 'adapter_tensor_missing', details: { tensor: m.name } });
    await expect(prepare(settings({ lora_bias: true }), pair, await baseTensors(weights))).rejects.toMatchObject({ code: 'adapter_tensor_missing', details: { tensor: `${KEY}.lora_B.bias` } });
  });
  test('a magnitude of another length, or not finite', async () => {
    await expect(prepare(settings({ use_dora: true }), [...pair, vector(m.name, magnitude.subarray(1))], await baseTensors(weights))).rejects.toMatchObject({ code: 'adapter_tensor_shape', details: { tensor: m.name } });
    await expect(prepare(settings({ use_dora: true }), [...pair, vector(m.name, magnitude.map((value, i) => (i === 3 ? NaN : value)))], await baseTensors(weights))).rejects.toMatchObject({ code: 'adapter_tensor_not_finite', details: { tensor: m.name } });
  });
  test('a trained bias of a module that has none', async () => {
    const tensor = `${KEY}.base_layer.bias`;
    await expect(prepare(settings({ bias: 'all' }), [...pair, vector(tensor, bias)], await baseTensors(weights))).rejects.toMatchObject({ code: 'adapter_tensor_unclaimed', details: { tensor } });
  });
  test('an output that DoRA would divide by zero', async () => {
    const zero = [{ ...pair[0]! }, f32Tensor(pair[1]!.name, [DOUT, RANK], () => 0)];
    const flat = f32Tensor(`${MODULE}.weight`, [DOUT, DIN], i => (i < DIN ? 0 : 1));
    await expect(prepare(settings({ use_dora: true }), [...zero, m], await baseTensors(flat))).rejects.toMatchObject({ code: 'adapter_tensor_not_finite', details: { tensor: m.name } });
  });
  test('DoRA together with a bias of B', async () => {
    await expect(prepare(settings({ use_dora: true, lora_bias: true }), pair, await baseTensors(weights))).rejects.toMatchObject({ code: 'adapter_config_invalid', details: { field: 'lora_bias' } });
  });
});
