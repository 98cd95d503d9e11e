import { executorV1 } from '@weft/contracts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pictureSchema } from '../../../apps/gateway/src/live.controller.js';
import { ADMIN_KEY, KEY, startStack, type Stack } from './harness.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
  stack.double.picture = executorV1.Picture.fromPartial({
    step: 7n, stepMs: 1.5, running: 1, waiting: 1, tokensPerSecond: 12, tokensOut: 99n, pageBytes: 4096, weightBytes: 1_000_000n,
    holders: [{ kind: 'free' }, { kind: 'sequence', tenant: 't', requestId: 'r-0', choice: 1 }, { kind: 'adapter', digest: 'a'.repeat(64) }, { kind: 'expert', digest: 'e'.repeat(64), users: 3 }],
    map: [1, 2, 2, 4, 3, 1, 0, 9],
    batch: [{ requestId: 'r-0', choice: 1, tenant: 't', adapters: [{ digest: 'a'.repeat(64), weight: 1 }], phase: 'decode', rows: 1, promptTokens: 5, generatedTokens: 2, pages: 2 }],
    queue: [{ requestId: 'r-1', tenant: 't', adapters: [], adapterState: 'loading', waitedMs: 4 }],
  });
});
afterAll(() => stack.close());

const watch = (query = '', key = ADMIN_KEY, signal?: AbortSignal): Promise<Response> => fetch(`${stack.url}/v1/live${query}`, { headers: { authorization: `Bearer ${key}` }, ...(signal && { signal }) });

test('is an admin\'s, and says what it was asked wrongly', async () => {
  expect((await watch('', KEY)).status).toBe(403);
  const refused = await watch('?interval_ms=10');
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({ error: { code: 'invalid_value', param: 'interval_ms' } });
});

test('shows each executor as often as it was asked to, until the client hangs up', async () => {
  const abort = new AbortController(), response = await watch('?interval_ms=60', ADMIN_KEY, abort.signal);
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  const pictures: unknown[] = [];
  let text = '';
  for await (const bytes of response.body!) {
    text += Buffer.from(bytes as Uint8Array).toString();
    pictures.splice(0, Infinity, ...text.split('\n\n').slice(0, -1).map(event => JSON.parse(event.replace(/^data: /, '')) as unknown));
    if (pictures.length >= 3) break;
  }
  expect([...stack.double.observers.values()]).toEqual([60]);
  const picture = pictureSchema.strict().parse(pictures[0]);
  expect(picture).toMatchObject({
    object: 'picture', executor: 'executor-1', step: 7, step_ms: 1.5, tokens_out: 99, weight_bytes: 1_000_000, map: [1, 2, 2, 4, 3, 1, 0, 9],
    batch: [{ request_id: 'r-0', adapters: [{ digest: 'a'.repeat(64), weight: 1 }], phase: 'decode', pages: 2 }], queue: [{ request_id: 'r-1', adapter_state: 'loading' }],
  });
  // Each holder has what its kind has, and nothing else.
  expect(picture.holders).toEqual([{ kind: 'free' }, { kind: 'sequence', tenant: 't', request_id: 'r-0', choice: 1 }, { kind: 'adapter', digest: 'a'.repeat(64) }, { kind: 'expert', digest: 'e'.repeat(64), users: 3 }]);
  abort.abort();
  await expect.poll(() => stack.double.observers.size).toBe(0);
});
