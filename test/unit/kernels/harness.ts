/** Runs single ops on every device that this machine can make. */
import { CommandList, DType, HEADER_WORDS, Header, at, createCpuDevice, createCudaDevice, type Device, type Op, type OpArgs, type Tuning } from '@weft/kernels';

export type Values = Float32Array | Int32Array | Uint8Array | Uint16Array | Uint32Array;

type OptionalOf<O> = { [K in keyof O]: O[K] extends { optional: true } ? K : never }[keyof O];

/** An op's arguments with plain arrays for operands. Outputs are given too: what stands in them before. */
export type ValueArgs<T extends Op> =
  { readonly [K in Exclude<keyof T['operands'], OptionalOf<T['operands']>>]: Values }
  & { readonly [K in OptionalOf<T['operands']>]?: Values | null }
  & { readonly [K in keyof T['params']]: number };

/** What every operand holds after the op, as the type that was given. */
export type Outputs<A> = { readonly [K in keyof A as A[K] extends number ? never : K]-?: Exclude<A[K], null | undefined> };

export type HeaderValues = Partial<Record<Exclude<keyof typeof Header, 'none'>, number>>;

export interface Variant { isa: string; threads: number; tuning?: Tuning }

const supports = (isa: string): boolean => {
  try {
    createCpuDevice({ isa, threads: 1 }).close();
    return true;
  } catch {
    return false;
  }
};

/** A driver for CUDA devices, the emulated one as a rule: then all that runs here runs on cuda:0. */
const cudaDriver = process.env.WEFT_TEST_CUDA_DRIVER;
export const CUDA = 'cuda';

/** Instruction sets that run here; portable is always one of them. */
export const isas: readonly string[] = cudaDriver ? [CUDA] : ['portable', 'avx2', 'avx512', 'avx512bf16', 'amx', 'neon', 'neondot', 'neonbf16'].filter(supports);

/** Every instruction set with one thread and with two. */
export const variants: readonly Variant[] = isas.flatMap(isa => [1, 2].map(threads => ({ isa, threads })));

/** The least and the most of all fields. */
export const extremeTunings: readonly Tuning[] = [
  { tileNs: 1000, tileNsMin: 100, bytesPerNs: 1, flopsPerNs: 1, shrinkRows: 1, shrinkStream: 0, rowBytes: 1000, expandAhead: 0, spinUs: 0, lingerUs: 0 },
  { tileNs: 10_000_000, tileNsMin: 10_000_000, bytesPerNs: 1000, flopsPerNs: 10_000, shrinkRows: 4096, shrinkStream: 65_536, rowBytes: 100_000_000, expandAhead: 1024, spinUs: 10_000, lingerUs: 100_000 },
];

const devices = new Map<string, Device>();

/** A device that lives as long as the test file's process. */
export function deviceOf({ isa, threads, tuning }: Variant): Device {
  const key = `${isa}/${threads}/${JSON.stringify(tuning)}`;
  const known = devices.get(key) ?? (isa === CUDA ? createCudaDevice({ driver: cudaDriver, module: process.env.WEFT_TEST_CUDA_MODULE ?? cudaDriver, threads, deterministic: true })
    : createCpuDevice({ isa, threads, tuning }));
  devices.set(key, known);
  return known;
}

const PANEL = 32;

/** Plain rows [n][k] of a matrix in panels, for devices that read no panels. */
function plainRows(panels: Uint8Array, n: number, k: number, dtype: number): Uint8Array {
  const size = dtype === DType.f32 ? 4 : 2, depth = dtype === DType.bf16 ? 2 : 1, steps = Math.ceil(k / depth);
  const rows = new Uint8Array(n * k * size);
  for (let o = 0; o < n; o++) {
    for (let i = 0; i < k; i++) {
      const at = (((Math.floor(o / PANEL) * steps + Math.floor(i / depth)) * PANEL + o % PANEL) * depth + i % depth) * size;
      rows.set(panels.subarray(at, at + size), (o * k + i) * size);
    }
  }
  return rows;
}

/** The arguments as the device wants its matrices. */
function adapted<A extends object>(device: Device, op: Op, args: A): A {
  const given = args as Record<string, Values | number | null | undefined>;
  for (const [name, { kind, rows, cols, dtype, layout }] of Object.entries(op.operands)) {
    const panels = given[name];
    if (device.linearLayout === 0 || kind !== 'packed' || layout === undefined || given[layout] !== 0 || !(panels instanceof Uint8Array)) continue;
    const type = given[dtype!] as number;
    if (type > DType.f16) continue;
    return { ...args, [name]: plainRows(panels, given[rows as string] as number, given[cols as string] as number, type), [layout]: 1 };
  }
  return args;
}

/** Runs one op. A count param c other than 0 is looked up in `header`. Throws what `submit` rejects with. */
export async function runOp<T extends Op, A extends ValueArgs<T>>(device: Device, op: T, values: A & ValueArgs<T>, header: HeaderValues = {}): Promise<Outputs<A>> {
  const args = adapted(device, op, values);
  const frame = device.alloc(HEADER_WORDS * 4, 'frame');
  const words = new Int32Array(device.host(frame));
  for (const [name, value] of Object.entries(header)) words[Header[name as keyof typeof Header]] = value;

  const given = args as Record<string, Values | number | null | undefined>;
  const buffers = new Map(Object.keys(op.operands).flatMap(name => {
    const values = given[name] as Values | null | undefined;
    if (!values) return [];
    const buffer = device.alloc(Math.max(values.byteLength, 4), name);
    new Uint8Array(device.host(buffer)).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return [[name, { buffer, values }] as const];
  }));
  try {
    for (const { buffer } of buffers.values()) await device.upload(buffer, 0, buffer.bytes);
    const refs = Object.fromEntries([...buffers].map(([name, { buffer }]) => [name, at(buffer)]));
    const params = Object.fromEntries(Object.keys(op.params).map(name => [name, given[name]]));
    await device.submit(new CommandList().add(op, { ...params, ...refs } as unknown as OpArgs<T>), { bindings: { frame } });
    for (const { buffer } of buffers.values()) await device.download(buffer, 0, buffer.bytes);
    return Object.fromEntries([...buffers].map(([name, { buffer, values }]) => {
      const copy = device.host(buffer).slice(0, values.byteLength);
      return [name, new (values.constructor as new (memory: ArrayBuffer) => Values)(copy)];
    })) as Outputs<A>;
  } finally {
    for (const { buffer } of buffers.values()) device.free(buffer);
    device.free(frame);
  }
}
