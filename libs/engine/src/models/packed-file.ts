/**
 * Packed weights in a file: a header, then every buffer's bytes as the device holds them, each at a multiple of 4 KiB.
 *
 *   magic 8 · header bytes u32 · CRC-32C of the header u32 · header, JSON · zeros · buffers
 *
 * The file knows no layout: a buffer is found by its label and by the words that say what it was packed from and into.
 */
import { open, stat } from 'node:fs/promises';
import { WeftError } from '@weft/contracts';
import { crc32c, type Device, type DeviceBuffer, type TensorSource } from '@weft/kernels';
import { isObject } from '../checkpoint/fields.js';

/** What makes buffers of tensors. */
export type Packer = Pick<Device, 'packLinear' | 'packCoded' | 'packExperts' | 'packRows' | 'packVector'>;

/** Everything that decides the bytes. */
export interface PackedKey {
  /** The checkpoint's. */
  digest: string;
  /** The device's: see `Device.packing`. */
  packing: string;
  /** What matrices are stored as, or `stored`. */
  weights: string;
  partition: { rank: number; size: number };
}

/** A packed buffer, and what it was packed from and into. */
export interface PackedBuffer { buffer: DeviceBuffer; form: string }

interface Entry { label: string; form: string; bytes: number; offset: number; crc32c: string[] }
interface Header { key: PackedKey; spanBytes: number; buffers: Entry[] }

const MAGIC = 'weftpack';
const PREFIX_BYTES = 16;
/** 70B in bf16 has one of 0.5 MB. */
const HEADER_BYTES_MAX = 16 * 2 ** 20;
/** Read by one thread, held against one checksum. */
const SPAN_BYTES = 4 * 2 ** 20;
const ALIGN = 4096;

const aligned = (bytes: number): number => Math.ceil(bytes / ALIGN) * ALIGN;
const hex = (crc: number): string => crc.toString(16).padStart(8, '0');
const formOf = (layout: string, sources: readonly TensorSource[], target: string): string =>
  `${layout} ${sources.map(({ dtype, rows, cols }) => `${dtype} ${rows}x${cols}`).join(' + ')} → ${target}`;

const expertsForm = (experts: readonly (readonly TensorSource[])[], target: string): string => formOf(`${experts.length} experts`, experts[0] ?? [], target);

/** Packs on the device and remembers what. */
export class PackedRecord implements Packer {
  readonly buffers: PackedBuffer[] = [];
  constructor(readonly device: Device) {}

  packLinear: Packer['packLinear'] = (sources, target, label) => this.#noted(this.device.packLinear(sources, target, label), formOf('linear', sources, target));
  packCoded: Packer['packCoded'] = async (sources, label) => {
    const buffer = await this.device.packCoded(sources, label);
    if (buffer) this.buffers.push({ buffer, form: formOf('linear', sources, 'bf12') });
    return buffer;
  };
  packExperts: Packer['packExperts'] = async (experts, target, label) => {
    const buffer = await this.device.packExperts(experts, target, label);
    if (buffer) this.buffers.push({ buffer, form: expertsForm(experts, target) });
    return buffer;
  };
  packRows: Packer['packRows'] = (source, target, label) => this.#noted(this.device.packRows(source, target, label), formOf('rows', [source], target));
  packVector: Packer['packVector'] = (sources, label) => this.#noted(this.device.packVector(sources, label), formOf('vector', sources, 'f32'));

  async #noted(packed: Promise<DeviceBuffer>, form: string): Promise<DeviceBuffer> {
    const buffer = await packed;
    this.buffers.push({ buffer, form });
    return buffer;
  }
}

/** Finds in a file what would be packed. Its methods reject with image_corrupt for what is not there or damaged, io_error. */
export class PackedReader implements Packer {
  readonly #entries: ReadonlyMap<string, Entry>;
  private constructor(readonly device: Device, readonly path: string, readonly header: Header) {
    this.#entries = new Map(header.buffers.map(entry => [entry.label, entry]));
  }

  /** Reads the header. Throws image_corrupt with what is wrong, io_error; null where there is no file. */
  static async open(device: Device, path: string, key: PackedKey): Promise<PackedReader | null> {
    try {
      return new PackedReader(device, path, await readHeader(path, key));
    } catch (error) {
      if (error instanceof WeftError) throw error;
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw new WeftError('io_error', `${path} can't be read: ${(error as Error).message}`, { file: path, cause: error });
    }
  }

  packLinear: Packer['packLinear'] = (sources, target, label) => this.#load(formOf('linear', sources, target), label);
  /** What could not be coded was packed otherwise. */
  packCoded: Packer['packCoded'] = async (sources, label) => {
    const form = formOf('linear', sources, 'bf12');
    return this.#entries.get(label)?.form === form ? this.#load(form, label) : null;
  };
  packExperts: Packer['packExperts'] = async (experts, target, label) => {
    const form = expertsForm(experts, target);
    return target !== 'bf12' || this.#entries.get(label)?.form === form ? this.#load(form, label) : null;
  };
  packRows: Packer['packRows'] = (source, target, label) => this.#load(formOf('rows', [source], target), label);
  packVector: Packer['packVector'] = (sources, label) => this.#load(formOf('vector', sources, 'f32'), label);

  async #load(form: string, label: string): Promise<DeviceBuffer> {
    const entry = this.#entries.get(label);
    if (entry?.form !== form) throw corrupt(this.path, `holds ${entry ? entry.form : 'nothing'} as ${label}, not ${form}`);
    const { offset, bytes, crc32c: checksums } = entry;
    return this.device.loadBuffer(this.path, offset, bytes, this.header.spanBytes, Uint32Array.from(checksums, text => parseInt(text, 16)), label);
  }
}

/** Bytes of the file that `writePacked` makes. */
export const packedFileBytes = (key: PackedKey, buffers: readonly PackedBuffer[]): number => layOut(key, buffers).fileBytes;

/**
 * Writes buffers to a new file, span by span beside whatever the device does, and waits until they are on the disk.
 * Throws what the file system and the device throw, and the signal's reason when that aborts; the file is left.
 */
export async function writePacked(device: Device, path: string, key: PackedKey, buffers: readonly PackedBuffer[], signal: AbortSignal): Promise<void> {
  const { header, fileBytes } = layOut(key, buffers);
  const file = await open(path, 'wx');
  try {
    await file.truncate(fileBytes);
    for (const [i, { bytes, offset, crc32c: checksums }] of header.buffers.entries()) {
      for (let at = 0; at < bytes; at += SPAN_BYTES) {
        signal.throwIfAborted();
        checksums[at / SPAN_BYTES] = hex(await device.storeSpan(buffers[i]!.buffer, at, Math.min(SPAN_BYTES, bytes - at), path, offset + at));
      }
    }
    const text = Buffer.from(JSON.stringify(header));
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.write(MAGIC, 'latin1');
    prefix.writeUInt32LE(text.length, 8);
    prefix.writeUInt32LE(crc32c(text), 12);
    await file.write(Buffer.concat([prefix, text]), 0, undefined, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Places for all buffers. Checksums are to come: they have the same length already. */
function layOut(key: PackedKey, buffers: readonly PackedBuffer[]): { header: Header; fileBytes: number } {
  const entries = buffers.map(({ buffer: { label, bytes }, form }): Entry =>
    ({ label, form, bytes, offset: Number.MAX_SAFE_INTEGER, crc32c: new Array<string>(Math.ceil(bytes / SPAN_BYTES)).fill(hex(0)) }));
  const header: Header = { key, spanBytes: SPAN_BYTES, buffers: entries };
  let offset = aligned(PREFIX_BYTES + Buffer.byteLength(JSON.stringify(header)));
  for (const entry of entries) {
    entry.offset = offset;
    offset += aligned(entry.bytes);
  }
  return { header, fileBytes: offset };
}

async function readHeader(path: string, key: PackedKey): Promise<Header> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const prefix = Buffer.alloc(PREFIX_BYTES);
    await file.read(prefix, 0, PREFIX_BYTES, 0);
    const bytes = prefix.readUInt32LE(8);
    if (prefix.toString('latin1', 0, 8) !== MAGIC || bytes > HEADER_BYTES_MAX || bytes + PREFIX_BYTES > size) throw corrupt(path, 'has no header');
    const text = Buffer.alloc(bytes);
    await file.read(text, 0, bytes, PREFIX_BYTES);
    if (crc32c(text) !== prefix.readUInt32LE(12)) throw corrupt(path, 'has a damaged header');
    return soundHeader(path, JSON.parse(text.toString()), key, size);
  } finally {
    await file.close();
  }
}

/** Its checksum is right, so this is what was written: still not by all means by us, or for this. */
function soundHeader(path: string, value: unknown, key: PackedKey, size: number): Header {
  const header = value as Header;
  if (!isObject(value) || JSON.stringify(header.key) !== JSON.stringify(key)) throw corrupt(path, `was made for ${JSON.stringify(header.key)}`);
  if (header.spanBytes !== SPAN_BYTES || !Array.isArray(header.buffers)) throw corrupt(path, 'has another format');
  for (const { label, bytes, offset, crc32c: checksums } of header.buffers) {
    if (!Number.isSafeInteger(bytes) || bytes <= 0 || !Number.isSafeInteger(offset) || checksums.length !== Math.ceil(bytes / SPAN_BYTES)) {
      throw corrupt(path, `describes ${label} wrongly`);
    }
    if (offset + bytes > size) throw corrupt(path, `has ${size} bytes; ${label} ends at ${offset + bytes}`);
  }
  return header;
}

const corrupt = (file: string, problem: string): WeftError => new WeftError('image_corrupt', `${file} ${problem}`, { file });

/** When a file was last used or made; null where there is none. */
export async function usedAtMs(path: string): Promise<number | null> {
  return (await stat(path).catch(() => null))?.mtimeMs ?? null;               // gone meanwhile
}
