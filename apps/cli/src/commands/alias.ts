/** `weft alias` and `weft rm`: what names mean. */
import { parseInteger, WeftError } from '@weft/contracts';
import type { Api } from '../api.js';
import type { Outcome } from './outcome.js';
import { parseReference } from './show.js';

const VERSION_MAX = 2 ** 31 - 1;
const parseVersion = (text: string): number => parseInteger('version', text, { min: 1, max: VERSION_MAX });

export async function setAlias(api: Api, adapter: string, alias: string, version: string | undefined, remove: boolean): Promise<Outcome> {
  if ((version === undefined) !== remove) throw new WeftError('option_invalid', 'weft alias takes ADAPTER ALIAS VERSION, or ADAPTER ALIAS --delete', { field: 'version' });
  const path = `/v1/adapters/${encodeURIComponent(adapter)}/aliases/${encodeURIComponent(alias)}`;
  if (version === undefined) {
    await api.delete(path);
    return { text: `${adapter}@${alias} is no more`, json: { deleted: true } };
  }
  const json = await api.put<{ version: number }>(path, { version: parseVersion(version) });
  return { text: `${adapter}@${alias} is ${adapter}@${json.version}`, json };
}

/** `name` or `name@version`. */
export async function remove(api: Api, reference: string, force: boolean): Promise<Outcome> {
  const { name, suffix } = parseReference(reference);
  const path = `/v1/adapters/${encodeURIComponent(name)}${suffix === undefined ? '' : `/versions/${parseVersion(suffix)}`}`;
  await api.delete(force ? `${path}?force=true` : path);
  return { text: `${reference} is deleted; requests that run finish on it`, json: { deleted: true } };
}
