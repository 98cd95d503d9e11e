import { executorV1 } from '@weft/contracts';
import { expect, test } from 'vitest';
import { Outbox } from '../../../apps/executor/src/outbox.js';

const event = (value: Partial<executorV1.TokenEvent>): executorV1.TokenEvent => executorV1.TokenEvent.fromPartial({ requestId: 'r', ...value });
const terminal = (requestId: string): executorV1.Terminal => executorV1.Terminal.fromPartial({ requestId, reason: 'done' });

function drain(outbox: Outbox): NonNullable<executorV1.Down['body']>[] {
  const frames = [];
  for (let frame = outbox.take(); frame !== null; frame = outbox.take()) frames.push(frame);
  return frames;
}

test('events of one choice melt into one, in order; others stay apart', () => {
  const outbox = new Outbox();
  outbox.event(1, event({ tokens: [1], logprobs: [-1], top: [{ ids: [9], logprobs: [-3] }] }));
  outbox.event(1, event({ choice: 1, tokens: [7] }));
  outbox.event(2, event({ tokens: [2], logprobs: [-2], top: [{ ids: [8], logprobs: [-4] }], finishReason: 'length' }));
  const frames = drain(outbox);
  expect(frames).toEqual([{ $case: 'step', value: { step: 2n, lanes: [], tokens: [], events: [
    event({ tokens: [1, 2], logprobs: [-1, -2], top: [{ ids: [9], logprobs: [-3] }, { ids: [8], logprobs: [-4] }], finishReason: 'length' }), event({ choice: 1, tokens: [7] }),
  ] } }]);
});

test('scores of a prompt keep the position of the first', () => {
  const outbox = new Outbox();
  outbox.event(1, event({ promptStart: 1, promptLogprobs: [-1, -2] }));
  outbox.event(2, event({ promptStart: 3, promptLogprobs: [-3], tokens: [5] }));
  expect(drain(outbox)).toMatchObject([{ value: { events: [{ promptStart: 1, promptLogprobs: [-1, -2, -3], tokens: [5] }] } }]);
});

test('a terminal never overtakes its events, and load is the latest only', () => {
  const outbox = new Outbox();
  outbox.load(executorV1.Load.fromPartial({ running: 1 }));
  outbox.heartbeat();
  outbox.terminal(terminal('r'));
  outbox.event(1, event({ tokens: [1] }));
  outbox.load(executorV1.Load.fromPartial({ running: 2 }));
  outbox.welcome(executorV1.Description.fromPartial({ build: 'b' }));
  expect(drain(outbox).map(frame => frame.$case)).toEqual(['welcome', 'step', 'terminal', 'load', 'heartbeat']);
});

test('a token and nothing else goes by its lane, in front of all events, unless something else of its choice waits', () => {
  const outbox = new Outbox();
  expect(outbox.token(1, 5, 10, { requestId: 'r', choice: 0 })).toBe(true);
  expect(outbox.token(1, 6, 20, { requestId: 'r', choice: 1 })).toBe(true);
  expect(outbox.token(2, 5, 11, { requestId: 'r', choice: 0 })).toBe(true);
  outbox.event(3, event({ tokens: [12], finishReason: 'length' }));
  expect(outbox.token(3, 5, 13, { requestId: 'r', choice: 0 })).toBe(false);
  expect(outbox.token(3, 6, 21, { requestId: 'r', choice: 1 })).toBe(true);
  expect(drain(outbox)).toEqual([{ $case: 'step', value: { step: 3n, lanes: [5, 6, 5, 6], tokens: [10, 20, 11, 21], events: [event({ tokens: [12], finishReason: 'length' })] } }]);
});

test('a frame is bounded, whatever waits', () => {
  const outbox = new Outbox();
  const tokens = Array.from({ length: 10_000 }, (_, i) => i);
  for (let choice = 0; choice < 10; choice++) outbox.event(1, event({ choice, tokens: [...tokens] }));
  const frames = drain(outbox);
  expect(frames.map(frame => (frame.value as executorV1.Step).events.length)).toEqual([3, 3, 3, 1]);
  for (let i = 0; i < 40_000; i++) outbox.token(i, 1 + i % 7, i, { requestId: 'r', choice: i % 7 });
  const steps = drain(outbox).map(frame => frame.value as executorV1.Step);
  expect(steps.map(({ lanes, tokens }) => [lanes.length, tokens.length])).toEqual([[32_768, 32_768], [7232, 7232]]);
  expect(steps.flatMap(step => step.tokens)).toEqual(Array.from({ length: 40_000 }, (_, i) => i));
});
