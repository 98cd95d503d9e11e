/** What the result rows of one sequence say: a pure reading, which the engine then applies. */
import { WeftError } from '@weft/contracts';
import { RowStatus } from '@weft/kernels';
import type { Batch, BatchEntry } from './batch.js';
import type { TokenEvent } from './request.js';
import type { StepResults } from './runner.js';

export interface Answer {
  /** Null: the rows were a part of a prompt that nobody asked about. */
  event: TokenEvent | null;
  /** Ends the whole request. */
  error: WeftError | null;
}

/** Does this entry sample a token? If so, its last row does. */
export function samples({ firstLogit, logitCount }: BatchEntry, batch: Batch): boolean {
  return logitCount > 0 && batch.logits[firstLogit + logitCount - 1]!.purpose === 'sample';
}

/** Reads an entry's rows, in order. The sequence is as it was before them. */
export function answerOf(entry: BatchEntry, batch: Batch, results: StepResults): Answer {
  const { sequence, firstLogit, logitCount } = entry;
  const { request } = sequence;
  if (logitCount === 0) return { event: null, error: null };
  const event: TokenEvent = { requestId: request.id, choice: sequence.choice, tokens: [] };
  for (let i = firstLogit; i < firstLogit + logitCount; i++) {
    const { purpose, position } = batch.logits[i]!;
    const { token, status, logprob } = results.row(i);
    if (status !== RowStatus.ok) return { event: null, error: rowError(status, position) };
    const top = (): NonNullable<TokenEvent['top']>[number] => results.top(i, request.logprobs);
    if (purpose === 'score') {
      event.promptStart ??= position + 1;
      (event.promptLogprobs ??= []).push(logprob);
      if (request.logprobs > 0) (event.promptTop ??= []).push(top());
    } else if (purpose === 'hidden') {
      event.hidden = results.hidden(i);
      event.finishReason = 'length';
    } else {
      event.tokens.push(token);
      if (request.logprobs >= 0) (event.logprobs ??= []).push(logprob);
      if (request.logprobs > 0) (event.top ??= []).push(top());
      const generated = sequence.generated + 1;
      if (request.stopIds.includes(token) && generated > request.minTokens) event.finishReason = 'stop';
      else if (generated >= sequence.state.maxTokens) event.finishReason = 'length';
    }
  }
  // A prompt that was only to be scored ends with its last score.
  if (request.task === 'score' && entry.start + entry.count >= sequence.needed) event.finishReason = 'length';
  return { event, error: null };
}

function rowError(status: number, position: number): WeftError {
  return status === RowStatus.notFinite
    ? new WeftError('numerical_error', `the model's logits at position ${position} are not finite; this request ended, others were not touched`)
    : new WeftError('invalid_value', 'no token is allowed here: logit_bias or the grammar forbids all of them', { param: 'logit_bias' });
}
