/** The executors that have joined here, and the adapters that they prepare: each by the least busy one of its base. */
import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';

/** One reads and checks while the other probes; more would only wait for the engine. */
const TASKS_PER_EXECUTOR = 2;

/** A joined executor, as the pool needs it. */
export interface ExecutorLink {
  readonly executorId: string;
  readonly baseDigest: string;
  send(body: NonNullable<registryV1.JoinDown['body']>): void;
}

export interface PrepareOptions {
  /** Ends the task; what it is aborted with is thrown. */
  signal: AbortSignal;
  /** First of all `pack`, when an executor has it. */
  onStage(stage: string): void;
}

interface Task {
  readonly id: string;
  readonly baseDigest: string;
  readonly artifact: registryV1.Artifact;
  onStage(stage: string): void;
  resolve(result: registryV1.TaskResult): void;
  reject(error: unknown): void;
}

/** No executor of the base is here: to be asked again when one has joined. */
export class NoExecutor extends WeftError {
  constructor(baseDigest: string) { super('adapter_not_ready', `no executor of base ${baseDigest} has joined`); }
}

@Injectable()
export class ExecutorPool {
  readonly #links = new Map<ExecutorLink, Map<string, Task>>();
  /** Until an executor has a place, in their order. */
  readonly #waiting = new Set<Task>();
  readonly #onJoin: (() => void)[] = [];

  get links(): Iterable<ExecutorLink> { return this.#links.keys(); }

  /** Called whenever an executor has joined. */
  whenJoined(listener: () => void): void { this.#onJoin.push(listener); }

  join(link: ExecutorLink): void {
    this.#links.set(link, new Map());
    this.#dispatch();
    for (const listener of this.#onJoin) listener();
  }

  /** Its tasks end with the error. Those that only this one could have taken have no executor. */
  leave(link: ExecutorLink, error: WeftError): void {
    const tasks = this.#links.get(link);
    this.#links.delete(link);
    for (const task of tasks?.values() ?? []) task.reject(error);
    for (const task of this.#waiting) {
      if (this.#serves(task.baseDigest)) continue;
      this.#waiting.delete(task);
      task.reject(new NoExecutor(task.baseDigest));
    }
  }

  /** Throws NoExecutor, what its executor left with, or what `signal` is aborted with. */
  async prepare(baseDigest: string, artifact: registryV1.Artifact, { signal, onStage }: PrepareOptions): Promise<registryV1.TaskResult> {
    signal.throwIfAborted();
    if (!this.#serves(baseDigest)) throw new NoExecutor(baseDigest);
    const id = randomUUID();
    let onAbort = (): void => undefined;
    try {
      return await new Promise((resolve, reject) => {
        const task: Task = { id, baseDigest, artifact, onStage, resolve, reject };
        onAbort = () => { this.#cancel(task); reject(signal.reason); };
        signal.addEventListener('abort', onAbort);
        this.#waiting.add(task);
        this.#dispatch();
      });
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  progress(link: ExecutorLink, { taskId, stage }: registryV1.TaskProgress): void { this.#links.get(link)?.get(taskId)?.onStage(stage); }

  /** Of a task that was cancelled, it is no longer waited for. */
  finish(link: ExecutorLink, result: registryV1.TaskResult): void {
    const tasks = this.#links.get(link);
    const task = tasks?.get(result.taskId);
    if (task === undefined) return;
    tasks!.delete(task.id);
    task.resolve(result);
    this.#dispatch();
  }

  #serves(baseDigest: string): boolean {
    for (const link of this.#links.keys()) if (link.baseDigest === baseDigest) return true;
    return false;
  }

  #dispatch(): void {
    for (const task of this.#waiting) {
      const link = this.#leastBusy(task.baseDigest);
      if (link === undefined) continue;
      this.#waiting.delete(task);
      this.#links.get(link)!.set(task.id, task);
      task.onStage('pack');
      link.send({ $case: 'prepare', value: { taskId: task.id, artifact: task.artifact } });
    }
  }

  #leastBusy(baseDigest: string): ExecutorLink | undefined {
    let best: ExecutorLink | undefined;
    let bestTasks = TASKS_PER_EXECUTOR;
    for (const [link, tasks] of this.#links) {
      if (link.baseDigest === baseDigest && tasks.size < bestTasks) [best, bestTasks] = [link, tasks.size];
    }
    return best;
  }

  #cancel(task: Task): void {
    this.#waiting.delete(task);
    for (const [link, tasks] of this.#links) {
      if (tasks.delete(task.id)) link.send({ $case: 'cancel', value: { taskId: task.id } });
    }
    this.#dispatch();
  }
}
