/** So many a minute, refilled all the time: what was not used for a minute can be used at once. */
export class TokenBucket {
  #level: number;
  #atMs: number;

  constructor(public perMinute: number, nowMs: number) {
    this.#level = perMinute;
    this.#atMs = nowMs;
  }

  /** What may be taken now; below 0 when more was used than had been taken. */
  level(nowMs: number): number {
    this.#level = Math.min(this.perMinute, this.#level + this.#refill(nowMs - this.#atMs));
    this.#atMs = nowMs;
    return this.#level;
  }

  /** Gives back if negative. */
  take(amount: number): void { this.#level = Math.min(this.perMinute, this.#level - amount); }

  /** What was used stays used. */
  resize(perMinute: number, nowMs: number): void {
    const used = this.perMinute - this.level(nowMs);
    this.perMinute = perMinute;
    this.#level = perMinute - used;
  }

  /** How long until so much is there. */
  msUntil(amount: number, nowMs: number): number { return Math.max(0, (amount - this.level(nowMs)) * 60_000 / this.perMinute); }

  #refill(ms: number): number { return ms * this.perMinute / 60_000; }
}
