/** Versions into the queue, and their jobs as people see them. The versions' rows are the truth; the queue only says who works on what now. */
import { setTimeout as sleep } from 'node:timers/promises';
import { InjectQueue } from '@nestjs/bullmq';
import { Injectable, Logger, type BeforeApplicationShutdown, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { Queue } from 'bullmq';
import { In } from 'typeorm';
import { AuditLog } from '../audit.js';
import { Database, isUuid } from '../database.js';
import { Adapter, Version } from '../entities/index.js';
import { ExecutorPool } from '../executors/executor-pool.js';
import { toMillis } from '../messages.js';
import { newestFirst } from '../page.js';
import { IngestionRepository, toFinding } from './ingestion.repository.js';
import { IngestionWorker, type IngestionJob } from './ingestion.worker.js';
import { INGESTION, JOB_OPTIONS } from './queue.js';

/** How soon a version whose job was lost, or never made, gets one. */
const RECONCILE_MS = 5000;
/** The oldest ones; the next follow when these are done. */
const RECONCILED_MAX = 500;
/** What runs is given back within milliseconds. */
const CLOSE_MS_MAX = 2000;
/** How a cancelled ingestion is told from one that failed. */
const CANCELLED = 'cancelled';

@Injectable()
export class IngestionService implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown {
  readonly #log = new Logger('Ingestion');
  #timer: NodeJS.Timeout | undefined;
  #reconciling = false;

  constructor(
    @InjectQueue(INGESTION) private readonly queue: Queue, private readonly worker: IngestionWorker, private readonly versions: IngestionRepository,
    private readonly database: Database, private readonly audit: AuditLog, executors: ExecutorPool,
  ) {
    queue.on('error', error => worker.onError(error));
    executors.whenJoined(() => this.#attempt(queue.promoteJobs()));
  }

  onApplicationBootstrap(): void {
    this.#timer = setInterval(() => void this.#reconcile(), RECONCILE_MS);
    void this.#reconcile();
  }

  onModuleDestroy(): void { clearInterval(this.#timer); }

  /** By force: a store that is away would never answer, and what BullMQ has not written it would find stalled. */
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.race([this.worker.whenIdle(), sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
    await this.worker.worker.close(true);
    await this.queue.getBackend().close(true);
  }

  /** Behind the commit that made the version. If it is lost, the next reconciliation makes up for it. */
  enqueue(versionId: string): void { this.#attempt(this.#add(versionId)); }

  async listJobs(request: registryV1.PageRequest): Promise<registryV1.JobList> {
    return this.database.inScope(request.tenantId, async manager => {
      const { rows, hasMore } = await newestFirst(manager, Version, request);
      const adapters = await manager.findBy(Adapter, { id: In(rows.map(({ adapterId }) => adapterId)) });
      const names = new Map(adapters.map(({ id, name }) => [id, name]));
      return { data: rows.map(row => toJob(row, names.get(row.adapterId)!)), hasMore };
    });
  }

  /** Throws not_found, or conflict for one that is over. */
  async cancelJob({ actor, tenantId, id }: registryV1.JobRequest): Promise<registryV1.Job> {
    const errors = [toFinding({ code: CANCELLED, message: 'the ingestion was cancelled; it can be tried again' })];
    const job = await this.#change(tenantId, id, actor, 'job.cancel', 'validating', { status: 'failed', stage: '', errors, finishedAt: new Date() });
    this.worker.abort(id);
    this.#attempt(this.queue.remove(id));     // one that runs is not removed: it ends by itself
    return job;
  }

  /** Throws not_found, or conflict for one that has not failed. */
  async retryJob({ actor, tenantId, id }: registryV1.JobRequest): Promise<registryV1.Job> {
    const job = await this.#change(tenantId, id, actor, 'job.retry', 'failed', AGAIN);
    this.enqueue(id);
    return job;
  }

  async #change(tenantId: string, id: string, actor: registryV1.Actor | undefined, action: string, from: 'validating' | 'failed', to: Partial<Version>): Promise<registryV1.Job> {
    if (!isUuid(id)) throw notFound();
    return this.database.inScope(tenantId, async manager => {
      const version = await manager.findOneBy(Version, { id, ...(tenantId !== '' && { tenantId }) });
      if (version === null || version.status === 'deleted') throw notFound();
      const { affected } = await manager.update(Version, { id, status: from }, to);
      if (affected !== 1) throw new WeftError('conflict', `the ingestion is ${stateOf(version)}; ${from === 'failed' ? 'only one that failed can be tried again' : 'it can not be cancelled any more'}`);
      const { name } = await manager.findOneByOrFail(Adapter, { id: version.adapterId });
      await this.audit.write(manager, actor, { tenantId: version.tenantId, action, subject: `${name}@${version.version}` });
      return toJob({ ...version, ...to }, name);
    });
  }

  /** Every version that is validating has a job, and no job that was given up has a version that waits for it. */
  async #reconcile(): Promise<void> {
    if (this.#reconciling) return;
    this.#reconciling = true;
    try {
      for (const job of await this.queue.getFailed(0, RECONCILED_MAX) as IngestionJob[]) await this.worker.settle(job, { message: job.failedReason });
      for (const id of await this.versions.listValidating(RECONCILED_MAX)) await this.#add(id);
    } catch (error) {
      this.#log.warn(`queue: ${(error as Error).message}`);
    } finally {
      this.#reconciling = false;
    }
  }

  /** Does nothing where the version has a job. */
  async #add(versionId: string): Promise<void> { await this.queue.add('ingest', { versionId }, { ...JOB_OPTIONS, jobId: versionId }); }

  #attempt(work: Promise<unknown>): void { work.catch((error: Error) => this.#log.warn(`queue: ${error.message}`)); }
}

/** What a version is set to when its ingestion begins again. */
export const AGAIN: Partial<Version> = {
  status: 'validating', stage: 'queued', errors: [], warnings: [], kind: '', rank: 0, targetModules: [], attempts: 0, finishedAt: null,
};

const notFound = (): WeftError => new WeftError('not_found', 'there is no such job');

/** Of a version that was deleted, what had become of it before. */
function stateOf({ status, stage, errors, finishedAt }: Version): string {
  if (status === 'validating') return stage === 'queued' ? 'waiting' : 'running';
  if (finishedAt === null || errors[0]?.code === CANCELLED) return CANCELLED;
  return errors.length > 0 ? 'failed' : 'completed';
}

/** A job is its version's ingestion: it lives on when the queue has forgotten it. */
function toJob(version: Version, adapter: string): registryV1.Job {
  const { id, tenantId, stage, attempts, errors, createdAt, finishedAt } = version;
  const [first] = errors;
  return {
    id, tenantId, adapter, version: version.version, stage, state: stateOf(version), attempts, error: first === undefined ? '' : `${first.code}: ${first.message}`,
    createdAt: toMillis(createdAt), finishedAt: toMillis(finishedAt),
  };
}
