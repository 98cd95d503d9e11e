import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { loadModel, type Model } from '../../../libs/engine/src/models/index.js';
import { CUDA, deviceOf, isas } from '../kernels/harness.js';
import { OneSequence } from './one-sequence.js';

/**
 * |Δ log-probability| against transformers in f32: the promise of the reference mode, and what rounding the inputs of linear
 * maps, or KV, may cost on these small models of random weights (0.1 on SmolLM2).
 */
const TOLERANCE = { f32: 0.02, bf16: 0.25, int8Kv: 0.3 } as const;
/** bf16 is multiplied in the way of each instruction set. */
const MODES = [
  { isa: isas.at(-1)!, activations: 'f32', kv: 'f16' }, ...isas.flatMap(isa => (isa === CUDA ? ['f16'] as const : ['f16', 'bf16'] as const).map(kv => ({ isa, activations: 'bf16', kv } as const))),
  { isa: isas.at(-1)!, activations: 'f32', kv: 'int8' },
] as const;
const MODELS = fileURLToPath(new URL('../../fixtures/models', import.meta.url));

interface Case { prompt: number[]; ids: number[]; logprobs: number[]; prompt_logprobs: (number | null)[] }
const casesOf = (name: string, file: string): Case[] => JSON.parse(readFileSync(join(MODELS, name, `${file}.json`), 'utf8')) as Case[];

let cacheDir: string;
beforeAll(() => {
  cacheDir = mkdtempSync(join(tmpdir(), 'weft-images-'));
});
afterAll(() => { rmSync(cacheDir, { recursive: true, force: true }); });

/** Of all |Δ|, how many may be larger where rounding sends rows to other experts: they change as a whole. */
const ROUTED_ELSEWHERE = 0.15;

/** The largest |Δ|, but for a share of them. */
async function compare(sequence: OneSequence, cases: readonly Case[], apart: number): Promise<number> {
  const deltas: number[] = [];
  for (const { prompt, ids, logprobs, prompt_logprobs: ofPrompt } of cases) {
    const { logprobs: ours, statuses } = await sequence.score([...prompt, ...ids]);
    expect(statuses.every(status => status === 0)).toBe(true);
    const theirs = [...ofPrompt.slice(1), ...logprobs] as number[];
    expect(ours).toHaveLength(theirs.length);
    deltas.push(...theirs.map((value, i) => Math.abs(ours[i]! - value)));
  }
  return deltas.sort((a, b) => a - b)[Math.ceil(deltas.length * (1 - apart)) - 1]!;
}

const partition = { rank: 0, size: 1 };

/** The pages of these tiny models hold less than one unit of such a rank, once keys and values take half the bytes. */
const LARGER_THAN_AN_INT8_PAGE = new Set(['llama-tiny/r64-o-down', 'llama-wide/r256-qv']);

/** Latents are kept in f16 alone. */
const LATENT = /^deepseek/;
const CASES = readdirSync(MODELS).flatMap(name => MODES.filter(({ kv }) => kv === 'f16' || !LATENT.test(name)).map(mode => ({ name, ...mode })));

test.each(['int8', 'bf16'] as const)('%s latents are refused by name', async kv => {
  const checkpoint = await openCheckpoint(join(MODELS, 'deepseek-v2-tiny', 'base'));
  await expect(loadModel(deviceOf({ isa: isas[0]!, threads: 1 }), checkpoint, { partition, kv })).rejects.toMatchObject({ code: 'option_invalid', details: { field: 'kv' } });
});

describe.each(CASES)('$name, $isa, $activations, KV in $kv', ({ name, isa, activations, kv }) => {
  let model: Model;
  beforeAll(async () => { model = await loadModel(deviceOf({ isa, threads: 2 }), await openCheckpoint(join(MODELS, name, 'base')), { partition, activations, kv }); });

  const adapters = readdirSync(join(MODELS, name, 'adapters'));
  test.each(['base', ...adapters])('%s: log-probabilities of prompt and answer in one step are those of transformers', async adapter => {
    const sequence = new OneSequence(model);
    if (kv === 'int8' && LARGER_THAN_AN_INT8_PAGE.has(`${name}/${adapter}`)) {
      await expect(sequence.adapt(join(MODELS, name, 'adapters', adapter), cacheDir)).rejects.toThrow(/does not fit into a page/);
      return sequence.close();
    }
    if (adapter !== 'base') await sequence.adapt(join(MODELS, name, 'adapters', adapter), cacheDir);
    const mode = kv === 'int8' ? 'int8Kv' : activations;
    expect(await compare(sequence, casesOf(name, adapter), mode !== 'f32' && model.config.moe ? ROUTED_ELSEWHERE : 0)).toBeLessThan(TOLERANCE[mode]);
    sequence.close();
  });
});
