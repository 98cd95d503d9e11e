/** The ends of requests, until somebody has them for good: their gateway, or the registry once that has gone. */
import type { executorV1, registryV1 } from '@weft/contracts';

/** About 20 MB. A gateway acknowledges within milliseconds; one that never returns must not fill the memory. */
const KEPT_MAX = 100_000;
/** A gateway that has not come back by then is replaced, not restarted. */
export const ORPHANED_MS = 5000;

/** What is known of a Submit beside its end. */
export interface Origin { tenant: string; digest: string; submittedMs: number }

interface Kept { gateway: string; terminal: executorV1.Terminal; origin: Origin; atMs: number }

/** Usage rows as an executor can tell them. */
export type Orphans = Pick<registryV1.Orphans, 'opens' | 'closes'>;

export class Terminals {
  readonly #kept = new Map<string, Kept>();
  /** When gateways without a stream lost theirs. */
  readonly #leftMs = new Map<string, number>();
  readonly #keptMax: number;
  /** Of all that ended since the start. */
  readonly totals = { submits: 0n, promptTokens: 0n, generatedTokens: 0n };

  constructor(keptMax = KEPT_MAX) { this.#keptMax = keptMax; }

  keep(gateway: string, terminal: executorV1.Terminal, origin: Origin): void {
    this.totals.submits++;
    this.totals.promptTokens += BigInt(terminal.promptTokens);
    this.totals.generatedTokens += BigInt(terminal.generatedTokens);
    this.#kept.set(terminal.requestId, { gateway, terminal, origin, atMs: Date.now() });
    if (this.#kept.size > this.#keptMax) this.#kept.delete(this.#kept.keys().next().value!);
  }

  acknowledge(gateway: string, requestId: string): void {
    if (this.#kept.get(requestId)?.gateway === gateway) this.#kept.delete(requestId);
  }

  /** What a gateway has not acknowledged: told again when it comes back. */
  of(gateway: string): executorV1.Terminal[] {
    return [...this.#kept.values()].filter(kept => kept.gateway === gateway).map(kept => kept.terminal);
  }

  attached(gateway: string): void { this.#leftMs.delete(gateway); }
  left(gateway: string): void { this.#leftMs.set(gateway, performance.now()); }

  /** Up to `countMax` ends whose gateways have been away for too long; the oldest first. */
  orphans(countMax: number): Orphans {
    const now = performance.now();
    const lost = new Set([...this.#leftMs].filter(([, atMs]) => now - atMs > ORPHANED_MS).map(([gateway]) => gateway));
    const orphans: Orphans = { opens: [], closes: [] };
    if (lost.size === 0) return orphans;
    for (const kept of this.#kept.values()) {
      if (!lost.has(kept.gateway)) continue;
      if (orphans.closes.length === countMax) return orphans;
      orphans.opens.push(toOpen(kept));
      orphans.closes.push(toClose(kept));
    }
    // All of theirs are on their way: those of whom nothing is left are forgotten.
    const owed = new Set([...this.#kept.values()].map(kept => kept.gateway));
    for (const gateway of lost) if (!owed.has(gateway)) this.#leftMs.delete(gateway);
    return orphans;
  }

  /** The registry has them. */
  taken(ids: readonly string[]): void { for (const id of ids) this.#kept.delete(id); }
}

/** What nobody was told is not billed. */
function toClose({ terminal, atMs }: Kept): registryV1.UsageClose {
  const { requestId, promptTokens, cachedTokens, generatedTokens, queueMs, coldStartMs } = terminal;
  return { id: requestId, status: 'orphaned', promptTokens, cachedTokens, generatedTokens, billedTokens: 0, queueMs, coldStartMs, closedAt: BigInt(atMs) };
}

/** Key, route and the model's name are the gateway's to tell. */
function toOpen({ gateway, terminal: { requestId: id }, origin: { tenant: tenantId, digest, submittedMs } }: Kept): registryV1.UsageOpen {
  return { id, requestId: id, tenantId, digest, gatewayId: gateway, openedAt: BigInt(submittedMs), keyId: '', route: '', model: '', adapter: '', version: 0, executorId: '' };
}
