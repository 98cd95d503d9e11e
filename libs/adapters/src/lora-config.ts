/**
 * adapter_config.json of PEFT's LoRA: every field is honoured, legally without meaning for inference, or refused by name.
 * The fields are those of PEFT 0.21 and of the versions before it; a field that is not listed may only be off or empty.
 */
import { readFile } from 'node:fs/promises';
import { JsonError, jsonType, parseJson, type Json, type JsonObject } from './json.js';
import { Findings } from './refused.js';
import type { AdapterFile } from './types.js';

export const CONFIG_FILE = 'adapter_config.json';
/** LoRA scratch and kernels are laid out for this; the largest rank in common use. */
export const RANK_MAX = 256;
/** A config with a pattern for every module of a large model has 100 kB. */
const CONFIG_BYTES_MAX = 1 << 20;

/** What a config says about the result. Names are PEFT's. */
export interface LoraConfig {
  r: number;
  loraAlpha: number;
  useRslora: boolean;
  rankPattern: ReadonlyMap<string, number>;
  alphaPattern: ReadonlyMap<string, number>;
  /** A list matches exactly or as a dotted suffix, a string is a regular expression or `all-linear`. */
  targetModules: string | readonly string[];
  excludeModules: string | readonly string[];
  /** null: all layers. */
  layersToTransform: readonly number[] | null;
  layersPattern: readonly string[];
  baseModel: string | null;
  useDora: boolean;
  loraBias: boolean;
  /** Biases of the base may have been trained too. */
  trainsBias: boolean;
  /** Ends of paths of experts' parameters: all experts of a layer in one tensor. */
  targetParameters: readonly string[];
  /** Ends of paths of modules that were trained whole. */
  modulesToSave: readonly string[];
  /** Tokens whose rows were trained, by the end of a module's path. */
  trainableTokens: ReadonlyMap<string, readonly number[]>;
  ensureWeightTying: boolean;
}

/** null: in order. `invalid`: not what PEFT writes. `unsupported`: PEFT's, and not served here. */
type Verdict = null | { invalid: string } | { unsupported: string };
type Rule = (value: Json) => Verdict;

const invalid = (wanted: string) => (value: Json): Verdict => ({ invalid: `is ${jsonType(value)}; ${wanted} is expected` });
const isOff = (value: Json): boolean =>
  value === null || value === false || value === '' || (Array.isArray(value) && value.length === 0) || (value instanceof Map && value.size === 0);
const show = (value: Json): string => JSON.stringify(value, (_, item: unknown) => (item instanceof Map ? Object.fromEntries(item) : item));

const isText = (value: Json): boolean => typeof value === 'string';
const isTexts = (value: Json): boolean => Array.isArray(value) && value.every(isText);
const isNumber = (value: Json): boolean => typeof value === 'number';
const isLayer = (value: Json): boolean => Number.isInteger(value) && (value as number) >= 0;

/** The value has the right type; nothing more to say about it here. */
const typed = (test: (value: Json) => boolean, wanted: string): Rule => value => (test(value) ? null : invalid(wanted)(value));
const optional = (test: (value: Json) => boolean, wanted: string): Rule => typed(value => value === null || test(value), `${wanted} or null`);
/** A feature with a switch: off is fine. */
const off = (advice: string): Rule => value =>
  value === null || value === false ? null : value === true ? { unsupported: `is true; ${advice}` } : invalid('true or false')(value);
/** A feature that is on when the field holds anything. */
const empty = (advice: string): Rule => value => (isOff(value) ? null : { unsupported: `is ${excerpt(value)}; ${advice}` });
const flag = optional(value => typeof value === 'boolean', 'true or false');

const rank: Rule = value => {
  if (!isNumber(value)) return invalid('an integer')(value);
  return Number.isInteger(value) && (value as number) >= 1 ? null : { invalid: `is ${show(value)}; a rank is an integer of at least 1` };
};
const alpha = typed(isNumber, 'a number');
const patterns = (check: Rule): Rule => value => {
  if (value === null) return null;
  if (!(value instanceof Map)) return invalid('an object of patterns')(value);
  for (const [key, item] of value) {
    const verdict = check(item);
    if (verdict && 'invalid' in verdict) return { invalid: `holds ${JSON.stringify(key)}, which ${verdict.invalid}` };
  }
  return null;
};
const modules = optional(value => isText(value) || isTexts(value), 'a list of module names or a pattern');

/** Initializations that leave the base as it was. The others move part of the base's weights into the adapter. */
const INITS_OF_UNCHANGED_BASE: readonly Json[] = [null, true, false, 'gaussian', 'orthogonal', 'eva', 'mica'];
const initialization: Rule = value => {
  if (typeof value !== 'boolean' && typeof value !== 'string' && value !== null) return invalid('true, false or a name')(value);
  if (INITS_OF_UNCHANGED_BASE.includes(value)) return null;
  return { unsupported: `is ${show(value)}, which trains on a changed base. Convert it to plain LoRA: save_pretrained(…, path_initial_model_for_weight_conversion=…)` };
};
const taskType: Rule = value =>
  value === null || value === 'CAUSAL_LM' ? null : isText(value) ? { unsupported: `is ${show(value)}; adapters of CAUSAL_LM are served` } : invalid('a task')(value);
const trainedBias: Rule = value =>
  value === null || value === 'none' || value === 'all' || value === 'lora_only' ? null : isText(value) ? { unsupported: `is ${show(value)}; none, all and lora_only are known` } : invalid('a name')(value);
const runtime: Rule = value =>
  isOff(value) || (value instanceof Map && [...value].every(([key, item]) => key === 'ephemeral_gpu_offload' && typeof item === 'boolean'))
    ? null : { unsupported: `is ${excerpt(value)}; only ephemeral_gpu_offload is known` };

const isTokens = (value: Json): boolean => Array.isArray(value) && value.every(id => Number.isInteger(id) && (id as number) >= 0) && new Set(value).size === value.length;
const tokenIndices = optional(value => isTokens(value) || (value instanceof Map && [...value.values()].every(isTokens)), 'a list of different token ids, or such lists by module,');

const PLAIN = 'Weft serves LoRA on linear modules';
const RULES: Readonly<Record<string, Rule>> = {
  // honoured
  peft_type: typed(isText, 'a name'), r: rank, lora_alpha: alpha, use_rslora: flag,
  rank_pattern: patterns(rank), alpha_pattern: patterns(alpha),
  target_modules: modules, exclude_modules: modules, target_parameters: optional(isTexts, 'a list of names'),
  layers_to_transform: optional(value => isLayer(value) || (Array.isArray(value) && value.every(isLayer)), 'a layer or a list of layers'),
  layers_pattern: optional(value => isText(value) || isTexts(value), 'a name or a list of names'),
  base_model_name_or_path: optional(isText, 'a name'),
  modules_to_save: optional(isTexts, 'a list of module names'), trainable_token_indices: tokenIndices, ensure_weight_tying: flag,
  use_dora: flag, lora_bias: flag, task_type: taskType, bias: trainedBias, init_lora_weights: initialization,
  // they change training, where things are computed, or what is written down; never the result
  inference_mode: flag, lora_dropout: optional(isNumber, 'a number'), revision: optional(isText, 'a name'), peft_version: optional(isText, 'a version'),
  auto_mapping: optional(value => value instanceof Map, 'an object'), megatron_core: optional(isText, 'a name'), runtime_config: runtime,
  qalora_group_size: optional(isNumber, 'a number'), eva_config: optional(value => value instanceof Map, 'an object'),
  fan_in_fan_out: flag,           // of Conv1D; on linear modules PEFT takes it for false, whatever it says
  // refused by name
  use_qalora: off(`${PLAIN}. Merge the quantized groups, or train with use_qalora: false`),
  layer_replication: empty('the base is served with its own layers'),
  alora_invocation_tokens: empty('adapters are served from the first token on; activated LoRA is not'),
  megatron_config: empty('it describes a model split by Megatron'),
  loftq_config: empty('LoftQ trains on a changed base'), corda_config: empty('CorDA trains on a changed base'),
  lora_ga_config: empty('LoRA-GA trains on a changed base'), kasa_config: empty('KaSA trains on a changed base'),
  use_bdlora: empty(`${PLAIN}, not block-diagonal ones`), arrow_config: empty(`${PLAIN}, not routed ones`),
  velora_config: empty(PLAIN), monteclora_config: empty(PLAIN),
};
const REQUIRED = ['peft_type', 'r', 'lora_alpha', 'target_modules'];

/** Reads the config. Findings say every field that is wrong or not served; then null is returned. */
export async function readLoraConfig(file: AdapterFile, findings: Findings): Promise<LoraConfig | null> {
  const config = await parse(file, findings);
  if (!config) return null;
  const type = config.get('peft_type');
  if (isText(type ?? null) && type !== 'LORA') {
    findings.refuse('adapter_kind_unsupported', `${CONFIG_FILE}: "peft_type" is ${show(type!)}; Weft serves LORA`, { field: 'peft_type' });
    return null;
  }
  const onParameters = !isOff(config.get('target_parameters') ?? null);
  for (const field of REQUIRED) {
    if ((config.get(field) ?? null) === null && !(field === 'target_modules' && onParameters)) findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "${field}" is ${jsonType(config.get(field))}`, { field });
  }
  for (const [field, value] of config) {
    if (REQUIRED.includes(field) && value === null) continue;
    judge(field, value, findings);
  }
  return findings.errors.length > 0 ? null : combine(config, findings);
}

async function parse(file: AdapterFile, findings: Findings): Promise<JsonObject | null> {
  if (file.size > CONFIG_BYTES_MAX) {
    findings.refuse('adapter_config_invalid', `${CONFIG_FILE} has ${file.size} bytes; the limit is ${CONFIG_BYTES_MAX}`, { file: CONFIG_FILE });
    return null;
  }
  try {
    const config = parseJson(await readFile(file.path));
    if (config instanceof Map) return config;
    findings.refuse('adapter_config_invalid', `${CONFIG_FILE} is ${jsonType(config)}, not an object`, { file: CONFIG_FILE });
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    findings.refuse('adapter_config_invalid', `${CONFIG_FILE} can't be read: ${error.message}`, { file: CONFIG_FILE });
  }
  return null;
}

function judge(field: string, value: Json, findings: Findings): void {
  const rule = Object.hasOwn(RULES, field) ? RULES[field] : undefined;
  if (!rule) {
    if (!isOff(value)) findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "${field}" is ${excerpt(value)}, and Weft doesn't know what that changes. Remove it if it changes nothing`, { field });
    return;
  }
  const verdict = rule(value);
  if (!verdict) return;
  if ('invalid' in verdict) findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "${field}" ${verdict.invalid}`, { field });
  else findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "${field}" ${verdict.unsupported}`, { field });
}

/** What fields mean together; each has its right type by now. */
function combine(config: JsonObject, findings: Findings): LoraConfig | null {
  const targetModules = (config.get('target_modules') ?? []) as string | string[];
  const layers = (config.get('layers_to_transform') ?? null) as number | number[] | null;
  const layersToTransform = typeof layers === 'number' ? [layers] : layers?.length ? layers : null;
  const layersPattern = list(config.get('layers_pattern'));
  const refuse = (field: string, message: string): void => findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "${field}" ${message}`, { field });
  const targetParameters = list(config.get('target_parameters'));
  if (targetModules.length === 0 && targetParameters.length === 0) refuse('target_modules', 'is empty: the adapter acts nowhere');
  if (typeof targetModules === 'string' && layersToTransform) refuse('layers_to_transform', 'needs "target_modules" to be a list');
  if (config.get('use_dora') === true && config.get('lora_bias') === true) refuse('lora_bias', 'is true together with "use_dora", which PEFT refuses');
  const modulesToSave = list(config.get('modules_to_save')), trainableTokens = tokensByModule(config.get('trainable_token_indices'));
  const both = [...trainableTokens.keys()].find(name => modulesToSave.includes(name));
  if (both !== undefined) refuse('trainable_token_indices', `and "modules_to_save" both name ${both}, which PEFT refuses`);
  if (layersPattern.length > 0 && !layersToTransform) refuse('layers_pattern', 'needs "layers_to_transform"');
  const odd = layersPattern.find(name => !/^\w+$/.test(name));
  if (odd !== undefined) findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "layers_pattern" holds ${JSON.stringify(odd)}; the name of a module list is expected, as "layers"`, { field: 'layers_pattern' });
  for (const field of ['layers_to_transform', 'use_dora', 'lora_bias']) {
    if (targetParameters.length > 0 && !isOff(config.get(field) ?? null)) refuse(field, 'is set together with "target_parameters", which PEFT refuses or leaves out');
  }
  if (findings.errors.length > 0) return null;
  const exclude = config.get('exclude_modules');
  return {
    r: config.get('r') as number,
    loraAlpha: config.get('lora_alpha') as number,
    useRslora: config.get('use_rslora') === true,
    rankPattern: (config.get('rank_pattern') ?? new Map()) as Map<string, number>,
    alphaPattern: (config.get('alpha_pattern') ?? new Map()) as Map<string, number>,
    targetModules,
    excludeModules: (exclude ?? []) as string | string[],
    layersToTransform, layersPattern,
    baseModel: (config.get('base_model_name_or_path') ?? null) as string | null,
    useDora: config.get('use_dora') === true,
    loraBias: config.get('lora_bias') === true,
    trainsBias: (config.get('bias') ?? 'none') !== 'none',
    targetParameters,
    modulesToSave, trainableTokens,
    ensureWeightTying: config.get('ensure_weight_tying') === true,
  };
}

/** A list without a name is the embedding's. */
function tokensByModule(value: Json | undefined): Map<string, number[]> {
  if (isOff(value ?? null)) return new Map();
  return value instanceof Map ? value as Map<string, number[]> : new Map([['embed_tokens', value as number[]]]);
}

function list(value: Json | undefined): string[] {
  return (isOff(value ?? null) ? [] : typeof value === 'string' ? [value] : value) as string[];
}

function excerpt(value: Json): string {
  const text = show(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
