import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { registryV1 } from '@weft/contracts';
import { CLIENT_OPTIONS } from './database.js';
import { LEASE_MS } from './members.js';

/** Notifications get lost: the outbox is read this often without one. */
const POLL_MS = 500;
const RECONNECT_MS = 250;

export interface ChangeListener {
  onChanges(changes: registryV1.Change[]): void;
  onRoster(executors: registryV1.ExecutorMember[]): void;
  /** What was told so far is no longer told on: the database is away. */
  onLost(cause: Error): void;
}

/** Reads the outbox and who lives, on a connection of its own, from where it stands when it connects. */
export class ChangeReader {
  readonly #url: string;
  readonly #listener: ChangeListener;
  #client: pg.Client | undefined;
  #stopped = false;
  #running: Promise<void> | undefined;
  #wake = (): void => undefined;
  #lastId = '0';
  #roster: registryV1.ExecutorMember[] = [];
  #connectedMs = 0;
  #readMs = -Infinity;

  constructor(url: string, listener: ChangeListener) {
    this.#url = url;
    this.#listener = listener;
  }

  get roster(): readonly registryV1.ExecutorMember[] { return this.#roster; }
  /** How old what was told may be. */
  get ageMs(): number { return performance.now() - this.#readMs; }

  /** Resolves when it has read for the first time. */
  start(): Promise<void> {
    return new Promise(resolve => { this.#running = this.#run(resolve); });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
  }

  async #run(onRead: () => void): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#connect();
        while (!this.#stopped) {
          const woken = new Promise<void>(resolve => { this.#wake = resolve; });
          await this.#read();
          onRead();
          const timer = setTimeout(this.#wake, POLL_MS);
          await woken;
          clearTimeout(timer);
        }
      } catch (error) {
        this.#readMs = -Infinity;
        this.#listener.onLost(error as Error);
        await sleep(RECONNECT_MS);
      } finally {
        this.#client?.end().catch(() => undefined);   // it is broken already, or idle
      }
    }
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({ connectionString: this.#url, ...CLIENT_OPTIONS });
    this.#client = client;
    client.on('error', () => this.#wake());   // the next read throws
    client.on('notification', () => this.#wake());
    await client.connect();
    await client.query('listen weft_outbox');
    const { rows: [last] } = await client.query<{ id: string }>('select coalesce(max(id), 0) as id from weft.outbox');
    this.#lastId = last!.id;
    this.#connectedMs = performance.now();
  }

  async #read(): Promise<void> {
    const { rows } = await this.#client!.query<{ id: string; tenant_id: string | null; kind: string }>('select id, tenant_id, kind from weft.outbox where id > $1 order by id', [this.#lastId]);
    if (rows.length > 0) {
      this.#lastId = rows.at(-1)!.id;
      this.#listener.onChanges(rows.map(({ id, tenant_id, kind }) => ({ id: BigInt(id), tenantId: tenant_id ?? '', kind: KINDS[kind as keyof typeof KINDS] })));
    }
    await this.#readRoster();
    this.#readMs = performance.now();
  }

  async #readRoster(): Promise<void> {
    const { rows } = await this.#client!.query<registryV1.ExecutorMember>(`
      select id, address, coalesce(info->>'baseDigest', '') as "baseDigest", coalesce(info->>'base', '') as base
      from weft.members where role = 'executor' and lease_until > now() order by id`);
    // Leases ran out while nobody could renew them: right behind that, absence means nothing.
    const settled = performance.now() - this.#connectedMs > LEASE_MS;
    const roster = settled ? rows : [...rows, ...this.#roster.filter(({ id }) => !rows.some(row => row.id === id))].sort((a, b) => (a.id < b.id ? -1 : 1));
    if (JSON.stringify(roster) === JSON.stringify(this.#roster)) return;
    this.#roster = roster;
    this.#listener.onRoster(roster);
  }
}

const KINDS = { catalog: registryV1.ChangeKind.CATALOG, keys: registryV1.ChangeKind.KEYS };
