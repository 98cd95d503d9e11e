/** How an adapter is refused: once, with everything that was found. */
import { basename } from 'node:path';
import { WeftError, type ErrorCode } from '@weft/contracts';
import type { Finding } from './types.js';

/** A file of 20,000 wrong tensors is told by its first ones; a response must stay readable. */
const FINDINGS_MAX = 100;

/** An adapter that can't be served as its files say. Code and message are those of the first finding. */
export class AdapterRefused extends WeftError {
  readonly findings: readonly Finding[];
  constructor(findings: readonly [Finding, ...Finding[]]) {
    const { code, message, field, tensor, file } = findings[0];
    super(code as ErrorCode, message, { field, tensor, file });
    this.name = 'AdapterRefused';
    this.findings = findings;
  }
}

/** Any coded error about the adapter's file at `path`, as a refusal with one finding. Where the file lies here is nobody's business elsewhere. */
export function asRefusal(error: unknown, path: string): unknown {
  if (!(error instanceof WeftError) || error.code === 'io_error') return error;
  const { field, tensor } = error.details;
  const file = basename(path);
  return new AdapterRefused([{ code: error.code, message: error.message.replaceAll(path, file), file, ...(field && { field }), ...(tensor && { tensor }) }]);
}

/** What a validation finds as it goes. */
export class Findings {
  readonly errors: Finding[] = [];
  readonly warnings: Finding[] = [];
  #dropped = 0;

  refuse(code: ErrorCode, message: string, where: Omit<Finding, 'code' | 'message'> = {}): void {
    if (this.errors.length < FINDINGS_MAX) this.errors.push({ code, message, ...where });
    else this.#dropped++;
  }

  warn(code: Finding['code'], message: string, where: Omit<Finding, 'code' | 'message'> = {}): void {
    if (this.warnings.length < FINDINGS_MAX) this.warnings.push({ code, message, ...where });
  }

  /** Ends a stage of validation: what comes next relies on all of it. */
  throwIfAny(): void {
    const [first, ...rest] = this.errors;
    if (!first) return;
    const last = rest.at(-1);
    if (last && this.#dropped > 0) last.message += ` (and ${this.#dropped} more findings)`;
    throw new AdapterRefused([first, ...rest]);
  }
}
