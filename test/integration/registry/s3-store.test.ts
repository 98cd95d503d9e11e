/** The artifact store in a bucket, against a real server; its faults against one that refuses as it is told. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { Env } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Blob, StagedBlob } from '../../../apps/registry/src/artifacts/artifact-store.js';
import { ensureBucket } from '../../../apps/registry/src/artifacts/s3-bucket.js';
import { readS3Config } from '../../../apps/registry/src/artifacts/s3-config.js';
import { S3Store } from '../../../apps/registry/src/artifacts/s3-store.js';
import { BUCKET, needS3, S3Server } from './s3-server.js';

const MiB = 2 ** 20;
/** The least that S3 takes: two parts and three copies of a small test. */
const SMALL = { partBytes: 5 * MiB, copyBytes: 5 * MiB };
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

let server: S3Server | null;
let scratch: string;
let prefixes = 0;
let store: S3Store;
const open = (variables: Record<string, string> = {}, sizes = SMALL): Promise<S3Store> =>
  S3Store.open(readS3Config(new Env({ ...server!.variables, WEFT_S3_PREFIX: `test-${prefixes}`, ...variables }))!, scratch, sizes);

beforeAll(async () => {
  server = await S3Server.start();
  scratch = await mkdtemp(join(tmpdir(), 'weft-s3-'));
});
afterAll(async () => {
  await server?.stop();
  await rm(scratch, { recursive: true, force: true });
});

async function stage(bytes: Uint8Array, chunkBytes = bytes.length || 1): Promise<{ staged: StagedBlob; blob: Blob }> {
  const staged = await store.stage();
  for (let at = 0; at < bytes.length; at += chunkBytes) await staged.write(bytes.subarray(at, at + chunkBytes));
  return { staged, blob: await staged.finish() };
}

async function stored(bytes: Uint8Array): Promise<Blob> {
  const { staged, blob } = await stage(bytes);
  await staged.commit();
  await staged.discard();
  return blob;
}

async function contentOf(blob: Blob): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of store.read(blob)) {
    expect(chunk.length).toBeLessThanOrEqual(256 << 10);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const blobs = async (): Promise<string[]> => { const found = []; for await (const name of store.list()) found.push(name); return found.sort(); };

/** Everything below this test's prefix: objects, and uploads that nobody finished. */
async function inBucket(): Promise<string[]> {
  const client = server!.client();
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `test-${prefixes}/` }));
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET, Prefix: `test-${prefixes}/` }));
  return [...Contents, ...Uploads].map(({ Key }) => Key!.replace(/^test-\d+\//, ''));
}

describe('on a server', () => {
  beforeEach(async context => {
    needS3(server, context);
    prefixes++;
    store = await open();
    return () => store.close();
  });

  test.each([[0, 1], [1, 1], [700_000, 999], [5 * MiB, MiB], [5 * MiB + 1, 65_536], [17 * MiB + 5, 3 * MiB]])('%i bytes in chunks of %i come back as they were, under their sha256', async (size, chunkBytes) => {
    const bytes = randomBytes(size);
    const { staged, blob } = await stage(bytes, chunkBytes);
    expect(blob).toEqual({ sha256: sha256(bytes), size });
    expect(await blobs()).toEqual([]);
    await staged.commit();
    await staged.discard();
    expect((await contentOf(blob)).equals(bytes)).toBe(true);
    expect(await inBucket()).toEqual([`blobs/${blob.sha256}`]);
  });

  test('the same bytes twice are one blob, and heal one that was damaged', async () => {
    const bytes = randomBytes(1000);
    const blob = await stored(bytes);
    await server!.client().send(new PutObjectCommand({ Bucket: BUCKET, Key: `test-${prefixes}/blobs/${blob.sha256}`, Body: 'damaged' }));
    await expect(contentOf(blob)).rejects.toMatchObject({ code: 'io_error', message: `artifact ${blob.sha256} has 7 bytes instead of 1000` });
    await stored(bytes);
    expect(await blobs()).toEqual([blob.sha256]);
    expect((await contentOf(blob)).equals(bytes)).toBe(true);
  });

  test('what is discarded leaves nothing, before its end and behind it; what was removed is not found', async () => {
    const half = await store.stage();
    await half.write(randomBytes(12 * MiB));
    await half.discard();
    await (await stage(randomBytes(10))).staged.discard();
    expect(await inBucket()).toEqual([]);
    const blob = await stored(randomBytes(10));
    await store.remove(blob.sha256);
    await store.remove(blob.sha256);
    await expect(contentOf(blob)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('files are laid out by name, and those that are missing are not found', async () => {
    const blob = await stored(Buffer.from('weights'));
    const folder = await store.layOut([{ name: 'a.safetensors', ...blob }, { name: 'copy', ...blob }]);
    await store.remove(blob.sha256);
    expect(await readdir(folder.path)).toEqual(['a.safetensors', 'copy']);
    expect(await readFile(join(folder.path, 'copy'), 'utf8')).toBe('weights');
    await folder.remove();
    await expect(store.layOut([{ name: 'a', ...blob }])).rejects.toMatchObject({ code: 'not_found' });
    expect(await readdir(store.scratch)).toEqual([]);
  });

  test('of a large blob two parts are in memory', async () => {
    await store.close();
    store = await open({}, { partBytes: 8 * MiB, copyBytes: 2 ** 30 });
    const before = process.memoryUsage().arrayBuffers;
    const staged = await store.stage();
    const chunk = randomBytes(256 << 10);
    let most = 0;
    for (let i = 0; i < 480; i++) {
      await staged.write(chunk);
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    const blob = await staged.finish();
    await staged.commit();
    await staged.discard();
    let read = 0;
    for await (const part of store.read(blob)) {
      read += part.length;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(read).toBe(120 * MiB);
    // Beside them, what the collector has not come by yet.
    expect(most).toBeLessThan(60 * MiB);
  }, 120_000);

  test('every blob is listed, beyond a page of the server', async () => {
    const client = server!.client();
    const names = Array.from({ length: 1100 }, (_, i) => sha256(Buffer.from(String(i))));
    for (let at = 0; at < names.length; at += 50) await Promise.all(names.slice(at, at + 50).map(name => client.send(new PutObjectCommand({ Bucket: BUCKET, Key: `test-${prefixes}/blobs/${name}`, Body: 'x' }))));
    expect(await blobs()).toEqual(names.sort());
  }, 120_000);

  test('what dead uploads left goes a day later, at a start; what others stage now stays', async () => {
    await stage(randomBytes(10));
    const [staged] = await inBucket();
    await (await open()).close();
    expect(await inBucket()).toEqual([staged]);
    // This server says of every upload that nobody finished that it began in 2010.
    await server!.client().send(new CreateMultipartUploadCommand({ Bucket: BUCKET, Key: `test-${prefixes}/staging/half` }));
    expect(await inBucket()).toEqual([staged, 'staging/half']);
    await (await open()).close();
    expect(await inBucket()).toEqual([staged]);
    vi.setSystemTime(Date.now() + 25 * 3_600_000);
    await (await open()).close();
    vi.useRealTimers();
    expect(await inBucket()).toEqual([]);
  });

  test('a bucket that is not there is told at the start', async () => {
    await expect(open({ WEFT_S3_BUCKET: 'no-such-bucket' })).rejects.toMatchObject({ code: 'option_invalid', details: { field: 'WEFT_S3_BUCKET' }, message: expect.stringContaining('no-such-bucket') });
  });

  test('and made by the migration, once', async () => {
    const config = readS3Config(new Env({ ...server!.variables, WEFT_S3_BUCKET: 'made-by-migration' }))!;
    await ensureBucket(config);
    await ensureBucket(config);
    await (await S3Store.open(config, scratch)).close();
  });

  test('variables and files of other AWS tools change nothing', async () => {
    const file = join(scratch, 'aws-config');
    await writeFile(file, '[default]\nregion = mars\nendpoint_url = http://127.0.0.1:1\nmax_attempts = 0\nretry_mode = none\nuse_fips_endpoint = true\nrequest_checksum_calculation = never\n');
    for (const [name, value] of Object.entries({
      AWS_CONFIG_FILE: file, AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: 'other', AWS_REGION: 'mars', AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1', AWS_ACCESS_KEY_ID: 'other',
      AWS_SECRET_ACCESS_KEY: 'other', AWS_MAX_ATTEMPTS: 'none', AWS_RETRY_MODE: 'none', AWS_USE_FIPS_ENDPOINT: 'true', AWS_USE_DUALSTACK_ENDPOINT: 'true', AWS_DEFAULTS_MODE: 'none', AWS_REQUEST_CHECKSUM_CALCULATION: 'none',
    })) vi.stubEnv(name, value);
    try {
      await store.close();
      store = await open();
      const blob = await stored(Buffer.from('x'));
      expect((await contentOf(blob)).toString()).toBe('x');
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe('a server that', () => {
  const refusing = async (status: number, code: string): Promise<{ store: Promise<S3Store>; stop(): void }> => {
    const double = createServer((request, response) => {
      if (code === 'hangs up') request.socket.destroy();
      else response.writeHead(status, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
    }).listen(0, '127.0.0.1');
    await once(double, 'listening');
    const endpoint = `http://127.0.0.1:${(double.address() as AddressInfo).port}`;
    return {
      store: S3Store.open(readS3Config(new Env({ WEFT_S3_BUCKET: BUCKET, WEFT_S3_ENDPOINT: endpoint, WEFT_S3_ACCESS_KEY_ID: 'k', WEFT_S3_SECRET_ACCESS_KEY: 's' }))!, scratch),
      stop: () => { double.closeAllConnections(); double.close(); },
    };
  };
  test.each([
    ['knows no such key', 403, 'InvalidAccessKeyId', 'option_invalid'], ['denies', 403, 'AccessDenied', 'option_invalid'], ['is full', 507, 'InsufficientStorage', 'insufficient_storage'],
    ['is out of order', 503, 'ServiceUnavailable', 'registry_lost'], ['hangs up', 0, 'hangs up', 'registry_lost'],
  ])('%s', async (_, status, code, expected) => {
    const { store: opened, stop } = await refusing(status, code);
    await expect(opened).rejects.toMatchObject({ code: expected });
    stop();
  });

  test('is gone while it is used', async context => {
    needS3(server, context);
    const own = (await S3Server.start())!;
    store = await S3Store.open(readS3Config(new Env(own.variables))!, scratch, SMALL);
    const blob = await stored(randomBytes(10));
    const staged = await store.stage();
    await own.stop();
    await expect(contentOf(blob)).rejects.toMatchObject({ code: 'registry_lost', details: { retryAfterMs: 1000 } });
    await staged.write(randomBytes(10));
    await expect(staged.finish()).rejects.toMatchObject({ code: 'registry_lost' });
    await staged.discard();
    const laidOut = store.scratch;
    await store.close();
    expect(existsSync(laidOut)).toBe(false);
  });
});
