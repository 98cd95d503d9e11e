/** A worker thread that does one job after another, started by the first and again when it dies. A job that takes too long costs the thread its life, not the others theirs. */
import { Worker, type ResourceLimits } from 'node:worker_threads';
import type { WeftError } from '@weft/contracts';

interface Job<Input, Output> { input: Input; resolve: (output: Output) => void; reject: (error: Error) => void }

/** What a script answers to `{id, input}`; `details` are what its error carries. */
export type Answer<Output> = { id: number; output: Output } | { id: number; error: string; details?: unknown };

export interface JobThreadOptions {
  /** Plain JavaScript that answers every `{id, input}` with an Answer, in order. */
  script: URL;
  data?: unknown;
  /** Time for one job, the thread's start included. */
  jobMsMax: number;
  resourceLimits?: ResourceLimits;
  errors: {
    slow(): WeftError;
    died(cause: unknown): WeftError;
    failed(message: string, details: unknown): Error;
    closed(): WeftError;
  };
}

export class JobThread<Input, Output> {
  readonly #options: JobThreadOptions;
  /** Unanswered jobs, oldest first: the thread works in this order. */
  readonly #jobs = new Map<number, Job<Input, Output>>();
  #worker: Worker | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #nextId = 0;
  #closed = false;

  constructor(options: JobThreadOptions) { this.#options = options; }

  /** Rejects with the options' errors. */
  run(input: Input): Promise<Output> {
    if (this.#closed) return Promise.reject(this.#options.errors.closed());
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#jobs.set(id, { input, resolve, reject });
      this.#worker ??= this.#start();
      if (this.#jobs.size === 1) this.#watch(this.#worker);
      this.#worker.ref();  // the process stays up for a job, not for the idle thread
      this.#worker.postMessage({ id, input });
    });
  }

  /** Ends the thread; what it had not answered fails with the error `closed`. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    clearTimeout(this.#watchdog);
    for (const job of this.#take()) job.reject(this.#options.errors.closed());
    await worker?.terminate();
  }

  #start(): Worker {
    const { script, data, resourceLimits, errors } = this.#options;
    const worker = new Worker(script, { workerData: data, ...(resourceLimits && { resourceLimits }) });
    let cause: unknown = 'it exited';
    worker.on('message', (answer: Answer<Output>) => {
      if (this.#worker !== worker) return;  // replaced meanwhile: its jobs are answered or with the next one
      const job = this.#jobs.get(answer.id);
      this.#jobs.delete(answer.id);
      this.#watch(worker);
      if (this.#jobs.size === 0) worker.unref();
      if ('output' in answer) job?.resolve(answer.output);
      else job?.reject(errors.failed(answer.error, answer.details));
    });
    worker.on('error', error => { cause = error; });
    worker.on('exit', () => this.#ended(worker, errors.died(cause)));
    return worker;
  }

  /** The oldest job is at work from here on. */
  #watch(worker: Worker): void {
    clearTimeout(this.#watchdog);
    if (this.#jobs.size === 0) return;
    this.#watchdog = setTimeout(() => {
      this.#ended(worker, this.#options.errors.slow());
      void worker.terminate();
    }, this.#options.jobMsMax);
  }

  /** The oldest job was at work and is blamed; the others go to a new thread. */
  #ended(worker: Worker, error: WeftError): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    clearTimeout(this.#watchdog);
    const [blamed, ...others] = this.#take();
    blamed?.reject(error);
    for (const job of others) this.run(job.input).then(job.resolve, job.reject);
  }

  #take(): Job<Input, Output>[] {
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    return jobs;
  }
}
