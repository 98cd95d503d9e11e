/** Brings packed adapters from disk into pages of the arena, in the background. */
import { adapterTables, type ImageExpert } from '@weft/adapters';
import { toWeftError, type ErrorCode } from '@weft/contracts';
import { DType, type Device } from '@weft/kernels';
import type { AdapterEntry, AdapterImage, AdapterLoader, AdapterSlot } from './adapter-cache.js';
import type { ExpertEntry } from './expert-cache.js';
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
    if (places.length > 0) await this.#intact(entry, () => this.#read(entry, 0, places));
    const { layers, sites } = this.model.geometry, { index } = entry.image;
    if (index.runs.length > 0) await this.runner.bind(slot, adapterTables(index, places, { layers, nSites: sites.length, slotWords: this.runner.shape.slotWords }));
    if (index.experts.length > 0) {
      const slots = new Map(entry.experts.map(expert => [expert.hash, expert.slot!]));
      await this.runner.experts!.bindAdapter(slot, index.experts.map(({ layer, expert, hash }) => ({ layer, expert, slot: slots.get(hash)! })));
    }
  }

  async loadExperts(entry: AdapterEntry, experts: readonly ExpertEntry[]): Promise<void> {
    await this.#intact(entry, async () => {
      const wanted = new Map(experts.map(expert => [expert.hash, expert])), found = new Map<string, ImageExpert>();
      for (const expert of entry.image.index.experts) if (wanted.has(expert.hash) && !found.has(expert.hash)) found.set(expert.hash, expert);
      // Those that lie next to each other in the image are read together.
      let first = 0, places: PageId[] = [];
      const read = async (): Promise<void> => { if (places.length > 0) await this.#read(entry, first, Int32Array.from(places)); };
      for (const { hash, page } of found.values()) {
        if (page !== first + places.length) { await read(); first = page; places = []; }
        places.push(...wanted.get(hash)!.pages);
      }
      await read();
    });
    for (const { slot, dtype, pages } of experts) await this.runner.experts!.bindExpert(slot!, DType[dtype], pages);
  }

  /** Reads once more from an image that is made anew if it is damaged or gone. */
  async #intact(entry: AdapterEntry, read: () => Promise<void>): Promise<void> {
    try {
      await read();
    } catch (error) {
      if (!REPACKED.includes(toWeftError(error).code)) throw error;
      entry.image = await this.repack(entry.digest);
      await read();
    }
  }

  /** Pages of the image from `first` on. */
  #read({ image: { file, index: { pageBytes, crc32c } } }: AdapterEntry, first: number, places: Int32Array): Promise<void> {
    return this.device.loadPages(file, first * pageBytes, places.length * pageBytes, this.runner.arena, pageBytes, places, Uint32Array.from(crc32c.slice(first, first + places.length)));
  }
}
