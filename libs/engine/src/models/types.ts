/** What the engine knows of a model, and what a model knows of a step. */
import type { BaseGeometry } from '@weft/adapters';
import type { CommandList, Device, DeviceBuffer, FrameLayout } from '@weft/kernels';

/** An architecture's numbers, checked: every field of config.json that changes the result is in here or was refused. */
export interface ModelConfig {
  architecture: string;
  layers: number; hidden: number; heads: number; kvHeads: number; headDim: number; intermediate: number; vocab: number;
  normEps: number; tiedHead: boolean; qkvBias: boolean; outBias: boolean; mlpBias: boolean; qkNorm: boolean;
  activation: 'silu' | 'geluTanh' | 'gelu';
  /** Tokens that a row sees behind itself, its own included; 0: all. */
  slidingWindow: number;
  rope: RopeConfig;
  maxPositions: number;
  eosIds: number[];
  bosId: number | null;
}

export type RopeConfig =
  | { type: 'default'; theta: number; rotary: number }
  | { type: 'linear'; theta: number; rotary: number; factor: number }
  | { type: 'llama3'; theta: number; rotary: number; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number };

/** How one page holds 16 tokens of all layers: [layer][K, V][kvHead]; all in bytes. */
export interface KvView {
  pageBytes: number;          // rounded up to 4 KiB
  layerStride: number;        // a layer's part, padded to 128
  planeStride: number;        // from K to V inside a layer
  headStride: number;
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
}

/** The two lists of a step: what depends on the tokens, and what turns hidden rows into tokens. */
export interface StepLists { forward: CommandList; sample: CommandList; free(): void }

/** A base model, loaded and packed on a device. */
export interface Model {
  readonly config: ModelConfig;
  readonly geometry: BaseGeometry;
  readonly kv: KvView;
  readonly device: Device;
  readonly weightBytes: number;
  /** Records both lists for a capacity and allocates their activations. */
  record(context: StepContext): StepLists;
}
