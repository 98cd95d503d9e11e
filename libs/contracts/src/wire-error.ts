/** Coded errors across gRPC: as JSON in the trailing metadata, so that the caller throws what the callee threw. */
import { ERRORS, WeftError, type ErrorCode, type ErrorDetails } from './errors.js';

export const ERROR_METADATA = 'weft-error';

/** Metadata values are ASCII. */
export function encodeError({ code, message, details: { cause: _, ...details } }: WeftError): string {
  return encodeURIComponent(JSON.stringify({ code, message, details }));
}

/** Undefined for what is none of ours. A code of a newer peer counts as an internal error. */
export function decodeError(text: string): WeftError | undefined {
  try {
    const { code, message, details } = JSON.parse(decodeURIComponent(text)) as { code: string; message: string; details: ErrorDetails };
    return new WeftError(Object.hasOwn(ERRORS, code) ? code as ErrorCode : 'internal_error', message, details);
  } catch {
    return undefined;
  }
}
