/** What a command's exit code says. `weft up` knows 0 and 1 only. */
import type { ErrorCode } from '@weft/contracts';

export const EXIT = { done: 0, failed: 1, usage: 2, notFound: 3, notAllowed: 4, tryAgain: 5, interrupted: 130 } as const;

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  option_invalid: EXIT.usage,
  not_found: EXIT.notFound, model_not_found: EXIT.notFound,
  invalid_api_key: EXIT.notAllowed, insufficient_scope: EXIT.notAllowed,
  unreachable: EXIT.tryAgain, rate_limit_exceeded: EXIT.tryAgain, overloaded: EXIT.tryAgain, draining: EXIT.tryAgain, adapter_not_ready: EXIT.tryAgain,
  executor_lost: EXIT.tryAgain, registry_lost: EXIT.tryAgain,
};

export const exitCodeOf = (code: ErrorCode): number => BY_CODE[code] ?? EXIT.failed;
