/** One seeded world: a pool, adapters, requests that come, burst, are cancelled, run late; and what must hold of it. */
import { Engine, PagePool, blocksFor, type AdapterEntry, type EngineRequest, type Terminal, type TokenEvent } from '@weft/engine';
import { WeftError } from '@weft/contracts';
import { Random, VirtualClock } from './clock.js';
import { FactDevice, VOCAB, type Faults } from './device.js';

export interface WorldReport {
  seed: number; requests: number; done: number; cancelled: number; failed: number; refused: number;
  steps: number; rows: number; preemptions: number; loads: number; virtualMs: number; pages: number;
}

interface Expected { request: EngineRequest; tokens: number[][]; scores: Map<number, number>[]; terminal: Terminal | null; cancelAt: number }

const LIMIT_MS = 3_600_000;

export async function runWorld(seed: number): Promise<WorldReport> {
  const random = new Random(seed);
  const clock = new VirtualClock();
  const faults: Faults = {
    slowLoads: random.chance(0.5), failingLoads: random.chance(0.3) ? 0.1 : 0,
    failingSteps: random.chance(0.1) ? 0.005 : 0, badRows: random.chance(0.2) ? 0.002 : 0,
  };
  const adapterPages = Array.from({ length: random.int(1, 30) }, () => random.int(1, 6));
  const maxLen = random.pick([64, 256, 512]);
  const pages = blocksFor(maxLen) + Math.max(...adapterPages) + random.pick([1, 4, 30, 200]);
  const maxSequences = random.pick([1, 4, 16, 48]);
  const stepTokens = Math.max(random.pick([16, 64, 256]), maxSequences + 4);
  const adapterSlots = random.int(2, 12);
  const depth = random.pick([1, 2] as const);

  const device = new FactDevice(clock, random, faults, { pages, slots: maxSequences * 2, adapterSlots, maxLen, stepTokens, segments: maxSequences });
  const pool = new PagePool(pages, 4096);
  const expected = new Map<string, Expected>();
  const engine = new Engine({
    runner: device, loader: device, pool, adapterSlots, clock, depth,
    limits: {
      stepTokens, chunkTokens: Math.max(4, stepTokens >> 2), maxSequences, lookaheadTokens: random.pick([16, 64, 1024]), examined: 32,
      pageTable: pages, vocab: VOCAB, maxModelLen: maxLen, maxWaiting: 10_000, maxAdaptersPerRequest: 2, maxChoices: 4, maxBiases: 16,
    },
    listener: {
      onStep: (_step, events) => { for (const event of events) note(expected, event); },
      onTerminal: terminal => {
        const of = expected.get(terminal.requestId)!;
        if (of.terminal) throw new Error(`request ${terminal.requestId} ended twice`);
        of.terminal = terminal;
      },
    },
    afterStep: e => e.checkInvariants(),
  });
  adapterPages.forEach((count, i) => engine.register(`a${i}`, {
    file: '', index: { layout: 1, digest: `a${i}`, baseDigest: '', kind: 'lora', pageBytes: 4096, partition: { rank: 0, size: 1 }, pages: count, crc32c: [], maxRank: 8, runs: [], payloadBytes: 0 },
  }));
  engine.start();

  const report: WorldReport = { seed, requests: 0, done: 0, cancelled: 0, failed: 0, refused: 0, steps: 0, rows: 0, preemptions: 0, loads: 0, virtualMs: 0, pages };
  const total = random.int(10, 120);
  let at = 0, sent = 0;
  for (let i = 0; i < total; i++) {
    at += random.chance(0.3) ? 0 : random.int(0, 60);
    const request = makeRequest(random, i, adapterPages.length, maxLen);
    clock.at(at, () => {
      sent++;
      expected.set(request.id, { request, tokens: Array.from({ length: request.n }, () => []), scores: Array.from({ length: request.n }, () => new Map()), terminal: null, cancelAt: -1 });
      try { engine.submit(request); } catch (error) {
        if (!(error instanceof WeftError) || error.code === 'internal_error') throw error;
        expected.delete(request.id);
        report.refused++;
        return;
      }
      if (random.chance(0.15)) clock.at(clock.now() + random.int(0, 200), () => { expected.get(request.id)!.cancelAt = clock.now(); engine.cancel(request.id); });
    });
  }
  await clock.run(() => sent === total && [...expected.values()].every(e => e.terminal), LIMIT_MS);
  const rest = engine.stop();
  await clock.run(() => engine.load().running === 0, LIMIT_MS);
  await Promise.race([rest, clock.run(() => false, LIMIT_MS).catch(() => undefined)]);
  engine.checkInvariants();
  const load = engine.load();
  if (load.pages.sequences !== 0) throw new Error(`${load.pages.sequences} pages are still held by sequences`);

  for (const of of expected.values()) check(of, faults);
  for (const { terminal } of expected.values()) {
    if (terminal!.reason === 'done') report.done++; else if (terminal!.reason === 'cancelled') report.cancelled++; else report.failed++;
  }
  return {
    ...report, requests: total, steps: device.steps, rows: device.rows, preemptions: engine.preemptions,
    loads: [...engine.adapters.entries()].reduce((sum: number, a: AdapterEntry) => sum + a.loads, 0), virtualMs: Math.round(clock.now()),
  };
}

function makeRequest(random: Random, i: number, adapters: number, maxLen: number): EngineRequest {
  const task = random.chance(0.1) ? 'score' : 'generate';
  const promptLength = random.int(1, random.chance(0.2) ? maxLen - 4 : Math.min(40, maxLen - 4));
  const first = random.int(0, adapters - 1), second = random.int(0, adapters - 1);
  const uses = random.chance(0.25) ? [] : first !== second && random.chance(0.1) ? [first, second] : [first];
  return {
    id: `r${i}`, tenant: `t${random.int(0, 3)}`, adapters: uses.map(a => ({ digest: `a${a}`, weight: 1 })), task,
    prompt: Array.from({ length: promptLength }, () => random.int(0, VOCAB - 1)), n: random.chance(0.1) ? random.int(2, 4) : 1,
    maxTokens: random.chance(0.1) ? 0 : random.int(1, 80), minTokens: 0,
    sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
    emitted: [], stopIds: random.chance(0.5) ? Array.from({ length: 12 }, () => random.int(0, VOCAB - 1)) : [],
    logprobs: random.chance(0.3) ? 0 : -1, promptLogprobs: random.chance(0.1), priority: random.chance(0.1) ? 1 : 0,
    deadlineMs: random.chance(0.1) ? random.int(1, 2000) : 0,
  };
}

function note(expected: Map<string, Expected>, event: TokenEvent): void {
  const of = expected.get(event.requestId)!;
  if (of.terminal) throw new Error(`request ${event.requestId} speaks after its end`);
  of.tokens[event.choice]!.push(...event.tokens);
  event.promptLogprobs?.forEach((value, i) => {
    const position = event.promptStart! + i, scores = of.scores[event.choice]!;
    if (scores.has(position)) throw new Error(`request ${event.requestId}: position ${position} was scored twice`);
    scores.set(position, value);
  });
}

/** Every answer is what its request alone would have got; a cut-off one is a prefix of it. */
function check({ request, tokens, scores, terminal }: Expected, faults: Faults): void {
  const adapters = request.adapters.map(a => a.digest).sort().map(d => d + ';').join('');
  const { reason, error } = terminal!;
  if (reason === 'error' && error!.code === 'internal_error') throw error!;
  if (reason === 'error' && error!.code === 'device_error' && !(faults.failingSteps > 0 && error!.message.includes('injected'))) throw error!;
  let generated = 0;
  tokens.forEach((got, choice) => {
    let past = 0;
    for (let i = 0; i < request.prompt.length; i++) past = FactDevice.extend(past, request.prompt[i]!);
    for (let i = 0; i < got.length; i++) {
      const token = FactDevice.next(past, adapters);
      if (got[i] !== token) throw new Error(`request ${request.id} choice ${choice}: token ${i} is ${got[i]}, alone it is ${token}`);
      past = FactDevice.extend(past, token);
      const stops = request.stopIds.includes(token);
      if (stops && i !== got.length - 1) throw new Error(`request ${request.id} went on behind a stop token`);
      if (i === got.length - 1 && reason === 'done' && !stops && request.maxTokens > 0 && got.length !== request.maxTokens) {
        throw new Error(`request ${request.id} ended after ${got.length} of ${request.maxTokens} tokens`);
      }
    }
    generated += got.length;
    if (reason !== 'done') return;
    if (request.task === 'generate' && got.length === 0) throw new Error(`request ${request.id} is done without a token`);
    const wanted = request.promptLogprobs || request.task === 'score' ? request.prompt.length - 1 : 0;
    if (scores[choice]!.size !== wanted) throw new Error(`request ${request.id}: ${scores[choice]!.size} of ${wanted} prompt tokens scored`);
  });
  if (terminal!.generatedTokens !== generated) throw new Error(`request ${request.id}: ${terminal!.generatedTokens} tokens counted, ${generated} sent`);
}
