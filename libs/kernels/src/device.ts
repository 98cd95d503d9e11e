/** What an engine asks of a device. `CpuDevice` is the default and the oracle that others are held against. */
import type { CommandList } from './command-list.js';

/** A device buffer. `id` is what a CommandList records. */
export interface DeviceBuffer { readonly id: number; readonly bytes: number; readonly label: string }

/** Buffers that a list leaves open until it is submitted: the step's frame, where results go, mask rows. */
export const Binding = { frame: 1, results: 2, masks: 3, hidden: 4 } as const;
export type BindingName = keyof typeof Binding;
/** Buffer ids below this are bindings; 0 is the null reference. */
export const FIRST_BUFFER_ID = 16;

/** Where a matrix's bytes lie in a safetensors file: rows [rowStart, rowStart + rows) of [*, cols]. */
export interface TensorSource { path: string; offset: number; dtype: 'bf16' | 'f16' | 'f32'; rows: number; cols: number }

export interface SubmitOptions {
  bindings: Partial<Record<BindingName, DeviceBuffer>>;
  /** Measure each op (ns). */
  timed?: boolean;
}
export interface SubmitResult { elapsedNs: number; opNs?: Float64Array }

export interface DeviceStats {
  submits: number; opsRun: number;
  /** Adapter bytes that kernels read from pages, and bytes of them that were copied anywhere on the way: always 0. */
  adapterBytesRead: number; adapterBytesCopied: number;
  pageBytesLoaded: number; allocatedBytes: number;
}

export interface Device {
  readonly name: string;              // 'cpu'
  readonly isa: string;               // 'avx512', 'avx2', 'portable', 'neon'
  readonly threads: number;

  /** Zeroed, aligned to 4 KiB; for the arena and large buffers backed lazily by huge pages. WeftError out_of_memory. */
  alloc(bytes: number, label: string): DeviceBuffer;
  free(buffer: DeviceBuffer): void;
  /** The buffer's memory as seen by the host (frames, results, tables); only where the device shares memory. */
  host(buffer: DeviceBuffer): ArrayBuffer;

  /**
   * Packs rows of checkpoint matrices, one after another, into [ceil(n/32)][k][32] (see op `linear`), straight from
   * the mapped files, on native threads. n = Σ rows. target: the stored dtype. A NaN or infinity is an error that names the source.
   */
  packLinear(sources: TensorSource[], target: 'bf16' | 'f16' | 'f32', label: string): Promise<DeviceBuffer>;
  /** Plain rows (embedding tables of untied models). */
  packRows(source: TensorSource, target: 'bf16' | 'f16' | 'f32', label: string): Promise<DeviceBuffer>;
  /** Vectors (norm weights, biases) as f32. */
  packVector(sources: TensorSource[], label: string): Promise<DeviceBuffer>;

  /**
   * Reads `bytes.length` spans of a file straight into the arena: file offset i·span → arena offset pages[i]·pageBytes;
   * the last span may be short. Runs beside a submitted list. Rejects with WeftError image_corrupt when the CRC-32C of a span differs.
   */
  loadPages(path: string, fileOffset: number, totalBytes: number, arena: DeviceBuffer, pageBytes: number, pages: Int32Array, crc32c: Uint32Array): Promise<void>;

  /** Runs the list on the native thread. Lists run in the order of their submission. */
  submit(list: CommandList, options: SubmitOptions): Promise<SubmitResult>;
  stats(): DeviceStats;
  close(): void;
}
