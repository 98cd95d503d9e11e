/** Which modules of a base a LoRA config acts on, and with which rank and scale: PEFT's rules of matching. */
import { CONFIG_FILE, RANK_MAX, type LoraConfig } from './lora-config.js';
import { MatchBudget, PatternError, PythonPattern } from './python-regex.js';
import type { Findings } from './refused.js';
import { endPlaces, placesOf, type BaseGeometry, type Site } from './types.js';

/** A module that the config wants adapted. */
export interface Target { layer: number; site: Site; path: string; rank: number; scale: number }

type Predicate = (path: string) => boolean;

/** Modules in execution order, and what matches nothing as warnings. Throws through `findings` what can't be served. */
export function resolveTargets(config: LoraConfig, base: BaseGeometry, findings: Findings): Target[] {
  const budget = new MatchBudget();
  const compile = (field: string, source: string): PythonPattern | null => inField(field, findings, () => new PythonPattern(source, budget));
  const excluded = selector('exclude_modules', config.excludeModules, compile);
  const wanted = config.targetModules;
  const allLinear = typeof wanted === 'string' && wanted.toLowerCase() === 'all-linear';
  const selected = allLinear ? null : selector('target_modules', wanted, compile);
  const ranks = lookUp('rank_pattern', config.rankPattern, config.r, compile);
  const alphas = lookUp('alpha_pattern', config.alphaPattern, config.loraAlpha, compile);
  if (findings.errors.length > 0) return [];

  const inLayer = layerFilter(config), tied = tiesEnds(config, base);
  const targets = (path: string, linear: boolean): boolean =>
    !inField('exclude_modules', findings, () => excluded(path)) &&
    (selected ? !!inField('target_modules', findings, () => selected(path)) && inLayer(path) : linear);

  const found: Target[] = [];
  // PEFT's name for a trained module is the end of its path. Such a module is no target.
  const saved = (path: string): boolean => config.modulesToSave.some(name => path.endsWith(name));
  const wants = (path: string, linear: boolean): boolean => targets(path, linear) && !saved(path);
  for (const { layer, site, path } of [...placesOf(base), ...endPlaces(base)]) {
    if (findings.errors.length > 0) break;
    const isEnd = layer === base.layers;
    const parameter = site.parameter ? `${path}.weight` : null, named = parameter !== null && config.targetParameters.some(name => matchesName(name, parameter));
    const asModule = site.parameter !== 'only' && wants(path, !isEnd && parameter === null);
    // Tied ends have one adapter, which the config names as the embedding's.
    if (!named && !asModule && !(isEnd && tied && endPlaces(base).some(end => wants(end.path, false)))) continue;
    const key = named ? parameter : path;
    const rank = inField('rank_pattern', findings, () => ranks.of(key)) ?? config.r;
    const alpha = inField('alpha_pattern', findings, () => alphas.of(key)) ?? config.loraAlpha;
    if (rank > RANK_MAX) {
      const field = rank === config.r ? 'r' : 'rank_pattern';
      findings.refuse('adapter_rank_too_large', `${CONFIG_FILE}: "${field}" gives ${path} rank ${rank}; the largest that is served is ${RANK_MAX}`, { field });
      return [];
    }
    if (site.name === 'embed' && config.loraBias) {
      findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "lora_bias" is true with ${path} among the targets, which PEFT refuses`, { field: 'lora_bias' });
    }
    found.push({ layer, site, path, rank, scale: scaleOf(alpha, rank, config.useRslora, path, findings) });
  }
  for (const path of base.otherModules) {
    if (findings.errors.length === 0 && targets(path, false)) {
      findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "target_modules" matches ${path}; LoRA is served on ${[...base.sites, ...endPlaces(base).map(({ site }) => site)].map(site => site.module).join(', ')}`, { field: 'target_modules' });
    }
    if (findings.errors.length === 0 && saved(path)) {
      findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "modules_to_save" names ${path}; whole embeddings and heads are served. A norm of its own for each adapter would cost every row of every step a look-up`, { field: 'modules_to_save' });
    }
  }
  for (const path of expertPaths(base)) { ranks.of(path); alphas.of(path); }       // patterns may decide about experts alone
  warnUnmatched(config, base, [ranks, alphas], findings);
  return found;
}

/** Of experts' matrices: all of a layer in one parameter, or a module for each expert. */
export function expertPaths({ layersModule, experts }: BaseGeometry): string[] {
  if (!experts) return [];
  const { layers, count, module, names } = experts, each = Array.from({ length: count }, (_, e) => Object.values(names).map(name => `${e}.${name}`)).flat();
  return layers.flatMap(layer => [...new Set([module, 'mlp.experts'])].flatMap(path => ['gate_up_proj', 'down_proj', ...each].map(name => `${layersModule}.${layer}.${path}.${name}`)));
}

/** One adapter for both ends, where the base has one matrix for both. */
export const tiesEnds = ({ ensureWeightTying }: LoraConfig, { ends }: Pick<BaseGeometry, 'ends'>): boolean => ensureWeightTying && ends.tied;

/** alpha / r or alpha / sqrt(r), rounded to f32 as kernels hold it. */
export function scaleOf(alpha: number, rank: number, rslora: boolean, path: string, findings: Findings): number {
  const scale = Math.fround(alpha / (rslora ? Math.sqrt(rank) : rank));
  if (!Number.isFinite(scale)) findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "lora_alpha" gives ${path} the scale ${alpha} / ${rank}, which is no f32`, { field: 'lora_alpha' });
  return scale;
}

export function selector(field: string, names: string | readonly string[], compile: (field: string, source: string) => PythonPattern | null): Predicate {
  if (typeof names !== 'string') return path => names.some(name => matchesName(name, path));
  if (names === '') return () => false;
  const pattern = compile(field, names);
  return path => pattern?.fullMatch(path) ?? false;
}

const matchesName = (name: string, path: string): boolean => path === name || path.endsWith(`.${name}`);

/** Layers only restrict names that match as a suffix: a full path in the list means exactly that module. */
function layerFilter(config: LoraConfig): Predicate {
  const layers = config.layersToTransform;
  if (!layers) return () => true;
  const indices = config.layersPattern.length > 0
    ? config.layersPattern.map(name => new RegExp(`(?:^|\\.)${name}\\.(\\d+)\\.`))
    : [/^[^]*?\.[^.]*\.(\d+)\./];
  return path => {
    if (config.targetModules.includes(path)) return true;
    for (const index of indices) {
      const match = index.exec(path);
      if (match) return layers.includes(Number(match[1]));
    }
    return false;
  };
}

/** rank_pattern and alpha_pattern: the first key that matches wins. */
interface LookUp { field: string; of(path: string): number; unused(): string[] }

export function lookUp(field: string, patterns: ReadonlyMap<string, number>, otherwise: number, compile: (field: string, source: string) => PythonPattern | null): LookUp {
  const entries = [...patterns].map(([key, value]) => ({ key, value, matches: patternKey(key, source => compile(field, source)), used: false }));
  return {
    field,
    of(path) {
      const entry = entries.find(({ matches }) => matches(path));
      if (!entry) return otherwise;
      entry.used = true;
      return entry.value;
    },
    unused: () => entries.filter(entry => !entry.used).map(entry => entry.key),
  };
}

/** `re.match(rf"(.*\.)?({key})$", path)`, put together as text as PEFT does: "a)|(b" means there what it means here. */
function patternKey(key: string, compile: (source: string) => PythonPattern | null): Predicate {
  if (!/^[\w.]+$/.test(key)) {
    const pattern = compile(`(.*\\.)?(${key})$`);
    return path => pattern?.match(path) ?? false;
  }
  // A plain name, as initializations that choose a rank for every module write by the hundred; its dots match any character.
  return path => {
    const start = path.length - key.length;
    if (start < 0 || (start > 0 && path[start - 1] !== '.')) return false;
    for (let i = 0; i < key.length; i++) if (key[i] !== '.' && key[i] !== path[start + i]) return false;
    return true;
  };
}

/** PEFT passes over these in silence; an owner who mistyped a name should hear of it. */
function warnUnmatched(config: LoraConfig, base: BaseGeometry, lookUps: readonly LookUp[], findings: Findings): void {
  const warn = (field: string, what: string): void => findings.warn('adapter_target_unmatched', `${CONFIG_FILE}: "${field}" ${what}`, { field });
  const paths = [...base.otherModules, ...[...placesOf(base), ...endPlaces(base)].map(({ path }) => path), ...expertPaths(base)];
  for (const name of typeof config.targetModules === 'string' ? [] : config.targetModules) {
    if (!paths.some(path => matchesName(name, path))) warn('target_modules', `holds ${JSON.stringify(name)}, which is no module of ${base.architecture}`);
  }
  for (const name of config.modulesToSave) {
    if (!paths.some(path => path.endsWith(name))) warn('modules_to_save', `holds ${JSON.stringify(name)}, which is no module of ${base.architecture}`);
  }
  for (const { field, unused } of lookUps) {
    for (const key of unused()) warn(field, `holds ${JSON.stringify(key)}, which decides about no targeted module`);
  }
  const beyond = config.layersToTransform?.find(layer => layer >= base.layers);
  if (beyond !== undefined) warn('layers_to_transform', `holds ${beyond}; ${base.architecture} has ${base.layers} layers`);
}

export function inField<T>(field: string, findings: Findings, work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    findings.refuse(error.unsupported ? 'adapter_field_unsupported' : 'adapter_config_invalid', `${CONFIG_FILE}: "${field}" holds a pattern that ${error.unsupported ? "isn't served" : "Python's re refuses"}: ${error.message}`, { field });
    return null;
  }
}
