import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Not, type EntityManager } from 'typeorm';
import type { RegistryConfig } from './config.js';
import { Database } from './database.js';
import { ApiKey, Tenant, type Scope } from './entities/index.js';
import { hintOf, Keys } from './keys.js';
import { tenantNamed } from './lookups.js';
import { Outbox } from './outbox.js';
import { DEFAULT_TENANT } from './tenants.js';
import { REGISTRY_CONFIG } from './tokens.js';

/** Names of the keys that the environment sets: those of an earlier start end with it. */
const API_KEY = 'WEFT_API_KEY';
const ADMIN_KEY = 'WEFT_ADMIN_KEY';

/** The first tenant and its keys. */
@Injectable()
export class Bootstrap implements OnApplicationBootstrap {
  constructor(
    @Inject(REGISTRY_CONFIG) private readonly config: Pick<RegistryConfig, 'apiKey' | 'adminKey'>,
    private readonly database: Database, private readonly keys: Keys, private readonly outbox: Outbox,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    const { apiKey, adminKey } = this.config;
    await this.database.acrossTenants(async manager => {
      // Two registries that start together make one.
      await manager.createQueryBuilder().insert().into(Tenant).values({ name: DEFAULT_TENANT }).orIgnore().execute();
      const tenant = await tenantNamed(manager, DEFAULT_TENANT, true);
      if (apiKey !== undefined) await this.#setKey(manager, tenant, API_KEY, apiKey, ['inference', 'adapters:write']);
      if (adminKey !== undefined) await this.#setKey(manager, tenant, ADMIN_KEY, adminKey, ['inference', 'adapters:write', 'admin']);
      await this.outbox.emit(manager, 'keys', [tenant.id]);
    });
  }

  /** The environment decides what it names; limits that were set stay. */
  async #setKey(manager: EntityManager, { id: tenantId }: Tenant, name: string, secret: string, scopes: Scope[]): Promise<void> {
    const hash = this.keys.hash(secret);
    await manager.update(ApiKey, { tenantId, name, hash: Not(hash) }, { revokedAt: new Date() });
    await manager.upsert(ApiKey, { tenantId, name, hash, hint: hintOf(secret), scopes, expiresAt: null, revokedAt: null }, ['hash']);
  }
}
