/** `npm run bench -- host`: what the host does for a step, without a device: schedule, write the frame, commit. */
import { Engine, FrameWriter, KvLayout, ONE_GROUP, PagePool, ResultReader, systemClock, type Batch, type EngineRequest, type Step, type StepRunner } from '@weft/engine';
import { RESULT_WORDS, frameLayout } from '@weft/kernels';
import { median } from './workloads.js';

const ROWS = 32, STEPS = 3000, MAX_LEN = 8192, PAGES = 4096;

/** Answers at once, with token 7. */
class NoDevice implements StepRunner {
  readonly layout = frameLayout({ tokens: 512, segments: 128, logits: 512, groups: 512, groupRows: 2048, pageTable: PAGES, pagePairs: 1, biasPairs: 1024 });
  readonly #writer = new FrameWriter(this.layout, new ArrayBuffer(this.layout.words * 4));
  readonly #reader: ResultReader;
  constructor() {
    const memory = new ArrayBuffer(512 * RESULT_WORDS * 4);
    for (let i = 0; i < 512; i++) new Int32Array(memory)[i * RESULT_WORDS] = 7;
    this.#reader = new ResultReader(new Int32Array(memory), new Float32Array(memory), new Float32Array(0), 0);
  }
  submit(batch: Batch): Step {
    this.#writer.write(batch);
    return { batch, done: Promise.resolve(this.#reader) };
  }
}

/** Milliseconds of a step at 32 decoding rows, each on an adapter of its own: median over steps, and the 99th percentile. */
export async function hostShare(): Promise<{ medianMs: number; p99Ms: number }> {
  const at: number[] = [];
  let ended: () => void;
  const done = new Promise<void>(resolve => { ended = resolve; });
  let left = ROWS;
  const engine = new Engine({
    runner: new NoDevice(), loader: { load: () => Promise.resolve(), loadExperts: () => Promise.resolve() }, pool: new PagePool(PAGES, 4096), kv: new KvLayout(ONE_GROUP, 512), adapterSlots: 64, expertSlots: 0, clock: systemClock, depth: 2,
    limits: {
      stepTokens: 512, chunkTokens: 128, maxSequences: 128, lookaheadTokens: 256, examined: 64, pageTable: PAGES, vocab: 32000, maxModelLen: MAX_LEN,
      maxWaiting: 4096, maxAdaptersPerRequest: 4, maxChoices: 8, maxBiases: 16,
    },
    listener: { onStep: () => { at.push(performance.now()); }, onTerminal: () => { if (--left === 0) ended(); } },
  });
  for (let i = 0; i < ROWS; i++) {
    engine.register(`a${i}`, { file: '', index: { layout: 1, digest: `a${i}`, baseDigest: '', kind: 'lora', pageBytes: 4096, partition: { rank: 0, size: 1 }, pages: 2, crc32c: [], maxRank: 8, scalesBase: false, replacesEnds: false, vocab: null, actsOnHead: false, runs: [], experts: [], payloadBytes: 0 } });
  }
  engine.start();
  for (let i = 0; i < ROWS; i++) {
    const request: EngineRequest = {
      id: `r${i}`, tenant: `t${i % 8}`, adapters: [{ digest: `a${i}`, weight: 1 }], task: 'generate', prompt: Array.from({ length: 64 }, (_, t) => t), n: 1,
      maxTokens: Math.floor(STEPS / 2), minTokens: 0,
      sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
      emitted: [], stopIds: [2], logprobs: -1, promptLogprobs: false, priority: 0, deadlineMs: 0,
    };
    engine.submit(request);
  }
  await done;
  await engine.stop();
  const steps = at.slice(200).map((t, i) => t - at[i + 199]!).sort((a, b) => a - b);
  return { medianMs: median(steps), p99Ms: steps[Math.floor(steps.length * 0.99)]! };
}
