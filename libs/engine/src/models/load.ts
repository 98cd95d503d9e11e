/** Checkpoint → model: claims every tensor, checks that there is memory for it, packs it on the device. */
import type { TensorRef } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import { DType, W_OUTS, panelBytes, type Device, type DeviceBuffer, type TensorSource, type WeightType } from '@weft/kernels';
import type { Checkpoint } from '../checkpoint/index.js';
import { KvLayout } from '../kv-groups.js';
import { availableMemoryBytes } from '../memory.js';
import { ARCHITECTURES } from './architectures.js';
import { kvView } from './attention.js';
import { parseConfig } from './config.js';
import { Decoder } from './decoder.js';
import { latentView } from './latent.js';
import type { PackedCache } from './packed-cache.js';
import { PackedRecord, type PackedKey, type Packer } from './packed-file.js';
import { colsOf, isPart, partsOf, rowsOf, type ExpertsPlan, type MatrixPlan, type Packed, type PackedExperts, type PackedMatrix, type Part, type Stack, type StackedTensor } from './plan.js';
import { baseGeometry } from './sites.js';
import type { Activations, KvType, KvView, Model, ModelConfig } from './types.js';
import { planWeights, type DecoderWeights, type WeightPlan } from './weights.js';

type StoredDtype = TensorSource['dtype'];

export interface LoadOptions {
  /**
   * What matrices are stored as; what the checkpoint stores if it is not given, and bf16 in 12 bits. Norms and biases are
   * f32. int8 leaves as they are an embedding that is not the head's matrix, of which a step reads only rows, and experts with their
   * routers.
   */
  weights?: WeightType;
  /** What linear maps read; f32 if it is not given. */
  activations?: Activations;
  /** What keys and values are stored as. If it is not given f16, or bf16 where a processor multiplies that and activations are. */
  kv?: KvType;
  /** Longest context that will be asked for, in tokens. */
  maxModelLen?: number;
  partition: { rank: number; size: number };
  /** Bytes that this process may still use; the system is asked if it is not given. */
  availableBytes?: number;
  /** Where hashes of weight files are kept between starts (see checkpoint/digest.ts). */
  digestCacheDir?: string;
  /** Packed weights of earlier starts. Used where the checkpoint's digest is remembered too. */
  packedCache?: PackedCache | undefined;
  log?: (line: string) => void;
}

/** The smallest pool in which a sequence can run: a page, and one for the block that is being written. */
const POOL_PAGES_MIN = 2;

/**
 * Throws WeftError: checkpoint_config_invalid or checkpoint_unsupported with the field; checkpoint_tensor_… with the
 * tensor; checkpoint_not_finite; option_invalid; out_of_memory with the sum, before anything is loaded.
 */
export async function loadModel(device: Device, checkpoint: Checkpoint, options: LoadOptions): Promise<Model> {
  const { architecture, config } = parseConfig(checkpoint.config, checkpoint.generation, ARCHITECTURES);
  checkOptions(config, options);
  const { weights: plan, tied } = await planWeights(config, checkpoint.tensors);
  if (config.tiedHead && !tied) options.log?.('lm_head.weight differs from the embedding although tie_word_embeddings is true: both are kept, as transformers does');
  if (config.moe && options.weights === 'int8') options.log?.('the weights of experts and of their routers stay as the checkpoint stores them; int8 is for all others');
  const kvType = kvTypeOf(device, config, options), kv = config.latent ? latentView(config, config.latent, kvType) : kvView(config, kvType);
  checkMemory(config, kv, new Packing(device, options).bytesOf(plan), options);

  const startedAt = performance.now();
  const { digest, packing, weights, record } = await restore(device, checkpoint, plan, options) ?? await pack(device, checkpoint, plan, options);
  try {
    const geometry = baseGeometry({ ...config, tiedHead: tied }, architecture.sites(config), checkpoint.names, digest);
    options.log?.(`model: ${config.architecture}, ${mib(packing.bytes)} of weights (${packing.dtypes()}) in ${((performance.now() - startedAt) / 1000).toFixed(1)} s${record ? '' : ' (packed cache)'}`);
    const model = new Decoder(device, { ...config, tiedHead: tied }, geometry, kv, weights, packing.bytes, options.activations ?? 'f32', checkpoint.tensors);
    if (record) options.packedCache?.store(device, keyOf(device, digest, options), record.buffers);
    return model;
  } catch (error) {
    packing.free();
    throw error;
  }
}

const kvTypeOf = ({ multipliesBf16 }: Device, { latent, headDim }: ModelConfig, { kv, activations }: LoadOptions): KvType =>
  kv ?? (multipliesBf16 && activations === 'bf16' && !latent && headDim % 2 === 0 ? 'bf16' : 'f16');

type Plan = WeightPlan['weights'];
/** record: what was packed; null where it came from the cache. */
interface Loaded { digest: string; packing: Packing; weights: DecoderWeights; record: PackedRecord | null }

/** Whether bf16 is packed in 12 bits, beside int8 too. AMX reads panels of bf16 where they lie. */
const codesBf16 = ({ isa }: Device, { weights, activations }: LoadOptions): boolean =>
  weights === 'bf12' || ((weights === undefined || weights === 'int8') && !(isa === 'amx' && activations === 'bf16'));

const keyOf = (device: Device, digest: string, options: LoadOptions): PackedKey => ({
  digest, packing: device.packing, weights: options.weights ?? (codesBf16(device, options) ? 'stored' : 'stored, in 16 bits'),
  partition: { rank: options.partition.rank, size: options.partition.size },
});

/** From the cache; null where it has nothing for these files, or what it has is of no use. */
async function restore(device: Device, checkpoint: Checkpoint, plan: Plan, options: LoadOptions): Promise<Loaded | null> {
  const { packedCache: cache, digestCacheDir } = options;
  if (!cache || digestCacheDir === undefined) return null;
  const digest = await checkpoint.knownDigest(digestCacheDir);
  const reader = digest === null ? null : await cache.open(device, keyOf(device, digest, options));
  if (digest === null || !reader) return null;
  const packing = new Packing(device, options, reader);
  try {
    return { digest, packing, weights: await packing.pack(plan), record: null };
  } catch (error) {
    packing.free();
    await cache.refuse(reader.path, error);
    return null;
  }
}

/** From the checkpoint. */
async function pack(device: Device, checkpoint: Checkpoint, plan: Plan, options: LoadOptions): Promise<Loaded> {
  const record = new PackedRecord(device);
  const packing = new Packing(device, options, record);
  try {
    // Both read the same files: what one brings into the page cache the other finds there.
    const [digest, weights] = await settled(checkpoint.digest(options.digestCacheDir), packing.pack(plan));
    return { digest, packing, weights, record };
  } catch (error) {
    packing.free();
    throw error;
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Both values, once both have ended: nothing may still be reading or allocating when an error is handled. */
async function settled<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

function checkOptions(config: ModelConfig, { partition, maxModelLen }: LoadOptions): void {
  if (partition.rank !== 0 || partition.size !== 1) {
    throw new WeftError('option_invalid', `partition ${partition.rank} of ${partition.size}: this version holds a model on one device`, { field: 'partition' });
  }
  if (maxModelLen !== undefined && maxModelLen > config.maxPositions) {
    throw new WeftError('option_invalid', `a context of ${maxModelLen} tokens was asked for; the model was made for ${config.maxPositions} (max_position_embeddings)`, { field: 'max-model-len', limit: config.maxPositions });
  }
}

function checkMemory(config: ModelConfig, kv: KvView, weightBytes: number, options: LoadOptions): void {
  const context = options.maxModelLen ?? 0;
  const pages = Math.max(new KvLayout(kv.groups, 0).peak(context) + 1, POOL_PAGES_MIN);
  const poolBytes = pages * kv.pageBytes;
  const available = options.availableBytes ?? availableMemoryBytes();
  if (weightBytes + poolBytes <= available) return;
  const remedies = [options.weights === 'int8' ? '' : '--weights int8 takes about one byte a weight', context ? 'a shorter --max-model-len takes a smaller pool' : ''].filter(Boolean);
  throw new WeftError('out_of_memory',
    `${config.architecture} needs ${mib(weightBytes)} for weights + ${mib(poolBytes)} for a pool of ${pages} pages${context ? ` (one context of ${context} tokens)` : ''} = ${mib(weightBytes + poolBytes)}; ${mib(available)} are available${remedies.map(remedy => `; ${remedy}`).join('')}`,
    { limit: available });
}

const DTYPE_BYTES: Readonly<Record<StoredDtype, number>> = { bf16: 2, f16: 2, f32: 4 };

const dtypeOf = (tensor: TensorRef): StoredDtype => tensor.dtype.toLowerCase() as StoredDtype;

/** A matrix [rows, cols] or a vector [rows] where it lies. */
const sourceOf = (tensor: StackedTensor): TensorSource =>
  ({ name: tensor.name, path: tensor.file, offset: tensor.offset, dtype: dtypeOf(tensor), rows: tensor.shape[0]!, cols: tensor.shape[1] ?? 1, transposed: tensor.transposed });

/** Packs a plan, and knows what it costs before. */
class Packing {
  readonly #buffers: DeviceBuffer[] = [];
  readonly #dtypes = new Set<WeightType>();
  readonly target: WeightType | undefined;
  readonly #codes: boolean;
  constructor(readonly device: Device, options: LoadOptions, readonly packer: Packer = device) {
    this.target = options.weights;
    this.#codes = codesBf16(device, options);
  }

  get bytes(): number { return this.#buffers.reduce((sum, { bytes }) => sum + bytes, 0); }
  dtypes(): string { return [...this.#dtypes].join(', '); }
  free(): void { for (const buffer of this.#buffers.splice(0)) this.device.free(buffer); }

  /** The stored format: as asked for, else the tensors' own; where they differ among themselves, the one that holds both. exact: never int8. */
  #dtype(stack: Stack, exact: boolean): Exclude<WeightType, 'bf12'> {
    const own = new Set(stack.map(dtypeOf)), target = exact && this.target === 'int8' ? undefined : this.target;
    return target === 'bf12' ? 'bf16' : target ?? (own.size === 1 ? [...own][0]! : 'f32');
  }
  #coded(dtype: WeightType): boolean { return dtype === 'bf16' && this.#codes; }
  #rowsDtype(tensor: TensorRef): StoredDtype {
    if (this.target === 'bf12') return 'bf16';
    return this.target === undefined || this.target === 'int8' ? dtypeOf(tensor) : this.target;
  }

  bytesOf(plan: Plan): number { return partsOf(plan).reduce((sum, part) => sum + this.#bytesOf(part), 0); }

  #bytesOf(part: Part): number {
    if (part.form === 'experts') {
      const [first] = part.experts, dtype = this.#dtype(part.experts.flat(), true);
      return panelBytes(part.experts.length * Math.ceil(rowsOf(first!) / W_OUTS) * W_OUTS, colsOf(first!), this.#coded(dtype) ? 'bf12' : dtype);
    }
    const { form, stack } = part, rows = rowsOf(stack);
    if (form === 'vector') return rows * 4;
    if (form === 'rows') return rows * colsOf(stack) * DTYPE_BYTES[this.#rowsDtype(stack[0]!)];
    const dtype = this.#dtype(stack, part.exact ?? false);
    return panelBytes(rows, colsOf(stack), this.#coded(dtype) ? 'bf12' : dtype);
  }

  /** Part after part, in the plan's order. */
  async pack<T extends object>(plan: T): Promise<Packed<T>> {
    if (isPart(plan)) return await this.#part(plan) as Packed<T>;
    const packed: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(plan) as [string, unknown][]) packed[name] = typeof value === 'object' && value !== null ? await this.pack(value) : value;
    return (Array.isArray(plan) ? Object.values(packed) : packed) as Packed<T>;
  }

  #part(part: Part): Promise<PackedMatrix | PackedExperts | DeviceBuffer> {
    if (part.form === 'vector') return this.#vector(part.stack, part.label);
    if (part.form === 'experts') return this.#experts(part);
    return part.form === 'rows' ? this.#rows(part.stack[0]!, part.label) : this.#matrix(part);
  }

  async #matrix({ stack, label, exact = false }: MatrixPlan): Promise<PackedMatrix> {
    const dtype = this.#dtype(stack, exact), sources = stack.map(sourceOf), rows = rowsOf(stack), cols = colsOf(stack);
    const coded = this.#coded(dtype) ? await this.packer.packCoded(sources, label) : null;
    return coded ? this.#keep(coded, 'bf12', 0, rows, cols)
      : this.#keep(await this.packer.packLinear(sources, dtype, label), dtype, dtype === 'int8' ? 0 : this.device.linearLayout, rows, cols);
  }
  async #experts({ experts, label }: ExpertsPlan): Promise<PackedExperts> {
    const dtype = this.#dtype(experts.flat(), true), sources = experts.map(stack => stack.map(sourceOf));
    const coded = this.#coded(dtype) ? await this.packer.packExperts(sources, 'bf12', label) : null;
    const buffer = coded ?? (await this.packer.packExperts(sources, dtype, label))!;
    this.#buffers.push(buffer);
    this.#dtypes.add(coded ? 'bf12' : dtype);
    return { buffer, dtype: DType[coded ? 'bf12' : dtype], count: experts.length, n: rowsOf(experts[0]!), k: colsOf(experts[0]!) };
  }
  async #rows(tensor: TensorRef, label: string): Promise<PackedMatrix> {
    const dtype = this.#rowsDtype(tensor);
    return this.#keep(await this.packer.packRows(sourceOf(tensor), dtype, label), dtype, 1, tensor.shape[0]!, tensor.shape[1]!);
  }
  async #vector(stack: Stack, label: string): Promise<DeviceBuffer> {
    const buffer = await this.packer.packVector(stack.map(sourceOf), label);
    this.#buffers.push(buffer);
    return buffer;
  }
  #keep(buffer: DeviceBuffer, dtype: WeightType, layout: 0 | 1, rows: number, cols: number): PackedMatrix {
    this.#buffers.push(buffer);
    this.#dtypes.add(dtype);
    return { buffer, dtype: DType[dtype], layout, rows, cols };
  }
}
