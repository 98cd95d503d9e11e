/** One pass over an adapter's values: are they finite, do they do anything, and which 16-bit format holds them best. */
import { decode } from './float.js';
import type { ClaimedRows } from './lora-ends.js';
import type { LoraPair } from './lora-tensors.js';
import type { Findings } from './refused.js';
import { firstNotFinite, RoundingLoss } from './rounding.js';
import { Room, tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, type EndRows, type FloatDtype, type LoraModule, type StoredDtype, type TensorRef } from './types.js';

/** A sum that is smaller than this share of its terms is what rounding left of zero. */
const ROUNDING = 1e-12;

/**
 * Reads every value once. A module whose B·(A·x) is zero for one random x has B·A = 0 (almost surely): a warning, unless all
 * modules are like that and nothing else was trained (`trains`). Memory is one chunk, whatever the adapter's size.
 */
export async function scanValues(pairs: readonly LoraPair[], trains: boolean, findings: Findings): Promise<LoraModule[]> {
  const modules: LoraModule[] = [];
  const rooms: Rooms = { chunk: new Room(), values: new Room() };
  const idle: string[] = [];
  for (const pair of pairs) {
    const { layer, site, path, rank, scale, a, b, magnitude, bBias, bias } = pair;
    if (site.experts) {
      await scanExperts(pair, site.experts, findings, rooms, idle, modules);
      continue;
    }
    const hidden = new Float64Array(rank);
    const x = probe(site.dIn);
    const scanA = await scan(a, site.dIn, findings, rooms, (row, values) => { hidden[row] = dot(values, x); });
    const ofOutputs = [magnitude, bBias, bias].filter(tensor => tensor !== null);
    let acts = ofOutputs.length > 0;      // as far as can be said without the base's weights
    for (const tensor of ofOutputs) await scan(tensor, 1, findings, rooms, () => undefined);
    const scanB = await scan(b, rank, findings, rooms, (_, values) => { acts ||= isNonZero(values, hidden); });
    if (!scanA || !scanB) continue;
    if (!acts || (scale === 0 && ofOutputs.length === 0)) idle.push(path);
    modules.push({ layer, site: site.index, rank, scale, a, b, aStored: scanA, bStored: scanB, magnitude, bBias, bias });
  }
  if (findings.errors.length > 0) return modules;
  if (idle.length === pairs.length && !trains) {
    findings.refuse('adapter_without_effect', `B·A is zero in all ${idle.length} modules: the base would answer in the adapter's name. Were the weights saved before training?`);
  } else {
    for (const path of idle) findings.warn('adapter_module_without_effect', `${path}: B·A is zero; the adapter does nothing here`, { tensor: `base_model.model.${path}.lora_B.weight` });
  }
  return modules;
}

/** The same of a module on experts: one that acts on any of them acts. */
async function scanExperts({ layer, site, path, rank, scale, a, b, each }: LoraPair, experts: number, findings: Findings, rooms: Rooms, idle: string[], modules: LoraModule[]): Promise<void> {
  const x = probe(site.dIn), stacked = !each, formats: { a: StoredDtype[]; b: StoredDtype[] } = { a: [], b: [] };
  let acts = false;
  for (const half of each ?? [{ a, b }]) {
    const ranks = stacked ? rank * experts : rank, hidden = new Float64Array(ranks);
    // Columns of a stacked B have experts fastest, rows of its A ranks.
    const at = (row: number): number => (stacked ? (row % rank) * experts + Math.floor(row / rank) : row);
    const ofA = await scan(half.a, site.dIn, findings, rooms, (row, values) => { hidden[at(row)] = dot(values, x); });
    const ofB = await scan(half.b, ranks, findings, rooms, (_, values) => { acts ||= isNonZero(values, hidden); });
    if (!ofA || !ofB) return;
    formats.a.push(ofA);
    formats.b.push(ofB);
  }
  if (!acts || scale === 0) idle.push(path);
  const one = (all: readonly StoredDtype[]): StoredDtype => (all.every(format => format === 'f16') ? 'f16' : 'bf16');
  modules.push({ layer, site: site.index, rank, scale, a, b, aStored: one(formats.a), bStored: one(formats.b), magnitude: null, bBias: null, bias: null, ...(each ? { each } : {}) });
}

/** Reads every value of rows of the ends once. All rows of an end are stored in one format. */
export async function scanRows(rows: readonly ClaimedRows[], findings: Findings): Promise<EndRows[]> {
  const formats = new Map<string, StoredDtype | null>(), rooms: Rooms = { chunk: new Room(), values: new Room() };
  for (const end of ['embed', 'head']) {
    const tensors = rows.filter(row => row.end === end).map(row => row.tensor);
    const dtypes = new Set(tensors.map(({ dtype }) => dtype)), loss = dtypes.size === 1 && !dtypes.has('F32') ? null : new RoundingLoss();
    for (const tensor of tensors) await scan(tensor, tensor.shape[1]!, findings, rooms, () => undefined, loss);
    formats.set(end, loss ? loss.best() : dtypes.has('F16') ? 'f16' : 'bf16');
  }
  return rows.map(row => {
    const stored = formats.get(row.end);
    if (!stored) refuseRange(row.tensor, findings);
    return { ...row, stored: stored ?? 'bf16' };
  });
}

type RowReader = (row: number, values: Float32Array) => void;
interface Rooms { chunk: Room; values: Room }

/** Gives every row to `read`. Returns the format to store the tensor in, null after a finding. */
async function scan(
  tensor: TensorRef<FloatDtype>, columns: number, findings: Findings, rooms: Rooms, read: RowReader, rounding = tensor.dtype === 'F32' ? new RoundingLoss() : null,
): Promise<StoredDtype | null> {
  const rowBytes = columns * DTYPE_BYTES[tensor.dtype];
  let row = 0;
  for await (const chunk of tensorChunks(tensor, rowBytes, rooms.chunk)) {
    const count = chunk.byteLength / DTYPE_BYTES[tensor.dtype], values = new Float32Array(rooms.values.bytes(count * 4).buffer, 0, count);
    decode(chunk, tensor.dtype, values);
    const odd = firstNotFinite(values, count);
    if (odd >= 0) {
      findings.refuse('adapter_tensor_not_finite', `${tensor.name} holds ${values[odd]} at [${row + Math.floor(odd / columns)}, ${odd % columns}]`, { tensor: tensor.name });
      return null;
    }
    rounding?.add(values.subarray(0, count));
    for (let at = 0; at < count; at += columns) read(row++, values.subarray(at, at + columns));
  }
  if (!rounding) return tensor.dtype === 'F16' ? 'f16' : 'bf16';
  const stored = rounding.best();
  if (!stored) refuseRange(tensor, findings);
  return stored;
}

function refuseRange(tensor: TensorRef, findings: Findings): void {
  findings.refuse('adapter_value_out_of_range', `${tensor.name} holds values beyond ±3.39e38, which neither f16 nor bf16 can`, { tensor: tensor.name });
}

function dot(values: Float32Array, x: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * x[i]!;
  return sum;
}

function isNonZero(row: Float32Array, hidden: Float64Array): boolean {
  let sum = 0;
  let size = 0;
  for (let j = 0; j < row.length; j++) {
    const term = row[j]! * hidden[j]!;
    sum += term;
    size += Math.abs(term);
  }
  return Math.abs(sum) > ROUNDING * size;
}

const probes = new Map<number, Float64Array>();

/** The same pseudo-random vector for a width every time (xorshift32), values in ±1. */
function probe(width: number): Float64Array {
  let x = probes.get(width);
  if (!x) {
    let state = 0x9e3779b9;
    x = Float64Array.from({ length: width }, () => {
      state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
      return (state | 0) / 2 ** 31;
    });
    probes.set(width, x);
  }
  return x;
}
