import { useEffect, useRef, type ReactNode } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { compact } from '../lib/format.js';
import { useDark } from '../lib/theme.js';
import './chart.css';

/** Told apart in both themes, and by people who see few colours: light, dark. */
const COLOURS = [['#0b6b63', '#5ed3c4'], ['#b4540a', '#f2a65a'], ['#5b4bb7', '#a99bf5'], ['#a3195b', '#f58ab8'], ['#3a6ea5', '#86b7ea'], ['#6b7a0f', '#c2d34c'], ['#5c646a', '#b4bdc4']] as const;
export const seriesColour = (at: number, dark: boolean): string => COLOURS[at % COLOURS.length]![dark ? 1 : 0];

export interface Series { name: string; values: readonly number[] }

/** Stacked bars over time. `times`: Unix seconds of each bar's beginning, as far apart as each other. */
export function Chart({ times, series, label, heightPx = 240 }: { times: readonly number[]; series: readonly Series[]; label: string; heightPx?: number }): ReactNode {
  const place = useRef<HTMLDivElement>(null);
  const dark = useDark();
  useEffect(() => {
    const here = place.current!;
    const text = dark ? '#a9b3ba' : '#4c565d', line = dark ? '#2a3136' : '#dfe3e6';
    const stacked = stack(series, times.length);
    const bars = uPlot.paths.bars!({ size: [0.75, 60], align: 1 });
    const axis: uPlot.Axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '12px system-ui' };
    const chart = new uPlot({
      width: here.clientWidth, height: heightPx, cursor: { y: false, points: { show: false } }, legend: { show: false },
      scales: { x: { range: [times[0]!, times.at(-1)! + (times.length > 1 ? times[1]! - times[0]! : 1)] }, y: { range: (_, __, max) => [0, Math.max(max, 1) * 1.05] } },
      axes: [{ ...axis, grid: { show: false } }, { ...axis, size: 56, values: (_, values) => values.map(value => (Number.isInteger(value) ? compact(value) : '')) }],
      // Back to front: the sum of all first, so that each shows what it adds.
      series: [{}, ...series.map((_, at) => series.length - 1 - at).map(at => ({ label: series[at]!.name, fill: seriesColour(at, dark), stroke: seriesColour(at, dark), width: 0, paths: bars, points: { show: false } }))],
    }, [times as number[], ...stacked.toReversed()], here);
    const resized = new ResizeObserver(() => chart.setSize({ width: here.clientWidth, height: heightPx }));
    resized.observe(here);
    return () => { resized.disconnect(); chart.destroy(); };
  }, [times, series, dark, heightPx]);
  return <div ref={place} role="img" aria-label={label} className="chart" style={{ height: heightPx }} />;
}

/** Each with those before it below. */
function stack(series: readonly Series[], length: number): number[][] {
  const below = new Array<number>(length).fill(0);
  return series.map(({ values }) => values.map((value, i) => (below[i]! += value)));
}

export function SeriesLegend({ series }: { series: readonly Series[] }): ReactNode {
  const dark = useDark();
  return <ul className="legend-row">{series.map(({ name }, at) => <li key={name}><i style={{ background: seriesColour(at, dark) }} aria-hidden="true" />{name}</li>)}</ul>;
}
