/** The executors of the roster, and which of them gets a request. */
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { executorV1, registryV1 } from '@weft/contracts';
import type { GatewayConfig } from './config.js';
import { ExecutorLink, executorLost, type Acknowledge, type LinkHandler } from './executor-link.js';
import { Ledger } from './ledger.js';
import { place } from './placement.js';
import { RegistryWatch } from './registry-watch.js';
import { GATEWAY_CONFIG, GATEWAY_ID } from './tokens.js';

/** A registry that starts again may tell its roster before all executors are back in it: those that still serve are kept so long. */
const MISSING_MS_MAX = 5000;

type Config = Pick<GatewayConfig, 'linkToken' | 'modelName'>;

@Injectable()
export class Fleet implements LinkHandler, OnModuleDestroy {
  readonly #config: Config;
  readonly #gatewayId: string;
  readonly #ledger: Ledger;
  /** By address: an executor that starts again at its old one is met by the same link. */
  readonly #links = new Map<string, ExecutorLink>();
  /** Of links that the roster no longer names. */
  readonly #missing = new Map<ExecutorLink, NodeJS.Timeout>();
  /** Those that take requests for the base that is served. */
  #candidates: ExecutorLink[] = [];
  #known: executorV1.Description | null = null;
  #turn = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(@Inject(GATEWAY_CONFIG) config: Config, @Inject(GATEWAY_ID) gatewayId: string, watch: RegistryWatch, ledger: Ledger) {
    this.#config = config;
    this.#gatewayId = gatewayId;
    this.#ledger = ledger;
    watch.onRoster(executors => this.#reconcile(executors));
  }

  get links(): Iterable<ExecutorLink> { return this.#links.values(); }
  /** An executor takes requests. */
  get serving(): boolean { return this.#candidates.length > 0; }
  /** What is served; the last that was, while no executor is there. Throws executor_lost before the first. */
  get known(): executorV1.Description {
    if (this.#known === null) throw executorLost();
    return this.#known;
  }
  /** Resolves when an executor takes requests. */
  served(): Promise<void> {
    return this.serving ? Promise.resolve() : new Promise(resolve => this.#waiting.push(resolve));
  }

  /** Throws executor_lost. */
  pick(baseDigest: string, adapterDigest: string | null): ExecutorLink {
    if (this.#candidates.length === 0 || this.#known?.baseDigest !== baseDigest) throw executorLost();
    return place(this.#candidates, adapterDigest, this.#turn++);
  }

  onChange(link: ExecutorLink): void {
    // Neither the roster nor the link has it.
    if (link.description === null && this.#missing.has(link)) this.#drop(link);
    const welcome = [...this.#links.values()].filter(({ open }) => open);
    const baseDigest = mostCommon(welcome.map(({ description }) => description!.baseDigest), this.#known?.baseDigest);
    this.#candidates = welcome.filter(({ description }) => description!.baseDigest === baseDigest);
    const [first] = this.#candidates;
    if (first === undefined) return;
    this.#known = { ...first.description!, maxModelLen: Math.min(...this.#candidates.map(({ description }) => description!.maxModelLen)) };
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  onLateEnd(terminal: executorV1.Terminal, acknowledge: Acknowledge): void { this.#ledger.end(terminal, acknowledge); }

  onClosed(link: ExecutorLink): void {
    if (this.#links.get(link.address) === link) this.#links.delete(link.address);
  }

  async onModuleDestroy(): Promise<void> {
    for (const timer of this.#missing.values()) clearTimeout(timer);
    this.#missing.clear();
    await Promise.all([...this.#links.values()].map(link => link.close()));
  }

  #reconcile(executors: readonly registryV1.ExecutorMember[]): void {
    const { linkToken, modelName } = this.#config;
    const addresses = new Set(executors.filter(({ base }) => base === modelName).map(({ address }) => address));
    for (const address of addresses) {
      const link = this.#links.get(address);
      if (link === undefined) this.#links.set(address, new ExecutorLink({ address, gatewayId: this.#gatewayId, linkToken }, this));
      else this.#keep(link);
    }
    for (const link of this.#links.values()) if (!addresses.has(link.address)) this.#miss(link);
  }

  #keep(link: ExecutorLink): void {
    clearTimeout(this.#missing.get(link));
    this.#missing.delete(link);
    link.stay();
  }

  #miss(link: ExecutorLink): void {
    if (this.#missing.has(link)) return;
    this.#missing.set(link, setTimeout(() => this.#drop(link), MISSING_MS_MAX));
    this.onChange(link);
  }

  #drop(link: ExecutorLink): void {
    clearTimeout(this.#missing.get(link));
    this.#missing.delete(link);
    link.leave();
  }
}

/** Of equally common ones the one that was it before, or else the first. */
function mostCommon(values: readonly string[], before: string | undefined): string | undefined {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const best = [...counts].filter(([, count]) => count === most).map(([value]) => value);
  return before !== undefined && best.includes(before) ? before : best[0];
}
