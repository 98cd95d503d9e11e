import { Inject, Injectable } from '@nestjs/common';
import { WeftError, type executorV1 } from '@weft/contracts';
import type { GatewayConfig } from './config.js';
import { ExecutorClient } from './executor-client.js';
import { GATEWAY_CONFIG } from './tokens.js';

/** What a request's `model` means, fixed for the request's whole life. */
export interface ResolvedModel {
  baseDigest: string;
  adapter: { name: string; version: number; digest: string } | null;
}

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

/** Adapters of a folder have one version. */
const FOLDER_VERSION = 1;

/** From names to digests. */
@Injectable()
export class ModelDirectory {
  readonly base: string;
  readonly #executor: ExecutorClient;
  readonly #created = Math.floor(Date.now() / 1000);
  /** By lower-case name: names are unique without regard to case. */
  #adapters = new Map<string, executorV1.AdapterCard>();

  constructor(@Inject(GATEWAY_CONFIG) { modelName }: Pick<GatewayConfig, 'modelName'>, executor: ExecutorClient) {
    this.base = modelName;
    this.#executor = executor;
    executor.onWelcome(description => this.#serve(description));
  }

  /** In this order: the base's id, `<base>:<adapter>`, `<adapter>`; an adapter may carry `@<version>` or `@latest`. Throws model_not_found. */
  resolve(model: string): ResolvedModel {
    const { baseDigest } = this.#executor.serving;
    if (model === this.base) return { baseDigest, adapter: null };
    const adapter = this.#find(model.startsWith(`${this.base}:`) ? model.slice(this.base.length + 1) : model);
    if (adapter === undefined) throw new WeftError('model_not_found', `The model '${model}' does not exist or you do not have access to it.`, { param: 'model' });
    return { baseDigest, adapter: { name: adapter.name, version: FOLDER_VERSION, digest: adapter.digest } };
  }

  /** The base, then the adapters by name. */
  list(): ModelCard[] {
    const names = [...this.#adapters.values()].map(adapter => adapter.name).sort((a, b) => (a < b ? -1 : 1));
    return [this.card(this.base), ...names.map(name => this.card(name))];
  }

  /** The card of any id that `resolve` takes. */
  card(model: string): ModelCard {
    const { baseDigest, adapter } = this.resolve(model);
    return {
      id: model, object: 'model', created: this.#created, owned_by: 'weft', parent: adapter === null ? null : this.base, root: this.base,
      digest: adapter?.digest ?? baseDigest, max_model_len: this.#executor.serving.maxModelLen,
    };
  }

  #find(reference: string): executorV1.AdapterCard | undefined {
    const [name = '', selector, ...rest] = reference.split('@');
    const known = selector === undefined || selector === 'latest' || selector === String(FOLDER_VERSION);
    return known && rest.length === 0 ? this.#adapters.get(name.toLowerCase()) : undefined;
  }

  #serve({ adapters }: executorV1.Description): void {
    const served = adapters.filter(({ errors }) => errors.length === 0);
    this.#adapters = new Map(served.map(adapter => [adapter.name.toLowerCase(), adapter]));
  }
}
