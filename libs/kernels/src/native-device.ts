/** Devices of the addon: this processor, which every machine has, and CUDA devices. */
import { fileURLToPath } from 'node:url';
import { WeftError } from '@weft/contracts';
import type { CommandList } from './command-list.js';
import {
  Binding, FIRST_BUFFER_ID, type BindingName, type Device, type DeviceBuffer, type DeviceStats, type SubmitOptions, type SubmitResult, type TensorSource, type WeightType,
} from './device.js';
import { W_OUTS } from './expert-table.js';
import { PackLayout, fromNative, native, nativeModule, type NativeDevice, type NativeSource } from './native.js';
import { DType, panelBytes } from './ops.js';
import type { Tuning } from './tuning.js';

export interface CpuDeviceOptions {
  /** Threads that compute; as many as affinity and cgroup leave where it is not given. */
  threads?: number | undefined;
  /** portable, avx2, avx512, avx512bf16, amx, neon, neondot or neonbf16; the best of this processor where it is not given. */
  isa?: string | undefined;
  /** What shapes tiles, prefetches and waits; sane numbers for the instruction set where it is not given. */
  tuning?: Tuning | undefined;
}

/** Throws WeftError device_error when this processor lacks the instruction set, option_invalid by the name of a tuning's field. */
export function createCpuDevice(options: CpuDeviceOptions = {}): Device {
  const { threads = 0, isa = '', tuning } = options;
  return new AddonDevice('cpu', native(() => new (nativeModule().Device)({ kind: 'cpu', threads, isa, tuning })), 0);
}

/** Where `npm run build:cuda` puts the kernels for GPUs. */
export const CUDA_MODULE = fileURLToPath(new URL('../build/weft-cuda.fatbin', import.meta.url));

export interface CudaDeviceOptions {
  /** Which GPU, as the driver counts them. */
  ordinal?: number | undefined;
  /** Threads of this processor that read and pack files. */
  threads?: number | undefined;
  /** A row has the same bits in every batch; slower. */
  deterministic?: boolean | undefined;
  /** The driver's library; another one stands in for it in tests. */
  driver?: string | undefined;
  /** cuBLASLt, where the loader does not find it; without it, linear maps run by our own kernels. */
  cublasLt?: string | undefined;
  /** The kernels; what `npm run build:cuda` made. */
  module?: string | undefined;
}

/** Throws WeftError device_unavailable (no driver, no GPU, no kernels for it), out_of_memory, device_lost or device_error. */
export function createCudaDevice(options: CudaDeviceOptions = {}): Device {
  const { ordinal = 0, threads = 0, deterministic = false, driver = 'libcuda.so.1', cublasLt = '' } = options;
  const module = options.module ?? CUDA_MODULE;
  return new AddonDevice(`cuda:${ordinal}`, native(() => new (nativeModule().Device)({ kind: 'cuda', threads, ordinal, driver, module, cublasLt, deterministic })), 1);
}

/** A list as the addon holds it, and how long it was then. */
interface Compiled { program: number; length: number }

/** Instruction sets with WEFT_DOT_PAIRS (native/core). */
const ISAS_WITH_BF16: ReadonlySet<string> = new Set(['avx512bf16', 'amx', 'neonbf16']);

class AddonDevice implements Device {
  readonly isa: string;
  readonly threads: number;
  readonly description: string;
  readonly packing: string;
  readonly bucketed: boolean;
  readonly multipliesBf16: boolean;
  readonly #native: NativeDevice;
  readonly #buffers = new Map<number, DeviceBuffer>();
  readonly #compiled = new WeakMap<CommandList, Compiled>();
  /** Lists that nobody holds any more. */
  readonly #collected: FinalizationRegistry<number>;
  readonly #bindings = new Uint32Array(FIRST_BUFFER_ID);

  constructor(readonly name: string, device: NativeDevice, readonly linearLayout: 0 | 1) {
    this.#native = device;
    this.isa = device.isa;
    this.threads = device.threads;
    this.bucketed = linearLayout === 1;
    this.multipliesBf16 = ISAS_WITH_BF16.has(device.isa);
    this.description = device.description;
    this.packing = `v${nativeModule().packLayoutVersion}-${linearLayout ? 'rows' : device.isa}`;
    this.#collected = new FinalizationRegistry(program => device.release(program));
  }

  alloc(bytes: number, label: string): DeviceBuffer {
    return this.#note(native(() => this.#native.alloc(bytes, label)), bytes, label);
  }

  free({ id }: DeviceBuffer): void {
    native(() => this.#native.free(id));
    this.#buffers.delete(id);
  }

  buffer(id: number): DeviceBuffer {
    const buffer = this.#buffers.get(id);
    if (!buffer) throw new WeftError('option_invalid', `There is no buffer ${id}.`);
    return buffer;
  }

  host({ id }: DeviceBuffer): ArrayBuffer {
    return native(() => this.#native.host(id));
  }

  upload({ id }: DeviceBuffer, offset: number, bytes: number): Promise<void> {
    return this.#settled(() => this.#native.upload(id, offset, bytes));
  }

  download({ id }: DeviceBuffer, offset: number, bytes: number): Promise<void> {
    return this.#settled(() => this.#native.download(id, offset, bytes));
  }

  freeBytes(): number {
    return native(() => this.#native.freeBytes());
  }

  packLinear(sources: TensorSource[], target: WeightType, label: string): Promise<DeviceBuffer> {
    const rows = sources.reduce((sum, source) => sum + source.rows, 0), cols = sources[0]?.cols ?? 0;
    if (this.linearLayout && target !== 'int8') return this.#pack(sources, target, PackLayout.rows, rows * cols * (target === 'f32' ? 4 : 2), label);
    return this.#pack(sources, target, PackLayout.panels, panelBytes(rows, cols, target), label);
  }

  packCoded(sources: TensorSource[], label: string): Promise<DeviceBuffer | null> {
    if (this.linearLayout) return Promise.resolve(null);
    const rows = sources.reduce((sum, source) => sum + source.rows, 0);
    return this.#tryPack(sources, 'bf12', PackLayout.panels, panelBytes(rows, sources[0]?.cols ?? 0, 'bf12'), label);
  }

  packExperts(experts: TensorSource[][], target: WeightType, label: string): Promise<DeviceBuffer | null> {
    const rows = (experts[0] ?? []).reduce((sum, source) => sum + source.rows, 0), pad = Math.ceil(rows / W_OUTS) * W_OUTS - rows;
    const sources = experts.flatMap(parts => parts.map((source, i) => ({ ...source, pad: i === parts.length - 1 ? pad : 0 })));
    if (target === 'bf12' && this.linearLayout) return Promise.resolve(null);
    return this.#tryPack(sources, target, PackLayout.panels, panelBytes(experts.length * (rows + pad), experts[0]?.[0]?.cols ?? 0, target), label);
  }

  packRows(source: TensorSource, target: TensorSource['dtype'], label: string): Promise<DeviceBuffer> {
    return this.#pack([source], target, PackLayout.rows, source.rows * source.cols * (target === 'f32' ? 4 : 2), label);
  }

  packVector(sources: TensorSource[], label: string): Promise<DeviceBuffer> {
    const columns = sources.map(source => ({ ...source, rows: source.rows * source.cols, cols: 1 }));
    return this.#pack(columns, 'f32', PackLayout.rows, columns.reduce((sum, source) => sum + source.rows, 0) * 4, label);
  }

  async #pack(sources: TensorSource[], target: WeightType, layout: number, bytes: number, label: string): Promise<DeviceBuffer> {
    return (await this.#tryPack(sources, target, layout, bytes, label))!;
  }

  async #tryPack(sources: (TensorSource & { pad?: number })[], target: WeightType, layout: number, bytes: number, label: string): Promise<DeviceBuffer | null> {
    const nativeSources = sources.map((source): NativeSource =>
      ({ path: source.path, name: source.name ?? '', offset: source.offset, dtype: DType[source.dtype], rows: source.rows, cols: source.cols, pad: source.pad ?? 0, transposed: source.transposed ? 1 : 0 }));
    const id = await this.#settled(() => this.#native.pack(nativeSources, DType[target], layout, label));
    return id === null ? null : this.#note(id, bytes, label);
  }

  async loadBuffer(path: string, fileOffset: number, bytes: number, spanBytes: number, crc32c: Uint32Array, label: string): Promise<DeviceBuffer> {
    return this.#note(await this.#settled(() => this.#native.loadBuffer(path, fileOffset, bytes, spanBytes, crc32c, label)), bytes, label);
  }

  storeSpan(buffer: DeviceBuffer, offset: number, bytes: number, path: string, fileOffset: number): Promise<number> {
    return this.#settled(() => this.#native.storeSpan(buffer.id, offset, bytes, path, fileOffset));
  }

  loadPages(path: string, fileOffset: number, totalBytes: number, arena: DeviceBuffer, pageBytes: number, pages: Int32Array, crc32c: Uint32Array): Promise<void> {
    return this.#settled(() => this.#native.loadPages(path, fileOffset, totalBytes, arena.id, pageBytes, pages, crc32c));
  }

  submit(list: CommandList, options: SubmitOptions): Promise<SubmitResult> {
    return this.#settled(() => this.#native.submit(this.#programOf(list), this.#bound(options.bindings), options.timed ?? false));
  }

  stats(): DeviceStats {
    return this.#native.stats();
  }

  close(): void {
    this.#native.close();
    this.#buffers.clear();
  }

  #note(id: number, bytes: number, label: string): DeviceBuffer {
    const buffer = Object.freeze({ id, bytes, label });
    this.#buffers.set(id, buffer);
    return buffer;
  }

  #bound(bindings: SubmitOptions['bindings']): Uint32Array {
    this.#bindings.fill(0);
    for (const [name, bound] of Object.entries(bindings)) {
      const index = Binding[name as BindingName];
      if (index === undefined) throw new WeftError('list_invalid', `${name}: there is no such binding.`);
      if (bound) this.#bindings[index] = bound.id;
    }
    return this.#bindings;
  }

  /** Lists are compiled when first submitted, and again when ops were added since. */
  #programOf(list: CommandList): number {
    const known = this.#compiled.get(list);
    if (known?.length === list.words.length) return known.program;
    if (known) {
      this.#collected.unregister(known);
      this.#native.release(known.program);
    }
    const compiled = { program: this.#native.compile(list.words), length: list.words.length };
    this.#compiled.set(list, compiled);
    this.#collected.register(list, compiled.program, compiled);
    return compiled.program;
  }

  /** Errors of both kinds, thrown and rejected, as rejections with our own code. */
  async #settled<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw fromNative(error);
    }
  }
}
