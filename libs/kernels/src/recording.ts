/**
 * Recordings: a list with the buffers it found and what it left in them, in one file that `weft-replay` runs anywhere.
 *
 * Little-endian; tables of fixed rows, then data, all at multiples of 8 bytes:
 *
 *   header        "WEFTREC1", isa char[16], number of words, buffers, bindings, chunks, expectations (u32), 5 × u32 zero
 *   words         the list as CommandList recorded it
 *   buffers       id u32, 0 u32, bytes u64, label char[48]
 *   bindings      binding u32, buffer id u32
 *   chunks        buffer id u32, 0 u32, offset u64, bytes u64, place in the file u64:  contents before; the rest is zero
 *   expectations  buffer id u32, format u32, offset u64, bytes u64, place u64, absolute f32, relative f32:  contents after
 */
import { writeFile } from 'node:fs/promises';
import type { CommandList } from './command-list.js';
import { Binding, FIRST_BUFFER_ID, type BindingName, type Device, type DeviceBuffer, type SubmitOptions, type SubmitResult } from './device.js';
import type { Dim, Op, Operand } from './op.js';
import { DType, OPS } from './ops.js';

/** How expected bytes are compared: as words that must be equal, or as numbers within a tolerance. */
export const ExpectedFormat = { words: 0, f32: 1, f16: 2, bf16: 3 } as const;

/** |found - expected| ≤ absolute + relative·|expected|, where the instruction set differs from the recorded one. */
export interface Tolerance { absolute: number; relative: number }

const HEADER_BYTES = 64;
const BUFFER_BYTES = 64;
const BINDING_BYTES = 8;
const CHUNK_BYTES = 32;
const EXPECTATION_BYTES = 40;
/** Contents are compared and left out in blocks of this size. */
const BLOCK_BYTES = 4096;

interface Region { buffer: number; offset: number; bytes: number }
/** whole: compared where it stayed the same, too. */
interface WrittenRegion extends Region { format: number; whole: boolean }

/** Submits the list and writes what happened to `path`; what it leaves in `uncompared` buffers is not expected of others. Buffers above 4 GiB cannot be recorded. */
export async function record(
  device: Device, list: CommandList, bindings: SubmitOptions['bindings'], path: string,
  tolerance: Tolerance = { absolute: 1e-3, relative: 1e-3 }, uncompared: readonly DeviceBuffer[] = [],
): Promise<SubmitResult> {
  const words = list.words.slice();
  const bound = Object.entries(bindings).filter((entry): entry is [string, DeviceBuffer] => entry[1] !== undefined);
  const buffers = buffersOf(device, words, bound.map(([, buffer]) => buffer));
  const memory = (id: number): Uint8Array => new Uint8Array(device.host(buffers.get(id)!));
  const before = new Map([...buffers.keys()].map(id => [id, memory(id).slice()]));
  const result = await device.submit(list, { bindings });

  const numbers = new Map<number, number>(bound.map(([name, { id }]) => [Binding[name as BindingName], id]));
  const written = writtenRegions(words, numbers).filter(({ buffer }) => !uncompared.some(({ id }) => id === buffer));
  const chunks = [...before].flatMap(([buffer, bytes]) => nonZeroRuns(buffer, bytes));
  const expected = written.flatMap(region => comparedRuns(region, before.get(region.buffer)!, memory(region.buffer)));
  const data = (region: Region, from: Uint8Array): Uint8Array => from.subarray(region.offset, region.offset + region.bytes);
  await writeFile(path, encode(device.isa, words, [...buffers.values()], [...numbers], 
    chunks.map(chunk => ({ ...chunk, data: data(chunk, before.get(chunk.buffer)!) })),
    expected.map(region => ({ ...region, tolerance, data: data(region, memory(region.buffer)) }))));
  return result;
}

/** Calls visit for every op of a recorded list. */
function eachOp(words: Uint32Array, visit: (op: Op, operands: Uint32Array, params: Uint32Array) => void): void {
  const byCode = new Map<number, Op>(Object.values(OPS).map((op): [number, Op] => [op.code, op]));
  for (let at = 0; at < words.length; at += words[at + 1]!) {
    const op = byCode.get(words[at]!)!;
    const operands = Object.keys(op.operands).length * 2;
    visit(op, words.subarray(at + 2, at + 2 + operands), words.subarray(at + 2 + operands, at + words[at + 1]!));
  }
}

function buffersOf(device: Device, words: Uint32Array, bound: DeviceBuffer[]): Map<number, DeviceBuffer> {
  const buffers = new Map(bound.map(buffer => [buffer.id, buffer]));
  eachOp(words, (_, operands) => {
    for (let i = 0; i < operands.length; i += 2) {
      const id = operands[i]!;
      if (id >= FIRST_BUFFER_ID && !buffers.has(id)) buffers.set(id, device.buffer(id));
    }
  });
  return buffers;
}

/** A written operand's bytes, from its first to its last value, and what they are. */
function extentOf(op: Op, operand: Operand, params: Uint32Array): { bytes: number; format: number } {
  const names = Object.keys(op.params);
  const value = (dim: Dim): number => (typeof dim === 'number' ? dim : params[names.indexOf(dim)]!);
  const rows = value(operand.rows), cols = value(operand.cols);
  if (operand.kind === 'arena') return { bytes: rows * cols, format: ExpectedFormat.f16 };
  const values = (rows - 1) * value(operand.ld) + cols;
  if (operand.dtype && value(operand.dtype) === DType.bf16) return { bytes: values * 2, format: ExpectedFormat.bf16 };
  return { bytes: values * 4, format: operand.elem === 'i32' ? ExpectedFormat.words : ExpectedFormat.f32 };
}

/**
 * What the ops of a list may write. An operand that several ops write is there once. What an op changes in place is compared as a whole:
 * leaving it alone may be right. Of an arena, and of what is only written (it may be scratch), blocks that changed are compared.
 */
function writtenRegions(words: Uint32Array, bindings: Map<number, number>): WrittenRegion[] {
  const regions = new Map<string, WrittenRegion>();
  const codes = new Set<number>();
  eachOp(words, ({ code }) => codes.add(code));
  eachOp(words, (op, refs, params) => {
    Object.values(op.operands).forEach((operand, i) => {
      const id = refs[2 * i]!;
      if (operand.access === 'in' || operand.access === 'scratch' || id === 0) return;
      // Integers that are one off where a value rounds the other way: what is made of them is compared.
      if (op.code === OPS.quantizeRows.code && codes.has(OPS.linearInt8.code)) return;
      const buffer = id < FIRST_BUFFER_ID ? bindings.get(id)! : id;
      const region = { buffer, offset: refs[2 * i + 1]! * 4, ...extentOf(op, operand, params) };
      const key = Object.values(region).join();
      const whole = regions.get(key)?.whole || (operand.access === 'inout' && operand.kind !== 'arena');
      regions.set(key, { ...region, whole });
    });
  });
  return [...regions.values()];
}

/** Blocks for which `keep` holds, neighbours joined. */
function runs<R extends Region>(region: R, keep: (from: number, to: number) => boolean): R[] {
  const found: R[] = [];
  const end = region.offset + region.bytes;
  for (let from = region.offset; from < end; from += BLOCK_BYTES) {
    const to = Math.min(from + BLOCK_BYTES, end);
    if (!keep(from, to)) continue;
    const last = found.at(-1);
    if (last && last.offset + last.bytes === from) found[found.length - 1] = { ...last, bytes: to - last.offset };
    else found.push({ ...region, offset: from, bytes: to - from });
  }
  return found;
}

function nonZeroRuns(buffer: number, bytes: Uint8Array): Region[] {
  return runs({ buffer, offset: 0, bytes: bytes.length }, (from, to) => bytes.subarray(from, to).some(byte => byte !== 0));
}

function comparedRuns(region: WrittenRegion, before: Uint8Array, after: Uint8Array): WrittenRegion[] {
  return runs(region, (from, to) => region.whole || Buffer.compare(before.subarray(from, to), after.subarray(from, to)) !== 0);
}

type WithData<R> = R & { data: Uint8Array };

function encode(
  isa: string, words: Uint32Array, buffers: DeviceBuffer[], bindings: [number, number][],
  chunks: WithData<Region>[], expected: WithData<WrittenRegion & { tolerance: Tolerance }>[],
): Uint8Array {
  const align = (bytes: number): number => Math.ceil(bytes / 8) * 8;
  const tables = HEADER_BYTES + align(words.byteLength) + buffers.length * BUFFER_BYTES + bindings.length * BINDING_BYTES
    + chunks.length * CHUNK_BYTES + expected.length * EXPECTATION_BYTES;
  const file = new Uint8Array(tables + [...chunks, ...expected].reduce((sum, { data }) => sum + align(data.length), 0));
  const view = new DataView(file.buffer);
  let at = 0, dataAt = tables;
  const u32 = (value: number): void => { view.setUint32(at, value, true); at += 4; };
  const u64 = (value: number): void => { view.setBigUint64(at, BigInt(value), true); at += 8; };
  const f32 = (value: number): void => { view.setFloat32(at, value, true); at += 4; };
  const text = (value: string, bytes: number): void => { file.set(new TextEncoder().encode(value).subarray(0, bytes - 1), at); at += bytes; };
  const place = (data: Uint8Array): void => { u64(dataAt); file.set(data, dataAt); dataAt += align(data.length); };

  file.set(new TextEncoder().encode('WEFTREC1'));
  at = 8;
  text(isa, 16);
  [words.length, buffers.length, bindings.length, chunks.length, expected.length].forEach(u32);
  at = HEADER_BYTES;
  words.forEach(u32);
  at = HEADER_BYTES + align(words.byteLength);
  for (const { id, bytes, label } of buffers) { u32(id); u32(0); u64(bytes); text(label, 48); }
  for (const [binding, buffer] of bindings) { u32(binding); u32(buffer); }
  for (const { buffer, offset, bytes, data } of chunks) { u32(buffer); u32(0); u64(offset); u64(bytes); place(data); }
  for (const { buffer, format, offset, bytes, data, tolerance } of expected) {
    u32(buffer); u32(format); u64(offset); u64(bytes); place(data); f32(tolerance.absolute); f32(tolerance.relative);
  }
  return file;
}
