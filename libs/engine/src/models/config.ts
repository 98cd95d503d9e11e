/** config.json and generation_config.json → ModelConfig. Every field is honoured, known to be without effect, or refused by its name. */
import { Fields, isObject } from '../checkpoint/fields.js';
import { readRope } from './rope.js';
import type { Architecture, ModelConfig, Traits } from './types.js';

const CONFIG = 'config.json';
const GENERATION = 'generation_config.json';

// Bounds of what may be multiplied into buffer sizes and 32-bit op words; several times the largest models there are.
const LAYERS = { min: 1, max: 1024 };
const WIDTH = { min: 1, max: 2 ** 20 };
const HEADS = { min: 1, max: 2 ** 12 };
/** Kernels keep a head in registers or on their stack. */
const HEAD_DIM = { min: 2, max: 1024 };
const VOCAB = { min: 1, max: 2 ** 24 };
const POSITIONS = { min: 1, max: 2 ** 24 };
const EPS = { min: 1e-12, max: 0.1 };

const ACTIVATIONS: Readonly<Record<string, ModelConfig['activation']>> = {
  silu: 'silu', swish: 'silu', gelu: 'gelu', gelu_new: 'geluTanh', gelu_pytorch_tanh: 'geluTanh',
};

/** Fields that do not change what a checkpoint computes: where it came from, how it was trained, how transformers runs or samples it. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  // provenance and storage
  '_name_or_path', 'name_or_path', '_commit_hash', 'transformers_version', 'dtype', 'torch_dtype', 'transformers.js_config',
  'unsloth_fixed', 'unsloth_version', 'is_llama_config', 'tokenizer_class', 'model_max_length', 'max_sequence_length', 'pad_token_id', 'unk_token_id',
  // training
  'initializer_range', 'router_aux_loss_coef', 'router_jitter_noise', 'output_router_logits', 'attention_dropout', 'embd_pdrop', 'resid_pdrop', 'use_cache', 'cache_implementation', 'id2label', 'label2id', 'num_labels', 'problem_type', 'finetuning_task', 'task_specific_params',
  // execution inside transformers
  'attn_implementation', '_attn_implementation', '_attn_implementation_autoset', '_flash_attn_2_enabled', 'return_dict', 'output_attentions',
  'output_hidden_states', 'torchscript', 'use_bfloat16', 'chunk_size_feed_forward', 'use_return_dict',
  // defaults of generate(): requests say these themselves
  'max_length', 'min_length', 'do_sample', 'early_stopping', 'num_beams', 'num_beam_groups', 'diversity_penalty', 'temperature', 'top_k', 'top_p',
  'typical_p', 'repetition_penalty', 'length_penalty', 'no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'num_return_sequences',
  'remove_invalid_values', 'output_scores', 'return_dict_in_generate', 'decoder_start_token_id', 'sep_token_id', 'prefix',
]);

export interface ParsedConfig { architecture: Architecture; config: ModelConfig }

/** Throws WeftError checkpoint_unsupported or checkpoint_config_invalid, with the field. */
export function parseConfig(config: Record<string, unknown>, generation: Record<string, unknown> | null, architectures: readonly Architecture[]): ParsedConfig {
  const fields = new Fields(CONFIG, config);
  const architecture = readArchitecture(fields, architectures);
  if (fields.raw('quantization_config') !== undefined) {
    throw fields.unsupported('quantization_config', 'Weft serves plain bf16, f16 and f32 weights; take the checkpoint that was quantized, or dequantize this one');
  }
  if (namesForeignCode(fields, architecture)) {
    throw fields.unsupported('auto_map', `it names code that comes with the checkpoint, which Weft does not run. Remove the field if the model is a plain ${architecture.name}`);
  }
  const layers = fields.required('num_hidden_layers', fields.integer('num_hidden_layers', LAYERS));
  const hidden = fields.required('hidden_size', fields.integer('hidden_size', WIDTH));
  const heads = fields.required('num_attention_heads', fields.integer('num_attention_heads', HEADS));
  const vocab = fields.required('vocab_size', fields.integer('vocab_size', VOCAB));
  const maxPositions = fields.integer('max_position_embeddings', POSITIONS) ?? architecture.defaults.maxPositions;
  const headDim = readHeadDim(fields, architecture, hidden, heads);
  const intermediate = fields.required('intermediate_size', fields.integer('intermediate_size', WIDTH));
  const { defaults } = architecture;
  const parsed: ModelConfig = {
    architecture: architecture.name, layers, hidden, heads, kvHeads: readKvHeads(fields, architecture, heads), headDim,
    intermediate, vocab,
    normEps: fields.number('rms_norm_eps', EPS) ?? defaults.normEps ?? 1e-6,
    tiedHead: fields.boolean('tie_word_embeddings') ?? defaults.tiedHead ?? false,
    activation: readActivation(fields, architecture),
    ...(architecture.rope?.(fields, headDim, maxPositions) ?? { rope: readRope(fields, headDim, maxPositions, { theta: defaults.ropeTheta }), localRope: null }),
    maxPositions,
    bosId: fields.integer('bos_token_id', { min: 0, max: vocab - 1 }) ?? null,
    eosIds: readEos(fields, generation, vocab),
    ...plain(headDim), ...architecture.traits(fields, { layers, hidden, headDim, intermediate, maxPositions }),
  };
  if ((fields.integer('pretraining_tp', { min: 1, max: 1024 }) ?? 1) !== 1) {
    throw fields.unsupported('pretraining_tp', 'only 1 is supported: other values add up partial products in another order');
  }
  const unknown = fields.unread().find(name => !WITHOUT_EFFECT.has(name));
  if (unknown !== undefined) {
    throw fields.unsupported(unknown, `Weft does not know this field of ${architecture.name}. Remove it if it does not change what the model computes`);
  }
  return { architecture, config: parsed };
}

/** Llama. */
const plain = (headDim: number): Traits => ({
  qkvBias: false, outBias: false, mlpBias: false, qkNorm: null, fused: false, outputNorms: false, normPlusOne: false, embedScale: 1,
  attentionScale: headDim ** -0.5, attentionSoftcap: 0, logitSoftcap: 0, slidingWindow: 0, fullLayers: [], latent: null, moe: null,
});

/** Code that comes with a checkpoint; a repository may stand before its name. */
function namesForeignCode(fields: Fields, { ownCode = [] }: Architecture): boolean {
  const map: unknown = fields.raw('auto_map');
  return map !== undefined && !(isObject(map) && Object.values(map).every(name => typeof name === 'string' && ownCode.includes(name.replace(/^.*--/, ''))));
}

function readArchitecture(fields: Fields, architectures: readonly Architecture[]): Architecture {
  const known = architectures.map(a => a.name).join(', ');
  const modelType = fields.string('model_type');
  const names = fields.list('architectures');
  if (names === undefined) {
    const byType = architectures.find(a => a.modelType === fields.required('architectures', modelType));
    if (!byType) throw fields.unsupported('model_type', `Weft serves ${known}`);
    return byType;
  }
  const found = architectures.find(a => names.length === 1 && a.name === names[0]);
  if (!found) throw fields.unsupported('architectures', `Weft serves ${known}`);
  if (modelType !== undefined && modelType !== found.modelType) throw fields.invalid('model_type', `contradicts architectures (${found.name})`);
  return found;
}

function readHeadDim(fields: Fields, { defaults }: Architecture, hidden: number, heads: number): number {
  const given = fields.integer('head_dim', HEAD_DIM) ?? defaults.headDim;
  if (given === null && hidden % heads !== 0) throw fields.invalid('hidden_size', `must be a multiple of num_attention_heads (${heads}) where head_dim is not given`);
  const headDim = given ?? hidden / heads;
  if (headDim % 2 !== 0) throw fields.invalid(fields.has('head_dim') ? 'head_dim' : 'hidden_size', `gives heads of ${headDim} values; RoPE turns pairs`);
  return headDim;
}

function readKvHeads(fields: Fields, { defaults }: Architecture, heads: number): number {
  // null says «as many as heads» everywhere; a missing field says what the architecture's default is.
  const missing = fields.has('num_key_value_heads') ? heads : defaults.kvHeads ?? heads;
  const kvHeads = fields.integer('num_key_value_heads', HEADS) ?? missing;
  if (heads % kvHeads !== 0) throw fields.invalid('num_key_value_heads', `must divide num_attention_heads (${heads}); where it is missing it is ${missing}`);
  return kvHeads;
}

function readActivation(fields: Fields, { activation: own }: Architecture): ModelConfig['activation'] {
  const read = (field: string): ModelConfig['activation'] | undefined => {
    const name = fields.string(field);
    if (name !== undefined && !Object.hasOwn(ACTIVATIONS, name)) throw fields.unsupported(field, `Weft knows ${Object.keys(ACTIVATIONS).join(', ')}`);
    return name === undefined ? undefined : ACTIVATIONS[name];
  };
  const usual = read('hidden_act');
  if (!own) return usual ?? 'silu';
  const found = read(own.field) ?? own.otherwise;
  if (usual !== undefined && usual !== found) throw fields.invalid('hidden_act', `contradicts ${own.field}, which decides (${found})`);
  return found;
}

/** generation_config.json wins where it names any: instruct models end their turns with ids that config.json lacks. */
function readEos(fields: Fields, generation: Record<string, unknown> | null, vocab: number): number[] {
  const own = eosOf(fields, vocab);
  return (generation && eosOf(new Fields(GENERATION, generation), vocab)) ?? own ?? [];
}

function eosOf(fields: Fields, vocab: number): number[] | undefined {
  const value = fields.raw('eos_token_id');
  if (value === undefined) return undefined;
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  if (!ids.every((id): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocab)) {
    throw fields.invalid('eos_token_id', `must be a token id, or a list of them, below vocab_size (${vocab})`);
  }
  return [...new Set(ids)];
}

