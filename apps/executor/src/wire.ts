/** Between the protocol's messages and the engine's types. */
import type { Finding, Manifest } from '@weft/adapters';
import { executorV1, WeftError } from '@weft/contracts';
import type { EngineRequest, Terminal, TokenEvent } from '@weft/engine';

const TASKS = { [executorV1.Task.GENERATE]: 'generate', [executorV1.Task.SCORE]: 'score', [executorV1.Task.EMBED]: 'embed' } as const;

/** Throws invalid_value for what this executor can't honour. */
export function toEngineRequest(submit: executorV1.Submit): EngineRequest {
  if (submit.grammar !== '') throw new WeftError('invalid_value', 'this executor has no grammars', { param: 'response_format' });
  if (submit.sampling === undefined) throw new WeftError('invalid_value', 'Submit has no sampling', { param: 'sampling' });
  const { logitBias, ...sampling } = submit.sampling;
  if (sampling.randomOffset !== submit.emitted.length) {
    throw new WeftError('invalid_value', 'one draw is made per token: random_offset must be the number of emitted tokens', { param: 'random_offset' });
  }
  return {
    id: submit.requestId, tenant: submit.tenant, adapters: submit.adapters, task: TASKS[submit.task],
    prompt: submit.prompt, n: submit.n, maxTokens: submit.maxTokens, minTokens: submit.minTokens,
    sampling: { ...sampling, logitBias: logitBias.map(({ token, bias }) => [token, bias] as const) },
    emitted: submit.emitted, stopIds: submit.stopIds, logprobs: submit.logprobs, promptLogprobs: submit.promptLogprobs,
    priority: submit.priority, deadlineMs: submit.deadlineMs,
  };
}

export function toEvent(event: TokenEvent): executorV1.TokenEvent {
  return {
    requestId: event.requestId, choice: event.choice, tokens: event.tokens, logprobs: event.logprobs ?? [], top: event.top ?? [],
    promptStart: event.promptStart ?? 0, promptLogprobs: event.promptLogprobs ?? [], promptTop: event.promptTop ?? [],
    finishReason: event.finishReason ?? '', hidden: event.hidden === undefined ? [] : Array.from(event.hidden),
  };
}

export function toTerminal(terminal: Terminal): executorV1.Terminal {
  const { error, ...rest } = terminal;
  return {
    ...rest, errorCode: error?.code ?? '', errorMessage: error?.message ?? '', errorParam: error?.details.param ?? '',
    retryAfterMs: Math.ceil(error?.details.retryAfterMs ?? 0),
  };
}

/** A request that never reached the engine. */
export function refusal(requestId: string, error: WeftError): executorV1.Terminal {
  return toTerminal({ requestId, reason: 'error', error, promptTokens: 0, cachedTokens: 0, generatedTokens: 0, queueMs: 0, coldStartMs: 0 });
}

export function toFinding({ code, message, field = '', tensor = '' }: Finding): executorV1.Finding {
  return { code, message, field, tensor };
}

export function toCard(name: string, manifest: Manifest): executorV1.AdapterCard {
  return {
    name, digest: manifest.digest, kind: manifest.kind, rank: manifest.rank, targetModules: manifest.targetModules,
    bytes: BigInt(manifest.bytes), errors: [], warnings: manifest.warnings.map(toFinding),
  };
}

export function refusedCard(name: string, errors: executorV1.Finding[]): executorV1.AdapterCard {
  return { name, digest: '', kind: '', rank: 0, targetModules: [], bytes: 0n, errors, warnings: [] };
}
