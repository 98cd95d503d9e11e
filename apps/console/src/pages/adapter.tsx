import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate, useParams } from '@tanstack/react-router';
import { useState, type FormEvent, type ReactNode } from 'react';
import type { Adapter, AdapterFiles, AdapterVersion, AuditEntry } from '../api/schema.js';
import { api, type List } from '../lib/api.js';
import { ago, bytes, plural, shortDigest, when } from '../lib/format.js';
import { useExecutors, useUsage } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Effect } from '../ui/effect.js';
import { Findings } from '../ui/findings.js';
import { Button, Confirm, Copy, Failure, Field, Loading, Page, Select, Status, Tag } from '../ui/parts.js';
import './adapter.css';

export function AdapterPage(): ReactNode {
  const { tenant, name } = useParams({ from: '/adapters/$tenant/$name' });
  const adapter = useQuery({
    queryKey: ['adapter', tenant, name], queryFn: ({ signal }) => api<Adapter>(`/v1/adapters/${name}`, { signal, tenant }),
    refetchInterval: ({ state }) => (state.data?.versions.some(({ status }) => status === 'validating') ? 500 : 10_000),
  });
  if (adapter.isPending) return <Page title={name}><Loading rows={10} /></Page>;
  if (adapter.isError) return <Page title={name}><Failure error={adapter.error} retry={() => void adapter.refetch()} /></Page>;
  return <Known adapter={adapter.data} />;
}

function Known({ adapter }: { adapter: Adapter }): ReactNode {
  const me = useMe();
  const { tenant, name, description, versions, aliases, shared_with: shared } = adapter;
  const [chosen, setChosen] = useState<number>();
  const [removing, setRemoving] = useState<'adapter' | AdapterVersion | null>(null);
  const version = versions.find(one => one.version === chosen) ?? versions.at(-1);
  const aliasesOf = (number: number): string[] => Object.entries(aliases).filter(([, of]) => of === number).map(([alias]) => alias);
  return (
    <Page title={<><small className="of">{tenant} / </small>{name}</>} hint={description || undefined} actions={<>
      {me.infers && version?.status === 'ready' && <Link className="button" to="/playground" search={{ tenant, models: [`${name}@${version.version}`] }}>Try it</Link>}
      {me.writes && <Button kind="danger" onClick={() => setRemoving('adapter')}>Delete</Button>}
    </>}>
      {shared.length > 0 && <p className="fine">Shared with {shared.join(', ')}, as <code>{tenant}/{name}</code></p>}
      <div className="adapter-columns">
        <section className="panel" aria-label="Versions">
          <header><h2>Versions</h2><span className="fine">immutable; known by their digest</span></header>
          <ul className="versions">
            {versions.toReversed().map(one => (
              <li key={one.version}>
                <button type="button" aria-pressed={one === version} onClick={() => setChosen(one.version)}>
                  <strong>@{one.version}</strong> <Status of={one.status} /> {aliasesOf(one.version).map(alias => <Tag key={alias} tone="accent">{alias}</Tag>)}
                  <small>{one.stage ?? ago(one.created_at)}</small>
                </button>
              </li>
            ))}
          </ul>
        </section>
        <Deploy adapter={adapter} />
      </div>
      {version !== undefined && <Version key={version.version} version={version} tenant={tenant} onRemove={() => setRemoving(version)} />}
      {version?.status === 'ready' && <Effect version={version} tenant={tenant} />}
      {versions.length > 0 && <Config adapter={adapter} version={version!} />}
      {removing !== null && <Remove adapter={adapter} version={removing === 'adapter' ? null : removing} onClose={() => setRemoving(null)} />}
    </Page>
  );
}

function Version({ version, tenant, onRemove }: { version: AdapterVersion; tenant: string; onRemove: () => void }): ReactNode {
  const me = useMe();
  const { data: executors } = useExecutors();
  const { data: usage } = useUsage({ tenant: me.admin ? tenant : undefined, groups: ['adapter'] });
  const used = usage?.find(({ adapter }) => adapter === version.name);
  const owners = (executors ?? []).flatMap(({ pages, page_bytes: pageBytes }) => pages.owners.filter(({ owner }) => owner === `adapter:${version.digest}`).map(({ pages: held }) => ({ held, bytes: held * pageBytes })));
  const { kind, rank, target_modules: modules, errors, warnings, ignored, text } = version;
  return (
    <section className="panel" aria-label={`Version ${version.version}`}>
      <header><h2>{version.name}@{version.version}</h2><span className="row"><Status of={version.status} />{me.writes && <Button kind="quiet" className="small" onClick={onRemove}>Delete this version</Button>}</span></header>
      {errors.length > 0 && <Findings findings={errors} tone="bad" />}
      {warnings.length > 0 && <Findings findings={warnings} tone="busy" />}
      <dl className="facts">
        <dt>Digest</dt><dd><span className="mono">{version.digest}</span> <Copy text={version.digest} /></dd>
        <dt>Base</dt><dd>{version.base} <small className="mono">{shortDigest(version.base_digest)}</small></dd>
        <dt>Kind</dt><dd>{kind === null ? '–' : <>{kind}, rank {rank ?? '–'}</>}</dd>
        <dt>Modules</dt><dd>{modules.length === 0 ? '–' : modules.map(one => <Tag key={one}>{one}</Tag>)}</dd>
        <dt>Size</dt><dd>{bytes(version.bytes)}</dd>
        {me.admin && <><dt>On device</dt><dd>{owners.length === 0 ? 'no; the next request brings it' : owners.map(({ held, bytes: size }) => `${plural(held, 'page')} (${bytes(size)})`).join(', ')}</dd></>}
        <dt>Traffic</dt><dd>{used === undefined ? 'none yet' : <>{plural(used.requests, 'request')} of all versions, the last {ago(used.last_at)}</>}</dd>
        <dt>Uploaded</dt><dd>{when(version.created_at)}{version.ready_at !== null && <>, ready {when(version.ready_at)}</>}</dd>
        {text.length > 0 && <><dt>Prompts made with</dt><dd>{text.join(', ')}</dd></>}
        {ignored.length > 0 && <><dt>Not read</dt><dd>{ignored.join(', ')}</dd></>}
      </dl>
    </section>
  );
}

/** Aliases: where each points, where it pointed before, and the way back. */
function Deploy({ adapter: { tenant, name, aliases, versions } }: { adapter: Adapter }): ReactNode {
  const me = useMe();
  const queries = useQueryClient();
  const ready = versions.filter(({ status }) => status === 'ready').map(({ version }) => version);
  const [alias, setAlias] = useState('');
  const [to, setTo] = useState('');
  const history = useQuery({ queryKey: ['history', tenant, name], refetchInterval: 10_000, queryFn: async ({ signal }) => (await api<List<AuditEntry>>(`/v1/adapters/${name}/history`, { signal, tenant, query: { limit: 100 } })).data });
  const move = useMutation({
    mutationFn: (moved: { alias: string; version: number }) => api(`/v1/adapters/${name}/aliases/${moved.alias}`, { method: 'PUT', tenant, body: { version: moved.version } }),
    onSuccess: () => Promise.all([['adapter', tenant, name], ['history', tenant, name], ['adapters'], ['models', tenant]].map(queryKey => queries.invalidateQueries({ queryKey }))),
  });
  const drop = useMutation({
    mutationFn: (dropped: string) => api(`/v1/adapters/${name}/aliases/${dropped}`, { method: 'DELETE', tenant }),
    onSuccess: () => Promise.all([['adapter', tenant, name], ['history', tenant, name], ['adapters']].map(queryKey => queries.invalidateQueries({ queryKey }))),
  });
  const moves = history.data?.filter(({ action }) => action.startsWith('alias.')) ?? [];
  /** The last version that it named before this one and that can still be named. */
  const before = (of: string, current: number): number | undefined => moves.filter(({ action, subject }) => action === 'alias.put' && subject === `${name}@${of}`)
    .map(({ details }) => details.before as number | undefined).find(version => version !== undefined && version !== current && ready.includes(version));
  const set = Object.entries(aliases).filter(([one]) => one !== 'latest');
  return (
    <section className="panel" aria-label="Deployment">
      <header><h2>Deployment</h2><span className="fine">requests for <code>{name}@alias</code> follow at once</span></header>
      <ul className="aliases">
        {set.map(([one, version]) => {
          const back = before(one, version);
          return (
            <li key={one}>
              <Tag tone="accent">{one}</Tag> → @{version}
              {me.writes && <span className="row">
                {back !== undefined && <Button className="small" disabled={move.isPending} onClick={() => move.mutate({ alias: one, version: back })}>Roll back to @{back}</Button>}
                <Button kind="quiet" className="small" disabled={drop.isPending} aria-label={`Remove alias ${one}`} onClick={() => drop.mutate(one)}>Remove</Button>
              </span>}
            </li>
          );
        })}
        {set.length === 0 && <li className="fine">No alias yet: <code>{name}</code> means its newest ready version.</li>}
      </ul>
      {me.writes && ready.length > 0 && (
        <form className="deploy" onSubmit={(event: FormEvent) => { event.preventDefault(); move.mutate({ alias: alias || 'default', version: Number(to || ready.at(-1)) }); }}>
          <Field label="Alias">{props => <input {...props} placeholder="default" pattern="[a-z][a-z0-9._\-]{0,31}" value={alias} onChange={event => setAlias(event.target.value)} />}</Field>
          <Select label="Version" value={to || String(ready.at(-1))} onChange={setTo} options={ready.toReversed().map(version => ({ value: String(version), label: `@${version}` }))} />
          <Button kind="main" type="submit" disabled={move.isPending}>Deploy</Button>
        </form>
      )}
      {(move.error ?? drop.error) !== null && <Failure error={move.error ?? drop.error} />}
      {moves.length > 0 && (
        <details><summary>History</summary>
          <ol className="history">
            {moves.map(({ id, at, action, subject, details }) => (
              <li key={id}><span className="fine">{when(at)}</span> <Tag>{subject.split('@')[1]}</Tag> {action === 'alias.delete' ? 'removed' : <>{details.before !== undefined && `@${String(details.before)} `}→ @{String(details.version)}</>}</li>
            ))}
          </ol>
        </details>
      )}
    </section>
  );
}

const useFiles = (tenant: string, name: string, version: number) =>
  useQuery({ queryKey: ['files', tenant, name, version], staleTime: Infinity, queryFn: ({ signal }) => api<AdapterFiles>(`/v1/adapters/${name}/versions/${version}/config`, { signal, tenant }) });

/** A version's config; beside another's, what differs. */
function Config({ adapter: { tenant, name, versions }, version }: { adapter: Adapter; version: AdapterVersion }): ReactNode {
  const others = versions.filter(one => one.version !== version.version);
  const [with_, setWith] = useState('');
  const other = others.find(one => String(one.version) === with_) ?? others.findLast(one => one.version < version.version) ?? others.at(-1);
  const [all, setAll] = useState(false);
  const mine = useFiles(tenant, name, version.version), theirs = useFiles(tenant, name, other?.version ?? version.version);
  if (mine.isError) return <Failure error={mine.error} retry={() => void mine.refetch()} />;
  const now = mine.data?.config ?? {}, then = other === undefined ? now : theirs.data?.config ?? {};
  const fields = [...new Set([...Object.keys(then), ...Object.keys(now)])].sort().map(field => ({ field, before: show(then[field]), after: show(now[field]) }));
  const differing = fields.filter(({ before, after }) => before !== after), shown = other === undefined || all ? fields : differing;
  return (
    <section className="panel" aria-label="Configuration">
      <header>
        <h2>{other === undefined ? 'adapter_config.json' : `@${version.version} against @${other.version}`}</h2>
        {other !== undefined && <div className="row"><Select hideLabel label="Compare with" value={String(other.version)} onChange={setWith} options={others.toReversed().map(one => ({ value: String(one.version), label: `@${one.version}` }))} /><label className="row fine"><input type="checkbox" checked={all} onChange={event => setAll(event.target.checked)} /> all fields</label></div>}
      </header>
      {mine.isPending || (other !== undefined && theirs.isPending) ? <Loading rows={4} /> : mine.data?.config === null ? <p className="hint">It has no adapter_config.json that can be read.</p>
        : shown.length === 0 ? <p className="hint">Every field of adapter_config.json is the same. The weights differ: {bytes(other!.bytes)} and {bytes(version.bytes)}.</p> : (
          <div className="table" tabIndex={0} role="region" aria-label="Fields">
            <table className="diff">
              <thead><tr><th scope="col">Field</th>{other !== undefined && <th scope="col">@{other.version}</th>}<th scope="col">@{version.version}</th></tr></thead>
              <tbody>
                {shown.map(({ field, before, after }) => (
                  <tr key={field}><td className="mono">{field}</td>{other !== undefined && <td className={before === after ? 'mono' : 'mono gone'}>{before}</td>}<td className={before === after ? 'mono' : 'mono come'}>{after}</td></tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      {mine.data !== undefined && (
        <details><summary>{plural(mine.data.data.length, 'file')}</summary>
          <ul className="file-list">{mine.data.data.map(file => <li key={file.name}><span>{file.name}</span> <small>{bytes(file.bytes)}</small> <small className="mono">{file.sha256.slice(0, 16)}…</small></li>)}</ul>
        </details>
      )}
    </section>
  );
}

const show = (value: unknown): string => (value === undefined ? '–' : JSON.stringify(value));

function Remove({ adapter: { tenant, name }, version, onClose }: { adapter: Adapter; version: AdapterVersion | null; onClose: () => void }): ReactNode {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const remove = useMutation({
    mutationFn: () => api(`/v1/adapters/${name}${version === null ? '' : `/versions/${version.version}`}`, { method: 'DELETE', tenant, query: { force: 'true' } }),
    onSuccess: async () => {
      if (version === null) await navigate({ to: '/adapters' });
      else onClose();
      await queries.invalidateQueries();
    },
  });
  return (
    <Confirm title={version === null ? `Delete ${name}?` : `Delete ${name}@${version.version}?`} action="Delete" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()} onClose={onClose}>
      <p>Requests that run finish on it; new ones get 404. {version === null ? 'All its versions and aliases go with it.' : 'Aliases that name it go too.'} This can't be taken back.</p>
    </Confirm>
  );
}
