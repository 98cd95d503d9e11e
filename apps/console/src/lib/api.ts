/** Calls of the public API with the key of whoever is signed in. */
import type { Error as ErrorBody } from '../api/schema.js';
import { session } from './session.js';

export class ApiError extends Error {
  constructor(readonly status: number, readonly code: string, message: string, readonly param: string | null, readonly requestId: string | null) { super(message); }
}

export interface Call {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  body?: unknown;
  query?: Record<string, string | number | undefined>;
  /** Whose things it is about, where that is not the key's own tenant: admins only. */
  tenant?: string;
  signal?: AbortSignal;
  headers?: Record<string, string>;
  key?: string;
}

export interface List<T> { object: 'list'; data: T[]; has_more: boolean }

export const headersOf = ({ tenant, key = session.get()?.key, headers }: Call): Record<string, string> => ({
  authorization: `Bearer ${key}`, ...(tenant !== undefined && tenant !== session.get()?.me.tenant && { 'x-weft-tenant': tenant }), ...headers,
});

/** Throws ApiError; a key that is no longer good signs out. */
export async function send(path: string, call: Call = {}): Promise<Response> {
  const { method = 'GET', body, query = {}, signal } = call;
  const search = new URLSearchParams(Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])));
  let response: Response;
  try {
    response = await fetch(`${path}${search.size > 0 ? `?${search}` : ''}`, {
      method, headers: { ...headersOf(call), ...(body !== undefined && { 'content-type': 'application/json' }) },
      body: body === undefined ? null : JSON.stringify(body), signal: signal ?? null,
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(0, 'unreachable', 'Weft does not answer. Is it running, and is the network up?', null, null);
  }
  if (response.ok) return response;
  const error = await errorOf(response.status, await response.text(), response.headers.get('x-request-id'));
  if (error.code === 'invalid_api_key' && call.key === undefined) session.set(null);
  throw error;
}

export function errorOf(status: number, text: string, requestId: string | null): ApiError {
  try {
    const { error: { code, message, param } } = JSON.parse(text) as ErrorBody;
    return new ApiError(status, code, message, param, requestId);
  } catch {
    return new ApiError(status, 'unknown', `The server answered ${status}.`, null, requestId);
  }
}

export async function api<T>(path: string, call: Call = {}): Promise<T> {
  const response = await send(path, call);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

const PAGE = 1000;

/** All pages of a list. `cursor` names the row behind which the next page begins. */
export async function everyPage<T>(path: string, cursor: (last: T) => string, call: Call = {}, rowsMax = 100_000): Promise<T[]> {
  const rows: T[] = [];
  for (let after: string | undefined; ;) {
    const page = await api<List<T>>(path, { ...call, query: { ...call.query, limit: PAGE, after } });
    rows.push(...page.data);
    if (!page.has_more || page.data.length === 0 || rows.length >= rowsMax) return rows;
    after = cursor(page.data.at(-1)!);
  }
}

/** The data of a response's server-sent events, each as JSON, until [DONE]. A failure in mid-stream is thrown. */
export async function* events<T>(response: Response): AsyncGenerator<T> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split('\n\n');
      text = parts.pop()!;
      for (const part of parts) {
        const data = part.replace(/^data: /, '');
        if (data === '[DONE]') return;
        if (data.startsWith('{"error"')) throw errorOf(response.status, data, response.headers.get('x-request-id'));
        yield JSON.parse(data) as T;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}
