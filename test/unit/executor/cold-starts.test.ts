import { setTimeout as sleep } from 'node:timers/promises';
import { executorV1, WeftError } from '@weft/contracts';
import type { Terminal, TokenEvent } from '@weft/engine';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EventSink } from '../../../apps/executor/src/engine.service.js';
import { filesOf, Serving } from './serving.js';

let serving: Serving;
let sink: Heard;
beforeEach(async () => { serving = await new Serving().open(); sink = new Heard(); });
afterEach(() => serving.close());

class Heard implements EventSink {
  readonly terminals: Terminal[] = [];
  readonly tokens: number[] = [];
  onEvents(_: number, events: TokenEvent[]): void { for (const event of events) this.tokens.push(...event.tokens); }
  onTerminal(terminal: Terminal): void { this.terminals.push(terminal); }
  end(id: string): Terminal | undefined { return this.terminals.find(({ requestId }) => requestId === id); }
}

function submit(requestId: string, digests: string[], change: Partial<executorV1.Submit> = {}): void {
  serving.coldStarts.submit(executorV1.Submit.fromPartial({
    requestId, baseDigest: serving.engine.base.digest, prompt: [1, 5, 9], n: 1, maxTokens: 4, logprobs: -1, sampling: { topP: 1, repetitionPenalty: 1 },
    adapters: digests.map(digest => ({ digest, weight: 1 })), ...change,
  }), sink);
}

test('a request waits for its adapter, others run meanwhile; the wait is in its Terminal', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  serving.store.fault = async (_, bytes) => { await sleep(100); return bytes; };
  submit('cold', [digest]);
  submit('base', []);
  await expect.poll(() => sink.terminals.length).toBe(2);
  expect(sink.terminals.map(({ requestId, reason }) => [requestId, reason])).toEqual([['base', 'done'], ['cold', 'done']]);
  expect(sink.end('cold')!.coldStartMs).toBeGreaterThan(190);
  expect(sink.end('cold')!.queueMs).toBeGreaterThanOrEqual(sink.end('cold')!.coldStartMs);
  expect(sink.end('base')!.coldStartMs).toBe(0);
  submit('warm', [digest]);
  await expect.poll(() => sink.end('warm')?.coldStartMs).toBeLessThan(100);
});

test('an unknown digest, a registry that is away, and an adapter at fault end in the error that says so', async () => {
  submit('unknown', ['e'.repeat(64)]);
  await expect.poll(() => sink.end('unknown')?.error).toMatchObject({ code: 'adapter_not_ready', details: { retryAfterMs: 1000 } });
  const bad = serving.store.putFiles({ ...filesOf('r8-qv'), 'notes.json': Buffer.from('{}') });
  submit('refused', [bad]);
  await expect.poll(() => sink.end('refused')?.error).toMatchObject({ code: 'adapter_file_unsupported' });
  serving.store.getArtifact = () => Promise.reject(new WeftError('registry_lost', 'away'));
  submit('away', ['f'.repeat(64)]);
  await expect.poll(() => sink.end('away')?.error, { timeout: 5000 }).toMatchObject({ code: 'adapter_not_ready' });
});

test('one that waits can be cancelled, misses its deadline, and ends exactly once', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  serving.store.fault = async (_, bytes) => { await sleep(300); return bytes; };
  submit('cancelled', [digest]);
  submit('late', [digest], { deadlineMs: 50 });
  submit('waits', [digest]);
  expect(() => submit('waits', [digest])).toThrow(expect.objectContaining({ code: 'conflict' }));
  serving.coldStarts.cancel('cancelled');
  await expect.poll(() => sink.end('cancelled')).toMatchObject({ reason: 'cancelled', promptTokens: 3, generatedTokens: 0 });
  await expect.poll(() => sink.end('late')?.error?.code).toBe('deadline_exceeded');
  await expect.poll(() => sink.end('waits')?.reason).toBe('done');
  expect(sink.terminals).toHaveLength(3);
});

test('a drain takes no more, and waits for those that wait', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  serving.store.fault = async (_, bytes) => { await sleep(100); return bytes; };
  submit('waits', [digest]);
  const drained = serving.coldStarts.drain();
  expect(() => submit('more', [])).toThrow(expect.objectContaining({ code: 'draining' }));
  await drained;
  expect(sink.end('waits')?.reason).toBe('done');
});
