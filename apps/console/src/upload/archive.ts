/** The files of a zip or tar archive, also gzipped, without unpacking what is not compressed. */

export interface NamedBlob { path: string; blob: Blob }

export const isArchive = (name: string): boolean => /\.(zip|tar|tar\.gz|tgz)$/i.test(name);

/** Throws what is wrong with the archive. */
export async function readArchive(name: string, archive: Blob): Promise<NamedBlob[]> {
  if (/\.zip$/i.test(name)) return readZip(archive);
  return readTar(/gz$/i.test(name) ? await inflate(archive, 'gzip') : archive);
}

const inflate = (blob: Blob, format: CompressionFormat): Promise<Blob> => new Response(blob.stream().pipeThrough(new DecompressionStream(format))).blob();

const TAR_BLOCK = 512;
async function readTar(tar: Blob): Promise<NamedBlob[]> {
  const files: NamedBlob[] = [];
  let longName = '';
  for (let at = 0; at + TAR_BLOCK <= tar.size;) {
    const header = new Uint8Array(await tar.slice(at, at + TAR_BLOCK).arrayBuffer());
    if (header.every(byte => byte === 0)) break;
    const text = (from: number, length: number): string => new TextDecoder().decode(header.subarray(from, from + length)).replace(/\0.*$/s, '');
    const size = parseInt(text(124, 12).trim() || '0', 8), type = text(156, 1);
    if (!Number.isFinite(size)) throw new Error('the tar archive is damaged: an entry has no size');
    const content = tar.slice(at + TAR_BLOCK, at + TAR_BLOCK + size);
    if (content.size < size) throw new Error('the tar archive is cut off');
    // A name that does not fit comes as an entry of its own: GNU's, or POSIX's.
    if (type === 'L') longName = (await content.text()).replace(/\0.*$/s, '');
    else if (type === 'x') longName = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(await content.text())?.[1] ?? '';
    else {
      const prefix = text(257, 5) === 'ustar' ? text(345, 155) : '';
      if (type === '' || type === '0') files.push({ path: longName || (prefix === '' ? '' : `${prefix}/`) + text(0, 100), blob: content });
      longName = '';
    }
    at += TAR_BLOCK + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  return files;
}

const END_BYTES = 22, END_COMMENT_MAX = 65_535;
async function readZip(zip: Blob): Promise<NamedBlob[]> {
  const tailAt = Math.max(0, zip.size - END_BYTES - END_COMMENT_MAX);
  const tail = new DataView(await zip.slice(tailAt).arrayBuffer());
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error('this is no zip archive, or it is cut off');
  const entries = tail.getUint16(end + 10, true), size = tail.getUint32(end + 12, true), from = tail.getUint32(end + 16, true);
  if (entries === 0xffff || from === 0xffffffff) throw new Error('zip archives above 4 GiB are not read here; use tar');
  const directory = new DataView(await zip.slice(from, from + size).arrayBuffer());
  const files: NamedBlob[] = [];
  for (let at = 0, i = 0; i < entries; i++) {
    if (directory.getUint32(at, true) !== 0x02014b50) throw new Error('the zip archive\'s directory is damaged');
    const method = directory.getUint16(at + 10, true), packed = directory.getUint32(at + 20, true);
    const nameBytes = directory.getUint16(at + 28, true), rest = directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true), header = directory.getUint32(at + 42, true);
    const path = new TextDecoder().decode(new Uint8Array(directory.buffer, at + 46, nameBytes));
    if (!path.endsWith('/')) {
      if (method !== 0 && method !== 8) throw new Error(`${path} is compressed by method ${method}; stored and deflated files are read`);
      const local = new DataView(await zip.slice(header, header + 30).arrayBuffer());
      const start = header + 30 + local.getUint16(26, true) + local.getUint16(28, true), content = zip.slice(start, start + packed);
      files.push({ path, blob: method === 0 ? content : await inflate(content, 'deflate-raw') });
    }
    at += 46 + nameBytes + rest;
  }
  return files;
}
