import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent, type ReactNode } from 'react';
import type { CreatedKey, Key, Limits } from '../api/schema.js';
import { api, ApiError } from '../lib/api.js';
import { ago, count, when } from '../lib/format.js';
import { useKeys, useTenantNames, useTenants } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Button, Confirm, Copy, Dialog, Empty, Failure, Field, Loading, Page, Select, Tag } from '../ui/parts.js';

const SCOPES = { 'inference': 'ask models', 'adapters:write': 'upload, alias and delete adapters', 'admin': 'everything, of every tenant' } as const;
const DAY_S = 86_400;
/** How long a rotated key still works. */
const GRACES = [{ value: '0', label: 'at once' }, { value: '3600', label: 'in an hour' }, { value: String(DAY_S), label: 'in a day' }, { value: String(7 * DAY_S), label: 'in a week' }];
const LIMITS = { requests_per_minute: 'Requests / min', tokens_per_minute: 'Tokens / min', parallel: 'At once' } as const;

type Asked = { what: 'create' } | { what: 'limits' | 'rotate' | 'revoke'; key: Key };

export function KeysPage(): ReactNode {
  const me = useMe();
  const [tenant, setTenant] = useState('*');
  const [asked, setAsked] = useState<Asked | null>(null);
  const [made, setMade] = useState<CreatedKey | null>(null);
  const [revokedToo, setRevokedToo] = useState(false);
  const keys = useKeys(tenant);
  const { data: tenants } = useTenants();
  const tenantName = useTenantNames();
  const shown = keys.data?.filter(({ revoked_at: at }) => revokedToo || at === null) ?? [];
  const close = (): void => setAsked(null);
  return (
    <Page title="Keys & limits" hint="A key belongs to a tenant, holds scopes and limits, and is shown once: only its hash is kept." actions={<Button kind="main" onClick={() => setAsked({ what: 'create' })}>Create a key</Button>}>
      <div className="filters">
        <Select label="Tenant" value={tenant} onChange={setTenant} options={[{ value: '*', label: 'all tenants' }, ...(tenants ?? []).map(({ name }) => ({ value: name, label: name }))]} />
        <label className="row"><input type="checkbox" checked={revokedToo} onChange={event => setRevokedToo(event.target.checked)} /> Revoked ones too</label>
      </div>
      {keys.isPending ? <Loading /> : keys.isError ? <Failure error={keys.error} retry={() => void keys.refetch()} /> : shown.length === 0 ? <Empty title="No key here">Create one for whoever is to ask.</Empty> : (
        <div className="table" tabIndex={0} role="region" aria-label="Keys">
          <table>
            <thead><tr><th scope="col">Key</th><th scope="col">Tenant</th><th scope="col">Scopes</th><th scope="col">Limits</th><th scope="col">Last use</th><th scope="col">Ends</th><th scope="col"><span className="unseen">Actions</span></th></tr></thead>
            <tbody>
              {shown.map(key => (
                <tr key={key.id}>
                  <td>{key.name} {key.id === me.id && <Tag tone="accent">yours</Tag>}<br /><small className="mono">{key.hint}</small></td>
                  <td>{tenantName(key.tenant_id)}</td>
                  <td>{key.scopes.map(scope => <Tag key={scope}>{scope}</Tag>)}</td>
                  <td><LimitText limits={key.limits} /></td>
                  <td title={when(key.last_used_at)}>{ago(key.last_used_at)}</td>
                  <td>{key.revoked_at !== null ? <Tag tone="bad">revoked</Tag> : key.expires_at === null ? 'never' : when(key.expires_at)}</td>
                  <td className="number">{key.revoked_at === null && <span className="row">
                    <Button kind="quiet" className="small" aria-label={`Limits of ${key.name}`} onClick={() => setAsked({ what: 'limits', key })}>Limits</Button>
                    <Button kind="quiet" className="small" aria-label={`Rotate ${key.name}`} onClick={() => setAsked({ what: 'rotate', key })}>Rotate</Button>
                    <Button kind="quiet" className="small" aria-label={`Revoke ${key.name}`} onClick={() => setAsked({ what: 'revoke', key })}>Revoke</Button>
                  </span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {asked?.what === 'create' && <Create tenant={tenant === '*' ? me.tenant : tenant} onClose={close} onMade={setMade} />}
      {asked?.what === 'limits' && <ChangeLimits of={asked.key} tenant={tenantName(asked.key.tenant_id)} onClose={close} />}
      {asked?.what === 'rotate' && <Rotate of={asked.key} tenant={tenantName(asked.key.tenant_id)} onClose={close} onMade={setMade} />}
      {asked?.what === 'revoke' && <Revoke of={asked.key} tenant={tenantName(asked.key.tenant_id)} own={asked.key.id === me.id} onClose={close} />}
      {made !== null && <Secret of={made} onClose={() => setMade(null)} />}
    </Page>
  );
}

function LimitText({ limits }: { limits: Limits }): ReactNode {
  const parts = [limits.requests_per_minute && `${count(limits.requests_per_minute)} req/min`, limits.tokens_per_minute && `${count(limits.tokens_per_minute)} tok/min`, limits.parallel && `${count(limits.parallel)} at once`].filter(Boolean);
  return parts.length === 0 ? <small>none</small> : parts.join(', ');
}

/** A change of keys, and then the list again. */
function useChange<T>(change: () => Promise<T>, onDone: (result: T) => void) {
  const queries = useQueryClient();
  return useMutation({ mutationFn: change, onSuccess: async result => { await queries.invalidateQueries({ queryKey: ['keys'] }); onDone(result); } });
}

type LimitFields = Record<keyof typeof LIMITS, string>;
const limitFields = (limits?: Limits): LimitFields => ({ requests_per_minute: String(limits?.requests_per_minute ?? ''), tokens_per_minute: String(limits?.tokens_per_minute ?? ''), parallel: String(limits?.parallel ?? '') });
const limitsOf = (fields: LimitFields): Limits => Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, text === '' ? null : Number(text)])) as Limits;

function LimitInputs({ fields, onChange }: { fields: LimitFields; onChange: (fields: LimitFields) => void }): ReactNode {
  return (
    <div className="columns">
      {Object.entries(LIMITS).map(([name, label]) => (
        <Field key={name} label={label}>{props => <input {...props} type="number" min={1} step={1} placeholder="no limit" value={fields[name as keyof LimitFields]} onChange={event => onChange({ ...fields, [name]: event.target.value })} />}</Field>
      ))}
    </div>
  );
}

function Create({ tenant: first, onClose, onMade }: { tenant: string; onClose: () => void; onMade: (key: CreatedKey) => void }): ReactNode {
  const { data: tenants } = useTenants();
  const [name, setName] = useState('');
  const [tenant, setTenant] = useState(first);
  const [scopes, setScopes] = useState<string[]>(['inference']);
  const [limits, setLimits] = useState(limitFields());
  const [ends, setEnds] = useState('');
  const create = useChange(() => api<CreatedKey>('/v1/keys', { method: 'POST', body: { name, tenant, scopes, limits: limitsOf(limits), expires_at: ends === '' ? null : ends } }), key => { onClose(); onMade(key); });
  const wrong = create.error instanceof ApiError ? create.error : null;
  return (
    <Dialog title="Create a key" onClose={onClose}>
      <form className="form" onSubmit={(event: FormEvent) => { event.preventDefault(); create.mutate(); }}>
        <Field label="Name" hint="Who will use it" error={wrong?.param === 'name' ? wrong.message : undefined}>{props => <input {...props} required maxLength={100} autoFocus value={name} onChange={event => setName(event.target.value)} />}</Field>
        <Select label="Tenant" value={tenant} onChange={setTenant} options={(tenants ?? []).map(({ name }) => ({ value: name, label: name }))} />
        <fieldset className="scopes"><legend>Scopes</legend>
          {Object.entries(SCOPES).map(([scope, says]) => (
            <label key={scope} className="row"><input type="checkbox" checked={scopes.includes(scope)} onChange={event => setScopes(event.target.checked ? [...scopes, scope] : scopes.filter(one => one !== scope))} /> <span><code>{scope}</code> <small>{says}</small></span></label>
          ))}
        </fieldset>
        <LimitInputs fields={limits} onChange={setLimits} />
        <Field label="Ends" hint="Empty: never" error={wrong?.param === 'expires_at' ? wrong.message : undefined}>{props => <input {...props} type="date" value={ends} onChange={event => setEnds(event.target.value)} />}</Field>
        {wrong !== null && wrong.param !== 'name' && wrong.param !== 'expires_at' && <Failure error={wrong} />}
        <div className="actions end"><Button onClick={onClose}>Cancel</Button><Button kind="main" type="submit" disabled={create.isPending || scopes.length === 0}>Create</Button></div>
      </form>
    </Dialog>
  );
}

function ChangeLimits({ of, tenant, onClose }: { of: Key; tenant: string; onClose: () => void }): ReactNode {
  const [limits, setLimits] = useState(limitFields(of.limits));
  const change = useChange(() => api(`/v1/keys/${of.id}`, { method: 'PATCH', query: { tenant }, body: { limits: limitsOf(limits) } }), onClose);
  return (
    <Dialog title={`Limits of ${of.name}`} onClose={onClose}>
      <form className="form" onSubmit={(event: FormEvent) => { event.preventDefault(); change.mutate(); }}>
        <p className="hint">They hold within a second. What goes over them gets 429 and a time to try again.</p>
        <LimitInputs fields={limits} onChange={setLimits} />
        {change.isError && <Failure error={change.error} />}
        <div className="actions end"><Button onClick={onClose}>Cancel</Button><Button kind="main" type="submit" disabled={change.isPending}>Save</Button></div>
      </form>
    </Dialog>
  );
}

/** A new key with the same rights; the old one ends. */
function Rotate({ of, tenant, onClose, onMade }: { of: Key; tenant: string; onClose: () => void; onMade: (key: CreatedKey) => void }): ReactNode {
  const [grace, setGrace] = useState(String(DAY_S));
  const rotate = useChange(async () => {
    const key = await api<CreatedKey>('/v1/keys', { method: 'POST', body: { name: of.name, tenant, scopes: of.scopes, limits: of.limits, expires_at: of.expires_at } });
    if (grace === '0') await api(`/v1/keys/${of.id}`, { method: 'DELETE', query: { tenant } });
    else await api(`/v1/keys/${of.id}`, { method: 'PATCH', query: { tenant }, body: { expires_at: Math.floor(Date.now() / 1000) + Number(grace) } });
    return key;
  }, key => { onClose(); onMade(key); });
  return (
    <Dialog title={`Rotate ${of.name}`} onClose={onClose}>
      <form className="form" onSubmit={(event: FormEvent) => { event.preventDefault(); rotate.mutate(); }}>
        <p className="hint">Makes a new key with the same scopes and limits. Give it to whoever uses the old one before that ends.</p>
        <Select label="The old key ends" value={grace} onChange={setGrace} options={GRACES} />
        {rotate.isError && <Failure error={rotate.error} />}
        <div className="actions end"><Button onClick={onClose}>Cancel</Button><Button kind="main" type="submit" disabled={rotate.isPending}>Rotate</Button></div>
      </form>
    </Dialog>
  );
}

function Revoke({ of, tenant, own, onClose }: { of: Key; tenant: string; own: boolean; onClose: () => void }): ReactNode {
  const revoke = useChange(() => api(`/v1/keys/${of.id}`, { method: 'DELETE', query: { tenant } }), onClose);
  return (
    <Confirm title={`Revoke ${of.name}?`} action="Revoke" busy={revoke.isPending} error={revoke.error} onConfirm={() => revoke.mutate()} onClose={onClose}>
      <p>Requests with <code>{of.hint}</code> are refused from now on. This can't be taken back.</p>
      {own && <p className="wrong">It is the key that you are signed in with.</p>}
    </Confirm>
  );
}

function Secret({ of, onClose }: { of: CreatedKey; onClose: () => void }): ReactNode {
  return (
    <Dialog title={`The key ${of.name}`} onClose={onClose}>
      <div className="prose"><p>Copy it now: it is not shown again.</p></div>
      <div className="secret"><span className="grow">{of.secret}</span><Copy text={of.secret} /></div>
      <div className="actions end"><Button kind="main" onClick={onClose}>I have it</Button></div>
    </Dialog>
  );
}
