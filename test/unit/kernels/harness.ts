/** Runs single ops on every device that this machine can make. */
import { CommandList, HEADER_WORDS, Header, at, createCpuDevice, type Device, type Op, type OpArgs, type Tuning } from '@weft/kernels';

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

/** Instruction sets that run here; portable is always one of them. */
export const isas: readonly string[] = ['portable', 'avx2', 'avx512', 'avx512bf16', 'amx', 'neon'].filter(supports);

/** Every instruction set with one thread and with two. */
export const variants: readonly Variant[] = isas.flatMap(isa => [1, 2].map(threads => ({ isa, threads })));

/** The least and the most of all fields. */
export const extremeTunings: readonly Tuning[] = [
  { tileNs: 1000, tileNsMin: 100, bytesPerNs: 1, flopsPerNs: 1, shrinkRows: 1, shrinkStream: 0, expandAhead: 0, spinUs: 0, lingerUs: 0 },
  { tileNs: 10_000_000, tileNsMin: 10_000_000, bytesPerNs: 1000, flopsPerNs: 10_000, shrinkRows: 4096, shrinkStream: 65_536, expandAhead: 1024, spinUs: 10_000, lingerUs: 100_000 },
];

const devices = new Map<string, Device>();

/** A device that lives as long as the test file's process. */
export function deviceOf({ isa, threads, tuning }: Variant): Device {
  const key = `${isa}/${threads}/${JSON.stringify(tuning)}`;
  const known = devices.get(key) ?? createCpuDevice({ isa, threads, tuning });
  devices.set(key, known);
  return known;
}

/** Runs one op. A count param c other than 0 is looked up in `header`. Throws what `submit` rejects with. */
export async function runOp<T extends Op, A extends ValueArgs<T>>(device: Device, op: T, args: A & ValueArgs<T>, header: HeaderValues = {}): Promise<Outputs<A>> {
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
    const refs = Object.fromEntries([...buffers].map(([name, { buffer }]) => [name, at(buffer)]));
    const params = Object.fromEntries(Object.keys(op.params).map(name => [name, given[name]]));
    await device.submit(new CommandList().add(op, { ...params, ...refs } as unknown as OpArgs<T>), { bindings: { frame } });
    return Object.fromEntries([...buffers].map(([name, { buffer, values }]) => {
      const copy = device.host(buffer).slice(0, values.byteLength);
      return [name, new (values.constructor as new (memory: ArrayBuffer) => Values)(copy)];
    })) as Outputs<A>;
  } finally {
    for (const { buffer } of buffers.values()) device.free(buffer);
    device.free(frame);
  }
}
