/** What an engine asks of a device. `CpuDevice` is the default and the oracle that others are held against. */
import type { CommandList } from './command-list.js';

/** A device buffer. `id` is what a CommandList records. */
export interface DeviceBuffer { readonly id: number; readonly bytes: number; readonly label: string }

/** Buffers that a list leaves open until it is submitted: the step's frame, where results go, mask rows. */
export const Binding = { frame: 1, results: 2, masks: 3, hidden: 4 } as const;
export type BindingName = keyof typeof Binding;
/** Buffer ids below this are bindings; 0 is the null reference. */
export const FIRST_BUFFER_ID = 16;

/** Where a matrix's bytes lie in a safetensors file: [rows][cols] values from byte `offset` on, or [cols][rows] if `transposed`. name: the tensor's, for errors. */
export interface TensorSource { path: string; offset: number; dtype: 'bf16' | 'f16' | 'f32'; rows: number; cols: number; name?: string | undefined; transposed?: boolean | undefined }

/** What matrices can be stored as. int8 is made from any of the others. */
export type WeightType = TensorSource['dtype'] | 'int8' | 'bf12';

export interface SubmitOptions {
  bindings: Partial<Record<BindingName, DeviceBuffer>>;
  /** Measure each op (ns). */
  timed?: boolean;
}
export interface SubmitResult { elapsedNs: number; opNs?: Float64Array }

export interface DeviceStats {
  submits: number; opsRun: number;
  /** Adapter bytes that kernels read from pages, and scratch memory that they took for copies of them: 0 as long as all is read in place. */
  adapterBytesRead: number; adapterBytesCopied: number;
  pageBytesLoaded: number; allocatedBytes: number;
  /** How often native code took memory from the heap, for all devices of this process. Steps in steady state add none. */
  allocations: number;
}

export interface Device {
  readonly name: string;              // 'cpu', 'cuda:0'
  readonly isa: string;               // 'avx512', 'avx2', 'portable', 'neon', 'sm_90'
  /** For people: 'NVIDIA H100 80GB HBM3'. */
  readonly description: string;
  readonly threads: number;
  /** Names how packed weights lie in memory: what one device packed another of the same `packing` can load. */
  readonly packing: string;
  /** How `packLinear` lays matrices out: panels of 32 outputs (0), or plain rows (1). int8 always has panels. */
  readonly linearLayout: 0 | 1;
  /** Whether a processor adds products of two pairs of bf16 in one step. */
  readonly multipliesBf16: boolean;
  /** Whether a step runs best by a list that was recorded for about as many rows as it has. */
  readonly bucketed: boolean;

  /** Zeroed, aligned to 4 KiB; for the arena and large buffers backed lazily by huge pages. WeftError out_of_memory. */
  alloc(bytes: number, label: string): DeviceBuffer;
  /** Lists submitted before keep the memory until they are done; lists submitted later are refused. Views of it become empty. */
  free(buffer: DeviceBuffer): void;
  /** The buffer with an id. */
  buffer(id: number): DeviceBuffer;
  /**
   * The buffer's memory as seen by the host (frames, results, tables), for buffers up to 4 GiB. What a submitted list reads
   * must not change before its promise settles: indices are checked when their op begins. A device with memory of its own
   * takes a bound frame and masks when a list begins and gives results and hidden rows when it ends; everything else goes by
   * `upload` and `download`, which are nothing where memory is shared.
   */
  host(buffer: DeviceBuffer): ArrayBuffer;
  /** What the host wrote reaches the device, in turn with submitted lists. */
  upload(buffer: DeviceBuffer, offset: number, bytes: number): Promise<void>;
  /** What the device wrote reaches the host, in turn with submitted lists. */
  download(buffer: DeviceBuffer, offset: number, bytes: number): Promise<void>;
  /** Free bytes of the device's own memory; 0 where it is the host's. */
  freeBytes(): number;

  /**
   * Packs rows of checkpoint matrices, one after another, into panels of 32 outputs (see op `linear`; int8: DType), straight
   * from the files, on native threads, in turn with submitted lists. n = Σ rows. target: the stored dtype; all but int8 hold
   * the file's values exactly, int8 the nearest multiple of its scale, the least that spans the group. Rejects with a WeftError
   * that names the source: checkpoint_not_finite (NaN, infinity), checkpoint_tensor_dtype (a value that `target` cannot
   * hold exactly), checkpoint_file_missing, io_error.
   */
  packLinear(sources: TensorSource[], target: Exclude<WeightType, 'bf12'>, label: string): Promise<DeviceBuffer>;
  /**
   * The same for bf16 tensors, in three quarters of the bytes and without loss (`bf12`, native/core/bf12.h). Null where the
   * values' exponents are too many for it.
   */
  packCoded(sources: TensorSource[], label: string): Promise<DeviceBuffer | null>;
  /**
   * Matrices of the same shape, [n, k] each, for op `expertLinear`: always in panels, each padded to whole ones, one after another; an
   * expert's sources are its rows, as in `packLinear`. Null where bf12 is asked for and can't be made.
   */
  packExperts(experts: TensorSource[][], target: WeightType, label: string): Promise<DeviceBuffer | null>;
  /** Plain rows (embedding tables of untied models). */
  packRows(source: TensorSource, target: TensorSource['dtype'], label: string): Promise<DeviceBuffer>;
  /** Vectors (norm weights, biases) as f32. */
  packVector(sources: TensorSource[], label: string): Promise<DeviceBuffer>;

  /**
   * A new buffer with a file's bytes [fileOffset, fileOffset + bytes), read by all threads, in turn with submitted lists.
   * crc32c: of each span of spanBytes, the last of which may be short. Rejects with WeftError image_corrupt when one differs
   * or the file is too short, io_error, out_of_memory.
   */
  loadBuffer(path: string, fileOffset: number, bytes: number, spanBytes: number, crc32c: Uint32Array, label: string): Promise<DeviceBuffer>;
  /**
   * Writes bytes [offset, offset + bytes) of a buffer at `fileOffset` of a file that is there, beside submitted lists; their
   * CRC-32C. Rejects with WeftError insufficient_storage when the disk is full, io_error.
   */
  storeSpan(buffer: DeviceBuffer, offset: number, bytes: number, path: string, fileOffset: number): Promise<number>;

  /**
   * Reads a file's bytes [fileOffset, fileOffset + totalBytes) straight into the arena, in spans of pageBytes: span i to
   * arena offset pages[i]·pageBytes; the last span may be short, what follows it in its page becomes zero. Runs beside a
   * submitted list. Rejects with WeftError image_corrupt when the CRC-32C of a span differs or the file is too short.
   */
  loadPages(path: string, fileOffset: number, totalBytes: number, arena: DeviceBuffer, pageBytes: number, pages: Int32Array, crc32c: Uint32Array): Promise<void>;

  /**
   * Runs the list on the native thread. Lists run in the order of their submission; one that fails does not stop those
   * behind it. Rejects with WeftError list_invalid, which names op, operand and bound; ops before that one have run.
   */
  submit(list: CommandList, options: SubmitOptions): Promise<SubmitResult>;
  stats(): DeviceStats;
  /** Waits for the list at work, rejects those behind it, frees every buffer. */
  close(): void;
}
