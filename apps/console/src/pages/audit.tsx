import { useInfiniteQuery } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import type { AuditEntry } from '../api/schema.js';
import { api, type List } from '../lib/api.js';
import { when } from '../lib/format.js';
import { useKeys, useTenantNames, useTenants } from '../lib/queries.js';
import { Button, Empty, Failure, Loading, Page, Select } from '../ui/parts.js';

const PAGE = 100;

export function AuditPage(): ReactNode {
  const [tenant, setTenant] = useState('*');
  const { data: tenants } = useTenants();
  const { data: keys } = useKeys('*');
  const tenantName = useTenantNames();
  const entries = useInfiniteQuery({
    queryKey: ['audit', tenant], initialPageParam: '', getNextPageParam: (last: List<AuditEntry>) => (last.has_more ? last.data.at(-1)!.id : undefined),
    queryFn: ({ pageParam, signal }) => api<List<AuditEntry>>('/v1/audit', { signal, query: { tenant, limit: PAGE, after: pageParam || undefined } }),
  });
  const rows = entries.data?.pages.flatMap(({ data }) => data) ?? [];
  const keyName = new Map(keys?.map(({ id, name }) => [id, name]));
  return (
    <Page title="Audit log" hint="Who changed what. Each entry is written in the same transaction as its change.">
      <div className="filters"><Select label="Tenant" value={tenant} onChange={setTenant} options={[{ value: '*', label: 'all tenants' }, ...(tenants ?? []).map(({ name }) => ({ value: name, label: name }))]} /></div>
      {entries.isPending ? <Loading rows={10} /> : entries.isError ? <Failure error={entries.error} retry={() => void entries.refetch()} /> : rows.length === 0 ? <Empty title="Nothing was changed yet" /> : (
        <>
          <div className="table" tabIndex={0} role="region" aria-label="Entries">
            <table>
              <thead><tr><th scope="col">When</th><th scope="col">Tenant</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">Of</th><th scope="col">Details</th></tr></thead>
              <tbody>
                {rows.map(({ id, at, tenant_id: owner, key_id: key, action, subject, details }) => (
                  <tr key={id}><td className="fine">{when(at)}</td><td>{tenantName(owner)}</td><td>{key === null ? 'Weft itself' : keyName.get(key) ?? key.slice(0, 8)}</td><td><code>{action}</code></td><td>{subject}</td><td className="problem"><code>{Object.keys(details).length === 0 ? '' : JSON.stringify(details)}</code></td></tr>
                ))}
              </tbody>
            </table>
          </div>
          {entries.hasNextPage && <Button disabled={entries.isFetchingNextPage} onClick={() => void entries.fetchNextPage()}>Older ones</Button>}
        </>
      )}
    </Page>
  );
}
