/** What an op must move and compute: the floor that a measured time is held against. */
import type { CommandList } from './command-list.js';
import { LOGIT_TILE } from './frame.js';
import { DType, INT8_GROUP, OPS } from './ops.js';
import type { Op } from './op.js';

/** What a step's ops depend on, beside their recorded shapes. */
export interface StepFacts {
  rows: number;
  logits: number;
  /** Σ over groups of the adapter's rank at this site would be exact; the adapter's largest rank bounds it. */
  distinctRanks: number;
  /** Σ over rows of their adapters' ranks. */
  rowRanks: number;
  /** Σ over rows of the positions that they attend to. */
  attended: number;
  /** Σ over sequences of their positions: KV that must be read at least once. */
  context: number;
}

export interface OpCost { name: string; bytes: number; flops: number }

const WEIGHT_BYTES: Record<number, number> = { [DType.f32]: 4, [DType.bf16]: 2, [DType.f16]: 2, [DType.int8]: 1 + 2 / INT8_GROUP, [DType.bf12]: 1.5 };
const byCode = new Map<number, Op>(Object.values(OPS).map(op => [op.code, op as Op]));

type Params = Record<string, number>;
const F32 = 4, I16 = 2;
/** Of a value in a page, its share of a scale included. */
const kvBytes = (p: Params): number => (p['kvType'] === DType.int8 ? 1 + 2 / p['dim']! : 2);

/** The head works on logit rows, in tiles. */
const linearRows = (p: Params, f: StepFacts): number =>
  (p['countFrom']! > 0 || p['rows']! <= LOGIT_TILE ? Math.min(Math.max(f.logits - p['countFrom']!, 0), p['rows']!) : f.rows);

function linearCost(p: Params, f: StepFacts, inputBytes: number): { bytes: number; flops: number } {
  const rows = linearRows(p, f), n = p['n']!, k = p['k']!;
  return { bytes: (rows > 0 ? n * k * WEIGHT_BYTES[p['dtype']!]! : 0) + rows * (n * F32 + k * inputBytes), flops: 2 * rows * n * k };
}

/** Rows × experts that each goes to; the capacity is in params. */
const pairsOf = (p: Params, f: StepFacts): number => Math.min(p['pairs']!, f.rows * (p['topK'] ?? 1));
/** Of the base, where rows spread evenly over its experts. */
const distinctExperts = (p: Params, f: StepFacts): number => p['experts']! * (1 - (1 - Math.min(p['topK']! / p['experts']!, 1)) ** f.rows);

/** Bytes and flops by op. Weights and KV are read once a step, activations once per row. Ops that only move few rows count those. */
const COSTS: Partial<Record<keyof typeof OPS, (p: Params, f: StepFacts) => { bytes: number; flops: number }>> = {
  embed: (p, f) => ({ bytes: f.rows * p['dim']! * (WEIGHT_BYTES[p['dtype']!]! + F32), flops: 0 }),
  rmsNorm: (p, f) => ({ bytes: f.rows * p['dim']! * F32 * 4, flops: f.rows * p['dim']! * 4 }),
  headNorm: (p, f) => ({ bytes: f.rows * p['width']! * F32 * 2, flops: f.rows * p['width']! * 4 }),
  linear: (p, f) => linearCost(p, f, F32),
  quantizeRows: (p, f) => ({ bytes: linearRows(p, f) * p['k']! * (F32 + I16), flops: linearRows(p, f) * p['k']! * 3 }),
  linearInt8: (p, f) => linearCost(p, f, I16),
  rope: (p, f) => ({ bytes: f.rows * p['heads']! * p['rotary']! * F32 * 2, flops: f.rows * p['heads']! * p['rotary']! * 3 }),
  kvWrite: (p, f) => ({ bytes: f.rows * p['kvHeads']! * p['dim']! * 2 * (F32 + kvBytes(p)), flops: 0 }),
  ropeKv: (p, f) => ({
    bytes: f.rows * p['dim']! * ((p['heads']! + p['kvHeads']!) * F32 * 2 + p['kvHeads']! * (F32 + 2 * kvBytes(p))),
    flops: f.rows * (p['heads']! + p['kvHeads']!) * p['rotary']! * 3,
  }),
  attention: (p, f) => ({
    bytes: f.context * p['kvHeads']! * p['dim']! * 2 * kvBytes(p) + f.rows * p['heads']! * p['dim']! * F32 * 2,
    flops: 4 * f.attended * p['heads']! * p['dim']!,
  }),
  latentKv: (p, f) => ({
    bytes: f.rows * (p['dim']! * (F32 + 2) + p['heads']! * p['rope']! * F32 * 2), flops: f.rows * (p['dim']! * 4 + p['heads']! * p['rope']! * 3),
  }),
  headLinear: (p, f) => ({
    bytes: p['outs']! * p['k']! * WEIGHT_BYTES[p['dtype']!]! + f.rows * p['heads']! * (p['n']! + p['k']!) * F32, flops: 2 * f.rows * p['outs']! * p['k']!,
  }),
  latentAttention: (p, f) => ({
    bytes: f.context * (p['latent']! + p['rope']!) * 2 + f.rows * (p['width']! + p['outWidth']!) * F32,
    flops: 2 * f.attended * p['heads']! * (2 * p['latent']! + p['rope']!),
  }),
  latentLora: (p, f) => ({
    bytes: f.distinctRanks * (p['latent']! + p['heads']! * p['outs']!) * 2, flops: 2 * f.rowRanks * p['heads']! * (p['latent']! + p['outs']!),
  }),
  gatedAct: (p, f) => ({ bytes: f.rows * p['dim']! * F32 * 3, flops: f.rows * p['dim']! * 12 }),
  softcap: (p, f) => ({ bytes: linearRows(p, f) * p['dim']! * F32 * 2, flops: linearRows(p, f) * p['dim']! * 12 }),
  routeExperts: (p, f) => ({ bytes: f.rows * (p['experts']! + 2 * p['topK']!) * F32, flops: f.rows * p['experts']! * (12 + p['topK']!) }),
  groupExperts: (p, f) => ({ bytes: pairsOf(p, f) * 4 * F32, flops: 0 }),
  expertLinear(p, f) {
    const n = p['n']!, k = p['k']!, pairs = pairsOf(p, f);
    return { bytes: distinctExperts(p, f) * n * k * WEIGHT_BYTES[p['dtype']!]! + pairs * (n + k) * F32, flops: 2 * pairs * n * k };
  },
  combineExperts: (p, f) => ({ bytes: f.rows * p['dim']! * (p['topK']! + 1) * F32, flops: 2 * f.rows * p['dim']! * p['topK']! }),
  expertShrink: (p, f) => ({ bytes: f.distinctRanks * p['topK']! * p['parts']! * p['dIn']! * 2, flops: 2 * f.rowRanks * p['topK']! * p['parts']! * p['dIn']! }),
  expertExpand(p, f) {
    const outs = p['dOut0']! + p['dOut1']! + p['dOut2']!;
    return { bytes: f.distinctRanks * p['topK']! * outs * 2, flops: 2 * f.rowRanks * p['topK']! * outs };
  },
  loraShrink: (p, f) => ({ bytes: f.distinctRanks * p['parts']! * p['dIn']! * 2, flops: 2 * f.rowRanks * p['parts']! * p['dIn']! }),
  loraExpand(p, f) {
    const outs = p['dOut0']! + p['dOut1']! + p['dOut2']!;
    return { bytes: f.distinctRanks * outs * 2, flops: 2 * f.rowRanks * outs };
  },
  sample: (p, f) => {
    const rows = Math.min(Math.max(f.logits - p['firstRow']!, 0), p['tileRows']!);
    return { bytes: rows * p['vocab']! * F32, flops: rows * p['vocab']! * 10 };
  },
};

/** The cost of each op of a list in its order. */
export function costsOf(list: CommandList, facts: StepFacts): OpCost[] {
  const words = list.words, floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  const costs: OpCost[] = [];
  for (let at = 0; at < words.length; at += words[at + 1]!) {
    const op = byCode.get(words[at]!)!;
    const params: Params = {};
    let word = at + 2 + 2 * Object.keys(op.operands).length;
    for (const [name, { kind }] of Object.entries(op.params)) { params[name] = kind === 'f32' ? floats[word]! : words[word]!; word++; }
    costs.push({ name: op.name, ...(COSTS[op.name as keyof typeof OPS]?.(params, facts) ?? { bytes: 0, flops: 0 }) });
  }
  return costs;
}
