import { Injectable } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import { AuditLog } from './audit.js';
import { Database } from './database.js';
import { Share } from './entities/index.js';
import { adapterNamed, tenantNamed } from './lookups.js';
import { Outbox } from './outbox.js';

/** Who else may use an adapter. */
@Injectable()
export class Shares {
  constructor(private readonly database: Database, private readonly audit: AuditLog, private readonly outbox: Outbox) {}

  /** Throws not_found; invalid_value for the adapter's own tenant. */
  async putShare({ actor, tenantId, name, withTenantName }: registryV1.ShareRequest): Promise<registryV1.Empty> {
    const other = await this.database.acrossTenants(manager => tenantNamed(manager, withTenantName));
    if (other.id === tenantId) throw new WeftError('invalid_value', 'an adapter is shared with other tenants only', { param: 'tenant' });
    await this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name, true);
      if (await manager.existsBy(Share, { adapterId: adapter.id, withTenantId: other.id })) return;
      await manager.insert(Share, { adapterId: adapter.id, withTenantId: other.id, tenantId });
      await this.audit.write(manager, actor, { tenantId, action: 'share.put', subject: adapter.name, details: { with: other.name } });
      await this.outbox.emit(manager, 'catalog', [tenantId, other.id]);
    });
    return {};
  }

  /** Throws not_found. */
  async deleteShare({ actor, tenantId, name, withTenantName }: registryV1.ShareRequest): Promise<registryV1.Empty> {
    await this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name, true);
      // Names are readable to those who share: a tenant that is not among them looks like none.
      const other = await tenantNamed(manager, withTenantName);
      const { affected } = await manager.delete(Share, { adapterId: adapter.id, withTenantId: other.id });
      if (affected === 0) throw new WeftError('not_found', `there is no tenant ${withTenantName}`);
      await this.audit.write(manager, actor, { tenantId, action: 'share.delete', subject: adapter.name, details: { with: other.name } });
      await this.outbox.emit(manager, 'catalog', [tenantId, other.id]);
    });
    return {};
  }
}
