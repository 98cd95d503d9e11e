/** How pages hold keys and values. */
import type { KvGroup } from '../kv-groups.js';
import type { KvView, ModelConfig } from './types.js';

const PAGE_ALIGN = 4096;
/** A layer's part of a block starts at a cache line pair. */
export const LAYER_ALIGN = 128;

/** Positions that a layer's rows see, their own included; 0: all. */
export const windowOf = ({ slidingWindow, fullLayers }: Pick<ModelConfig, 'slidingWindow' | 'fullLayers'>, layer: number): number =>
  fullLayers.includes(layer) ? 0 : slidingWindow;

/**
 * Groups of the layers with equal windows. All pages have equal bytes: one block of 16 positions of the largest group, or as
 * many blocks of a smaller one as there is room for. layerStride: bytes of a layer in a block.
 */
export function pageLayout(config: Pick<ModelConfig, 'layers' | 'slidingWindow' | 'fullLayers'>, layerStride: number): Pick<KvView, 'groups' | 'layers' | 'pageBytes'> {
  const windows = Array.from({ length: config.layers }, (_, layer) => windowOf(config, layer)), distinct = [...new Set(windows)];
  const counts = distinct.map(window => windows.filter(other => other === window).length), most = Math.max(...counts);
  const groups: KvGroup[] = distinct.map((window, g) => ({ window, blocks: Math.floor(most / counts[g]!) }));
  // A page is a whole number of a group's blocks.
  const unit = groups.reduce((multiple, { blocks }) => leastMultiple(multiple, blocks * LAYER_ALIGN), PAGE_ALIGN);
  return {
    groups, pageBytes: Math.ceil(most * layerStride / unit) * unit,
    layers: windows.map((window, layer) => ({ group: distinct.indexOf(window), place: windows.slice(0, layer).filter(other => other === window).length })),
  };
}

function leastMultiple(a: number, b: number): number {
  let x = a, y = b;
  while (y > 0) [x, y] = [y, x % y];
  return a / x * b;
}
