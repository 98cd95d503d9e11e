/** Writes a LoRA as pages: A as padded rank rows, B as tiles of 64 outputs × all ranks. One page and one chunk in memory. */
import { WeftError } from '@weft/contracts';
import { ID_BYTES } from '@weft/kernels';
import { encode } from './float.js';
import { createImage, type ImageWriter } from './image.js';
import { replacedRows, storedRows as storedEndRows, type ReplacedRows } from './end-rows.js';
import { layOut, sourcesOf, TILE, type RunSource } from './layout.js';
import { changesOutputs, outputChange, type OutputChange } from './lora-outputs.js';
import { AdapterRefused } from './refused.js';
import { readTensor, Room, tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, type BaseGeometry, type BaseTensors, type FloatDtype, type ImageIndex, type ImageRun, type LoraManifest, type LoraModule, type PageGeometry, type StoredDtype, type TensorRef } from './types.js';
import { writeError } from './write-error.js';

export async function packLora(manifest: LoraManifest, base: BaseGeometry, pages: PageGeometry, outFile: string, tensors?: BaseTensors): Promise<ImageIndex> {
  const rows = await replacedRows(manifest, base, tensors);
  const layout = layOut(manifest, rows, base, pages);
  if (layout.runs.length === 0) throw new AdapterRefused([{ code: 'adapter_without_effect', message: 'every row that the adapter brings is the base\'s own' }]);
  const sources = sourcesOf(manifest, rows, base);
  const writer = await createImage(outFile, pages.pageBytes);
  const rooms: Rooms = { chunk: new Room(), rounded: new Room() };
  try {
    for (const [i, run] of layout.runs.entries()) {
      const source = sources[i]!;
      if ('rows' in source) {
        if (source.shares === null) await writeRows(writer, run, source.rows, base.ends.hidden);
      } else if (source.half === 0 && source.site.name === 'embed') await writeEmbedding(writer, run, source.module);
      else await writeRun(writer, run, source, source.half === 1 && changesOutputs(source.module) ? await outputChange(source.module, source.site, manifest, base, tensors) : null, rooms);
    }
    return await writer.finish(layout);
  } catch (cause) {
    await writer.abandon();
    throw cause instanceof WeftError ? cause : writeError(outFile, cause);
  }
}

interface Rooms { chunk: Room; rounded: Room }

async function writeRun(writer: ImageWriter, run: ImageRun, source: RunSource, change: OutputChange | null, rooms: Rooms): Promise<void> {
  const { module, site, half } = source;
  if (half === 1 && site.experts && !module.each) return writeExpertB(writer, run, source, site.experts);
  const places = unitPlaces(run);
  for (const { a, b } of module.each ?? [module]) await writeHalf(writer, { ...source, module: { ...module, a, b } }, places, change, rooms);
}

/** B of PEFT's stacked experts, [outputs][rank][experts]: each expert's units are put together from all of it. */
async function writeExpertB(writer: ImageWriter, run: ImageRun, { module: { b, bStored, rank }, site: { dOut } }: RunSource, experts: number): Promise<void> {
  const bytes = await readTensor(b), values = encode(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), b.dtype, bStored, new Uint16Array(b.dtype === 'F32' ? dOut * rank * experts : 0));
  let unit = 0;
  for (const place of unitPlaces(run)) {
    while (writer.page < place.page) await writer.endPage();
    const tiles = Math.ceil(dOut / TILE), expert = Math.floor(unit / tiles), first = (unit++ % tiles) * TILE;
    for (let o = 0; o < TILE && first + o < dOut; o++) {
      for (let j = 0; j < rank; j++) writer.values[place.at + j * TILE + o] = values[((first + o) * rank + j) * experts + expert]!;
    }
  }
}

async function writeHalf(writer: ImageWriter, { module, site, half }: RunSource, places: Places, change: OutputChange | null, rooms: Rooms): Promise<void> {
  const [tensor, stored] = half === 0 ? [module.a, module.aStored] : [module.b, module.bStored];
  // Rows of the tensor that make one unit, and how they are put into it.
  const rows = half === 0 ? 1 : TILE;
  const columns = half === 0 ? site.dIn : module.rank;
  const put = half === 0 ? putRow : putTile;
  let output = 0;
  for await (const values of storedRows(tensor, stored, rows, columns, rooms)) {
    for (let at = 0; at < values.length; at += rows * columns) {
      const place = places.next().value!;
      while (writer.page < place.page) await writer.endPage();
      put(writer.values, place.at, values.subarray(at, at + rows * columns), columns);
      if (change) putTail(writer.values, place.at + TILE * columns, change, output);
      output += rows;
    }
  }
}

/** Rows of an end, padded, and the tokens that they are of where their places don't say. */
async function writeRows(writer: ImageWriter, run: ImageRun, rows: ReplacedRows, hidden: number): Promise<void> {
  const places = unitPlaces(run);
  for await (const { token, values } of storedEndRows(rows, hidden)) {
    const place = places.next().value!;
    while (writer.page < place.page) await writer.endPage();
    putRow(writer.values, place.at, values);
    if (run.tail > 0) new Int32Array(writer.values.buffer)[(place.at * 2 + run.unitBytes - ID_BYTES) / 4] = token;
  }
}

/** [rank][tokens] → units of [64 tokens][rank]; tokens beyond the last stay zero. */
async function writeEmbedding(writer: ImageWriter, run: ImageRun, { a, aStored, rank }: LoraModule): Promise<void> {
  const bytes = await readTensor(a), tokens = a.shape[1]!, rounded = new Uint16Array(a.dtype === 'F32' ? rank * tokens : 0);
  const values = encode(new Uint8Array(bytes.buffer), a.dtype, aStored, rounded);
  let token = 0;
  for (const place of unitPlaces(run)) {
    while (writer.page < place.page) await writer.endPage();
    for (let t = 0; t < TILE && token < tokens; t++, token++) {
      for (let j = 0; j < rank; j++) writer.values[place.at + t * rank + j] = values[j * tokens + token]!;
    }
  }
}

function putRow(page: Uint16Array, at: number, row: Uint16Array): void {
  page.set(row, at);
}

/** [outputs][rank] → [rank][64]; outputs beyond the last stay zero. */
function putTile(page: Uint16Array, at: number, rows: Uint16Array, rank: number): void {
  const outputs = rows.length / rank;
  for (let o = 0; o < outputs; o++) for (let j = 0; j < rank; j++) page[at + j * TILE + o] = rows[o * rank + j]!;
}

/** h and c of 64 outputs, f32; beyond the last stay zero. */
function putTail(page: Uint16Array, at: number, { h, c }: OutputChange, output: number): void {
  const tail = new Float32Array(page.buffer, page.byteOffset + at * 2, 2 * TILE);
  tail.set(h.subarray(output, output + TILE));
  tail.set(c.subarray(output, output + TILE), TILE);
}

type Places = Generator<{ page: number; at: number }, undefined>;
/** Where each unit begins, in values of its page. */
function* unitPlaces(run: ImageRun): Places {
  for (const { page, offset, units } of run.segs) {
    for (let unit = 0; unit < units; unit++) yield { page, at: (offset + unit * run.unitBytes) / 2 };
  }
  return undefined;
}

/** A matrix's values as stored, in chunks of whole groups of `rows` rows. */
async function* storedRows(tensor: TensorRef<FloatDtype>, stored: StoredDtype, rows: number, columns: number, rooms: Rooms): AsyncGenerator<Uint16Array, void, void> {
  for await (const chunk of tensorChunks(tensor, rows * columns * DTYPE_BYTES[tensor.dtype], rooms.chunk)) {
    yield encode(chunk, tensor.dtype, stored, new Uint16Array(rooms.rounded.bytes(tensor.dtype === 'F32' ? chunk.byteLength / 2 : 0).buffer));
  }
}
