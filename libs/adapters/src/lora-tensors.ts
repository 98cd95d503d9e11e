/** Which tensor belongs to which module: every one is claimed exactly once or refused by name. */
import { CONFIG_FILE, type LoraConfig } from './lora-config.js';
import type { EndTensors } from './lora-ends.js';
import type { Target } from './lora-targets.js';
import type { Findings } from './refused.js';
import { endPlaces, placesOf, type BaseGeometry, type FloatDtype, type LoraModule, type Site, type TensorRef } from './types.js';

export const WEIGHTS_FILE = 'adapter_model.safetensors';

/** A module with both of its tensors, of the right shapes, and what else it has. */
export interface LoraPair extends Target, Pick<LoraModule, 'magnitude' | 'bBias' | 'bias' | 'each'> { a: TensorRef<FloatDtype>; b: TensorRef<FloatDtype> }

export const PREFIX = 'base_model.model.';
/** PEFT drops the adapter's name from keys. Trainers that save raw state dicts keep `default`, and PEFT loads that too. */
const KEY = /^base_model\.model\.(.+)\.(lora_[AB](?:\.default)?\.weight|lora_embedding_[AB](?:\.default)?|lora_magnitude_vector(?:\.default)?(?:\.weight)?|lora_B(?:\.default)?\.bias|base_layer\.bias)$/;

type Part = keyof typeof PARTS;
/** What a module may have, by the end of its key, and what its shape must be. */
const PARTS = {
  a: { key: 'lora_A.weight', ofEmbedding: 'lora_embedding_A', shape: ({ rank, site }: Target) => [rank, site.dIn] },
  b: { key: 'lora_B.weight', ofEmbedding: 'lora_embedding_B', shape: ({ rank, site }: Target) => [site.dOut, rank] },
  magnitude: { key: 'lora_magnitude_vector', ofEmbedding: 'lora_magnitude_vector', shape: ({ site }: Target) => [site.dOut] },
  bBias: { key: 'lora_B.bias', ofEmbedding: null, shape: ({ site }: Target) => [site.dOut] },
  bias: { key: 'base_layer.bias', ofEmbedding: null, shape: ({ site }: Target) => [site.dOut] },
} as const;

const keyOf = (part: Part, { name }: Site): string | null => (name === 'embed' ? PARTS[part].ofEmbedding : PARTS[part].key);

function partOf(key: string, site: Site | undefined): Part | undefined {
  const plain = key.replace('.default', '').replace('vector.weight', 'vector');
  return (Object.keys(PARTS) as Part[]).find(part => (site ? keyOf(part, site) === plain : PARTS[part].key === plain));
}

/** Kinds of tensors that PEFT writes for fields that are not served: what to say beyond "unclaimed". */
const FOREIGN: readonly [pattern: RegExp, field: string, what: string][] = [
  [/\.lora_embedding_[AB]/, 'target_modules', 'is a LoRA on an embedding, which this module is not'],
  [/\.lora_magnitude_vector/, 'use_dora', 'is a magnitude of DoRA, but adapter_config.json does not say so'],
  [/\.lora_[AB](\.default)?\.bias$/, 'lora_bias', 'is a bias of LoRA B, but adapter_config.json does not say so'],
  [/\.trainable_tokens_/, 'trainable_token_indices', 'holds trained embeddings, but adapter_config.json does not say so'],
  [/\.modules_to_save\./, 'modules_to_save', 'is a whole trained module, but adapter_config.json does not say so'],
  [/\.bias$/, 'bias', 'is a trained bias; those of modules that LoRA acts on are served, where adapter_config.json says so'],
  [/^(?!.*\.lora_).*\.weight$/, 'modules_to_save', "is a whole module's weight; those of embeddings and heads are served, where adapter_config.json fits them"],
];

/** Pairs tensors with targets, in the order of targets. Everything that doesn't fit is a finding. */
export function claimTensors(tensors: ReadonlyMap<string, TensorRef>, config: LoraConfig, targets: readonly Target[], ends: EndTensors, base: BaseGeometry, findings: Findings): LoraPair[] {
  const served: Record<Part, boolean> = { a: true, b: true, magnitude: config.useDora, bBias: config.loraBias, bias: config.trainsBias };
  const wanted = new Map(targets.map(target => [target.path, target]));
  const known = new Set([...placesOf(base), ...endPlaces(base)].map(({ path }) => path));

  const claimed = new Map<string, TensorRef<FloatDtype>>();
  for (const tensor of tensors.values()) {
    if (ends.claim(tensor, findings)) continue;
    const [, module, key] = KEY.exec(tensor.name) ?? [];
    const part = key === undefined ? undefined : partOf(key, wanted.get(module!)?.site), path = part && served[part] ? module : undefined;
    const target = path === undefined ? undefined : wanted.get(path);
    if (!part || !target) { refuseUnclaimed(tensor.name, path, known, base, findings); continue; }
    const slot = `${path} ${part}`;
    const twin = claimed.get(slot);
    if (twin) {
      findings.refuse('adapter_tensor_duplicate', `${tensor.name} and ${twin.name} are the same tensor of ${path}`, { tensor: tensor.name });
    } else if (fits(tensor, part, target, findings)) {
      claimed.set(slot, tensor);
    } else {
      claimed.set(slot, tensor as TensorRef<FloatDtype>);     // present, if wrong: not missing
    }
  }
  for (const target of targets.filter(({ site }) => site.absorbed)) refuseOnAbsorbed(config, target, claimed, findings);
  return targets.flatMap(target => {
    const of = (part: Part): TensorRef<FloatDtype> | null => claimed.get(`${target.path} ${part}`) ?? null;
    const a = of('a'), b = of('b');
    for (const part of ['a', 'b', 'magnitude', 'bBias'] as const) if (served[part] && !of(part)) refuseMissing(target, part, findings);
    return a && b ? [{ ...target, a, b, magnitude: of('magnitude'), bBias: of('bBias'), bias: of('bias') }] : [];
  });
}

/** What an adapter does to outputs that are never computed, by the field that asks for it, or by the tensor. */
function refuseOnAbsorbed(config: LoraConfig, { path }: Target, claimed: ReadonlyMap<string, TensorRef>, findings: Findings): void {
  const why = `on ${path}, whose outputs latent attention never computes: only lora_A and lora_B act there`;
  if (config.useDora) findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "use_dora" ${why}`, { field: 'use_dora' });
  if (config.loraBias) findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "lora_bias" ${why}`, { field: 'lora_bias' });
  const bias = claimed.get(`${path} bias`);
  if (bias) findings.refuse('adapter_tensor_unclaimed', `${bias.name} acts ${why}`, { tensor: bias.name });
}

function refuseUnclaimed(name: string, path: string | undefined, known: ReadonlySet<string>, base: BaseGeometry, findings: Findings): void {
  const foreign = FOREIGN.find(([pattern]) => pattern.test(name));
  if (path !== undefined && known.has(path)) {
    findings.refuse('adapter_tensor_unclaimed', `${name}: adapter_config.json does not target ${path}`, { tensor: name });
  } else if (path !== undefined) {
    findings.refuse('adapter_tensor_unclaimed', `${name}: ${base.architecture} has no module ${path} that LoRA is served on`, { tensor: name });
  } else if (foreign) {
    findings.refuse('adapter_tensor_unclaimed', `${name} ${foreign[2]}`, { tensor: name, field: foreign[1] });
  } else {
    findings.refuse('adapter_tensor_unclaimed', `${name} is no key of a PEFT LoRA: ${PREFIX}<module>.lora_A.weight or .lora_B.weight`, { tensor: name });
  }
}

function refuseMissing(target: Target, part: Part, findings: Findings): void {
  const tensor = `${PREFIX}${target.path}.${keyOf(part, target.site) ?? PARTS[part].key}`;
  findings.refuse('adapter_tensor_missing', `${tensor} is not in ${WEIGHTS_FILE}, but adapter_config.json targets ${target.path}`, { tensor });
}

function fits(tensor: TensorRef, part: Part, target: Target, findings: Findings): tensor is TensorRef<FloatDtype> {
  const { name, dtype, shape } = tensor;
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    findings.refuse('adapter_tensor_dtype', `${name} is ${dtype}; F32, F16 and BF16 are served`, { tensor: name });
    return false;
  }
  const wanted = PARTS[part].shape(target);
  if (shape.length === wanted.length && shape.every((size, i) => size === wanted[i])) return true;
  findings.refuse('adapter_tensor_shape', `${name} is [${shape.join(', ')}]; with rank ${target.rank} on this base it must be [${wanted.join(', ')}]`, { tensor: name });
  return false;
}
