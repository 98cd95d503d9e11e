import { useNavigate, useSearch, Link } from '@tanstack/react-router';
import { createColumnHelper, flexRender, getCoreRowModel, getFilteredRowModel, getSortedRowModel, useReactTable, type FilterFn, type Row as TableRow } from '@tanstack/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, useDeferredValue, useMemo, useRef, useState, type ReactNode } from 'react';
import type { Adapter, AdapterVersion } from '../api/schema.js';
import { ago, compact, plural, when } from '../lib/format.js';
import { useAdapters, useExecutors, useTenantIds, useUsage } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Empty, Failure, Field, Loading, Page, Select, Status, Tag, type Option } from '../ui/parts.js';
import type { AdapterSearch } from './adapter-search.js';

const ROW_PX = 40;
const DAY_S = 86_400;

interface Row {
  adapter: Adapter; newest: AdapterVersion; status: string; aliases: [string, number][];
  requests: number; lastAt: number | null; resident: number;
}

const column = createColumnHelper<Row>();
/** Each behind its header's name; the first three are what a narrow screen keeps. */
const COLUMNS = [
  column.accessor(({ adapter }) => `${adapter.tenant}/${adapter.name}`, {
    id: 'name', header: 'Adapter',
    cell: ({ row: { original: { adapter: { tenant, name } } } }) => <Link to="/adapters/$tenant/$name" params={{ tenant, name }}><small>{tenant}/</small>{name}</Link>,
  }),
  column.accessor('status', { id: 'status', header: 'Status', cell: ({ getValue }) => <Status of={getValue()} /> }),
  column.accessor(({ newest }) => newest.kind ?? '', { id: 'kind', header: 'Kind', cell: ({ getValue }) => (getValue() ? <Tag>{getValue()}</Tag> : '–') }),
  column.accessor(({ newest }) => newest.rank ?? 0, { id: 'rank', header: 'Rank', cell: ({ getValue }) => getValue() || '–' }),
  column.accessor(({ newest }) => newest.base, { id: 'base', header: 'Base' }),
  column.accessor(({ aliases }) => aliases.length, {
    id: 'aliases', header: 'Aliases',
    cell: ({ row: { original: { aliases, newest } } }) => <>{aliases.length === 0 ? <small>newest is @{newest.version}</small> : aliases.map(([alias, version]) => <Tag key={alias}>{alias} → {version}</Tag>)}</>,
  }),
  column.accessor(({ adapter }) => adapter.versions.length, { id: 'versions', header: 'Versions' }),
  column.accessor('requests', { id: 'requests', header: 'Requests 24 h' }),
  column.accessor('resident', { id: 'resident', header: 'On device', cell: ({ getValue }) => (getValue() > 0 ? <Tag tone="accent">{plural(getValue(), 'page')}</Tag> : '–') }),
  column.accessor(({ lastAt }) => lastAt ?? 0, { id: 'last', header: 'Last use', cell: ({ row: { original: { lastAt } } }) => <span title={when(lastAt)}>{ago(lastAt)}</span> }),
];
const KEPT = new Set(['name', 'status', 'kind']);
const NUMBERS = new Set(['rank', 'versions', 'requests']);

const matches: FilterFn<Row> = ({ original: { adapter, newest, status } }, _, search: AdapterSearch) => {
  const { q, tenant, kind, status: wanted, rank, base } = search;
  return (q === undefined || `${adapter.tenant}/${adapter.name} ${adapter.description} ${newest.digest}`.toLowerCase().includes(q.toLowerCase()))
    && (tenant === undefined || adapter.tenant === tenant) && (kind === undefined || newest.kind === kind) && (wanted === undefined || status === wanted)
    && (rank === undefined || String(newest.rank) === rank) && (base === undefined || newest.base === base);
};

export function AdaptersPage(): ReactNode {
  const me = useMe();
  const search = useSearch({ from: '/adapters' });
  const navigate = useNavigate({ from: '/adapters' });
  const adapters = useAdapters();
  const rows = useRows(adapters.data);
  const filter = useDeferredValue(search);
  const change = (part: AdapterSearch): void => { void navigate({ search: before => clean({ ...before, ...part }), replace: true }); };
  const { sort = 'name', down = false } = filter;
  const sorting = useMemo(() => [{ id: sort, desc: down }], [sort, down]);
  const table = useReactTable({
    data: rows, columns: COLUMNS, getCoreRowModel: getCoreRowModel(), getFilteredRowModel: getFilteredRowModel(), getSortedRowModel: getSortedRowModel(),
    globalFilterFn: matches, getColumnCanGlobalFilter: () => true, enableSortingRemoval: false, sortDescFirst: false, autoResetAll: false,
    state: { globalFilter: filter, sorting },
    onSortingChange: next => {
      const [first] = typeof next === 'function' ? next(sorting) : next;
      if (first !== undefined) change({ sort: first.id, down: first.desc });
    },
  });
  const found = table.getRowModel().rows;
  const options = (of: (row: Row) => string | null): Option[] => [{ value: '', label: 'any' }, ...[...new Set(rows.map(of).filter(value => value !== null && value !== ''))].sort(naturally).map(value => ({ value: value!, label: value! }))];
  return (
    <Page wide title="Adapters" hint={adapters.isSuccess ? `${plural(found.length, 'adapter')}${found.length < rows.length ? ` of ${rows.length}` : ''}` : 'Loading…'}
      actions={me.writes && <Link to="/upload" className="button main">Upload</Link>}>
      <search className="filters">
        <Field label="Search">{props => <input {...props} type="search" placeholder="name, description or digest" value={search.q ?? ''} onChange={event => change({ q: event.target.value })} />}</Field>
        {me.admin && <Select label="Tenant" value={search.tenant ?? ''} onChange={tenant => change({ tenant })} options={options(({ adapter }) => adapter.tenant)} />}
        <Select label="Kind" value={search.kind ?? ''} onChange={kind => change({ kind })} options={options(({ newest }) => newest.kind)} />
        <Select label="Status" value={search.status ?? ''} onChange={status => change({ status })} options={options(({ status }) => status)} />
        <Select label="Rank" value={search.rank ?? ''} onChange={rank => change({ rank })} options={options(({ newest }) => (newest.rank === null ? null : String(newest.rank)))} />
        <Select label="Base" value={search.base ?? ''} onChange={base => change({ base })} options={options(({ newest }) => newest.base)} />
      </search>
      {adapters.isPending ? <Loading rows={12} /> : adapters.isError ? <Failure error={adapters.error} retry={() => void adapters.refetch()} />
        : rows.length === 0 ? <Empty title="No adapter yet"><p>Upload a folder that a trainer wrote: <code>adapter_config.json</code> and its safetensors.</p>{me.writes && <p><Link to="/upload">Upload the first</Link></p>}</Empty>
        : found.length === 0 ? <Empty title="Nothing matches"><button type="button" className="button" onClick={() => void navigate({ search: {} })}>Clear the filters</button></Empty>
        : <Rows table={table} />}
    </Page>
  );
}

/** Only the rows that are seen are in the document. */
function Rows({ table }: { table: ReturnType<typeof useReactTable<Row>> }): ReactNode {
  const scroller = useRef<HTMLDivElement>(null);
  const found = table.getRowModel().rows;
  const virtual = useVirtualizer({ count: found.length, getScrollElement: () => scroller.current, estimateSize: () => ROW_PX, overscan: 12 });
  const busiest = useMemo(() => Math.max(1, ...found.map(({ original }) => original.requests)), [found]);
  const [sorted] = table.getState().sorting;
  return (
    <div className="grid" ref={scroller} role="table" aria-label="Adapters" aria-rowcount={found.length + 1} tabIndex={0}>
      <div role="rowgroup">
        <div className="head" role="row" aria-rowindex={1}>
          {table.getFlatHeaders().map(header => {
            const direction = sorted?.id === header.id ? (sorted.desc ? 'descending' : 'ascending') : undefined;
            return (
              <div key={header.id} role="columnheader" className={classOf(header.id)} aria-sort={direction ?? 'none'}>
                <button type="button" onClick={header.column.getToggleSortingHandler()}>{header.column.columnDef.header as string}{direction && <span aria-hidden="true">{sorted!.desc ? ' ↓' : ' ↑'}</span>}</button>
              </div>
            );
          })}
        </div>
      </div>
      <div className="body" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map(({ index, start }) => <Line key={found[index]!.id} row={found[index]!} index={index} start={start} busiest={busiest} />)}
      </div>
    </div>
  );
}

/** Drawn once, however far is scrolled while it is seen. */
const Line = memo(({ row, index, start, busiest }: { row: TableRow<Row>; index: number; start: number; busiest: number }): ReactNode => (
  <div role="row" aria-rowindex={index + 2} style={{ transform: `translateY(${start}px)` }}>
    {row.getVisibleCells().map(cell => (
      <div key={cell.id} role="cell" className={classOf(cell.column.id)}>
        {cell.column.id === 'requests' ? <Traffic requests={row.original.requests} of={busiest} /> : flexRender(cell.column.columnDef.cell, cell.getContext())}
      </div>
    ))}
  </div>
));

const Traffic = ({ requests, of }: { requests: number; of: number }): ReactNode => (
  <span className="traffic">{requests === 0 ? '–' : compact(requests)}<span className="meter" aria-hidden="true"><i style={{ width: `${(requests / of) * 100}%` }} /></span></span>
);

const classOf = (id: string): string => [id === 'name' && 'name', NUMBERS.has(id) && 'number', !KEPT.has(id) && 'rest'].filter(Boolean).join(' ');
const naturally = (a: string | null, b: string | null): number => a!.localeCompare(b!, 'en', { numeric: true });
const clean = (search: AdapterSearch): AdapterSearch => Object.fromEntries(Object.entries(search).filter(([, value]) => value !== '' && value !== undefined && value !== false));

/** Adapters with their traffic of a day, and where they are. */
function useRows(adapters: Adapter[] | undefined): Row[] {
  const me = useMe();
  const [since] = useState(() => Math.floor(Date.now() / 1000) - DAY_S);
  const tenant = me.admin ? '*' : undefined;
  const { data: usage } = useUsage({ tenant, start: since, groups: ['tenant', 'adapter'] }, 15_000);
  const { data: ever } = useUsage({ tenant, groups: ['tenant', 'adapter'] }, 15_000);
  const { data: executors } = useExecutors();
  // Usage names tenants by their ids, adapters by name: their own tenant's.
  const tenantIds = useTenantIds();
  return useMemo(() => {
    // What was shared is named with its owner, whoever asked it.
    const byName = (rows: typeof usage): Map<string, { requests: number; last_at: number | null }> => {
      const sums = new Map<string, { requests: number; last_at: number | null }>();
      for (const { tenant: by, adapter = '', requests, last_at: last } of rows ?? []) {
        const [owner, name] = adapter.split('/');
        const key = name === undefined ? `${by}/${adapter}` : `${tenantIds(owner!)}/${name}`, before = sums.get(key);
        sums.set(key, { requests: requests + (before?.requests ?? 0), last_at: Math.max(last ?? 0, before?.last_at ?? 0) || null });
      }
      return sums;
    };
    const [today, always] = [byName(usage), byName(ever)];
    const resident = new Map<string, number>();
    for (const { pages } of executors ?? []) for (const { owner, pages: held } of pages.owners) if (owner.startsWith('adapter:')) resident.set(owner.slice(8), (resident.get(owner.slice(8)) ?? 0) + held);
    return (adapters ?? []).flatMap(adapter => {
      const newest = adapter.versions.at(-1);
      if (newest === undefined) return [];
      const key = `${tenantIds(adapter.tenant)}/${adapter.name}`;
      return [{
        adapter, newest, status: newest.status, aliases: Object.entries(adapter.aliases).filter(([alias]) => alias !== 'latest'),
        requests: today.get(key)?.requests ?? 0, lastAt: always.get(key)?.last_at ?? null,
        resident: adapter.versions.reduce((sum, { digest }) => sum + (resident.get(digest) ?? 0), 0),
      }];
    });
  }, [adapters, usage, ever, executors, tenantIds]);
}
