import { createHmac, randomBytes } from 'node:crypto';
import { Inject, Injectable, Logger, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { EntityManager } from 'typeorm';
import { AuditLog } from './audit.js';
import type { RegistryConfig } from './config.js';
import { Database, isUuid } from './database.js';
import { ApiKey, SCOPES, type Scope } from './entities/index.js';
import { tenantById } from './lookups.js';
import { fromMillis, toMillis } from './messages.js';
import { Outbox } from './outbox.js';
import { newestFirst } from './page.js';
import { REGISTRY_CONFIG } from './tokens.js';

const SECRET_BYTES = 32;
const NAME_LENGTH_MAX = 100;
/** Postgres' integer. */
const LIMIT_MAX = 2 ** 31 - 1;
/** When keys were last used is told to a minute: it may be written this late. */
const USED_FLUSH_MS = 10_000;

/** What Authenticate reads: a key with its tenant. */
interface PrincipalRow {
  id: string; tenant_id: string; tenant_name: string; scopes: string[]; expires_at: Date | null;
  requests_per_minute: number; tokens_per_minute: number; parallel: number;
}

@Injectable()
export class Keys implements OnModuleInit, OnModuleDestroy {
  readonly #used = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    @Inject(REGISTRY_CONFIG) private readonly config: Pick<RegistryConfig, 'keyPepper'>,
    private readonly database: Database, private readonly audit: AuditLog, private readonly outbox: Outbox,
  ) {}

  onModuleInit(): void {
    this.#timer = setInterval(() => void this.flushUsed(), USED_FLUSH_MS);
  }

  async onModuleDestroy(): Promise<void> {
    clearInterval(this.#timer);
    await this.flushUsed();
  }

  /** Throws invalid_api_key: the same for unknown, revoked and expired keys. */
  async authenticate({ key }: registryV1.AuthenticateRequest): Promise<registryV1.Principal> {
    const [row] = await this.database.query<PrincipalRow>({ name: 'authenticate', text: AUTHENTICATE, values: [this.hash(key)] });
    if (row === undefined) throw new WeftError('invalid_api_key', 'the API key is unknown, revoked or expired');
    this.markUsed(row.id);
    return {
      keyId: row.id, tenantId: row.tenant_id, tenantName: row.tenant_name, scopes: row.scopes, expiresAt: toMillis(row.expires_at),
      limits: { requestsPerMinute: row.requests_per_minute, tokensPerMinute: row.tokens_per_minute, parallel: row.parallel },
    };
  }

  /** The secret is in the answer and nowhere else. Throws not_found, invalid_value. */
  createKey(request: registryV1.CreateKeyRequest): Promise<registryV1.CreatedKey> {
    const { actor, tenantId } = request;
    const secret = `sk-${randomBytes(SECRET_BYTES).toString('base64url')}`;
    const values = { name: checkedName(request.name), scopes: checkedScopes(request.scopes), ...checkedLimits(request.limits), expiresAt: checkedExpiry(request.expiresAt) };
    return this.database.withTenant(tenantId, async manager => {
      await tenantById(manager, tenantId);
      const row = manager.create(ApiKey, { tenantId, hash: this.hash(secret), hint: hintOf(secret), ...values });
      const key = toKey(await manager.save(row));
      await this.audit.write(manager, actor, { tenantId, action: 'key.create', subject: key.id, details: { name: key.name, scopes: key.scopes } });
      return { key, secret };
    });
  }

  async listKeys(request: registryV1.PageRequest): Promise<registryV1.KeyList> {
    const { rows, hasMore } = await this.database.inScope(request.tenantId, manager => newestFirst(manager, ApiKey, request));
    return { data: rows.map(toKey), hasMore };
  }

  /** What the request leaves out stays. Throws not_found, invalid_value. */
  updateKey(request: registryV1.UpdateKeyRequest): Promise<registryV1.Key> {
    const { actor, tenantId, id, name, limits, expiresAt } = request;
    const changes: Partial<ApiKey> = {
      ...(name !== undefined && { name: checkedName(name) }),
      ...(limits !== undefined && checkedLimits(limits)),
      ...(expiresAt !== undefined && { expiresAt: checkedExpiry(expiresAt) }),
    };
    return this.database.withTenant(tenantId, async manager => {
      const key = await keyById(manager, tenantId, id);
      if (key.revokedAt !== null) throw new WeftError('conflict', 'the key is revoked; create another one');
      const changed = toKey(await manager.save(Object.assign(key, changes)));
      await this.audit.write(manager, actor, { tenantId, action: 'key.update', subject: id, details: changes });
      await this.outbox.emit(manager, 'keys', [tenantId]);
      return changed;
    });
  }

  /** For good. Throws not_found. */
  async revokeKey({ actor, tenantId, id }: registryV1.RevokeKeyRequest): Promise<registryV1.Empty> {
    await this.database.withTenant(tenantId, async manager => {
      const key = await keyById(manager, tenantId, id);
      if (key.revokedAt !== null) return;
      await manager.update(ApiKey, { id }, { revokedAt: new Date() });
      await this.audit.write(manager, actor, { tenantId, action: 'key.revoke', subject: id, details: { name: key.name } });
      await this.outbox.emit(manager, 'keys', [tenantId]);
    });
    return {};
  }

  /** Written later, many at once. */
  markUsed(id: string): void { this.#used.add(id); }

  async flushUsed(): Promise<void> {
    const ids = [...this.#used].sort();
    if (ids.length === 0) return;
    this.#used.clear();
    await this.database.query({ text: MARK_USED, values: [ids] }).catch((error: Error) => new Logger('Keys').warn(`when keys were last used was not written: ${error.message}`));
  }

  hash(secret: string): Buffer { return createHmac('sha256', this.config.keyPepper).update(secret).digest(); }
}

const AUTHENTICATE = `
  select k.id, k.tenant_id, t.name as tenant_name, k.scopes, k.expires_at, k.requests_per_minute, k.tokens_per_minute, k.parallel
  from weft.api_keys k join weft.tenants t on t.id = k.tenant_id
  where k.hash = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and t.deleted_at is null`;

const MARK_USED = `
  update weft.api_keys set last_used_at = date_trunc('minute', now())
  where id::text = any($1) and (last_used_at is null or last_used_at < date_trunc('minute', now()))`;

/** Throws not_found. */
async function keyById(manager: EntityManager, tenantId: string, id: string): Promise<ApiKey> {
  const key = isUuid(id) ? await manager.findOne(ApiKey, { where: { id, tenantId }, lock: { mode: 'pessimistic_write' } }) : null;
  if (key === null) throw new WeftError('not_found', 'there is no such key');
  return key;
}

/** Its first and last letters: enough to find it again, too little to guess it. */
export const hintOf = (secret: string): string => `${secret.slice(0, 5)}…${secret.slice(-4)}`;

function checkedName(name: string): string {
  if (name === '' || name.length > NAME_LENGTH_MAX) throw new WeftError('invalid_value', `name must have 1 to ${NAME_LENGTH_MAX} characters`, { param: 'name' });
  return name;
}

function checkedScopes(scopes: string[]): Scope[] {
  const unknown = scopes.find(scope => !SCOPES.includes(scope as Scope));
  if (unknown !== undefined || scopes.length === 0) {
    throw new WeftError('invalid_value', `${unknown === undefined ? 'a key needs a scope' : `there is no scope ${JSON.stringify(unknown)}`}; scopes are ${SCOPES.join(', ')}`, { param: 'scopes' });
  }
  return [...new Set(scopes as Scope[])];
}

function checkedLimits(limits: registryV1.Limits | undefined): Pick<ApiKey, 'requestsPerMinute' | 'tokensPerMinute' | 'parallel'> {
  const { requestsPerMinute = 0, tokensPerMinute = 0, parallel = 0 } = limits ?? {};
  const tooLarge = Object.entries({ requests_per_minute: requestsPerMinute, tokens_per_minute: tokensPerMinute, parallel }).find(([, value]) => value > LIMIT_MAX);
  if (tooLarge) throw new WeftError('invalid_value', `${tooLarge[0]} is ${tooLarge[1]}; it must be at most ${LIMIT_MAX}, and 0 is no limit`, { param: tooLarge[0] });
  return { requestsPerMinute, tokensPerMinute, parallel };
}

function checkedExpiry(expiresAt: bigint): Date | null {
  const date = fromMillis(expiresAt);
  if (date !== null && !(date.getTime() > Date.now())) throw new WeftError('invalid_value', 'expires_at must be in the future; 0 is never', { param: 'expires_at' });
  return date;
}

function toKey(row: ApiKey): registryV1.Key {
  const { id, tenantId, name, hint, scopes, requestsPerMinute, tokensPerMinute, parallel } = row;
  return {
    id, tenantId, name, hint, scopes, limits: { requestsPerMinute, tokensPerMinute, parallel },
    createdAt: toMillis(row.createdAt), expiresAt: toMillis(row.expiresAt), revokedAt: toMillis(row.revokedAt), lastUsedAt: toMillis(row.lastUsedAt),
  };
}
