/** A server that answers as it is told, and remembers what it was asked. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { Api } from '../../../apps/cli/src/api.js';

export interface Asked { method: string; path: string; headers: IncomingMessage['headers']; body: Buffer }
/** Status and JSON; or a function that answers by itself. */
export type Answer = [number, object] | ((request: IncomingMessage, response: ServerResponse) => unknown);

export class FakeWeft {
  readonly asked: Asked[] = [];
  private constructor(private readonly server: Server, readonly api: Api) {}

  /** answers: by «METHOD path»; those in a list one after the other, the last one again and again. */
  static async start(answers: Record<string, Answer | Answer[]>): Promise<FakeWeft> {
    const server = createServer(async (request, response) => {
      const key = `${request.method} ${request.url}`;
      const found = answers[key] ?? [404, { error: { code: 'not_found', message: `no ${key}` } }];
      const queue = (typeof found === 'function' || typeof found[0] === 'number' ? [found] : found) as Answer[];
      const answer = queue.length > 1 ? queue.shift()! : queue[0]!;
      if (typeof answer === 'function') return void answer(request, response);
      weft.asked.push({ method: request.method!, path: request.url!, headers: request.headers, body: await buffer(request) });
      const [status, body] = answer;
      response.writeHead(status, { 'content-type': 'application/json' }).end(status === 204 ? undefined : JSON.stringify(body));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const weft: FakeWeft = new FakeWeft(server, new Api(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'sk-test'));
    return weft;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
  }
}

export const page = (...data: object[]): [number, object] => [200, { object: 'list', data, has_more: false }];
