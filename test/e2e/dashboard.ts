/** What the dashboard asks Prometheus for, and what a gateway tells it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface PanelMetric { title: string; metric: string; labels: string[] }

interface Dashboard { panels: { title: string; targets: { expr: string; legendFormat?: string }[] }[] }

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/g;
const WORDS = new Set(['sum', 'max', 'min', 'rate', 'by', 'histogram_quantile']);

/** Every metric of every query, with the labels that the query groups by or its legend names. */
export function panelMetrics(): PanelMetric[] {
  const { panels } = JSON.parse(readFileSync(join(import.meta.dirname, '../../deploy/grafana/weft.json'), 'utf8')) as Dashboard;
  return panels.flatMap(({ title, targets }) => targets.flatMap(({ expr, legendFormat = '' }) => {
    const groups = [...expr.matchAll(/by \(([^)]*)\)/g)].flatMap(([, labels]) => labels!.split(',').map(label => label.trim()));
    const legend = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!);
    const names = expr.replace(/by \([^)]*\)/g, '').replace(/\[[^\]]*\]/g, '').replace(/\b[\d.]+\b/g, '').match(NAME) ?? [];
    return names.filter(name => !WORDS.has(name)).map(metric => ({ title, metric, labels: [...new Set([...groups, ...legend])] }));
  }));
}

/** Names of samples, each with its labels, out of Prometheus' text. */
export function readMetrics(text: string): Map<string, Set<string>> {
  const metrics = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const [, name, labels = ''] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? /.exec(line) ?? [];
    if (name === undefined) continue;
    const known = metrics.get(name) ?? new Set<string>();
    for (const [, label] of labels.matchAll(/(\w+)="/g)) known.add(label!);
    metrics.set(name, known);
  }
  return metrics;
}
