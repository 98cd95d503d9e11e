/** How far each version's ingestion is. Every change asks whether it is still wanted: a version may be cancelled or deleted at any time. */
import type { BaseGeometry, BaseText, Manifest } from '@weft/adapters';
import { Injectable } from '@nestjs/common';
import { registryV1 } from '@weft/contracts';
import type { EntityManager } from 'typeorm';
import { Aliases } from '../aliases.js';
import { Database } from '../database.js';
import { Adapter, Alias, Base, Version, type VersionFile } from '../entities/index.js';
import { whoSees } from '../lookups.js';
import { Outbox } from '../outbox.js';

export type Stage = 'queued' | 'validate' | 'pack' | 'probe';
/** What it doesn't name it leaves out. */
export type FindingMessage = Partial<registryV1.Finding> & Pick<registryV1.Finding, 'code' | 'message'>;

/** What a base tells about itself. */
export interface BaseDescription { geometry: BaseGeometry; text: BaseText }

@Injectable()
export class IngestionRepository {
  readonly #database: Database;
  readonly #aliases: Aliases;
  readonly #outbox: Outbox;

  constructor(database: Database, aliases: Aliases, outbox: Outbox) {
    this.#database = database;
    this.#aliases = aliases;
    this.#outbox = outbox;
  }

  /** Null for one whose ingestion is over. */
  findValidating(id: string): Promise<Version | null> {
    return this.#database.acrossTenants(manager => manager.findOneBy(Version, { id, status: 'validating' }));
  }

  /** Of those given, the ones whose ingestion is over. */
  async listEnded(ids: readonly string[]): Promise<string[]> {
    const rows = await this.#database.query<{ id: string }>({ name: 'ended', text: `select id from weft.versions where id = any($1) and status <> 'validating'`, values: [ids] });
    return rows.map(({ id }) => id);
  }

  /** Ids of versions whose ingestion goes on, the oldest first. */
  async listValidating(limit: number): Promise<string[]> {
    const rows = await this.#database.query<{ id: string }>({ name: 'validating', text: `select id from weft.versions where status = 'validating' order by created_at limit $1`, values: [limit] });
    return rows.map(({ id }) => id);
  }

  async findBase(digest: string): Promise<BaseDescription | null> {
    const base = await this.#database.acrossTenants(manager => manager.findOneBy(Base, { digest }));
    return base && { geometry: base.geometry, text: new Map(Object.entries(base.text)) };
  }

  async setStage(id: string, stage: Stage, attempts?: number): Promise<void> {
    await this.#database.query({
      name: 'stage', text: `update weft.versions set stage = $2, attempts = coalesce($3, attempts) where id = $1 and status = 'validating'`, values: [id, stage, attempts],
    });
  }

  /** The registry's own checks found nothing wrong: it waits for an executor. */
  async setManifest({ id, ignored }: Version, { kind, rank, targetModules, warnings, ignored: unread }: Manifest): Promise<void> {
    await this.#database.acrossTenants(manager => manager.update(Version, { id, status: 'validating' }, {
      stage: 'queued', kind, rank, targetModules, warnings: warnings.map(toFinding), ignored: [...new Set([...ignored, ...unread])].sort(),
    }));
  }

  /** The version serves from here on. Its alias moves in the same transaction; one that a later version has was set after this upload. */
  async makeReady(id: string, { warnings, effect }: Pick<registryV1.TaskResult, 'warnings' | 'effect'>): Promise<void> {
    await this.#database.acrossTenants(async manager => {
      const version = await this.#lock(manager, id);
      if (version === null) return;
      const now = new Date();
      await manager.update(Version, { id }, { status: 'ready', stage: '', errors: [], warnings: [...version.warnings, ...warnings], effect, readyAt: now, finishedAt: now });
      const adapter = await manager.findOneByOrFail(Adapter, { id: version.adapterId });
      if (version.aliasWhenReady !== null) await this.#moveAlias(manager, adapter, version.aliasWhenReady, version.version);
      await this.#outbox.emit(manager, 'catalog', await whoSees(manager, [adapter]));
    });
  }

  async makeFailed(id: string, errors: readonly FindingMessage[]): Promise<void> {
    await this.#database.acrossTenants(manager => manager.update(Version, { id, status: 'validating' }, {
      status: 'failed', stage: '', errors: errors.map(toFinding), finishedAt: new Date(),
    }));
  }

  async #moveAlias(manager: EntityManager, adapter: Adapter, alias: string, version: number): Promise<void> {
    const now = await manager.findOneBy(Alias, { adapterId: adapter.id, alias });
    if (now === null || now.version < version) await this.#aliases.set(manager, undefined, adapter, alias, version);
  }

  /** With its adapter locked first, as everything that changes a version does. */
  async #lock(manager: EntityManager, id: string): Promise<Version | null> {
    await manager.query(`select from weft.adapters where id = (select adapter_id from weft.versions where id = $1) for update`, [id]);
    return manager.findOne(Version, { where: { id, status: 'validating' }, lock: { mode: 'pessimistic_write' } });
  }
}

/** How findings are told: what they don't name is empty. */
export const toFinding = (finding: FindingMessage): registryV1.Finding => registryV1.Finding.fromPartial(finding);

export const toFiles = (files: readonly VersionFile[]): { name: string; size: number; sha256: string }[] => files.map(([name, size, sha256]) => ({ name, size, sha256 }));
