import { Injectable } from '@nestjs/common';

/** What a request may cost at most, known before it runs. */
export interface Ask { tenant: string; requests: number; tokens: number }

/** Held from admission to the end of a request. */
export interface Lease { readonly ask: Ask }

/** What each tenant may use. Nothing is limited so far: this counts. */
@Injectable()
export class Limits {
  readonly #held = new Set<Lease>();
  #settledTokens = 0;

  /** A tenant above its limits is refused here: rate_limit_exceeded, insufficient_quota. */
  acquire(ask: Ask): Lease {
    const lease = { ask };
    this.#held.add(lease);
    return lease;
  }

  /** Gives the lease back and charges what was really used. */
  settle(lease: Lease, usedTokens: number): void {
    if (this.#held.delete(lease)) this.#settledTokens += usedTokens;
  }

  get counts(): { held: number; settledTokens: number } { return { held: this.#held.size, settledTokens: this.#settledTokens }; }
}
