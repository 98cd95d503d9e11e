/** Routing and linear maps of experts, in float64; experts in pages. */
import { DType, SPAN_WORDS, W_DEPTH, W_OUTS, W_UNIT_BYTES, wUnits } from '@weft/kernels';
import { packPanels } from './linear.js';
import { halfCodec, type Random } from './numbers.js';

export interface Routing { experts: number; topK: number; nGroups: number; topGroups: number; normalize: number; scale: number }

/** Experts and weights of one row; `margin`: how far the last chosen probability lies above the first that was not. */
export function routeReference(r: Routing, logits: ArrayLike<number>): { experts: number[]; weights: number[]; margin: number } {
  const most = Math.max(...Array.from(logits)), powers = Array.from(logits, x => Math.exp(x - most)), sum = powers.reduce((a, b) => a + b, 0);
  const p = powers.map(power => power / sum), size = r.experts / r.nGroups;
  const groups = Array.from({ length: r.nGroups }, (_, g) => Math.max(...p.slice(g * size, (g + 1) * size)));
  const largest = (values: number[], ids: number[]): number[] => ids.toSorted((a, b) => values[b]! - values[a]! || a - b);
  const kept = new Set(largest(groups, groups.map((_, g) => g)).slice(0, r.topGroups));
  const order = largest(p, p.map((_, e) => e).filter(e => kept.has(Math.floor(e / size))));
  const chosen = order.slice(0, r.topK), total = chosen.reduce((a, e) => a + p[e]!, 0);
  const next = order[r.topK], rival = groups.filter((_, g) => !kept.has(g));
  const margins = [...(next === undefined ? [] : [p[chosen.at(-1)!]! - p[next]!]), ...(rival.length ? [Math.min(...[...kept].map(g => groups[g]!)) - Math.max(...rival)] : [])];
  return { experts: chosen, weights: chosen.map(e => p[e]! / (r.normalize ? total : 1) * r.scale), margin: Math.min(Infinity, ...margins) };
}

/** Spans, order and inverse of keys. */
export function groupReference(keys: readonly number[], maxSpans: number): { order: number[]; inverse: number[]; spans: Int32Array } {
  const order = keys.map((_, i) => i).toSorted((a, b) => keys[a]! - keys[b]! || a - b), inverse = keys.map(() => 0);
  order.forEach((pair, place) => { inverse[pair] = place; });
  const spans = new Int32Array(maxSpans * SPAN_WORDS);
  [...new Set(order.map(pair => keys[pair]!))].forEach((key, s) => {
    spans.set([key, order.findIndex(pair => keys[pair] === key), keys.filter(other => other === key).length, 0], s * SPAN_WORDS);
  });
  return { order, inverse, spans };
}

/** Matrices [n, k] one after another, each padded to whole panels. */
export function packExperts(random: Random, count: number, n: number, k: number, dtype: DType): { bytes: Uint8Array; values: Float64Array[] } {
  const packed = Array.from({ length: count }, () => packPanels(random.normals(n * k), n, k, dtype));
  return { bytes: Uint8Array.from(packed.flatMap(({ bytes }) => [...bytes])), values: packed.map(({ values }) => values) };
}

/** Experts of expert slots: matrices in W units from `firstUnit` on, in pages of any order. What they don't hold is 0xff: NaN. */
export interface PagedExperts { types: Int32Array; pages: Int32Array; arena: Uint8Array; nPages: number; pageBytes: number; slotPages: number; values: Float64Array[] }

export function pageExperts(random: Random, slots: number, n: number, k: number, firstUnit: number, pageBytes: number, given?: readonly { values: Float64Array; dtype: DType }[]): PagedExperts {
  const perPage = pageBytes / W_UNIT_BYTES, slotPages = Math.ceil((firstUnit + wUnits(n, k)) / perPage), nPages = slots * slotPages + 2;
  const pages = Int32Array.from(random.shuffled(Array.from({ length: nPages }, (_, i) => i)).slice(0, slots * slotPages));
  const arena = new Uint8Array(nPages * pageBytes).fill(0xff), halves = new Uint16Array(arena.buffer);
  const types = new Int32Array(slots), depths = Math.ceil(k / W_DEPTH), values: Float64Array[] = [];
  for (let slot = 0; slot < slots; slot++) {
    const dtype = given?.[slot]?.dtype ?? random.pick([DType.bf16, DType.f16]), { encode, decode } = halfCodec(dtype);
    const matrix = given?.[slot]?.values ?? Float64Array.from({ length: n * k }, () => decode(encode(random.normal())));
    types[slot] = dtype;
    values.push(matrix);
    for (let unit = 0; unit < wUnits(n, k); unit++) {
      const at = firstUnit + unit, page = pages[slot * slotPages + Math.floor(at / perPage)]!, base = (page * pageBytes + (at % perPage) * W_UNIT_BYTES) / 2;
      for (let o = 0; o < W_OUTS; o++) {
        for (let i = 0; i < W_DEPTH; i++) {
          const out = Math.floor(unit / depths) * W_OUTS + o, column = (unit % depths) * W_DEPTH + i;
          const place = dtype === DType.bf16 ? (Math.floor(i / 2) * W_OUTS + o) * 2 + i % 2 : i * W_OUTS + o;
          halves[base + place] = out < n && column < k ? encode(matrix[out * k + column]!) : 0;
        }
      }
    }
  }
  return { types, pages, arena, nPages, pageBytes, slotPages, values };
}

/** W x of one row. */
export const expertReference = (w: Float64Array, x: ArrayLike<number>, n: number, k: number): Float64Array =>
  Float64Array.from({ length: n }, (_, o) => { let sum = 0; for (let i = 0; i < k; i++) sum += w[o * k + i]! * x[i]!; return sum; });
