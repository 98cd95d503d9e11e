import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createCpuDevice, type Device } from '@weft/kernels';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { loadModel, type Model } from '../../../libs/engine/src/models/index.js';
import { OneSequence } from './one-sequence.js';

/** |Δ log-probability| against transformers in f32, the promise of the reference mode. */
const TOLERANCE = 0.02;
const MODELS = fileURLToPath(new URL('../../fixtures/models', import.meta.url));

interface Case { prompt: number[]; ids: number[]; logprobs: number[]; prompt_logprobs: (number | null)[] }
const casesOf = (name: string, file: string): Case[] => JSON.parse(readFileSync(join(MODELS, name, `${file}.json`), 'utf8')) as Case[];

let device: Device, cacheDir: string;
beforeAll(() => {
  device = createCpuDevice({ threads: 2 });
  cacheDir = mkdtempSync(join(tmpdir(), 'weft-images-'));
});
afterAll(() => {
  device.close();
  rmSync(cacheDir, { recursive: true, force: true });
});

async function compare(sequence: OneSequence, cases: readonly Case[]): Promise<number> {
  let worst = 0;
  for (const { prompt, ids, logprobs, prompt_logprobs: ofPrompt } of cases) {
    const { logprobs: ours, statuses } = await sequence.score([...prompt, ...ids]);
    expect(statuses.every(status => status === 0)).toBe(true);
    const theirs = [...ofPrompt.slice(1), ...logprobs] as number[];
    expect(ours).toHaveLength(theirs.length);
    theirs.forEach((value, i) => { worst = Math.max(worst, Math.abs(ours[i]! - value)); });
  }
  return worst;
}

const partition = { rank: 0, size: 1 };

describe.each(readdirSync(MODELS))('%s', name => {
  let model: Model;
  beforeAll(async () => { model = await loadModel(device, await openCheckpoint(join(MODELS, name, 'base')), { partition }); });

  const adapters = readdirSync(join(MODELS, name, 'adapters'));
  test.each(['base', ...adapters])('%s: log-probabilities of prompt and answer in one step are those of transformers', async adapter => {
    const sequence = new OneSequence(model);
    if (adapter !== 'base') await sequence.adapt(join(MODELS, name, 'adapters', adapter), cacheDir);
    expect(await compare(sequence, casesOf(name, adapter))).toBeLessThan(TOLERANCE);
    sequence.close();
  });
});
