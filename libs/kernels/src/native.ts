/** The addon's whole surface (native/addon). Nothing else in TypeScript knows it. */
import { createRequire } from 'node:module';
import { WeftError, type ErrorCode } from '@weft/contracts';
import type { DeviceStats, SubmitResult } from './device.js';
import type { Tuning } from './tuning.js';

/** A tensor's rows in a file; dtype is a DType. name may be empty. */
export interface NativeSource { path: string; name: string; offset: number; dtype: number; rows: number; cols: number; pad: number; transposed: number }

/** Layouts of `pack`. */
export const PackLayout = { panels: 0, rows: 1 } as const;

/** Buffers and programs are named by numbers that are never used again. Every method throws NativeError. */
export interface NativeDevice {
  readonly isa: string;
  readonly description: string;
  readonly threads: number;
  alloc(bytes: number, label: string): number;
  /** Ends every view of the buffer; its memory goes when no submitted list needs it. */
  free(buffer: number): void;
  /** Always the same ArrayBuffer for a buffer. */
  host(buffer: number): ArrayBuffer;
  upload(buffer: number, offset: number, bytes: number): Promise<void>;
  download(buffer: number, offset: number, bytes: number): Promise<void>;
  /** Of the device's own memory; 0 where it is the host's. */
  freeBytes(): number;
  /** Reads and checks a recorded list. */
  compile(words: Uint32Array): number;
  release(program: number): void;
  /** bindings: a buffer at the index of each binding, 0 for none. */
  submit(program: number, bindings: Uint32Array, timed: boolean): Promise<SubmitResult>;
  /** null: the values can't be coded (bf12). */
  pack(sources: NativeSource[], target: number, layout: number, label: string): Promise<number | null>;
  loadBuffer(path: string, fileOffset: number, bytes: number, spanBytes: number, crc32c: Uint32Array, label: string): Promise<number>;
  storeSpan(buffer: number, offset: number, bytes: number, path: string, fileOffset: number): Promise<number>;
  loadPages(path: string, fileOffset: number, totalBytes: number, arena: number, pageBytes: number, pages: Int32Array, crc32c: Uint32Array): Promise<void>;
  stats(): DeviceStats;
  /** Waits for the list at work; those behind it reject. */
  close(): void;
}

/** threads 0: as many as this process may use. isa '': the best of this processor. */
export interface NativeCpuOptions { kind: 'cpu'; threads: number; isa: string; tuning?: Tuning | undefined }
export interface NativeCudaOptions { kind: 'cuda'; threads: number; ordinal: number; driver: string; module: string; cublasLt: string; deterministic: boolean }

/** What an NVIDIA driver has. version 13000: it supports CUDA 13.0. */
export interface CudaDriver { version: number; gpus: { name: string; isa: string; bytes: number }[] }

export interface NativeModule {
  Device: new (options: NativeCpuOptions | NativeCudaOptions) => NativeDevice;
  /** Names the sources that it was built from. */
  stamp: string;
  /** Threads that run at once. */
  usableThreads(): number;
  inspectDriver(driver: string): CudaDriver;
  /** Names what `pack` makes of a matrix. */
  packLayoutVersion: number;
  crc32c(bytes: Uint8Array): number;
}

interface NativeError extends Error { code: ErrorCode; file?: string; tensor?: string }

const isNativeError = (error: unknown): error is NativeError =>
  error instanceof Error && typeof (error as Partial<NativeError>).code === 'string';

/** What the addon threw, as our own error. Anything else stays what it is. */
export function fromNative(error: unknown): unknown {
  if (!isNativeError(error)) return error;
  return new WeftError(error.code, error.message, { file: error.file, tensor: error.tensor, cause: error });
}

/** Calls the addon. */
export function native<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

let loaded: NativeModule | undefined;

/** The addon, loaded when first needed. It lies beside both `src` and `dist`; WEFT_KERNELS_ADDON names another, for tests. */
export function nativeModule(): NativeModule {
  if (loaded) return loaded;
  const path = process.env.WEFT_KERNELS_ADDON ?? '../build/weft_kernels.node';
  try {
    loaded = createRequire(import.meta.url)(path) as NativeModule;
  } catch (error) {
    throw new WeftError('device_error', `The kernels cannot be loaded: ${(error as Error).message}. \`npm run build\` makes them.`, { cause: error });
  }
  return loaded;
}

/** CRC-32C (Castagnoli) of some bytes. */
export const crc32c = (bytes: Uint8Array): number => native(() => nativeModule().crc32c(bytes));

/** The NVIDIA driver and its GPUs. Throws device_unavailable when there is none. */
export const inspectCudaDriver = (driver = 'libcuda.so.1'): CudaDriver => native(() => nativeModule().inspectDriver(driver));

/** Threads that can run at once: what the machine, this process's affinity mask and the container's limit leave. */
export const usableThreads = (): number => native(() => nativeModule().usableThreads());
