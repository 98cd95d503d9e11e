/** The ends of requests that their gateway has not acknowledged: told again when it comes back. */
import type { executorV1 } from '@weft/contracts';

/** About 20 MB. A gateway acknowledges within milliseconds; one that never returns must not fill the memory. */
const KEPT_MAX = 100_000;

export class Terminals {
  readonly #kept = new Map<string, { gateway: string; terminal: executorV1.Terminal }>();
  readonly #keptMax: number;
  constructor(keptMax = KEPT_MAX) { this.#keptMax = keptMax; }

  keep(gateway: string, terminal: executorV1.Terminal): void {
    this.#kept.set(terminal.requestId, { gateway, terminal });
    if (this.#kept.size > this.#keptMax) this.#kept.delete(this.#kept.keys().next().value!);
  }

  acknowledge(gateway: string, requestId: string): void {
    if (this.#kept.get(requestId)?.gateway === gateway) this.#kept.delete(requestId);
  }

  of(gateway: string): executorV1.Terminal[] {
    return [...this.#kept.values()].filter(kept => kept.gateway === gateway).map(kept => kept.terminal);
  }
}
