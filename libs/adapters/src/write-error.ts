import { WeftError } from '@weft/contracts';

/** ENOSPC: no room; EDQUOT: none for us. */
const FULL: readonly unknown[] = ['ENOSPC', 'EDQUOT'];

/** Why a file could not be written: `insufficient_storage` or `io_error`. */
export function writeError(file: string, cause: unknown): WeftError {
  if (FULL.includes((cause as Partial<NodeJS.ErrnoException> | null)?.code)) {
    return new WeftError('insufficient_storage', `${file} can't be written: there is no room left. Free some, or give the data directory more`, { file, cause });
  }
  return new WeftError('io_error', `${file} can't be written: ${cause instanceof Error ? cause.message : String(cause)}`, { file, cause });
}
