import { Inject, Injectable } from '@nestjs/common';
import { WeftError, type executorV1 } from '@weft/contracts';
import type { Tokenizer } from '@weft/tokenizer';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Delta } from './choice.js';
import { asWeftError } from './errors.js';
import { ExecutorClient } from './executor-client.js';
import { Generation, type GenerationJob } from './generation.js';
import { InFlight } from './in-flight.js';
import { Ledger } from './ledger.js';
import { Limits } from './limits.js';
import { Metrics } from './metrics.js';
import { chatShape, completionShape, usage, weft, type Envelope, type ResponseShape } from './response.js';
import { SseWriter } from './sse.js';
import { TOKENIZER } from './tokens.js';

type Route = 'completions' | 'chat';
const SHAPES = { completions: completionShape, chat: chatShape };

/** What is known of a request before its tokens are. */
export interface Query { route: Route; model: string; tenant: string; stream: boolean; adapter: string | null; digest: string }

/**
 * Carries one generating request from admission to its last byte: limits, ledger, executor, answer. Whatever ends it, the
 * lease is given back, the ledger is closed and the executor is told.
 */
@Injectable()
export class Responder {
  constructor(
    private readonly executor: ExecutorClient, @Inject(TOKENIZER) private readonly tokenizer: Tokenizer, private readonly inFlight: InFlight,
    private readonly limits: Limits, private readonly ledger: Ledger, private readonly metrics: Metrics,
  ) {}

  /** `prepare` renders and tokenizes: it runs inside, so that a stop waits for it and a hang-up ends it. */
  async respond(query: Query, request: FastifyRequest, reply: FastifyReply, prepare: () => Promise<GenerationJob>): Promise<void> {
    const acceptedMs = performance.now();
    const abort = this.inFlight.enter();
    const onClose = (): void => { if (!reply.raw.writableFinished) abort.abort(new WeftError('cancelled', 'The client hung up.')); };
    reply.raw.once('close', onClose);
    const tracked = this.metrics.track(query.adapter);
    const answer = new Answer(query, reply, this.tokenizer, () => tracked.firstToken());
    let generation: Generation | undefined;
    let lease: ReturnType<Limits['acquire']> | undefined;
    let code = 'ok';
    const settle = async (): Promise<void> => {
      const spent = generation?.outcome ?? NOTHING;
      if (lease !== undefined) this.limits.settle(lease, spent.promptTokens + spent.completionTokens);
      await this.ledger.close(request.id, {
        promptTokens: spent.promptTokens, cachedTokens: spent.cachedTokens, generatedTokens: spent.generatedTokens, billedTokens: spent.promptTokens + spent.completionTokens,
      });
    };
    try {
      const job = await prepare();
      lease = this.limits.acquire({ tenant: query.tenant, requests: 1, tokens: tokensAtMost(job) });
      generation = new Generation(this.executor, this.tokenizer, job);
      const opened = this.ledger.open({ requestId: request.id, tenant: query.tenant, model: query.model, digest: query.digest, openedAtMs: Date.now() });
      await answer.write({ generation, signal: abort.signal, fingerprint: fingerprint(this.executor.description), opened, settle });
    } catch (thrown) {
      const error = asWeftError(thrown);
      code = error.code;
      await settle();
      await answer.fail(error, generation?.outcome.completionTokens ?? 0);
    } finally {
      reply.raw.off('close', onClose);
      tracked.end();
      this.inFlight.leave(abort);
      this.metrics.finished(query.route, code, generation?.outcome ?? NOTHING, { acceptedMs, firstTokenMs: answer.firstTokenMs, endMs: performance.now() });
    }
  }
}

const NOTHING = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, generatedTokens: 0, queueMs: 0, coldStartMs: 0 };

const tokensAtMost = ({ prompts, params, maxTokens }: GenerationJob): number =>
  prompts.reduce((sum, { ids }) => sum + ids.length, 0) + prompts.length * params.n * maxTokens;

/** Build, base and device: equal fingerprints answer an equal seed with equal tokens. */
function fingerprint(description: executorV1.Description | null): string {
  if (description === null) return '';
  const { build, baseDigest, device } = description;
  return `weft-${build}-${baseDigest.slice(0, 12)}-${device.replaceAll(' ', '-')}`;
}

/** A request on its way: where its tokens come from, and what has to be done before its first and its last byte. */
interface Delivery { generation: Generation; signal: AbortSignal; fingerprint: string; opened: Promise<void>; settle(): Promise<void> }

/** The bytes of one response, whole or streamed. */
class Answer {
  firstTokenMs: number | null = null;
  readonly #query: Query;
  readonly #reply: FastifyReply;
  readonly #tokenizer: Tokenizer;
  readonly #onFirstToken: () => void;
  #sse: SseWriter | null = null;

  constructor(query: Query, reply: FastifyReply, tokenizer: Tokenizer, onFirstToken: () => void) {
    this.#query = query;
    this.#reply = reply;
    this.#tokenizer = tokenizer;
    this.#onFirstToken = onFirstToken;
  }

  async write(delivery: Delivery): Promise<void> {
    const { adapter, digest, model, route, stream } = this.#query;
    const { generation, fingerprint } = delivery;
    const shape = SHAPES[route](this.#tokenizer, generation);
    const envelope = { id: `${shape.idPrefix}-${generation.job.requestId}`, created: Math.floor(Date.now() / 1000), model, system_fingerprint: fingerprint };
    if (adapter !== null) this.#reply.header('x-weft-adapter', adapter);
    this.#reply.header('x-weft-digest', digest);
    if (stream) await this.#stream(delivery, shape, envelope);
    else await this.#whole(delivery, shape, envelope);
  }

  /** Before the head an error is a status, afterwards an event. A client that hung up hears neither. */
  async fail(error: WeftError, billedTokens: number): Promise<void> {
    const final = billedTokens > 0 ? new WeftError(error.code, error.message, { ...error.details, final: true }) : error;
    if (this.#sse === null) throw final;
    if (error.code === 'internal_error') console.error(error);
    await this.#sse.fail(final);
  }

  async #whole({ generation, signal, opened, settle }: Delivery, shape: ResponseShape, envelope: Envelope): Promise<void> {
    const { prompts, params } = generation.job;
    const choices = Array.from({ length: prompts.length * params.n }, (_, index): Delta => ({ index, text: '', tokenIds: [], logprobs: [] }));
    for await (const deltas of generation.deltas(signal)) {
      for (const delta of deltas) {
        this.#noteToken(delta);
        const choice = choices[delta.index]!;
        choice.text += delta.text;
        for (const id of delta.tokenIds) choice.tokenIds.push(id);
        for (const token of delta.logprobs) choice.logprobs.push(token);
        if (delta.finishReason !== undefined) choice.finishReason = delta.finishReason;
      }
    }
    await opened;
    await settle();
    const { outcome } = generation;
    await this.#reply.status(200).send({
      ...envelope, object: shape.object.whole, choices: choices.map(choice => shape.choice(choice)), usage: usage(outcome), weft: weft(this.#query, outcome), ...shape.beside,
    });
  }

  async #stream({ generation, signal, opened, settle }: Delivery, shape: ResponseShape, envelope: Envelope): Promise<void> {
    const { prompts, params } = generation.job;
    // With include_usage every chunk has the field, and all but the last have null in it.
    const chunk = (choices: object[], beside: object = {}): object =>
      ({ ...envelope, object: shape.object.chunk, choices, ...(params.includeUsage && { usage: null }), ...beside });
    let open = prompts.length * params.n;
    for await (const deltas of generation.deltas(signal)) {
      const sse = this.#sse ?? await this.#begin(opened, signal, shape, chunk, open);
      for (const delta of deltas) {
        this.#noteToken(delta);
        if (delta.finishReason !== undefined) open--;
        await sse.send(chunk([shape.chunk(delta)], open === 0 ? { weft: weft(this.#query, generation.outcome) } : {}));
      }
    }
    const { outcome } = generation;
    if (params.includeUsage) await this.#sse!.send({ ...envelope, object: shape.object.chunk, choices: [], usage: usage(outcome), weft: weft(this.#query, outcome) });
    await settle();
    await this.#sse!.end();
  }

  /** The head waits for the ledger, and for the first tokens: until then a failure is still a status. */
  async #begin(opened: Promise<void>, signal: AbortSignal, shape: ResponseShape, chunk: (choices: object[], beside: object) => object, choices: number): Promise<SseWriter> {
    await opened;
    const sse = this.#sse = new SseWriter(this.#reply, signal);
    if (shape.first !== undefined) {
      for (let index = 0; index < choices; index++) await sse.send(chunk([shape.first(index)], index === 0 ? shape.beside : {}));
    }
    return sse;
  }

  #noteToken(delta: Delta): void {
    if (this.firstTokenMs !== null || delta.tokenIds.length === 0) return;
    this.firstTokenMs = performance.now();
    this.#onFirstToken();
  }
}
