/** Between the protocol's messages and the engine's types. */
import { AdapterRefused, type Finding } from '@weft/adapters';
import { executorV1, WeftError, type registryV1 } from '@weft/contracts';
import type { EngineRequest, Picture, Terminal, TokenEvent } from '@weft/engine';

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

/** Its token, if an event says nothing else. */
export function plainToken({ tokens, logprobs, promptLogprobs, hidden, finishReason }: TokenEvent): number | undefined {
  const plain = tokens.length === 1 && logprobs === undefined && promptLogprobs === undefined && hidden === undefined && finishReason === undefined;
  return plain ? tokens[0] : undefined;
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

export function toPicture({ step, batch, queue, ...picture }: Picture, rest: Omit<executorV1.Picture, keyof Picture>): executorV1.Picture {
  const uses = <Row extends { adapters: readonly executorV1.AdapterUse[] }>(rows: Row[]): (Row & { adapters: executorV1.AdapterUse[] })[] => rows.map(row => ({ ...row, adapters: [...row.adapters] }));
  return { ...rest, ...picture, step: BigInt(step), batch: uses(batch), queue: uses(queue) };
}

/** A request that never reached the engine. */
export function refusal(requestId: string, error: WeftError): executorV1.Terminal {
  return toTerminal({ requestId, reason: 'error', error, promptTokens: 0, cachedTokens: 0, generatedTokens: 0, queueMs: 0, coldStartMs: 0 });
}

/** An adapter's own fault, rather than this executor's or the registry's: it would be refused anywhere. */
export function isRefusal({ code }: WeftError): boolean {
  return code === 'numerical_error' || /^(adapter|safetensors|tokenizer)_/.test(code) && code !== 'adapter_not_ready';
}

/** Everything that was found, or the one error. */
export function toFindings(error: WeftError): registryV1.Finding[] {
  const { field, tensor, file } = error.details;
  const found: readonly Finding[] = error instanceof AdapterRefused ? error.findings : [{ code: error.code, message: error.message, ...(field && { field }), ...(tensor && { tensor }), ...(file && { file }) }];
  return found.map(({ code, message, field = '', tensor = '', file = '' }) => ({ code, message, field, tensor, file }));
}
