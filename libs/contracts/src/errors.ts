/**
 * Every error that Weft shows anyone, in one table: what it means on the wire and whether to try again.
 * `retry` false on a status that clients retry by themselves (409, 429, 5xx) becomes `x-should-retry: false`.
 */
export interface ErrorKind { status: number; type: string; retry: boolean }

const request = (status = 400): ErrorKind => ({ status, type: 'invalid_request_error', retry: false });
const server = (status: number, retry: boolean): ErrorKind => ({ status, type: 'server_error', retry });

export const ERRORS = {
  // the request
  invalid_value: request(), context_length_exceeded: request(),
  invalid_api_key: { status: 401, type: 'authentication_error', retry: false },
  insufficient_scope: { status: 403, type: 'permission_error', retry: false },
  model_not_found: request(404), not_found: request(404), method_not_allowed: request(405),
  conflict: request(409), idempotency_mismatch: request(409),
  request_too_large: request(413), unsupported_media_type: request(415),
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error', retry: true },
  insufficient_quota: { status: 429, type: 'insufficient_quota', retry: false },
  // serving
  adapter_not_ready: server(503, true), overloaded: server(503, true), draining: server(503, true),
  deadline_exceeded: server(504, false), cancelled: server(499, false),
  executor_lost: server(503, true), registry_lost: server(503, true), unreachable: server(503, true), numerical_error: server(500, false), internal_error: server(500, false),
  // adapters (field or tensor named)
  adapter_file_missing: request(), adapter_file_unsupported: request(), adapter_config_invalid: request(),
  adapter_field_unsupported: request(), adapter_kind_unsupported: request(), adapter_base_mismatch: request(),
  adapter_tensor_unclaimed: request(), adapter_tensor_missing: request(), adapter_tensor_duplicate: request(),
  adapter_tensor_shape: request(), adapter_tensor_dtype: request(), adapter_tensor_not_finite: request(),
  adapter_rank_too_large: request(), adapter_without_effect: request(), adapter_value_out_of_range: request(),
  adapter_too_large: request(), safetensors_invalid: request(),
  // checkpoints, configuration, devices (told at start)
  checkpoint_file_missing: request(), checkpoint_config_invalid: request(), checkpoint_unsupported: request(),
  checkpoint_tensor_missing: request(), checkpoint_tensor_extra: request(), checkpoint_tensor_shape: request(),
  checkpoint_tensor_dtype: request(), checkpoint_not_finite: request(),
  tokenizer_invalid: request(), chat_template_missing: request(),
  option_invalid: request(), port_in_use: request(), data_dir_in_use: request(), database_refused: request(),
  out_of_memory: server(507, false), insufficient_storage: server(507, false), device_error: server(500, false), device_unavailable: server(500, false), device_lost: server(500, false), list_invalid: server(500, false),
  image_corrupt: server(500, false), io_error: server(500, false),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** What exactly is wrong: the request's parameter, the file's field, the tensor, the limit. */
export interface ErrorDetails {
  param?: string | undefined; field?: string | undefined; tensor?: string | undefined; file?: string | undefined;
  limit?: number | undefined; retryAfterMs?: number | undefined;
  /** Trying again would pay twice: something was delivered or billed already. */
  final?: boolean | undefined;
  cause?: unknown;
}

/** An error with a code from the table. Its message says what is wrong, where, and what to do. */
export class WeftError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'WeftError';
    this.code = code;
    this.details = details;
  }
  get kind(): ErrorKind { return ERRORS[this.code]; }
}

/** The code of any thrown value: unknown ones are internal errors. */
export function toWeftError(error: unknown): WeftError {
  if (error instanceof WeftError) return error;
  return new WeftError('internal_error', error instanceof Error ? error.message : String(error), { cause: error });
}

/** `code · field x · message`: how logs and terminals show an error. */
export function describeError(error: WeftError): string {
  const { param, field, tensor, file } = error.details;
  const where = [param && `param ${param}`, field && `field ${field}`, tensor && `tensor ${tensor}`, file && `file ${file}`].filter(Boolean);
  return [error.code, ...where, error.message].join(' · ');
}
