/** Puts an engine together on a real device: model, pool, runner, loader. The executor and plain scripts start here. */
import { readBaseText, type BaseGeometry, type BaseText } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import { createCpuDevice, createCudaDevice, expertPages, readTuning, type CudaDeviceOptions, type Device, type WeightType } from '@weft/kernels';
import { AdapterLibrary } from './adapter-library.js';
import { slotWords } from './adapter-slots.js';
import { openCheckpoint } from './checkpoint/index.js';
import { systemClock } from './clock.js';
import { Engine } from './engine.js';
import { KvLayout } from './kv-groups.js';
import { ImageLoader } from './loader.js';
import { availableMemoryBytes, planPool } from './memory.js';
import { loadModel, PackedCache } from './models/index.js';
import type { Activations, KvType, Model } from './models/types.js';
import { PagePool } from './page-pool.js';
import type { EngineListener } from './request.js';
import { DeviceRunner } from './runner.js';
import { StepTracer } from './trace.js';

/** A GPU. */
export type CudaOptions = Omit<CudaDeviceOptions, 'threads'>;

export interface EngineOptions {
  /** A folder with a Hugging Face checkpoint. */
  modelDir: string;
  /** How people call the base: an adapter that names another one gets a warning. */
  modelNames?: string[];
  /** Where packed adapters are kept between starts. */
  adapterCacheDir: string;
  /** Where packed weights are kept between starts; they are packed at every start if it is not given. */
  packedCacheDir?: string;
  listener: EngineListener;
  /** This processor where it is not given. */
  device?: 'cpu' | CudaOptions;
  threads?: number;
  isa?: string;
  /** A JSON file with the machine's tuning (kernels/src/tuning.ts). */
  tuningFile?: string;
  weights?: WeightType;
  /** What linear maps read: f32, or rounded to bf16, which is faster where the processor multiplies bf16. */
  activations?: Activations;
  /** What keys and values are stored as: int8 halves their pages, and rounds; bf16 is multiplied faster by some processors (LoadOptions). */
  kv?: KvType;
  poolBytes?: number;
  maxModelLen?: number;
  /** Rows of a step. */
  stepTokens?: number;
  maxSequences?: number;
  /** Tokens that a new sequence is expected to generate at most; fewer admits more and preempts more. */
  lookaheadTokens?: number;
  depth?: 1 | 2;
  /** Writes a timeline of every op (Chrome trace format). */
  traceFile?: string;
  log?: (line: string) => void;
}

/** Largest rank that LoRA scratch is laid out for; larger ones are refused at validation. */
const MAX_RANK = 256;
const DEFAULT_STEP_TOKENS = 512;
const DEFAULT_MAX_SEQUENCES = 128;
/** Prompt rows beside decoding ones: at 900 rows/s, running sequences wait some 140 ms. */
const CHUNK_TOKENS = 128;
const DEFAULT_LOOKAHEAD_TOKENS = 256;
const MAX_ADAPTERS_PER_REQUEST = 4;
const MAX_ADAPTER_SLOTS = 512;
/** OpenAI's limit on logit_bias, with room for stop ids. */
const MAX_BIASES = 512;

export interface EngineHost {
  readonly engine: Engine;
  readonly model: Model;
  readonly device: Device;
  readonly maxModelLen: number;
  readonly pool: PagePool;
  /** What adapters are checked against. */
  readonly base: BaseGeometry;
  readonly baseText: BaseText;
  readonly library: AdapterLibrary;
  /** Ends what still runs, waits for the device, frees it. */
  close(): Promise<void>;
}

export async function createEngine(options: EngineOptions): Promise<EngineHost> {
  const log = options.log ?? (() => undefined);
  checkNumbers(options);
  const checkpoint = await openCheckpoint(options.modelDir);
  const tuning = options.tuningFile === undefined ? undefined : await readTuning(options.tuningFile);
  const { threads, isa } = options, cuda = options.device === 'cpu' ? undefined : options.device;
  const device = cuda ? createCudaDevice({ ...cuda, threads }) : createCpuDevice({ threads, isa, tuning });
  const packedCache = options.packedCacheDir === undefined ? undefined : new PackedCache(options.packedCacheDir, log);
  const release = async (): Promise<void> => {
    await packedCache?.close();
    device.close();
  };
  try {
    if (cuda && options.kv === 'bf16') throw new WeftError('option_invalid', 'kv is bf16, which is for CPUs; a GPU keeps keys and values in f16 or int8', { field: 'kv' });
    const { weights, activations = cuda ? 'bf16' : 'f32', kv, maxModelLen } = options;
    return await assemble(options, device, await loadModel(device, checkpoint, {
      weights, activations, kv, maxModelLen, availableBytes: device.freeBytes() || undefined,
      partition: { rank: 0, size: 1 }, digestCacheDir: options.adapterCacheDir, packedCache, log,
    }), await readBaseText(options.modelDir), log, release);
  } catch (error) {
    await release();
    throw error;
  }
}

/** Throws option_invalid with the option's name. */
function checkNumbers({ threads, poolBytes, maxModelLen, stepTokens, maxSequences, lookaheadTokens }: EngineOptions): void {
  for (const [field, value] of Object.entries({ threads, 'pool-bytes': poolBytes, 'max-model-len': maxModelLen, 'step-tokens': stepTokens, 'max-sequences': maxSequences, 'lookahead-tokens': lookaheadTokens })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) throw new WeftError('option_invalid', `${field} is ${value}; it must be a whole number above 0`, { field });
  }
}

async function assemble(
  options: EngineOptions, device: Device, model: Model, baseText: BaseText, log: (line: string) => void, release: () => Promise<void>,
): Promise<EngineHost> {
  const stepTokens = options.stepTokens ?? DEFAULT_STEP_TOKENS;
  const maxSequences = Math.min(options.maxSequences ?? DEFAULT_MAX_SEQUENCES, stepTokens);
  const ownBytes = device.freeBytes();
  const pages = planPool(model.kv.pageBytes, options.poolBytes, ownBytes || availableMemoryBytes(), log, ownBytes > 0);
  // A sequence must fit into the pool with one page to spare for the block that is being written.
  const kv = new KvLayout(model.kv.groups, stepTokens);
  const maxModelLen = Math.min(options.maxModelLen ?? model.config.maxPositions, model.config.maxPositions, kv.positionsIn(pages));
  if (maxModelLen < (options.maxModelLen ?? 0)) {
    throw new WeftError('option_invalid', `a context of ${options.maxModelLen} tokens needs ${kv.peak(options.maxModelLen!)} pages of ${model.kv.pageBytes} bytes; the pool has ${pages}`, { field: 'max-model-len', limit: maxModelLen });
  }
  if (maxModelLen < model.config.maxPositions) log(`context: ${maxModelLen} of the model's ${model.config.maxPositions} tokens`);
  const { rope } = model.config;
  if (rope.type === 'longrope') {
    log(`RoPE: ${maxModelLen > rope.originalMaxPositions ? 'long' : 'short'} factors for every sequence; --max-model-len up to ${rope.originalMaxPositions} takes the short ones, above the long ones`);
  }

  const words = slotWords(model.geometry, model.kv.pageBytes, MAX_RANK, pages);
  const adapterSlots = Math.min(MAX_ADAPTER_SLOTS, Math.max(maxSequences * 2, 64));
  const { experts } = model.geometry;
  const expertSlots = experts ? Math.floor(pages / expertPages(experts, model.kv.pageBytes)) : 0;
  const pageTable = Math.min(pages * Math.max(...kv.groups.map(({ blocks }) => blocks)), maxSequences * kv.tableEntries(kv.nothing, maxModelLen)) + maxSequences;
  const tracer = options.traceFile ? new StepTracer(options.traceFile, device) : null;
  const runner = new DeviceRunner(device, model, {
    capacity: {
      tokens: stepTokens, segments: maxSequences, logits: stepTokens, groups: maxSequences * MAX_ADAPTERS_PER_REQUEST,
      groupRows: stepTokens * MAX_ADAPTERS_PER_REQUEST, pageTable, pagePairs: 1, biasPairs: maxSequences * 2 * MAX_BIASES,
    },
    pages, slots: maxSequences * 2, maxLen: maxModelLen + 1, adapterSlots, slotWords: words, maxRank: MAX_RANK, expertSlots,
  }, tracer);
  const pool = new PagePool(pages, model.kv.pageBytes);
  const base = { ...model.geometry, names: [...new Set([...(options.modelNames ?? []), ...model.geometry.names])] };
  const engine: Engine = new Engine({
    runner, loader: new ImageLoader(device, model, runner, digest => library.repack(digest)), pool, kv, adapterSlots, expertSlots, clock: systemClock, listener: options.listener,
    depth: options.depth ?? 2,
    limits: {
      stepTokens, chunkTokens: Math.min(CHUNK_TOKENS, stepTokens), maxSequences, lookaheadTokens: options.lookaheadTokens ?? DEFAULT_LOOKAHEAD_TOKENS, examined: 64, pageTable,
      vocab: model.config.vocab, maxModelLen, maxWaiting: 4096, maxAdaptersPerRequest: MAX_ADAPTERS_PER_REQUEST, maxChoices: 128, maxBiases: MAX_BIASES,
    },
  });
  const library: AdapterLibrary = new AdapterLibrary({
    engine, base, baseText, baseTensors: model.tensors, pages: { pageBytes: model.kv.pageBytes, partition: { rank: 0, size: 1 } }, cacheDir: options.adapterCacheDir, log,
  });
  await runner.ready;
  engine.start();
  return {
    engine, model, device, maxModelLen, pool, base, baseText, library,
    async close() {
      await engine.stop();
      await tracer?.close();
      runner.close();
      await release();
    },
  };
}
