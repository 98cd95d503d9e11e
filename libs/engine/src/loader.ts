/** Brings packed adapters from disk into pages of the arena, in the background. */
import { adapterTables } from '@weft/adapters';
import type { Device } from '@weft/kernels';
import type { AdapterEntry, AdapterLoader, AdapterSlot } from './adapter-cache.js';
import type { Model } from './models/types.js';
import type { PageId } from './page-pool.js';
import type { DeviceRunner } from './runner.js';

export class ImageLoader implements AdapterLoader {
  constructor(readonly device: Device, readonly model: Model, readonly runner: DeviceRunner) {}

  async load(entry: AdapterEntry, pages: readonly PageId[], slot: AdapterSlot): Promise<void> {
    const { file, index } = entry.image;
    const places = Int32Array.from(pages);
    await this.device.loadPages(file, 0, index.pages * index.pageBytes, this.runner.arena, index.pageBytes, places, Uint32Array.from(index.crc32c));
    const { geometry } = this.model;
    this.runner.tableOf(slot).set(adapterTables(index, places, {
      layers: geometry.layers, nSites: geometry.sites.length, slotWords: this.runner.shape.slotWords,
    }));
  }
}
