/** Steps of a busy engine as recordings: prompts in chunks beside decoding rows, several adapters, penalties. Ranks of unlikely tokens would turn on a last digit. */
import { join } from 'node:path';
import { createEngine, type EngineRequest } from '@weft/engine';
import { record, type Device, type Tolerance } from '@weft/kernels';
import { readdirSync } from 'node:fs';
import { Random } from '../sim/clock.js';

const REQUESTS = 10;
/** Steps that are recorded: the first ones read prompts, later ones mostly decode. */
const STEPS = new Set([2, 6, 12]);

export async function recordMixes(modelDir: string, adaptersDir: string, cacheDir: string, prefix: string, tolerance: Tolerance): Promise<void> {
  let left = REQUESTS, step = 0;
  let done!: () => void;
  const ended = new Promise<void>(resolve => { done = resolve; });
  const host = await createEngine({
    modelDir, adapterCacheDir: cacheDir, maxSequences: 8, stepTokens: 48, poolBytes: 4 * 2 ** 20, lookaheadTokens: 1, depth: 1, threads: 2,
    listener: { onStep: () => undefined, onTerminal: () => { if (--left === 0) done(); } },
  });
  const { device } = host, submit = device.submit.bind(device);
  const recorder = { isa: device.isa, host: buffer => device.host(buffer), buffer: id => device.buffer(id), submit } as Pick<Device, 'isa' | 'host' | 'buffer' | 'submit'> as Device;
  // Pages that come in during a recorded step would look like the step's own doing.
  const load = device.loadPages.bind(device), loading = new Set<Promise<unknown>>();
  let recorded: Promise<unknown> = Promise.resolve();
  device.loadPages = async (...args) => {
    await recorded;
    const loaded = load(...args);
    loading.add(loaded);
    try { await loaded; } finally { loading.delete(loaded); }
  };
  device.submit = (list, options) => {
    if (!STEPS.has(++step)) return submit(list, options);
    const path = `${prefix}-step${step}.weft`, result = Promise.all(loading).then(() => record(recorder, list, options.bindings, path, tolerance));
    recorded = result;
    return result;
  };
  const digests: string[] = [];
  for (const name of readdirSync(adaptersDir).sort()) digests.push((await host.library.addFolder(join(adaptersDir, name))).digest);
  const random = new Random(5);
  for (let i = 0; i < REQUESTS; i++) host.engine.submit(request(random, `r${i}`, digests, host.model.config.vocab));
  await ended;
  await host.close();
}

function request(random: Random, id: string, digests: string[], vocab: number): EngineRequest {
  const adapter = random.pick([null, ...digests]);
  return {
    id, tenant: 't', adapters: adapter === null ? [] : [{ digest: adapter, weight: 1 }], task: 'generate', n: 1, maxTokens: random.int(6, 20), minTokens: 0,
    prompt: Array.from({ length: random.int(1, 60) }, () => random.int(0, vocab - 1)),
    sampling: {
      temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: random.pick([1, 1.1]), presencePenalty: 0, frequencyPenalty: random.pick([0, 0.2]), seed: 1n, logitBias: [],
    },
    emitted: [], stopIds: [], logprobs: 5, promptLogprobs: false, priority: 0, deadlineMs: 0,
  };
}
