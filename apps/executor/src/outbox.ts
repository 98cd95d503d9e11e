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
  /** Tokens that came with nothing else, and beside them their choices' lanes. They are older than any event of their choice. */
  #lanes: number[] = [];
  #tokens: number[] = [];
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

  /** A choice with a lane got a token, and nothing else. False: something else of it still waits, and the token must go with that. */
  token(step: number, lane: number, token: number, choice: Pick<executorV1.TokenEvent, 'requestId' | 'choice'>): boolean {
    if (this.#events.size > 0 && this.#events.has(keyOf(choice))) return false;
    this.#step = BigInt(step);
    this.#lanes.push(lane);
    this.#tokens.push(token);
    return true;
  }

  event(step: number, event: executorV1.TokenEvent): void {
    this.#step = BigInt(step);
    const key = keyOf(event);
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
    if (this.#lanes.length > 0 || this.#events.size > 0) return { $case: 'step', value: this.#takeStep() };
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

  #takeStep(): executorV1.Step {
    const [lanes, tokens] = [this.#lanes, this.#tokens];
    this.#lanes = lanes.length > FRAME_VALUES ? lanes.splice(FRAME_VALUES) : [];
    this.#tokens = tokens.length > FRAME_VALUES ? tokens.splice(FRAME_VALUES) : [];
    return { step: this.#step, lanes, tokens, events: this.#lanes.length === 0 ? this.#takeEvents() : [] };
  }

  #takeEvents(): executorV1.TokenEvent[] {
    if (this.#events.size === 0) return [];
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

const keyOf = ({ choice, requestId }: Pick<executorV1.TokenEvent, 'requestId' | 'choice'>): string => `${choice} ${requestId}`;

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
