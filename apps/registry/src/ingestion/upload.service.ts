/** Uploads: bytes into the store, then everything they mean in one transaction. */
import { createHash, randomUUID } from 'node:crypto';
import type { ServerReadableStream } from '@grpc/grpc-js';
import { Injectable, Logger } from '@nestjs/common';
import { classifyFile } from '@weft/adapters';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { EntityManager } from 'typeorm';
import { Aliases } from '../aliases.js';
import { ArtifactCollector } from '../artifacts/artifact-collector.js';
import { ArtifactStore } from '../artifacts/artifact-store.js';
import { AuditLog } from '../audit.js';
import { Database } from '../database.js';
import { Adapter, Artifact, Base, Idempotency, Version } from '../entities/index.js';
import { adapterNamed, tenantById, whoSees } from '../lookups.js';
import { toVersion } from '../messages.js';
import { Outbox } from '../outbox.js';
import { AGAIN, IngestionService } from './ingestion.service.js';
import { receiveUpload, type ReceivedUpload } from './upload-receiver.js';

const IDEMPOTENCY_KEY_CHARACTERS_MAX = 255;

type UploadCall = ServerReadableStream<registryV1.UploadPart, registryV1.UploadedVersion>;

interface Written { name: string; version: Version; created: boolean }

@Injectable()
export class UploadService {
  constructor(
    private readonly database: Database, private readonly store: ArtifactStore, private readonly collector: ArtifactCollector,
    private readonly aliases: Aliases, private readonly audit: AuditLog, private readonly outbox: Outbox, private readonly ingestion: IngestionService,
  ) {}

  /** An upload off the wire. Throws as `upload`. */
  receive(call: UploadCall): Promise<registryV1.UploadedVersion> {
    // Parts behind the one that was refused are not read: the answer ends the call.
    return this.upload(call.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<registryV1.UploadPart>);
  }

  /**
   * One upload, as fast as the store writes. Throws invalid_value, adapter_file_unsupported, request_too_large, conflict,
   * idempotency_mismatch, adapter_not_ready (no base was ever announced), insufficient_storage, registry_lost.
   */
  async upload(parts: AsyncIterable<registryV1.UploadPart>): Promise<registryV1.UploadedVersion> {
    const upload = await receiveUpload(parts, this.store, (field, value, { tenantId }) => this.#check(field, value, tenantId));
    try {
      const { name, version, created } = await this.#write(upload);
      if (version.status === 'validating') this.ingestion.enqueue(version.id);
      return { name, version: toVersion(version), created };
    } finally {
      await upload.discard();
    }
  }

  #check(field: string, value: string, tenantId: string): Promise<void> {
    return this.database.withTenant(tenantId, async manager => {
      await tenantById(manager, tenantId);
      if (field === 'name') await refuseBaseName(manager, value);
      await findBase(manager, field === 'base' ? value : undefined);
    });
  }

  async #write(upload: ReceivedUpload): Promise<Written> {
    const { begin: { tenantId, idempotencyKey }, fields: { name, base: baseName, alias } } = upload;
    if (name === undefined) throw new WeftError('invalid_value', 'an upload needs the field name: what the adapter is called', { param: 'name' });
    if (idempotencyKey.length > IDEMPOTENCY_KEY_CHARACTERS_MAX) throw new WeftError('invalid_value', `Idempotency-Key has more than ${IDEMPOTENCY_KEY_CHARACTERS_MAX} characters`, { param: 'Idempotency-Key' });
    let blobs = false;
    try {
      return await this.database.withTenant(tenantId, async manager => {
        await this.collector.hold(manager);
        await tenantById(manager, tenantId);
        if (idempotencyKey !== '') {
          const before = await this.#replay(manager, upload);
          if (before !== null) return before;
        }
        const base = await findBase(manager, baseName);
        blobs = true;
        await this.#commitBlobs(manager, upload);
        const adapter = await lockAdapter(manager, upload, name);
        const same = await findSame(manager, adapter.id, base.digest, upload);
        const version = same === null ? await this.#create(manager, upload, adapter, base) : await this.#repeat(manager, upload, adapter, same);
        if (idempotencyKey !== '') await manager.insert(Idempotency, { tenantId, key: idempotencyKey, requestHash: hashOf(upload), versionId: version.id });
        const details = { digest: version.digest, ...(alias !== undefined && { alias }) };
        await this.audit.write(manager, upload.begin.actor, { tenantId, action: same === null ? 'version.create' : 'version.repeat', subject: `${adapter.name}@${version.version}`, details });
        await this.outbox.emit(manager, 'catalog', await whoSees(manager, [adapter]));
        return { name: adapter.name, version, created: same === null };
      });
    } catch (error) {
      if (blobs) void this.collector.collect(upload.files.map(({ sha256 }) => sha256)).catch((thrown: Error) => new Logger('Uploads').warn(`blobs were not collected: ${thrown.message}`));
      throw error;
    }
  }

  /** What this key's upload became, or null for the first with it. */
  async #replay(manager: EntityManager, upload: ReceivedUpload): Promise<Written | null> {
    const { tenantId, idempotencyKey: key } = upload.begin;
    await manager.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`weft.idempotency ${tenantId} ${key}`]);
    const before = await manager.findOneBy(Idempotency, { tenantId, key });
    if (before === null) return null;
    if (before.requestHash !== hashOf(upload)) throw new WeftError('idempotency_mismatch', 'this Idempotency-Key was sent with another upload; send a new one', { param: 'Idempotency-Key' });
    const version = await manager.findOneByOrFail(Version, { id: before.versionId });
    const { name } = await manager.findOneByOrFail(Adapter, { id: version.adapterId });
    // Made by that request if it was made in its transaction.
    return { name, version, created: version.createdAt.getTime() === before.createdAt.getTime() };
  }

  async #create(manager: EntityManager, upload: ReceivedUpload, adapter: Adapter, base: Base): Promise<Version> {
    const { begin: { tenantId }, digest, files, ignored, fields: { alias } } = upload;
    const [{ next }] = await manager.query('select coalesce(max(version), 0) + 1 as next from weft.versions where adapter_id = $1', [adapter.id]) as [{ next: number }];
    const id = randomUUID();
    await manager.insert(Version, {
      id, tenantId, adapterId: adapter.id, version: next, digest, baseDigest: base.digest, base: base.name, ignored, aliasWhenReady: alias ?? null,
      files: files.map(({ name, size, sha256 }) => [name, size, sha256]), bytes: countedBytes(upload),
    });
    return manager.findOneByOrFail(Version, { id });
  }

  /** The same bytes again: one that failed begins anew, one that is ready gets the alias now. */
  async #repeat(manager: EntityManager, upload: ReceivedUpload, adapter: Adapter, same: Version): Promise<Version> {
    const { begin: { actor }, fields: { alias } } = upload;
    if (same.status === 'failed') {
      await manager.update(Version, { id: same.id }, { ...AGAIN, ...(alias !== undefined && { aliasWhenReady: alias }) });
    } else if (alias !== undefined) {
      if (same.status === 'ready') await this.aliases.set(manager, actor, adapter, alias, same.version);
      else await manager.update(Version, { id: same.id }, { aliasWhenReady: alias });
    }
    return manager.findOneByOrFail(Version, { id: same.id });
  }

  /** Visible in the store before they are in the database: a version never names what is not there. */
  async #commitBlobs(manager: EntityManager, { files }: ReceivedUpload): Promise<void> {
    for (const { staged } of files) await staged.commit();
    const rows = new Map(files.map(({ sha256, size }) => [sha256, { sha256, bytes: size }]));
    const sorted = [...rows.values()].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));   // two uploads lock rows in one order
    await manager.createQueryBuilder().insert().into(Artifact).values(sorted).orIgnore().execute();
  }
}

/** The base of that id, or the one that was announced last. Throws invalid_value, or adapter_not_ready while there is none at all. */
async function findBase(manager: EntityManager, name: string | undefined): Promise<Base> {
  const [base] = await manager.find(Base, { ...(name !== undefined && { where: { name } }), order: { updatedAt: 'DESC' }, take: 1 });
  if (base !== undefined) return base;
  const names = (await manager.find(Base, { select: { name: true } })).map(known => known.name);
  if (names.length === 0) throw new WeftError('adapter_not_ready', 'no executor has told yet which base it serves; try again in a moment', { param: 'base', retryAfterMs: 1000 });
  throw new WeftError('invalid_value', `base is ${JSON.stringify(name)}; there is ${[...new Set(names)].join(', ')}`, { param: 'base' });
}

async function refuseBaseName(manager: EntityManager, name: string): Promise<void> {
  const bases: { name: string }[] = await manager.query('select name from weft.bases where lower(name) = lower($1)', [name]);
  if (bases.length > 0) throw new WeftError('conflict', `${name} is a base model; an adapter can't have its name`, { param: 'name' });
}

/** The adapter of that name, made if there is none, and locked: uploads of one name follow each other. */
async function lockAdapter(manager: EntityManager, { begin: { tenantId }, fields: { description } }: ReceivedUpload, name: string): Promise<Adapter> {
  await manager.query(`
    insert into weft.adapters as old (tenant_id, name, description) values ($1, $2, coalesce($3, ''))
    on conflict (tenant_id, lower(name)) where deleted_at is null do update set description = coalesce($3, old.description)`, [tenantId, name, description ?? null]);
  return adapterNamed(manager, tenantId, name);
}

/** The newest version of these bytes for this base, if all that was uploaded was checked with it. */
async function findSame(manager: EntityManager, adapterId: string, baseDigest: string, { digest, files }: ReceivedUpload): Promise<Version | null> {
  const versions = await manager.find(Version, { where: { adapterId, baseDigest, digest }, order: { version: 'DESC' } });
  const holdsAll = (version: Version): boolean => files.every(file => version.files.some(([name, , sha256]) => name === file.name && sha256 === file.sha256));
  return versions.find(version => version.status !== 'deleted' && holdsAll(version)) ?? null;
}

const countedBytes = ({ files }: ReceivedUpload): number => files.filter(({ name }) => classifyFile(name) === 'counted').reduce((sum, { size }) => sum + size, 0);

/** Of all that an upload asks for. */
function hashOf({ fields: { name, base, alias, description }, files }: ReceivedUpload): string {
  return createHash('sha256').update(JSON.stringify([name, base, alias, description, files.map(file => [file.name, file.size, file.sha256])])).digest('hex');
}
