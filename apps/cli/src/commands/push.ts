/** `weft push`: an adapter folder becomes a version. */
import { basename } from 'node:path';
import { followed, servedBase, upload, type Progress } from '../adapter-upload.js';
import { type Adapter, type Api, type Version } from '../api.js';
import { WeftError } from '@weft/contracts';
import { findingLines } from '../findings.js';
import { mebibytes, type Outcome } from './outcome.js';

export interface PushOptions { name?: string; alias?: string; description?: string; wait: boolean }

export async function push(api: Api, folder: string, { name = basename(folder), alias, description, wait }: PushOptions, progress: Progress): Promise<Outcome> {
  const [base, known] = await Promise.all([servedBase(api), findAdapter(api, name)]);
  const sent = await upload(api, base, folder, { name, alias, description }, known, progress);
  const version = wait ? await followed(api, sent, progress) : sent;
  return { text: told(version), json: version, failed: version.status === 'failed' };
}

async function findAdapter(api: Api, name: string): Promise<Adapter | undefined> {
  try {
    return await api.get<Adapter>(`/v1/adapters/${encodeURIComponent(name)}`);
  } catch (error) {
    if (error instanceof WeftError && error.code === 'not_found') return undefined;
    throw error;
  }
}

function told({ name, version, digest, kind, rank, bytes, status, errors, warnings, ignored, text }: Version): string {
  const what = kind === null ? '' : ` (${kind}${rank === null ? '' : `, rank ${rank}`}, ${mebibytes(bytes)} MiB, digest ${digest.slice(0, 12)})`;
  return [
    status === 'failed' ? `${name}@${version} is refused` : `${name}@${version} is ${status}${what}`,
    ...findingLines(errors).map(line => `  ${line}`),
    ...findingLines(warnings).map(line => `  warning ${line}`),
    ...(text.length > 0 ? [`  prompts are made with: ${text.join(', ')}`] : []),
    ...(ignored.length > 0 ? [`  not read: ${ignored.join(', ')}`] : []),
  ].join('\n');
}
