/** From an adapter's files to what the engine knows by digest, and back to nothing. */
import { join } from 'node:path';
import { imagePath, loadImageIndex, prepareAdapter, removeImage, type BaseGeometry, type BaseTensors, type BaseText, type Manifest, type PageGeometry } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import type { AdapterImage } from './adapter-cache.js';
import type { Engine } from './engine.js';
import { pagesOf } from './expert-cache.js';

/** Gives `use` a folder with the adapter's files, which need not outlive it. Given up when the signal aborts. */
export type AdapterSource = <T>(use: (folder: string) => Promise<T>, signal?: AbortSignal) => Promise<T>;

export interface LibraryParts {
  engine: Engine;
  base: BaseGeometry;
  baseText: BaseText;
  baseTensors: BaseTensors;
  pages: PageGeometry;
  /** Packed adapters are kept here, below the base's digest. */
  cacheDir: string;
  log: (line: string) => void;
}

export class AdapterLibrary {
  readonly #parts: LibraryParts;
  readonly #sources = new Map<string, AdapterSource>();
  /** What is being done with an adapter: one thing after another. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(parts: LibraryParts) { this.#parts = parts; }

  /** An adapter in a folder that stays. Throws AdapterRefused with everything that was found. */
  async addFolder(folder: string): Promise<Manifest> {
    const { manifest, imageFile, index } = await this.#prepare(folder);
    this.#register(manifest.digest, { file: imageFile, index }, use => use(folder));
    return manifest;
  }

  /**
   * An adapter by digest. `source` is asked where no packed image is cached, and again, without the signal, should that image be found damaged.
   * Throws what the source throws, AdapterRefused, and WeftError `adapter_too_large`, `image_corrupt`, `io_error`, `insufficient_storage`.
   */
  add(digest: string, source: AdapterSource, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(digest, async () => {
      if (this.#parts.engine.adapters.get(digest)) return;
      this.#register(digest, await this.#cached(digest) ?? await this.#packed(digest, use => source(use, signal)), source);
    });
  }

  /** Once nothing runs on it, its pages are given back and its image is removed. Added again before, it stays. */
  async forget(digest: string): Promise<void> {
    if (!await this.#parts.engine.forget(digest)) return;
    await this.#inTurn(digest, async () => {
      if (this.#parts.engine.adapters.get(digest)) return;
      this.#sources.delete(digest);
      await removeImage(this.#imageFile(digest));
    });
  }

  /** Its image turned out to be damaged or gone. */
  repack(digest: string): Promise<AdapterImage> {
    this.#parts.log(`adapter ${digest.slice(0, 12)}: its packed image is damaged or gone; packing it again`);
    return this.#inTurn(digest, () => this.#packed(digest, this.#sources.get(digest)!, true));
  }

  #register(digest: string, image: AdapterImage, source: AdapterSource): void {
    const { engine } = this.#parts, { pageBytes } = image.index, pages = pagesOf(image.index);
    if (pages + 1 > engine.pool.total) {
      throw new WeftError('adapter_too_large', `the adapter takes ${pages} pages of ${pageBytes} bytes; the pool has ${engine.pool.total}`, { limit: engine.pool.total });
    }
    this.#sources.set(digest, source);
    engine.register(digest, image);
  }

  async #cached(digest: string): Promise<AdapterImage | null> {
    const file = this.#imageFile(digest), { base, pages } = this.#parts;
    const index = await loadImageIndex(file, { digest, baseDigest: base.digest, ...pages });
    return index && { file, index };
  }

  #packed(digest: string, source: AdapterSource, rebuild = false): Promise<AdapterImage> {
    return source(async folder => {
      const { manifest, imageFile, index } = await this.#prepare(folder, rebuild);
      if (manifest.digest !== digest) throw new WeftError('image_corrupt', `the files of adapter ${digest} are those of ${manifest.digest}`);
      return { file: imageFile, index };
    });
  }

  #prepare(folder: string, rebuild = false): ReturnType<typeof prepareAdapter> {
    const { base, baseText, baseTensors, pages, cacheDir } = this.#parts;
    return prepareAdapter(folder, base, pages, cacheDir, { rebuild, baseText, baseTensors });
  }

  #imageFile(digest: string): string { return imagePath(join(this.#parts.cacheDir, this.#parts.base.digest), digest, this.#parts.pages); }

  async #inTurn<T>(digest: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(digest) ?? Promise.resolve()).then(work, work);
    this.#turns.set(digest, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(digest) === turn) this.#turns.delete(digest);
    }
  }
}
