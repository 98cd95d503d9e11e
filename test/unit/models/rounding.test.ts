/** What int8 weights, int8 keys and values, and bf16 activations do to a model's answers, beside the same model without; teacher-forced. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LOGIT_TILE, createCpuDevice, type Device } from '@weft/kernels';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { loadModel, type Model } from '../../../libs/engine/src/models/index.js';
import { OneSequence } from './one-sequence.js';

const MODELS = fileURLToPath(new URL('../../fixtures/models', import.meta.url));
const partition = { rank: 0, size: 1 };

let device: Device, cacheDir: string;
beforeAll(() => {
  device = createCpuDevice({ threads: 2 });
  cacheDir = mkdtempSync(join(tmpdir(), 'weft-images-'));
});
afterAll(() => {
  device.close();
  rmSync(cacheDir, { recursive: true, force: true });
});

function logSoftmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b)), sum = logits.reduce((a, b) => a + Math.exp(b - most), 0);
  return Float64Array.from(logits, l => l - most - Math.log(sum));
}

interface Divergence { rows: number; meanKl: number; worstKl: number; top1: number }

type Rounding = 'weights' | 'kv' | 'activations';

class Pair {
  #models!: [stored: Model, rounded: Model];
  async open(base: string, what: Rounding): Promise<this> {
    const load = async (mode: { weights?: 'int8'; kv?: 'int8'; activations?: 'bf16' }): Promise<Model> => loadModel(device, await openCheckpoint(base), { partition, maxModelLen: 256, ...mode });
    this.#models = [await load({}), await load({ [what]: what === 'activations' ? 'bf16' : 'int8' })];
    const [stored, rounded] = this.#models.map(model => (what === 'kv' ? model.kv.pageBytes : model.weightBytes));
    if (what === 'activations') expect(this.#models[1].kv.type).toBe(device.multipliesBf16 ? 'bf16' : 'f16');
    else expect(rounded).toBeLessThan(stored!);
    return this;
  }

  /** Rows go to experts, and rounding may send one elsewhere: it changes as a whole. */
  get routes(): boolean { return this.#models[0].config.moe !== null; }

  /** KL(stored ‖ rounded), and the share of rows with the same best token. */
  async diverge(adapter: string | null, prompts: number[][]): Promise<Divergence> {
    const sequences = this.#models.map(model => new OneSequence(model));
    if (adapter) for (const sequence of sequences) await sequence.adapt(adapter, cacheDir);
    let rows = 0, sum = 0, worstKl = 0, same = 0;
    for (const tokens of prompts) {
      const [p, q] = [await sequences[0]!.logits(tokens), await sequences[1]!.logits(tokens)].map(all => all.map(logSoftmax)) as [Float64Array[], Float64Array[]];
      p.forEach((ps, i) => {
        const qs = q[i]!, kl = ps.reduce((s, lp, t) => s + Math.exp(lp) * (lp - qs[t]!), 0);
        rows++;
        sum += kl;
        worstKl = Math.max(worstKl, kl);
        same += Number(best(ps) === best(qs));
      });
    }
    sequences.forEach(sequence => sequence.close());
    return { rows, meanKl: sum / rows, worstKl, top1: same / rows };
  }
}

const best = (row: Float64Array): number => row.reduce((most, value, i) => (value > row[most]! ? i : most), 0);
const promptsOf = (file: string): number[][] => (JSON.parse(readFileSync(file, 'utf8')) as { prompt: number[]; ids: number[] }[])
  .map(({ prompt, ids }) => [...prompt, ...ids].slice(0, LOGIT_TILE + 1));

/**
 * Measured on random weights, whose distributions are flat: mean KL 0.0006 to 0.0042, worst 0.044, top-1 94 to 100%. With experts,
 * where a near-tie sends a row to another one: 0.010, 1.2 and 90%. */
describe.each(readdirSync(MODELS))('%s', name => {
  let pair: Pair;
  beforeAll(async () => { pair = await new Pair().open(join(MODELS, name, 'base'), 'weights'); });

  test.each(['base', ...readdirSync(join(MODELS, name, 'adapters'))])('%s: int8 weights stay close to the stored ones', async adapter => {
    const d = await pair.diverge(adapter === 'base' ? null : join(MODELS, name, 'adapters', adapter), promptsOf(join(MODELS, name, `${adapter}.json`)));
    expect(d.rows).toBeGreaterThan(100);
    expect(d.meanKl).toBeGreaterThan(0);
    expect(d.meanKl).toBeLessThan(pair.routes ? 0.02 : 0.008);
    expect(d.worstKl).toBeLessThan(pair.routes ? 1.5 : 0.1);
    expect(d.top1).toBeGreaterThan(pair.routes ? 0.85 : 0.9);
  });
});

const smol = process.env['WEFT_SMOLLM2'];
/** How far from the stored ones, over base and one adapter. */
async function divergeSmol(what: Rounding): Promise<Record<'base' | 'contact-json', Divergence>> {
  const pair = await new Pair().open(smol!, what);
  const prompts = (name: string): number[][] => promptsOf(join(smol!, '..', `${name}.json`));
  return {
    base: await pair.diverge(null, prompts('base')),
    'contact-json': await pair.diverge(join(smol!, '../adapters/contact-json'), prompts('contact-json')),
  };
}
const MISSING = 'WEFT_SMOLLM2 names no folder with it (test/fixtures/README.md)';

/** Measured: mean KL 0.0028 (base), 0.0064 (contact-json), worst 0.058, top-1 98% and 96%. */
test('SmolLM2-135M: int8 weights stay close to the stored ones', { timeout: 240_000 }, async ctx => {
  ctx.skip(!smol, MISSING);
  for (const [adapter, d] of Object.entries(await divergeSmol('weights'))) {
    expect(d.meanKl, adapter).toBeLessThan(adapter === 'base' ? 0.005 : 0.01);
    expect(d.worstKl, adapter).toBeLessThan(0.1);
    expect(d.top1, adapter).toBeGreaterThan(0.95);
  }
});

/**
 * Measured: mean KL 0.0015 (base), 0.0069 (contact-json), top-1 99.7% and 99.2%; worst 0.016 and 0.31, the latter in one row of
 * the prompt that all four cases share, on the edge: transformers with keys and values rounded alike and noise of 1e-5 in them
 * comes out between 0.02 and 0.26 there.
 */
test('SmolLM2-135M: int8 keys and values stay close to f16', { timeout: 240_000 }, async ctx => {
  ctx.skip(!smol, MISSING);
  for (const [adapter, d] of Object.entries(await divergeSmol('kv'))) {
    expect(d.meanKl, adapter).toBeGreaterThan(0);
    expect(d.meanKl, adapter).toBeLessThan(adapter === 'base' ? 0.003 : 0.015);
    expect(d.worstKl, adapter).toBeLessThan(adapter === 'base' ? 0.05 : 0.6);
    expect(d.top1, adapter).toBeGreaterThan(0.97);
  }
});

/** Measured with pairs of bf16 (AVX-512): mean KL 0.00024 (base), 0.00044 (contact-json), worst 0.0045, top-1 100% and 99.6%. */
test('SmolLM2-135M: bf16 activations stay close to f32, with what attention reads then', { timeout: 240_000 }, async ctx => {
  ctx.skip(!smol, MISSING);
  for (const [adapter, d] of Object.entries(await divergeSmol('activations'))) {
    expect(d.meanKl, adapter).toBeGreaterThan(0);
    expect(d.meanKl, adapter).toBeLessThan(0.001);
    expect(d.worstKl, adapter).toBeLessThan(0.02);
    expect(d.top1, adapter).toBeGreaterThan(0.98);
  }
});
