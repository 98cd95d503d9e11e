/** Takes versions through ingestion: validate here, then pack and probe on an executor of their base. Any pass may be the first or a later one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { OnWorkerEvent, Processor, WorkerHost } from '@nestjs/bullmq';
import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { AdapterRefused } from '@weft/adapters';
import { describeError, toWeftError, WeftError, type ErrorCode, type registryV1 } from '@weft/contracts';
import { DelayedError, WaitingError, type Job } from 'bullmq';
import { ArtifactStore } from '../artifacts/artifact-store.js';
import { toArtifact } from '../artifacts/listing.js';
import type { Version } from '../entities/index.js';
import { ExecutorPool, NoExecutor } from '../executors/executor-pool.js';
import { IngestionRepository, type FindingMessage, type Stage } from './ingestion.repository.js';
import { INGESTION, WORKER_OPTIONS } from './queue.js';
import { validateUpload } from './validation.js';

/** How soon a version that waits for an executor is looked at again, unless one joins before. */
const LOOK_AGAIN_MS = 3000;
/** How soon a pass notices that its version was cancelled or deleted. */
const WATCH_MS = 1000;

/** Nobody's failure, and over some time: no attempt is counted. */
const WAITED_FOR: readonly ErrorCode[] = ['registry_lost', 'draining'];

/** A pass ends because this process does: its job goes back to the queue. */
class Stopping extends Error {}
/** A pass ends because nobody wants its result. */
class Unwanted extends Error {}

interface IngestionData { versionId: string }
export type IngestionJob = Job<IngestionData, void>;

@Injectable()
@Processor(INGESTION, WORKER_OPTIONS)
export class IngestionWorker extends WorkerHost implements OnModuleDestroy {
  readonly #versions: IngestionRepository;
  readonly #store: ArtifactStore;
  readonly #executors: ExecutorPool;
  readonly #log = new Logger('Ingestion');
  readonly #passes = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();
  readonly #stopped = new AbortController();

  constructor(versions: IngestionRepository, store: ArtifactStore, executors: ExecutorPool) {
    super();
    this.#versions = versions;
    this.#store = store;
    this.#executors = executors;
    void this.#watch();
  }

  onModuleDestroy(): void {
    this.#stopped.abort();
    void this.worker.pause(true);
    for (const pass of this.#passes.values()) pass.abort(new Stopping());
  }

  /** Ends a pass that runs here; the version says already that it is over. */
  abort(versionId: string): void { this.#passes.get(versionId)?.abort(new Unwanted()); }

  /** Resolves when no pass runs: each was ended before. */
  async whenIdle(): Promise<void> { await Promise.allSettled(this.#running); }

  process(job: IngestionJob, token: string): Promise<void> {
    const pass = this.#pass(job, token).finally(() => this.#running.delete(pass));
    this.#running.add(pass);
    return pass;
  }

  @OnWorkerEvent('failed')
  onFailed(job: IngestionJob | undefined, error: Error): void {
    if (job !== undefined && job.finishedOn !== undefined) void this.settle(job, error).catch((thrown: unknown) => this.onError(thrown as Error));
  }

  /** While its store is away, a queue waits; what it says is logged. */
  @OnWorkerEvent('error')
  onError(error: Error): void { if (!this.#stopped.signal.aborted) this.#log.warn(`queue: ${error.message || String(error)}`); }

  /** A job that failed for good takes its version with it. */
  async settle(job: IngestionJob, error: Pick<Error, 'message'>): Promise<void> {
    const finding: FindingMessage = error instanceof WeftError ? { code: error.code, message: error.message }
      : { code: 'internal_error', message: `the ingestion was given up: ${error.message}; it can be tried again` };
    await this.#versions.makeFailed(job.data.versionId, [finding]);
    await job.remove();
  }

  async #pass(job: IngestionJob, token: string): Promise<void> {
    const { versionId } = job.data;
    const pass = new AbortController();
    if (this.#stopped.signal.aborted) pass.abort(new Stopping());
    this.#passes.set(versionId, pass);
    try {
      await this.#ingest(versionId, attemptOf(job), pass.signal);
    } catch (error) {
      await this.#interrupted(error, job, token);
    } finally {
      this.#passes.delete(versionId);
    }
  }

  async #ingest(id: string, attempt: number, signal: AbortSignal): Promise<void> {
    const version = await this.#versions.findValidating(id);
    if (version === null) return;
    // What was validated once and waited for an executor is not validated again.
    if (version.kind === '' && !await this.#validate(version, attempt, signal)) return;
    const result = await this.#prepare(version, attempt, signal);
    if (result.transient) throw new WeftError(codeOf(result.errors[0]), result.errors[0]?.message ?? 'an executor could not prepare the adapter');
    if (result.errors.length > 0) await this.#versions.makeFailed(id, result.errors);
    else await this.#versions.makeReady(id, result);
  }

  /** False when the version is refused. */
  async #validate(version: Version, attempt: number, signal: AbortSignal): Promise<boolean> {
    await this.#versions.setStage(version.id, 'validate', attempt);
    const base = await this.#versions.findBase(version.baseDigest);
    if (base === null) throw new NoExecutor(version.baseDigest);
    try {
      const manifest = await validateUpload(version, base, this.#store);
      signal.throwIfAborted();
      await this.#versions.setManifest(version, manifest);
      return true;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === null) throw error;
      await this.#versions.makeFailed(version.id, refusal);
      return false;
    }
  }

  async #prepare(version: Version, attempt: number, signal: AbortSignal): Promise<registryV1.TaskResult> {
    let told: Promise<unknown> = Promise.resolve();      // stages are written in their order
    const onStage = (stage: string): void => {
      if (stage !== 'pack' && stage !== 'probe') return;
      told = told.then(() => this.#versions.setStage(version.id, stage, attempt)).catch((error: Error) => this.onError(error));
    };
    try {
      return await this.#executors.prepare(version.baseDigest, toArtifact(version), { signal, onStage });
    } finally {
      await told;
    }
  }

  /** What becomes of a job whose pass did not come to its end. */
  async #interrupted(error: unknown, job: IngestionJob, token: string): Promise<void> {
    if (error instanceof Unwanted) return;
    if (error instanceof Stopping) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    if (error instanceof NoExecutor || WAITED_FOR.includes(toWeftError(error).code)) {
      const queued: Stage = 'queued';
      await this.#versions.setStage(job.data.versionId, queued).catch((thrown: unknown) => this.onError(thrown as Error));
      await job.moveToDelayed(Date.now() + LOOK_AGAIN_MS, token);
      throw new DelayedError();
    }
    this.#log.warn(`version ${job.data.versionId}, attempt ${attemptOf(job)}: ${describeError(toWeftError(error))}`);
    throw error;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await sleep(WATCH_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (this.#passes.size === 0) continue;
      const ended = await this.#versions.listEnded([...this.#passes.keys()]).catch(() => []);   // asked again in a second
      for (const id of ended) this.abort(id);
    }
  }
}

/** Counted from 1; deaths of the process count. */
const attemptOf = ({ attemptsMade, stalledCounter }: IngestionJob): number => attemptsMade + stalledCounter + 1;

const codeOf = (finding: { code: string } | undefined): ErrorCode => (finding?.code ?? 'internal_error') as ErrorCode;

/** Findings of an error that says something about the adapter; null for one that a second try may not meet. */
function refusalOf(error: unknown): readonly FindingMessage[] | null {
  if (error instanceof AdapterRefused) return error.findings;
  const { kind: { status }, code, message, details: { field, tensor, file } } = toWeftError(error);
  return status < 500 ? [{ code, message, ...(field && { field }), ...(tensor && { tensor }), ...(file && { file }) }] : null;
}
