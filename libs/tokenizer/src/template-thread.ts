/** Renders templates that came with an adapter: on a thread of their own, within a time and a memory, since a tenant wrote them. */
import { WeftError } from '@weft/contracts';
import { JobThread } from './job-thread.js';
import { TemplateRefusal, type TemplateJob } from './template-run.js';

/** A real template takes 0.1 ms, and the thread 50 ms to start. */
const JOB_MS_MAX = 1000;
const MEMORY_MB_MAX = 128, STACK_MB_MAX = 4;

/** A template took more time or memory than it may. */
export class TemplateExhausted extends WeftError {
  constructor(message: string) { super('invalid_value', message, { param: 'messages' }); }
}

export class TemplateThread {
  readonly #thread: JobThread<TemplateJob, string>;

  constructor(jobMsMax = JOB_MS_MAX) {
    this.#thread = new JobThread({
      script: new URL('./template-worker.js', import.meta.url), jobMsMax,
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB_MAX, maxYoungGenerationSizeMb: MEMORY_MB_MAX / 4, stackSizeMb: STACK_MB_MAX },
      errors: {
        slow: () => new TemplateExhausted(`The adapter's chat template takes more than ${jobMsMax / 1000} s.`),
        died: cause => new TemplateExhausted(`The adapter's chat template can't render these messages: ${String(cause)}.`),
        failed: (message, refused) => (refused === true ? new TemplateRefusal(message) : new Error(message)),
        closed: () => new WeftError('cancelled', 'The tokenizer was closed.'),
      },
    });
  }

  /** Throws TemplateExhausted, WeftError `cancelled`, TemplateRefusal, or the error of the template. */
  run(job: TemplateJob): Promise<string> { return this.#thread.run(job); }
  close(): Promise<void> { return this.#thread.close(); }
}
