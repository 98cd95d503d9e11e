/** What the engine knows of a model, and what a model knows of a step. */
import type { BaseGeometry, BaseTensors, Site } from '@weft/adapters';
import type { CommandList, Device, DeviceBuffer, ExpertTables, FrameLayout } from '@weft/kernels';
import type { KvGroup } from '../kv-groups.js';
import type { Fields } from '../checkpoint/fields.js';

/** An architecture's numbers, checked: every field of config.json that changes the result is in here or was refused. */
export interface ModelConfig extends Traits {
  architecture: string;
  layers: number; hidden: number; heads: number; kvHeads: number; headDim: number; intermediate: number; vocab: number;
  normEps: number;
  /** As config.json says; a checkpoint with two different matrices is loaded untied (see load.ts). */
  tiedHead: boolean;
  activation: 'silu' | 'geluTanh' | 'gelu';
  rope: RopeConfig;
  /** Of layers with a window, where it is not that of the others (Gemma 3). */
  localRope: RopeConfig | null;
  maxPositions: number;
  eosIds: number[];
  bosId: number | null;
}

/** What sets one dense decoder apart from another. */
export interface Traits {
  qkvBias: boolean; outBias: boolean; mlpBias: boolean;
  /** RMSNorm over each head of q and k, or over all heads of each together (OLMoE). */
  qkNorm: 'heads' | 'whole' | null;
  /** One module `qkv_proj` for q, k and v, one `gate_up_proj` for gate and up (Phi). */
  fused: boolean;
  /** What attention and the MLP give is normed too, before it is added (Gemma). */
  outputNorms: boolean;
  /** Weights of norms are stored as w - 1 (Gemma). */
  normPlusOne: boolean;
  embedScale: number;
  attentionScale: number;
  /** Scores and logits become cap · tanh(x / cap); 0: they stay. */
  attentionSoftcap: number; logitSoftcap: number;
  /** Tokens that a row sees behind itself, its own included; 0: all. */
  slidingWindow: number;
  /** Layers that see all although others have a window. */
  fullLayers: readonly number[];
  /** Attention over latents instead of keys and values. */
  latent: LatentConfig | null;
  /** Mixture of experts, in the layers that have it. */
  moe: MoeConfig | null;
}

/**
 * Multi-head latent attention: q is compressed to `qRank` values or not at all, keys and values to `rank`. A head's query is of `nope`
 * values and `rope` ones that turn, its value of `value`.
 */
export interface LatentConfig { qRank: number | null; rank: number; nope: number; rope: number; value: number }

/** Layers where each row goes to `topK` of `experts` MLPs, and what it gets from them is added up by weight (op `routeExperts`). */
export interface MoeConfig {
  layers: readonly number[];
  experts: number; topK: number;
  /** Values between gate|up and down of an expert. */
  inner: number;
  nGroups: number; topGroups: number; normalize: boolean; scale: number;
  /** An MLP beside them that every row goes to. gated: what it gives is weighed by the sigmoid of a row of its own (Qwen 2). */
  shared: { module: string; inner: number; gated: boolean } | null;
  /** Where experts stand in a layer: the path of router and experts' list, and how an expert's three matrices are called. */
  modules: readonly string[];
  names: { gate: string; up: string; down: string };
}

/** `rotary`: how many values of a head turn, the first. */
export type RopeConfig =
  | { type: 'default'; theta: number; rotary: number }
  | { type: 'linear'; theta: number; rotary: number; factor: number }
  | { type: 'llama3'; theta: number; rotary: number; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number }
  /** Frequencies of few turns in the original context are divided by `factor`, those of many stay, between them both are blended. */
  | { type: 'yarn'; theta: number; rotary: number; factor: number; betaFast: number; betaSlow: number; truncate: boolean; attentionFactor: number; mscaleAllDim: number; originalMaxPositions: number }
  /** Frequencies are divided by one list of factors in contexts up to `originalMaxPositions`, by the other beyond. */
  | { type: 'longrope'; theta: number; rotary: number; short: readonly number[]; long: readonly number[]; attentionFactor: number; originalMaxPositions: number };

/** A site without its place in the table. */
export type SiteShape = Omit<Site, 'index'>;

/** Values between the linear maps of a block: what its first ones give, and what its last one reads. */
export interface BlockWidths { wide: number; inner: number }

/** Records one sublayer: from the normed residual to what is added to it. */
export interface Block<W> { record(weights: W, layer: number): void }

export interface Shape { layers: number; hidden: number; headDim: number; intermediate: number; maxPositions: number }

/** An architecture: one file, and one line in ARCHITECTURES (index.ts). */
export interface Architecture {
  /** As `architectures` and `model_type` of config.json spell it. */
  name: string;
  modelType: string;
  /**
   * What transformers assumes where config.json is silent. `kvHeads` null: as many as heads; `headDim` null: hidden / heads;
   * `normEps`: 1e-6; `tiedHead`: false; `ropeTheta`: 10,000.
   */
  defaults: { kvHeads: number | null; headDim: number | null; maxPositions: number; normEps?: number; tiedHead?: boolean; ropeTheta?: number };
  /** The field that names the activation, and what it is where nothing names it; `hidden_act` and silu if not given. */
  activation?: { field: string; otherwise: ModelConfig['activation'] };
  /** Reads RoPE where `readRope` does not do. */
  rope?(fields: Fields, headDim: number, maxPositions: number): Pick<ModelConfig, 'rope' | 'localRope'>;
  /** Values of `auto_map` that name the code that transformers has as this architecture. */
  ownCode?: readonly string[];
  /** Reads the fields that only this architecture has; what it leaves out is as in Llama. Throws checkpoint_unsupported, checkpoint_config_invalid. */
  traits(fields: Fields, shape: Shape): Partial<Traits>;
  /** Where adapters can act, in the order of the op list. */
  sites(config: ModelConfig): Site[];
}

/** What inputs of linear maps are stored as: f32, or rounded to bf16, where every instruction set has its own way of multiplying. */
export type Activations = 'f32' | 'bf16';

/** What keys and values are stored as; int8 with an f16 scale for each head and token; bf16 for processors that multiply it by pairs. */
export type KvType = 'f16' | 'bf16' | 'int8';

/** How pages hold keys and values: blocks of 16 tokens of a group's layers, [layer][K, V][kvHead], or one latent plane; all in bytes. */
export interface KvView {
  groups: readonly KvGroup[];
  /** Of each layer: its group, and its place among that group's layers. */
  layers: readonly { group: number; place: number }[];
  type: KvType;
  pageBytes: number;          // whole blocks of each group, and of 4 KiB
  layerStride: number;        // a layer's part, padded to 128
  planeStride: number;        // from K to V inside a layer
  headStride: number;         // an int8 plane's heads are followed by their scales
}

/** Everything outside the model that its lists refer to. */
export interface StepContext {
  frame: FrameLayout;
  arena: DeviceBuffer; pages: number; pageBytes: number;
  /** Slot state and token history: see SLOT in @weft/kernels. */
  slots: DeviceBuffer; history: DeviceBuffer; nSlots: number; maxLen: number;
  /** Adapter tables: see adapter-table.ts in @weft/kernels. */
  tables: DeviceBuffer; adapterSlots: number; slotWords: number;
  /** Rank up to which LoRA scratch is laid out. */
  maxRank: number;
  maskRows: number; maskWords: number;
  /** Expert tables: see expert-table.ts in @weft/kernels; null where no adapter brings experts. */
  experts: { buffer: DeviceBuffer; tables: ExpertTables } | null;
}

/**
 * The two lists of a step: what depends on the tokens, and what turns hidden rows into tokens. Both take the bindings
 * `frame` and `hidden` (f32 [logits][hidden]: written by forward, read by sample), sample also `results` and `masks`.
 */
/** The lists of steps of up to `tokens` rows. */
export interface Bucket { tokens: number; forward: CommandList; sample: CommandList }
/** buckets: in ascending order. ready: settles when what the lists read is on the device. */
export interface StepLists { buckets: readonly Bucket[]; ready: Promise<void>; free(): void }

/** A base model, loaded and packed on a device. */
export interface Model {
  readonly config: ModelConfig;
  readonly geometry: BaseGeometry;
  /** Of the checkpoint: what adapters are packed by. */
  readonly tensors: BaseTensors;
  readonly kv: KvView;
  readonly device: Device;
  readonly weightBytes: number;
  /** Records both lists for a capacity, and for steps of fewer rows where a device wants it so, and allocates their activations. */
  record(context: StepContext): StepLists;
}
