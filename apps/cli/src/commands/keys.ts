/** `weft keys`: who may call. */
import type { Api, Key } from '../api.js';
import { table } from '../table.js';
import { minute, type Outcome } from './outcome.js';

export async function listKeys(admin: Api): Promise<Outcome> {
  const keys = await admin.list<Key>('/v1/keys', 'id');
  const rows = keys.map(({ id, name, hint, scopes, limits, created_at: created, expires_at: expires, revoked_at: revoked, last_used_at: used }) => [
    id, name, hint, scopes.join(' '), limitsOf(limits), minute(created), minute(used), revoked !== null ? `revoked ${minute(revoked)}` : expires !== null ? `until ${minute(expires)}` : 'valid',
  ]);
  return { json: keys, text: table(['id', 'name', 'key', 'scopes', 'limits', 'created', 'last used', 'status'], rows) };
}

function limitsOf({ requests_per_minute: requests, tokens_per_minute: tokens, parallel }: Key['limits']): string {
  return [requests !== null && `${requests} requests/min`, tokens !== null && `${tokens} tokens/min`, parallel !== null && `${parallel} parallel`].filter(Boolean).join(', ');
}

export interface KeyOptions { scopes: string; requestsPerMinute?: number; tokensPerMinute?: number; parallel?: number; expires?: string }

export async function createKey(admin: Api, name: string, { scopes, requestsPerMinute, tokensPerMinute, parallel, expires }: KeyOptions): Promise<Outcome> {
  const limits = { requests_per_minute: requestsPerMinute ?? null, tokens_per_minute: tokensPerMinute ?? null, parallel: parallel ?? null };
  const key = await admin.post<Key>('/v1/keys', { name, limits, scopes: scopes.split(',').map(scope => scope.trim()), ...(expires !== undefined && { expires_at: expires }) });
  return { json: key, text: `${key.secret!}\n  key ${key.id} (${key.name}), scopes ${key.scopes.join(' ')}. It is told this once` };
}

export async function revokeKey(admin: Api, id: string): Promise<Outcome> {
  await admin.delete(`/v1/keys/${encodeURIComponent(id)}`);
  return { text: `key ${id} is revoked`, json: { revoked: true } };
}
