/**
 * What one gateway has not been sent yet. While the gateway reads slowly, the events of a choice melt into one, so that what
 * waits here is bounded by the requests' own token limits, whatever the engine does meanwhile.
 */
import type { executorV1 } from '@weft/contracts';

type Body = NonNullable<executorV1.Down['body']>;

/** Values (tokens, log-probabilities, hidden numbers) of a frame, about: 256 KiB on the wire. */
const FRAME_VALUES = 32_768;

export class Outbox {
  #step = 0n;
  /** By request and choice, in the order of their first event. */
  readonly #events = new Map<string, executorV1.TokenEvent>();
  readonly #terminals = new Map<string, executorV1.Terminal>();
  #welcome: executorV1.Description | null = null;
  #load: executorV1.Load | null = null;
  #heartbeat = false;

  welcome(description: executorV1.Description): void { this.#welcome = description; }
  load(load: executorV1.Load): void { this.#load = load; }
  heartbeat(): void { this.#heartbeat = true; }
  /** Follows all events of its request that were added before. */
  terminal(terminal: executorV1.Terminal): void { this.#terminals.set(terminal.requestId, terminal); }

  event(step: number, event: executorV1.TokenEvent): void {
    this.#step = BigInt(step);
    const key = `${event.choice} ${event.requestId}`;
    const waiting = this.#events.get(key);
    this.#events.set(key, waiting === undefined ? event : merge(waiting, event));
  }

  /** The next frame to write, or null when there is none. */
  take(): Body | null {
    if (this.#welcome !== null) {
      const value = this.#welcome;
      this.#welcome = null;
      return { $case: 'welcome', value };
    }
    if (this.#events.size > 0) return { $case: 'step', value: { step: this.#step, events: this.#takeEvents() } };
    for (const [id, value] of this.#terminals) {
      this.#terminals.delete(id);
      return { $case: 'terminal', value };
    }
    if (this.#load !== null) {
      const value = this.#load;
      this.#load = null;
      return { $case: 'load', value };
    }
    if (this.#heartbeat) {
      this.#heartbeat = false;
      return { $case: 'heartbeat', value: {} };
    }
    return null;
  }

  #takeEvents(): executorV1.TokenEvent[] {
    const events: executorV1.TokenEvent[] = [];
    let values = 0;
    for (const [key, event] of this.#events) {
      if (values > 0 && values + size(event) > FRAME_VALUES) break;
      values += size(event);
      events.push(event);
      this.#events.delete(key);
    }
    return events;
  }
}

/** Two successive events of one choice as one. Prompt scores come in order and without gaps. */
function merge(first: executorV1.TokenEvent, second: executorV1.TokenEvent): executorV1.TokenEvent {
  for (const key of ['tokens', 'logprobs', 'promptLogprobs', 'hidden'] as const) append(first[key], second[key]);
  for (const key of ['top', 'promptTop'] as const) append(first[key], second[key]);
  if (first.promptStart === 0) first.promptStart = second.promptStart;
  first.finishReason = second.finishReason;
  return first;
}

function append<T>(to: T[], from: readonly T[]): void { for (const value of from) to.push(value); }

function size(event: executorV1.TokenEvent): number {
  const tops = (list: readonly executorV1.TopLogprobs[]): number => list.reduce((sum, top) => sum + 2 * top.ids.length, 0);
  return event.tokens.length + event.logprobs.length + event.promptLogprobs.length + event.hidden.length + tops(event.top) + tops(event.promptTop);
}
