import { useMemo, useState, type ReactNode } from 'react';
import type { Usage } from '../api/schema.js';
import { ago, compact, count } from '../lib/format.js';
import { useKeys, useTenantNames, useTenants, useUsage } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Chart, SeriesLegend, type Series } from '../ui/chart.js';
import { Empty, Failure, Loading, Page, Select, Stat } from '../ui/parts.js';

const HOUR_S = 3600, DAY_S = 24 * HOUR_S;
const SPANS = { day: { label: 'last 24 hours', seconds: DAY_S, unit: 'hour', step: HOUR_S }, week: { label: 'last 7 days', seconds: 7 * DAY_S, unit: 'hour', step: HOUR_S }, month: { label: 'last 30 days', seconds: 30 * DAY_S, unit: 'day', step: DAY_S } } as const;
type Span = keyof typeof SPANS;
const MEASURES = { requests: 'requests', generated_tokens: 'generated tokens', prompt_tokens: 'prompt tokens', billed_tokens: 'billed tokens' } as const;
type Measure = keyof typeof MEASURES;
const GROUPS = { tenant: 'tenant', adapter: 'adapter', key: 'key', status: 'outcome' } as const;
type Group = keyof typeof GROUPS;
/** The rest are one. */
const SERIES_MAX = 6;

const optionsOf = (names: Record<string, string>): { value: string; label: string }[] => Object.entries(names).map(([value, label]) => ({ value, label }));

export function UsagePage(): ReactNode {
  const me = useMe();
  const [span, setSpan] = useState<Span>('day');
  const [measure, setMeasure] = useState<Measure>('generated_tokens');
  const [group, setGroup] = useState<Group>('adapter');
  const [tenant, setTenant] = useState(me.admin ? '*' : me.tenant);
  const { data: tenants } = useTenants();
  const { seconds, unit, step } = SPANS[span];
  const [now] = useState(() => Math.floor(Date.now() / 1000));
  const first = Math.floor((now - seconds) / step + 1) * step;
  const ask = { tenant: me.admin ? tenant : undefined, start: first };
  const groups = group === 'adapter' && tenant === '*' ? ['tenant', 'adapter'] : [group];
  const sums = useUsage({ ...ask, groups }, 10_000);
  const times = useUsage({ ...ask, groups: [...groups, unit] }, 10_000);
  const nameOf = useNames(group, tenant);
  const bars = useMemo(() => Array.from({ length: Math.floor((now - first) / step) + 1 }, (_, i) => first + i * step), [now, first, step]);
  const series = useMemo(() => seriesOf(sums.data ?? [], times.data ?? [], nameOf, measure, unit, bars), [sums.data, times.data, nameOf, measure, unit, bars]);
  const rows = useMemo(() => (sums.data ?? []).toSorted((a, b) => b[measure] - a[measure]), [sums.data, measure]);
  const total = (of: Measure | 'cached_tokens'): string => compact(rows.reduce((sum, row) => sum + row[of], 0));
  return (
    <Page title="Usage" hint="One row is written for every request, before its first byte. Generated and billed tokens are counted apart.">
      <div className="filters">
        <Select label="Time" value={span} onChange={value => setSpan(value as Span)} options={Object.entries(SPANS).map(([value, { label }]) => ({ value, label }))} />
        <Select label="Measure" value={measure} onChange={value => setMeasure(value as Measure)} options={optionsOf(MEASURES)} />
        <Select label="By" value={group} onChange={value => setGroup(value as Group)} options={optionsOf(GROUPS)} />
        {me.admin && <Select label="Tenant" value={tenant} onChange={setTenant} options={[{ value: '*', label: 'all tenants' }, ...(tenants ?? []).map(({ name }) => ({ value: name, label: name }))]} />}
      </div>
      {sums.isError ? <Failure error={sums.error} retry={() => void sums.refetch()} /> : sums.isPending || times.isPending ? <Loading rows={9} /> : rows.length === 0 ? (
        <Empty title="Nothing was asked in this time">What runs shows up here within seconds.</Empty>
      ) : (
        <>
          <dl className="stats">
            <Stat label="Requests" value={total('requests')} /><Stat label="Prompt tokens" value={total('prompt_tokens')} /><Stat label="Generated tokens" value={total('generated_tokens')} /><Stat label="Billed tokens" value={total('billed_tokens')} />
          </dl>
          <section className="panel" aria-label="Over time">
            <header><h2>{MEASURES[measure]} by {unit}</h2></header>
            <Chart times={bars} series={series} label={`${MEASURES[measure]} by ${GROUPS[group]} and ${unit}; the table below has the sums`} />
            <SeriesLegend series={series} />
          </section>
          <div className="table" tabIndex={0} role="region" aria-label="Sums">
            <table>
              <thead><tr><th scope="col">{GROUPS[group]}</th><th scope="col" className="number">Requests</th><th scope="col" className="number">Prompt</th><th scope="col" className="number">Generated</th><th scope="col" className="number">Billed</th><th scope="col">Last</th></tr></thead>
              <tbody>
                {rows.slice(0, 200).map(row => (
                  <tr key={nameOf(row)}><td>{nameOf(row)}</td><td className="number">{count(row.requests)}</td><td className="number">{count(row.prompt_tokens)}</td><td className="number">{count(row.generated_tokens)}</td><td className="number">{count(row.billed_tokens)}</td><td>{ago(row.last_at)}</td></tr>
                ))}
              </tbody>
            </table>
          </div>
          {rows.length > 200 && <p className="fine">The first 200 of {count(rows.length)}.</p>}
        </>
      )}
    </Page>
  );
}

/** What people call a row's group. */
function useNames(group: Group, tenant: string): (row: Usage) => string {
  const tenantName = useTenantNames();
  const { data: keys } = useKeys(tenant);
  return useMemo(() => {
    const keyNames = new Map(keys?.map(({ id, name, hint }) => [id, `${name} (${hint})`]));
    return row => {
      switch (group) {
        case 'tenant': return tenantName(row.tenant!);
        case 'adapter': return `${row.tenant === undefined ? '' : `${tenantName(row.tenant)}/`}${row.adapter || 'base'}`;
        case 'key': return keyNames.get(row.key!) ?? (row.key || 'unknown');
        case 'status': return row.status || 'open';
      }
    };
  }, [group, keys, tenantName]);
}

function seriesOf(sums: Usage[], times: Usage[], nameOf: (row: Usage) => string, measure: Measure, unit: 'hour' | 'day', bars: readonly number[]): Series[] {
  // Two answers of two moments: one may know of what the other does not yet.
  const largest = [...new Set([...sums.toSorted((a, b) => b[measure] - a[measure]), ...times].map(nameOf))];
  const shown = largest.length > SERIES_MAX + 1 ? largest.slice(0, SERIES_MAX) : largest;
  const names = shown.length < largest.length ? [...shown, 'others'] : shown;
  const at = new Map(bars.map((time, i) => [time, i]));
  const series = names.map(name => ({ name, values: new Array<number>(bars.length).fill(0) }));
  for (const row of times) {
    const bar = at.get(Date.parse(row[unit]!) / 1000), index = shown.indexOf(nameOf(row));
    if (bar !== undefined) series[index < 0 ? series.length - 1 : index]!.values[bar]! += row[measure];
  }
  return series;
}
