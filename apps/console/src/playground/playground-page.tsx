import { useNavigate, useSearch } from '@tanstack/react-router';
import { useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { duration, rate } from '../lib/format.js';
import { useModels, useTenants } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Button, Copy, Dialog, Failure, Field, Loading, Page, Select, Tag } from '../ui/parts.js';
import { EMPTY, run, speedOf, type Answer, type Params, type Token } from './run.js';
import { LANGUAGES, snippet, type Language } from './snippets.js';
import './playground.css';

const MODELS_MAX = 4;
const FIRST: Params = { mode: 'chat', system: '', prompt: 'How long can I return something, and what is your hotline?', max_tokens: 128, temperature: 0, top_p: 1, seed: '', logprobs: true };

interface Column { model: string; answer: Answer; error: unknown }

export function PlaygroundPage(): ReactNode {
  const me = useMe();
  const search = useSearch({ from: '/playground' });
  const navigate = useNavigate({ from: '/playground' });
  const tenant = search.tenant ?? me.tenant;
  const { data: tenants } = useTenants();
  const models = useModels(tenant);
  const ids = models.data?.map(({ id }) => id) ?? [];
  const chosen = search.models ?? ids.slice(0, 2);
  const [params, setParams] = useState(FIRST);
  const [columns, setColumns] = useState<Column[]>([]);
  const [running, setRunning] = useState(false);
  const [code, setCode] = useState(false);
  const abort = useRef<AbortController>(null);
  const change = (part: Partial<Params>): void => setParams({ ...params, ...part });
  const choose = (next: string[]): void => { void navigate({ search: before => ({ ...before, models: next }), replace: true }); };

  const ask = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    const { signal } = abort.current = new AbortController();
    setColumns(chosen.map(model => ({ model, answer: EMPTY, error: null })));
    setRunning(true);
    const change = (at: number, part: Partial<Column>): void => setColumns(before => before.map((column, i) => (i === at ? { ...column, ...part } : column)));
    await Promise.all(chosen.map(async (model, at) => {
      try {
        await run(model, params, tenant, answer => change(at, { answer }), signal);
      } catch (error) {
        if (!signal.aborted) change(at, { error });
      }
    }));
    setRunning(false);
  };

  return (
    <Page wide title="Playground" hint="One prompt, up to four adapters side by side: their rows run in the same batch." actions={<Button disabled={chosen.length === 0} onClick={() => setCode(true)}>Copy as code</Button>}>
      {models.isError ? <Failure error={models.error} retry={() => void models.refetch()} /> : models.isPending ? <Loading rows={8} /> : (
        <form className="playground" onSubmit={event => void ask(event)}>
          <div className="panel asked">
            <Field label={params.mode === 'chat' ? 'Message' : 'Prompt'}>{props => <textarea {...props} required rows={3} value={params.prompt} onChange={event => change({ prompt: event.target.value })} onKeyDown={event => { if (event.key === 'Enter' && (event.metaKey || event.ctrlKey)) event.currentTarget.form!.requestSubmit(); }} />}</Field>
            <Chooser ids={ids} chosen={chosen} onChange={choose} />
            <div className="actions">
              <Button kind="main" type="submit" disabled={running || chosen.length === 0}>{running ? 'Streaming…' : 'Ask'}</Button>
              {running && <Button onClick={() => abort.current!.abort()}>Stop</Button>}
              <span className="fine">Ctrl + Enter asks too</span>
            </div>
          </div>
          <div className="panel params">
            <Select label="Route" value={params.mode} onChange={mode => change({ mode: mode as Params['mode'] })} options={[{ value: 'chat', label: 'chat/completions' }, { value: 'completion', label: 'completions' }]} />
            {me.admin && <Select label="As tenant" value={tenant} onChange={next => void navigate({ search: { tenant: next } })} options={(tenants ?? []).map(({ name }) => ({ value: name, label: name }))} />}
            {params.mode === 'chat' && <Field label="System message">{props => <input {...props} value={params.system} onChange={event => change({ system: event.target.value })} />}</Field>}
            <div className="columns">
              <Numeric label="Max tokens" min={1} max={100_000} step={1} value={params.max_tokens} onChange={value => change({ max_tokens: value })} />
              <Numeric label="Temperature" min={0} max={2} step={0.1} value={params.temperature} onChange={value => change({ temperature: value })} />
              <Numeric label="Top p" min={0.01} max={1} step={0.01} value={params.top_p} onChange={value => change({ top_p: value })} />
              <Field label="Seed">{props => <input {...props} type="number" min={0} step={1} placeholder="any" value={params.seed} onChange={event => change({ seed: event.target.value })} />}</Field>
            </div>
            <label className="row fine"><input type="checkbox" checked={params.logprobs} onChange={event => change({ logprobs: event.target.checked })} /> log-probabilities of each token</label>
          </div>
        </form>
      )}
      <div className="answers">
        {(columns.length > 0 ? columns : chosen.map(model => ({ model, answer: null, error: null }))).map(column => <AnswerColumn key={column.model} {...column} asked={columns.length > 0} />)}
      </div>
      {code && <Code models={chosen} params={params} tenant={tenant === me.tenant ? undefined : tenant} onClose={() => setCode(false)} />}
    </Page>
  );
}

function Numeric({ label, value, onChange, ...bounds }: { label: string; value: number; min: number; max: number; step: number; onChange: (value: number) => void }): ReactNode {
  return <Field label={label}>{props => <input {...props} {...bounds} type="number" required value={value} onChange={event => onChange(Number(event.target.value))} />}</Field>;
}

/** Names come up as they are typed; any name that the API understands is fine, versions and aliases too. */
function Chooser({ ids, chosen, onChange }: { ids: readonly string[]; chosen: readonly string[]; onChange: (models: string[]) => void }): ReactNode {
  const [text, setText] = useState('');
  const list = useId();
  const add = (model: string): void => {
    if (model !== '' && !chosen.includes(model)) onChange([...chosen, model].slice(-MODELS_MAX));
    setText('');
  };
  return (
    <div className="chooser">
      <Field label={`Models, ${chosen.length} of ${MODELS_MAX}`}>
        {props => <input {...props} list={list} placeholder="add a model: name, name@version, name@alias" value={text}
          onChange={event => { if (ids.includes(event.target.value)) add(event.target.value); else setText(event.target.value); }}
          onKeyDown={event => { if (event.key === 'Enter') { event.preventDefault(); add(text.trim()); } }} />}
      </Field>
      <datalist id={list}>{ids.filter(id => !chosen.includes(id)).map(id => <option key={id} value={id} />)}</datalist>
      <ul>{chosen.map(model => <li key={model}><Tag tone="accent">{model}<button type="button" aria-label={`Remove ${model}`} onClick={() => onChange(chosen.filter(one => one !== model))}>×</button></Tag></li>)}</ul>
    </div>
  );
}

function AnswerColumn({ model, answer, error, asked }: { model: string; answer: Answer | null; error: unknown; asked: boolean }): ReactNode {
  const speed = answer === null ? null : speedOf(answer);
  return (
    <section className="panel answer" aria-label={`Answer of ${model}`} aria-busy={asked && answer !== null && !answer.done && error === null}>
      <header><h2 className="ellipsis">{model}</h2>{answer?.served && answer.served !== model && <small className="mono">{answer.served}</small>}</header>
      <div className="text">{error !== null ? <Failure error={error} /> : answer === null || (answer.tokens.length === 0 && !asked) ? <span className="fine">asked next</span> : answer.tokens.map((token, at) => <Piece key={at} {...token} />)}</div>
      <dl>
        <div><dt>first</dt><dd>{answer?.firstMs == null ? '–' : duration(answer.firstMs)}</dd></div>
        <div><dt>speed</dt><dd>{speed === null ? '–' : `${rate(speed)} tok/s`}</dd></div>
        <div><dt>tokens</dt><dd>{answer === null || answer.generated === 0 ? '–' : `${answer.promptTokens ?? '…'} + ${answer.generated}`}</dd></div>
        <div><dt>cold start</dt><dd>{answer?.coldStartMs == null ? '–' : duration(answer.coldStartMs)}</dd></div>
        <div><dt>end</dt><dd>{answer?.finish ?? '–'}</dd></div>
      </dl>
    </section>
  );
}

/** A token: the less likely, the more it stands out; pointed at, it tells what else it might have been. */
function Piece({ text, logprob, top }: Token): ReactNode {
  if (logprob === undefined) return text;
  const doubt = logprob > -0.1 ? '' : logprob > -0.7 ? 'sure' : logprob > -2 ? 'unsure' : 'doubtful';
  return (
    <span className={`piece ${doubt}`}>
      {text}
      <span className="odds" aria-hidden="true">{[...top ?? []].sort((a, b) => b.logprob - a.logprob).map(one => <span key={one.token} className={one.token === text ? 'taken' : ''}><code>{JSON.stringify(one.token)}</code> {(100 * Math.exp(one.logprob)).toFixed(1)} % <small>{one.logprob.toFixed(3)}</small></span>)}</span>
    </span>
  );
}

function Code({ models, params, tenant, onClose }: { models: readonly string[]; params: Params; tenant: string | undefined; onClose: () => void }): ReactNode {
  const [model, setModel] = useState(models[0]!);
  const [language, setLanguage] = useState<Language>('curl');
  const text = snippet(language, model, params, tenant);
  return (
    <Dialog title="The same in code" onClose={onClose}>
      <div className="form">
        <div className="columns">
          <Select label="Model" value={model} onChange={setModel} options={models.map(value => ({ value, label: value }))} />
          <Select label="Language" value={language} onChange={value => setLanguage(value as Language)} options={LANGUAGES.map(value => ({ value, label: value }))} />
        </div>
        <pre tabIndex={0} aria-label="Code">{text}</pre>
        <p className="fine">Put a key into <code>WEFT_KEY</code>: yours is not copied.</p>
        <div className="actions end"><Button onClick={onClose}>Close</Button><Copy text={text} label={`Copy as ${language}`} /></div>
      </div>
    </Dialog>
  );
}
