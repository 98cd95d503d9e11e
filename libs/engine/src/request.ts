/** What goes into the engine and what comes out: tokens only, no text, no names. */
import type { WeftError } from '@weft/contracts';

/** An adapter by content, and how strongly it is applied. */
export interface AdapterUse { digest: string; weight: number }

export interface SamplingParams {
  /** 0: greedy, ties to the lower id. */
  temperature: number;
  /** 0: off. */
  topK: number;
  topP: number;
  minP: number;
  /** 1: off. Over prompt and output. */
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** Randomness is a function of (seed, choice, position): the same in any batch and after any interruption. */
  seed: bigint;
  logitBias: readonly (readonly [token: number, bias: number])[];
}

export interface EngineRequest {
  id: string;
  /** Opaque; every cache is keyed by it, and fairness is between tenants. */
  tenant: string;
  adapters: readonly AdapterUse[];
  /** score: the prompt's log-probabilities alone. embed: the hidden row of the last prompt token. */
  task: 'generate' | 'score' | 'embed';
  prompt: ArrayLike<number>;
  /** Independent choices. */
  n: number;
  /** 0: as many as context and pool hold. */
  maxTokens: number;
  minTokens: number;
  sampling: SamplingParams;
  /** Tokens that an earlier executor already emitted (n = 1): generation continues behind them. */
  emitted: readonly number[];
  /** A choice ends with one of these; the token is part of its event. */
  stopIds: readonly number[];
  /** -1: none; k: log-probabilities of the chosen token and the k best. */
  logprobs: number;
  promptLogprobs: boolean;
  /** Higher runs first. */
  priority: number;
  /** From submission; 0: none. */
  deadlineMs: number;
}

export interface TopLogprobs { ids: number[]; logprobs: number[] }

/** What one step did to one choice. */
export interface TokenEvent {
  requestId: string;
  choice: number;
  tokens: number[];
  logprobs?: number[];
  top?: TopLogprobs[];
  /** Prompt scores: log-probability of prompt token promptStart + i, given those before it. */
  promptStart?: number;
  promptLogprobs?: number[];
  promptTop?: TopLogprobs[];
  hidden?: Float32Array;
  /** In a choice's last event. A score or an embedding ends by its length. */
  finishReason?: 'stop' | 'length';
}

/** The end of a request: exactly one for each that was accepted. */
export interface Terminal {
  requestId: string;
  reason: 'done' | 'cancelled' | 'error';
  error?: WeftError;
  promptTokens: number;
  cachedTokens: number;
  generatedTokens: number;
  /** From submission to the first row of its first choice in a step. */
  queueMs: number;
  /** The part of it spent waiting for its adapters to load. */
  coldStartMs: number;
}

export interface EngineListener {
  onStep(step: number, events: TokenEvent[]): void;
  onTerminal(terminal: Terminal): void;
  /** Nothing runs here any more, whatever is asked; all requests that ran have ended with `executor_lost`. */
  onDeviceLost?(error: WeftError): void;
}
