/** Adapters with all that belongs to them: as many statements for a hundred adapters as for one. */
import type { registryV1 } from '@weft/contracts';
import { toAlias, toMillis, toVersion, type AliasRow, type VersionRow } from './messages.js';

/** Of adapters, versions, aliases and shares. */
export type AdapterRows = [
  adapters: { id: string; name: string; description: string; createdAt: Date; tenantName: string }[],
  versions: (VersionRow & { adapterId: string })[],
  aliases: (AliasRow & { adapterId: string })[],
  shares: { adapterId: string; tenantName: string }[],
];

/**
 * Four statements with the same parameters, whose rows are AdapterRows.
 * @param where which adapters: a condition on `a`, and what may follow it
 */
export function adapterStatements(where: string, status = `<> 'deleted'`): string[] {
  const chosen = `(select a.id from weft.adapters a where a.deleted_at is null and ${where})`;
  return [
    `select a.id, a.name, a.description, a.created_at as "createdAt", t.name as "tenantName"
       from weft.adapters a join weft.tenants t on t.id = a.tenant_id where a.id in ${chosen} order by lower(a.name), a.id`,
    `select adapter_id as "adapterId", id, version, digest, base_digest as "baseDigest", base, kind, rank, target_modules as "targetModules", bytes, status, stage,
       errors, warnings, ignored, files, effect, created_at as "createdAt", ready_at as "readyAt" from weft.versions where adapter_id in ${chosen} and status ${status} order by version`,
    `select adapter_id as "adapterId", alias, version, revision, updated_at as "updatedAt" from weft.aliases where adapter_id in ${chosen} order by alias`,
    `select s.adapter_id as "adapterId", t.name as "tenantName" from weft.shares s join weft.tenants t on t.id = s.with_tenant_id where s.adapter_id in ${chosen} order by t.name`,
  ];
}

export function toAdapters([adapters, versions, aliases, shares]: AdapterRows): registryV1.Adapter[] {
  const [versionsOf, aliasesOf, sharesOf] = [byAdapter(versions), byAdapter(aliases), byAdapter(shares)];
  return adapters.map(({ id, name, tenantName, description, createdAt }) => ({
    id, name, tenantName, description, createdAt: toMillis(createdAt),
    versions: versionsOf(id).map(toVersion), aliases: aliasesOf(id).map(toAlias), sharedWith: sharesOf(id).map(share => share.tenantName),
  }));
}

function byAdapter<Row extends { adapterId: string }>(rows: Row[]): (id: string) => Row[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.adapterId);
    if (group) group.push(row);
    else groups.set(row.adapterId, [row]);
  }
  return id => groups.get(id) ?? [];
}
