/** A worker thread that encodes, started by the first text it is given and again when it dies. */
import { Worker } from 'node:worker_threads';
import { WeftError } from '@weft/contracts';
import type { Pipeline } from './pipeline.js';

interface Job { text: string; resolve: (ids: number[]) => void; reject: (error: WeftError) => void }

type Answer = { id: number; ids: Uint32Array } | { id: number; error: string };

/**
 * Time for one text, the thread's start included. A megabyte takes 4 s at most; beyond this it is a text that some split
 * pattern of the model (`\s+$`) needs quadratic time for, and others wait behind it.
 */
const JOB_MS_MAX = 20_000;

/** What the thread builds its own encoder from. */
export interface EncodeThreadData { bytes: SharedArrayBuffer; pipeline: Pipeline }

export class EncodeThread {
  readonly #data: EncodeThreadData;
  readonly #script: URL;
  /** Unanswered jobs, oldest first: the thread works in this order. */
  readonly #jobs = new Map<number, Job>();
  readonly #jobMsMax: number;
  #worker: Worker | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #nextId = 0;
  #closed = false;

  constructor(data: EncodeThreadData, script = new URL('./encode-worker.js', import.meta.url), jobMsMax = JOB_MS_MAX) {
    this.#data = data;
    this.#script = script;
    this.#jobMsMax = jobMsMax;
  }

  /**
   * Ids of the text, without special tokens. Errors: `cancelled` once closed, `deadline_exceeded` for a text that takes
   * too long, `internal_error` when the thread died of it.
   */
  encode(text: string): Promise<number[]> {
    if (this.#closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#jobs.set(id, { text, resolve, reject });
      this.#worker ??= this.#start();
      if (this.#jobs.size === 1) this.#watch(this.#worker);
      this.#worker.ref();  // the process stays up for a job, not for the idle thread
      this.#worker.postMessage({ id, text });
    });
  }

  /** Ends the thread; what it had not answered fails with `cancelled`. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    clearTimeout(this.#watchdog);
    for (const job of this.#take()) job.reject(closedError());
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.#script, { workerData: this.#data });
    let cause: unknown = 'it exited';
    worker.on('message', (answer: Answer) => {
      if (this.#worker !== worker) return;  // replaced meanwhile: its jobs are answered or with the next one
      const job = this.#jobs.get(answer.id);
      this.#jobs.delete(answer.id);
      this.#watch(worker);
      if (this.#jobs.size === 0) worker.unref();
      if ('ids' in answer) job?.resolve(Array.from(answer.ids));
      else job?.reject(new WeftError('internal_error', `The text could not be encoded: ${answer.error}`));
    });
    worker.on('error', error => { cause = error; });
    worker.on('exit', () => this.#ended(worker, new WeftError('internal_error', `The tokenizer thread died: ${String(cause)}.`, { cause })));
    return worker;
  }

  /** The oldest job is at work from here on. */
  #watch(worker: Worker): void {
    clearTimeout(this.#watchdog);
    if (this.#jobs.size === 0) return;
    this.#watchdog = setTimeout(() => {
      this.#ended(worker, new WeftError('deadline_exceeded', `The text takes more than ${this.#jobMsMax / 1000} s to tokenize.`));
      void worker.terminate();
    }, this.#jobMsMax);
  }

  /** The oldest job was at work and is blamed; the others go to a new thread. */
  #ended(worker: Worker, error: WeftError): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    clearTimeout(this.#watchdog);
    const [blamed, ...others] = this.#take();
    blamed?.reject(error);
    for (const job of others) this.encode(job.text).then(job.resolve, job.reject);
  }

  #take(): Job[] {
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    return jobs;
  }
}

const closedError = () => new WeftError('cancelled', 'The tokenizer was closed.');
