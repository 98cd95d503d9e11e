/** From a folder to pages on disk. */
import { join } from 'node:path';
import type { BaseText } from './base-text.js';
import { readAdapterFolder } from './files.js';
import { imagePath, loadImageIndex } from './image.js';
import { kindOf } from './kinds.js';
import type { BaseGeometry, BaseTensors, ImageIndex, Manifest, PageGeometry } from './types.js';

export interface PrepareOptions {
  /** What the base tokenizes with (`readBaseText`), for telling what is not read. */
  baseText?: BaseText;
  /** The base's tensors, which adapters that change outputs are packed by. */
  baseTensors?: BaseTensors;
  /** Pack even if an image is cached: it turned out to be damaged. */
  rebuild?: boolean;
}

export interface PreparedAdapter { manifest: Manifest; index: ImageIndex; imageFile: string }

/** Images being packed, by file: the same adapter asked for twice at once is packed once. */
const packing = new Map<string, Promise<ImageIndex>>();

/**
 * Validates an adapter folder and packs it, unless an image of the same content for the same base and pages is cached.
 * Throws AdapterRefused with all findings of the first stage that found any, or WeftError `io_error`.
 */
export async function prepareAdapter(folder: string, base: BaseGeometry, pages: PageGeometry, cacheDir: string, options: PrepareOptions = {}): Promise<PreparedAdapter> {
  const content = await readAdapterFolder(folder, options.baseText);
  const kind = kindOf(content);
  const manifest = await kind.validate(content, base);
  const imageFile = imagePath(join(cacheDir, base.digest), manifest.digest, pages);
  let work = packing.get(imageFile);
  if (!work) {
    const cachedOrPacked = async (): Promise<ImageIndex> =>
      (options.rebuild ? null : await loadImageIndex(imageFile, { digest: manifest.digest, baseDigest: base.digest, ...pages })) ??
      kind.pack(manifest, base, pages, imageFile, options.baseTensors);
    work = cachedOrPacked().finally(() => packing.delete(imageFile));
    packing.set(imageFile, work);
  }
  return { manifest, index: await work, imageFile };
}
