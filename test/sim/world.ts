/** One seeded world: a pool, adapters, requests that come, burst, are cancelled, run late; and what must hold of it. */
import { Engine, KvLayout, PagePool, before, type AdapterEntry, type AdapterUse, type EngineRequest, type Plan, type Terminal, type TokenEvent } from '@weft/engine';
import { WeftError } from '@weft/contracts';
import { Random, VirtualClock } from './clock.js';
import { expertImage, loraImage } from './images.js';
import { FactDevice, MAX_ADAPTERS, MAX_BIASES, MAX_BLOCKS, VOCAB, type Faults } from './device.js';

export interface WorldReport {
  seed: number; requests: number; done: number; cancelled: number; failed: number; refused: number;
  steps: number; rows: number; preemptions: number; loads: number; virtualMs: number; pages: number;
}

/** A request, and what was heard of it. */
interface Expected { request: EngineRequest; choices: Heard[]; terminal: Terminal | null }
interface Heard { tokens: number[]; scores: Map<number, number>; hidden: number[]; finish: string | null }

/** What sort of world it is: how crowded, and what its requests are like. */
interface Nature { adapters: number; withExperts: number; maxLen: number; longest: number; impatient: boolean }

const LIMIT_MS = 3_600_000;

export async function runWorld(seed: number): Promise<WorldReport> {
  const random = new Random(seed);
  const clock = new VirtualClock();
  const faults: Faults = {
    slowLoads: random.chance(0.5), failingLoads: random.chance(0.3) ? random.pick([0.1, 0.5]) : 0,
    failingSteps: random.chance(0.1) ? 0.005 : 0, badRows: random.chance(0.2) ? 0.002 : 0,
  };
  const adapterPages = Array.from({ length: random.pick([1, 4, 30]) }, () => random.int(1, 6));
  // Adapters that bring experts, out of a few that they share more or less.
  const kinds = random.pick([2, 6, 40]), expertPages = random.int(1, 4);
  const expertSets = Array.from({ length: random.pick([0, 2, 12]) }, () => [...new Set(Array.from({ length: random.int(1, 6) }, () => random.int(0, kinds - 1)))]);
  const maxLen = random.pick([64, 256, 512]);
  // The largest request there can be, with as many adapters as it may have, and a little more or a lot.
  const largest = [...adapterPages, ...expertSets.map(set => set.length * expertPages)].sort((a, b) => b - a).slice(0, MAX_ADAPTERS).reduce((sum, n) => sum + n, 0);
  const spare = random.pick([0, 1, 4, 30, 120]);
  const maxSequences = random.pick([1, 4, 16, 16, 48]);
  const stepTokens = Math.max(random.pick([16, 64, 256]), maxSequences + 4);
  const kv = new KvLayout(random.pick([
    [{ window: 0, blocks: 1 }], [{ window: random.int(1, 80), blocks: random.int(1, MAX_BLOCKS) }],
    [{ window: 0, blocks: random.int(1, MAX_BLOCKS) }, { window: random.int(1, 80), blocks: random.int(1, MAX_BLOCKS) }],
  ]), stepTokens);
  const pages = kv.peak(maxLen) + largest + spare;
  const adapterSlots = random.int(2, 12);
  const depth = random.pick([1, 2] as const);
  const nature: Nature = { adapters: adapterPages.length, withExperts: expertSets.length, maxLen, longest: random.pick([20, 80, maxLen]), impatient: random.chance(0.3) };
  const gapMs = random.pick([0, 4, 30]);

  const device = new FactDevice(clock, random, faults, kv, { pages, slots: maxSequences * 2, adapterSlots, maxLen, stepTokens, segments: maxSequences });
  const pool = new PagePool(pages, 4096);
  const expected = new Map<string, Expected>();
  const cancelNow = (id: string): void => { engine.cancel(id); engine.checkInvariants(); };
  const engine = new Engine({
    runner: device, loader: device, pool, kv, adapterSlots, expertSlots: Math.floor(pages / expertPages), clock, depth,
    limits: {
      stepTokens, chunkTokens: Math.max(4, stepTokens >> 2), maxSequences, lookaheadTokens: random.pick([1, 1, 16, 1024]), examined: 32,
      pageTable: pages * MAX_BLOCKS, vocab: VOCAB, maxModelLen: maxLen, maxWaiting: 10_000, maxAdaptersPerRequest: MAX_ADAPTERS, maxChoices: 4, maxBiases: MAX_BIASES,
    },
    listener: {
      onStep: (_step, events) => { for (const event of events) note(expected, event); },
      onTerminal: terminal => {
        const of = expected.get(terminal.requestId)!;
        if (of.terminal) throw new Error(`request ${terminal.requestId} ended twice`);
        of.terminal = terminal;
        // Whoever hears of an end may end another at once.
        const other = nature.impatient && random.chance(0.1) ? [...expected.values()].find(e => !e.terminal) : undefined;
        if (other) engine.cancel(other.request.id);
      },
    },
    onPlan: plan => checkPlan(plan, stepTokens, maxSequences),
    afterStep: e => e.checkInvariants(),
  });
  adapterPages.forEach((count, i) => engine.register(`a${i}`, loraImage(`a${i}`, count)));
  expertSets.forEach((set, i) => engine.register(`x${i}`, expertImage(`x${i}`, set, expertPages)));
  engine.start();

  const report: WorldReport = { seed, requests: 0, done: 0, cancelled: 0, failed: 0, refused: 0, steps: 0, rows: 0, preemptions: 0, loads: 0, virtualMs: 0, pages };
  const total = random.int(10, 120);
  let at = 0, sent = 0;
  for (let i = 0; i < total; i++) {
    at += random.chance(0.3) ? 0 : random.int(0, gapMs);
    const request = makeRequest(random, i, nature);
    clock.at(at, () => {
      sent++;
      expected.set(request.id, {
        request, terminal: null, choices: Array.from({ length: request.n }, () => ({ tokens: [], scores: new Map(), hidden: [], finish: null })),
      });
      try { engine.submit(request); } catch (error) {
        if (!(error instanceof WeftError) || error.code === 'internal_error') throw error;
        expected.delete(request.id);
        report.refused++;
        return;
      }
      // Soon, so that its adapter is loading or its first steps are in flight; or late.
      if (random.chance(nature.impatient ? 0.3 : 0.1)) clock.at(clock.now() + random.int(0, random.pick([3, 20, 200])), () => cancelNow(request.id));
    });
  }
  await clock.run(() => sent === total && [...expected.values()].every(e => e.terminal), LIMIT_MS);
  const rest = engine.stop();
  await clock.run(() => engine.load().running === 0, LIMIT_MS);
  await Promise.race([rest, clock.run(() => false, LIMIT_MS).catch(() => undefined)]);
  engine.checkInvariants();
  const load = engine.load();
  if (load.waiting + load.running + load.pages.sequences > 0) throw new Error(`at rest: ${JSON.stringify(load)}`);

  for (const of of expected.values()) check(of, faults);
  for (const { terminal } of expected.values()) {
    if (terminal!.reason === 'done') report.done++; else if (terminal!.reason === 'cancelled') report.cancelled++; else report.failed++;
  }
  return {
    ...report, requests: total, steps: device.steps, rows: device.rows, preemptions: engine.preemptions,
    loads: [...engine.adapters.entries()].reduce((sum: number, a: AdapterEntry) => sum + a.loads, 0), virtualMs: Math.round(clock.now()),
  };
}

function makeRequest(random: Random, i: number, { adapters, withExperts, maxLen, longest, impatient }: Nature): EngineRequest {
  const task = random.chance(0.1) ? random.pick(['score', 'embed'] as const) : 'generate';
  const promptLength = random.int(1, random.chance(0.2) ? maxLen - 4 : Math.min(40, maxLen - 4));
  const first = random.int(0, adapters - 1), second = random.int(0, adapters - 1);
  const uses = random.chance(0.25) ? [] : first !== second && random.chance(0.2) ? [first, second] : [first];
  const named: AdapterUse[] = uses.map(a => ({ digest: `a${a}`, weight: random.pick([1, 1, 0.5]) }));
  // Experts instead of them, or beside one; two sets of them are refused.
  if (withExperts > 0 && random.chance(0.5)) {
    const set = { digest: `x${random.int(0, withExperts - 1)}`, weight: 1 };
    if (random.chance(0.7)) named.splice(0, 2, set); else named.splice(1, 1, set);
  }
  // Some ask for more than there can be.
  const maxTokens = random.chance(0.1) ? 0 : random.int(1, random.chance(0.03) ? maxLen : Math.max(Math.min(longest, maxLen - promptLength), 1));
  const request: EngineRequest = {
    id: `r${i}`, tenant: `t${random.int(0, 3)}`, adapters: named, task,
    prompt: Array.from({ length: promptLength }, () => random.int(0, VOCAB - 1)), n: random.chance(0.15) ? random.int(2, 4) : 1,
    maxTokens, minTokens: random.chance(0.3) ? random.int(0, maxTokens) : 0,
    sampling: {
      temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n,
      logitBias: random.chance(0.1) ? Array.from({ length: MAX_BIASES }, () => [random.int(0, VOCAB - 1), 1] as const) : [],
    },
    emitted: [], stopIds: [], logprobs: random.chance(0.3) ? 0 : -1, promptLogprobs: random.chance(0.2), priority: random.chance(0.1) ? random.int(-1, 2) : 0,
    deadlineMs: random.chance(impatient ? 0.3 : 0.05) ? random.int(1, 2000) : 0,
  };
  // Stop tokens are taken from what it will say, so that they are met: some where min_tokens forbids them still.
  if (task === 'generate' && random.chance(0.5)) {
    const said = answer(request, Math.min(maxTokens, 40));
    request.stopIds = Array.from({ length: Math.min(MAX_BIASES, said.length) }, () => (random.chance(0.2) ? random.pick(said) : random.int(0, VOCAB - 1)));
  }
  const before = task === 'generate' && request.n === 1 && maxTokens > 1 && random.chance(0.15) ? answer(request, random.int(1, Math.min(maxTokens - 1, 30))) : [];
  return before.length > 0 && finish(request, before) === null ? { ...request, emitted: before } : request;
}

/** What a request says alone, up to `count` tokens or its end. */
function answer(request: EngineRequest, count: number): number[] {
  const adapters = FactDevice.adapters(request.adapters), tokens: number[] = [];
  let past = 0;
  for (let i = 0; i < request.prompt.length; i++) past = FactDevice.extend(past, request.prompt[i]!);
  while (tokens.length < count && finish(request, tokens) === null) {
    const token = FactDevice.next(past, adapters, tokens.length < request.minTokens ? request.stopIds : []);
    tokens.push(token);
    past = FactDevice.extend(past, token);
  }
  return tokens;
}

/** Whether a choice that has said this has ended, and why. */
function finish(request: EngineRequest, tokens: readonly number[]): 'stop' | 'length' | null {
  if (tokens.length > request.minTokens && request.stopIds.includes(tokens.at(-1)!)) return 'stop';
  return request.maxTokens > 0 && tokens.length >= request.maxTokens ? 'length' : null;
}

/** No plan outgrows a step; whoever gives up memory stands behind the one that gets it. */
function checkPlan({ rows, rowCount, preempt, admit }: Plan, stepTokens: number, maxSequences: number): void {
  if (rowCount !== rows.reduce((sum, r) => sum + r.count, 0) || rowCount > stepTokens) throw new Error(`a plan of ${rowCount} rows in steps of ${stepTokens}`);
  if (rows.length > maxSequences) throw new Error(`a plan for ${rows.length} sequences, ${maxSequences} may run`);
  for (const { sequence, by } of preempt) {
    if (!before(by, sequence)) throw new Error(`${sequence.request.id} gave its pages to ${by.request.id}, which stands behind it`);
    if (rows.some(r => r.sequence === sequence)) throw new Error(`${sequence.request.id} was preempted and runs`);
  }
  for (const s of admit) if (s.pending > 0) throw new Error(`${s.request.id} was admitted while tokens of it were on their way`);
}

function note(expected: Map<string, Expected>, event: TokenEvent): void {
  const of = expected.get(event.requestId)!, heard = of.choices[event.choice]!;
  if (of.terminal) throw new Error(`request ${event.requestId} speaks after its end`);
  if (heard.finish) throw new Error(`choice ${event.choice} of request ${event.requestId} speaks after its end`);
  heard.tokens.push(...event.tokens);
  heard.finish = event.finishReason ?? null;
  if (event.hidden) heard.hidden.push(...event.hidden);
  if ((event.logprobs?.length ?? 0) !== (of.request.logprobs >= 0 ? event.tokens.length : 0)) throw new Error(`request ${event.requestId}: tokens without log-probabilities`);
  event.promptLogprobs?.forEach((value, i) => {
    const position = event.promptStart! + i;
    if (heard.scores.has(position)) throw new Error(`request ${event.requestId}: position ${position} was scored twice`);
    heard.scores.set(position, value);
  });
}

/** Every answer is what its request alone would have got; a cut-off one is a prefix of it. */
function check({ request, choices, terminal }: Expected, faults: Faults): void {
  const { reason, error } = terminal!;
  const fail = (what: string): never => { throw new Error(`request ${request.id} (${request.task}, ${reason}): ${what}`); };
  if (reason === 'error' && error!.code === 'internal_error') throw error!;
  if (reason === 'error' && error!.code === 'device_error' && !(faults.failingSteps > 0 && error!.message.includes('injected'))) throw error!;
  if (reason === 'error' && error!.code === 'adapter_not_ready' && faults.failingLoads === 0) throw error!;
  const pasts = [0];
  for (let i = 0; i < request.prompt.length; i++) pasts.push(FactDevice.extend(pasts[i]!, request.prompt[i]!));
  for (const { tokens, scores, hidden, finish: reported } of choices) {
    const all = [...request.emitted, ...tokens];
    if (answer(request, all.length).join() !== all.join()) fail(`said ${all.join()}, alone it says ${answer(request, all.length).join()}`);
    for (const [position, value] of scores) if (value !== FactDevice.logprob(pasts[position]!)) fail(`the score at ${position} is another's`);
    if (request.task === 'generate' && reported !== null && request.maxTokens > 0 && reported !== finish(request, all)) fail(`${reported} after ${all.length} tokens`);
    if (reason !== 'done') continue;
    const scored = request.promptLogprobs || request.task === 'score' ? request.prompt.length - 1 : 0;
    if (scores.size !== scored) fail(`${scores.size} of ${scored} prompt tokens scored`);
    if (request.task === 'generate' && tokens.length === 0) fail('not a token');
    if (reported === null && (request.task !== 'score' || scored > 0)) fail('a choice did not say why it ended');
    const wanted = request.task === 'embed' ? [Math.fround(pasts.at(-1)!)] : [];
    if (hidden.join() !== wanted.join()) fail(`hidden ${hidden.join()}, alone ${wanted.join()}`);
  }
  const said = choices.reduce((sum, c) => sum + c.tokens.length, 0);
  if (terminal!.generatedTokens !== said) fail(`${terminal!.generatedTokens} tokens counted, ${said} sent`);
}
