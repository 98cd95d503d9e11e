import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import { IsNull } from 'typeorm';
import { Adapters } from './adapters.js';
import { AuditLog } from './audit.js';
import { Database, isDuplicate } from './database.js';
import { ApiKey, Tenant } from './entities/index.js';
import { tenantNamed } from './lookups.js';
import { toMillis } from './messages.js';
import { checkName } from './names.js';
import { Outbox } from './outbox.js';
import { newestFirst } from './page.js';

/** The tenant of the keys that the environment sets; there from the first start on. */
export const DEFAULT_TENANT = 'default';

@Injectable()
export class Tenants {
  constructor(private readonly database: Database, private readonly adapters: Adapters, private readonly audit: AuditLog, private readonly outbox: Outbox) {}

  /** Throws not_found. */
  async findTenant({ name }: registryV1.FindTenantRequest): Promise<registryV1.Tenant> {
    return toTenant(await this.database.acrossTenants(manager => tenantNamed(manager, name)));
  }

  /** Throws invalid_value, conflict. */
  async createTenant({ actor, name }: registryV1.CreateTenantRequest): Promise<registryV1.Tenant> {
    checkName(name, 'name');
    const id = randomUUID();
    try {
      return await this.database.withTenant(id, async manager => {
        await manager.insert(Tenant, { id, name });
        await this.audit.write(manager, actor, { tenantId: id, action: 'tenant.create', subject: name });
        return toTenant(await manager.findOneByOrFail(Tenant, { id }));
      });
    } catch (error) {
      if (isDuplicate(error)) throw new WeftError('conflict', `there is a tenant ${name} already`, { param: 'name' });
      throw error;
    }
  }

  async listTenants(request: registryV1.PageRequest): Promise<registryV1.TenantList> {
    const { rows, hasMore } = await this.database.acrossTenants(manager => newestFirst(manager, Tenant, request, 'row.deleted_at is null'));
    return { data: rows.map(toTenant), hasMore };
  }

  /** Its keys end and its adapters go with it; its usage and audit rows stay. Throws not_found, conflict. */
  async deleteTenant({ actor, name }: registryV1.DeleteTenantRequest): Promise<registryV1.Empty> {
    const deleted = await this.database.acrossTenants(async manager => {
      const tenant = await tenantNamed(manager, name, true);
      if (tenant.name === DEFAULT_TENANT) throw new WeftError('conflict', `tenant ${DEFAULT_TENANT} can't be deleted: it holds the keys that this server starts with`);
      const { versions, seenBy } = await this.adapters.removeAll(manager, tenant.id);
      await manager.update(ApiKey, { tenantId: tenant.id, revokedAt: IsNull() }, { revokedAt: new Date() });
      await manager.update(Tenant, { id: tenant.id }, { deletedAt: new Date() });
      await this.audit.write(manager, actor, { tenantId: tenant.id, action: 'tenant.delete', subject: tenant.name });
      await this.outbox.emit(manager, 'keys', [tenant.id]);
      await this.outbox.emit(manager, 'catalog', seenBy);
      return versions;
    });
    await this.adapters.tellDeleted(deleted);
    return {};
  }
}

const toTenant = ({ id, name, createdAt }: Tenant): registryV1.Tenant => ({ id, name, createdAt: toMillis(createdAt) });
