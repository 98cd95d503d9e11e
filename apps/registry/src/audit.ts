import { Injectable } from '@nestjs/common';
import type { registryV1 } from '@weft/contracts';
import type { EntityManager } from 'typeorm';
import { Database } from './database.js';
import { Audit } from './entities/index.js';
import { adapterNamed } from './lookups.js';
import { newestFirst } from './page.js';

export interface AuditEvent {
  /** Whose thing it is. */
  tenantId: string;
  /** As `alias.put`. */
  action: string;
  /** As `ticket-router@prod`. */
  subject: string;
  details?: object;
}

/** Who changed what. Every change writes its row in its own transaction. */
@Injectable()
export class AuditLog {
  constructor(private readonly database: Database) {}

  /** No actor: the system itself. */
  async write(manager: EntityManager, actor: registryV1.Actor | undefined, { tenantId, action, subject, details = {} }: AuditEvent): Promise<void> {
    await manager.insert(Audit, { tenantId, keyId: actor?.keyId ?? '', requestId: actor?.requestId ?? '', action, subject, details });
  }

  async listAudit(request: registryV1.PageRequest): Promise<registryV1.AuditList> {
    return toAuditList(await this.database.inScope(request.tenantId, manager => newestFirst(manager, Audit, request)));
  }

  /** Throws not_found. */
  async listAdapterHistory({ tenantId, name, limit, after }: registryV1.AdapterHistoryRequest): Promise<registryV1.AuditList> {
    return toAuditList(await this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name);
      return newestFirst(manager, Audit, { tenantId, limit, after }, `(row.subject = :name or starts_with(row.subject, :name || '@')) and row.action ~ '^(adapter|version|alias|share)'`, { name: adapter.name });
    }));
  }
}

function toAuditList({ rows, hasMore }: { rows: Audit[]; hasMore: boolean }): registryV1.AuditList {
  return { data: rows.map(({ details, at, ...row }) => ({ ...row, details: JSON.stringify(details), at: BigInt(at.getTime()) })), hasMore };
}
