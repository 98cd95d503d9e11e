/** Packed adapters on disk: page-sized blobs, and beside them their index. A cache: the truth is the adapter's files. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { crc32c } from './crc32c.js';
import { LAYOUT_VERSION, UNIT_ALIGN } from './layout.js';
import type { ImageIndex, ImageRun, PageGeometry } from './types.js';
import { writeError } from './write-error.js';

/** Everything that decides an image's bytes is in its name; the base is the folder above. */
export function imagePath(cacheDir: string, digest: string, { pageBytes, partition }: PageGeometry): string {
  return join(cacheDir, `${digest}-v${LAYOUT_VERSION}-p${pageBytes}-${partition.rank}of${partition.size}.image`);
}

/** What an index must say to be the one that is wanted. */
export type ImageKey = Pick<ImageIndex, 'digest' | 'baseDigest' | 'pageBytes' | 'partition'>;

/** The index of a cached image; null if there is none, or not this one, or not all of it: then it is packed again. */
export async function loadImageIndex(imageFile: string, key: ImageKey): Promise<ImageIndex | null> {
  try {
    const index = JSON.parse(await readFile(indexPath(imageFile), 'utf8')) as ImageIndex;
    const { size } = await stat(imageFile);
    return isFor(index, key) && size === index.pages * index.pageBytes && isSound(index) ? index : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new WeftError('io_error', `${imageFile} can't be read: ${(error as Error).message}`, { file: imageFile, cause: error });
  }
}

const indexPath = (imageFile: string): string => `${imageFile}.json`;

function isFor(index: ImageIndex, key: ImageKey): boolean {
  return index.layout === LAYOUT_VERSION && index.digest === key.digest && index.baseDigest === key.baseDigest &&
    index.pageBytes === key.pageBytes && index.partition.rank === key.partition.rank && index.partition.size === key.partition.size;
}

/** A damaged index would send kernels to wrong bytes: every seg must lie inside a page and follow the one before. */
function isSound(index: ImageIndex): boolean {
  return index.pages > 0 && index.crc32c.length === index.pages && index.crc32c.every(isCount) && isCount(index.maxRank) &&
    index.runs.length + index.experts.length > 0 && index.runs.every(run => isSoundRun(run, index)) && areSoundExperts(index);
}

/** They follow one another to the image's end; runs lie before them. */
function areSoundExperts({ experts, runs, pages }: ImageIndex): boolean {
  if (experts.length === 0) return true;
  let next = experts[0]!.page;
  const follow = experts.every(({ layer, expert, hash, dtype, page, pages: count }) => {
    const follows = page === next && isCount(count) && count > 0;
    next = page + count;
    return follows && isCount(layer) && isCount(expert) && /^[0-9a-f]{64}$/.test(hash) && (dtype === 'bf16' || dtype === 'f16');
  });
  return follow && next === pages && runs.every(run => run.segs.every(seg => seg.page < experts[0]!.page));
}

function isSoundRun(run: ImageRun, { pages, pageBytes }: ImageIndex): boolean {
  let unit = 0;
  for (const seg of run.segs) {
    if (seg.firstUnit !== unit || !(seg.units > 0) || !isCount(seg.units) || !isCount(seg.page) || seg.page >= pages) return false;
    if (!isCount(seg.offset) || seg.offset % UNIT_ALIGN !== 0 || seg.offset + seg.units * run.unitBytes > pageBytes) return false;
    unit += seg.units;
  }
  return unit === run.units && run.units > 0 && isCount(run.unitBytes) && run.unitBytes > 0 && run.unitBytes % UNIT_ALIGN === 0 &&
    isCount(run.layer) && isCount(run.site) && (run.half === 0 || run.half === 1) && isCount(run.rank) && Number.isFinite(run.scale) && isCount(run.tail) &&
    (run.dtype === 'bf16' || run.dtype === 'f16');
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** The index first: an index without its image is never seen. Nothing to remove is fine. Throws `io_error`. */
export async function removeImage(imageFile: string): Promise<void> {
  try {
    for (const file of [indexPath(imageFile), imageFile]) await rm(file, { force: true });
  } catch (cause) {
    throw new WeftError('io_error', `${imageFile} can't be removed: ${(cause as Error).message}`, { file: imageFile, cause });
  }
}

/** Pages being written, one in memory. Seen under its name only when it is complete and on disk. */
export class ImageWriter {
  readonly #page: Uint8Array;
  readonly #crc32c: number[] = [];
  /** The current page as 16-bit values, zero where nothing was put. */
  readonly values: Uint16Array;
  get bytes(): Uint8Array { return this.#page; }

  private constructor(readonly imageFile: string, readonly pageBytes: number, readonly temporary: string, readonly handle: FileHandle) {
    this.#page = new Uint8Array(pageBytes);
    this.values = new Uint16Array(this.#page.buffer);
  }

  static async create(imageFile: string, pageBytes: number): Promise<ImageWriter> {
    await mkdir(dirname(imageFile), { recursive: true });
    const temporary = `${imageFile}.${randomBytes(6).toString('hex')}.tmp`;
    return new ImageWriter(imageFile, pageBytes, temporary, await open(temporary, 'wx'));
  }

  /** Ordinal of the current page. */
  get page(): number { return this.#crc32c.length; }

  async endPage(): Promise<void> {
    this.#crc32c.push(crc32c(this.#page));
    await this.handle.appendFile(this.#page);
    this.#page.fill(0);
  }

  /** Ends the last page and publishes image, then index: an index without its image is never seen. */
  async finish(layout: Omit<ImageIndex, 'crc32c'>): Promise<ImageIndex> {
    await this.endPage();
    const index: ImageIndex = { ...layout, crc32c: this.#crc32c };
    await this.handle.sync();
    await this.handle.close();
    // The old index must not outlive the pages that it describes.
    await rm(indexPath(this.imageFile), { force: true });
    await rename(this.temporary, this.imageFile);
    const json = await open(this.temporary, 'wx');
    try {
      await json.writeFile(JSON.stringify(index));
      await json.sync();
    } finally {
      await json.close();
    }
    await rename(this.temporary, indexPath(this.imageFile));
    await syncFolder(dirname(this.imageFile));
    return index;
  }

  /** Leaves nothing behind. */
  async abandon(): Promise<void> {
    await this.handle.close().catch(() => undefined);     // may have been closed by finish
    await rm(this.temporary, { force: true });
  }
}

/** Throws WeftError `insufficient_storage`, `io_error`. */
export async function createImage(imageFile: string, pageBytes: number): Promise<ImageWriter> {
  try {
    return await ImageWriter.create(imageFile, pageBytes);
  } catch (cause) {
    throw writeError(imageFile, cause);
  }
}

/** A rename is durable once its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
