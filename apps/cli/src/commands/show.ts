/** `weft show`: all that is known of an adapter, or of one version. `weft rollback`: an alias back to what it meant before. */
import { parseInteger, WeftError } from '@weft/contracts';
import type { Adapter, Api, Version } from '../api.js';
import { findingLines } from '../findings.js';
import { table } from '../table.js';
import { mebibytes, minute, type Outcome } from './outcome.js';

const VERSION_MAX = 2 ** 31 - 1;
/** Entries of an adapter's history that are looked through. */
const HISTORY_MAX = 100;

/** `name`, `name@version` or `name@alias`. Throws option_invalid. */
export function parseReference(reference: string): { name: string; suffix: string | undefined } {
  const [name = '', suffix, ...rest] = reference.split('@');
  if (name === '' || suffix === '' || rest.length > 0) throw new WeftError('option_invalid', `${JSON.stringify(reference)} must be ADAPTER, ADAPTER@VERSION or ADAPTER@ALIAS`, { field: 'adapter' });
  return { name, suffix };
}

export const getAdapter = (api: Api, name: string): Promise<Adapter> => api.get<Adapter>(`/v1/adapters/${encodeURIComponent(name)}`);

/** The version that a suffix means; without one what the bare name means. Throws not_found. */
export function versionOf({ name, versions, aliases }: Adapter, suffix: string | undefined): Version {
  const number = suffix !== undefined && /^\d+$/.test(suffix) ? parseInteger('version', suffix, { min: 1, max: VERSION_MAX }) : aliases[suffix ?? 'default'] ?? (suffix === undefined ? aliases.latest : undefined);
  const found = versions.find(({ version }) => version === number);
  if (found === undefined) throw new WeftError('not_found', suffix === undefined ? `${name} has no version that is ready` : `${name} has neither a version nor an alias ${suffix}`);
  return found;
}

export async function showAdapter(api: Api, reference: string): Promise<Outcome> {
  const { name, suffix } = parseReference(reference);
  const adapter = await getAdapter(api, name);
  if (suffix === undefined) return { json: adapter, text: adapterText(adapter) };
  const version = versionOf(adapter, suffix);
  return { json: version, text: versionText(version, namesOf(adapter, version)) };
}

const namesOf = ({ aliases }: Adapter, { version }: Version): string => Object.entries(aliases).filter(([, target]) => target === version).map(([alias]) => alias).join(' ');

function adapterText(adapter: Adapter): string {
  const rows = adapter.versions.map(version => [
    String(version.version), version.stage ?? version.status, namesOf(adapter, version), version.kind ?? '', version.rank === null ? '' : String(version.rank), mebibytes(version.bytes), version.digest.slice(0, 12), minute(version.created_at),
  ]);
  const { name, tenant, description, shared_with: shared } = adapter;
  return [
    ...[['adapter', name], ['tenant', tenant], ['description', description], ['shared with', shared.join(' ')]].filter(([, value]) => value).map(([field, value]) => `${field!.padEnd(14)}${value}`),
    '', table(['version', 'status', 'aliases', 'kind', 'rank', 'MiB', 'digest', 'created'], rows, ['version', 'rank', 'MiB']),
  ].join('\n');
}

function versionText(version: Version, aliases: string): string {
  const { name, status, stage, kind, rank, bytes, digest, base, target_modules: modules, effect, created_at: created, ready_at: ready, ignored, text, errors, warnings } = version;
  const fields: [string, string][] = [
    ['version', `${name}@${version.version}`], ['status', stage === null ? status : `${status} (${stage})`], ['aliases', aliases], ['kind', kind ?? ''], ['rank', rank === null ? '' : String(rank)],
    ['modules', modules.join(' ')], ['MiB', mebibytes(bytes)], ['digest', digest], ['base', base], ['effect', effect === null ? '' : `${effect.toFixed(3)} (the largest change of a log-probability in the probe)`],
    ['created', minute(created)], ['ready', minute(ready)], ['text', text.join(', ')], ['not read', ignored.join(', ')],
  ];
  return [
    ...fields.filter(([, value]) => value !== '').map(([field, value]) => `${field.padEnd(10)}${value}`),
    ...findingLines(errors).map(line => `error     ${line}`), ...findingLines(warnings).map(line => `warning   ${line}`),
  ].join('\n');
}

/** To `to`; or to what the alias named before, by the adapter's history; or, where it named nothing, to the newest ready version before. Throws conflict where there is none. */
export async function rollback(api: Api, name: string, alias: string, to: string | undefined): Promise<Outcome> {
  const adapter = await getAdapter(api, name);
  const current = adapter.aliases[alias] ?? (alias === 'default' ? adapter.aliases.latest : undefined);
  if (current === undefined) throw new WeftError('not_found', `${name} has no alias ${alias}`);
  const target = to === undefined ? await versionBefore(api, adapter, alias, current) : parseInteger('--to', to, { min: 1, max: VERSION_MAX });
  if (target === undefined) throw new WeftError('conflict', `${name}@${alias} named no other ready version before ${current}`);
  const json = await api.put<{ version: number }>(`/v1/adapters/${encodeURIComponent(name)}/aliases/${encodeURIComponent(alias)}`, { version: target });
  return { text: `${name}@${alias} was ${name}@${current} and is ${name}@${json.version} again`, json: { ...json, before: current } };
}

interface HistoryEntry { action: string; subject: string; details: { before?: number } }

async function versionBefore(api: Api, { name, versions }: Adapter, alias: string, current: number): Promise<number | undefined> {
  const ready = versions.filter(({ status, version }) => status === 'ready' && version !== current).map(({ version }) => version);
  const { data } = await api.get<{ data: HistoryEntry[] }>(`/v1/adapters/${encodeURIComponent(name)}/history?limit=${HISTORY_MAX}`);
  const moves = data.filter(({ action, subject }) => action === 'alias.put' && subject === `${name}@${alias}`);
  return moves.map(({ details }) => details.before).find(version => version !== undefined && ready.includes(version)) ?? ready.findLast(version => version < current);
}
