/**
 * Which layers see a window only.
 * Source: configuration_qwen2.py, configuration_mistral.py, configuration_gemma3.py of transformers 5.17.
 */
import type { Fields } from '../checkpoint/fields.js';

const FULL = 'full_attention';
const SLIDING = 'sliding_attention';
const WINDOW = { min: 1, max: 2 ** 24 };
/** What transformers assumes where `sliding_window` is missing; null says that there is none. */
const DEFAULT_WINDOW = 4096;
const DEFAULT_MAX_WINDOW_LAYERS = 28;

/** `sliding_window`: a number, or null for none. */
function readWindow(fields: Fields): number {
  if (!fields.has('sliding_window')) return DEFAULT_WINDOW;
  return fields.integer('sliding_window', WINDOW) ?? 0;
}

/** `layer_types`, one name per layer, where it stands there. */
function readLayerTypes(fields: Fields, layers: number): string[] | undefined {
  const types = fields.list('layer_types');
  if (types === undefined) return undefined;
  if (types.length !== layers) throw fields.invalid('layer_types', `must name ${layers} layers`);
  if (!types.every((type): type is string => type === FULL || type === SLIDING)) throw fields.unsupported('layer_types', `Weft knows ${FULL} and ${SLIDING}`);
  return types;
}

/** Mistral: the window holds for every layer. */
export function mistralWindow(fields: Fields, layers: number): number {
  const window = readWindow(fields);
  const expected = window > 0 ? SLIDING : FULL;
  if (readLayerTypes(fields, layers)?.some(type => type !== expected)) {
    throw fields.unsupported('layer_types', `with sliding_window ${window || null} every layer is ${expected}: transformers does not read this field of Mistral`);
  }
  return window;
}

/** `sliding_window` where `use_sliding_window` is on; transformers 5 writes 0 where it is off. */
function readSwitchedWindow(fields: Fields): number {
  if (fields.boolean('use_sliding_window')) return readWindow(fields);
  if (fields.raw('sliding_window') !== 0) readWindow(fields);
  return 0;
}

/** Of which layers `layer_types` says that they see all; where it is missing, `otherwise` says which have a window. */
function mixedWindow(fields: Fields, layers: number, slidingWindow: number, otherwise: (layer: number) => boolean): { slidingWindow: number; fullLayers: number[] } {
  const types = readLayerTypes(fields, layers) ?? Array.from({ length: layers }, (_, layer) => (slidingWindow > 0 && otherwise(layer) ? SLIDING : FULL));
  if (slidingWindow === 0 && types.includes(SLIDING)) throw fields.invalid('layer_types', `names ${SLIDING}, but use_sliding_window or sliding_window is off`);
  return { slidingWindow: types.includes(SLIDING) ? slidingWindow : 0, fullLayers: types.flatMap((type, layer) => (type === FULL ? [layer] : [])) };
}

const readWindowLayers = (fields: Fields): number => fields.integer('max_window_layers', { min: 0, max: 2 ** 16 }) ?? DEFAULT_MAX_WINDOW_LAYERS;

/** Qwen: off unless `use_sliding_window`; then for layers from `max_window_layers` on, or as `layer_types` says. */
export function qwenWindow(fields: Fields, layers: number): { slidingWindow: number; fullLayers: number[] } {
  const first = readWindowLayers(fields);
  return mixedWindow(fields, layers, readSwitchedWindow(fields), layer => layer >= first);
}

/** Qwen 3 MoE: for every layer, if `use_sliding_window`. */
export function switchedWindow(fields: Fields, layers: number): number {
  const window = readSwitchedWindow(fields);
  fields.raw('max_window_layers');                 // written by conversion scripts; the architecture does not read it
  const expected = window > 0 ? SLIDING : FULL;
  if (readLayerTypes(fields, layers)?.some(type => type !== expected)) throw fields.unsupported('layer_types', `with use_sliding_window ${window > 0} every layer must be ${expected}`);
  return window;
}

/** Qwen 2 MoE: as `layer_types` says; else, if `use_sliding_window`, in every other layer below `max_window_layers`, from the first on. */
export function alternatingWindow(fields: Fields, layers: number): { slidingWindow: number; fullLayers: number[] } {
  const below = readWindowLayers(fields);
  return mixedWindow(fields, layers, readSwitchedWindow(fields), layer => layer % 2 === 0 && layer < below);
}

/** Phi: for every layer; none where it is missing. */
export const phiWindow = (fields: Fields): number => fields.integer('sliding_window', WINDOW) ?? 0;

/** Gemma: as `layer_types` says, or in all layers but each `period`-th. */
export function gemmaLayers(fields: Fields, layers: number, period: number): { slidingWindow: number; fullLayers: number[] } {
  const types = readLayerTypes(fields, layers) ?? Array.from({ length: layers }, (_, layer) => ((layer + 1) % period === 0 ? FULL : SLIDING));
  const fullLayers = types.flatMap((type, layer) => (type === FULL ? [layer] : []));
  const slidingWindow = readWindow(fields);
  if (slidingWindow === 0 && fullLayers.length < layers) throw fields.invalid('sliding_window', `is needed: ${layers - fullLayers.length} layers have a window`);
  return { slidingWindow, fullLayers };
}
