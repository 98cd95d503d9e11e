/** The adapters of a folder: each subfolder is one, served under its name. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AdapterRefused } from '@weft/adapters';
import { toWeftError, WeftError } from '@weft/contracts';
import { followed, servedBase, upload } from './adapter-upload.js';
import type { Adapter, Api, Finding, Model } from './api.js';
import { findingLines } from './findings.js';

/** Beyond that many at once the executor's ingestion is what they wait for. */
const AT_ONCE = 8;
const AWAY_MS_MAX = 30_000;
const AGAIN_MS = 500;

export interface AdapterFolders { folder: string; names: string[] }
export interface Refused { name: string; errors: Finding[] }

/** Throws option_invalid for a folder that can't be read. */
export function listAdapters(folder: string): AdapterFolders {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return { folder, names: entries.filter(entry => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.')).map(({ name }) => name).sort() };
  } catch (cause) {
    throw new WeftError('option_invalid', `the adapters' folder can't be read: ${(cause as Error).message}`, { field: 'adapters', cause });
  }
}

/** Uploads what is not there yet and waits until each is ready or refused; those refused come back, and are told. */
export async function uploadAll(api: Api, { folder, names }: AdapterFolders, log: (line: string) => void, progress: (done: number, total: number) => void = () => undefined): Promise<Refused[]> {
  const base = await servedBase(api);
  const known = new Map((await api.list<Adapter>('/v1/adapters', 'name')).map(adapter => [adapter.name.toLowerCase(), adapter]));
  const refused: Refused[] = [];
  const waiting = names.values();
  let done = 0;
  const worker = async (): Promise<void> => {
    for (const name of waiting) {
      const errors = await errorsOf(api, base, join(folder, name), name, names, known.get(name.toLowerCase()), log);
      progress(++done, names.length);
      if (errors.length === 0) continue;
      refused.push({ name, errors });
      for (const line of findingLines(errors)) log(`refused adapter ${name}: ${line}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return refused.sort((a, b) => a.name.localeCompare(b.name));
}

/** Why it is not served; nothing when it is. Tries again while a service is away: it is about to be restarted. */
async function errorsOf(api: Api, base: Model, folder: string, name: string, names: string[], known: Adapter | undefined, log: (line: string) => void): Promise<Finding[]> {
  const twin = names.find(other => other < name && other.toLowerCase() === name.toLowerCase());
  if (twin !== undefined) return [{ code: 'conflict', message: `another folder, ${twin}, has this name; rename the folder`, field: 'name' }];
  const until = performance.now() + AWAY_MS_MAX;
  for (;;) {
    try {
      const version = await followed(api, await upload(api, base, folder, { name }, known));
      for (const warning of version.warnings) log(`adapter ${name}: warning ${warning.code} · ${warning.message}`);
      return version.errors;
    } catch (thrown) {
      if (thrown instanceof AdapterRefused) return thrown.findings as Finding[];
      const error = toWeftError(thrown);
      const { field, tensor, file } = error.details;
      // What the adapter is refused for, not what befell a service.
      if (error.kind.status < 500) return [{ code: error.code, message: error.message, ...(field && { field }), ...(tensor && { tensor }), ...(file && { file }) }];
      if (!error.kind.retry || performance.now() > until) throw thrown;
      await sleep(AGAIN_MS);
    }
  }
}
