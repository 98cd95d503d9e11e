/** What names and ids mean. What is another's answers as what is not there. */
import { WeftError } from '@weft/contracts';
import { In, IsNull, type EntityManager } from 'typeorm';
import { Adapter, Share, Tenant, Version } from './entities/index.js';

/** Throws not_found. */
export async function tenantNamed(manager: EntityManager, name: string, lock = false): Promise<Tenant> {
  const query = manager.createQueryBuilder(Tenant, 'tenant').where('lower(tenant.name) = lower(:name) and tenant.deleted_at is null', { name });
  const tenant = await (lock ? query.setLock('pessimistic_write') : query).getOne();
  if (tenant === null) throw new WeftError('not_found', `there is no tenant ${name}`);
  return tenant;
}

/** Throws not_found. */
export async function tenantById(manager: EntityManager, id: string): Promise<Tenant> {
  const tenant = await manager.findOneBy(Tenant, { id, deletedAt: IsNull() });
  if (tenant === null) throw new WeftError('not_found', 'there is no such tenant');
  return tenant;
}

/** One of the tenant's own. Throws not_found: the same for one that is another's. @param lock whoever changes what it means goes one after another */
export async function adapterNamed(manager: EntityManager, tenantId: string, name: string, lock = false): Promise<Adapter> {
  const query = manager.createQueryBuilder(Adapter, 'adapter').where('adapter.tenant_id = :tenantId and lower(adapter.name) = lower(:name) and adapter.deleted_at is null', { tenantId, name });
  const adapter = await (lock ? query.setLock('pessimistic_write') : query).getOne();
  if (adapter === null) throw new WeftError('not_found', `there is no adapter ${name}`);
  return adapter;
}

/** Throws not_found: the same for one that was deleted. */
export async function versionOf(manager: EntityManager, adapter: Adapter, number: number): Promise<Version> {
  const version = await manager.createQueryBuilder(Version, 'version')
    .where(`version.adapter_id = :id and version.version = :number and version.status <> 'deleted'`, { id: adapter.id, number }).getOne();
  if (version === null) throw new WeftError('not_found', `there is no version ${number} of ${adapter.name}`);
  return version;
}

/** Tenants whose catalogs hold these adapters. */
export async function whoSees(manager: EntityManager, adapters: Adapter[]): Promise<string[]> {
  const shares = await manager.findBy(Share, { adapterId: In(adapters.map(({ id }) => id)) });
  return [...adapters.map(({ tenantId }) => tenantId), ...shares.map(({ withTenantId }) => withTenantId)];
}
