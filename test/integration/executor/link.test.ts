import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { Test } from '@nestjs/testing';
import { executorService, LINK_OPTIONS, WeftError } from '@weft/contracts';
import type { EngineHost, EngineOptions, EngineRequest, Terminal } from '@weft/engine';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../../apps/executor/src/config.js';
import { EngineService } from '../../../apps/executor/src/engine.service.js';
import { ExecutorModule } from '../../../apps/executor/src/executor.module.js';
import { LinkServer } from '../../../apps/executor/src/link-server.js';
import { OPEN_ENGINE } from '../../../apps/executor/src/tokens.js';
import { Peer, TOKEN } from './peer.js';

const BASE = 'b'.repeat(64);

/** An engine that does what the test says, when it says so. */
class ScriptedEngine {
  readonly submitted: EngineRequest[] = [];
  readonly cancelled: string[] = [];
  options!: EngineOptions;
  refuse: WeftError | null = null;
  opening: Promise<void> = Promise.resolve();
  drained = false;

  async open(options: EngineOptions): Promise<EngineHost> {
    this.options = options;
    await this.opening;
    const engine = {
      submit: (request: EngineRequest) => { if (this.refuse) throw this.refuse; this.submitted.push(request); },
      cancel: (id: string) => { this.cancelled.push(id); this.end(id, 'cancelled'); },
      drain: async () => { this.drained = true; },
      load: () => ({ waiting: 0, running: this.submitted.length, step: 0, tokensOut: 0, pages: { total: 10, free: 9, sequences: 1, adapters: 0, prefix: 0, retired: 0 }, resident: [] }),
      adapters: { slots: { total: 8 }, get: () => undefined },
    };
    const model = { config: { vocab: 320, eosIds: [2] }, geometry: { digest: BASE } };
    return { engine, model, base: model.geometry, device: { name: 'cpu', isa: 'scripted', threads: 1 }, maxModelLen: 64, pool: { pageBytes: 4096 }, close: async () => undefined } as unknown as EngineHost;
  }

  tokens(requestId: string, tokens: number[], finishReason?: 'length'): void {
    this.options.listener.onStep(1, [{ requestId, choice: 0, tokens, ...(finishReason && { finishReason }) }]);
  }
  end(requestId: string, reason: Terminal['reason'] = 'done', generatedTokens = 0): void {
    this.options.listener.onTerminal({ requestId, reason, promptTokens: 1, cachedTokens: 0, generatedTokens, queueMs: 0, coldStartMs: 0 });
  }
}

let engine: ScriptedEngine;
let server: LinkServer;
let service: EngineService;
let client: Client;

beforeEach(async () => {
  engine = new ScriptedEngine();
  const config = readConfig({ WEFT_LINK_TOKEN: TOKEN, WEFT_MODEL: '/model', WEFT_DATA_DIR: '/data', WEFT_THREADS: '1', WEFT_REGISTRY_ADDRESS: '127.0.0.1:1' });
  const module = await Test.createTestingModule({ imports: [ExecutorModule.with(config)] })
    .overrideProvider(OPEN_ENGINE).useValue((options: EngineOptions) => engine.open(options)).compile();
  server = module.get(LinkServer);
  service = module.get(EngineService);
  client = new Client(await server.listen(), credentials.createInsecure(), LINK_OPTIONS);
});
afterEach(() => { server.close(); client.close(); });

const attach = (name = 'gateway', token?: string): Peer => new Peer(client, name, BASE, token);
async function serving(): Promise<Peer> {
  await service.open(() => undefined);
  const peer = attach().beat();
  await expect.poll(() => peer.of('welcome').length).toBe(1);
  return peer;
}

describe('the link', () => {
  test('options reach the engine; a welcome waits for the model', async () => {
    let opened!: () => void;
    engine.opening = new Promise(resolve => { opened = resolve; });
    const opening = service.open(() => undefined);
    const peer = attach().beat();
    await sleep(1300);
    expect(peer.frames.map(frame => frame.$case)).toEqual(['heartbeat']);
    peer.submit('early');
    await expect.poll(() => peer.of('terminal')).toMatchObject([{ requestId: 'early', reason: 'error', errorCode: 'overloaded' }]);
    opened();
    await opening;
    await expect.poll(() => peer.of('welcome')).toMatchObject([{ baseDigest: BASE, device: 'cpu scripted 1 threads', maxModelLen: 64, vocabSize: 320, eosIds: [2], pageBytes: 4096, adapterSlots: 8 }]);
    expect(engine.options).toMatchObject({ modelDir: '/model', adapterCacheDir: '/data/adapters', packedCacheDir: '/data/weights', threads: 1 });
    peer.hangUp();
  });

  test('without the token nobody attaches, nor describes', async () => {
    const peer = attach('gateway', 'wrong');
    await expect.poll(() => peer.ended).toBe(16);
    expect(peer.frames).toEqual([]);
    const { path, requestSerialize, responseDeserialize } = executorService.describe;
    const code = await new Promise(resolve => { client.makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, error => resolve(error?.code)); });
    expect(code).toBe(16);
  });

  test('events and then exactly one terminal, which is told again until it is acknowledged', async () => {
    const peer = await serving();
    peer.submit('r');
    await expect.poll(() => engine.submitted).toMatchObject([{ id: 'r', prompt: [1], n: 1, maxTokens: 4, sampling: { seed: 5n, logitBias: [] } }]);
    engine.tokens('r', [7]);
    engine.tokens('r', [8], 'length');
    engine.end('r');
    await expect.poll(() => peer.of('terminal')).toMatchObject([{ requestId: 'r', reason: 'done' }]);
    expect(peer.of('step').flatMap(step => step.events.flatMap(({ tokens }) => tokens))).toEqual([7, 8]);
    peer.hangUp();
    const again = attach().beat();
    await expect.poll(() => again.of('terminal')).toMatchObject([{ requestId: 'r' }]);
    again.send({ $case: 'acknowledge', value: { requestId: 'r' } });
    await sleep(100);
    again.hangUp();
    const third = attach().beat();
    await expect.poll(() => third.of('welcome').length).toBe(1);
    expect(third.of('terminal')).toEqual([]);
    third.hangUp();
  });

  test('a token and nothing else comes by the lane of its choice', async () => {
    const peer = await serving();
    peer.submit('r', { n: 2, firstLane: 40 });
    peer.submit('without');
    await expect.poll(() => engine.submitted.length).toBe(2);
    engine.options.listener.onStep(1, [{ requestId: 'r', choice: 0, tokens: [7] }, { requestId: 'without', choice: 0, tokens: [8] }, { requestId: 'r', choice: 1, tokens: [9] }]);
    engine.options.listener.onStep(2, [{ requestId: 'r', choice: 1, tokens: [10], logprobs: [-1] }, { requestId: 'r', choice: 0, tokens: [11], finishReason: 'length' }]);
    await expect.poll(() => peer.of('step').length).toBe(2);
    expect(peer.of('step')).toMatchObject([
      { step: 1n, lanes: [40, 41], tokens: [7, 9], events: [{ requestId: 'without', tokens: [8] }] },
      { step: 2n, lanes: [], tokens: [], events: [{ requestId: 'r', choice: 1, tokens: [10], logprobs: [-1] }, { requestId: 'r', choice: 0, tokens: [11], finishReason: 'length' }] },
    ]);
    peer.hangUp();
  });

  test('what the engine refuses, or can not be meant for it, ends in a terminal', async () => {
    const peer = await serving();
    engine.refuse = new WeftError('context_length_exceeded', 'maximum context length is 64 tokens', { param: 'max_tokens' });
    peer.submit('a');
    await expect.poll(() => peer.of('terminal').at(-1)).toMatchObject({ requestId: 'a', errorCode: 'context_length_exceeded', errorParam: 'max_tokens' });
    engine.refuse = null;
    peer.submit('b', { baseDigest: 'other' });
    await expect.poll(() => peer.of('terminal').at(-1)).toMatchObject({ requestId: 'b', errorCode: 'adapter_not_ready' });
    peer.submit('c', { grammar: 'x' });
    await expect.poll(() => peer.of('terminal').at(-1)).toMatchObject({ requestId: 'c', errorCode: 'invalid_value', errorParam: 'response_format' });
    expect(engine.submitted).toEqual([]);
    peer.hangUp();
  });

  test('a gateway cancels its own requests only', async () => {
    const mine = await serving();
    const other = attach('other').beat();
    mine.submit('r');
    await expect.poll(() => engine.submitted.length).toBe(1);
    other.send({ $case: 'cancel', value: { requestId: 'r' } });
    await sleep(100);
    expect(engine.cancelled).toEqual([]);
    mine.send({ $case: 'cancel', value: { requestId: 'r' } });
    await expect.poll(() => mine.of('terminal')).toMatchObject([{ reason: 'cancelled' }]);
    mine.hangUp();
    other.hangUp();
  });

  test('hanging up cancels what runs', async () => {
    const peer = await serving();
    peer.submit('r1');
    peer.submit('r2');
    await expect.poll(() => engine.submitted.length).toBe(2);
    peer.hangUp();
    await expect.poll(() => engine.cancelled).toEqual(['r1', 'r2']);
  });

  test('a gateway that falls silent is gone within five seconds', async () => {
    const peer = await serving();
    peer.submit('r');
    await expect.poll(() => engine.submitted.length).toBe(1);
    peer.silence();
    const began = performance.now();
    await expect.poll(() => engine.cancelled, { timeout: 6000 }).toEqual(['r']);
    expect(performance.now() - began).toBeLessThan(5100);
  });

  test.each([['in events', 0], ['by its lane', 1]])('a gateway that reads slowly does not hold up the engine, and misses nothing, %s', async (_, firstLane) => {
    const peer = await serving();
    peer.submit('r', { firstLane });
    await expect.poll(() => engine.submitted.length).toBe(1);
    peer.stream.pause();
    const began = performance.now();
    const count = 200_000;
    for (let token = 0; token < count; token++) engine.tokens('r', [token]);
    engine.end('r');
    // Nothing above waited, and what waits has melted into few frames.
    expect(performance.now() - began).toBeLessThan(5000);
    await sleep(200);
    peer.stream.resume();
    await expect.poll(() => peer.of('terminal').length, { timeout: 5000 }).toBe(1);
    const tokens = peer.of('step').flatMap(step => [...step.tokens, ...step.events.flatMap(event => event.tokens)]);
    expect(tokens).toHaveLength(count);
    expect(tokens.every((token, i) => token === i)).toBe(true);
    expect(peer.of('step').length).toBeLessThan(5000);
    peer.hangUp();
  });

  test('load is told when it changes; a drain takes no more', async () => {
    const peer = await serving();
    await expect.poll(() => peer.of('load').at(-1)).toMatchObject({ running: 0, pagesTotal: 10, owners: [{ owner: 'kv', pages: 1 }, { owner: 'free', pages: 9 }] });
    peer.submit('r');
    await expect.poll(() => peer.of('load').at(-1)).toMatchObject({ running: 1, draining: false });
    peer.send({ $case: 'drain', value: {} });
    await expect.poll(() => peer.of('load').at(-1)).toMatchObject({ draining: true });
    expect(engine.drained).toBe(true);
    peer.submit('late');
    await expect.poll(() => peer.of('terminal').at(-1)).toMatchObject({ requestId: 'late', errorCode: 'draining' });
    peer.hangUp();
  });

  test('load counts what has ended since the start, by any reason', async () => {
    const peer = await serving();
    peer.submit('a');
    peer.submit('b', { grammar: 'x' });
    await expect.poll(() => engine.submitted.length).toBe(1);
    engine.end('a', 'done', 5);
    await expect.poll(() => peer.of('load').at(-1)).toMatchObject({ submits: 2n, promptTokens: 1n, generatedTokens: 5n });
    peer.hangUp();
  });

  test('the same gateway twice: the newer stream stays', async () => {
    const old = await serving();
    old.submit('r');
    await expect.poll(() => engine.submitted.length).toBe(1);
    const next = attach().beat();
    await expect.poll(() => next.of('terminal')).toMatchObject([{ requestId: 'r', reason: 'cancelled' }]);
    await expect.poll(() => old.ended).not.toBeNull();
    old.silence();
    next.hangUp();
  });
});
