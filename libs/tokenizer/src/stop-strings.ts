import { WeftError } from '@weft/contracts';

/** A prefix of stop strings. Aho–Corasick: `fail` is the longest proper suffix that is a prefix too. */
interface State { depth: number; next: Map<string, State>; fail: State; stop: string | undefined }

export interface StopOptions {
  /** Keep the stop string at the end of the text. Default false. */
  includeStop?: boolean;
}

export interface StopResult {
  /** Text that no stop string can take back any more. */
  text: string;
  /** The stop string that ended the text. */
  stopped?: string;
}

/**
 * Finds the first stop string in a text that comes in pieces. The match that is complete first wins; of two that end
 * together, the longer one, which cuts more. Where the pieces were cut makes no difference.
 * Holds back the longest end of the text that may become a stop string, nothing more. O(1) a character.
 */
export class StopStrings {
  readonly #root: State;
  readonly #includeStop: boolean;
  #state: State;
  #held = '';
  #stopped = false;

  constructor(stops: readonly string[], { includeStop = false }: StopOptions = {}) {
    this.#root = build(stops);
    this.#includeStop = includeStop;
    this.#state = this.#root;
  }

  /** Adds a piece. After a stop nothing more comes out. */
  push(piece: string): StopResult {
    if (this.#stopped) return { text: '' };
    const text = this.#held + piece;
    let state = this.#state;
    for (let at = this.#held.length; at < text.length; at++) {
      state = step(state, text[at]!, this.#root);
      if (state.stop !== undefined) {
        this.#stopped = true;
        this.#held = '';
        return { text: text.slice(0, at + 1 - (this.#includeStop ? 0 : state.stop.length)), stopped: state.stop };
      }
    }
    this.#state = state;
    const safe = text.length - state.depth;
    this.#held = text.slice(safe);
    return { text: text.slice(0, safe) };
  }

  /** The text ended otherwise: what was held back is text. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    this.#state = this.#root;
    return rest;
  }
}

function step(from: State, unit: string, root: State): State {
  for (let state = from; ; state = state.fail) {
    const next = state.next.get(unit);
    if (next !== undefined) return next;
    if (state === root) return root;
  }
}

function build(stops: readonly string[]): State {
  const root = { depth: 0, next: new Map(), stop: undefined } as unknown as State;
  root.fail = root;
  // Text never holds half a surrogate pair; a stop string that begins with one would cut characters in two.
  for (const stop of stops.map(stop => stop.replace(/\p{Surrogate}/gu, '\ufffd'))) {
    if (stop === '') throw new WeftError('invalid_value', 'A stop string is empty.', { param: 'stop' });
    let state = root;
    for (let i = 0; i < stop.length; i++) {
      let next = state.next.get(stop[i]!);
      if (next === undefined) state.next.set(stop[i]!, next = { depth: i + 1, next: new Map(), fail: root, stop: undefined });
      state = next;
    }
    state.stop = stop;
  }
  // Breadth first: a state's suffixes are shorter and so already linked.
  const queue = [...root.next.values()];
  for (const state of queue) {
    for (const [unit, next] of state.next) {
      next.fail = step(state.fail, unit, root);
      next.stop ??= next.fail.stop;
      queue.push(next);
    }
  }
  return root;
}
