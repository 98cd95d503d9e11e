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

/** What a failed call carries: grpc-js's ServiceError. */
interface FailedCall extends Error { code: number; details: string; metadata?: { get(name: string): unknown[] } }

/** gRPC's codes for a peer that is not there: cancelled, deadline exceeded, unavailable. */
const AWAY = [1, 4, 14];

/** The coded error that a call to the registry ended with; a registry that is not there is registry_lost. */
export function registryError(error: FailedCall): WeftError {
  const [sent] = error.metadata?.get(ERROR_METADATA) ?? [];
  const coded = sent === undefined ? undefined : decodeError(String(sent));
  if (coded !== undefined) return coded;
  if (AWAY.includes(error.code)) return new WeftError('registry_lost', 'the registry does not answer at the moment; try again', { retryAfterMs: 1000, cause: error });
  return new WeftError('internal_error', `registry: ${error.details}`, { cause: error });
}
