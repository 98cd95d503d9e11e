/** One pass over an expert's values: are they finite, and which 16-bit format holds them best. */
import type { ClaimedExpert } from './esft-tensors.js';
import { decode } from './float.js';
import type { Findings } from './refused.js';
import { firstNotFinite, RoundingLoss } from './rounding.js';
import { Room, tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, PROJECTIONS, type EsftExpert, type FloatDtype, type StoredDtype, type TensorRef } from './types.js';

interface Rooms { chunk: Room; values: Room }

/** Reads every value once; memory is one chunk. Experts with findings are left out. */
export async function scanExperts(experts: readonly ClaimedExpert[], findings: Findings): Promise<EsftExpert[]> {
  const scanned: EsftExpert[] = [], rooms: Rooms = { chunk: new Room(), values: new Room() };
  for (const expert of experts) {
    const stored = await scanExpert(expert, findings, rooms);
    if (stored) scanned.push({ ...expert, stored });
  }
  return scanned;
}

/** The format of all three matrices; null after a finding. */
async function scanExpert(expert: ClaimedExpert, findings: Findings, rooms: Rooms): Promise<StoredDtype | null> {
  const tensors = PROJECTIONS.map(projection => expert[projection]), dtypes = new Set(tensors.map(({ dtype }) => dtype));
  const where = `layer ${expert.layer}, expert ${expert.expert}`;
  // 16-bit values of one format pass through as they are.
  const plain = dtypes.size === 1 && !dtypes.has('F32') ? (dtypes.has('F16') ? 'f16' : 'bf16') : null;
  const rounding = new RoundingLoss();
  for (const tensor of tensors) {
    if (!(plain ? await scanHalves(tensor, where, findings, rooms) : await scanValues(tensor, where, rounding, findings, rooms))) return null;
  }
  const stored = plain ?? rounding.best();
  if (!stored) findings.refuse('adapter_value_out_of_range', `${where}: it holds values beyond ±3.39e38, which neither f16 nor bf16 can`, { tensor: expert.gate.name });
  return stored;
}

/** An exponent of all ones carries out of its field when one is added to it: two halves at a time. */
const EXPONENTS = { BF16: { mask: 0x7f807f80, one: 0x00800080 }, F16: { mask: 0x7c007c00, one: 0x04000400 } } as const;
const CARRIES = 0x80008000;

async function scanHalves(tensor: TensorRef<FloatDtype>, where: string, findings: Findings, rooms: Rooms): Promise<boolean> {
  const { mask, one } = EXPONENTS[tensor.dtype as 'BF16' | 'F16'];
  let at = 0;
  for await (const chunk of tensorChunks(tensor, undefined, rooms.chunk)) {
    const words = new Uint32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength >> 2);
    let carries = 0;
    for (let i = 0; i < words.length; i++) carries |= (words[i]! & mask) + one;
    const odd = chunk.byteLength % 4 !== 0;           // a tensor of an odd number of values: its last is looked at with the others below
    if (odd || (carries & CARRIES) !== 0) {
      const values = floats(rooms.values, chunk.byteLength / 2), count = decode(chunk, tensor.dtype, values);
      if (!checkFinite(values, count, at, tensor, where, findings)) return false;
    }
    at += chunk.byteLength / 2;
  }
  return true;
}

async function scanValues(tensor: TensorRef<FloatDtype>, where: string, rounding: RoundingLoss, findings: Findings, rooms: Rooms): Promise<boolean> {
  let at = 0;
  for await (const chunk of tensorChunks(tensor, undefined, rooms.chunk)) {
    const values = floats(rooms.values, chunk.byteLength / DTYPE_BYTES[tensor.dtype]), count = decode(chunk, tensor.dtype, values);
    if (!checkFinite(values, count, at, tensor, where, findings)) return false;
    rounding.add(values.subarray(0, count));
    at += count;
  }
  return true;
}

const floats = (room: Room, count: number): Float32Array => new Float32Array(room.bytes(count * 4).buffer, 0, count);

function checkFinite(values: Float32Array, count: number, at: number, { name, shape }: TensorRef, where: string, findings: Findings): boolean {
  const odd = firstNotFinite(values, count), columns = shape[1]!;
  if (odd < 0) return true;
  findings.refuse('adapter_tensor_not_finite', `${where}: ${name} holds ${values[odd]} at [${Math.floor((at + odd) / columns)}, ${(at + odd) % columns}]`, { tensor: name });
  return false;
}
