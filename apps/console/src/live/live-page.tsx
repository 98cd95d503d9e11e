import { useEffect, useMemo, useRef, useState, useSyncExternalStore, type PointerEvent, type ReactNode } from 'react';
import type { Picture } from '../api/schema.js';
import { bytes, compact, count, duration, plural, rate, shortDigest } from '../lib/format.js';
import { useDigestNames, useTenantNames } from '../lib/queries.js';
import { useDark } from '../lib/theme.js';
import { Button, Empty, Failure, Loading, Page, Select, Stat, Tag } from '../ui/parts.js';
import { adapterColour, DARK, LIGHT, paintsOf, tenantColour } from './colours.js';
import { MemoryMap, type Spot } from './memory-map.js';
import { KEPT_MS, Recorder } from './recorder.js';
import { drawWeave } from './weave.js';
import './live.css';

type Row = Picture['batch'][number];

export function LivePage(): ReactNode {
  const [recorder] = useState(() => new Recorder());
  useEffect(() => {
    const over = new AbortController();
    void recorder.watch(over.signal);
    return () => over.abort();
  }, [recorder]);
  useSyncExternalStore(recorder.subscribe, recorder.version);
  const [chosen, setChosen] = useState('');
  const executor = recorder.executors.includes(chosen) ? chosen : recorder.executors[0] ?? '';
  const pictures = recorder.of(executor);
  /** When what is shown was; null: now. */
  const [heldMs, setHeldMs] = useState<number | null>(null);
  const picture = heldMs === null ? pictures.at(-1) : pictures.findLast(({ at_ms: at }) => at <= heldMs) ?? pictures[0];
  return (
    <Page wide title="Live" hint="One pool of pages holds everything: the base's weights stand beside it once, adapters and the memory of every conversation come and go. Rows of different adapters run in the same batch."
      actions={<>
        {recorder.executors.length > 1 && <Select hideLabel label="Executor" value={executor} onChange={setChosen} options={recorder.executors.map(id => ({ value: id, label: id.slice(0, 8) }))} />}
        <Tag tone={recorder.connection === 'live' ? 'good' : 'busy'}><i className="dot" aria-hidden="true" />{heldMs !== null ? 'looking back' : recorder.connection}</Tag>
      </>}>
      {picture !== undefined ? <Scene picture={picture} pictures={pictures} heldMs={heldMs} onHold={setHeldMs} />
        : recorder.error !== null ? <Failure error={recorder.error} />
        : recorder.connection === 'lost' ? <Empty title="No executor serves at the moment">As soon as one does, it is shown here.</Empty>
        : <Loading rows={14} label="Waiting for the first picture" />}
    </Page>
  );
}

function Scene({ picture, pictures, heldMs, onHold }: { picture: Picture; pictures: readonly Picture[]; heldMs: number | null; onHold: (ms: number | null) => void }): ReactNode {
  const tenants = useSeen(picture);
  const adapterName = useDigestNames(digestsOf(picture)), tenantName = useTenantNames(tenants.filter(id => id !== PROBE));
  const names = useMemo(() => ({ tenant: (id: string) => (id === PROBE ? 'probe of an upload' : tenantName(id)), adapter: (digest: string) => adapterName.get(digest) ?? shortDigest(digest) }), [tenantName, adapterName]);
  const [pointed, setPointed] = useState<Pointed | null>(null);
  const held = heldMs !== null;
  const [used, total] = pagesOf(picture);
  return (
    <>
      <dl className="stats">
        <Stat label="Tokens" value={rate(picture.tokens_per_second)} unit="/s" />
        <Stat label="Step" value={duration(picture.step_ms)} />
        <Stat label="Rows in the batch" value={count(picture.batch.reduce((sum, { rows }) => sum + rows, 0))} />
        <Stat label="Adapters in the batch" value={new Set(picture.batch.flatMap(({ adapters }) => adapters.map(({ digest }) => digest))).size} />
        <Stat label="Waiting" value={picture.waiting} />
        <Stat label="Pages in use" value={compact(used)} unit={`of ${compact(total)}`} />
        <Stat label="Preempted" value={picture.preemptions} />
      </dl>
      <div className="scene">
        <div className="panel map-panel">
          <PoolMap picture={picture} tenants={tenants} names={names} pointed={pointed} onPoint={setPointed} still={held} />
          <Legend picture={picture} tenants={tenants} names={names} onPoint={setPointed} />
        </div>
        <Batch picture={picture} tenants={tenants} names={names} onPoint={setPointed} />
      </div>
      <Scrubber pictures={pictures} heldMs={heldMs} onHold={onHold} />
    </>
  );
}

/** What is pointed at, in the map, in the batch or in the legend: its pages stand out. */
interface Pointed { request?: string; digest?: string; kind?: string; tenant?: string }
interface Names { tenant(id: string): string; adapter(digest: string): string }

const isPointed = (pointed: Pointed, { kind, tenant, request_id: request, digest }: Picture['holders'][number]): boolean =>
  (pointed.request !== undefined && request === pointed.request) || (pointed.digest !== undefined && digest === pointed.digest)
  || (pointed.kind !== undefined && kind === pointed.kind && (pointed.tenant === undefined || tenant === pointed.tenant));

function PoolMap({ picture, tenants, names, pointed, onPoint, still }: { picture: Picture; tenants: readonly string[]; names: Names; pointed: Pointed | null; onPoint: (pointed: Pointed | null) => void; still: boolean }): ReactNode {
  const dark = useDark();
  const canvas = useRef<HTMLCanvasElement>(null);
  const map = useRef<MemoryMap>(null);
  const [tip, setTip] = useState<{ x: number; y: number; spot: Spot } | null>(null);
  const [, redraw] = useState(0);
  useEffect(() => {
    map.current = new MemoryMap(canvas.current!);
    const resized = new ResizeObserver(() => redraw(value => value + 1));
    resized.observe(canvas.current!);
    return () => resized.disconnect();
  }, []);
  useEffect(() => {
    const palette = dark ? DARK : LIGHT, paints = paintsOf(picture, tenants, palette, dark);
    const toward = (holder: number): boolean | null => (pointed === null ? null : holder < 0 ? pointed.kind === 'weights' : isPointed(pointed, picture.holders[holder]!));
    let frame = 0;
    const draw = (): void => { if (map.current!.draw(picture, paints, palette, toward, still)) frame = requestAnimationFrame(draw); };
    frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  });
  const move = ({ nativeEvent: { offsetX, offsetY } }: PointerEvent): void => {
    const spot = map.current!.at(offsetX, offsetY);
    setTip(spot === null ? null : { x: offsetX, y: offsetY, spot });
    const holder = spot === null ? undefined : picture.holders[spot.holder];
    onPoint(spot === null ? null : spot.kind === 'weights' ? { kind: 'weights' } : holder === undefined || holder.kind === 'free' ? null
      : holder.kind === 'sequence' ? { request: holder.request_id! } : holder.kind === 'adapter' || holder.kind === 'expert' ? { digest: holder.digest! } : { kind: holder.kind });
  };
  const leave = (): void => { setTip(null); onPoint(null); };
  const [used, total] = pagesOf(picture);
  const shown = Math.min(map.current?.shownPages ?? 0, total), perCell = map.current?.pagesPerCell ?? 1;
  return (
    <figure>
      <div className="map">
        <canvas ref={canvas} role="img" aria-label={`Memory map: ${used} of ${total} pages in use; the legend says by whom`} onPointerMove={move} onPointerDown={move} onPointerLeave={leave} />
        {tip !== null && <Tip {...tip} picture={picture} names={names} width={canvas.current!.clientWidth} />}
      </div>
      <figcaption className="fine">
        A cell is {perCell === 1 ? 'a page' : `${perCell} pages`} of {bytes(picture.page_bytes)}{shown < total && <>; the other {count(total - shown)} pages are free and not drawn</>}. Bright: the batch of this moment reads it.
      </figcaption>
    </figure>
  );
}

function Tip({ x, y, spot, picture, names, width }: { x: number; y: number; spot: Spot; picture: Picture; names: Names; width: number }): ReactNode {
  const holder = picture.holders[spot.holder];
  const pages = holder === undefined ? 0 : held(picture, spot.holder);
  const row = holder?.kind === 'sequence' ? picture.batch.find(({ request_id: id, choice }) => id === holder.request_id && choice === holder.choice) : undefined;
  return (
    <div className="tip" style={{ left: Math.min(x + 14, Math.max(0, width - 260)), top: y + 16 }}>
      {spot.kind === 'weights' ? <><strong>Base weights</strong><p>{bytes(picture.weight_bytes)}, once, for everybody. They lie beside the pool: as many cells as pages that they would fill.</p></>
        : holder === undefined || holder.kind === 'free' ? <><strong>Free</strong><p>Page {count(spot.page)}</p></>
        : holder.kind === 'adapter' ? <><strong>Adapter {names.adapter(holder.digest!)}</strong><p>Page {count(spot.page)}, one of {plural(pages, 'page')} ({bytes(pages * picture.page_bytes)})</p></>
        : holder.kind === 'expert' ? <><strong>Expert {shortDigest(holder.digest!)}</strong><p>{plural(pages, 'page')}, once, for {plural(holder.users ?? 0, 'adapter')}</p></>
        : holder.kind === 'sequence' ? <><strong>KV of {names.tenant(holder.tenant!)}</strong><p>Page {count(spot.page)}, one of {plural(pages, 'page')}: {16 * pages} tokens at most</p>{row && <p>{adaptersOf(row, names)}, {row.prompt_tokens} + {row.generated_tokens} tokens</p>}<p className="mono">{holder.request_id}</p></>
        : <><strong>{holder.kind === 'retired' ? 'On its way back' : 'Prefix'}</strong><p>{holder.kind === 'retired' ? 'Free as soon as the steps that still name it have completed' : 'Kept for prompts that begin alike'}: {plural(pages, 'page')}</p></>}
    </div>
  );
}

function Legend({ picture, tenants, names, onPoint }: { picture: Picture; tenants: readonly string[]; names: Names; onPoint: (pointed: Pointed | null) => void }): ReactNode {
  const dark = useDark(), palette = dark ? DARK : LIGHT;
  const pages = useMemo(() => {
    const sums = new Map<string, number>();
    for (let i = 0; i < picture.map.length; i += 2) {
      const { kind, tenant } = picture.holders[picture.map[i]!]!;
      const key = kind === 'sequence' ? `kv ${tenant}` : kind;
      sums.set(key, (sums.get(key) ?? 0) + picture.map[i + 1]!);
    }
    return sums;
  }, [picture]);
  const entries: { key: string; colour: string; label: string; pages: number; point: Pointed }[] = [
    { key: 'weights', colour: palette.weights, label: 'base weights', pages: Math.ceil(picture.weight_bytes / picture.page_bytes), point: { kind: 'weights' } },
    { key: 'adapter', colour: adapterColour('9', dark), label: `${picture.holders.filter(({ kind }) => kind === 'adapter').length} adapters`, pages: pages.get('adapter') ?? 0, point: { kind: 'adapter' } },
    ...(pages.has('expert') ? [{ key: 'expert', colour: palette.prefix, label: 'experts', pages: pages.get('expert')!, point: { kind: 'expert' } }] : []),
    ...tenants.map((tenant, at) => ({ key: `kv ${tenant}`, colour: tenantColour(at, dark), label: `KV ${names.tenant(tenant)}`, pages: pages.get(`kv ${tenant}`) ?? 0, point: { kind: 'sequence', tenant } })),
    { key: 'prefix', colour: palette.prefix, label: 'prefix', pages: pages.get('prefix') ?? 0, point: { kind: 'prefix' } },
    { key: 'retired', colour: palette.retired, label: 'on its way back', pages: pages.get('retired') ?? 0, point: { kind: 'retired' } },
    { key: 'free', colour: palette.free, label: 'free', pages: pages.get('free') ?? 0, point: { kind: 'free' } },
  ];
  return (
    <ul className="legend">
      {entries.map(({ key, colour, label, pages: held, point }) => (
        <li key={key} onPointerEnter={() => onPoint(point)} onPointerLeave={() => onPoint(null)}><i style={{ background: colour }} aria-hidden="true" />{label} <b>{compact(held)}</b></li>
      ))}
    </ul>
  );
}

function Batch({ picture, tenants, names, onPoint }: { picture: Picture; tenants: readonly string[]; names: Names; onPoint: (pointed: Pointed | null) => void }): ReactNode {
  const dark = useDark(), palette = dark ? DARK : LIGHT;
  return (
    <section className="panel batch" aria-label="Batch and queue">
      <header><h2>Batch of this moment</h2><span className="fine">{picture.batch.length === 0 ? 'idle' : `step ${count(picture.step)}`}</span></header>
      <div className="scroll" tabIndex={0} role="region" aria-label="Rows of the batch">
        {picture.batch.length === 0 ? <p className="nothing">Nothing runs. Ask something in the playground, or with the line that <code>npm start</code> prints.</p> : (
          <table>
            <thead><tr><th scope="col">Adapter</th><th scope="col">Tenant</th><th scope="col">Phase</th><th scope="col" className="number">Tokens</th><th scope="col" className="number">Pages</th></tr></thead>
            <tbody>
              {picture.batch.map(row => (
                <tr key={`${row.request_id} ${row.choice}`} onPointerEnter={() => onPoint({ request: row.request_id, ...(row.adapters[0] && { digest: row.adapters[0].digest }) })} onPointerLeave={() => onPoint(null)}>
                  <td className="thread"><i style={{ background: row.adapters[0] === undefined ? palette.weightsLine : adapterColour(row.adapters[0].digest, dark) }} aria-hidden="true" /><span title={adaptersOf(row, names)}>{namedFor(adaptersOf(row, names), names.tenant(row.tenant))}</span></td>
                  <td><i className="kv" style={{ background: tenantColour(tenants.indexOf(row.tenant), dark) }} aria-hidden="true" />{names.tenant(row.tenant)}</td>
                  <td>{row.phase === 'prefill' ? <>prompt <small>{row.rows} rows</small></> : 'token'}</td>
                  <td className="number"><small>{row.prompt_tokens} + </small>{row.generated_tokens}</td>
                  <td className="number">{row.pages}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
      <header><h2>Queue</h2><span className="fine">{plural(picture.waiting, 'sequence')}</span></header>
      <div className="scroll short" tabIndex={0} role="region" aria-label="Queue">
        {picture.queue.length === 0 ? <p className="nothing">Nobody waits.</p> : (
          <table>
            <thead className="unseen"><tr><th scope="col">Adapter</th><th scope="col">Tenant</th><th scope="col">Waits for</th><th scope="col">For</th></tr></thead>
            <tbody>
              {picture.queue.map(({ request_id: id, tenant, adapters, adapter_state: state, waited_ms: waited }) => (
                <tr key={id}>
                  <td className="thread"><i style={{ background: adapters[0] === undefined ? palette.weightsLine : adapterColour(adapters[0].digest, dark) }} aria-hidden="true" />{adapters.length === 0 ? 'base' : names.adapter(adapters[0]!.digest)}</td>
                  <td>{names.tenant(tenant)}</td><td><small>{state === 'resident' ? 'room' : state === 'loading' ? 'its adapter, loading' : 'its adapter'}</small></td><td className="number">{duration(waited)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
    </section>
  );
}

function Scrubber({ pictures, heldMs, onHold }: { pictures: readonly Picture[]; heldMs: number | null; onHold: (ms: number | null) => void }): ReactNode {
  const dark = useDark();
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = pictures.at(-1)!.at_ms;
  const back = heldMs === null ? 0 : Math.min(KEPT_MS, last - heldMs);
  useEffect(() => { drawWeave(canvas.current!, pictures, heldMs, dark ? DARK : LIGHT, dark); });
  const hold = (value: number): void => onHold(value >= 0 ? null : last + value * 1000);
  return (
    <section className="panel scrubber" aria-label="The last 60 seconds">
      <header>
        <div><h2>The weave</h2><p className="fine">A column is a moment, a thread a row of its batch, its colour the adapter. Drag to look back.</p></div>
        <div className="row"><span className="fine">{heldMs === null ? 'now' : `${(back / 1000).toFixed(1)} s ago`}</span><Button className="small" disabled={heldMs === null} onClick={() => onHold(null)}>Back to live</Button></div>
      </header>
      <div className="weave">
        <canvas ref={canvas} aria-hidden="true" />
        <input type="range" min={-KEPT_MS / 1000} max={0} step={0.1} value={-back / 1000} aria-label="Moment that is shown" aria-valuetext={heldMs === null ? 'now' : `${(back / 1000).toFixed(1)} seconds ago`} onChange={event => hold(Number(event.target.value))} />
      </div>
      <div className="ticks fine" aria-hidden="true"><span>60 s</span><span>40</span><span>20</span><span>now</span></div>
    </section>
  );
}

/** Whose the sequences of an upload's probe are. */
const PROBE = 'probe';

/** Adapters that a picture shows. */
const digestsOf = ({ holders, batch, queue }: Picture): string[] =>
  [...holders.flatMap(({ kind, digest }) => (kind === 'adapter' ? [digest!] : [])), ...[...batch, ...queue].flatMap(({ adapters }) => adapters.map(({ digest }) => digest))];

/** A tenant's own adapters by their names alone: whose they are stands beside them. */
const namedFor = (adapters: string, tenant: string): string => (adapters.startsWith(`${tenant}/`) ? adapters.replaceAll(`${tenant}/`, '') : adapters);
const adaptersOf = ({ adapters }: Pick<Row, 'adapters'>, names: Names): string => (adapters.length === 0 ? 'base' : adapters.map(({ digest }) => names.adapter(digest)).join(' + '));

/** Pages in use and all. */
function pagesOf({ map, holders }: Picture): [used: number, total: number] {
  let used = 0, total = 0;
  for (let i = 0; i < map.length; i += 2) {
    total += map[i + 1]!;
    if (holders[map[i]!]!.kind !== 'free') used += map[i + 1]!;
  }
  return [used, total];
}

function held({ map }: Picture, holder: number): number {
  let pages = 0;
  for (let i = 0; i < map.length; i += 2) if (map[i] === holder) pages += map[i + 1]!;
  return pages;
}

/** Tenants in the order in which they were seen: each keeps its colour. */
function useSeen({ batch, holders }: Picture): readonly string[] {
  const seen = useRef<string[]>([]);
  for (const { tenant } of [...batch, ...holders]) if (tenant !== undefined && !seen.current.includes(tenant)) seen.current.push(tenant);
  return seen.current;
}
