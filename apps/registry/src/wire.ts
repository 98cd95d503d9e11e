/** Errors as gRPC carries them: a status for anyone, and the coded error in the trailing metadata for our own. */
import type { EventEmitter } from 'node:events';
import { Metadata, status, type ServerErrorResponse } from '@grpc/grpc-js';
import { Logger } from '@nestjs/common';
import { encodeError, ERROR_METADATA, WeftError } from '@weft/contracts';

const STATUS: Record<number, status> = {
  400: status.INVALID_ARGUMENT, 401: status.UNAUTHENTICATED, 403: status.PERMISSION_DENIED, 404: status.NOT_FOUND, 409: status.ABORTED,
  413: status.INVALID_ARGUMENT, 415: status.INVALID_ARGUMENT, 429: status.RESOURCE_EXHAUSTED, 499: status.CANCELLED, 503: status.UNAVAILABLE,
  504: status.DEADLINE_EXCEEDED, 507: status.RESOURCE_EXHAUSTED,
};

/** What is none of ours is logged here and told as internal_error without its words: they may name what is another's. */
export function toServiceError(thrown: unknown): Partial<ServerErrorResponse> {
  if (!(thrown instanceof WeftError)) new Logger('Registry').error(thrown);
  const error = thrown instanceof WeftError ? thrown : new WeftError('internal_error', 'the registry failed; its log says how');
  const metadata = new Metadata();
  metadata.set(ERROR_METADATA, encodeError(error));
  return { code: STATUS[error.kind.status] ?? status.INTERNAL, details: error.message, metadata };
}

/** Ends a stream with an error. */
export function fail(call: EventEmitter, error: Partial<ServerErrorResponse>): void {
  call.on('error', () => undefined);   // a peer that hangs up as well
  call.emit('error', error);
}
