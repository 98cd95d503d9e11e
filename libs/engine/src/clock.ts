/** Time, injected: production reads the machine's, the simulator makes its own. */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

/** setTimeout counts in 32 bits; a longer sleep just wakes early, and its caller looks again. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: ms => new Promise(resolve => { setTimeout(resolve, Math.min(ms, LONGEST_TIMER_MS)).unref(); }),
};
