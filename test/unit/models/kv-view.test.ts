/** Blocks of every KV group fill pages of equal bytes without meeting each other. */
import { expect, test } from 'vitest';
import { LAYER_ALIGN, pageLayout } from '../../../libs/engine/src/models/kv-view.js';

const every = (layers: number, period: number): number[] => Array.from({ length: layers }, (_, layer) => layer).filter(layer => (layer + 1) % period === 0);

test.each([
  ['all layers alike', { layers: 30, slidingWindow: 0, fullLayers: [] }, [{ window: 0, blocks: 1 }]],
  ['a window in all', { layers: 4, slidingWindow: 64, fullLayers: [] }, [{ window: 64, blocks: 1 }]],
  ['every other layer (Gemma 2)', { layers: 26, slidingWindow: 4096, fullLayers: every(26, 2) }, [{ window: 4096, blocks: 1 }, { window: 0, blocks: 1 }]],
  ['five of six (Gemma 3)', { layers: 26, slidingWindow: 512, fullLayers: every(26, 6) }, [{ window: 512, blocks: 1 }, { window: 0, blocks: 5 }]],
] as const)('%s', (_, config, groups) => {
  for (const layerStride of [128, 1152, 12_288]) {
    const layout = pageLayout({ ...config, fullLayers: [...config.fullLayers] }, layerStride);
    expect(layout.groups).toEqual(groups);
    expect(layout.pageBytes % 4096).toBe(0);
    for (const [g, { blocks }] of groups.entries()) {
      const places = layout.layers.filter(({ group }) => group === g).map(({ place }) => place);
      expect(places).toEqual(places.map((__, i) => i));
      expect(layout.pageBytes / blocks % LAYER_ALIGN).toBe(0);
      expect(places.length * layerStride).toBeLessThanOrEqual(layout.pageBytes / blocks);
    }
  }
});
