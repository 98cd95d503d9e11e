import { Injectable } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { EntityManager } from 'typeorm';
import { AuditLog } from './audit.js';
import { Database } from './database.js';
import { Alias, type Adapter } from './entities/index.js';
import { adapterNamed, versionOf, whoSees } from './lookups.js';
import { toAlias } from './messages.js';
import { checkAlias } from './names.js';
import { Outbox } from './outbox.js';

@Injectable()
export class Aliases {
  constructor(private readonly database: Database, private readonly audit: AuditLog, private readonly outbox: Outbox) {}

  /** Throws invalid_value, not_found; conflict for a version that is not ready. */
  putAlias({ actor, tenantId, name, alias, version: number }: registryV1.PutAliasRequest): Promise<registryV1.Alias> {
    checkAlias(alias);
    return this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name, true);
      const version = await versionOf(manager, adapter, number);
      if (version.status !== 'ready') throw new WeftError('conflict', `version ${number} of ${adapter.name} is ${version.status}; an alias names ready versions only`);
      const { row, changed } = await this.set(manager, actor, adapter, alias, number);
      if (changed) await this.outbox.emit(manager, 'catalog', await whoSees(manager, [adapter]));
      return toAlias(row);
    });
  }

  /** Throws not_found. */
  async deleteAlias({ actor, tenantId, name, alias }: registryV1.DeleteAliasRequest): Promise<registryV1.Empty> {
    await this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name, true);
      const row = await manager.findOneBy(Alias, { adapterId: adapter.id, alias });
      if (row === null) throw new WeftError('not_found', `there is no alias ${alias} of ${adapter.name}`);
      await manager.delete(Alias, { adapterId: adapter.id, alias });
      await this.audit.write(manager, actor, { tenantId, action: 'alias.delete', subject: `${adapter.name}@${alias}`, details: { version: row.version, revision: row.revision } });
      await this.outbox.emit(manager, 'catalog', await whoSees(manager, [adapter]));
    });
    return {};
  }

  /** Within a transaction that holds the adapter's lock and tells of the change. An alias that is there already stays as it is. */
  async set(manager: EntityManager, actor: registryV1.Actor | undefined, adapter: Adapter, alias: string, version: number): Promise<{ row: Alias; changed: boolean }> {
    const before = await manager.findOneBy(Alias, { adapterId: adapter.id, alias });
    if (before?.version === version) return { row: before, changed: false };
    const row = await manager.save(Alias, { adapterId: adapter.id, alias, tenantId: adapter.tenantId, version, weight: 100, revision: (before?.revision ?? 0) + 1, updatedAt: new Date() });
    await this.audit.write(manager, actor, { tenantId: adapter.tenantId, action: 'alias.put', subject: `${adapter.name}@${alias}`, details: { version, before: before?.version, revision: row.revision } });
    return { row, changed: true };
  }
}
