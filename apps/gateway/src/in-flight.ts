import { Injectable } from '@nestjs/common';
import { WeftError } from '@weft/contracts';

/** The requests that are being answered, so that a stop can wait for them. */
@Injectable()
export class InFlight {
  readonly #aborts = new Set<AbortController>();
  #draining = false;
  #emptied: (() => void) | null = null;

  get draining(): boolean { return this.#draining; }
  get count(): number { return this.#aborts.size; }

  /** Throws draining. The controller aborts when the drain time is over. */
  enter(): AbortController {
    if (this.#draining) throw new WeftError('draining', 'This server is shutting down.', { retryAfterMs: 1000 });
    const abort = new AbortController();
    this.#aborts.add(abort);
    return abort;
  }

  leave(abort: AbortController): void {
    this.#aborts.delete(abort);
    if (this.#aborts.size === 0) this.#emptied?.();
  }

  /** Lets nothing in from now on; resolves when all have left, those that take longer than the timeout by force. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    if (this.#aborts.size === 0) return;
    const emptied = new Promise<void>(resolve => { this.#emptied = resolve; });
    const timer = setTimeout(() => {
      for (const abort of this.#aborts) abort.abort(new WeftError('draining', 'This server shut down before the answer was complete.', { retryAfterMs: 1000 }));
    }, timeoutMs);
    await emptied;
    clearTimeout(timer);
  }
}
