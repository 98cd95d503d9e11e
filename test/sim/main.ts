/**
 * `npm run sim -- --seeds 50 [--first-seed N]`: runs seeded worlds; the first that breaks a rule is named by its seed.
 * `npm run sim -- --experts`: what experts of adapters take in the pool, beside their own bytes.
 */
import { parseArgs } from 'node:util';
import { printExpertMemory } from './expert-memory.js';
import { runWorld } from './world.js';

const { values } = parseArgs({ options: { seeds: { type: 'string', default: '50' }, 'first-seed': { type: 'string', default: '1' }, experts: { type: 'boolean', default: false } } });
if (values.experts) {
  printExpertMemory();
  process.exit(0);
}
const seeds = Number(values.seeds), first = Number(values['first-seed']);
if (!Number.isInteger(seeds) || seeds < 1 || !Number.isInteger(first)) {
  console.error('--seeds N (at least 1) and --first-seed N are integers');
  process.exit(2);
}
let failed = 0;
const sum = { requests: 0, steps: 0, rows: 0, preemptions: 0, loads: 0 };
for (let seed = first; seed < first + seeds; seed++) {
  try {
    const r = await runWorld(seed);
    for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += r[key];
    console.log(`seed ${seed}: ${r.requests} requests in ${r.pages} pages: ${r.done} done, ${r.cancelled} cancelled, ${r.failed} failed, ${r.refused} refused; `
      + `${r.steps} steps, ${r.rows} rows, ${r.preemptions} preemptions, ${r.loads} loads, ${r.virtualMs} ms`);
  } catch (error) {
    failed++;
    console.error(`seed ${seed}: ${(error as Error).stack}`);
  }
}
console.log(`${seeds} worlds: ${sum.requests} requests, ${sum.steps} steps, ${sum.rows} rows, ${sum.preemptions} preemptions, ${sum.loads} loads`);
console.log(`${seeds - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
