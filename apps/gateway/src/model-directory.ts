/** From names to digests. */
import { Inject, Injectable } from '@nestjs/common';
import { registryV1, WeftError } from '@weft/contracts';
import { CatalogView, type AdapterVersion } from './catalog.js';
import type { GatewayConfig } from './config.js';
import { Fleet } from './fleet.js';
import { RegistryClient } from './registry-client.js';
import { RegistryWatch } from './registry-watch.js';
import { GATEWAY_CONFIG } from './tokens.js';
import { WatchedCache } from './watched-cache.js';

/** What a request's `model` means, fixed for the request's whole life. */
export interface ResolvedModel { baseDigest: string; adapter: AdapterVersion | null }

/** How a response names what served it. */
export const servedName = ({ adapter }: ResolvedModel): string | null => (adapter === null ? null : `${adapter.name}@${adapter.version}`);

export interface ModelCard {
  id: string;
  object: 'model';
  created: number;
  owned_by: string;
  /** The base's id; null for the base itself. */
  parent: string | null;
  root: string;
  digest: string;
  max_model_len: number;
}

/** A page of cards. The whole list is kept as the bytes that are sent. */
export type CardPage = Buffer | { object: 'list'; data: ModelCard[]; has_more: boolean };

/** A tenant's names and cards for what is served now. */
interface Listing { view: CatalogView; maxModelLen: number; cards: ModelCard[]; json: Buffer | null }

const TENANTS_MAX = 1000;

@Injectable()
export class ModelDirectory {
  readonly base: string;
  readonly #registry: RegistryClient;
  readonly #fleet: Fleet;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #catalogs: WatchedCache<registryV1.Catalog>;
  readonly #listings = new WeakMap<registryV1.Catalog, Listing>();

  constructor(@Inject(GATEWAY_CONFIG) { modelName }: Pick<GatewayConfig, 'modelName'>, registry: RegistryClient, watch: RegistryWatch, fleet: Fleet) {
    this.base = modelName;
    this.#registry = registry;
    this.#fleet = fleet;
    this.#catalogs = new WatchedCache(watch, TENANTS_MAX);
    watch.onChange(({ kind, tenantId }) => {
      if (kind !== registryV1.ChangeKind.CATALOG) return;
      if (tenantId === '') this.#catalogs.expireAll();
      else this.#catalogs.expire(tenantId);
    });
  }

  /**
   * In this order: the base's id, `<base>:<adapter>`, `<tenant>/<adapter>`, `<adapter>`; an adapter may carry `@<version>` or
   * `@<alias>`. Throws model_not_found, registry_lost, executor_lost.
   */
  async resolve(tenant: string, model: string): Promise<ResolvedModel> {
    const { baseDigest } = this.#fleet.known;
    if (model === this.base) return { baseDigest, adapter: null };
    const adapter = (await this.#listing(tenant)).view.find(this.#reference(model));
    if (adapter === undefined) throw new WeftError('model_not_found', `The model '${model}' does not exist or you do not have access to it.`, { param: 'model' });
    return { baseDigest, adapter };
  }

  /** The base, then the tenant's own adapters, then those shared with it. Throws invalid_value (param after). */
  async list(tenant: string, limit: number, after: string | undefined): Promise<CardPage> {
    const listing = await this.#listing(tenant);
    const { cards } = listing;
    if (after === undefined && limit >= cards.length) return listing.json ??= Buffer.from(JSON.stringify({ object: 'list', data: cards, has_more: false }));
    const start = after === undefined ? 0 : cards.findIndex(({ id }) => id === after) + 1;
    if (after !== undefined && start === 0) throw new WeftError('invalid_value', `No model '${after}' to continue after.`, { param: 'after' });
    return { object: 'list', data: cards.slice(start, start + limit), has_more: start + limit < cards.length };
  }

  /** The card of any name that `resolve` takes. */
  async card(tenant: string, model: string): Promise<ModelCard> {
    const { adapter } = await this.resolve(tenant, model);
    if (adapter === null) return this.#baseCard();
    const { view } = await this.#listing(tenant);
    const { owner, created } = view.adapters.find(({ id }) => id === adapter.name)!;
    return this.#adapterCard(model, owner, created, adapter);
  }

  #reference(model: string): string { return model.startsWith(`${this.base}:`) ? model.slice(this.base.length + 1) : model; }

  async #listing(tenant: string): Promise<Listing> {
    const catalog = await this.#catalogs.get(tenant, timeoutMs => this.#registry.call('getCatalog', { tenantId: tenant }, timeoutMs));
    const { baseDigest, maxModelLen } = this.#fleet.known;
    const kept = this.#listings.get(catalog);
    if (kept !== undefined && kept.view.baseDigest === baseDigest && kept.maxModelLen === maxModelLen) return kept;
    const view = new CatalogView(catalog, baseDigest);
    const adapters = view.adapters.filter(({ bare }) => bare !== undefined).map(({ id, owner, created, bare }) => this.#adapterCard(id, owner, created, bare!));
    const listing = { view, maxModelLen, cards: [this.#baseCard(), ...adapters], json: null };
    this.#listings.set(catalog, listing);
    return listing;
  }

  #baseCard(): ModelCard {
    const { baseDigest, maxModelLen } = this.#fleet.known;
    return { id: this.base, object: 'model', created: this.#created, owned_by: 'weft', parent: null, root: this.base, digest: baseDigest, max_model_len: maxModelLen };
  }

  #adapterCard(id: string, owner: string, created: number, { digest }: AdapterVersion): ModelCard {
    return { id, object: 'model', created, owned_by: owner, parent: this.base, root: this.base, digest, max_model_len: this.#fleet.known.maxModelLen };
  }
}
