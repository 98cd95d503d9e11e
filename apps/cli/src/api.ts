/** The command's own view of the HTTP API. */
import { ERRORS, WeftError, type ErrorCode } from '@weft/contracts';

export interface Model { id: string; parent: string | null; digest: string }

export interface ChatAnswer {
  choices: { text?: string; message?: { content: string } }[];
  usage: { completion_tokens: number };
  weft: { adapter: string | null; digest: string };
}

export interface Executor {
  device: string; page_bytes: number;
  pages: { total: number; free: number; owners: { owner: string; pages: number }[] };
  adapters: { name: string; digest: string; kind: string; rank: number; bytes: number; errors: { code: string; message: string; field: string; tensor: string }[] }[];
}

export class Api {
  constructor(readonly url: string, private readonly key: string) {}

  async get<T>(path: string): Promise<T> { return (await this.request(path)).json() as Promise<T>; }
  async post<T>(path: string, body: object): Promise<T> { return (await this.request(path, body)).json() as Promise<T>; }

  /** Throws the server's error as it is coded. */
  async request(path: string, body?: object): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(this.url + path, {
        method: body === undefined ? 'GET' : 'POST', headers: { 'authorization': `Bearer ${this.key}`, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch (cause) {
      const reason = (cause as { cause?: Error }).cause?.message ?? (cause as Error).message;
      const advice = /certificate/.test(reason) ? 'Name the certificate in NODE_EXTRA_CA_CERTS' : 'Is Weft running?';
      throw new WeftError('io_error', `${this.url} does not answer: ${reason}. ${advice}`, { cause });
    }
    if (response.ok) return response;
    const { error } = await response.json().catch(() => ({ error: {} })) as { error: { code?: string; message?: string; param?: string | null } };
    const code = error.code !== undefined && Object.hasOwn(ERRORS, error.code) ? error.code as ErrorCode : 'internal_error';
    throw new WeftError(code, error.message ?? `HTTP ${response.status}`, { param: error.param ?? undefined });
  }
}
