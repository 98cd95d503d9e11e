/** Who may do what: asked of the registry, and remembered. Keys themselves are not kept: their HMACs are. */
import { createHmac, randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { registryV1, WeftError } from '@weft/contracts';
import { RegistryClient } from './registry-client.js';
import { RegistryWatch } from './registry-watch.js';
import { WatchedCache } from './watched-cache.js';

export type Scope = 'inference' | 'adapters:write' | 'admin';

/** Whose key it is and what it may. An admin's `x-weft-tenant` is its tenant here. */
export interface Principal {
  keyId: string;
  /** Its id, and what people call it. */
  tenant: string;
  tenantName: string;
  scopes: ReadonlySet<string>;
  /** 0: not limited. */
  limits: Readonly<registryV1.Limits>;
}

interface KnownKey { principal: Principal; expiresAtMs: number }

/** Longer ones are nobody's key. */
const KEY_CHARS_MAX = 512;
const KEYS_MAX = 20_000;
/** The registry notes when a key was used, to a minute: by being asked. */
const REFRESH_MS = 60_000;
const TENANTS_MAX = 10_000;
/** Wrong keys that are tried again and again ask the registry once a second. */
const UNKNOWN_MS = 1000;
const UNKNOWN_MAX = 10_000;
const NO_LIMITS: registryV1.Limits = { requestsPerMinute: 0, tokensPerMinute: 0, parallel: 0 };

@Injectable()
export class Keys {
  readonly #registry: RegistryClient;
  readonly #pepper = randomBytes(32);
  readonly #known: WatchedCache<KnownKey>;
  readonly #tenants: WatchedCache<registryV1.Tenant>;
  /** When the registry last said that it does not know a key. */
  readonly #unknown = new Map<string, number>();

  constructor(registry: RegistryClient, watch: RegistryWatch) {
    this.#registry = registry;
    this.#known = new WatchedCache(watch, KEYS_MAX, REFRESH_MS);
    this.#tenants = new WatchedCache(watch, TENANTS_MAX);
    watch.onChange(({ kind, tenantId }) => { if (kind === registryV1.ChangeKind.KEYS) this.#forget(tenantId); });
  }

  /** Throws invalid_api_key, insufficient_scope, not_found (param x-weft-tenant), registry_lost. */
  async authenticate(authorization: string | undefined, actsFor: string | undefined): Promise<Principal> {
    const [, key] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    if (key === undefined) throw new WeftError('invalid_api_key', 'No API key: send the header «Authorization: Bearer <key>».');
    if (key.length > KEY_CHARS_MAX) throw unknownKey();
    const { principal, expiresAtMs } = await this.#find(key);
    if (expiresAtMs !== 0 && Date.now() >= expiresAtMs) throw new WeftError('invalid_api_key', 'This API key has expired.');
    return actsFor === undefined ? principal : this.#actFor(actsFor, principal);
  }

  #find(key: string): KnownKey | Promise<KnownKey> {
    const hash = createHmac('sha256', this.#pepper).update(key).digest('base64');
    const refusedMs = this.#unknown.get(hash);
    if (refusedMs !== undefined && performance.now() - refusedMs < UNKNOWN_MS) throw unknownKey();
    return this.#known.get(hash, timeoutMs => this.#ask(key, hash, timeoutMs));
  }

  async #ask(key: string, hash: string, timeoutMs: number): Promise<KnownKey> {
    try {
      const { keyId, tenantId, tenantName, scopes, limits, expiresAt } = await this.#registry.call('authenticate', { key }, timeoutMs);
      return {
        principal: { keyId, tenant: tenantId, tenantName, scopes: new Set(scopes), limits: limits ?? NO_LIMITS },
        expiresAtMs: Number(expiresAt),
      };
    } catch (error) {
      if (error instanceof WeftError && error.code === 'invalid_api_key') this.#refuse(hash);
      throw error;
    }
  }

  #refuse(hash: string): void {
    this.#unknown.delete(hash);
    this.#unknown.set(hash, performance.now());
    if (this.#unknown.size > UNKNOWN_MAX) this.#unknown.delete(this.#unknown.keys().next().value!);
  }

  async #actFor(name: string, principal: Principal): Promise<Principal> {
    if (!principal.scopes.has('admin')) throw new WeftError('insufficient_scope', 'Only a key with the scope admin may act for a tenant by x-weft-tenant.', { param: 'x-weft-tenant' });
    try {
      const tenant = await this.#tenants.get(name.toLowerCase(), timeoutMs => this.#registry.call('findTenant', { name }, timeoutMs));
      return { ...principal, tenant: tenant.id, tenantName: tenant.name };
    } catch (error) {
      if (!(error instanceof WeftError) || error.code !== 'not_found') throw error;
      throw new WeftError('not_found', `There is no tenant ${JSON.stringify(name)}.`, { param: 'x-weft-tenant', cause: error });
    }
  }

  /**
   * A revoked key that was heard of must not work on because the registry went away just then. Where changes may have been
   * missed (no tenant is named) what is known is asked for again, and holds should the registry go away once more.
   */
  #forget(tenantId: string): void {
    this.#unknown.clear();
    if (tenantId === '') {
      this.#known.expireAll();
      this.#tenants.expireAll();
      return;
    }
    this.#known.forget(({ principal }) => principal.tenant === tenantId);
    this.#tenants.forget(({ id }) => id === tenantId);
  }
}

const unknownKey = (): WeftError => new WeftError('invalid_api_key', 'This API key is not known here.');
