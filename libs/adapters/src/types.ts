/** The vocabulary between an adapter's files, the base model's sites, and the pool's pages. */
import type { ErrorCode } from '@weft/contracts';
import { End } from '@weft/kernels';

/** A place where an adapter can act: one linear map of the base, the same in every layer that has it; or one of its ends. */
export interface Site {
  /** Index in the site table: the `site` of op `loraShrink`. Sites that share an input stand side by side. */
  index: number;
  name: 'q' | 'k' | 'v' | 'qkv' | 'o' | 'gate' | 'up' | 'gateUp' | 'down' | 'sharedGate' | 'sharedUp' | 'sharedDown'
    | 'expertGate' | 'expertUp' | 'expertGateUp' | 'expertDown' | 'router' | 'sharedSwitch' | 'renamedRouter' | 'embed' | 'head' | 'qA' | 'qB' | 'kvA' | 'kvB';
  /** Hugging Face module path below the layer, e.g. `self_attn.q_proj`; of an end, the whole path. */
  module: string;
  dIn: number;
  dOut: number;
  /** Its outputs are never computed (latent attention): what acts on them can't be served. */
  absorbed?: boolean;
  /** Layers that have it, ascending; all where it is not given. */
  layers?: readonly number[];
  /** A parameter `weight`, which `target_parameters` names, since transformers 5; `also`: a linear module of the same path before. */
  parameter?: 'also' | 'only';
  /** It stands for as many maps, one of each expert, of which a row meets those that it is routed to. */
  experts?: number;
}

/**
 * `count` MLPs [inner, hidden] (gate, up) and [hidden, inner] (down) in each of `layers`, of which a row goes to topK. module: their
 * path below the layer, names: how an expert's matrices are called below `module.e`.
 */
export interface ExpertGeometry {
  layers: number[]; count: number; topK: number; hidden: number; inner: number;
  module: string; names: { gate: string; up: string; down: string };
}

export const siteExists = ({ layers }: Pick<Site, 'layers'>, layer: number): boolean => layers?.includes(layer) ?? true;

/** What a base model looks like to an adapter: plain data, as JSON too. Made by the architecture's entry in the engine's model table. */
export interface BaseGeometry {
  /** sha256 of the base: a version is bound to it. */
  digest: string;
  /** How people call it, then how else `base_model_name_or_path` may spell it, folders included: a different one is only a warning. */
  names: string[];
  architecture: string;
  layers: number;
  sites: readonly Site[];
  /** Path of the list of layers, e.g. `model.layers`: see `modulePath`. */
  layersModule: string;
  /** What layers with experts have; null where no layer has any. */
  experts: ExpertGeometry | null;
  ends: Ends;
  /** Every other module of the base that has weights (norms): what `target_modules` may name and Weft refuses by name. */
  otherModules: readonly string[];
}

/** Where tokens become rows, and rows logits of tokens. */
export interface Ends {
  /** Paths of the modules. */
  embed: string;
  head: string;
  vocab: number;
  hidden: number;
  /** The embedding's rows are multiplied by it (Gemma). */
  embedScale: number;
  /** Both are one matrix. */
  tied: boolean;
}
export type EndName = 'embed' | 'head';

/** A base with experts. */
export type MoeBase = BaseGeometry & { experts: ExpertGeometry };
/** The matrices of an expert, in the order in which it is stored. */
export const PROJECTIONS = ['gate', 'up', 'down'] as const;
export type Projection = keyof ExpertGeometry['names'];

/** Hugging Face path of a site in a layer, e.g. `model.layers.3.self_attn.q_proj`. */
export const modulePath = ({ layersModule }: Pick<BaseGeometry, 'layersModule'>, layer: number, { name, module }: Site): string =>
  (name === 'embed' || name === 'head' ? module : `${layersModule}.${layer}.${module}`);

/** The ends as sites: of one more layer, in a table of their own (`End`). A token is to an embedding what an input is to a linear map. */
export function endPlaces({ layers, ends }: Pick<BaseGeometry, 'layers' | 'ends'>): { layer: number; site: Site; path: string }[] {
  const { embed, head, vocab, hidden } = ends;
  const sites: Site[] = [
    { index: End.embed, name: 'embed', module: embed, dIn: vocab, dOut: hidden },
    { index: End.head, name: 'head', module: head, dIn: hidden, dOut: vocab },
  ];
  return sites.map(site => ({ layer: layers, site, path: site.module }));
}

/** All linear modules of a base where adapters can act, layer by layer. */
export function placesOf(base: Pick<BaseGeometry, 'layers' | 'layersModule' | 'sites'>): { layer: number; site: Site; path: string }[] {
  return Array.from({ length: base.layers }, (_, layer) => base.sites.filter(site => siteExists(site, layer) && site.experts === undefined).map(site => ({ layer, site, path: modulePath(base, layer, site) }))).flat();
}

/** How pages are cut. */
export interface PageGeometry { pageBytes: number; partition: { rank: number; size: number } }

/** Bytes per value of every dtype that a safetensors file may name. */
export const DTYPE_BYTES = {
  BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, U16: 2, I16: 2, F16: 2, BF16: 2,
  U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8, C64: 8,
} as const;
export type Dtype = keyof typeof DTYPE_BYTES;
/** Dtypes that weights come in. */
export type FloatDtype = 'F32' | 'F16' | 'BF16';

/** Where a tensor lies: `bytes` bytes from `offset` of the file at path `file`, row-major, little-endian. */
export interface TensorRef<D extends Dtype = Dtype> { name: string; file: string; dtype: D; shape: number[]; offset: number; bytes: number }

/** Formats that pages hold adapter values in. */
export type StoredDtype = 'bf16' | 'f16';

/** One tensor pair of a LoRA: where it acts and what it is. */
export interface LoraModule {
  /** That of the ends is the number of layers. */
  layer: number;
  /** Index in the site table, or in that of the ends. */
  site: number;
  rank: number;
  /** alpha / rank or alpha / sqrt(rank), a value of f32. */
  scale: number;
  a: TensorRef<FloatDtype>;          // [rank, dIn]
  b: TensorRef<FloatDtype>;          // [dOut, rank]
  /** What each half is stored as: exact for 16-bit uploads, for f32 the format that loses less. */
  aStored: StoredDtype;
  bStored: StoredDtype;
  /** DoRA's magnitudes, the bias of B, the trained bias of the module: [dOut] each. */
  magnitude: TensorRef<FloatDtype> | null;
  bBias: TensorRef<FloatDtype> | null;
  bias: TensorRef<FloatDtype> | null;
  /**
   * On experts: the halves of each, where they are tensors of their own; `a` and `b` are then the first of them. Else `a` is
   * [experts·rank, dIn] and `b` [dOut, rank·experts], experts fastest.
   */
  each?: readonly Pick<LoraModule, 'a' | 'b'>[];
}

/** Rows of an end that an adapter has instead of the base's. */
export interface EndRows {
  end: EndName;
  tensor: TensorRef<FloatDtype>;     // [rows, hidden]
  /** The token of each row; null: row i is token i's. */
  tokens: readonly number[] | null;
  stored: StoredDtype;
}

/** The base's own tensors, by name: what packing needs of them is known where the base is. */
export type BaseTensors = ReadonlyMap<string, TensorRef>;

/** Codes of warnings: the adapter is served, and its owner should know. */
export type WarningCode =
  | 'adapter_base_mismatch'          // trained on a base of another name
  | 'adapter_target_unmatched'       // a target, pattern or layer of the config matches nothing in this base
  | 'adapter_module_without_effect'; // a module's B·A is zero

/** Something found in an adapter: an error (`ErrorCode`) or a warning, with the field or tensor it is about. */
export interface Finding { code: ErrorCode | WarningCode; message: string; field?: string; tensor?: string; file?: string }

/** What `validate` found: an adapter that will be served exactly as its files say. */
export interface LoraManifest {
  kind: 'lora';
  digest: string;
  folder: string;
  /** Largest rank of any module. */
  rank: number;
  /** Modules that it acts on, as people name them (`q_proj`), in site order. */
  targetModules: string[];
  /** In execution order: layer by layer, site by site; the ends last. */
  modules: LoraModule[];
  /** Later ones stand over earlier ones. */
  ends: EndRows[];
  /** Tokens that it has, more or fewer than the base; null: the base's. */
  vocab: number | null;
  /** Sum of the sizes of the files that the digest covers. */
  bytes: number;
  warnings: Finding[];
  /** Entries of the folder that were not read: trainers' leftovers, a tokenizer equal to the base's. */
  ignored: string[];
}

/** One expert that takes the place of the base's. */
export interface EsftExpert extends Readonly<Record<Projection, TensorRef<FloatDtype>>> {
  layer: number;
  expert: number;
  /** Of all three matrices: theirs if they are of one 16-bit dtype, else the format that loses less. */
  stored: StoredDtype;
}

/** Whole experts in the place of the base's (ESFT). */
export interface EsftManifest extends Pick<LoraManifest, 'digest' | 'folder' | 'targetModules' | 'bytes' | 'warnings' | 'ignored'> {
  kind: 'esft';
  rank: 0;
  /** By layer, then by expert. */
  experts: EsftExpert[];
}
export type Manifest = LoraManifest | EsftManifest;

/** A file of an adapter folder. */
export interface AdapterFile { name: string; path: string; size: number; sha256: string }

/** An adapter folder, listed and hashed: the files that count, names of those that make prompts in another way than the base's, and of those that are not read. */
export interface AdapterFolder { path: string; files: ReadonlyMap<string, AdapterFile>; text: string[]; ignored: string[]; digest: string }

/** One file and one line in the table of kinds for each kind of adapter. */
export interface AdapterKind<M extends Manifest = Manifest> {
  name: M['kind'];
  recognises(files: AdapterFolder['files']): boolean;
  /** Every field honoured or refused by name, every tensor claimed by exactly one run. Throws AdapterRefused with all findings. */
  validate(folder: AdapterFolder, base: BaseGeometry): Promise<M>;
  /** Writes the image: page-sized blobs, and their index beside them. */
  pack(manifest: M, base: BaseGeometry, pages: PageGeometry, outFile: string, tensors?: BaseTensors): Promise<ImageIndex>;
}

/** A list of equal units, see docs/architecture.md, «Adapter view». */
export interface ImageRun {
  layer: number; site: number; half: 0 | 1;      // half: 0 A, 1 B
  dtype: StoredDtype; rank: number; scale: number;
  unitBytes: number; units: number;
  /** Bytes behind the ranks of a unit of B: what the adapter does to outputs. Behind a row of an end: the token's id. */
  tail: number;
  /** On experts: units of so many, one after another. */
  experts?: number;
  segs: { page: number; offset: number; firstUnit: number; units: number }[];   // offset in bytes inside the page, a multiple of 128
}

/** An expert in an image: the W units of [gate; up], then of down, from the beginning of a page on. */
export interface ImageExpert {
  layer: number; expert: number;
  /** sha256 of its units and of what they are: the same expert has it in every adapter. */
  hash: string;
  dtype: StoredDtype;
  /** The first of its pages in the image, and how many. */
  page: number; pages: number;
}

/** The index of a packed adapter: which pages, what lies where. Kept beside the pages, keyed by (digest, layout, pageBytes, partition). */
export interface ImageIndex {
  layout: number;                 // version of the layout; another version is packed again
  digest: string; baseDigest: string; kind: Manifest['kind'];
  pageBytes: number; partition: { rank: number; size: number };
  pages: number;
  crc32c: number[];               // of each page
  maxRank: number;
  /** It scales what the base answers (DoRA): no other adapter can act on the same row. */
  scalesBase: boolean;
  /** It has rows of its own of the embedding or of the head. */
  replacesEnds: boolean;
  /** Tokens that it has, where they are not as many as the base's. */
  vocab: number | null;
  /** It acts on logits. */
  actsOnHead: boolean;
  runs: ImageRun[];               // in execution order, in the image's first pages
  experts: ImageExpert[];         // behind them, by layer and expert; those that are the base's own are left out
  payloadBytes: number;           // without holes
}
