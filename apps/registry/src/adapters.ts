import { text } from 'node:stream/consumers';
import { Injectable, Logger } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import { In, Not, type EntityManager } from 'typeorm';
import { adapterStatements, toAdapters, type AdapterRows } from './adapter-rows.js';
import { ArtifactStore } from './artifacts/artifact-store.js';
import { AuditLog } from './audit.js';
import { Database } from './database.js';
import { Adapter, Alias, Share, Version } from './entities/index.js';
import { adapterNamed, tenantById, versionOf, whoSees } from './lookups.js';
import { Outbox } from './outbox.js';
import { pageSize } from './page.js';

/** Versions that nobody can name any more. Told after the commit. */
export type DeletionListener = (versions: Version[]) => Promise<void>;

const CONFIG_FILE = 'adapter_config.json';
/** A config is a few hundred bytes; one that is none of ours to read may be of any size. */
const CONFIG_BYTES_MAX = 1 << 20;
/** Of an adapter's row `a`. */
const TENANT_OF = '(select lower(t.name) from weft.tenants t where t.id = a.tenant_id)';

/** Names and what they mean. Deleting hides a name; requests that run finish on what they began with. */
@Injectable()
export class Adapters {
  readonly #listeners: DeletionListener[] = [];

  constructor(private readonly database: Database, private readonly audit: AuditLog, private readonly outbox: Outbox, private readonly store: ArtifactStore) {}

  onDeleted(listener: DeletionListener): void { this.#listeners.push(listener); }
  /** They are deleted, whatever a listener meets. */
  async tellDeleted(versions: Version[]): Promise<void> {
    for (const listener of this.#listeners) await listener(versions).catch((error: unknown) => new Logger('Adapters').error(error));
  }

  /** The tenant's own adapters and those shared with it, as far as they have a ready version. Throws not_found. */
  async getCatalog({ tenantId }: registryV1.GetCatalogRequest): Promise<registryV1.Catalog> {
    const [tenants, ...rows] = await this.database.readAs(tenantId, id => [
      `select name from weft.tenants where id = ${id} and deleted_at is null`,
      ...adapterStatements(`(a.tenant_id = ${id} or a.id in (select s.adapter_id from weft.shares s where s.with_tenant_id = ${id}))`, `= 'ready'`),
    ]) as [{ name: string }[], ...AdapterRows];
    if (tenants[0] === undefined) throw new WeftError('not_found', 'there is no such tenant');
    return { tenantId, tenantName: tenants[0].name, adapters: toAdapters(rows).filter(({ versions }) => versions.length > 0) };
  }

  /** By name; of all tenants by theirs, then by name. Throws not_found. */
  listAdapters({ tenantId, limit, after }: registryV1.ListAdaptersRequest): Promise<registryV1.AdapterList> {
    const size = pageSize(limit);
    if (tenantId === '') {
      const [tenant = '', name = ''] = after.split('/');
      return this.database.acrossTenants(async manager => {
        const found = await readAdapters(manager, `(${TENANT_OF}, lower(a.name)) > (lower($1), lower($2)) order by ${TENANT_OF}, lower(a.name) limit $3`, [tenant, name, size + 1]);
        const key = ({ tenantName, name }: registryV1.Adapter): string => `${tenantName.toLowerCase()}/${name.toLowerCase()}`;
        found.sort((a, b) => (key(a) < key(b) ? -1 : 1));
        return { data: found.slice(0, size), hasMore: found.length > size };
      });
    }
    return this.database.withTenant(tenantId, async manager => {
      await tenantById(manager, tenantId);
      const found = await readAdapters(manager, 'a.tenant_id = $1 and lower(a.name) > lower($2) order by lower(a.name) limit $3', [tenantId, after, size + 1]);
      return { data: found.slice(0, size), hasMore: found.length > size };
    });
  }

  /** Throws not_found. */
  getAdapter({ tenantId, name }: registryV1.AdapterRef): Promise<registryV1.Adapter> {
    return this.database.withTenant(tenantId, async manager => {
      const { id } = await adapterNamed(manager, tenantId, name);
      const [adapter] = await readAdapters(manager, 'a.id = $1', [id]);
      return adapter!;
    });
  }

  /** What a version was uploaded with. Throws not_found. */
  async getVersionFiles({ tenantId, name, version: number }: registryV1.VersionRef): Promise<registryV1.VersionFiles> {
    const { files } = await this.database.withTenant(tenantId, async manager => versionOf(manager, await adapterNamed(manager, tenantId, name), number));
    const config = files.find(([file, size]) => file === CONFIG_FILE && size <= CONFIG_BYTES_MAX);
    return {
      files: files.map(([file, size, sha256]) => ({ name: file, size: BigInt(size), sha256 })),
      config: config === undefined ? '' : await text(this.store.read({ sha256: config[2], size: config[1] })),
    };
  }

  /** Throws not_found; conflict for one that has aliases, unless forced. */
  async deleteAdapter({ actor, tenantId, name, force }: registryV1.DeleteAdapterRequest): Promise<registryV1.Empty> {
    const deleted = await this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name, true);
      const [alias] = await manager.findBy(Alias, { adapterId: adapter.id });
      if (alias !== undefined && !force) throw aliasNames(adapter, alias);
      const { versions, seenBy } = await remove(manager, [adapter]);
      await this.audit.write(manager, actor, { tenantId, action: 'adapter.delete', subject: adapter.name, details: { versions: versions.map(({ version }) => version) } });
      await this.outbox.emit(manager, 'catalog', seenBy);
      return versions;
    });
    await this.tellDeleted(deleted);
    return {};
  }

  /** Throws not_found; conflict for one that an alias names, unless forced: then the alias goes too. */
  async deleteVersion({ actor, tenantId, name, version: number, force }: registryV1.DeleteVersionRequest): Promise<registryV1.Empty> {
    const deleted = await this.database.withTenant(tenantId, async manager => {
      const adapter = await adapterNamed(manager, tenantId, name, true);
      const version = await versionOf(manager, adapter, number);
      const aliases = await manager.findBy(Alias, { adapterId: adapter.id, version: number });
      if (aliases.length > 0 && !force) throw aliasNames(adapter, aliases[0]!);
      await manager.remove(aliases);
      await markDeleted(manager, [version]);
      await this.audit.write(manager, actor, { tenantId, action: 'version.delete', subject: `${adapter.name}@${number}`, details: { digest: version.digest, aliases: aliases.map(({ alias }) => alias) } });
      await this.outbox.emit(manager, 'catalog', await whoSees(manager, [adapter]));
      return [version];
    });
    await this.tellDeleted(deleted);
    return {};
  }

  /** Of a tenant that is being deleted. */
  async removeAll(manager: EntityManager, tenantId: string): Promise<Removed> {
    const adapters = await manager.createQueryBuilder(Adapter, 'adapter').where('adapter.tenant_id = :tenantId and adapter.deleted_at is null', { tenantId }).getMany();
    const removed = await remove(manager, adapters);
    await manager.delete(Share, { withTenantId: tenantId });
    return { ...removed, seenBy: [tenantId, ...removed.seenBy] };
  }
}

interface Removed {
  versions: Version[];
  /** Tenants whose catalogs held them. */
  seenBy: string[];
}

async function remove(manager: EntityManager, adapters: Adapter[]): Promise<Removed> {
  const ids = adapters.map(({ id }) => id);
  const seenBy = await whoSees(manager, adapters);
  const versions = await manager.findBy(Version, { adapterId: In(ids), status: Not('deleted') });
  await markDeleted(manager, versions);
  await manager.delete(Alias, { adapterId: In(ids) });
  await manager.delete(Share, { adapterId: In(ids) });
  await manager.update(Adapter, { id: In(ids) }, { deletedAt: new Date() });
  return { versions, seenBy };
}

async function markDeleted(manager: EntityManager, versions: Version[]): Promise<void> {
  await manager.update(Version, { id: In(versions.map(({ id }) => id)) }, { status: 'deleted', stage: '', deletedAt: new Date() });
}

async function readAdapters(manager: EntityManager, where: string, parameters: unknown[]): Promise<registryV1.Adapter[]> {
  const rows: unknown[] = [];
  for (const statement of adapterStatements(where)) rows.push(await manager.query(statement, parameters));
  return toAdapters(rows as AdapterRows);
}

function aliasNames({ name }: Adapter, { alias, version }: Alias): WeftError {
  return new WeftError('conflict', `alias ${alias} of ${name} names version ${version}; move or delete the alias first, or add force=true`);
}
