/**
 * Adapters of several kinds on a base with experts, each row its own, in turn: beside the base alone, beside what reading every
 * distinct expert takes, beside the sum of the kinds alone, and beside transformers with the same adapters one after another.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createEngine, type EngineHost, type EngineOptions, type EngineRequest } from '@weft/engine';
import { OPS, Span, SPAN_WORDS } from '@weft/kernels';
import { Random } from '../sim/clock.js';
import { makeAdapters } from './adapters.js';
import { measureCeilings } from './machine.js';
import { SIZES, writeBase, writeEsft } from './moe-checkpoint.js';
import { meanStep, secondsOf } from './traced.js';
import { median } from './workloads.js';

const ROWS = 20, PROMPT = 32, NEW = 48;
/** The peer takes seconds for a token. */
const PEER = { adapters: 3, fresh: 16 };
const ATTENTION = ['q', 'k', 'v', 'o'];

/** What steps of a batch took (ms), and distinct experts of their last layers. */
interface Batch { adapters: string[][]; steps: number[]; base: number[]; replaced: number[] }

/** Says each line when it is known. */
export async function benchExperts(folder: string, threads: number, rounds: number, python: string, say: (line: string) => void): Promise<void> {
  const modelDir = writeBase(join(folder, 'base')), random = new Random(5);
  const esft = Array.from({ length: ROWS }, (_, i) => writeEsft(join(folder, `esft-${i}`), random, i));
  const options: EngineOptions = { modelDir, adapterCacheDir: join(folder, 'cache'), threads, depth: 1, poolBytes: 3 * 2 ** 30, maxModelLen: 256, listener: meter };
  const host = await createEngine(options);
  let rate: number;
  try {
    const { geometry } = host.model, attention = { ...geometry, sites: geometry.sites.filter(({ name }) => ATTENTION.includes(name)) };
    const packing = performance.now(), experts = await addAll(host, esft), packMs = performance.now() - packing;
    const loras = await addAll(host, makeAdapters(attention, join(folder, 'lora'), ROWS)), doras = await addAll(host, makeAdapters(attention, join(folder, 'dora'), ROWS, { dora: true }));
    const half = ROWS >> 1, none: string[] = Array.from({ length: half }, () => '');
    const batches = {
      base: batchOf([...none, ...none]), experts: batchOf(experts), lora: batchOf(loras), dora: batchOf(doras),
      halfExperts: batchOf([...none, ...experts.slice(half)]), halfLora: batchOf([...loras.slice(0, half), ...none]), mixed: batchOf([...loras.slice(0, half), ...experts.slice(half)]),
    };
    for (const { adapters } of Object.values(batches)) await measure(host, emptyBatch(adapters));     // adapters are brought in
    for (let round = 0; round < rounds; round++) for (const batch of Object.values(batches)) await measure(host, batch);

    const { read } = measureCeilings(host.device.isa, threads), { pages } = host.engine.load();
    const floor = (batch: Batch): number => floorBytes(host, batch) / read * 1000;
    const line = (name: string, batch: Batch): string => `${name}: ${range(batch.steps)} ms a step, ${(ROWS / median(batch.steps) * 1000).toFixed(0)} tok/s; ${mean(batch.base).toFixed(1)} of the base's experts and `
      + `${mean(batch.replaced).toFixed(1)} of adapters' a layer; to read ${(floorBytes(host, batch) / 2 ** 20).toFixed(0)} MiB: ${floor(batch).toFixed(1)} ms at ${(read / 1e9).toFixed(1)} GB/s`;
    say(`${host.device.isa}, ${threads} threads, ${rounds} rounds of ${NEW} steps; hidden ${SIZES.hidden}, inner ${SIZES.inner}, ${SIZES.layers} layers of ${SIZES.experts} experts, ${SIZES.topK} for each row; `
        + `${ROWS} rows; ${(pages.adapters * host.pool.pageBytes / 2 ** 20).toFixed(0)} MiB of adapters; experts checked and packed in ${(packMs / 1000).toFixed(1)} s`);
    say(line('base alone', batches.base));
    say(line(`${ROWS} adapters of experts`, batches.experts));
    const taken = median(batches.experts.steps) / median(batches.base.steps), least = floor(batches.experts) / floor(batches.base);
    say(`experts ÷ base: ${taken.toFixed(3)}, of the bytes to read ${least.toFixed(3)}: ${percent(taken / least - 1)} beyond the floor (aim: ≤ +4%)`);
    say(line(`${half} LoRA, ${half} base`, batches.halfLora));
    say(line(`${half} of experts, ${half} base`, batches.halfExperts));
    say(line(`${half} LoRA, ${half} of experts`, batches.mixed));
    const sum = median(batches.halfLora.steps) + median(batches.halfExperts.steps) - median(batches.base.steps);
    say(`mixed ÷ sum of the parts (${sum.toFixed(2)} ms): ${percent(median(batches.mixed.steps) / sum - 1)} (aim: within 3%)`);
    say(line(`${ROWS} LoRA on attention`, batches.lora));
    say(line(`${ROWS} DoRA on attention`, batches.dora));
    say(`DoRA ÷ LoRA: ${(median(batches.dora.steps) / median(batches.lora.steps)).toFixed(3)} (aim: ≤ 1.1)`);
    rate = ROWS / median(batches.experts.steps) * 1000;
  } finally { await host.close(); }
  await benchRerouting({ ...options, traceFile: join(folder, 'trace.json') }, esft, say);
  if (python) benchPeer(python, [modelDir, ...esft.slice(0, PEER.adapters)], threads, rate, say);
}

/** The routing op, which looks Π up, out of the engine's own timeline: with adapters of experts in every row, and without any. */
async function benchRerouting(options: EngineOptions & { traceFile: string }, folders: readonly string[], say: (line: string) => void): Promise<void> {
  const shares: number[] = [], times: number[] = [];
  for (const served of [[], folders]) {
    const host = await createEngine(options);
    try {
      const digests = await addAll(host, served), batch = batchOf(folders.map((_, i) => digests[i] ?? ''));
      await measure(host, batch);                     // adapters are brought in
      await measure(host, batch);
    } finally { await host.close(); }
    const ops = meanStep(options.traceFile, ROWS, NEW - 1), { seconds } = ops.get('routeExperts')!;
    times.push(seconds);
    shares.push(seconds / secondsOf(ops));
  }
  say(`routing: ${times.map(s => `${(s * 1e6 / SIZES.layers).toFixed(1)} µs`).join(' without adapters, ')} with ${ROWS} a layer; all of it is ${percent(shares[1]!, 2)} of the step's ops, `
    + `Π alone ${percent(Math.max(0, times[1]! - times[0]!) / times[1]! * shares[1]!, 2)} (aim: ≤ 0.5%)`);
}

function benchPeer(python: string, folders: readonly string[], threads: number, ours: number, say: (line: string) => void): void {
  const [model, ...adapters] = folders;
  const peer = spawnSync(python, [join(import.meta.dirname, 'peers/experts.py'), model!, String(threads), String(PROMPT), String(PEER.fresh), ...adapters], { encoding: 'utf8' });
  if (peer.status !== 0) throw new Error(`peers/experts.py: ${peer.stderr.trim().slice(-2000)}`);
  for (const [dtype, tokensPerSecond] of Object.entries(JSON.parse(peer.stdout.trim().split('\n').at(-1)!) as Record<string, number>)) {
    say(`transformers ${dtype}, the same adapters one after another: ${tokensPerSecond.toFixed(1)} tok/s; Weft ${(ours / tokensPerSecond).toFixed(1)}× (aim: ≥ 8×)`);
  }
}

// ── what runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Times of steps in which all rows got a token. */
const meter = {
  left: 0, done: (): void => undefined, times: [] as number[],
  onStep(_: number, events: readonly unknown[]): void { if (events.length === ROWS) this.times.push(performance.now()); },
  onTerminal({ error }: { error?: Error }): void { if (error) throw error; if (--this.left === 0) this.done(); },
};

async function addAll({ library }: EngineHost, folders: readonly string[]): Promise<string[]> {
  const digests: string[] = [];
  for (const folder of folders) digests.push((await library.addFolder(folder)).digest);
  return digests;
}

/** '': a row of the base. */
const batchOf = (digests: readonly string[]): Batch => emptyBatch(digests.map(digest => (digest ? [digest] : [])));
const emptyBatch = (adapters: string[][]): Batch => ({ adapters, steps: [], base: [], replaced: [] });

async function measure(host: EngineHost, batch: Batch): Promise<void> {
  const spans = watchSpans(host, batch), random = new Random(9);
  meter.times = [];
  meter.left = ROWS;
  const done = new Promise<void>(resolve => { meter.done = resolve; });
  batch.adapters.forEach((digests, i) => host.engine.submit(request(`r${i}`, digests, Array.from({ length: PROMPT }, () => random.int(0, SIZES.vocab - 1)))));
  await done;
  spans.stop();
  batch.steps.push(...meter.times.slice(1).map((time, j) => time - meter.times[j]!));
}

const request = (id: string, digests: readonly string[], prompt: number[]): EngineRequest => ({
  id, tenant: 't', adapters: digests.map(digest => ({ digest, weight: 1 })), task: 'generate', prompt, n: 1, maxTokens: NEW, minTokens: NEW,
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
  emitted: [], stopIds: [], logprobs: -1, promptLogprobs: false, priority: 0, deadlineMs: 0,
});

/** Experts of a step's last layer, as its spans are left behind; of steps of one row each. */
function watchSpans({ device }: EngineHost, batch: Batch): { stop(): void } {
  const submit = device.submit.bind(device);
  const names = Object.keys(OPS.groupExperts.operands), params = 2 + 2 * names.length, param = (name: string): number => params + Object.keys(OPS.groupExperts.params).indexOf(name);
  device.submit = async (list, options) => {
    const result = await submit(list, options), { words } = list;
    let last = -1;
    for (let at = 0; at < words.length; at += words[at + 1]!) if (words[at] === OPS.groupExperts.code) last = at;
    const operand = last + 2 + 2 * names.indexOf('spans'), maxSpans = words[last + param('maxSpans')]!;
    const spans = new Int32Array(device.host(device.buffer(words[operand]!)), words[operand + 1]! * 4, maxSpans * SPAN_WORDS);
    let rows = 0, base = 0, replaced = 0;
    for (let s = 0; s < maxSpans && spans[s * SPAN_WORDS + Span.count]! > 0; s++) {
      rows += spans[s * SPAN_WORDS + Span.count]!;
      if (spans[s * SPAN_WORDS + Span.key]! < SIZES.experts) base++; else replaced++;
    }
    if (rows === ROWS * SIZES.topK) {
      batch.base.push(base);
      batch.replaced.push(replaced);
    }
    return result;
  };
  return { stop: () => { device.submit = submit; } };
}

/** What a step reads at least: everything dense, and every distinct expert once. */
function floorBytes({ model }: EngineHost, batch: Batch): number {
  const values = 3 * SIZES.hidden * SIZES.inner, adapter = values * 2, base = values * 1.5;       // bf12 is three quarters of bf16
  const dense = model.weightBytes - SIZES.layers * SIZES.experts * base - SIZES.vocab * SIZES.hidden * 2;   // nor the embedding, of which rows are read
  return dense + SIZES.layers * (mean(batch.base) * base + mean(batch.replaced) * adapter);
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const quantile = (values: readonly number[], q: number): number => [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))]!;
const range = (values: readonly number[]): string => `${median(values).toFixed(2)} (${quantile(values, 0.1).toFixed(2)}–${quantile(values, 0.9).toFixed(2)})`;
const percent = (share: number, digits = 1): string => `${(share * 100).toFixed(digits)}%`;
