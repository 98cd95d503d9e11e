import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState, type FormEvent, type ReactNode } from 'react';
import type { Tenant } from '../api/schema.js';
import { api, ApiError } from '../lib/api.js';
import { ago, count, when } from '../lib/format.js';
import { useAdapters, useTenants, useUsage } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Button, Confirm, Dialog, Failure, Field, Loading, Page } from '../ui/parts.js';

export function TenantsPage(): ReactNode {
  const me = useMe();
  const tenants = useTenants();
  const { data: adapters } = useAdapters();
  const { data: usage } = useUsage({ tenant: '*', groups: ['tenant'] });
  const [asked, setAsked] = useState<'create' | Tenant | null>(null);
  const adaptersOf = (name: string): number => adapters?.filter(({ tenant }) => tenant === name).length ?? 0;
  return (
    <Page title="Tenants" hint="Each sees its own adapters, keys and usage only. They share the base and the pool." actions={<Button kind="main" onClick={() => setAsked('create')}>Create a tenant</Button>}>
      {tenants.isPending ? <Loading /> : tenants.isError ? <Failure error={tenants.error} retry={() => void tenants.refetch()} /> : (
        <div className="table" tabIndex={0} role="region" aria-label="Tenants">
          <table>
            <thead><tr><th scope="col">Tenant</th><th scope="col" className="number">Adapters</th><th scope="col" className="number">Requests</th><th scope="col" className="number">Generated tokens</th><th scope="col">Last use</th><th scope="col">Created</th><th scope="col"><span className="unseen">Actions</span></th></tr></thead>
            <tbody>
              {tenants.data.map(tenant => {
                const used = usage?.find(row => row.tenant === tenant.id);
                return (
                  <tr key={tenant.id}>
                    <td><Link to="/adapters" search={{ tenant: tenant.name }}>{tenant.name}</Link></td>
                    <td className="number">{count(adaptersOf(tenant.name))}</td><td className="number">{count(used?.requests ?? 0)}</td><td className="number">{count(used?.generated_tokens ?? 0)}</td>
                    <td>{ago(used?.last_at ?? null)}</td><td>{when(tenant.created_at)}</td>
                    <td className="number">{tenant.name !== me.tenant && <Button kind="quiet" className="small" aria-label={`Delete ${tenant.name}`} onClick={() => setAsked(tenant)}>Delete</Button>}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {asked === 'create' && <Create onClose={() => setAsked(null)} />}
      {asked !== null && asked !== 'create' && <Remove tenant={asked} adapters={adaptersOf(asked.name)} onClose={() => setAsked(null)} />}
    </Page>
  );
}

function Create({ onClose }: { onClose: () => void }): ReactNode {
  const queries = useQueryClient();
  const [name, setName] = useState('');
  const create = useMutation({ mutationFn: () => api('/v1/tenants', { method: 'POST', body: { name } }), onSuccess: async () => { await queries.invalidateQueries({ queryKey: ['tenants'] }); onClose(); } });
  return (
    <Dialog title="Create a tenant" onClose={onClose}>
      <form className="form" onSubmit={(event: FormEvent) => { event.preventDefault(); create.mutate(); }}>
        <Field label="Name" hint="Up to 63 letters, digits, «.», «_» and «-»" error={create.error instanceof ApiError ? create.error.message : undefined}>{props => <input {...props} required autoFocus value={name} onChange={event => setName(event.target.value)} />}</Field>
        <div className="actions end"><Button onClick={onClose}>Cancel</Button><Button kind="main" type="submit" disabled={create.isPending}>Create</Button></div>
      </form>
    </Dialog>
  );
}

function Remove({ tenant, adapters, onClose }: { tenant: Tenant; adapters: number; onClose: () => void }): ReactNode {
  const queries = useQueryClient();
  const remove = useMutation({ mutationFn: () => api(`/v1/tenants/${tenant.name}`, { method: 'DELETE' }), onSuccess: async () => { await queries.invalidateQueries(); onClose(); } });
  return (
    <Confirm title={`Delete ${tenant.name}?`} action="Delete" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()} onClose={onClose}>
      <p>Its keys stop working and its {count(adapters)} adapters are deleted. Usage is kept. This can't be taken back.</p>
    </Confirm>
  );
}
