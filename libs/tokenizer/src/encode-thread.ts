/** The thread that encodes long texts. */
import { WeftError } from '@weft/contracts';
import { JobThread } from './job-thread.js';
import type { Pipeline } from './pipeline.js';

/**
 * A megabyte takes 4 s at most; beyond this it is a text that some split pattern of the model (`\s+$`) needs quadratic time
 * for, and others wait behind it.
 */
const JOB_MS_MAX = 20_000;

/** What the thread builds its own encoder from. */
export interface EncodeThreadData { bytes: SharedArrayBuffer; pipeline: Pipeline }

export class EncodeThread {
  readonly #thread: JobThread<string, Uint32Array>;

  constructor(data: EncodeThreadData, script = new URL('./encode-worker.js', import.meta.url), jobMsMax = JOB_MS_MAX) {
    this.#thread = new JobThread({
      script, data, jobMsMax,
      errors: {
        slow: () => new WeftError('deadline_exceeded', `The text takes more than ${jobMsMax / 1000} s to tokenize.`),
        died: cause => new WeftError('internal_error', `The tokenizer thread died: ${String(cause)}.`, { cause }),
        failed: message => new WeftError('internal_error', `The text could not be encoded: ${message}`),
        closed: () => new WeftError('cancelled', 'The tokenizer was closed.'),
      },
    });
  }

  /**
   * Ids of the text, without special tokens. Errors: `cancelled` once closed, `deadline_exceeded` for a text that takes
   * too long, `internal_error` when the thread died of it.
   */
  async encode(text: string): Promise<number[]> { return Array.from(await this.#thread.run(text)); }

  /** Ends the thread; what it had not answered fails with `cancelled`. */
  close(): Promise<void> { return this.#thread.close(); }
}
