/** One HTTP request's prompts in the executor, and their events as deltas of numbered choices. */
import { randomBytes } from 'node:crypto';
import { executorV1, WeftError } from '@weft/contracts';
import type { Tokenizer } from '@weft/tokenizer';
import { Choice, type Delta } from './choice.js';
import type { GenerationParams } from './dto/generation.js';
import { terminalError, type ExecutorLink, type RequestListener } from './executor-link.js';
import type { Fleet } from './fleet.js';
import type { Principal } from './keys.js';
import type { Ledger, UsageRow } from './ledger.js';
import type { ResolvedModel } from './model-directory.js';
import { PromptScores } from './prompt-scores.js';

export interface Prompt { ids: number[]; text: string }

/** What is known of a request before its tokens are. */
export interface Query {
  /** The server's own id of the HTTP request. */
  requestId: string;
  route: 'completions' | 'chat';
  caller: Principal;
  /** As the request spells it, and what that means. */
  modelName: string;
  model: ResolvedModel;
  /** The model's own. */
  tokenizer: Tokenizer;
  stream: boolean;
}

export interface GenerationJob {
  query: Query;
  prompts: Prompt[];
  /** Answers begin with their prompt. */
  echo: boolean;
  params: GenerationParams;
  /** 0 in params.maxTokens means that the prompt is only scored; here 0 means as many tokens as fit. */
  maxTokens: number;
  eosIds: number[];
}

export interface Outcome {
  promptTokens: number; cachedTokens: number;
  /** Part of the answer. */
  completionTokens: number;
  /** Made by the engine, those included that came after a stop string. */
  generatedTokens: number;
  queueMs: number; coldStartMs: number;
}

/** A prompt in an executor. */
interface Part {
  submit: executorV1.Submit;
  choices: Choice[];
  scores: PromptScores | null;
  started: boolean;
  /** Null before it is submitted. */
  run: { link: ExecutorLink; row: UsageRow } | null;
  end: executorV1.Terminal | null;
}

type Item = { part: Part; choice: number; token: number } | { part: Part; event: executorV1.TokenEvent } | { part: Part; end: executorV1.Terminal | WeftError };

export class Generation {
  readonly #parts: Part[];
  readonly #scoring: boolean;
  readonly #items: Item[] = [];
  /** Choices whose finish was told. */
  readonly #told = new Set<Choice>();
  #wake: (() => void) | null = null;

  constructor(readonly job: GenerationJob) {
    const { tokenizer } = job.query;
    this.#scoring = job.params.maxTokens === 0;
    const seed = job.params.seed ?? randomBytes(8).readBigUInt64LE();
    this.#parts = job.prompts.map((prompt, p) => {
      const { n } = job.params;
      const choices = Array.from({ length: n }, (_, i) => new Choice(p * n + i, tokenizer, prompt.ids, job.echo ? prompt.text.length : 0, job.params));
      return {
        submit: this.#submitOf(prompt, p, seed), choices, started: false, run: null, end: null,
        scores: job.echo ? new PromptScores(tokenizer, prompt.ids, prompt.text) : null,
      };
    });
  }

  /** Submits the prompts, each with a row of the ledger. Answers with what serves the first one. Throws executor_lost. */
  start(fleet: Fleet, ledger: Ledger, gatewayId: string): executorV1.Description {
    const { requestId, route, caller, modelName, model: { adapter, baseDigest } } = this.job.query;
    for (const part of this.#parts) {
      const link = fleet.pick(baseDigest, adapter?.digest ?? null);
      const row = ledger.open({
        id: part.submit.requestId, requestId, tenantId: caller.tenant, keyId: caller.keyId, route, model: modelName,
        adapter: adapter?.name ?? '', version: adapter?.version ?? 0, digest: adapter?.digest ?? baseDigest,
        gatewayId, executorId: link.description!.executorId, openedAt: BigInt(Date.now()),
      });
      part.run = { link, row };
      link.submit(part.submit, this.#listenerOf(part, row));
    }
    return this.#parts[0]!.run!.link.description!;
  }

  /** Resolves when the rows are on disk, as far as that is waited for. */
  async opened(): Promise<void> { for (const { run } of this.#parts) await run?.row.opened; }

  /** Yields what comes, until all prompts have ended. The last choice's finish comes when the outcome is known. Throws what went wrong. */
  async *deltas(signal: AbortSignal): AsyncGenerator<Delta[], void> {
    const abort = (): void => this.#wake?.();
    signal.addEventListener('abort', abort);
    try {
      while (this.#parts.some(part => part.end === null)) {
        signal.throwIfAborted();
        if (this.#items.length === 0) await new Promise<void>(resolve => { this.#wake = resolve; });
        signal.throwIfAborted();
        const deltas = this.#take();
        if (deltas.length > 0) yield deltas;
      }
      yield this.#finishes(this.#parts.flatMap(part => part.choices));
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** Cancels what still runs. */
  stop(): void {
    for (const { submit, run, end } of this.#parts) if (end === null) run?.link.cancel(submit.requestId);
  }

  /** Closes the rows with what the client got. The first call counts. Resolves when they are on disk, as far as that is waited for. */
  async settle(status: string): Promise<void> {
    const closes = this.#parts.map(({ run, submit, choices }) =>
      run?.row.settle({ status, promptTokens: submit.prompt.length, shownTokens: shownTokens(choices) }));
    await Promise.all(closes);
  }

  /** What it took, as far as it is known. */
  get outcome(): Outcome {
    const ends = this.#parts.map(part => part.end);
    const sum = (value: (end: executorV1.Terminal) => number): number => ends.reduce((total, end) => total + (end === null ? 0 : value(end)), 0);
    const max = (value: (end: executorV1.Terminal) => number): number => Math.max(0, ...ends.map(end => (end === null ? 0 : value(end))));
    const completionTokens = this.#parts.reduce((total, { choices }) => total + shownTokens(choices), 0);
    return {
      promptTokens: this.job.prompts.reduce((total, { ids }) => total + ids.length, 0), cachedTokens: sum(end => end.cachedTokens),
      completionTokens, generatedTokens: Math.max(sum(end => end.generatedTokens), completionTokens),
      queueMs: max(end => end.queueMs), coldStartMs: max(end => end.coldStartMs),
    };
  }

  #listenerOf(part: Part, row: UsageRow): RequestListener {
    return {
      onToken: (choice, token) => this.#put({ part, choice, token }),
      onEvent: event => this.#put({ part, event }),
      // The row hears of it even when nobody reads the items any more.
      onEnd: (end, acknowledge) => { row.end(end, acknowledge); this.#put({ part, end }); },
      onLost: end => this.#put({ part, end }),
    };
  }

  #put(item: Item): void {
    this.#items.push(item);
    this.#wake?.();
  }

  /** All that came since the last look: a slow reader gets fewer, larger deltas. */
  #take(): Delta[] {
    this.#wake = null;
    const deltas: Delta[] = [];
    for (const item of this.#items.splice(0)) {
      if ('token' in item) this.#onToken(item.part, item.part.choices[item.choice]!, item.token, deltas);
      else if ('event' in item) this.#onEvent(item.part, item.event, deltas);
      else this.#onEnd(item.part, item.end, deltas);
    }
    return deltas.length > 1 ? joined(deltas) : deltas;
  }

  #onToken(part: Part, choice: Choice, token: number, deltas: Delta[]): void {
    this.#echo(part, deltas);
    const delta = choice.token(token);
    if (delta !== null) deltas.push(delta);
    this.#afterwards(part, choice, deltas);
  }

  #onEvent(part: Part, event: executorV1.TokenEvent, deltas: Delta[]): void {
    part.scores?.add(event);
    this.#echo(part, deltas);
    const choice = part.choices[event.choice]!;
    // Scoring runs once for all choices of a prompt: they are the same.
    const delta = this.#scoring ? null : choice.push(event);
    if (delta !== null) deltas.push(delta);
    this.#afterwards(part, choice, deltas);
  }

  /** A choice that has ended: the executor may not know, and its finish is told unless it is the last. */
  #afterwards(part: Part, choice: Choice, deltas: Delta[]): void {
    if (choice.finishReason === undefined) return;
    const ended = part.choices.every(({ finishReason }) => finishReason !== undefined);
    if (ended && part.choices.some(({ cut }) => cut)) part.run!.link.cancel(part.submit.requestId);
    if (this.#unfinished()) deltas.push(...this.#finishes([choice]));
  }

  #onEnd(part: Part, end: executorV1.Terminal | WeftError, deltas: Delta[]): void {
    if (end instanceof WeftError) throw end;
    part.end = end;
    const complete = part.choices.every(choice => choice.finishReason !== undefined);
    if (end.reason === 'error' && !complete) throw terminalError(end);
    if (end.reason === 'cancelled' && !complete) throw new WeftError('executor_lost', 'the executor stopped before the answer was complete; try again', { retryAfterMs: 1000 });
    for (const choice of part.choices) choice.end();
    this.#echo(part, deltas);
  }

  /** Once, in front of everything else, as soon as the scores that were asked for are there. */
  #echo(part: Part, deltas: Delta[]): void {
    const { scores } = part;
    const scored = this.job.params.logprobs >= 0;
    if (scores === null || part.started || (scored && !scores.complete && part.end === null)) return;
    part.started = true;
    for (const { index } of part.choices) deltas.push({ index, text: scores.text, tokenIds: [], logprobs: scored ? [...scores.tokens] : [] });
  }

  #unfinished(): boolean { return this.#parts.some(part => part.choices.some(choice => choice.finishReason === undefined)); }

  #finishes(choices: Choice[]): Delta[] {
    const untold = choices.filter(choice => !this.#told.has(choice));
    for (const choice of untold) this.#told.add(choice);
    return untold.map(({ index, finishReason }) => ({ index, text: '', tokenIds: [], logprobs: [], ...(finishReason !== undefined && { finishReason }) }));
  }

  #submitOf(prompt: Prompt, p: number, seed: bigint): executorV1.Submit {
    const { query: { requestId, caller, model }, params, echo, maxTokens, eosIds } = this.job;
    const { n, minTokens, logprobs, temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = params;
    return {
      requestId: `${requestId}-${p}`, tenant: caller.tenant, baseDigest: model.baseDigest, adapters: model.adapter === null ? [] : [{ digest: model.adapter.digest, weight: 1 }],
      task: this.#scoring ? executorV1.Task.SCORE : executorV1.Task.GENERATE,
      prompt: prompt.ids, n: this.#scoring ? 1 : n, maxTokens: this.#scoring ? 0 : maxTokens, minTokens: this.#scoring ? 0 : minTokens,
      sampling: { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed: BigInt.asUintN(64, seed + BigInt(p)), randomOffset: 0, logitBias },
      emitted: [], stopIds: [...(params.ignoreEos ? [] : eosIds), ...params.stopTokenIds], logprobs, promptLogprobs: echo && logprobs >= 0,
      grammar: '', priority: 0, objective: '', deadlineMs: 0, firstLane: 0,
    };
  }
}

const shownTokens = (choices: readonly Choice[]): number => choices.reduce((total, choice) => total + choice.tokens, 0);

/** Successive deltas of one choice as one; a finish stays for itself. */
function joined(deltas: Delta[]): Delta[] {
  const open = new Map<number, Delta>();
  const result: Delta[] = [];
  for (const delta of deltas) {
    const before = open.get(delta.index);
    if (before === undefined || delta.finishReason !== undefined) {
      result.push(delta);
      open.set(delta.index, delta);
    } else {
      before.text += delta.text;
      for (const id of delta.tokenIds) before.tokenIds.push(id);
      for (const token of delta.logprobs) before.logprobs.push(token);
    }
  }
  return result;
}
