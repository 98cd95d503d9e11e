/** Adapters that are to become ready: the registry's tasks, each fetched, checked, packed and probed. */
import { Injectable, Logger } from '@nestjs/common';
import { describeError, toWeftError, WeftError, type registryV1 } from '@weft/contracts';
import { Artifacts } from './artifacts.js';
import { EngineService } from './engine.service.js';
import { probe } from './probe.js';
import { isRefusal, toFindings } from './wire.js';

type Report = (body: NonNullable<registryV1.JoinUp['body']>) => void;

@Injectable()
export class Preparations {
  readonly #engine: EngineService;
  readonly #artifacts: Artifacts;
  readonly #running = new Map<string, AbortController>();
  readonly #log = new Logger('Preparations');

  constructor(engine: EngineService, artifacts: Artifacts) {
    this.#engine = engine;
    this.#artifacts = artifacts;
  }

  /** Reports each stage and then one result, unless it is cancelled before. */
  begin({ taskId, artifact }: registryV1.Prepare, report: Report): void {
    if (this.#running.has(taskId) || artifact === undefined) return;
    const abort = new AbortController();
    this.#running.set(taskId, abort);
    void this.#run(artifact, abort.signal, stage => report({ $case: 'progress', value: { taskId, stage } }))
      .then(effect => ({ errors: [], effect, transient: false }), (error: unknown) => ({ ...this.#failure(toWeftError(error), artifact.digest), effect: 0 }))
      .then(result => {
        if (abort.signal.aborted) return;
        this.#running.delete(taskId);
        report({ $case: 'result', value: { taskId, warnings: [], ...result } });
      });
  }

  cancel(taskId: string): void {
    this.#running.get(taskId)?.abort(new WeftError('cancelled', 'the task was cancelled'));
    this.#running.delete(taskId);
  }

  /** The registry that gave them has gone: it, or another, will give them again. */
  cancelAll(): void {
    for (const taskId of [...this.#running.keys()]) this.cancel(taskId);
  }

  /** The adapter's effect. One that is refused leaves nothing behind. */
  async #run(artifact: registryV1.Artifact, signal: AbortSignal, tell: (stage: string) => void): Promise<number> {
    try {
      tell('pack');
      await this.#artifacts.add(artifact.digest, signal, artifact);
      tell('probe');
      return await probe(this.#engine, artifact.digest);
    } catch (error) {
      if (isRefusal(toWeftError(error))) void this.#engine.forget(artifact.digest).catch((thrown: unknown) => this.#log.warn(describeError(toWeftError(thrown))));
      throw error;
    }
  }

  /** The adapter's owner hears what is wrong with it; what is wrong here is the operator's. */
  #failure(error: WeftError, digest: string): Pick<registryV1.TaskResult, 'errors' | 'transient'> {
    if (isRefusal(error)) return { errors: toFindings(error), transient: false };
    if (error.code !== 'cancelled') this.#log.warn(`adapter ${digest}: ${describeError(error)}`);
    return { errors: toFindings(new WeftError(error.code, `the executor could not prepare the adapter: ${error.code}`)), transient: true };
  }
}
