/** Brings packed adapters from disk into pages of the arena, in the background. */
import { adapterTables } from '@weft/adapters';
import { toWeftError, type ErrorCode } from '@weft/contracts';
import type { Device } from '@weft/kernels';
import type { AdapterEntry, AdapterImage, AdapterLoader, AdapterSlot } from './adapter-cache.js';
import type { Model } from './models/types.js';
import type { PageId } from './page-pool.js';
import type { DeviceRunner } from './runner.js';

/** The image is damaged, or can't be read any more. */
const REPACKED: readonly ErrorCode[] = ['image_corrupt', 'io_error'];

export class ImageLoader implements AdapterLoader {
  /** `repack` makes such an image anew from the adapter's files, of the same size. */
  constructor(
    readonly device: Device, readonly model: Model, readonly runner: DeviceRunner,
    readonly repack: (digest: string) => Promise<AdapterImage>,
  ) {}

  async load(entry: AdapterEntry, pages: readonly PageId[], slot: AdapterSlot): Promise<void> {
    const places = Int32Array.from(pages);
    try {
      await this.#read(entry, places);
    } catch (error) {
      if (!REPACKED.includes(toWeftError(error).code)) throw error;
      entry.image = await this.repack(entry.digest);
      await this.#read(entry, places);
    }
    const { layers, sites } = this.model.geometry;
    await this.runner.bind(slot, adapterTables(entry.image.index, places, { layers, nSites: sites.length, slotWords: this.runner.shape.slotWords }));
  }

  #read({ image: { file, index } }: AdapterEntry, places: Int32Array): Promise<void> {
    return this.device.loadPages(file, 0, index.pages * index.pageBytes, this.runner.arena, index.pageBytes, places, Uint32Array.from(index.crc32c));
  }
}
