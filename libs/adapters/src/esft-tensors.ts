/** Which tensor belongs to which expert: every one is claimed exactly once or refused by name. */
import { basename } from 'node:path';
import { EXPERTS_FILE, type EsftConfig, type Flag } from './esft-config.js';
import type { Findings } from './refused.js';
import { PROJECTIONS, type EsftExpert, type ExpertGeometry, type FloatDtype, type MoeBase, type Projection, type TensorRef } from './types.js';

/** An expert with its three matrices, of the right shapes. */
export type ClaimedExpert = Omit<EsftExpert, 'stored'>;

/** `model.layers.3.mlp.experts.7.gate_proj.weight`; the first ESFT adapters were saved without `model.`. */
const ESFT = /^(?:model\.)?layers\.(\d{1,7})\.mlp\.experts\.(\d{1,7})\.(gate|up|down)_proj\.weight$/;
const SHARED = /\.(shared_experts?|shared_expert_gate)\./;

/** Experts by layer and id. `files`: the tensors of each shard. Everything that doesn't fit is a finding. */
export function claimExperts(files: readonly ReadonlyMap<string, TensorRef>[], config: EsftConfig, base: MoeBase, findings: Findings): ClaimedExpert[] {
  const claimed = new Map<string, TensorRef>();
  const extra: Record<Flag, TensorRef[]> = { shared_experts: [], non_expert_modules: [] };
  const place = placing(base);
  for (const tensor of files.flatMap(tensors => [...tensors.values()])) {
    const at = place(tensor.name);
    if (!at) { extra[SHARED.test(tensor.name) ? 'shared_experts' : 'non_expert_modules'].push(tensor); continue; }
    const { layer, expert, projection } = at, key = `${layer}.${expert}.${projection}`, twin = claimed.get(key);
    const refuse = (code: 'adapter_tensor_unclaimed' | 'adapter_tensor_duplicate', why: string): void => {
      findings.refuse(code, `layer ${layer}, expert ${expert}: ${tensor.name} ${why}`, { tensor: tensor.name, file: basename(tensor.file) });
    };
    if (layer >= base.layers) refuse('adapter_tensor_unclaimed', `is of no layer of this base, which has layers 0 to ${base.layers - 1}`);
    else if (!base.experts.layers.includes(layer)) refuse('adapter_tensor_unclaimed', 'is an expert of a layer that is dense in this base');
    else if (expert >= base.experts.count) refuse('adapter_tensor_unclaimed', `is of no expert of this base, which has experts 0 to ${base.experts.count - 1} there`);
    else if (!config.experts.get(layer)?.includes(expert)) refuse('adapter_tensor_unclaimed', `is not listed in ${EXPERTS_FILE}`);
    else if (twin) refuse('adapter_tensor_duplicate', `of ${basename(tensor.file)} and ${twin.name} of ${basename(twin.file)} are the same matrix`);
    else {
      claimed.set(key, tensor);         // present, even if wrong: not missing
      if (isFloat(tensor, at, findings)) checkShape(tensor, at, base, findings);
    }
  }
  for (const flag of ['shared_experts', 'non_expert_modules'] as const) refuseOthers(extra[flag], flag, config, findings);
  return gather(claimed, config, base, findings);
}

interface Place { layer: number; expert: number; projection: Projection }

/** Reads a key as ESFT spells it, or as the base's checkpoint does. */
function placing({ layersModule, experts: { module, names } }: MoeBase): (name: string) => Place | null {
  const text = (literal: string): string => literal.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const own = new RegExp(`^${text(layersModule)}\\.(\\d{1,7})\\.${text(module)}\\.(\\d{1,7})\\.(${PROJECTIONS.map(p => text(names[p])).join('|')})\\.weight$`);
  return name => {
    const esft = ESFT.exec(name), [, layer, expert, part] = esft ?? own.exec(name) ?? [];
    if (part === undefined) return null;
    return { layer: Number(layer), expert: Number(expert), projection: esft ? (part as Projection) : PROJECTIONS.find(p => names[p] === part)! };
  };
}

/** What a projection's shape must be. */
const shapeOf = (projection: Projection, { hidden, inner }: ExpertGeometry): number[] =>
  projection === 'down' ? [hidden, inner] : [inner, hidden];

function isFloat({ name, dtype }: TensorRef, { layer, expert }: Place, findings: Findings): boolean {
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return true;
  findings.refuse('adapter_tensor_dtype', `layer ${layer}, expert ${expert}: ${name} is ${dtype}; F32, F16 and BF16 are served`, { tensor: name });
  return false;
}

function checkShape({ name, shape }: TensorRef, { layer, expert, projection }: Place, base: MoeBase, findings: Findings): void {
  const wanted = shapeOf(projection, base.experts);
  if (shape.length === 2 && shape.every((size, i) => size === wanted[i])) return;
  findings.refuse('adapter_tensor_shape', `layer ${layer}, expert ${expert}: ${name} is [${shape.join(', ')}]; on this base it must be [${wanted.join(', ')}]. Was it trained on another?`, { tensor: name });
}

const TRAINED: Readonly<Record<Flag, [what: string, cost: string]>> = {
  shared_experts: ['shared experts', 'every row goes through them, so each such adapter would read all of them again in every step'],
  non_expert_modules: ['modules outside the experts', 'every row goes through them, so each such adapter would be a model of its own in every step'],
};

/** Shared experts and whole other modules: refused, with what they would cost. */
function refuseOthers(tensors: readonly TensorRef[], flag: Flag, { trained }: EsftConfig, findings: Findings): void {
  const [what, cost] = TRAINED[flag], says = trained.includes(flag);
  if (tensors.length === 0 && !says) return;
  const mib = Math.ceil(tensors.reduce((sum, { bytes }) => sum + bytes, 0) / 2 ** 20);
  if (says) {
    const pages = tensors.length > 0 ? `; the ${tensors.length} tensors of this one would take ${mib} MiB of the pool` : '';
    findings.refuse('adapter_field_unsupported', `${EXPERTS_FILE}: "${flag}" is true; trained ${what} are not served: ${cost}${pages}. Train with ${flag}: false`, { field: flag, file: EXPERTS_FILE });
    return;
  }
  for (const { name, file } of tensors) {
    findings.refuse('adapter_tensor_unclaimed', `${name} is no expert's matrix (model.layers.<layer>.mlp.experts.<expert>.{gate,up,down}_proj.weight), and ${what} are not served: ${cost}`, { tensor: name, file: basename(file) });
  }
}

function gather(claimed: ReadonlyMap<string, TensorRef>, config: EsftConfig, { layersModule }: MoeBase, findings: Findings): ClaimedExpert[] {
  const complete: ClaimedExpert[] = [];
  for (const [layer, ids] of config.experts) {
    for (const expert of ids) {
      const [gate, up, down] = PROJECTIONS.map(projection => claimed.get(`${layer}.${expert}.${projection}`) as TensorRef<FloatDtype> | undefined);
      if (gate && up && down) { complete.push({ layer, expert, gate, up, down }); continue; }
      for (const [projection, tensor] of [['gate', gate], ['up', up], ['down', down]] as const) {
        const name = `${layersModule}.${layer}.mlp.experts.${expert}.${projection}_proj.weight`;
        if (!tensor) findings.refuse('adapter_tensor_missing', `layer ${layer}, expert ${expert}: ${name} is in none of the files, but ${EXPERTS_FILE} lists the expert`, { tensor: name });
      }
    }
  }
  return complete;
}
