/**
 * Rows of embedding and head that a LoRA of PEFT brings: whole modules (`modules_to_save`), trained tokens, and the base's own matrices
 * as they were saved beside it, which PEFT loads into the base.
 *
 * A matrix of more or fewer rows than the base's is a vocabulary of its own (`resize_token_embeddings`), which then both ends have.
 *
 * Where the base has one matrix for both ends, PEFT ties trained tokens of the embedding to the head; whole modules and LoRA only
 * with `ensure_weight_tying`, and then saves both.
 */
import { EXTRA_TOKENS } from '@weft/kernels';
import { CONFIG_FILE, type LoraConfig } from './lora-config.js';
import { tiesEnds, type Target } from './lora-targets.js';
import type { Findings } from './refused.js';
import { tensorChunks } from './safetensors.js';
import { endPlaces, type BaseGeometry, type EndName, type EndRows, type FloatDtype, type TensorRef } from './types.js';

/** A tensor's rows before its values were looked at. */
export type ClaimedRows = Omit<EndRows, 'stored'>;

const KEY = /^base_model\.model\.(.+?)\.(weight|base_layer\.weight|modules_to_save\.weight|original_module\.weight|token_adapter\.base_layer\.weight|token_adapter\.trainable_tokens_delta)$/;

/** What an end's tensors are by the end of their keys, where the config says that it has them. */
interface End {
  name: EndName;
  path: string;
  targeted: boolean;
  saved: boolean;
  /** Trained tokens that are stored with it; null: none. */
  tokens: readonly number[] | null;
  wrapped: boolean;
  tensors: Map<string, TensorRef>;
}

/** Tokens whose rows the head gets from the embedding, not from tensors of its own. */
export class EndTensors {
  #vocab: number | null = null;
  readonly #ends: Record<EndName, End>;
  readonly #tiedTokens: boolean;

  constructor(readonly config: LoraConfig, readonly base: BaseGeometry, targets: readonly Target[], findings: Findings) {
    const tokens = { embed: this.#tokensOf('embed'), head: this.#tokensOf('head') };
    const same = tokens.embed !== null && (tokens.head === null || String(tokens.embed) === String(tokens.head));
    this.#tiedTokens = base.ends.tied && same;
    if (tiesEnds(config, base) && tokens.embed && !same) {
      findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "trainable_token_indices" differ between embedding and head, which "ensure_weight_tying" forbids`, { field: 'trainable_token_indices' });
    }
    for (const name of config.trainableTokens.keys()) {
      if (endPlaces(base).some(({ path }) => path.endsWith(name))) continue;
      findings.refuse('adapter_field_unsupported', `${CONFIG_FILE}: "trainable_token_indices" names ${name}; tokens of ${base.ends.embed} and ${base.ends.head} are served`, { field: 'trainable_token_indices' });
    }
    const savedBoth = tiesEnds(config, base) && endPlaces(base).some(({ path }) => isSaved(config, path));
    const [embed, head] = endPlaces(base).map(({ site, path }): End => {
      const name = site.name as EndName, own = name === 'head' && this.#tiedTokens ? null : tokens[name];
      return {
        name, path, targeted: targets.some(target => target.path === path), saved: savedBoth || isSaved(config, path),
        tokens: own, wrapped: tokens[name] !== null || (name === 'head' && this.#tiedTokens), tensors: new Map(),
      };
    });
    this.#ends = { embed: embed!, head: head! };
    for (const { path, targeted, saved, wrapped, tokens: own } of [embed!, head!]) {
      if (wrapped && (targeted || saved)) findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "trainable_token_indices" and ${saved ? '"modules_to_save"' : '"target_modules"'} both name ${path}, which PEFT refuses`, { field: 'trainable_token_indices' });
      const beyond = own?.find(token => token >= base.ends.vocab);
      if (beyond !== undefined) findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "trainable_token_indices" holds ${beyond}; the vocabulary has ${base.ends.vocab} tokens`, { field: 'trainable_token_indices' });
    }
  }

  /** Rows that whole matrices have, where they are not as many as the base's. */
  get vocab(): number | null { return this.#vocab; }

  #tokensOf(end: EndName): readonly number[] | null {
    const path = this.base.ends[end];
    return [...this.config.trainableTokens].find(([name]) => path.endsWith(name))?.[1] ?? null;
  }

  /** Takes a tensor that is an end's; false: it is none. */
  claim(tensor: TensorRef, findings: Findings): boolean {
    const [, path, key] = KEY.exec(tensor.name.replace('.default', '')) ?? [];
    const end = Object.values(this.#ends).find(candidate => candidate.path === path);
    if (!end || key === undefined || !fitsConfig(end, key)) return false;
    const twin = end.tensors.get(key);
    if (twin) findings.refuse('adapter_tensor_duplicate', `${tensor.name} and ${twin.name} are the same tensor of ${path}`, { tensor: tensor.name });
    end.tensors.set(key, tensor);
    const { dtype, name, shape } = tensor, { vocab, hidden } = this.base.ends, rows = shape[0]!, whole = !key.endsWith('delta');
    const resized = whole && shape.length === 2 && rows !== vocab && rows > 0 && rows <= vocab + EXTRA_TOKENS && shape[1] === hidden;
    if (resized) this.#vocab ??= rows;
    const wanted = [whole ? (resized ? this.#vocab : vocab) : end.tokens!.length, hidden];
    if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
      findings.refuse('adapter_tensor_dtype', `${name} is ${dtype}; F32, F16 and BF16 are served`, { tensor: name });
    } else if (whole && shape.length === 2 && shape[1] === hidden && rows > vocab + EXTRA_TOKENS) {
      findings.refuse('adapter_tensor_shape', `${name} has ${rows} tokens; on this base, which has ${vocab}, at most ${vocab + EXTRA_TOKENS} are served`, { tensor: name });
    } else if (String(shape) !== String(wanted)) {
      findings.refuse('adapter_tensor_shape', `${name} is [${shape.join(', ')}]; on this base it must be [${wanted.join(', ')}]`, { tensor: name });
    }
    return true;
  }

  /** Everything that the ends have, of tensors that fit: earlier ones lie under later ones. */
  async rows(findings: Findings): Promise<ClaimedRows[]> {
    const { embed, head } = this.#ends, found: ClaimedRows[] = [];
    for (const end of [embed, head]) {
      const missing = end.saved && !end.tensors.has('weight') ? 'weight' : end.tokens && !end.tensors.has(TOKENS) ? TOKENS : null;
      const tensor = missing && `base_model.model.${end.path}.${missing}`;
      if (tensor) findings.refuse('adapter_tensor_missing', `${tensor} is not among the tensors, but ${CONFIG_FILE} says that it was trained`, { tensor });
      const copy = end.tensors.get('modules_to_save.weight');
      if (copy) await this.#requireSame(copy, end.tensors.get('weight'), findings);
    }
    const base = { embed: baseWeight(embed), head: baseWeight(head) }, other = this.base.ends.tied ? base.embed ?? base.head : undefined;
    const under = (end: End): TensorRef | undefined => (end.saved ? end.tensors.get('weight') : base[end.name] ?? other);
    if (this.#vocab !== null && findings.errors.length === 0) this.#requireBoth(this.#vocab, under, findings);
    if (this.base.ends.tied && base.embed && base.head) await this.#requireSame(base.embed, base.head, findings);
    if (findings.errors.length > 0) return [];
    for (const end of [embed, head]) {
      const matrix = under(end);
      const put = (tensor: TensorRef, tokens: readonly number[] | null): void => { found.push({ end: end.name, tensor: tensor as TensorRef<FloatDtype>, tokens }); };
      if (matrix) put(matrix, null);
      if (end.tokens) put(end.tensors.get(TOKENS)!, end.tokens);
      else if (end.wrapped) put(embed.tensors.get(TOKENS)!, embed.tokens);
    }
    return found;
  }

  /** One end alone would have tokens that the other has not. under: the matrix that an end gets. */
  #requireBoth(vocab: number, under: (end: End) => TensorRef | undefined, findings: Findings): void {
    const ends = Object.values(this.#ends), all = ends.flatMap(({ tensors }) => [...tensors.values()]).filter(({ name }) => !name.endsWith('delta'));
    const other = all.find(({ shape }) => shape[0] !== vocab), size = `${vocab} tokens (the base has ${this.base.ends.vocab})`;
    if (other) findings.refuse('adapter_tensor_shape', `${other.name} has ${other.shape[0]} rows beside a vocabulary of ${size}`, { tensor: other.name });
    for (const end of ends) {
      if (under(end) !== undefined || (this.base.ends.tied && vocab < this.base.ends.vocab)) continue;
      findings.refuse('adapter_tensor_missing', `${end.path} is not among the tensors, but the other end was resized to ${size}`, { tensor: `base_model.model.${end.path}.weight` });
    }
  }

  async #requireSame(a: TensorRef, b: TensorRef | undefined, findings: Findings): Promise<void> {
    if (b && await sameBytes(a, b)) return;
    findings.refuse('adapter_tensor_duplicate', `${a.name} and ${b?.name ?? 'a missing tensor'} must be the same, and are not`, { tensor: a.name });
  }
}

const TOKENS = 'token_adapter.trainable_tokens_delta';

const isSaved = ({ modulesToSave }: LoraConfig, path: string): boolean => modulesToSave.some(name => path.endsWith(name));

/** PEFT's keys depend on what a module is wrapped in. */
function fitsConfig({ targeted, saved, wrapped, tokens }: End, key: string): boolean {
  switch (key) {
    case 'weight': return !targeted && !wrapped;
    case 'base_layer.weight': return targeted;
    // As saved beside resized embeddings: what was trained once more, and what it was before, which nothing reads.
    case 'modules_to_save.weight': case 'original_module.weight': return saved;
    case 'token_adapter.base_layer.weight': return wrapped;
    default: return tokens !== null;
  }
}

function baseWeight({ saved, tensors }: End): TensorRef | undefined {
  return tensors.get('base_layer.weight') ?? tensors.get('token_adapter.base_layer.weight') ?? (saved ? undefined : tensors.get('weight'));
}

async function sameBytes(a: TensorRef, b: TensorRef): Promise<boolean> {
  if (a.dtype !== b.dtype || String(a.shape) !== String(b.shape)) return false;
  const others = tensorChunks(b);
  try {
    for await (const chunk of tensorChunks(a)) {
      const other = await others.next();
      if (other.done || Buffer.compare(chunk, other.value) !== 0) return false;
    }
    return true;
  } finally {
    await others.return();
  }
}
