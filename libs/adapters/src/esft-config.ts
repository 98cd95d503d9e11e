/** expert_cfg.json: which experts of which layers an ESFT adapter has. */
import { readFile } from 'node:fs/promises';
import { JsonError, jsonType, parseJson, type Json } from './json.js';
import type { Findings } from './refused.js';
import type { AdapterFile, BaseGeometry, MoeBase } from './types.js';

export const EXPERTS_FILE = 'expert_cfg.json';
/** Every expert of a base with 10,000 of them takes 60 kB. */
const CONFIG_BYTES_MAX = 1 << 20;
/** Files that say more were written by somebody who means something by it. */
const FIELDS = ['experts', 'shared_experts', 'non_expert_modules'];
export type Flag = 'shared_experts' | 'non_expert_modules';

export interface EsftConfig {
  /** Expert ids by layer, ascending; layers without any are left out. */
  experts: ReadonlyMap<number, readonly number[]>;
  /** What else was trained. */
  trained: readonly Flag[];
}

/** Null after a finding. */
export async function readEsftConfig({ path, size }: AdapterFile, base: MoeBase, findings: Findings): Promise<EsftConfig | null> {
  const refuse = (message: string, field?: string): null => {
    findings.refuse('adapter_config_invalid', `${EXPERTS_FILE}: ${message}`, { file: EXPERTS_FILE, ...(field && { field }) });
    return null;
  };
  if (size > CONFIG_BYTES_MAX) return refuse(`has ${size} bytes; the limit is ${CONFIG_BYTES_MAX}`);
  let config: Json;
  try {
    config = parseJson(await readFile(path));
  } catch (error) {
    if (error instanceof JsonError) return refuse(error.message, error.key);
    throw error;
  }
  if (!(config instanceof Map)) return refuse(`is ${jsonType(config)}; an object is expected`);
  for (const field of config.keys()) {
    if (!FIELDS.includes(field)) findings.refuse('adapter_field_unsupported', `${EXPERTS_FILE}: "${field}" is no field that is known; ${FIELDS.join(', ')} are`, { field });
  }
  const trained = (['shared_experts', 'non_expert_modules'] as const).filter(flag => {
    const value = config.get(flag) ?? false;
    if (typeof value !== 'boolean') refuse(`"${flag}" is ${jsonType(value)}; true or false is expected`, flag);
    return value === true;
  });
  const listed = config.get('experts');
  if (!(listed instanceof Map)) return refuse(`"experts" is ${listed === undefined ? 'missing' : jsonType(listed)}; an object of layers is expected`, 'experts');
  const experts = new Map<number, readonly number[]>();
  for (const [key, ids] of listed) {
    const layer = layerOf(key, base, message => refuse(`"experts" ${message}`, 'experts'));
    if (layer === null) continue;
    const found = idsOf(ids, layer, base, message => refuse(`"experts": layer ${layer} ${message}`, 'experts'));
    if (found.length > 0) experts.set(layer, found);
  }
  return { experts: new Map([...experts].sort(([a], [b]) => a - b)), trained };
}

function layerOf(key: string, { layers, architecture }: BaseGeometry, refuse: (message: string) => null): number | null {
  if (!/^(0|[1-9]\d{0,6})$/.test(key)) return refuse(`holds ${JSON.stringify(key)}, which is no layer's number`);
  const layer = Number(key);
  if (layer >= layers) return refuse(`holds layer ${layer}; this ${architecture} has layers 0 to ${layers - 1}`);
  return layer;
}

function idsOf(ids: Json, layer: number, { experts: { layers, count } }: MoeBase, refuse: (message: string) => null): number[] {
  if (!Array.isArray(ids)) { refuse(`is ${jsonType(ids)}; a list of expert ids is expected`); return []; }
  if (ids.length > 0 && !layers.includes(layer)) { refuse('is dense in this base: it has no experts'); return []; }
  const found = new Set<number>();
  for (const id of ids) {
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0 || id >= count) refuse(`holds expert ${JSON.stringify(id)}; this base has experts 0 to ${count - 1} there`);
    else if (found.has(id)) refuse(`holds expert ${id} twice`);
    else found.add(id);
  }
  return [...found].sort((a, b) => a - b);
}
