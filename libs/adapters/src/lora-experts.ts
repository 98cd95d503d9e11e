/**
 * LoRA on experts, in the three forms that there are:
 *
 *   stacked    PEFT's `target_parameters`: one pair for all experts of a layer's gate|up or down, below the path of the experts; where both
 *              are adapted one of them stands below `base_layer`, and shapes tell which
 *   apart      a pair for each expert's gate, up and down, as transformers 4 has modules for them: all experts of a layer, or none
 *   batched    one pair of three dimensions for all experts' gate, up, gate|up or down, [experts, rank, in] and [experts, out, rank]; a half
 *              that all experts share has one expert (shared-outer: A of gate and up, B of down)
 *
 * Sources: ParamWrapper in tuners/lora/layer.py of PEFT 0.21; SGLang's `experts_shared_outer_loras`, which Megatron-Bridge exports.
 */
import { CONFIG_FILE, type LoraConfig } from './lora-config.js';
import { inField, lookUp, scaleOf, selector } from './lora-targets.js';
import { PREFIX, type LoraPair } from './lora-tensors.js';
import { MatchBudget, PythonPattern } from './python-regex.js';
import type { Findings } from './refused.js';
import { siteExists, type BaseGeometry, type ExpertGeometry, type FloatDtype, type Site, type TensorRef } from './types.js';

/** Room for A x of every choice of every row is laid out for this. */
export const EXPERT_RANK_MAX = 64;

type Tensors = ReadonlyMap<string, TensorRef>;
interface Claims { pairs: LoraPair[]; claimed: ReadonlySet<string> }
interface Context { tensors: Tensors; base: BaseGeometry; experts: ExpertGeometry; config: LoraConfig; findings: Findings; claimed: Set<string>; rankOf: (path: string) => number; scaleAt: (path: string, rank: number) => number }

const FLOATS: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16']);

/** Pairs on experts, and the names of their tensors. Everything that doesn't fit is a finding. */
export function claimExperts(tensors: Tensors, config: LoraConfig, base: BaseGeometry, findings: Findings): Claims {
  const claimed = new Set<string>(), { experts } = base;
  if (!experts) {
    if (config.targetParameters.length > 0) findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "target_parameters" is for experts, which ${base.architecture} has none of`, { field: 'target_parameters' });
    return { pairs: [], claimed };
  }
  const budget = new MatchBudget();
  const compile = (field: string, source: string): PythonPattern | null => inField(field, findings, () => new PythonPattern(source, budget));
  const ranks = lookUp('rank_pattern', config.rankPattern, config.r, compile), alphas = lookUp('alpha_pattern', config.alphaPattern, config.loraAlpha, compile);
  const context: Context = {
    tensors, base, experts, config, findings, claimed, rankOf: path => ranks.of(path),
    scaleAt: (path, rank) => scaleOf(alphas.of(path), rank, config.useRslora, path, findings),
  };
  const all = typeof config.targetModules === 'string' && config.targetModules.toLowerCase() === 'all-linear';
  const targets = all ? () => true : selector('target_modules', config.targetModules, compile);
  const pairs = experts.layers.flatMap(layer => [...stacked(context, layer), ...apart(context, layer, targets), ...batched(context, layer, targets)]);
  for (const [i, { site, layer, a }] of pairs.entries()) {
    if (pairs.findIndex(pair => pair.site === site && pair.layer === layer) < i) findings.refuse('adapter_tensor_unclaimed', `${a.name}: these experts have a LoRA already, in another form`, { tensor: a.name });
  }
  return { pairs, claimed };
}

const siteOf = ({ base }: Context, name: Site['name'], layer: number): Site => base.sites.find(site => site.name === name && siteExists(site, layer))!;
const isShape = ({ shape }: TensorRef, ...wanted: number[]): boolean => shape.length === wanted.length && shape.every((size, i) => size === wanted[i]);

/** transformers 5 knows all experts as `mlp.experts`, whatever checkpoints call them. */
const pathsOf = ({ base, experts }: Context, layer: number): string[] => [...new Set([experts.module, 'mlp.experts'])].map(module => `${base.layersModule}.${layer}.${module}`);

function stacked(context: Context, layer: number): LoraPair[] {
  const { tensors, experts: { count, hidden, inner }, config, findings, claimed } = context;
  const found = pathsOf(context, layer).flatMap(path => ['.base_layer', ''].flatMap(level => pairAt(tensors, `${PREFIX}${path}${level}`).map(pair => ({ path, ...pair }))));
  const pairs = found.map(({ path, a, b }): LoraPair | null => {
    claimed.add(a.name).add(b.name);
    const kind = a.shape[1] === hidden && b.shape[0] === 2 * inner ? 'gate_up_proj' : a.shape[1] === inner && b.shape[0] === hidden ? 'down_proj' : null;
    const parameter = `${path}.${kind}`, rank = kind ? context.rankOf(parameter) : 0;
    if (!kind || !isShape(a, count * rank, a.shape[1]!) || !isShape(b, b.shape[0]!, rank * count)) {
      findings.refuse('adapter_tensor_shape', `${a.name} is [${a.shape.join(', ')}] and ${b.name} [${b.shape.join(', ')}]; on ${count} experts of rank r they are [${count}·r, ${hidden}] and [${2 * inner}, r·${count}], or [${count}·r, ${inner}] and [${hidden}, r·${count}]${kind ? `, with r = ${rank}` : ''}`, { tensor: a.name });
      return null;
    }
    if (!config.targetParameters.some(name => parameter === name || parameter.endsWith(`.${name}`))) {
      findings.refuse('adapter_tensor_unclaimed', `${a.name}: "target_parameters" does not name ${parameter}`, { tensor: a.name });
      return null;
    }
    return pairOf(context, siteOf(context, kind === 'gate_up_proj' ? 'expertGateUp' : 'expertDown', layer), layer, parameter, rank, [{ a, b }], false);
  });
  const there = new Set(pairs.map(pair => pair?.path));
  for (const name of ['gate_up_proj', 'down_proj']) {
    const wanted = pathsOf(context, layer).map(path => `${path}.${name}`);
    const targeted = wanted.find(path => config.targetParameters.some(target => path === target || path.endsWith(`.${target}`)));
    if (targeted !== undefined && findings.errors.length === 0 && !wanted.some(path => there.has(path))) {
      findings.refuse('adapter_tensor_missing', `there is no LoRA on ${targeted}, which "target_parameters" names`, { tensor: `${PREFIX}${targeted}` });
    }
  }
  return pairs.filter(pair => pair !== null);
}

function apart(context: Context, layer: number, targets: (path: string) => boolean): LoraPair[] {
  const { tensors, base, experts: { count, module, names, hidden, inner }, findings, claimed } = context;
  const kinds = [['expertGate', names.gate, hidden, inner], ['expertUp', names.up, hidden, inner], ['expertDown', names.down, inner, hidden]] as const;
  return kinds.flatMap(([site, name, dIn, dOut]) => {
    const paths = Array.from({ length: count }, (_, e) => `${base.layersModule}.${layer}.${module}.${e}.${name}`);
    const all = paths.map(path => ({ path, pair: pairAt(tensors, `${PREFIX}${path}`)[0] }));
    const there = all.filter(({ pair }) => pair);
    if (there.length === 0) return [];
    for (const { pair } of there) claimed.add(pair!.a.name).add(pair!.b.name);
    const missing = all.find(({ pair }) => !pair), rank = context.rankOf(paths[0]!);
    if (missing) {
      findings.refuse('adapter_tensor_missing', `${PREFIX}${missing.path}.lora_A.weight or .lora_B.weight is missing; other experts of the layer have theirs`, { tensor: `${PREFIX}${missing.path}.lora_A.weight` });
      return [];
    }
    const wrong = there.find(({ path, pair }) => !isShape(pair!.a, rank, dIn) || !isShape(pair!.b, dOut, rank) || context.rankOf(path) !== rank || !targets(path));
    if (wrong) {
      const { path, pair } = wrong;
      if (!targets(path)) findings.refuse('adapter_tensor_unclaimed', `${pair!.a.name}: adapter_config.json does not target ${path}`, { tensor: pair!.a.name });
      else findings.refuse('adapter_tensor_shape', `${pair!.a.name} is [${pair!.a.shape.join(', ')}] and ${pair!.b.name} [${pair!.b.shape.join(', ')}]; all experts of a layer have rank ${rank} here: [${rank}, ${dIn}] and [${dOut}, ${rank}]`, { tensor: pair!.a.name });
      return [];
    }
    const pair = pairOf(context, siteOf(context, site, layer), layer, paths[0]!, rank, there.map(({ pair: found }) => found!), true);
    return pair ? [pair] : [];
  });
}

const BATCHED = [['expertGateUp', ['gate_up_proj']], ['expertGate', ['gate_proj', 'w1']], ['expertUp', ['up_proj', 'w3']], ['expertDown', ['down_proj', 'w2']]] as const;

function batched(context: Context, layer: number, targets: (path: string) => boolean): LoraPair[] {
  const { tensors, experts: { count }, config, findings, claimed } = context;
  return BATCHED.flatMap(([name, modules]) => {
    const found = pathsOf(context, layer).flatMap(path => modules.flatMap(module => pairAt(tensors, `${PREFIX}${path}.${module}`).map(pair => ({ ...pair, parent: path, path: `${path}.${module}` }))));
    return found.flatMap(({ a, b, parent, path }) => {
      claimed.add(a.name).add(b.name);
      const site = siteOf(context, name, layer), rank = context.rankOf(path);
      if (![parent, ...modules.map(module => `${parent}.${module}`)].some(target => targets(target) || config.targetParameters.some(one => target === one || target.endsWith(`.${one}`)))) {
        findings.refuse('adapter_tensor_unclaimed', `${a.name}: adapter_config.json does not target ${path}`, { tensor: a.name });
        return [];
      }
      const fits = (half: TensorRef, ...matrix: number[]): boolean => [1, count].some(experts => isShape(half, experts, ...matrix));
      if (!fits(a, rank, site.dIn) || !fits(b, site.dOut, rank)) {
        findings.refuse('adapter_tensor_shape', `${a.name} is [${a.shape.join(', ')}] and ${b.name} [${b.shape.join(', ')}]; on ${count} experts of rank ${rank} they are [${count}, ${rank}, ${site.dIn}] and [${count}, ${site.dOut}, ${rank}], with 1 instead of ${count} for a half that all share`, { tensor: a.name });
        return [];
      }
      const pair = pairOf(context, site, layer, path, rank, Array.from({ length: count }, (_, e) => ({ a: expertOf(a, e), b: expertOf(b, e) })), true);
      return pair ? [pair] : [];
    });
  });
}

/** One expert's matrix of [experts, …], or the one that all share. */
function expertOf<D extends FloatDtype>(all: TensorRef<D>, expert: number): TensorRef<D> {
  const [experts, ...shape] = all.shape, bytes = all.bytes / experts!;
  return { ...all, shape, bytes, offset: all.offset + (experts === 1 ? 0 : expert) * bytes };
}

type Halves = Pick<LoraPair, 'a' | 'b'>;

function pairAt(tensors: Tensors, key: string): Halves[] {
  const half = (letter: 'A' | 'B'): TensorRef | undefined => tensors.get(`${key}.lora_${letter}.weight`) ?? tensors.get(`${key}.lora_${letter}.default.weight`);
  const a = half('A'), b = half('B');
  return a && b ? [{ a: a as TensorRef<FloatDtype>, b: b as TensorRef<FloatDtype> }] : [];
}

function pairOf(context: Context, site: Site, layer: number, path: string, rank: number, halves: readonly Halves[], each: boolean): LoraPair | null {
  const { findings } = context, odd = halves.flatMap(({ a, b }) => [a, b]).find(({ dtype }) => !FLOATS.has(dtype));
  if (odd) {
    findings.refuse('adapter_tensor_dtype', `${odd.name} is ${odd.dtype}; F32, F16 and BF16 are served`, { tensor: odd.name });
    return null;
  }
  for (const half of ['a', 'b'] as const) {
    const other = halves.find(pair => pair[half].dtype !== halves[0]![half].dtype);
    if (!other) continue;
    findings.refuse('adapter_tensor_dtype', `${other[half].name} is ${other[half].dtype}, ${halves[0]![half].name} ${halves[0]![half].dtype}; the experts of a layer are stored in one format`, { tensor: other[half].name });
    return null;
  }
  if (rank > EXPERT_RANK_MAX) {
    findings.refuse('adapter_rank_too_large', `${CONFIG_FILE}: "r" gives ${path} rank ${rank}; the largest that is served on experts is ${EXPERT_RANK_MAX}`, { field: 'r' });
    return null;
  }
  return { layer, site, path, rank, scale: context.scaleAt(path, rank), ...halves[0]!, magnitude: null, bBias: null, bias: null, ...(each ? { each: halves } : {}) };
}
