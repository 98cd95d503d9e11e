import { createServer, connect, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDatabase, need, type TestDatabase } from './database.js';
import { TestRegistry } from './registry.js';

/** Between the registry and its database: refuses, or is silent, when told. */
class Link {
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #silent = false;
  #port = 0;
  constructor(readonly target: URL) {}

  get url(): string {
    const url = new URL(this.target);
    url.host = `127.0.0.1:${this.#port}`;
    return url.href;
  }

  async up(): Promise<void> {
    this.#silent = false;
    if (this.#server) return this.#hangUp();   // what was lost in the silence does not come back
    this.#server = createServer(near => {
      if (this.#silent) return void this.#sockets.add(near);
      const far = connect(Number(this.target.port), this.target.hostname);
      for (const [from, to] of [[near, far], [far, near]] as const) {
        this.#sockets.add(from);
        from.on('data', bytes => { if (!this.#silent) to.write(bytes); }).on('error', () => to.destroy()).on('close', () => { to.destroy(); this.#sockets.delete(from); });
      }
    });
    await new Promise<void>(resolve => this.#server!.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as { port: number }).port;
  }

  /** As a server that stopped. */
  async refuse(): Promise<void> {
    const closed = new Promise(resolve => this.#server!.close(resolve));
    this.#server = undefined;
    this.#hangUp();
    await closed;
  }

  /** As a cable that was pulled. */
  silence(): void { this.#silent = true; }
  #hangUp(): void { for (const socket of this.#sockets) socket.destroy(); }
}

/** Two seconds are promised; a busy machine gets another two. */
const ANSWER_MS_MAX = 4000;

let database: TestDatabase | null;
let link: Link;
let registry: TestRegistry;
beforeEach(async context => {
  database = await createDatabase();
  need(database, context);
  link = new Link(new URL(database.url));
  await link.up();
  registry = await TestRegistry.start({ ...database, url: link.url });
});
afterEach(async () => {
  await registry?.stop();
  if (database !== null) await link.refuse();
  await database?.drop();
});

const CALLS: (() => Promise<unknown>)[] = [
  () => registry.call('authenticate', { key: 'sk-admin' }),
  () => registry.call('getCatalog', { tenantId: '00000000-0000-0000-0000-000000000000' }),
  () => registry.call('listTenants', { tenantId: '', limit: 0, after: '' }),
  () => registry.call('createTenant', { actor: undefined, name: 'while-away' }),
  () => registry.call('writeUsage', { opens: [], closes: [{ id: 'x', status: 'ok', promptTokens: 0, cachedTokens: 0, generatedTokens: 0, billedTokens: 0, queueMs: 0, coldStartMs: 0, closedAt: 0n }] }),
];
const works = (): Promise<boolean> => registry.call('authenticate', { key: 'sk-admin' }).then(() => true, () => false);

test.each([['refuses', () => link.refuse()], ['is silent', async () => link.silence()]])('while the database %s every call answers registry_lost within 2 s, and all works when it is back', async (_, away) => {
  const watching = registry.watch('gateway');
  await expect.poll(() => watching.events.length).toBeGreaterThan(0);
  await away();
  const startMs = performance.now();
  for (const answer of await Promise.allSettled(CALLS.map(call => call()))) expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'registry_lost' } });
  expect(performance.now() - startMs).toBeLessThan(ANSWER_MS_MAX);
  await expect.poll(() => watching.ended, { timeout: 5000 }).toMatchObject({ code: 'registry_lost' });
  await expect.poll(async () => {
    const refused = registry.watch('gateway');
    await expect.poll(() => refused.ended ?? refused.events[0]).toBeDefined();
    return refused.ended;
  }).toMatchObject({ code: 'registry_lost' });

  await link.up();
  await expect.poll(works, { timeout: 10_000 }).toBe(true);
  await expect.poll(async () => {
    const again = registry.watch('gateway');
    await expect.poll(() => again.ended ?? again.events[0]).toBeDefined();
    return again.events[0]?.$case;
  }, { timeout: 10_000 }).toBe('roster');
});

test('a server that ends every connection is not noticed by the next call but one', async () => {
  for (let time = 0; time < 3; time++) {
    expect(await works()).toBe(true);
    await database!.cut();
    await expect.poll(works).toBe(true);
  }
});
