// @ts-check
// An engine in a process of its own, plain JavaScript: neither a bench nor a TypeScript loader is resident beside it. Serves
// requests on as many adapters at once, twice, and prints what is resident then.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine } from '@weft/engine';

/** @type {{ model: string, adapters: string, threads: number, poolBytes: number, requests: number, prompt: number, fresh: number }} */
const { model, adapters, threads, poolBytes, requests, prompt, fresh } = JSON.parse(process.argv[2] ?? '');
const cache = mkdtempSync(join(tmpdir(), 'weft-resident-'));
let pages = 0, left = 0;
/** @type {() => void} */
let done;
const host = await createEngine({
  modelDir: model, adapterCacheDir: cache, threads, poolBytes,
  listener: {
    onStep: () => { pages = Math.max(pages, host.pool.total - host.pool.free); },
    onTerminal: ({ error }) => {
      if (error) throw error;
      if (--left === 0) done();
    },
  },
});
/** @type {string[]} */
const digests = [];
for (const name of readdirSync(adapters).sort()) digests.push((await host.library.addFolder(join(adapters, name))).digest);
for (let round = 0; round < 2; round++) {
  left = requests;
  /** @type {Promise<void>} */
  const all = new Promise(resolve => { done = resolve; });
  for (let i = 0; i < requests; i++) {
    host.engine.submit({
      id: `${round}-${i}`, tenant: 'bench', adapters: [{ digest: /** @type {string} */ (digests[i % digests.length]), weight: 1 }], task: 'generate',
      prompt: Array.from({ length: prompt }, (_, t) => 100 + (i * 7919 + t * 104729) % (host.model.config.vocab - 100)), n: 1, maxTokens: fresh, minTokens: 0,
      sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
      emitted: [], stopIds: [], logprobs: -1, promptLogprobs: false, priority: 0, deadlineMs: 0,
    });
  }
  await all;
}
console.log(JSON.stringify({ resident: process.memoryUsage().rss, weights: host.model.weightBytes, pool: pages * host.pool.pageBytes }));
await host.close();
rmSync(cache, { recursive: true, force: true });
