import { WeftError, type registryV1 } from '@weft/contracts';
import type { EntityManager, EntityTarget } from 'typeorm';
import { isUuid } from './database.js';

const PAGE_DEFAULT = 100;
/** A page stays far below what a message may hold. */
const PAGE_MAX = 1000;

export const pageSize = (limit: number): number => Math.min(limit === 0 ? PAGE_DEFAULT : limit, PAGE_MAX);

/**
 * A page of rows, newest first: of the tenant that the request names, or of all. Rows with a time of creation stand in its
 * order, others in that of their ids. Throws invalid_value for an `after` that is no row's id.
 * @param where more conditions, of `row` and the parameters
 */
export async function newestFirst<Row extends { id: string }>(
  manager: EntityManager, entity: EntityTarget<Row>, { tenantId, limit, after }: registryV1.PageRequest, where = 'true', parameters: Record<string, string> = {},
): Promise<{ rows: Row[]; hasMore: boolean }> {
  const { tablePath, columns } = manager.connection.getMetadata(entity);
  const has = (property: string): boolean => columns.some(({ propertyName }) => propertyName === property);
  const query = manager.createQueryBuilder(entity, 'row').where(where, parameters);
  if (tenantId !== '' && has('tenantId')) query.andWhere('row.tenant_id = :tenantId', { tenantId });
  if (after !== '') {
    if (!(has('createdAt') ? isUuid(after) : /^\d{1,18}$/.test(after))) throw new WeftError('invalid_value', `after is ${JSON.stringify(after)}; it must be the id of the last row of the page before`, { param: 'after' });
    query.andWhere(has('createdAt') ? `(row.created_at, row.id) < (select created_at, id from ${tablePath} where id = :after)` : 'row.id < :after', { after });
  }
  if (has('createdAt')) query.addOrderBy('row.created_at', 'DESC');
  const size = pageSize(limit);
  const rows = await query.addOrderBy('row.id', 'DESC').limit(size + 1).getMany();
  return { rows: rows.slice(0, size), hasMore: rows.length > size };
}
