import { useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useEffect, useRef, useState, type DragEvent, type ReactNode } from 'react';
import type { AdapterFiles, AdapterVersion } from '../api/schema.js';
import { api, ApiError } from '../lib/api.js';
import { bytes, duration, plural } from '../lib/format.js';
import { useModels, useTenants } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Effect } from '../ui/effect.js';
import { Findings } from '../ui/findings.js';
import { Button, Failure, Field, Page, Select, Status } from '../ui/parts.js';
import { readChosen, readDrop, type AdapterFolder } from './dropped.js';
import { hashAll } from './hashing.js';
import { sendAdapter, type UploadFields } from './send.js';
import './upload.css';

const STAGES = ['queued', 'validate', 'pack', 'probe'] as const;
const STAGE_SAYS = { queued: 'waits for its turn', validate: 'files against the base', pack: 'into pages, on an executor', probe: 'does it change anything?' } as const;
const POLL_MS = 300;

export function UploadPage(): ReactNode {
  const [folders, setFolders] = useState<{ id: number; folder: AdapterFolder }[]>([]);
  const [over, setOver] = useState(false);
  const [problem, setProblem] = useState<string>();
  const folderInput = useRef<HTMLInputElement>(null), fileInput = useRef<HTMLInputElement>(null);
  const nextId = useRef(0);
  const take = async (read: Promise<AdapterFolder[]>): Promise<void> => {
    try {
      const found = await read;
      setProblem(found.length === 0 ? 'There was no file in it.' : undefined);
      setFolders(before => [...found.map(folder => ({ id: nextId.current++, folder })), ...before]);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  const drop = (event: DragEvent): void => { event.preventDefault(); setOver(false); void take(readDrop(event.dataTransfer)); };
  const choose = ({ target }: { target: HTMLInputElement }): void => { void take(readChosen([...target.files ?? []])); target.value = ''; };
  return (
    <Page title="Upload" hint="An adapter is the folder that PEFT wrote: adapter_config.json and safetensors. A name that is there already gets its next version.">
      <div className={over ? 'drop over' : 'drop'} onDragOver={event => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={drop}>
        <p><strong>Drop a folder, a .zip, a .tar or a .tar.gz here</strong></p>
        <p className="fine">several at once are fine</p>
        <div className="actions">
          <Button onClick={() => folderInput.current!.click()}>Choose a folder</Button>
          <Button onClick={() => fileInput.current!.click()}>Choose an archive or files</Button>
        </div>
        <input ref={folderInput} type="file" hidden aria-label="Folder" onChange={choose} {...{ webkitdirectory: '' }} />
        <input ref={fileInput} type="file" hidden multiple aria-label="Archive or files" onChange={choose} />
      </div>
      {problem !== undefined && <div className="notice bad" role="alert">{problem}</div>}
      {folders.map(({ id, folder }) => <Item key={id} folder={folder} onClose={() => setFolders(before => before.filter(one => one.id !== id))} />)}
    </Page>
  );
}

type State =
  | { at: 'waiting' } | { at: 'hashing'; done: number } | { at: 'sending'; sent: number; perSecond: number } | { at: 'broken'; error: unknown }
  | { at: 'ingesting'; version: AdapterVersion; hashes: Map<string, string> } | { at: 'over'; version: AdapterVersion; verified: boolean | null };

function Item({ folder, onClose }: { folder: AdapterFolder; onClose: () => void }): ReactNode {
  const me = useMe();
  const { data: tenants } = useTenants();
  const queries = useQueryClient();
  const [fields, setFields] = useState<UploadFields>({ name: folder.name, alias: '', description: '', tenant: me.tenant });
  const [left, setLeft] = useState(() => new Set(folder.files.filter(file => file.left).map(({ name }) => name)));
  const [state, setState] = useState<State>({ at: 'waiting' });
  const abort = useRef<AbortController>(null);
  /** The same for every try of the same bytes: one that arrived although its answer was lost is not taken twice. */
  const [idempotencyKey, setIdempotencyKey] = useState(newKey);
  const files = folder.files.filter(({ name }) => !left.has(name));
  const total = files.reduce((sum, { blob }) => sum + blob.size, 0);
  const { data: models } = useModels(fields.tenant);
  const base = models?.find(({ parent }) => parent === null)?.id;
  useEffect(() => () => abort.current?.abort(), []);

  const change = (part: Partial<UploadFields>): void => { setFields({ ...fields, ...part }); setIdempotencyKey(newKey()); };
  const start = async (): Promise<void> => {
    const { signal } = abort.current = new AbortController();
    try {
      setState({ at: 'hashing', done: 0 });
      const sums = await hashAll(files.map(({ blob }) => blob), done => setState({ at: 'hashing', done }), signal);
      const speed = new Speed();
      setState({ at: 'sending', sent: 0, perSecond: 0 });
      const version = await sendAdapter(fields, files, idempotencyKey, sent => setState({ at: 'sending', sent: Math.min(sent, total), perSecond: speed.of(sent) }), signal);
      setState({ at: 'ingesting', version, hashes: new Map(files.map(({ name }, at) => [name, sums[at]!])) });
      void queries.invalidateQueries({ queryKey: ['adapters'] });
    } catch (error) {
      setState(signal.aborted ? { at: 'waiting' } : { at: 'broken', error });
    }
  };
  const running = state.at === 'hashing' || state.at === 'sending';
  const done = state.at === 'ingesting' || state.at === 'over';
  return (
    <section className="panel upload" aria-label={`Upload of ${fields.name}`}>
      <header><h2>{fields.name}</h2><span className="fine">{plural(files.length, 'file')}, {bytes(total)}{base !== undefined && <>, for {base}</>}</span></header>
      {!done && (
        <>
          <div className="columns">
            <Field label="Name" error={wrong(state, 'name')}>{props => <input {...props} required disabled={running} value={fields.name} onChange={event => change({ name: event.target.value })} />}</Field>
            {me.admin && <Select label="Tenant" value={fields.tenant} onChange={tenant => change({ tenant })} options={(tenants ?? []).map(({ name }) => ({ value: name, label: name }))} />}
            <Field label="Alias when ready" hint="optional" error={wrong(state, 'alias')}>{props => <input {...props} disabled={running} placeholder="prod" value={fields.alias} onChange={event => change({ alias: event.target.value })} />}</Field>
            <Field label="Description" hint="optional">{props => <input {...props} disabled={running} value={fields.description} onChange={event => change({ description: event.target.value })} />}</Field>
          </div>
          <fieldset className="files" disabled={running}><legend>Files that are sent</legend>
            {folder.files.map(({ name, blob, left: leftover }) => (
              <label key={name} className="row"><input type="checkbox" checked={!left.has(name)} onChange={event => { const next = new Set(left); if (event.target.checked) next.delete(name); else next.add(name); setLeft(next); setIdempotencyKey(newKey()); }} /><span className="grow">{name} {leftover && <small>a trainer's leftover: nothing reads it</small>}</span><small>{bytes(blob.size)}</small></label>
            ))}
          </fieldset>
        </>
      )}
      {running && (
        <div role="status">
          <progress max={Math.max(total, 1)} value={state.at === 'hashing' ? state.done : state.sent} aria-label={state.at === 'hashing' ? 'Hashing' : 'Sending'} />
          <p className="fine">{state.at === 'hashing' ? `hashing: ${bytes(state.done)} of ${bytes(total)}` : <>sending: {bytes(state.sent)} of {bytes(total)}{state.perSecond > 0 && <>, {bytes(state.perSecond)}/s, {duration(1000 * (total - state.sent) / state.perSecond)} left</>}</>}</p>
        </div>
      )}
      {state.at === 'broken' && <Failure error={state.error} />}
      {state.at === 'ingesting' && <Ingestion version={state.version} tenant={fields.tenant} hashes={state.hashes} onOver={(version, verified) => { setState({ at: 'over', version, verified }); void queries.invalidateQueries({ queryKey: ['adapters'] }); }} />}
      {state.at === 'over' && <Outcome version={state.version} verified={state.verified} tenant={fields.tenant} />}
      <div className="actions">
        {!done && !running && <Button kind="main" disabled={fields.name === '' || files.length === 0} onClick={() => void start()}>{state.at === 'broken' ? 'Try again' : 'Upload'}</Button>}
        {running && <Button onClick={() => abort.current!.abort()}>Cancel</Button>}
        {!running && <Button kind="quiet" onClick={onClose}>{done ? 'Close' : 'Remove'}</Button>}
      </div>
    </section>
  );
}

/** The stages as they happen. */
function Ingestion({ version, tenant, hashes, onOver }: { version: AdapterVersion; tenant: string; hashes: Map<string, string>; onOver: (version: AdapterVersion, verified: boolean | null) => void }): ReactNode {
  const [now, setNow] = useState(version);
  const [error, setError] = useState<unknown>(null);
  const over = useRef(onOver);
  over.current = onOver;
  useEffect(() => {
    const controller = new AbortController();
    const follow = async (): Promise<void> => {
      const path = `/v1/adapters/${version.name}/versions/${version.version}`, call = { tenant, signal: controller.signal };
      try {
        for (let seen = version; ;) {
          if (seen.status !== 'validating') {
            const { data } = await api<AdapterFiles>(`${path}/config`, call);
            over.current(seen, data.every(({ name, sha256 }) => hashes.get(name) === sha256));
            return;
          }
          await new Promise(resolve => { setTimeout(resolve, POLL_MS); });
          setNow(seen = await api<AdapterVersion>(path, call));
        }
      } catch (thrown) {
        if (!controller.signal.aborted) setError(thrown);
      }
    };
    void follow();
    return () => controller.abort();
  }, [version, tenant, hashes]);
  const at = STAGES.indexOf((now.stage ?? 'probe') as typeof STAGES[number]);
  return (
    <>
      <ol className="stages" aria-label="Ingestion" aria-live="polite">
        {STAGES.map((stage, i) => <li key={stage} className={i < at ? 'done' : i === at ? 'now' : ''} aria-current={i === at ? 'step' : undefined}><strong>{stage}</strong><small>{STAGE_SAYS[stage]}</small></li>)}
      </ol>
      {error !== null && <Failure error={error} />}
    </>
  );
}

function Outcome({ version, verified, tenant }: { version: AdapterVersion; verified: boolean | null; tenant: string }): ReactNode {
  const { name, version: number, status, errors, warnings, kind, rank, target_modules: modules } = version;
  return (
    <>
      <p className="row"><Status of={status} /> <Link to="/adapters/$tenant/$name" params={{ tenant, name }}>{name}@{number}</Link>{status === 'ready' && <span className="fine">{kind}, rank {rank}, {plural(modules.length, 'module')}{verified === true && ', and the server holds the bytes that were hashed here'}</span>}</p>
      {verified === false && <div className="notice bad" role="alert">The server holds other bytes than were hashed here. Upload it again.</div>}
      {errors.length > 0 && <Findings findings={errors} tone="bad" />}
      {warnings.length > 0 && <Findings findings={warnings} tone="busy" />}
      {status === 'ready' && <Effect version={version} tenant={tenant} atOnce />}
    </>
  );
}

const newKey = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');

/** The field that the server's refusal names. */
const wrong = (state: State, param: string): string | undefined => (state.at === 'broken' && state.error instanceof ApiError && state.error.param === param ? state.error.message : undefined);

/** Bytes a second over the last few. */
class Speed {
  static readonly WINDOW_MS = 3000;
  readonly #seen: { ms: number; sent: number }[] = [];
  of(sent: number): number {
    const ms = performance.now();
    this.#seen.push({ ms, sent });
    while (this.#seen.length > 2 && this.#seen[0]!.ms < ms - Speed.WINDOW_MS) this.#seen.shift();
    const first = this.#seen[0]!;
    return ms - first.ms < 50 ? 0 : ((sent - first.sent) / (ms - first.ms)) * 1000;
  }
}
