/** Removes what no version names any more: blobs here, images at the executors. */
import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { Adapters } from '../adapters.js';
import { Database } from '../database.js';
import { ArtifactStore } from './artifact-store.js';

/** Of Postgres: taken shared by uploads that commit blobs, and alone by whoever removes some. */
const LOCK = `hashtext('weft.artifacts')`;
/** For what a crash kept from being collected. */
const COLLECT_MS = 60_000;
const BATCH = 500;

@Injectable()
export class ArtifactCollector implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #log = new Logger('Artifacts');
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(private readonly database: Database, private readonly store: ArtifactStore, adapters: Adapters) {
    adapters.onDeleted(async versions => this.#background(() => this.collect(versions.flatMap(({ files }) => files.map(([, , sha256]) => sha256)))));
  }

  /** Blobs that a crash left without a row are found by their files; later it is enough to look at the rows. */
  onApplicationBootstrap(): void {
    this.#timer = setInterval(() => this.#background(() => this.collectUnnamed()), COLLECT_MS);
    this.#background(() => this.#collectStored());
  }

  async onModuleDestroy(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  /** In the transaction of an upload, before its blobs are committed: from here to its end nothing is collected. */
  async hold(manager: EntityManager): Promise<void> { await manager.query(`select pg_advisory_xact_lock_shared(${LOCK})`); }

  /** Removes those blobs of these that no version names. */
  async collect(sha256s: readonly string[]): Promise<void> {
    for (let at = 0; at < sha256s.length; at += BATCH) {
      await this.database.acrossTenants(async manager => {
        await manager.query(`select pg_advisory_xact_lock(${LOCK})`);
        const gone: { sha256: string }[] = await manager.query(`select sha256 from unnest($1::text[]) as blob(sha256) where ${UNNAMED}`, [sha256s.slice(at, at + BATCH)]);
        for (const { sha256 } of gone) await this.store.remove(sha256);
        await manager.query('delete from weft.artifacts where sha256 = any($1)', [gone.map(({ sha256 }) => sha256)]);
      });
    }
  }

  /** Removes every blob that no version names, a row at least having told of it. */
  async collectUnnamed(): Promise<void> {
    const rows = await this.database.query<{ sha256: string }>({ text: `select sha256 from weft.artifacts blob where ${UNNAMED}`, timeoutMs: COLLECT_MS });
    await this.collect(rows.map(({ sha256 }) => sha256));
  }

  async #collectStored(): Promise<void> {
    const stored: string[] = [];
    for await (const sha256 of this.store.list()) stored.push(sha256);
    await this.collect(stored);
  }

  #background(work: () => Promise<void>): void {
    this.#sweeping = this.#sweeping.then(work).catch((error: Error) => this.#log.warn(`blobs were not collected: ${error.message}`));
  }
}

const UNNAMED = `blob.sha256 not in (select file->>2 from weft.versions v, jsonb_array_elements(v.files) file where v.status <> 'deleted')`;
