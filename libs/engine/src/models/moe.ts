/**
 * Mixture of experts: router → routeExperts → rows of an expert together → gate|up → act → down → weighed sum; beside them, where there
 * is one, the MLP that every row goes to. What an adapter's experts replace is told by the tables of the step's context.
 */
import { EXPERT_RANK_MAX, type Site } from '@weft/adapters';
import {
  DType, Header, SPAN_WORDS, W_OUTS, at, combineExperts, expertExpand, expertLinear, expertShrink, expertUnits, groupExperts, mapAt, routeExperts, type DeviceBuffer,
} from '@weft/kernels';
import { slices, type ExpertsPlan, type LayerPlanner, type MatrixPlan, type PackedExperts, type PackedMatrix } from './plan.js';
import { F32_BYTES, ref, type Recorder, type Rows } from './recorder.js';
import type { Block, BlockWidths, ModelConfig, MoeConfig, SiteShape } from './types.js';

export interface MoeWeights<M = PackedMatrix, E = PackedExperts> {
  kind: 'moe';
  /** Experts' rows, then that of the shared MLP's gate. */
  router: M;
  /** [gate | up] rows × hidden of each expert. */
  gateUp: E;
  down: E;
  shared: { gateUp: M; down: M } | null;
}

/** Router and experts as transformers writes them: a module for each expert, or all of them in one tensor. */
export function planMoe({ hidden }: ModelConfig, moe: MoeConfig, planner: LayerPlanner): MoeWeights<MatrixPlan, ExpertsPlan> {
  const { experts, shared } = moe;
  const module = moe.modules.find(name => planner.has(`${name}.gate.weight`)) ?? moe.modules[0]!;
  const router: [string, number][] = [[`${module}.gate`, experts], ...(shared?.gated ? [[`${shared.module}_gate`, 1] as [string, number]] : [])];
  return {
    kind: 'moe',
    router: { ...planner.matrix('router', router, hidden), exact: true },
    gateUp: { form: 'experts', label: `${planner.label} experts gate|up`, experts: planGateUp(module, moe, hidden, planner) },
    down: { form: 'experts', label: `${planner.label} experts down`, experts: planDown(module, moe, hidden, planner) },
    shared: shared && {
      gateUp: planner.matrix('shared gate|up', [[`${shared.module}.gate_proj`, shared.inner], [`${shared.module}.up_proj`, shared.inner]], hidden),
      down: planner.matrix('shared down', [[`${shared.module}.down_proj`, hidden]], shared.inner),
    },
  };
}

function planGateUp(module: string, { experts, inner, names }: MoeConfig, hidden: number, planner: LayerPlanner): ExpertsPlan['experts'] {
  const fused = `${module}.experts.gate_up_proj`;
  if (planner.has(fused)) return slices(planner.tensor(fused, [experts, 2 * inner, hidden])).map(tensor => [tensor]);
  return Array.from({ length: experts }, (_, e) => [names.gate, names.up].map(name => planner.tensor(`${module}.experts.${e}.${name}.weight`, [inner, hidden])));
}

function planDown(module: string, { experts, inner, names }: MoeConfig, hidden: number, planner: LayerPlanner): ExpertsPlan['experts'] {
  const fused = `${module}.experts.down_proj`;
  if (planner.has(fused)) return slices(planner.tensor(fused, [experts, hidden, inner])).map(tensor => [tensor]);
  return Array.from({ length: experts }, (_, e) => [planner.tensor(`${module}.experts.${e}.${names.down}.weight`, [hidden, inner])]);
}

/** Of the MLP that every row goes to. */
export function sharedSites({ hidden }: ModelConfig, { shared, layers }: MoeConfig): SiteShape[] {
  if (!shared) return [];
  const { module, inner } = shared;
  return [
    { name: 'sharedGate', module: `${module}.gate_proj`, dIn: hidden, dOut: inner, layers }, { name: 'sharedUp', module: `${module}.up_proj`, dIn: hidden, dOut: inner, layers },
    { name: 'sharedDown', module: `${module}.down_proj`, dIn: inner, dOut: hidden, layers },
  ];
}

/** Of what decides where rows go. Mixtral's router has another name since it is a parameter. */
export function routerSites({ hidden }: ModelConfig, { experts, shared, modules: [module, renamed], layers }: MoeConfig): SiteShape[] {
  const router = { dIn: hidden, dOut: experts, layers };
  return [
    { name: 'router', module: `${module}.gate`, ...router, ...(renamed === undefined ? { parameter: 'also' } as const : {}) },
    ...(shared?.gated ? [{ name: 'sharedSwitch', module: `${shared.module}_gate`, dIn: hidden, dOut: 1, layers } as const] : []),
    ...(renamed === undefined ? [] : [{ name: 'renamedRouter', module: `${renamed}.gate`, ...router, parameter: 'only' } as const]),
  ];
}

/** Of experts, each LoRA in the form in which it comes: gate and up apart, or as one. */
export function expertSites({ hidden }: ModelConfig, { experts, inner, modules: [module], names, layers }: MoeConfig): SiteShape[] {
  const site = (name: Site['name'], matrix: string, dIn: number, dOut: number): SiteShape => ({ name, module: `${module}.experts.${matrix}`, dIn, dOut, layers, experts });
  return [
    site('expertGate', names.gate, hidden, inner), site('expertUp', names.up, hidden, inner), site('expertGateUp', 'gate_up_proj', hidden, 2 * inner),
    site('expertDown', names.down, inner, hidden),
  ];
}

const PART_STRIDE = EXPERT_RANK_MAX;
const ROUTER: readonly Site['name'][] = ['router', 'sharedSwitch'], RENAMED_ROUTER: readonly Site['name'][] = ['renamedRouter'];
const EXPERT_GATE_UP: readonly Site['name'][] = ['expertGate', 'expertUp', 'expertGateUp'], EXPERT_DOWN: readonly Site['name'][] = ['expertDown'];
const SHARED_GATE_UP: readonly Site['name'][] = ['sharedGate', 'sharedUp'], SHARED_DOWN: readonly Site['name'][] = ['sharedDown'];

export class Moe implements Block<MoeWeights> {
  readonly #moe: MoeConfig;
  readonly #logits: Rows;
  readonly #keys: DeviceBuffer;
  readonly #weights: DeviceBuffer;
  /** Pairs (row, choice) by expert, and back. */
  readonly #order: DeviceBuffer;
  readonly #inverse: DeviceBuffer;
  readonly #spans: DeviceBuffer;
  readonly #wide: Rows;
  readonly #inner: Rows;
  readonly #out: Rows;
  /** A x of LoRA on experts, one row per choice of a row of a group. */
  readonly #shrunk: Rows;

  constructor(readonly recorder: Recorder) {
    const { model: { config, activations }, capacity } = recorder;
    this.#moe = config.moe!;
    const { experts, topK, inner, shared } = this.#moe, pairs = capacity.tokens * topK;
    const words = (count: number, label: string): DeviceBuffer => recorder.alloc(count * 4, label);
    this.#logits = recorder.rows(capacity.tokens, experts + (shared?.gated ? 1 : 0), 'router logits');
    this.#keys = words(pairs, 'experts of rows');
    this.#weights = words(pairs, 'weights of experts');
    this.#order = words(pairs, 'pairs by expert');
    this.#inverse = words(pairs, 'places of pairs');
    this.#spans = words(this.#maxSpans(pairs) * SPAN_WORDS, 'spans of experts');
    this.#wide = recorder.rows(pairs, 2 * inner, 'experts, gate|up');
    this.#inner = recorder.rows(pairs, inner, 'experts, activation', activations);
    this.#out = recorder.rows(pairs, config.hidden, 'experts, output');
    this.#shrunk = recorder.rows(capacity.groupRows * topK, 3 * PART_STRIDE, 'LoRA on experts');
  }

  static widths({ shared }: MoeWeights): BlockWidths { return { wide: shared?.gateUp.rows ?? 0, inner: shared?.down.cols ?? 0 }; }

  get #nKeys(): number { return this.#moe.experts + (this.recorder.context.experts?.tables.slots ?? 0); }
  #maxSpans(pairs: number): number { return Math.min(pairs, this.#nKeys); }

  record(weights: MoeWeights, layer: number): void {
    const { recorder } = this, { normed, wide, inner, output } = recorder, { hidden } = recorder.model.config;
    const pairs = recorder.capacity.tokens * this.#moe.topK;
    recorder.linear(weights.router, null, normed, this.#logits);
    recorder.lora(ROUTER, layer, normed, this.#logits);
    if (this.#moe.modules.length > 1) recorder.lora(RENAMED_ROUTER, layer, normed, this.#logits);
    this.#route(layer, pairs);
    this.#linear(weights.gateUp, normed, this.#wide, pairs, true);
    this.#lora(EXPERT_GATE_UP, layer, normed, this.#wide, pairs);
    recorder.gatedAct(this.#wide, this.#inner, this.#moe.inner, { count: Header.pairs, countFrom: 0, rows: pairs });
    this.#linear(weights.down, this.#inner, this.#out, pairs, false);
    this.#lora(EXPERT_DOWN, layer, this.#inner, this.#out, pairs);
    if (weights.shared) {
      recorder.linear(weights.shared.gateUp, null, normed, wide);
      recorder.lora(SHARED_GATE_UP, layer, normed, wide);
      recorder.gatedAct(wide, inner, weights.shared.down.cols);
      recorder.linear(weights.shared.down, null, inner, output);
      recorder.lora(SHARED_DOWN, layer, inner, output);
    }
    recorder.forward.add(combineExperts, {
      y: ref(this.#out), inverse: at(this.#inverse), weights: at(this.#weights), out: ref(output),
      gate: this.#moe.shared?.gated ? at(this.#logits.buffer, this.#moe.experts * F32_BYTES) : null,
      count: Header.tokens, rows: recorder.capacity.tokens, topK: this.#moe.topK, pairs, dim: hidden,
      ldy: this.#out.ld, ldg: this.#logits.ld, ldo: output.ld, accumulate: weights.shared ? 1 : 0,
    });
  }

  #route(layer: number, pairs: number): void {
    const { forward, capacity: { tokens }, context: { experts: adapters } } = this.recorder;
    const { layers, experts, topK, nGroups, topGroups, normalize, scale } = this.#moe;
    forward.add(routeExperts, {
      logits: ref(this.#logits), keys: at(this.#keys), weights: at(this.#weights),
      rowAdapters: adapters && this.recorder.frame('rowAdapters'), map: adapters && at(adapters.buffer, 4 * (adapters.tables.at.map + mapAt(adapters.tables, layers.indexOf(layer)))),
      count: Header.tokens, rows: tokens, experts, topK, ldl: this.#logits.ld, nGroups, topGroups, normalize: normalize ? 1 : 0, scale,
      adapterSlots: adapters?.tables.adapterSlots ?? 0, expertSlots: adapters?.tables.slots ?? 0,
    });
    forward.add(groupExperts, {
      keys: at(this.#keys), order: at(this.#order), inverse: at(this.#inverse), spans: at(this.#spans),
      count: Header.pairs, pairs, nKeys: this.#nKeys, maxSpans: this.#maxSpans(pairs),
    });
  }

  /** gathers: x has a row for each token, else one for each pair, in their order. */
  #linear(w: PackedExperts, x: Rows, y: Rows, pairs: number, gathers: boolean): void {
    const { forward, capacity: { tokens }, model: { config: { hidden } }, context: { experts: adapters, arena, pages, pageBytes } } = this.recorder;
    const { experts, topK, inner } = this.#moe;
    forward.add(expertLinear, {
      x: ref(x), base: at(w.buffer), spans: at(this.#spans), order: gathers ? at(this.#order) : null, y: ref(y),
      types: adapters && at(adapters.buffer, 4 * adapters.tables.at.types), pages: adapters && at(adapters.buffer, 4 * adapters.tables.at.pages), arena: adapters && at(arena),
      count: Header.pairs, pairs, xRows: gathers ? tokens : pairs, topK, experts, n: w.n, k: w.k, outs: experts * Math.ceil(w.n / W_OUTS) * W_OUTS,
      ldx: x.ld, ldy: y.ld, dtype: w.dtype, xType: DType[x.type], maxSpans: this.#maxSpans(pairs),
      expertSlots: adapters?.tables.slots ?? 0, slotPages: adapters?.tables.slotPages ?? 0, firstUnit: gathers ? 0 : expertUnits({ hidden, inner }).gateUp,
      nPages: pages, pageBytes,
    });
  }

  /** y += B A x of the experts that rows go to. x: as for `#linear`. */
  #lora(names: readonly Site['name'][], layer: number, x: Rows, y: Rows, pairs: number): void {
    const { recorder } = this, { tables, adapterSlots, slotWords, arena, pages, pageBytes } = recorder.context;
    const { groups: maxGroups, groupRows: maxGroupRows, tokens } = recorder.capacity, { experts, topK, inner } = this.#moe;
    const all = recorder.model.geometry.sites, sites = all.filter(site => names.includes(site.name)), gathers = names === EXPERT_GATE_UP;
    const shared = {
      u: ref(this.#shrunk), groups: recorder.frame('groups'), groupRows: recorder.frame('groupRows'), keys: at(this.#keys), tables: at(tables), arena: at(arena),
      groupCount: Header.groups, groupRowCount: Header.groupRows, rows: tokens, uRows: maxGroupRows * topK, pairs, topK, experts, ldu: this.#shrunk.ld, partStride: PART_STRIDE,
      maxGroups, maxGroupRows, nSlots: adapterSlots, slotWords, nPages: pages, pageBytes, layer, nSites: all.length, site: sites[0]!.index, parts: sites.length,
    };
    recorder.forward.add(expertShrink, {
      ...shared, x: ref(x), inverse: gathers ? null : at(this.#inverse), xRows: gathers ? tokens : pairs, dIn: sites[0]!.dIn, ldx: x.ld, xType: DType[x.type],
    });
    // Gate and up stand side by side; the site of both covers them.
    const width = (part: number): number => sites[part]?.dOut ?? 0;
    recorder.forward.add(expertExpand, {
      ...shared, inverse: at(this.#inverse), y: ref(y), dOut: gathers ? 2 * inner : width(0), ldy: y.ld,
      outOffset0: 0, dOut0: width(0), outOffset1: gathers ? inner : 0, dOut1: width(1), outOffset2: 0, dOut2: width(2),
    });
  }
}
