/** Every error as OpenAI's clients read it: one body, one status and the headers that tell them whether to try again. */
import { toWeftError, WeftError, type ErrorCode } from '@weft/contracts';

/** Statuses that the official clients retry by themselves. */
const RETRIED = (status: number): boolean => status === 408 || status === 409 || status === 429 || status >= 500;

export function errorBody(error: WeftError): { error: { message: string; type: string; param: string | null; code: string } } {
  const { code, kind, details } = error;
  // What went wrong inside is for the log.
  const message = code === 'internal_error' ? 'The server had an error while processing your request.' : error.message;
  return { error: { message, type: kind.type, param: details.param ?? null, code } };
}

export function errorHeaders({ kind, details }: WeftError): Record<string, string> {
  const headers: Record<string, string> = {};
  if (RETRIED(kind.status) && (!kind.retry || details.final)) headers['x-should-retry'] = 'false';
  if (kind.retry && details.retryAfterMs !== undefined) {
    headers['retry-after-ms'] = String(Math.ceil(details.retryAfterMs));
    headers['retry-after'] = String(Math.ceil(details.retryAfterMs / 1000));
  }
  return headers;
}

/** Fastify's own refusals, by their code or else their status. */
const FASTIFY: Record<string, [ErrorCode, string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['request_too_large', 'The body is larger than this server accepts.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupported_media_type', 'The body must be JSON: send the header «Content-Type: application/json».'],
  FST_ERR_BAD_URL: ['invalid_value', 'The URL is not valid: what follows each % must be UTF-8 in hexadecimal digits.'],
};
const BY_STATUS: Record<number, ErrorCode> = {
  400: 'invalid_value', 404: 'not_found', 405: 'method_not_allowed', 413: 'request_too_large', 415: 'unsupported_media_type',
};

interface Thrown { code?: string; status?: number; statusCode?: number; message?: string; cause?: { code?: string } }

/** Any thrown value as an error of the table. Nest wraps Fastify's refusals and keeps them as the cause. */
export function asWeftError(thrown: unknown): WeftError {
  if (thrown instanceof WeftError) return thrown;
  const { code, cause, statusCode, status = statusCode, message } = thrown as Thrown;
  const known = FASTIFY[code ?? cause?.code ?? ''];
  if (known !== undefined) return new WeftError(...known, { cause: thrown });
  const byStatus = status === undefined ? undefined : BY_STATUS[status];
  return byStatus === undefined ? toWeftError(thrown) : new WeftError(byStatus, message ?? byStatus, { cause: thrown });
}
