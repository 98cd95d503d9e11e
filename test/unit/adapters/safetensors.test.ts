import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ADAPTER_LIMITS, CHECKPOINT_LIMITS, openSafetensors, readTensor, tensorChunks, type Safetensors } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import { parseHeader } from '../../../libs/adapters/src/safetensors.js';
import { bitsTensor, f32Tensor, random, safetensors, temporaryFolder, withHeader, type TensorData } from './support.js';

function file(bytes: Uint8Array): string {
  const path = join(temporaryFolder(), 'x.safetensors');
  writeFileSync(path, bytes);
  return path;
}

const header = (tensors: Record<string, unknown>): string => JSON.stringify(tensors);
const entry = (dtype: string, shape: unknown, begin: unknown, end: unknown): unknown => ({ dtype, shape, data_offsets: [begin, end] });

test('tensors, metadata and values of a good file', async () => {
  const path = file(safetensors([
    f32Tensor('a', [2, 3], i => i / 2), bitsTensor('b', 'BF16', [4], i => 0x3f80 + i), { name: 'c', dtype: 'I64', shape: [], bytes: new Uint8Array(8).fill(7) },
  ]));
  const { tensors, metadata, dataOffset, fileBytes } = await openSafetensors(path);
  expect(metadata).toEqual(new Map([['format', 'pt']]));
  expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
  expect(tensors.get('b')).toEqual({ name: 'b', file: path, dtype: 'BF16', shape: [4], offset: dataOffset + 24, bytes: 8 });
  expect(fileBytes).toBe(dataOffset + 40);
  expect(await readTensor(tensors.get('a')!)).toEqual(Float32Array.of(0, 0.5, 1, 1.5, 2, 2.5));
  expect(await readTensor(tensors.get('b')!)).toEqual(Uint16Array.of(0x3f80, 0x3f81, 0x3f82, 0x3f83));
  expect(await readTensor(tensors.get('c')!)).toEqual(new Uint8Array(8).fill(7));
});

test('a file without tensors and without metadata', async () => {
  expect((await openSafetensors(file(withHeader('{}')))).tensors.size).toBe(0);
});

test('the order of the header does not matter, the order of the data does', async () => {
  const path = file(withHeader(header({ late: entry('U8', [1], 3, 4), early: entry('U8', [3], 0, 3) }), Uint8Array.of(1, 2, 3, 4)));
  expect([...(await openSafetensors(path)).tensors.keys()]).toEqual(['early', 'late']);
});

test('chunks are whole units and together the tensor', async () => {
  const path = file(safetensors([f32Tensor('pad', [3], () => 0), f32Tensor('big', [700, 999], i => i)]));
  const ref = (await openSafetensors(path)).tensors.get('big')!;
  let next = 0;
  let chunks = 0;
  for await (const chunk of tensorChunks(ref, 999 * 4)) {
    expect(chunk.byteLength % (999 * 4)).toBe(0);
    chunks++;
    const values = new Float32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength / 4);
    expect(values.every((value, i) => value === next + i)).toBe(true);
    next += values.length;
  }
  expect(next).toBe(700 * 999);
  expect(chunks).toBe(11);
});

describe('refuses', () => {
  const refusal = async (bytes: Uint8Array): Promise<WeftError> => {
    const error: unknown = await openSafetensors(file(bytes)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WeftError);
    expect((error as WeftError).code).toBe('safetensors_invalid');
    return error as WeftError;
  };
  const u64 = (value: bigint): Buffer => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64LE(value); return bytes; };

  test.each<[string, Uint8Array, RegExp, string?]>([
    ['an empty file', new Uint8Array(0), /0 bytes/],
    ['a header length beyond 2^53', Buffer.concat([u64(2n ** 64n - 1n), Buffer.from('{}')]), /18446744073709551615.*limit/],
    ['a header length that would wrap', Buffer.concat([u64(2n ** 63n + 2n), Buffer.from('{}')]), /limit/],
    ['a header of more than 1 MiB', Buffer.concat([u64(BigInt(2 ** 20 + 1)), Buffer.alloc(2 ** 20 + 1, 32)]), /limit is 1048576/],
    ['a header that is longer than the file', Buffer.concat([u64(100n), Buffer.from('{}')]), /only 2 follow/],
    ['a header of length 0', u64(0n), /begin with/],
    ['a header that begins with a space', withHeader(' {}'), /begin with/],
    ['a header that is no JSON', withHeader('{"a"'), /can't be read/],
    ['two headers', withHeader('{}{}'), /can't be read/],
    ['a tensor twice', withHeader(`{"a":${header({ x: 0 }).slice(5, -1)},"a":0}`), /"a" appears twice/, 'a'],
    ['a dtype twice', withHeader('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', Uint8Array.of(1)), /"dtype" appears twice/],
    ['metadata that is no object', withHeader('{"__metadata__":[]}'), /__metadata__/],
    ['metadata that holds a number', withHeader('{"__metadata__":{"a":1}}'), /__metadata__ "a"/],
    ['a tensor that is no object', withHeader('{"a":[]}'), /"a"/, 'a'],
    ['an unknown property', withHeader('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}}', Uint8Array.of(1)), /strides/, 'a'],
    ['an unknown dtype', withHeader(header({ a: entry('F7', [1], 0, 1) }), Uint8Array.of(1)), /F7/, 'a'],
    ['a dtype that is a property of every object', withHeader(header({ a: entry('constructor', [1], 0, 1) }), Uint8Array.of(1)), /constructor/, 'a'],
    ['a shape that overflows to 4', withHeader(header({ a: entry('U8', [4194305, 4194305, 211106198978564], 0, 4) }), new Uint8Array(4)), /3713821298447761542108676100 bytes/, 'a'],
    ['a zero-size tensor', withHeader(header({ a: entry('F32', [0, 4], 0, 0) })), /without values/, 'a'],
    ['a zero-size tensor at a used offset', withHeader(header({ a: entry('U8', [4], 0, 4), b: entry('U8', [0], 2, 2) }), new Uint8Array(4)), /without values/, 'b'],
    ['a negative size', withHeader(header({ a: entry('U8', [-1], 0, 1) }), new Uint8Array(1)), /shape/, 'a'],
    ['a fractional size', withHeader(header({ a: entry('U8', [1.5], 0, 1) }), new Uint8Array(1)), /shape/, 'a'],
    ['a size beyond 2^53', withHeader('{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}', new Uint8Array(1)), /shape/, 'a'],
    ['nine dimensions', withHeader(header({ a: entry('U8', [1, 1, 1, 1, 1, 1, 1, 1, 1], 0, 1) }), new Uint8Array(1)), /shape/, 'a'],
    ['no shape', withHeader('{"a":{"dtype":"U8","data_offsets":[0,1]}}', new Uint8Array(1)), /shape/, 'a'],
    ['three offsets', withHeader('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', new Uint8Array(1)), /data_offsets/, 'a'],
    ['offsets that run backwards', withHeader(header({ a: entry('U8', [1], 1, 0) }), new Uint8Array(1)), /data_offsets/, 'a'],
    ['a span that disagrees with the shape', withHeader(header({ a: entry('F32', [2], 0, 4) }), new Uint8Array(4)), /8 bytes/, 'a'],
    ['an overlap', withHeader(header({ a: entry('U8', [4], 0, 4), b: entry('U8', [4], 2, 6) }), new Uint8Array(6)), /overlaps/, 'b'],
    ['two tensors on the same bytes', withHeader(header({ a: entry('U8', [4], 0, 4), b: entry('U8', [4], 0, 4) }), new Uint8Array(4)), /overlaps/, 'b'],
    ['a hole', withHeader(header({ a: entry('U8', [2], 0, 2), b: entry('U8', [2], 3, 5) }), new Uint8Array(5)), /1 bytes before tensor "b"/, 'b'],
    ['a hole at the start', withHeader(header({ a: entry('U8', [2], 1, 3) }), new Uint8Array(3)), /1 bytes before/, 'a'],
    ['data after the last tensor', withHeader(header({ a: entry('U8', [2], 0, 2) }), new Uint8Array(3)), /1 bytes after/],
    ['a declared size past the end of the file', withHeader(header({ a: entry('U8', [1 << 30], 0, 1 << 30) }), new Uint8Array(8)), /truncated/, 'a'],
    ['100,000 tensors', withHeader(header(Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [i, 0])))), /limit is 20000|limit is 1048576/],
  ])('%s', async (_, bytes, message, tensor) => {
    const error = await refusal(bytes);
    expect(error.message).toMatch(message);
    expect(error.details.file).toMatch(/x\.safetensors$/);
    if (tensor !== undefined) expect(error.details.tensor).toBe(tensor);
  });

  test('more than 20,000 tensors in a short header', async () => {
    const error = await refusal(withHeader(header(Object.fromEntries(Array.from({ length: 20_001 }, (_, i) => [i.toString(36), 0])))));
    expect(error.message).toMatch(/20001 tensors; the limit is 20000/);
  });

  test('a file cut anywhere near a boundary of its structure', async () => {
    const tensors: TensorData[] = [f32Tensor('a', [5], i => i), bitsTensor('b', 'F16', [3], i => i), f32Tensor('c', [2, 2], i => i)];
    const whole = safetensors(tensors);
    const dataOffset = 8 + Number(whole.readBigUInt64LE());
    const boundaries = [0, 8, dataOffset, dataOffset + 20, dataOffset + 26, whole.length];
    const lengths = new Set(boundaries.flatMap(at => [at - 1, at, at + 1]).filter(at => at >= 0 && at < whole.length));
    for (const length of lengths) {
      const path = file(whole);
      truncateSync(path, length);
      await expect(openSafetensors(path), `cut to ${length}`).rejects.toMatchObject({ code: 'safetensors_invalid' });
    }
  });

  test('a file that shrank after it was opened', async () => {
    const path = file(safetensors([f32Tensor('a', [1000], i => i)]));
    const { tensors } = await openSafetensors(path);
    truncateSync(path, 500);
    await expect(readTensor(tensors.get('a')!)).rejects.toMatchObject({ code: 'safetensors_invalid' });
  });
});

test('a file that is not there is an input error, not a crash', async () => {
  await expect(openSafetensors(join(temporaryFolder(), 'none'))).rejects.toMatchObject({ code: 'io_error' });
});

test('a checkpoint may have a header that an adapter may not', async () => {
  const path = file(withHeader(JSON.stringify({ __metadata__: { note: 'x'.repeat(2 << 20) } })));
  await expect(openSafetensors(path)).rejects.toMatchObject({ code: 'safetensors_invalid' });
  expect((await openSafetensors(path, CHECKPOINT_LIMITS)).tensors.size).toBe(0);
});

test('5,000 mutated headers: read or refused with a code, never anything else', async () => {
  const next = random(20_260_101);
  const path = join(temporaryFolder(), 'fuzz.safetensors');
  const good = safetensors([f32Tensor('base.lora_A.weight', [4, 8], i => i), bitsTensor('base.lora_B.weight', 'BF16', [8, 4], i => i), f32Tensor('z', [], () => 1)]);
  const headerEnd = 8 + Number(good.readBigUInt64LE());
  const pieces = ['"', '{', '}', '[', ']', ',', ':', '0', '9', '-', '1e9', '99999999999999999999', 'null', '\\', '\\u0000', 'F32', 'BF16', ' ', '{}', '"a":', '[0,0]', '\u00ff'];
  // Every tenth through a file; the others skip the disk and begin where the header has been read.
  const read = async (bytes: Buffer, i: number): Promise<Safetensors> => {
    const length = bytes.length < 8 ? 2n ** 64n : bytes.readBigUInt64LE();
    if (i % 10 !== 0 && length <= bytes.length - 8) return parseHeader(path, bytes.length, bytes.subarray(8, 8 + Number(length)), ADAPTER_LIMITS);
    writeFileSync(path, bytes);
    return openSafetensors(path);
  };
  let accepted = 0;
  for (let i = 0; i < 5_000; i++) {
    let bytes: Buffer = Buffer.from(good);
    for (let edits = 1 + Math.floor(next() * 3); edits > 0; edits--) {
      const at = Math.floor(next() * headerEnd);
      const kind = next();
      if (kind < 0.35) bytes[at] = Math.floor(next() * 256);
      else if (kind < 0.55) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + Math.floor(next() * 8))]);
      else {
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(pieces[Math.floor(next() * pieces.length)]!), bytes.subarray(at)]);
        // Half of the time the length is right again, so that the JSON and not the length is what is tried.
        if (next() < 0.5 && at >= 8) bytes.writeBigUInt64LE(BigInt(Math.max(0, headerEnd - 8 + bytes.length - good.length)));
      }
    }
    try {
      const { tensors, dataOffset, fileBytes } = await read(bytes, i);
      expect([...tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, dataOffset)).toBe(fileBytes);
      accepted++;
    } catch (error) {
      if (!(error instanceof WeftError) || error.code !== 'safetensors_invalid') throw error;
    }
  }
  expect(accepted).toBeGreaterThan(20);     // renamed tensors and the like: the fuzzer reaches past the parser
});
