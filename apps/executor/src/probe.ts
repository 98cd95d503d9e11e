/**
 * Does an adapter do anything? Both it and the base score the same prompts in this very engine. A row's bits do not depend
 * on its batch, so a log-probability that differs in any bit is the adapter's doing.
 */
import { randomUUID } from 'node:crypto';
import { WeftError } from '@weft/contracts';
import type { EngineRequest, Terminal } from '@weft/engine';
import type { EventSink } from './engine.service.js';

export interface ProbedEngine {
  /** Tokens that the base and this adapter have. */
  vocabOf(digest: string): number;
  readonly eosIds: readonly number[];
  readonly maxModelLen: number;
  submit(request: EngineRequest, sink: EventSink): void;
}

/** Two blocks of positions: attention sees past tokens of its own page and of another. */
const PROMPT_TOKENS = 32;
/**
 * An adapter whose updates cancel on one prompt by accident is given another; one that has few experts, until some row goes to one:
 * of a thousand rows, one expert of 128 gets some unless it is hardly ever chosen at all.
 */
const PROMPTS = 32;
/** Behind all others; but one that has waited for so long goes with them. */
const LOW_PRIORITY = -1000;
const PATIENCE_MS = 10_000;

/**
 * The largest change of a log-probability, in nats. Throws `adapter_without_effect` where nothing changes in any bit,
 * `numerical_error` where the adapter's logits are not finite, and what keeps the engine from answering.
 */
export async function probe(engine: ProbedEngine, digest: string): Promise<number> {
  for (let seed = 1; seed <= PROMPTS; seed++) {
    const prompt = probePrompt({ vocabSize: engine.vocabOf(digest), eosIds: engine.eosIds, maxModelLen: engine.maxModelLen }, seed);
    const [base, adapted] = await Promise.all([score(engine, prompt), score(engine, prompt, digest)]);
    const effect = base.reduce((largest, logprob, i) => Math.max(largest, Math.abs(logprob - adapted[i]!)), 0);
    if (!Number.isFinite(effect)) throw new WeftError('numerical_error', 'log-probabilities under the adapter are not finite');
    if (effect > 0) return effect;
  }
  throw new WeftError('adapter_without_effect', `${PROMPTS} prompts of ${PROMPT_TOKENS} tokens have the same log-probabilities, bit for bit, with and without the adapter`);
}

/** Ids of the vocabulary without those that end a text: the same for a base every time (mulberry32). */
export function probePrompt({ vocabSize, eosIds, maxModelLen }: Pick<ProbedEngine, 'eosIds' | 'maxModelLen'> & { vocabSize: number }, seed: number): number[] {
  const prompt: number[] = [];
  let state = seed;
  while (prompt.length < Math.min(PROMPT_TOKENS, maxModelLen)) {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    const id = ((x ^ (x >>> 14)) >>> 0) % vocabSize;
    if (!eosIds.includes(id)) prompt.push(id);
  }
  return prompt;
}

/** Log-probabilities of all tokens of a prompt but its first. */
async function score(engine: ProbedEngine, prompt: number[], digest?: string): Promise<number[]> {
  const adapters = digest === undefined ? [] : [{ digest, weight: 1 }];
  try {
    return await ask(engine, { ...PROBE, prompt, adapters, priority: LOW_PRIORITY, deadlineMs: PATIENCE_MS });
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== 'deadline_exceeded') throw error;
    return ask(engine, { ...PROBE, prompt, adapters });
  }
}

const PROBE: Omit<EngineRequest, 'id' | 'prompt' | 'adapters'> = {
  tenant: 'probe', task: 'score', n: 1, maxTokens: 0, minTokens: 0, emitted: [], stopIds: [], logprobs: -1, promptLogprobs: true, priority: 0, deadlineMs: 0,
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
};

function ask(engine: ProbedEngine, request: Omit<EngineRequest, 'id'>): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const logprobs: number[] = [];
    engine.submit({ ...request, id: `probe ${randomUUID()}` }, {
      onEvents: (_, events) => { for (const event of events) logprobs.push(...event.promptLogprobs ?? []); },
      onTerminal: ({ reason, error }: Terminal) => {
        if (reason === 'done') resolve(logprobs);
        else reject(error ?? new WeftError('cancelled', 'the engine was stopped'));
      },
    });
  });
}
