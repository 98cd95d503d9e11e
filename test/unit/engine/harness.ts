/** An engine on a device made of facts, stepping in virtual time: what the engine's own tests drive. */
import { Engine, KvLayout, ONE_GROUP, PagePool, blocksFor, type KvGroup, type EngineRequest, type Terminal, type TokenEvent } from '@weft/engine';
import { Random, VirtualClock } from '../../sim/clock.js';
import { expertImage, loraImage } from '../../sim/images.js';
import { FactDevice, MAX_ADAPTERS, MAX_BIASES, MAX_BLOCKS, VOCAB, type Faults } from '../../sim/device.js';

export interface HarnessOptions {
  pages?: number; maxSequences?: number; stepTokens?: number; maxLen?: number; depth?: 1 | 2; adapters?: number[]; adapterSlots?: number;
  /** Experts of adapters x0, x1 … by content, and pages of each. */
  experts?: number[][]; expertPages?: number;
  lookaheadTokens?: number; chunkTokens?: number; maxWaiting?: number; faults?: Partial<Faults>; onTerminal?: (terminal: Terminal) => void;
  kvGroups?: readonly KvGroup[];
  /** Invariants after every step; on. */
  checked?: boolean;
}

export class Harness {
  readonly clock = new VirtualClock();
  readonly device: FactDevice;
  readonly pool: PagePool;
  readonly engine: Engine;
  readonly events: (TokenEvent & { step: number })[] = [];
  readonly terminals: Terminal[] = [];
  readonly lost: string[] = [];
  onTerminal: (terminal: Terminal) => void;

  constructor(options: HarnessOptions = {}) {
    const { pages = 64, maxSequences = 8, stepTokens = 64, maxLen = 256, depth = 2, adapters = [], adapterSlots = 8, experts = [], expertPages = 2 } = options;
    this.onTerminal = options.onTerminal ?? (() => undefined);
    const faults: Faults = { slowLoads: false, failingLoads: 0, failingSteps: 0, badRows: 0, ...options.faults };
    const kv = new KvLayout(options.kvGroups ?? ONE_GROUP, stepTokens);
    this.device = new FactDevice(this.clock, new Random(7), faults, kv, { pages, slots: maxSequences * 2, adapterSlots, maxLen, stepTokens, segments: maxSequences });
    this.pool = new PagePool(pages, 4096);
    this.engine = new Engine({
      runner: this.device, loader: this.device, pool: this.pool, kv, adapterSlots, expertSlots: Math.floor(pages / expertPages), clock: this.clock, depth,
      limits: {
        stepTokens, chunkTokens: options.chunkTokens ?? 16, maxSequences, lookaheadTokens: options.lookaheadTokens ?? 32, examined: 16, pageTable: pages * MAX_BLOCKS,
        vocab: VOCAB, maxModelLen: maxLen, maxWaiting: options.maxWaiting ?? 1000, maxAdaptersPerRequest: MAX_ADAPTERS, maxChoices: 4, maxBiases: MAX_BIASES,
      },
      listener: {
        onStep: (step, events) => this.events.push(...events.map(e => ({ ...e, step }))),
        onDeviceLost: error => { this.lost.push(error.code); },
        onTerminal: terminal => { this.terminals.push(terminal); this.onTerminal(terminal); },
      },
      ...(options.checked !== false && { afterStep: (engine: Engine) => engine.checkInvariants() }),
    });
    adapters.forEach((count, i) => this.engine.register(`a${i}`, loraImage(`a${i}`, count)));
    experts.forEach((contents, i) => this.engine.register(`x${i}`, expertImage(`x${i}`, contents, expertPages)));
    this.engine.start();
  }

  /** Runs until `count` requests have ended. */
  async until(count: number, limitMs = 1_000_000): Promise<void> {
    await this.clock.run(() => this.terminals.length >= count, limitMs);
  }
  tokensOf(id: string, choice = 0): number[] {
    return this.events.filter(e => e.requestId === id && e.choice === choice).flatMap(e => e.tokens);
  }
}

export function request(id: string, overrides: Partial<EngineRequest> = {}): EngineRequest {
  return {
    id, tenant: 't', adapters: [], task: 'generate', prompt: Array.from({ length: 8 }, (_, i) => (i * 37 + id.length) % VOCAB), n: 1, maxTokens: 8, minTokens: 0,
    sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
    emitted: [], stopIds: [], logprobs: -1, promptLogprobs: false, priority: 0, deadlineMs: 0, ...overrides,
  };
}

/** What a request gets alone. */
export function alone(r: EngineRequest, count: number): number[] {
  const adapters = FactDevice.adapters(r.adapters);
  let past = 0;
  for (let i = 0; i < r.prompt.length; i++) past = FactDevice.extend(past, r.prompt[i]!);
  return Array.from({ length: count }, () => {
    const token = FactDevice.next(past, adapters);
    past = FactDevice.extend(past, token);
    return token;
  });
}
export { blocksFor };
