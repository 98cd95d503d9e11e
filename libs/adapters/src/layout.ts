/**
 * Where the units of an adapter lie in its pages: a pure function of its modules, the site table and the page size.
 * See docs/architecture.md, «Adapter view».
 */
import { WeftError } from '@weft/contracts';
import { End, ID_BYTES, OUTS_BYTES } from '@weft/kernels';
import { sameRows, type ReplacedRows } from './end-rows.js';
import { changesOutputs } from './lora-outputs.js';
import { endPlaces, modulePath, type BaseGeometry, type ImageIndex, type ImageRun, type LoraManifest, type LoraModule, type PageGeometry, type Site } from './types.js';

/** Changes whenever the same adapter would be packed differently; images of other versions are made again. */
export const LAYOUT_VERSION = 5;
/** Outputs of a B unit, and what a row of A is padded to: 64 values, 128 bytes. */
export const TILE = 64;
export const UNIT_ALIGN = 128;

/** Sites in the order in which a layer runs them; those in one row share an input: all A before all B. */
const EXECUTION: readonly (readonly Site['name'][])[] = [['q', 'k', 'v', 'qkv', 'qA', 'kvA'], ['qB'], ['kvB'], ['o'], ['gate', 'up', 'gateUp'], ['down'],
  ['router', 'sharedSwitch'], ['renamedRouter'], ['expertGate', 'expertUp', 'expertGateUp'], ['expertDown'], ['sharedGate', 'sharedUp'], ['sharedDown']];

/** One half of a module: the run that holds it. */
export interface RunSource { module: LoraModule; site: Site; half: 0 | 1 }

/** What a run holds: half of a module, or rows of an end, which those of another end may be too (`shares`: the place of their run). */
export type Source = RunSource | { rows: ReplacedRows; shares: number | null };

/** All runs in the order in which a step reads them: of the embedding, of the layers, of the head. */
export function sourcesOf(manifest: LoraManifest, rows: readonly ReplacedRows[], base: BaseGeometry): Source[] {
  const [embed, head] = endPlaces(base).map(({ layer, site }) => {
    const module = manifest.modules.find(candidate => candidate.layer === layer && candidate.site === site.index);
    const own = rows.find(({ end }) => end === site.name);
    return { own, halves: module ? ([0, 1] as const).map(half => ({ module, site, half })) : [] };
  });
  const sources: Source[] = [...(embed!.own ? [{ rows: embed!.own, shares: null }] : []), ...embed!.halves, ...executionOrder(manifest.modules, base)];
  if (head!.own) sources.push({ rows: head!.own, shares: embed!.own && sameRows(embed!.own, head!.own) ? 0 : null });
  return [...sources, ...head!.halves];
}

/** Halves in the order of their runs: per layer A_q A_k A_v B_q B_k B_v · A_o B_o · A_gate A_up B_gate B_up · A_down B_down. */
export function executionOrder(modules: readonly LoraModule[], base: BaseGeometry): RunSource[] {
  const places = new Map(modules.map(module => [`${module.layer}.${module.site}`, module]));
  const order: RunSource[] = [];
  for (let layer = 0; layer < base.layers; layer++) {
    for (const names of EXECUTION) {
      for (const half of [0, 1] as const) {
        for (const site of names.flatMap(name => base.sites.filter(candidate => candidate.name === name))) {
          const module = places.get(`${layer}.${site.index}`);
          if (module) order.push({ module, site, half });
        }
      }
    }
  }
  return order;
}

/** Values of one A unit: a rank row, padded. */
export const aUnitValues = (dIn: number): number => Math.ceil(dIn / TILE) * TILE;

type Shape = Omit<ImageRun, 'segs'>;

/** What a run looks like, wherever it lies. */
function shapeOf(source: Source, base: BaseGeometry): Shape {
  if ('rows' in source) {
    const { rows: { end, stored, tokens, count } } = source, { hidden, embedScale } = base.ends, tail = tokens ? ID_BYTES : 0;
    return {
      layer: base.layers, site: end === 'embed' ? End.embedRows : End.headRows, half: 0, dtype: stored, rank: 1,
      scale: end === 'embed' ? Math.fround(embedScale) : 1, unitBytes: aUnitValues(hidden) * 2 + tail, units: count, tail,
    };
  }
  const { module, site, half } = source, { layer, rank, scale } = module, isEmbedding = site.name === 'embed';
  const tail = half === 1 && changesOutputs(module) ? OUTS_BYTES : 0;
  return {
    layer, site: site.index, half, dtype: half === 0 ? module.aStored : module.bStored, rank,
    scale: isEmbedding ? Math.fround(scale * base.ends.embedScale) : scale,
    unitBytes: half === 0 && !isEmbedding ? aUnitValues(site.dIn) * 2 : TILE * 2 * rank + tail,
    units: (site.experts ?? 1) * (half === 0 ? (isEmbedding ? Math.ceil(site.dIn / TILE) : rank) : Math.ceil(site.dOut / TILE)), tail,
    ...(site.experts ? { experts: site.experts } : {}),
  };
}

/** Lays runs out one after another. The only holes: a page's tail shorter than the next unit, and the last page. */
export function layOut(manifest: LoraManifest, rows: readonly ReplacedRows[], base: BaseGeometry, { pageBytes, partition }: PageGeometry): Omit<ImageIndex, 'crc32c'> {
  if (partition.size !== 1) throw new WeftError('option_invalid', `adapters are packed for one device; a partition of ${partition.size} was asked for`, { field: 'partition' });
  if (pageBytes % UNIT_ALIGN !== 0) throw new WeftError('option_invalid', `pages of ${pageBytes} bytes can't hold units of ${UNIT_ALIGN}`, { field: 'pageBytes' });
  const runs: ImageRun[] = [];
  let page = 0;
  let offset = 0;
  let payloadBytes = 0;
  for (const source of sourcesOf(manifest, rows, base)) {
    const shape = shapeOf(source, base), { unitBytes, units } = shape;
    if ('rows' in source && source.shares !== null) {
      runs.push({ ...shape, segs: runs[source.shares]!.segs });
      continue;
    }
    if (unitBytes > pageBytes) {
      const [path, rank] = 'rows' in source ? [base.ends[source.rows.end], ''] : [modulePath(base, shape.layer, source.site), ` (rank ${shape.rank})`];
      throw new WeftError('adapter_too_large', `${path}: a unit of ${unitBytes} bytes${rank} does not fit into a page of ${pageBytes}`, { field: 'r', limit: pageBytes });
    }
    const segs: ImageRun['segs'] = [];
    for (let firstUnit = 0; firstUnit < units;) {
      const fitting = Math.min(units - firstUnit, Math.floor((pageBytes - offset) / unitBytes));
      if (fitting === 0) { page++; offset = 0; continue; }
      segs.push({ page, offset, firstUnit, units: fitting });
      firstUnit += fitting;
      offset += fitting * unitBytes;
    }
    payloadBytes += units * unitBytes;
    runs.push({ ...shape, segs });
  }
  return {
    layout: LAYOUT_VERSION, digest: manifest.digest, baseDigest: base.digest, kind: manifest.kind, pageBytes, partition,
    pages: page + 1, maxRank: manifest.rank, scalesBase: manifest.modules.some(module => module.magnitude), replacesEnds: rows.length > 0, vocab: manifest.vocab,
    actsOnHead: runs.some(({ layer, site }) => layer === base.layers && (site === End.head || site === End.headRows)), runs, experts: [], payloadBytes,
  };
}
