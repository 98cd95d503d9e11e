/** The command's own view of the HTTP API. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { ERRORS, WeftError, type ErrorCode } from '@weft/contracts';

export interface Model { id: string; parent: string | null; digest: string }

export interface ChatAnswer {
  choices: { text?: string; message?: { content: string } }[];
  usage: { completion_tokens: number };
  weft: { adapter: string | null; digest: string };
}

export interface Executor {
  id: string; address: string; device: string; page_bytes: number; running: number; waiting: number; tokens_per_second: number; draining: boolean;
  pages: { total: number; free: number; owners: { owner: string; pages: number }[] };
}

export interface Finding { code: string; message: string; field?: string; tensor?: string; file?: string }

export interface Version {
  name: string; version: number; digest: string; base: string; base_digest: string; kind: string | null; rank: number | null; target_modules: string[]; bytes: number;
  status: 'validating' | 'ready' | 'failed' | 'deleted'; stage: string | null; errors: Finding[]; warnings: Finding[]; ignored: string[]; text: string[];
  effect: number | null; created_at: number; ready_at: number | null;
}
export interface Adapter { name: string; tenant: string; description: string; versions: Version[]; aliases: Record<string, number>; shared_with: string[] }

export interface Key {
  id: string; name: string; hint: string; scopes: string[]; limits: { requests_per_minute: number | null; tokens_per_minute: number | null; parallel: number | null };
  created_at: number; expires_at: number | null; revoked_at: number | null; last_used_at: number | null; secret?: string;
}

export interface UsageRow { [group: string]: string | number | undefined; requests: number; prompt_tokens: number; cached_tokens: number; generated_tokens: number; billed_tokens: number; open: number }

/** What a request carries: JSON, or bytes whose number is known. */
export type Body = { json: object } | { bytes: Readable; type: string; length: number };

const PAGE = 1000;

export class Api {
  readonly #url: URL;
  readonly #options: RequestOptions;
  readonly #request: typeof httpRequest;

  /**
   * tenant: for whom an admin's key acts. certificate: the only one that counts, whatever name it is for (PEM); without one
   * the system decides whom it trusts. Throws option_invalid.
   */
  constructor(readonly url: string, key: string, { tenant, certificate }: { tenant?: string | undefined; certificate?: Buffer | undefined } = {}) {
    if (!URL.canParse(url) || !/^https?:/.test(url)) throw new WeftError('option_invalid', `${JSON.stringify(url)} is no URL like http://127.0.0.1:8080`, { field: 'url' });
    this.#url = new URL(url);
    const pinned = certificate && { ca: certificate, checkServerIdentity: () => undefined };
    const secure = this.#url.protocol === 'https:';
    this.#request = secure ? httpsRequest : httpRequest;
    this.#options = { headers: { authorization: `Bearer ${key}`, ...(tenant !== undefined && { 'x-weft-tenant': tenant }) }, agent: secure ? new HttpsAgent({ keepAlive: true, ...pinned }) : new HttpAgent({ keepAlive: true }) };
  }

  async get<T>(path: string): Promise<T> { return await json(await this.request('GET', path)) as T; }
  async post<T>(path: string, body: object): Promise<T> { return await json(await this.request('POST', path, { json: body })) as T; }
  async put<T>(path: string, body: object): Promise<T> { return await json(await this.request('PUT', path, { json: body })) as T; }
  async delete(path: string): Promise<void> { (await this.request('DELETE', path)).resume(); }

  /** All pages of a list; `cursor`: the field that a page continues after. */
  async list<T>(path: string, cursor: keyof T & string): Promise<T[]> {
    const all: T[] = [];
    for (;;) {
      const after = all.length === 0 ? '' : `&after=${encodeURIComponent(String(all.at(-1)![cursor]))}`;
      const { data, has_more: more } = await this.get<{ data: T[]; has_more: boolean }>(`${path}${path.includes('?') ? '&' : '?'}limit=${PAGE}${after}`);
      all.push(...data);
      if (!more) return all;
    }
  }

  /** Resolves with a good response, its body unread. Throws the server's error as it is coded; unreachable when none answers. */
  async request(method: string, path: string, body?: Body): Promise<IncomingMessage> {
    const response = await this.#send(method, path, body);
    if (response.statusCode! < 300) return response;
    const { error } = await json(response).catch(() => ({ error: {} })) as { error: { code?: string; message?: string; param?: string | null } };
    const code = error.code !== undefined && Object.hasOwn(ERRORS, error.code) ? error.code as ErrorCode : 'internal_error';
    throw new WeftError(code, error.message ?? `${this.url} answered HTTP ${response.statusCode}`, { param: error.param ?? undefined });
  }

  #send(method: string, path: string, body?: Body): Promise<IncomingMessage> {
    const bytes = body !== undefined && 'bytes' in body ? body.bytes : undefined;
    return new Promise((resolve, reject) => {
      const request = this.#request(new URL(path, this.#url), { ...this.#options, method });
      request.on('error', cause => {
        bytes?.destroy();
        reject(cause instanceof WeftError ? cause : unreachable(this.url, cause));
      });
      request.once('response', response => {
        // A refusal can come before the last byte was sent, and ends the sending.
        bytes?.unpipe(request).destroy();
        response.once('end', () => { if (!request.writableFinished) request.destroy(); });
        resolve(response);
      });
      if (body === undefined) {
        request.end();
      } else if ('json' in body) {
        request.setHeader('content-type', 'application/json').end(JSON.stringify(body.json));
      } else {
        request.setHeader('content-type', body.type).setHeader('content-length', body.length);
        body.bytes.once('error', cause => request.destroy(cause)).pipe(request);
      }
    });
  }
}

function unreachable(url: string, cause: Error): WeftError {
  // Several addresses, each with an error of its own: then the first one's.
  const reason = cause instanceof AggregateError ? (cause.errors[0] as Error).message : cause.message;
  const advice = /certificate|self-signed/.test(reason) ? 'Name the certificate in NODE_EXTRA_CA_CERTS' : 'Is Weft running?';
  return new WeftError('unreachable', `${url} does not answer: ${reason}. ${advice}`, { cause });
}
