import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { OutboxRow } from './entities/index.js';

/** What others cached and must forget. */
export type ChangeName = 'catalog' | 'keys';

/** Tells every gateway what changed: committed with the change itself, read by every registry. */
@Injectable()
export class Outbox {
  /**
   * The last thing that a transaction does: from here to the commit it holds a lock that orders all of them.
   */
  async emit(manager: EntityManager, kind: ChangeName, tenantIds: Iterable<string>): Promise<void> {
    const rows = [...new Set(tenantIds)].map(tenantId => ({ tenantId, kind }));
    if (rows.length > 0) await manager.insert(OutboxRow, rows);
  }
}
