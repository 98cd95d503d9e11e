/** The vocabulary between an adapter's files, the base model's sites, and the pool's pages. */

/** A place where an adapter can act: one linear map of the base, the same in every layer. */
export interface Site {
  /** Index in the site table: the `site` of op `loraShrink`. Sites that share an input stand side by side. */
  index: number;
  name: 'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down';
  /** Hugging Face module path below the layer, e.g. `self_attn.q_proj`. */
  module: string;
  dIn: number;
  dOut: number;
}

/** What a base model looks like to an adapter. Made by the architecture's entry in the engine's model table. */
export interface BaseGeometry {
  /** sha256 of the base: a version is bound to it. */
  digest: string;
  /** Name or folder, as `base_model_name_or_path` may spell it: a different one is only a warning. */
  names: string[];
  architecture: string;
  layers: number;
  sites: readonly Site[];
  /** `model.layers.${layer}.${site.module}` */
  modulePath(layer: number, site: Site): string;
  /** Every other module of the base that has weights (lm_head, embed_tokens, norms): what `target_modules` may name and Weft refuses by name. */
  otherModules: readonly string[];
}

/** How pages are cut. */
export interface PageGeometry { pageBytes: number; partition: { rank: number; size: number } }

/** One tensor pair of a LoRA: where it acts and what it is. */
export interface LoraModule {
  layer: number;
  site: number;
  rank: number;
  /** alpha / rank or alpha / sqrt(rank). */
  scale: number;
  a: TensorRef;          // [rank, dIn]
  b: TensorRef;          // [dOut, rank]
}
export interface TensorRef { name: string; file: string; dtype: 'F32' | 'F16' | 'BF16'; shape: number[]; offset: number; bytes: number }

export interface Finding { code: string; message: string; field?: string; tensor?: string }

/** What `validate` found: an adapter that will be served exactly as its files say. */
export interface LoraManifest {
  kind: 'lora';
  digest: string;
  folder: string;
  /** Largest rank of any module. */
  rank: number;
  targetModules: string[];
  modules: LoraModule[];
  bytes: number;
  warnings: Finding[];
  /** Files of trainers that were not read. */
  ignored: string[];
}
export type Manifest = LoraManifest;

/** A file of an adapter folder. */
export interface AdapterFile { name: string; path: string; size: number; sha256: string }

/** One file and one line in the table of kinds for each kind of adapter. */
export interface AdapterKind<M extends Manifest = Manifest> {
  name: M['kind'];
  recognises(files: ReadonlyMap<string, AdapterFile>): boolean;
  /** Every field honoured or refused by name, every tensor claimed by exactly one run. Throws AdapterRefused with all findings. */
  validate(folder: string, files: ReadonlyMap<string, AdapterFile>, base: BaseGeometry): Promise<M>;
  /** Writes the image: page-sized blobs and their index. */
  pack(manifest: M, base: BaseGeometry, pages: PageGeometry, outFile: string): Promise<ImageIndex>;
}

/** A list of equal units, see docs/architecture.md, «Adapter view». */
export interface ImageRun {
  layer: number; site: number; half: 0 | 1;      // half: 0 A, 1 B
  dtype: 'bf16' | 'f16'; rank: number; scale: number;
  unitBytes: number; units: number;
  segs: { page: number; offset: number; firstUnit: number; units: number }[];   // offset in bytes inside the page, a multiple of 128
}

/** The index of a packed adapter: which pages, what lies where. Kept beside the pages, keyed by (digest, layout, pageBytes, partition). */
export interface ImageIndex {
  layout: number;                 // version of the layout; another version is packed again
  digest: string; baseDigest: string; kind: Manifest['kind'];
  pageBytes: number; partition: { rank: number; size: number };
  pages: number;
  crc32c: number[];               // of each page
  maxRank: number;
  runs: ImageRun[];               // in execution order
  payloadBytes: number;           // without holes
}
