/** What the list of adapters shows, as it stands in the address. */
export interface AdapterSearch { q?: string; tenant?: string; kind?: string; status?: string; rank?: string; base?: string; sort?: string; down?: boolean }

const TEXTS = ['q', 'tenant', 'kind', 'status', 'rank', 'base', 'sort'] as const;

export function parseAdapterSearch(search: Record<string, unknown>): AdapterSearch {
  const parsed: AdapterSearch = {};
  for (const name of TEXTS) if (search[name] !== undefined && search[name] !== '') parsed[name] = String(search[name]);
  if (search.down === true) parsed.down = true;
  return parsed;
}
